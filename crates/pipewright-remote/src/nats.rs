//! Workers on any number of hosts, which come and go, with NATS JetStream between them.
//!
//! The coordinator stands in the pipeline: a [`Coordinator`] is a [`Runner`](pipewright_workers::Runner)
//! whose chunks lie on the server until a worker takes them. [`work`] is a worker. What both rely on:
//!
//! - **Written once.** Whatever is put on the server has a subject of its own and is put only where
//!   nothing is: a put that is tried again, however late, is answered and never doubled.
//! - **The first result wins.** A result is a record that names the pieces of one run's output. The pieces
//!   are there before the record is, so a worker that is late, or one too many, changes nothing.
//! - **A chunk is given back by silence.** A worker says that it is in progress; one that has said nothing
//!   for the lease has its chunk given to another.
//! - **Nothing is taken on trust.** Messages are read with a bound and checked; what does not fit is an
//!   [`Error`] that names the subject.

mod away;
mod carried;
mod connect;
mod coordinator;
mod error;
mod ledger;
mod messages;
mod monitor;
mod names;
mod pieces;
mod server;
mod worker;

pub use connect::{Login, LoginError};
pub use coordinator::{Coordinator, Setup};
pub use error::{Error, Result};
pub use ledger::{Ledger, Mismatch};
pub use messages::{Cut, Done, How, Job, NotOurs, Ticket, decode, encode};
pub use monitor::Durability;
pub use names::{BadName, JobName};
pub use pieces::{PIECE, Pieces};
pub use worker::{Post, Quit, Worked, work};
