//! What the halves tell each other apart from the stage's own bytes. Pure.
//!
//! On the streams [`Orders`](Stream::Orders) and [`Reports`](Stream::Reports) each message is a length of
//! four bytes, little-endian, and postcard's form behind it.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::Misuse;
use crate::session::Positions;

/// The version of all that passes between the halves.
pub(crate) const VERSION: u16 = 2;

/// The longest message: room for any argument list that the kernel takes.
pub(crate) const LONGEST: usize = 3 << 20;

/// The name of one run of one stage, which only its two halves know.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct Token(pub(crate) [u8; 16]);

/// The first word on a connection. Its form may change with the version, but for the version.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// [`VERSION`].
    pub(crate) version: u16,
    /// Which run it is about.
    pub(crate) token: Token,
    /// Nothing has been heard of the far half yet: there is none, or its answer was lost.
    pub(crate) first: bool,
    /// Which of the connections that make one link this is, and how many they are.
    pub(crate) lane: (u8, u8),
    /// Counts the links; lanes of different ones are not mixed.
    pub(crate) link: u32,
    /// How long the far half lives without a link.
    pub(crate) lease: Duration,
    /// The most bytes of a stream under way.
    pub(crate) window: u32,
    /// How far the near half has got.
    pub(crate) positions: Positions,
}

/// The answer to it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct Welcome {
    /// [`VERSION`].
    pub(crate) version: u16,
    /// How far the far half has got.
    pub(crate) positions: Positions,
}

/// What the far half is to do.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Start the stage: its program and arguments.
    Start(Vec<Vec<u8>>),
    /// Send this signal to everything that belongs to the stage.
    Signal(i32),
}

/// What the far half tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// It could not be started; the status is the shell's for it.
    NotStarted {
        /// Why, in a sentence.
        message: String,
        /// 127, 126 or 125.
        status: u8,
    },
    /// It runs.
    Started,
    /// What it does at the moment.
    Look(Look),
    /// It has ended.
    Ended {
        /// How.
        end: End,
        /// What it used.
        usage: Usage,
    },
}

/// How a stage ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum End {
    /// By itself, with this status.
    Exited(u8),
    /// By this signal.
    Signaled(i32),
    /// It, and what ran it, were killed.
    Unknown,
}

/// What a stage used on its host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// From its start to its end.
    pub wall: Duration,
    /// CPU time in user mode.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// Its largest resident set, in bytes, where it is known.
    pub peak_memory: Option<u64>,
}

/// What a stage does on its host at a moment, and has used there since its start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// What it does, as whoever looks and whoever is told have agreed on.
    pub activity: u8,
    /// CPU time.
    pub cpu_time: Duration,
    /// Time on a CPU, and time ready to run with none free, where that is known.
    pub scheduled: Option<(Duration, Duration)>,
    /// Bytes read from any descriptor, where that is known.
    pub read: Option<u64>,
    /// Bytes written to any descriptor, where that is known.
    pub written: Option<u64>,
    /// Processes it consists of.
    pub processes: u64,
    /// The name of the program that runs.
    pub program: String,
}

/// The payload of a greeting, a welcome or a refusal.
pub(crate) fn pack(message: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(message).expect("these messages are all plain data")
}

pub(crate) fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Misuse> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        _ => Err(Misuse::Message),
    }
}

/// The version in a greeting or a welcome of any version.
pub(crate) fn version(bytes: &[u8]) -> Result<u16, Misuse> {
    let (version, _) = postcard::take_from_bytes(bytes).map_err(|_| Misuse::Message)?;
    Ok(version)
}

/// The bytes of a message in its stream.
pub(crate) fn write(message: &impl Serialize) -> Vec<u8> {
    let body = pack(message);
    [&(body.len() as u32).to_le_bytes()[..], &body].concat()
}

/// The first message of these bytes and its length, if all of it is there.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<Option<(T, usize)>, Misuse> {
    let Some((length, body)) = bytes.split_first_chunk() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*length) as usize;
    if length > LONGEST {
        return Err(Misuse::Message);
    }
    let Some(body) = body.get(..length) else {
        return Ok(None);
    };
    Ok(Some((unpack(body)?, 4 + length)))
}

/// Tells whether a start with these arguments is short enough to be sent.
pub(crate) fn fits(order: &Order) -> bool {
    pack(order).len() <= LONGEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_one_after_another_and_only_whole() {
        let (first, second) = (Order::Start(vec![b"a b".to_vec()]), Order::Signal(15));
        let bytes = [write(&first), write(&second)].concat();
        let (message, length) = read::<Order>(&bytes).unwrap().unwrap();
        assert_eq!(message, first);
        assert_eq!(
            read(&bytes[length..]),
            Ok(Some((second, bytes.len() - length)))
        );
        for cut in 0..length {
            assert_eq!(read::<Order>(&bytes[..cut]), Ok(None), "{cut}");
        }
    }

    #[test]
    fn a_message_that_promises_too_much_or_is_none_is_refused() {
        assert_eq!(read::<Order>(&[255; 4]), Err(Misuse::Message));
        assert_eq!(read::<Order>(&[1, 0, 0, 0, 99]), Err(Misuse::Message));
    }
}
