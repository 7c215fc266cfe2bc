//! What can go wrong, said so that somebody can act on it.
//!
//! Every error names what was tried, on what, and why the kernel refused.

mod start;

use std::io;
use std::time::Duration;

use rustix::io::Errno;

pub use start::{StartError, Step};

use crate::capture::collected::Collected;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Anything this crate can fail with.
///
/// It turns into an [`io::Error`] of the matching [`io::ErrorKind`], so that `?` works in
/// functions that return [`io::Result`].
///
/// ```
/// use pipewright::{Command, Error, Step};
///
/// let error = Command::new("true").current_dir("/nope").spawn().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     r#"cannot start "true": chdir to "/nope": No such file or directory (os error 2)"#,
/// );
/// assert!(matches!(error, Error::Start(failure) if matches!(failure.step, Step::ChangeDirectory(_))));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A command was put together wrongly. Nothing was started.
    #[error("cannot start {program:?}: {reason}")]
    Invalid {
        /// The program as it was named.
        program: String,
        /// What is wrong with the command.
        reason: InvalidCommand,
    },

    /// The kernel refused one step of a start. Nothing of the child is left behind.
    #[error(transparent)]
    Start(#[from] StartError),

    /// A stage of a pipeline was not started because another one cannot be.
    #[error("{name} was held back: {missing} cannot be started")]
    HeldBack {
        /// The stage as one would type it.
        name: String,
        /// The other one.
        missing: String,
    },

    /// A pipe was asked for a capacity above what an unprivileged process may have.
    #[error(
        "cannot set the pipe's capacity to {requested} bytes: the ceiling for an unprivileged \
         process is {ceiling} bytes (/proc/sys/fs/pipe-max-size); ask for less, or raise the ceiling"
    )]
    CapacityAboveCeiling {
        /// Bytes that were asked for.
        requested: usize,
        /// Bytes in `/proc/sys/fs/pipe-max-size`.
        ceiling: usize,
    },

    /// A pipe may not grow because this user's pipes already hold their share of memory.
    #[error(
        "cannot set the pipe's capacity to {requested} bytes: this user's pipes together have \
         reached their quota (/proc/sys/fs/pipe-user-pages-soft); close pipes, or raise the quota"
    )]
    CapacityOverQuota {
        /// Bytes that were asked for.
        requested: usize,
    },

    /// A pipe may not shrink below what is still unread in it.
    #[error(
        "cannot set the pipe's capacity to {requested} bytes: {unread} bytes in it are still \
         unread; read them first, or ask for more"
    )]
    CapacityBelowUnread {
        /// Bytes that were asked for.
        requested: usize,
        /// Bytes that wait in the pipe.
        unread: usize,
    },

    /// A command or pipeline whose output was collected had not ended in time. It was killed.
    #[error(
        "{name} did not end within {timeout:?} and was killed; {} bytes of its output were \
         collected before",
        .collected.bytes()
    )]
    TimedOut {
        /// The command as one would type it.
        name: String,
        /// The time it was given.
        timeout: Duration,
        /// What had arrived by then.
        collected: Box<Collected>,
    },

    /// A [`Canceller`](crate::Canceller) ended the collecting. What ran was killed.
    #[error(
        "{name} was cancelled and killed; {} bytes of its output were collected before",
        .collected.bytes()
    )]
    Cancelled {
        /// The command as one would type it.
        name: String,
        /// What had arrived by then.
        collected: Box<Collected>,
    },

    /// A command or pipeline wrote more than was allowed. It was killed.
    #[error(
        "{name} wrote more than the {limit} bytes allowed and was killed; allow more, or send its \
         output to a file"
    )]
    OutputTooLarge {
        /// The command as one would type it.
        name: String,
        /// The bytes allowed.
        limit: usize,
        /// What had arrived: as many bytes as were allowed.
        collected: Box<Collected>,
    },

    /// Every stage has ended, but a process that one of them left behind still holds a pipe that
    /// was collected from.
    #[error(
        "{name} has ended, but {grace:?} later a process that it left behind still holds its \
         output open; let that process redirect its output, or allow it more time"
    )]
    PipeHeldOpen {
        /// The command as one would type it.
        name: String,
        /// The time the pipe was given to be closed.
        grace: Duration,
        /// What had arrived, and how the stages ended.
        collected: Box<Collected>,
    },

    /// A command ended, but not with success.
    #[error("{name} failed: {end}{}", after_colon(.stderr))]
    Failed {
        /// The stage that failed, as one would type it.
        name: String,
        /// How it ended, in words.
        end: String,
        /// The status that a shell would give.
        exit_code: u8,
        /// The end of what it wrote to its stderr, without control characters.
        stderr: String,
    },

    /// Output that was to be text is not UTF-8.
    #[error("the output of {name} is not UTF-8: byte {position} is 0x{byte:02x}; take it as bytes")]
    NotUtf8 {
        /// The command as one would type it.
        name: String,
        /// The position of the first wrong byte, counted from 0 at the start of the output.
        position: u64,
        /// That byte.
        byte: u8,
    },

    /// Collecting the output of a command or pipeline failed: its input could not be read, its
    /// output did not fit into memory, or its status was lost. What ran was killed.
    #[error("{reason}")]
    CaptureFailed {
        /// The command as one would type it.
        name: String,
        /// What failed.
        reason: Box<Error>,
        /// What had arrived by then: all of it, if only the status was lost.
        collected: Box<Collected>,
    },

    /// Nothing has come within the time that one read was given. The command runs on, and the next
    /// read goes on where this one was.
    #[error("nothing has come from {name} within {time:?}; it still runs")]
    NothingYet {
        /// The command as one would type it.
        name: String,
        /// The time that was given.
        time: Duration,
    },

    /// A child has ended, and how cannot be known any more: see
    /// [`Child`](crate::Child#other-code-that-waits).
    #[error("{program} has ended, but its status is lost: {cause}")]
    StatusLost {
        /// The program as the command named it.
        program: String,
        /// What became of the status.
        cause: LostStatus,
    },

    /// A system call failed on a pipe, a process or a descriptor.
    #[error("cannot {operation}: {source}")]
    System {
        /// What was tried, as a verb and its object: `make a pipe`.
        operation: &'static str,
        /// Why the kernel refused. The message has it already, so that it is no
        /// [`source`](std::error::Error::source).
        r#source: io::Error,
    },
}

impl Error {
    pub(crate) fn system(operation: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::System {
            operation,
            source: errno.into(),
        }
    }

    /// What a capture had collected before it was given up, if this is the error of one.
    pub fn collected(&self) -> Option<&Collected> {
        match self {
            Self::TimedOut { collected, .. }
            | Self::Cancelled { collected, .. }
            | Self::OutputTooLarge { collected, .. }
            | Self::PipeHeldOpen { collected, .. }
            | Self::CaptureFailed { collected, .. } => Some(collected),
            _ => None,
        }
    }

    /// The error of a capture, with what was collected. One that has no place for it gets one.
    pub(crate) fn with_collected(
        mut self,
        name: impl FnOnce() -> String,
        bytes: Collected,
    ) -> Self {
        match &mut self {
            Self::TimedOut { collected, .. }
            | Self::Cancelled { collected, .. }
            | Self::OutputTooLarge { collected, .. }
            | Self::PipeHeldOpen { collected, .. } => {
                **collected = bytes;
                self
            }
            _ => Self::CaptureFailed {
                name: name(),
                reason: Box::new(self),
                collected: Box::new(bytes),
            },
        }
    }

    /// The kernel's error number behind this error, where there is one.
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Start(failure) => failure.source.raw_os_error(),
            Self::System { source, .. } => source.raw_os_error(),
            Self::CapacityAboveCeiling { .. } | Self::CapacityOverQuota { .. } => {
                Some(Errno::PERM.raw_os_error())
            }
            Self::CapacityBelowUnread { .. } => Some(Errno::BUSY.raw_os_error()),
            Self::TimedOut { .. } | Self::NothingYet { .. } => Some(Errno::TIMEDOUT.raw_os_error()),
            Self::CaptureFailed { reason, .. } => reason.raw_os_error(),
            Self::Invalid {
                reason: InvalidCommand::UserId | InvalidCommand::GroupId,
                ..
            } => Some(Errno::INVAL.raw_os_error()),
            Self::StatusLost { .. } => Some(Errno::CHILD.raw_os_error()),
            Self::Invalid { .. }
            | Self::HeldBack { .. }
            | Self::Cancelled { .. }
            | Self::OutputTooLarge { .. }
            | Self::PipeHeldOpen { .. }
            | Self::Failed { .. }
            | Self::NotUtf8 { .. } => None,
        }
    }

    /// The status a shell would give: 127 where the program was not found, 126 where it was found
    /// and could not be executed, its own for a command that failed, 124 (as timeout(1)) for one
    /// that did not end in time, 125 for anything else.
    ///
    /// ```
    /// let not_found = pipewright::Command::new("/no/such/program").spawn().unwrap_err();
    /// assert_eq!(not_found.exit_code(), 127);
    /// let a_directory = pipewright::Command::new("/tmp").spawn().unwrap_err();
    /// assert_eq!(a_directory.exit_code(), 126);
    /// ```
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Start(StartError {
                step: Step::Execute(_),
                source,
                ..
            }) => match source.kind() {
                io::ErrorKind::NotFound => 127,
                _ => 126,
            },
            Self::Failed { exit_code, .. } => *exit_code,
            Self::TimedOut { .. } => 124,
            Self::CaptureFailed { reason, .. } => reason.exit_code(),
            _ => 125,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match (&error, error.raw_os_error()) {
            (Error::Invalid { .. }, _) => io::ErrorKind::InvalidInput,
            (Error::NotUtf8 { .. }, _) => io::ErrorKind::InvalidData,
            (Error::Cancelled { .. }, _) => io::ErrorKind::Interrupted,
            (_, Some(errno)) => io::Error::from_raw_os_error(errno).kind(),
            (_, None) => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// Why the status of a child that has ended cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LostStatus {
    /// The kernel keeps no status for this process.
    #[error(
        "SIGCHLD is ignored in this process, so the kernel keeps no status; set SIGCHLD to its \
         default (a program may inherit it as ignored) before children are started"
    )]
    Ignored,
    /// Other code in this process took it.
    #[error(
        "other code in this process waited for any child (waitpid(-1), perhaps in a handler for \
         SIGCHLD) and took it; let that code wait for its own children only"
    )]
    TakenElsewhere,
}

fn after_colon(text: &str) -> String {
    let separator = if text.is_empty() { "" } else { ": " };
    format!("{separator}{text}")
}

/// The fault of a command that was never started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidCommand {
    /// Two sources were named for one descriptor number.
    #[error("descriptor {0} has two sources; name one source for each number")]
    DescriptorTwice(i32),
    /// A descriptor number below zero.
    #[error("descriptor number {0} is negative; numbers start at 0")]
    DescriptorNegative(i32),
    /// [`Stdio::SameAsStdout`](crate::Stdio::SameAsStdout) for something that is not stderr.
    #[error("only stderr can be the same as stdout; give {0} a source of its own")]
    SameAsStdout(&'static str),
    /// [`Stdio::SameAsStderr`](crate::Stdio::SameAsStderr) for something that is not stdout.
    #[error("only stdout can be the same as stderr; give {0} a source of its own")]
    SameAsStderr(&'static str),
    /// Stdout is to be the same as stderr, and stderr the same as stdout.
    #[error("stdout and stderr are each to be the same as the other; give one of them a target")]
    SameAsEachOther,
    /// A zero byte in something that becomes a C string.
    #[error("{0} contains a zero byte, which would end it early in the child")]
    InteriorNul(&'static str),
    /// A variable's name that is empty or contains `=`.
    #[error("environment variable name {0:?} is empty or contains \"=\"")]
    VariableName(String),
    /// A session leader is the leader of its own group already.
    #[error("a new session already is a new process group; ask for one of the two")]
    SessionAndGroup,
    /// A user id of all ones, which the kernel reads as "leave it as it is".
    #[error("user id 4294967295 stands for no user; name one below it")]
    UserId,
    /// A group id of all ones, likewise.
    #[error("group id 4294967295 stands for no group; name one below it")]
    GroupId,
    /// A middle stage whose stdin or stdout was chosen, although the pipeline connects it.
    #[error("its {0} is connected by the pipeline; leave it unset")]
    ConnectedByPipeline(&'static str),
}
