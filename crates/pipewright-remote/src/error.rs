//! What can go wrong between two hosts, and what to do about it.

use std::io;

use crate::frames::NoFrame;
use crate::stream::Stream;

/// Frames that are frames, and that no well-behaved half sends.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Misuse {
    /// Bytes came that are not the next ones of their stream.
    #[error("bytes of {stream:?} came from offset {offset}, and {expected} was to come next")]
    OutOfOrder {
        /// Their stream.
        stream: Stream,
        /// Where they begin.
        offset: u64,
        /// Where they were to begin.
        expected: u64,
    },
    /// More came than may be under way.
    #[error("more bytes of {stream:?} came than the {window} that may be under way")]
    TooMuch {
        /// Their stream.
        stream: Stream,
        /// The most.
        window: usize,
    },
    /// Bytes came behind the end of their stream.
    #[error("bytes of {stream:?} came behind its end at {offset}")]
    BehindTheEnd {
        /// Their stream.
        stream: Stream,
        /// The end.
        offset: u64,
    },
    /// Bytes were acknowledged that had not been sent.
    #[error("{offset} bytes of {stream:?} were acknowledged, of {sent} that had been sent")]
    Acknowledged {
        /// Their stream.
        stream: Stream,
        /// What was acknowledged.
        offset: u64,
        /// What was sent.
        sent: u64,
    },
    /// The other half wants to go on where nobody can.
    #[error("{stream:?} cannot go on from byte {offset}: {kept} to {sent} are here")]
    Resumed {
        /// The stream.
        stream: Stream,
        /// Where it wants to go on.
        offset: u64,
        /// What was forgotten.
        kept: u64,
        /// What was sent.
        sent: u64,
    },
    /// A stream was sent by the half that gets it.
    #[error("a frame of {0:?} came from the half that gets this stream")]
    Direction(Stream),
    /// A word out of its turn.
    #[error("{0} came out of its turn")]
    Turn(&'static str),
    /// A message that cannot be read.
    #[error("a message came that cannot be read")]
    Message,
}

/// Why a stage on another host did not run to its end, or not at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// ssh cannot be started here.
    #[error("cannot start ssh")]
    Ssh(#[source] pipewright::Error),
    /// ssh ended before anything answered. Nothing was started there.
    #[error("cannot reach {host}: {said}")]
    Unreachable {
        /// The host.
        host: String,
        /// The last words of ssh.
        said: String,
    },
    /// There is no pipewright on the host. Nothing was started there.
    #[error("{host} has no pipewright that can be found")]
    Absent {
        /// The host.
        host: String,
        /// The system and the machine, as `uname -sm` tells them.
        machine: String,
    },
    /// The pipewright there is another one. Nothing was started there.
    #[error(
        "the pipewright on {host} speaks version {theirs} of the protocol, and this one {ours}: --bootstrap copies this one there"
    )]
    Version {
        /// The host.
        host: String,
        /// What it speaks.
        theirs: u16,
        /// What is spoken here.
        ours: u16,
    },
    /// The far half does not go on with the stage.
    #[error("{host} cannot go on with the stage: {reason}")]
    Refused {
        /// The host.
        host: String,
        /// Why.
        reason: String,
    },
    /// The link went away and did not come back within the lease.
    #[error(
        "the link to {host} is lost: it was away for {} s; {host} ends the stage when its lease is over, if it can; the last word of ssh: {said}", .lease.as_secs_f64()
    )]
    Lost {
        /// The host.
        host: String,
        /// How long it was waited for.
        lease: std::time::Duration,
        /// The last words of ssh.
        said: String,
    },
    /// Something came that is no frame.
    #[error("what {host} sent cannot be read")]
    Frame {
        /// The host.
        host: String,
        /// What came.
        #[source]
        source: NoFrame,
    },
    /// Frames came that no far half sends.
    #[error("what {host} sent makes no sense")]
    Misuse {
        /// The host.
        host: String,
        /// What came.
        #[source]
        source: Misuse,
    },
    /// The stage's stdin, or what it wrote, cannot be passed on here.
    #[error("cannot {0}")]
    Local(&'static str, #[source] io::Error),
    /// A signal came while there was no link to send it through.
    #[error("a signal ({0}) came while there was no link: the stage ends when its lease is over")]
    Signaled(i32),
    /// The copy of this program did not get there.
    #[error("cannot copy pipewright to {host}: {reason}")]
    Bootstrap {
        /// The host.
        host: String,
        /// Why.
        reason: String,
    },
    /// A name that is no host's.
    #[error("{0:?} is no name of a host: it begins with - or is empty")]
    HostName(String),
}

/// The result of what is done on another host.
pub type Result<T> = std::result::Result<T, Error>;
