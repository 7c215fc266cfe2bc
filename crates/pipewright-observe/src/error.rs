//! What can go wrong when looking at somebody else's processes and pipes.

use std::io;

use rustix::io::Errno;

use crate::pipe::id::PipeId;

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// A reason why something could not be looked at.
///
/// ```
/// use pipewright_observe::{Error, Process};
///
/// // Process numbers stay below 2^22 on Linux.
/// let error = Process::open(99_999_999).unwrap_err();
/// assert!(matches!(error, Error::NoSuchProcess { pid: 99_999_999 }));
/// assert_eq!(error.to_string(), "there is no process 99999999");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No process has this number.
    #[error("there is no process {pid}")]
    NoSuchProcess {
        /// The number that was asked for.
        pid: u32,
    },

    /// The process was there and has ended. Its number may already be another's.
    #[error("process {pid} has ended")]
    Ended {
        /// The number that it had.
        pid: u32,
    },

    /// The kernel does not let this user see that part of the process.
    #[error(
        "cannot {what} of process {pid}: permission denied; it is another user's process, or one \
         that changed its privileges: look as that user or as root (/proc mounted with hidepid \
         and /proc/sys/kernel/yama/ptrace_scope can also forbid it)"
    )]
    Denied {
        /// What was tried, as a verb and its object.
        what: &'static str,
        /// The process.
        pid: u32,
    },

    /// The kernel does not let this user open that pipe.
    #[error(
        "cannot {what}: permission denied; the pipe {pipe} was made by another user: look as that \
         user or as root"
    )]
    PipeDenied {
        /// What was tried.
        what: &'static str,
        /// The pipe, as `pipe:[INODE]`.
        pipe: PipeId,
    },

    /// The descriptor is there but is no anonymous pipe.
    #[error("{descriptor} is not a pipe")]
    NotAPipe {
        /// The descriptor, as a path below `/proc`.
        descriptor: String,
    },

    /// A capacity was asked for that this user may not have.
    #[error(
        "cannot set the capacity of {pipe} to {requested} bytes: without privilege the ceiling is \
         /proc/sys/fs/pipe-max-size for one pipe and /proc/sys/fs/pipe-user-pages-soft for all of \
         a user's pipes; ask for less, or raise the ceiling"
    )]
    CapacityNotGranted {
        /// The pipe.
        pipe: PipeId,
        /// Bytes that were asked for.
        requested: usize,
    },

    /// A pipe holds more unread bytes than the capacity that was asked for.
    #[error(
        "cannot shrink {pipe} to {requested} bytes: it holds more unread bytes than that; try \
         again when its reader has caught up"
    )]
    CapacityBelowUnread {
        /// The pipe.
        pipe: PipeId,
        /// Bytes that were asked for.
        requested: usize,
    },

    /// A process holds no pipe that leads to another process.
    #[error(
        "process {pid} is not part of a pipeline: no pipe connects it to another process that you may look at"
    )]
    NotInAPipeline {
        /// The process.
        pid: u32,
    },

    /// A process has started several pipelines, and is part of none of them.
    #[error(
        "process {pid} has started several pipelines: name a process of one of them, such as {}",
        listed(.stages)
    )]
    SeveralPipelines {
        /// The process.
        pid: u32,
        /// The first stage of each.
        stages: Vec<u32>,
    },

    /// The stages and pipes given to a sampler do not fit together.
    #[error("cannot watch the pipeline: {reason}")]
    Layout {
        /// What does not fit.
        reason: String,
    },

    /// `/proc` said something this crate cannot read.
    #[error("cannot read {path}: unexpected contents")]
    Malformed {
        /// The file.
        path: String,
    },

    /// There is no `/proc`, or it tells of another pid namespace than this process's.
    #[error("cannot look at processes: {reason}; mount it: mount -t proc proc /proc")]
    NoProc {
        /// What is wrong with it.
        reason: String,
    },

    /// The kernel waits for the process before it tells, and the process keeps it waiting: a lock of
    /// its memory is held, or its file system does not answer.
    #[error("cannot {what} of process {pid}: it does not answer")]
    NoAnswer {
        /// What was tried, as a verb and its object.
        what: &'static str,
        /// The process.
        pid: u32,
    },

    /// Any other refusal by the kernel.
    #[error("cannot {what}: {reason}")]
    System {
        /// What was tried, on what.
        what: String,
        /// Why it failed.
        reason: io::Error,
    },
}

/// The first few of these numbers.
fn listed(numbers: &[u32]) -> String {
    const FEW: usize = 5;
    let few: Vec<String> = numbers.iter().take(FEW).map(u32::to_string).collect();
    let more = if numbers.len() > FEW { ", …" } else { "" };
    few.join(", ") + more
}

impl Error {
    /// Turns an error number met on a file of process `pid` into the sentence it means.
    pub(crate) fn of_process(what: &'static str, pid: u32, error: Errno) -> Self {
        match error {
            // ENOENT: the directory of a process that ended. ESRCH: a file of it kept open.
            Errno::NOENT | Errno::SRCH => Self::Ended { pid },
            Errno::ACCESS | Errno::PERM => Self::Denied { what, pid },
            other => Self::System {
                what: format!("{what} of process {pid}"),
                reason: other.into(),
            },
        }
    }

    /// `true` if what was looked at is simply no longer there.
    pub fn is_ended(&self) -> bool {
        matches!(self, Self::Ended { .. } | Self::NoSuchProcess { .. })
    }
}
