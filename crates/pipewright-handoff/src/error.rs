//! The ways in which a hand-off can fail. Knows no other file of the crate.

use std::fmt::{self, Write as _};
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The failure of a hand-off, or of an exchange with the other process.
///
/// Every wait ends in what was waited for or in one of these. The *phase* is the last one that
/// either side announced, by [`Channel::enter`](crate::Channel::enter) or a barrier.
///
/// The text says why it failed, so [`source`](std::error::Error::source) does not repeat it. What
/// the other process wrote is printed with its control characters, and those that change the
/// direction of writing, as escapes; the fields hold it as it came.
///
/// ```
/// use pipewright_handoff::{EntryPoints, Error, ReExec};
///
/// EntryPoints::new().entry("dies", |_| -> Result<(), Error> { std::process::abort() }).dispatch();
/// let mut child = ReExec::new("dies").spawn()?;
/// match child.channel().receive::<u32>() {
///     Err(Error::PeerDied { phase, status }) => {
///         assert_eq!(phase, "start");
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
    #[error("the other process died in the phase \"{}\": {}", Shown(.phase), how(.status))]
    PeerDied {
        /// The last phase that was announced.
        phase: String,
        /// Its status; `None` if it is not a child of this process, since only the parent learns
        /// it.
        status: Option<ExitStatus>,
    },

    /// The other process lives and did not answer in time.
    #[error("no answer within {waited:?} in the phase \"{}\"", Shown(.phase))]
    TimedOut {
        /// The last phase that was announced.
        phase: String,
        /// The time that this process waited.
        waited: Duration,
    },

    /// Something is larger than its limit. Nothing of it was sent, or nothing of it was taken.
    #[error("{what} of {size} bytes is larger than the limit of {limit} bytes; {advice}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size in bytes; at least this many, if the rest was not looked at.
        size: u64,
        /// The limit in bytes.
        limit: u64,
        /// What to do.
        advice: &'static str,
    },

    /// The other process sent something other than what was expected.
    #[error("expected {}, got {}", Shown(.expected), Shown(.got))]
    Protocol {
        /// What was expected.
        expected: String,
        /// What came.
        got: String,
    },

    /// The other process reports that it failed.
    #[error("{}: {}", Shown(.phase), Shown(.message))]
    Remote {
        /// The phase in which it failed.
        phase: String,
        /// Its own words.
        message: String,
        /// The kernel's error number behind it, if there is one.
        errno: Option<i32>,
    },

    /// A named descriptor is not what was asked for.
    #[error("the descriptor named \"{}\" {fault}", Shown(.name))]
    Descriptor {
        /// The name.
        name: String,
        /// What is wrong.
        fault: DescriptorFault,
    },

    /// A stream ended inside a message: its sender died, or stopped, while it wrote.
    #[error("the stream ended inside a message: {received} of {expected} bytes came")]
    Torn {
        /// The bytes of the message that came, its length prefix included.
        received: u64,
        /// The bytes that it has; 4 if not even the length prefix was complete.
        expected: u64,
    },

    /// This process takes no hand-off, because it has privileges that the one who started it may
    /// lack: its file is set-user-ID, set-group-ID or has capabilities.
    #[error(
        "refused: this program is set-user-ID or set-group-ID, has file capabilities, or gets another \
         security context, so whoever started it may have made up what it is handed; if its parent \
         is privileged itself, let it start this child with real ids that match, by ReExec::command \
         with Command::uid and gid"
    )]
    Privileged,

    /// A system call failed.
    #[error("cannot {operation}: {reason}{}", advice(.operation, .reason))]
    System {
        /// What was tried, as a verb and its object.
        operation: &'static str,
        /// Why the kernel refused.
        reason: io::Error,
    },
}

impl Error {
    pub(crate) fn system(operation: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::io(operation)(errno.into())
    }

    pub(crate) fn io(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |reason| Self::System { operation, reason }
    }

    pub(crate) fn protocol(expected: impl fmt::Display, got: impl fmt::Display) -> Self {
        Self::Protocol {
            expected: expected.to_string(),
            got: got.to_string(),
        }
    }

    /// The kernel's error number behind this error, here or in the other process.
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Start(error) => error.raw_os_error(),
            Self::System { reason, .. } => reason.raw_os_error(),
            Self::Remote { errno, .. } => *errno,
            _ => None,
        }
    }

    /// The phase in which it happened, if the error has one.
    pub fn phase(&self) -> Option<&str> {
        match self {
            Self::PeerDied { phase, .. }
            | Self::TimedOut { phase, .. }
            | Self::Remote { phase, .. } => Some(phase),
            _ => None,
        }
    }
}

/// Text of another process. What would act on a terminal, or make a line read as something else, is
/// written as an escape.
pub(crate) struct Shown<'a>(pub(crate) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let apart = |c: char| matches!(c, '"' | '\'' | '\\') || is_blank(c);
        for piece in self.0.split_inclusive(apart) {
            let plain = piece.trim_end_matches(apart);
            // std knows which characters cannot be printed.
            write!(f, "{}", plain.escape_debug())?;
            for c in piece.chars().skip(plain.chars().count()) {
                if is_blank(c) {
                    write!(f, "{}", c.escape_unicode())?;
                } else {
                    // std would escape it for a literal.
                    f.write_char(c)?;
                }
            }
        }
        Ok(())
    }
}

/// Tells if std prints it although nobody sees it: letters without a shape, and marks that join or
/// vary others.
fn is_blank(c: char) -> bool {
    matches!(
        c,
        '\u{34f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

fn how(status: &Option<ExitStatus>) -> String {
    status.map_or_else(
        || "only its own parent knows how".to_owned(),
        |status| status.to_string(),
    )
}

/// Opening this program's own file, which fails if there is no /proc.
pub(crate) const OPEN_SELF: &str = "open /proc/self/exe";

/// Opening a gate, which fails if nobody waits there.
#[cfg(feature = "gate")]
pub(crate) const OPEN_GATE: &str = "open the gate";

/// The advice, if the reason alone does not say what to do.
fn advice(operation: &str, reason: &io::Error) -> &'static str {
    let errno = reason.raw_os_error().map(Errno::from_raw_os_error);
    match (operation, errno) {
        (OPEN_SELF, Some(Errno::NOENT)) => {
            "; /proc is not mounted here, or belongs to another pid namespace: mount it, or open \
             the executable before and give it with SelfExe::File"
        }
        #[cfg(feature = "gate")]
        (OPEN_GATE, Some(Errno::CONNREFUSED)) => {
            "; nobody waits there: it was opened before, or the process behind it has died"
        }
        (_, Some(Errno::MFILE)) => "; this process has no descriptor left: see ulimit -n",
        _ => "",
    }
}

/// The kind of thing that a descriptor refers to.
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

/// The fault of a named descriptor.
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
    #[error("is a {actual:?}, but {} was asked for", any_of(.wanted))]
    WrongKind {
        /// What it is.
        actual: DescriptorKind,
        /// What was asked for: one of these.
        wanted: &'static [DescriptorKind],
    },
    /// The name was used twice in the parent.
    #[error("was given twice; each needs a name of its own")]
    GivenTwice,
    /// It did not arrive, or arrived as something other than what was sent.
    #[error("is not at its number {number}, where the parent put a {sent:?}")]
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
        let names: Vec<String> = names
            .iter()
            .map(|name| format!("\"{}\"", Shown(name)))
            .collect();
        names.join(", ")
    }
}

fn any_of(kinds: &[DescriptorKind]) -> String {
    let kinds: Vec<String> = kinds.iter().map(|kind| format!("a {kind:?}")).collect();
    kinds.join(" or ")
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn what_another_process_says_cannot_act_on_a_terminal() {
        let hostile = "a\x1b[31m\u{9b}2J\r\n\u{202e}\u{61c}\u{ad}\u{2066}\u{e0041}\u{e0100}\u{200b}\u{2028}\
                       \u{3164}\u{115f}\u{ffa0}\u{34f}\u{fe0f}\u{180e}\u{feff}\u{fff9}z";
        let errors = [
            Error::Remote {
                phase: hostile.to_owned(),
                message: hostile.to_owned(),
                errno: None,
            },
            Error::protocol(hostile, hostile),
            Error::PeerDied {
                phase: hostile.to_owned(),
                status: None,
            },
            Error::TimedOut {
                phase: hostile.to_owned(),
                waited: Duration::ZERO,
            },
            Error::Descriptor {
                name: hostile.to_owned(),
                fault: DescriptorFault::NotGiven {
                    given: vec![hostile.to_owned()],
                },
            },
        ];
        for error in errors {
            let text = error.to_string();
            assert!(text.contains("a\\u{1b}[31m"), "{text:?}");
            assert!(
                text.chars().all(|c| c.is_ascii() && !c.is_control()),
                "{text:?}"
            );
        }
    }

    #[test]
    fn ordinary_text_is_printed_as_it_is() {
        let text = "gru\u{308}n → 日本: cannot open \"it's\" C:\\x";
        assert_eq!(Shown(text).to_string(), text);
    }

    #[test]
    fn a_reason_is_told_once() {
        let error = Error::system("poll")(Errno::NOMEM);
        assert!(error.to_string().contains("Cannot allocate memory"));
        assert!(error.source().is_none());
        assert_eq!(error.raw_os_error(), Some(Errno::NOMEM.raw_os_error()));
    }
}
