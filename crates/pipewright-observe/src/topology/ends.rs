//! Who holds which ends of pipes, and which sockets.

use serde::{Deserialize, Serialize};

use crate::pipe::PipeId;
use crate::proc::ProcessId;
use crate::proc::stat::number;

/// One of the two ends of a pipe.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// The end to read from.
    Read,
    /// The end to write to.
    Write,
}

/// One end of a pipe, as a descriptor of a process.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PipeEnd {
    /// The pipe.
    pub pipe: PipeId,
    /// The end of it.
    pub direction: Direction,
    /// The descriptor's number in the process that holds it.
    pub descriptor: u32,
}

/// A process that holds ends of pipes.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub process: ProcessId,
    /// The kernel's short name for it, safe to show.
    pub name: String,
    /// The ends that it holds.
    pub ends: Vec<PipeEnd>,
    /// It is a keeper of `pipewright run --record`: it gives a stage's program its input, and is a part of
    /// that stage.
    #[serde(default)]
    pub keeps: bool,
}

/// A socket, by the number of its inode.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SocketId(pub u64);

impl SocketId {
    /// Reads what `/proc/PID/fd/N` links to; `None` if that is no socket.
    pub fn from_link(link: &[u8]) -> Option<Self> {
        let inode = link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
        number(inode).map(Self)
    }
}

/// A socket as a descriptor of a process.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketEnd {
    /// The process.
    pub process: ProcessId,
    /// The descriptor's number in it.
    pub descriptor: u32,
    /// The socket.
    pub socket: SocketId,
}
