//! What passes between a run of chunks and a host that runs some of them, as bytes. Pure.
//!
//! Each is a length of four bytes, little-endian, and postcard's form behind it; then the bytes that it
//! promises, if it does.

use std::io::{self, Read};

use pipewright_workers::End;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::environment::Variable;
use crate::messages;

/// The most bytes of a chunk that go with one word.
pub(super) const PIECE: usize = 1 << 18;

/// What the host is to do.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) enum Ask {
    /// The first word: which command all of it is about.
    Job {
        argv: Vec<Vec<u8>>,
        /// Variables that are set there, or taken away.
        environment: Vec<Variable>,
        /// So many bytes of chunks are kept in memory there.
        memory: u64,
    },
    /// So many bytes follow, for the input of this run.
    Piece { run: u64, length: u32 },
    /// That was all of its input.
    Run { run: u64 },
    /// Nobody wants its output any more.
    Stop { run: u64 },
}

/// What it answers.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// It is there, and has so many cores.
    Ready { cores: u32 },
    /// A run has ended. What it wrote to stdout follows, then what it wrote to stderr.
    Ended(Report),
    /// The command cannot be started: no such program, for one.
    NotStarted { run: u64, message: String },
    /// The host was short of something.
    Failed { run: u64, message: String },
}

/// How a run has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) run: u64,
    pub(super) how: How,
    pub(super) left_input: bool,
    /// From its start to its end, on a core, and the start alone.
    pub(super) microseconds: [u64; 3],
    /// Bytes.
    pub(super) stdout: u64,
    pub(super) stderr: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) enum How {
    Status(u8),
    Signal(i32),
}

impl From<End> for How {
    fn from(end: End) -> Self {
        match end {
            End::Status(status) => Self::Status(status),
            End::Signal(signal) => Self::Signal(signal),
        }
    }
}

impl From<How> for End {
    fn from(how: How) -> Self {
        match how {
            How::Status(status) => Self::Status(status),
            How::Signal(signal) => Self::Signal(signal),
        }
    }
}

/// Reads the next word; `None` at the end.
pub(super) fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut head = [0; 4];
    if from.read(&mut head[..1])? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut head[1..])?;
    let length = u32::from_le_bytes(head) as usize;
    let nonsense = || io::Error::new(io::ErrorKind::InvalidData, "a word that cannot be read");
    if length > messages::LONGEST {
        return Err(nonsense());
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    messages::unpack(&body).map(Some).map_err(|_| nonsense())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back_one_by_one_and_a_torn_one_is_an_error() {
        let words = [
            Ask::Piece { run: 7, length: 9 },
            Ask::Run { run: 7 },
            Ask::Stop { run: 1 << 40 },
        ];
        let bytes: Vec<u8> = words.iter().flat_map(messages::write).collect();
        let mut left = &bytes[..];
        for word in &words {
            assert_eq!(read::<Ask>(&mut left).unwrap().as_ref(), Some(word));
        }
        assert_eq!(read::<Ask>(&mut left).unwrap(), None);
        let first = messages::write(&words[0]);
        for cut in 1..first.len() {
            assert!(read::<Ask>(&mut &first[..cut]).is_err(), "{cut}");
        }
        assert!(read::<Ask>(&mut &[255; 40][..]).is_err());
        assert!(read::<Ask>(&mut &[1, 0, 0, 0, 99][..]).is_err());
    }
}
