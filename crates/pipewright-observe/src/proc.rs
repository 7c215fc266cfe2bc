//! One process, seen through `/proc`.
//!
//! A [`Process`] is bound to the process it was opened for: when that process has ended and its
//! number has been given to another, every question is answered with
//! [`Error::Ended`](crate::Error::Ended), never with the other's figures.

pub use self::blocked::BlockedOn;
pub use self::command_line::CommandLine;
pub use self::descriptor::{FilePosition, Target};
pub use self::id::ProcessId;
pub(crate) use self::memory_file::MemoryFile;
pub(crate) use self::process::numbers_in;
pub use self::process::{Process, command_lines};
pub use self::stat::{IoCounters, ProcessState, Scheduled, Stat};

mod blocked;
mod command_line;
mod descriptor;
mod file_size;
mod id;
mod memory_file;
mod process;
pub(crate) mod root;
pub(crate) mod stat;
