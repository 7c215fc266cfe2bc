//! Where chunks are run: here, or somewhere else.

use std::sync::Arc;
use std::time::Duration;

use pipewright::Child;

use crate::chunk::{Chunk, Store};
use crate::error::Result;
use crate::order::End;

/// Runs the command on chunks: as a process here, or on other hosts.
///
/// Each chunk has a thread that waits for it, so as many run at once as [`crate::Stage::workers`] says.
pub trait Runner: Send + Sync {
    /// Tells how long a chunk is that an earlier run of the same stage has cut, in bytes; `None` where
    /// this is the first to cut it.
    ///
    /// # Errors
    ///
    /// When nobody can say.
    fn known_length(&self, _number: u64) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Takes note that the input has ended behind so many chunks, before the last of them is started.
    ///
    /// # Errors
    ///
    /// When an earlier run had more of it.
    fn input_ended(&self, _chunks: u64) -> Result<()> {
        Ok(())
    }

    /// Starts a run on the chunk with this number. A chunk that failed may be started again.
    ///
    /// # Errors
    ///
    /// When the command cannot be started.
    fn start(&self, number: u64, store: &Store) -> Result<Box<dyn Started>>;

    /// Takes note that a chunk has failed for good. It was run on these parts.
    fn failed(&self, _number: u64, _parts: &[&Chunk], _end: End) {}
}

/// A run that was started, and has no input yet.
pub trait Started {
    /// What ends the run early.
    fn stop(&self) -> Arc<dyn Stop>;

    /// Gives the run its input, part for part, and waits for its end.
    ///
    /// # Errors
    ///
    /// When the input or the output cannot be moved.
    fn finish(self: Box<Self>, parts: &[&Chunk]) -> Result<Ended>;
}

/// Ends a run whose output nobody wants any more.
pub trait Stop: Send + Sync {
    /// Ends the run. One that has ended by itself is as good.
    fn stop(&self);
}

impl Stop for Child {
    fn stop(&self) {
        let _ = self.kill();
    }
}

/// A run that has ended.
#[derive(Debug)]
pub struct Ended {
    /// How the command ended.
    pub end: End,
    /// What it wrote to its stdout.
    pub output: Chunk,
    /// What it wrote to its stderr, where that did not go to this process's own.
    pub stderr: Option<Chunk>,
    /// It left some of its input unread.
    pub left_input: bool,
    /// From the start to the end.
    pub time: Duration,
    /// How long it had a core.
    pub on_core: Duration,
    /// The start alone, with all that a run costs whatever its chunk's size.
    pub start: Duration,
}
