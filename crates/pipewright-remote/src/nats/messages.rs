//! What coordinator and workers tell each other, as bytes. Pure.

use pipewright_workers::End;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A record has at most so many bytes: a command line is the longest thing in one.
const LONGEST: usize = 256 << 10;

/// Which records these are. Others of another version are not read.
const VERSION: u8 = 1;

/// A message that is none of ours, or damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotOurs {
    /// It is longer than any of ours.
    #[error("it has {0} bytes, which is more than any of ours")]
    TooLong(usize),
    /// Another version of pipewright wrote it, or somebody else.
    #[error("it is not of this version of pipewright")]
    Version,
    /// It cannot be read.
    #[error("it is damaged, or somebody else wrote it")]
    Damaged,
}

/// The stage that a job is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The program and its arguments.
    pub argv: Vec<Vec<u8>>,
    /// Variables that decide what programs make of bytes; `None` where one is not set.
    pub environment: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// A worker that is silent for so many milliseconds has its chunk given to another.
    pub lease: u64,
    /// So often a chunk may be taken and not come back, before it counts as one that ends its workers.
    pub losses: u32,
}

/// Where the input was cut, and what the chunk was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Its length, in bytes.
    pub length: u64,
    /// The SHA-256 of its bytes.
    pub sha256: [u8; 32],
    /// The input ended here, whether a record did or not.
    pub last: bool,
}

/// A chunk that wants a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// Its number, from 0 up.
    pub chunk: u64,
    /// The runs that have failed before.
    pub attempt: u32,
    /// How often a worker that went away has given it back.
    pub given_back: u32,
    /// How many bytes a run is to read.
    pub length: u64,
    /// Their CRC-32C.
    pub crc: u32,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum How {
    /// With an exit status.
    Status(u8),
    /// By a signal.
    Signal(i32),
    /// It was taken so often, and no worker came back.
    Lost(u32),
}

impl How {
    /// What it is to those who count ends: a chunk whose workers all died was killed.
    #[must_use]
    pub fn end(self) -> End {
        match self {
            Self::Status(status) => End::Status(status),
            Self::Signal(signal) => End::Signal(signal),
            Self::Lost(_) => End::Signal(9),
        }
    }
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The run whose pieces these are: letters and digits.
    pub run: String,
    /// How it ended.
    pub how: How,
    /// It left some of its input unread.
    pub left_input: bool,
    /// How many bytes it wrote to its stdout, and their CRC-32C.
    pub stdout: (u64, u32),
    /// Likewise its stderr.
    pub stderr: (u64, u32),
    /// From the start to the end, in microseconds; on a core; and what it costs whatever the chunk's size.
    pub microseconds: [u64; 3],
}

/// Writes a record: [`Job`], [`Cut`], [`Ticket`] or [`Done`].
#[must_use]
pub fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "a record has no map of unknown length")]
    let bytes = postcard::to_extend(record, vec![VERSION]).expect("a record can be written");
    bytes
}

/// Reads a record that takes all of the bytes, whoever wrote them.
///
/// ```
/// use pipewright_remote::nats::{Cut, decode, encode};
///
/// let cut = Cut { length: 10, sha256: [7; 32], last: false };
/// assert_eq!(decode::<Cut>(&encode(&cut)), Ok(cut));
/// assert!(decode::<Cut>(b"anything else").is_err());
/// ```
///
/// # Errors
///
/// [`NotOurs`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, NotOurs> {
    if bytes.len() > LONGEST {
        return Err(NotOurs::TooLong(bytes.len()));
    }
    let Some((&VERSION, record)) = bytes.split_first() else {
        return Err(NotOurs::Version);
    };
    match postcard::take_from_bytes(record) {
        Ok((record, [])) => Ok(record),
        _ => Err(NotOurs::Damaged),
    }
}

impl Done {
    /// Tells whether it can stand in a subject: the name of the run is somebody else's to choose.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let fits = |byte: u8| byte.is_ascii_alphanumeric();
        !self.run.is_empty() && self.run.len() <= 64 && self.run.bytes().all(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_record_or_an_error(bytes: Vec<u8>) {
            let _ = decode::<Job>(&bytes);
            let _ = decode::<Cut>(&bytes);
            let _ = decode::<Done>(&bytes);
            if let Ok(ticket) = decode::<Ticket>(&bytes) {
                prop_assert_eq!(decode::<Ticket>(&encode(&ticket)), Ok(ticket));
            }
        }

        #[test]
        fn a_record_comes_back_and_never_cut_short(chunk: u64, attempt: u32, length: u64, crc: u32) {
            let ticket = Ticket { chunk, attempt, given_back: 0, length, crc };
            let bytes = encode(&ticket);
            prop_assert_eq!(decode::<Ticket>(&bytes), Ok(ticket));
            prop_assert!(decode::<Ticket>(&bytes[..bytes.len() - 1]).is_err());
            prop_assert_eq!(decode::<Ticket>(&[&bytes[..], b"x"].concat()), Err(NotOurs::Damaged));
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_not_looked_at() {
        assert_eq!(
            decode::<Job>(&vec![1; LONGEST + 1]),
            Err(NotOurs::TooLong(LONGEST + 1))
        );
        assert_eq!(decode::<Job>(b""), Err(NotOurs::Version));
        assert_eq!(decode::<Job>(&[2, 0]), Err(NotOurs::Version));
    }

    #[test]
    fn a_run_whose_name_would_reach_elsewhere_is_refused() {
        let done = |run: &str| Done {
            run: run.to_owned(),
            how: How::Status(0),
            left_input: false,
            stdout: (0, 0),
            stderr: (0, 0),
            microseconds: [0; 3],
        };
        assert!(done("a1B2").is_sound());
        for run in ["", "a.b", ">", "*", "a b", &"x".repeat(65)] {
            assert!(!done(run).is_sound(), "{run:?}");
        }
    }
}
