//! What can go wrong when looking at somebody else's processes and pipes.

use std::io;

use rustix::io::Errno;

/// The result of everything in this crate that can fail.
///
/// ```
/// use pipewright_observe::{Process, Result};
///
/// fn parent_of(pid: u32) -> Result<u32> {
///     Ok(Process::open(pid)?.stat()?.parent)
/// }
/// assert_eq!(parent_of(std::process::id())?, std::os::unix::process::parent_id());
/// # Ok::<(), pipewright_observe::Error>(())
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be looked at.
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
        pipe: crate::PipeId,
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
        pipe: crate::PipeId,
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
        pipe: crate::PipeId,
        /// Bytes that were asked for.
        requested: usize,
    },

    /// A process holds no pipe that leads to another process.
    #[error(
        "process {pid} is not part of a pipeline: no pipe connects it with another process that may be looked at"
    )]
    NotInAPipeline {
        /// The process.
        pid: u32,
    },

    /// The stages and pipes given to a sampler do not fit each other.
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

    /// Any other refusal by the kernel.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried, on what.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    /// Turns an error number met on a file of process `pid` into the sentence it means.
    pub(crate) fn of_process(what: &'static str, pid: u32, error: Errno) -> Error {
        match error {
            // ENOENT: the directory of a process that ended. ESRCH: a file of it kept open.
            Errno::NOENT | Errno::SRCH => Error::Ended { pid },
            Errno::ACCESS | Errno::PERM => Error::Denied { what, pid },
            other => Error::System {
                what: format!("{what} of process {pid}"),
                source: other.into(),
            },
        }
    }

    /// Whether the thing looked at is simply no longer there.
    ///
    /// ```
    /// use pipewright_observe::{Error, PipeHandle, Process};
    ///
    /// assert!(Process::open(99_999_999).unwrap_err().is_ended());
    /// let no_pipe = PipeHandle::of_end(std::fs::File::open("/")?).unwrap_err();
    /// assert!(!no_pipe.is_ended()); // it is there, and something else
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_ended(&self) -> bool {
        matches!(self, Error::Ended { .. } | Error::NoSuchProcess { .. })
    }
}
