//! What a spool tells of itself, for whoever may look at its process: pure.
//!
//! `pipewright spool` keeps its state in a file that lies in memory and has no name but the one in
//! `/proc/PID/fd`. So does a *keeper*, the process that records the input of a stage and runs its program;
//! it also tells what the ended runs of the program have read and written, for the kernel adds that to the
//! keeper's own. The file is written in place, so a look may fall between the halves of a write; the last
//! word shows that.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sealed::{NOTHING, seal, unseal};

/// The name that the memory file of a spool is made with.
pub const NAME: &str = "pipewright-spool";

/// The name of a keeper's.
pub const KEEPER: &str = "pipewright-keeper";

/// Its length in bytes: thirteen words, little-endian.
pub(crate) const SIZE: usize = 8 * WORDS;

const WORDS: usize = 13;
const VERSION: u64 = 2;

/// How far a spool is. Offsets are bytes from the beginning of the stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolState {
    /// The offset behind the last byte that was taken from the stage before.
    pub taken: u64,
    /// The offset behind the last byte that was given to the stage after.
    pub given: u64,
    /// What lies below this offset survives a power cut; `None` where nothing is synced.
    pub durable: Option<u64>,
    /// Bytes on the disk.
    pub held: u64,
    /// The most that it may hold; `None` where there is no limit.
    pub limit: Option<u64>,
    /// What the stage before is kept waiting for now.
    pub waits: SpoolWait,
    /// Time in which it was full: it held as much as its limit allows.
    pub full: Duration,
    /// Time in which its disk had no room.
    pub no_room: Duration,
    /// It is the recorded input of a stage that has a program of its own, as with `run --record`; else it
    /// is a stage.
    #[serde(default)]
    pub is_input: bool,
}

/// All that a spool's process tells, or a keeper's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Board {
    /// `None`: the input of this keeper's stage is not recorded.
    pub spool: Option<SpoolState>,
    /// What the ended runs of the stage's program have moved.
    pub ended: EndedRuns,
}

/// The counters of processes that their keeper has waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndedRuns {
    /// The number of the last process in these sums; 0 is none.
    pub last: u32,
    /// Bytes read, all of them together.
    pub read: u64,
    /// Bytes written, all of them together.
    pub written: u64,
}

/// What a spool waits for before it takes more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SpoolWait {
    /// For nothing but bytes.
    #[default]
    Nothing,
    /// For its reader: it is full.
    Full,
    /// For room on its disk.
    NoRoom,
}

impl SpoolState {
    /// Bytes that the stage after has not been given yet.
    pub fn backlog(&self) -> u64 {
        self.taken.saturating_sub(self.given)
    }
}

impl Board {
    /// The board as bytes.
    pub fn encode(&self) -> [u8; SIZE] {
        let microseconds = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let kind = match &self.spool {
            Some(state) if !state.is_input => STAGE,
            Some(_) => INPUT,
            None => NEITHER,
        };
        let state = self.spool.unwrap_or_default();
        let words = [
            VERSION,
            state.taken,
            state.given,
            state.durable.unwrap_or(NOTHING),
            state.held,
            state.limit.unwrap_or(NOTHING),
            state.waits as u64 | kind << 8,
            microseconds(state.full),
            microseconds(state.no_room),
            self.ended.last.into(),
            self.ended.read,
            self.ended.written,
            0,
        ];
        seal(words)
    }

    /// Reads a board back; `None` if the bytes are not one, or of two.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let [
            VERSION,
            taken,
            given,
            durable,
            held,
            limit,
            kind_and_wait,
            full,
            no_room,
            last,
            read,
            written,
            _,
        ] = unseal(bytes)?
        else {
            return None;
        };
        let known = |word: u64| (word != NOTHING).then_some(word);
        let waits = [SpoolWait::Nothing, SpoolWait::Full, SpoolWait::NoRoom];
        let (kind, wait) = (kind_and_wait >> 8, kind_and_wait & 0xff);
        let state = SpoolState {
            taken,
            given,
            durable: known(durable),
            held,
            limit: known(limit),
            waits: *waits.get(usize::try_from(wait).ok()?)?,
            full: Duration::from_micros(full),
            no_room: Duration::from_micros(no_room),
            is_input: kind == INPUT,
        };
        Some(Self {
            spool: (kind != NEITHER).then_some(state),
            ended: EndedRuns {
                last: last.try_into().ok()?,
                read,
                written,
            },
        })
    }
}

/// What the state on a board is of.
const STAGE: u64 = 0;
const INPUT: u64 = 1;
const NEITHER: u64 = 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn state() -> impl Strategy<Value = SpoolState> {
        let waits = prop_oneof![
            Just(SpoolWait::Nothing),
            Just(SpoolWait::Full),
            Just(SpoolWait::NoRoom)
        ];
        let offset = 0..u64::MAX;
        (
            (
                offset.clone(),
                offset.clone(),
                prop::option::of(offset.clone()),
            ),
            (offset.clone(), prop::option::of(offset), waits),
            (any::<u32>(), any::<u32>(), any::<bool>()),
        )
            .prop_map(
                |((taken, given, durable), (held, limit, waits), (full, no_room, is_input))| {
                    SpoolState {
                        taken,
                        given,
                        durable,
                        held,
                        limit,
                        waits,
                        full: Duration::from_micros(full.into()),
                        no_room: Duration::from_micros(no_room.into()),
                        is_input,
                    }
                },
            )
    }

    fn board() -> impl Strategy<Value = Board> {
        (prop::option::of(state()), any::<(u32, u64, u64)>()).prop_map(
            |(spool, (last, read, written))| Board {
                spool,
                ended: EndedRuns {
                    last,
                    read,
                    written,
                },
            },
        )
    }

    proptest! {
        #[test]
        fn a_board_is_read_back(board in board()) {
            prop_assert_eq!(Board::decode(&board.encode()), Some(board));
        }

        #[test]
        fn halves_of_two_boards_are_none(one in board(), other in board(), cut in 1..WORDS) {
            let (one, other) = (one.encode(), other.encode());
            let mixed = [&one[..cut * 8], &other[cut * 8..]].concat();
            prop_assume!(mixed != one && mixed != other);
            prop_assert_eq!(Board::decode(&mixed), None);
        }

        #[test]
        fn any_bytes_can_be_looked_at(bytes: Vec<u8>) {
            prop_assert_eq!(Board::decode(&bytes), None);
        }
    }
}
