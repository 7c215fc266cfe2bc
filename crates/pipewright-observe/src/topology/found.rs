//! A pipeline that was found: its stages and pipes.

use serde::{Deserialize, Serialize};

use super::order::Shape;
use crate::error::{Error, Result};
use crate::pipe::{PipeHandle, PipeId};
use crate::proc::ProcessId;

/// A stage of a pipeline that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FoundStage {
    /// The process at its root.
    pub process: ProcessId,
    /// The kernel's short name for it, safe to show.
    pub name: String,
    /// Descendants that have inherited the stage's ends.
    pub members: Vec<u32>,
}

/// A pipe of a pipeline that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FoundPipe {
    /// The pipe.
    pub pipe: PipeId,
    /// Indices of the stages that hold its write end.
    pub writers: Vec<usize>,
    /// Indices of the stages that hold its read end.
    pub readers: Vec<usize>,
    /// A descriptor through which it can be reached.
    #[doc(hidden)]
    pub through: (ProcessId, u32),
}

impl FoundPipe {
    /// Takes hold of the pipe.
    ///
    /// # Errors
    ///
    /// [`Error::Ended`] if the descriptor it was found by is gone, or leads elsewhere by now;
    /// [`Error::Denied`] if this user may not look at it.
    pub fn open(&self) -> Result<PipeHandle> {
        let (process, descriptor) = self.through;
        let ended = || Error::Ended { pid: process.pid };
        let pipe = match PipeHandle::of_process(process.pid, descriptor) {
            Err(Error::NotAPipe { .. }) => return Err(ended()),
            pipe => pipe?,
        };
        if pipe.id() == self.pipe {
            Ok(pipe)
        } else {
            Err(ended())
        }
    }
}

/// Processes connected by pipes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Pipeline {
    /// Its stages, upstream first as far as there is an upstream.
    pub stages: Vec<FoundStage>,
    /// Its pipes, in the order of the first stage that writes to them.
    pub pipes: Vec<FoundPipe>,
    /// The way its stages are connected.
    pub shape: Shape,
    /// A program and its own ancestor, connected by pipes: a co-process, or a program whose
    /// output its parent captures, rather than stages side by side.
    pub with_ancestor: bool,
}

impl Pipeline {
    /// `true` if the process is a stage, or part of one.
    pub fn contains(&self, pid: u32) -> bool {
        self.stages
            .iter()
            .any(|stage| stage.process.pid == pid || stage.members.contains(&pid))
    }
}
