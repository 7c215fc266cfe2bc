//! How a hand-over can fail.

use std::fmt;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// The result of everything in this module that can fail.
///
/// ```
/// use pipewright::Command;
/// use pipewright_handoff::{Foreign, Result};
///
/// fn ask() -> Result<u32> {
///     Foreign::new(Command::new("false")).spawn()?.channel().receive()
/// }
/// assert!(ask().is_err()); // it ended without an answer
/// # Ok::<(), pipewright_handoff::Error>(())
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a descriptor refers to.
///
/// ```
/// use pipewright_handoff::DescriptorKind;
///
/// assert_eq!(DescriptorKind::of(std::fs::File::open("/")?)?, DescriptorKind::Directory);
/// assert_eq!(DescriptorKind::of(tempfile::tempfile()?)?, DescriptorKind::File);
/// let (one, _other) = std::os::unix::net::UnixStream::pair()?;
/// assert_eq!(DescriptorKind::of(one)?, DescriptorKind::Socket);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DescriptorKind {
    /// The end of a pipe or fifo that can be read.
    PipeReader,
    /// The end of a pipe or fifo that can be written.
    PipeWriter,
    /// A fifo that was opened for both.
    Fifo,
    /// A socket of any family.
    Socket,
    /// A regular file; a memfd is one.
    File,
    /// A directory.
    Directory,
    /// A terminal.
    Terminal,
    /// Anything else: another device, a pidfd, an eventfd.
    Other,
}

/// What is wrong with a named descriptor.
///
/// ```
/// use pipewright_handoff::{DescriptorFault, Error, ReExec};
///
/// let (reader, writer) = pipewright::pipe()?;
/// let twice = ReExec::new("worker").descriptor("input", reader).descriptor("input", writer);
/// let Err(Error::Descriptor { name, fault }) = twice.spawn() else { panic!("it started") };
/// assert_eq!((&*name, fault), ("input", DescriptorFault::GivenTwice));
/// # Ok::<(), pipewright_handoff::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptorFault {
    /// Nothing of that name was handed over.
    #[error("was not handed over; there is {}", list(.given))]
    NotGiven {
        /// The names that there are.
        given: Vec<String>,
    },
    /// It was taken before.
    #[error("was taken already; each can be taken once")]
    TakenAlready,
    /// It is something else. It can still be taken as what it is.
    #[error("is a {actual:?}, and one of {wanted:?} was asked for")]
    WrongKind {
        /// What it is.
        actual: DescriptorKind,
        /// What was asked for.
        wanted: &'static [DescriptorKind],
    },
    /// The name was used twice in the parent.
    #[error("was given twice; each needs a name of its own")]
    GivenTwice,
    /// It arrived as something else than it was sent as, or not at all.
    #[error("is not at its number {number}, where a {sent:?} was put")]
    NotArrived {
        /// The number in the child.
        number: i32,
        /// What was handed over.
        sent: DescriptorKind,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        format!("{names:?}")
    }
}

/// How a hand-over, or an exchange with the other process, failed.
///
/// Every wait ends in what was waited for or in one of these. The *stage* is the last one that
/// either side announced, by [`Channel::enter`](super::Channel::enter) or a barrier.
///
/// ```
/// use pipewright_handoff::{EntryPoints, Error, ReExec};
///
/// EntryPoints::new().entry("dies", |_| -> Result<(), Error> { std::process::abort() }).dispatch();
/// let mut child = ReExec::new("dies").spawn()?;
/// match child.channel().receive::<u32>() {
///     Err(Error::PeerDied { stage, status }) => {
///         assert_eq!(stage, "start");
///         assert!(status.is_some_and(|status| !status.success()));
///     }
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), pipewright_handoff::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The process could not be started.
    #[error(transparent)]
    Start(#[from] pipewright::Error),

    /// The other process ended, and everything that it sent before was received.
    #[error("the other process died at the stage \"{stage}\": {}", how(.status))]
    PeerDied {
        /// The last stage that was announced.
        stage: String,
        /// How it ended; `None` where that is not for this process to know, because the other one
        /// is not its child.
        status: Option<ExitStatus>,
    },

    /// The other process lives and did not answer in time.
    #[error("no answer within {waited:?} at the stage \"{stage}\"")]
    TimedOut {
        /// The last stage that was announced.
        stage: String,
        /// How long was waited.
        waited: Duration,
    },

    /// Something is larger than its limit. Nothing of it was sent, or nothing of it was taken.
    #[error("{what} of {size} bytes is larger than the limit of {limit} bytes; {advice}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size in bytes; at least this many, where the rest was not looked at.
        size: u64,
        /// The limit in bytes.
        limit: u64,
        /// What to do.
        advice: &'static str,
    },

    /// The other process sent something else than was expected.
    #[error("expected {expected}, got {got}")]
    Protocol {
        /// What was expected.
        expected: String,
        /// What came.
        got: String,
    },

    /// The other process tells that it failed.
    #[error("{stage}: {message}")]
    Remote {
        /// The stage at which it failed.
        stage: String,
        /// What it says.
        message: String,
        /// The kernel's error number behind it, where there is one.
        errno: Option<i32>,
    },

    /// A named descriptor is not what was asked for.
    #[error("the descriptor named {name:?} {fault}")]
    Descriptor {
        /// The name.
        name: String,
        /// What is wrong.
        fault: DescriptorFault,
    },

    /// A stream ended inside a message: its sender died, or stopped, while it wrote.
    #[error("the stream ended inside a message: {received} of {expected} bytes came")]
    Torn {
        /// How many bytes of the message came, its length prefix included.
        received: u64,
        /// How many it has; 4 where not even the length prefix was complete.
        expected: u64,
    },

    /// A system call failed.
    #[error("cannot {operation}: {source}{}", advice(.operation, .source))]
    System {
        /// What was tried, as a verb and its object.
        operation: &'static str,
        /// Why the kernel refused.
        source: std::io::Error,
    },
}

impl Error {
    pub(super) fn system(operation: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::System {
            operation,
            source: errno.into(),
        }
    }

    pub(super) fn io(operation: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::System { operation, source }
    }

    pub(super) fn protocol(expected: impl fmt::Display, got: impl fmt::Display) -> Self {
        Self::Protocol {
            expected: expected.to_string(),
            got: got.to_string(),
        }
    }

    /// The kernel's error number behind this error, here or in the other process.
    ///
    /// ```
    /// use pipewright::Command;
    /// use pipewright_handoff::{EntryPoints, ReExec};
    ///
    /// EntryPoints::new().entry("init", |parent| parent.exec::<()>(Command::new("/"))).dispatch();
    /// let child = ReExec::new("init").spawn()?;
    /// let error = child.wait_exec(std::time::Duration::from_secs(10)).unwrap_err();
    /// assert_eq!(error.raw_os_error(), Some(13)); // EACCES, in the child
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Start(error) => error.raw_os_error(),
            Self::System { source, .. } => source.raw_os_error(),
            Self::Remote { errno, .. } => *errno,
            _ => None,
        }
    }

    /// The stage at which it happened, where there is one.
    ///
    /// ```
    /// use pipewright_handoff::{EntryPoints, ReExec};
    ///
    /// EntryPoints::new()
    ///     .entry("init", |parent| parent.channel().barrier("map my ids"))
    ///     .dispatch();
    /// let mut child = ReExec::new("init").spawn()?;
    /// let refuse = || Err("too many ids");
    /// let error = child.channel().serve_barrier("map my ids", refuse).unwrap_err();
    /// assert_eq!(error.stage(), Some("map my ids"));
    /// # child.child().wait()?;
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    pub fn stage(&self) -> Option<&str> {
        match self {
            Self::PeerDied { stage, .. }
            | Self::TimedOut { stage, .. }
            | Self::Remote { stage, .. } => Some(stage),
            _ => None,
        }
    }
}

fn how(status: &Option<ExitStatus>) -> String {
    status.map_or_else(
        || "how is not known here".to_owned(),
        |status| status.to_string(),
    )
}

/// Opening this program's own file: what fails where there is no /proc.
pub(super) const OPEN_SELF: &str = "open /proc/self/exe";

/// Opening a gate: what fails where nobody waits there.
pub(super) const OPEN_GATE: &str = "open the gate";

/// What to do where the reason alone does not say.
fn advice(operation: &str, source: &std::io::Error) -> &'static str {
    let errno = source.raw_os_error().map(Errno::from_raw_os_error);
    match (operation, errno) {
        (OPEN_SELF, Some(Errno::NOENT)) => {
            "; /proc is not mounted here, or belongs to another pid namespace: mount it, or open \
             the executable before and give it with SelfExe::File"
        }
        (OPEN_GATE, Some(Errno::CONNREFUSED)) => {
            "; nobody waits there: it was opened before, or the process behind it has died"
        }
        (_, Some(Errno::MFILE)) => "; this process has no descriptor left: see ulimit -n",
        _ => "",
    }
}
