//! One stage of a pipeline, run several times over one stream, with the bytes and the status of one
//! run at the end.
//!
//! The stream is cut behind the ends of records ([`Records`]); each chunk goes to a run of the command
//! of its own; the outputs are given in the order of the chunks ([`Order`]). Whether that gives the
//! same bytes depends on the command: [`classify`] knows those for which it does.

mod alone;
mod chunk;
mod classes;
mod error;
mod fed;
mod gain;
mod gather;
mod input;
mod merge;
mod order;
mod records;
mod run;
mod runner;
mod scatter;
mod size;
mod stage;
mod verify;
mod worker;

pub use chunk::{Chunk, Store};
pub use classes::{Class, Classified, Merge, classify, classify_in, for_terminal};
pub use error::{Error, Result};
pub use order::{End, Next, Order, Retries, Rules, StatusRule};
pub use records::{Records, UnknownRecords};
pub use run::{run, run_by};
pub use runner::{Ended, Runner, Started, Stop};
pub use size::ChunkSize;
pub use stage::{InSequence, Outcome, Stage};
pub use verify::Difference;
pub use worker::on_behalf;
