//! One entry of an index, as bytes. Pure.
//!
//! 32 bytes, all numbers little-endian:
//!
//! | bytes | |
//! |---|---|
//! | 0-7 | the offset in the stream behind the last byte that the entry covers |
//! | 8-15 | when it was written, in nanoseconds since 1970 |
//! | 16-19 | CRC-32C of the bytes since the entry before |
//! | 20-23 | flags: 1 the bytes were durable before this was written, 2 end of file, 4 with a status |
//! | 24-27 | the status |
//! | 28-31 | CRC-32C of the segment's first offset, the entry's number and the bytes above |
//!
//! An entry never lies across a sector, so a power cut leaves it whole or not there at all. One that is
//! neither was damaged.

use crate::files::LARGEST_OFFSET;

/// The bytes of an entry.
pub(crate) const SIZE: usize = 32;

const DURABLE: u32 = 1;
const END: u32 = 2;
const STATUS: u32 = 4;

/// A piece of the stream, or the end of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    pub(crate) end: u64,
    pub(crate) time: u64,
    pub(crate) checksum: u32,
    pub(crate) durable: bool,
    /// The stream is complete; it has its producer's status where that is known.
    pub(crate) last: Option<Option<i32>>,
}

/// What stands in an entry's place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Slot {
    Absent,
    Valid(Entry),
    Damaged,
}

impl Entry {
    pub(crate) fn encode(&self, first: u64, number: u64) -> [u8; SIZE] {
        let flag = |set, flag| if set { flag } else { 0 };
        let status = self.last.flatten();
        let flags = flag(self.durable, DURABLE)
            | flag(self.last.is_some(), END)
            | flag(status.is_some(), STATUS);
        let mut bytes = [0; SIZE];
        bytes[..8].copy_from_slice(&self.end.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.time.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.checksum.to_le_bytes());
        bytes[20..24].copy_from_slice(&flags.to_le_bytes());
        bytes[24..28].copy_from_slice(&status.unwrap_or(0).to_le_bytes());
        let check = check(first, number, &bytes[..28]);
        bytes[28..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// Reads what stands in the place of entry `number` of the segment that begins at `first`.
    pub(crate) fn decode(bytes: &[u8], first: u64, number: u64) -> Slot {
        if bytes.iter().all(|byte| *byte == 0) {
            return Slot::Absent;
        }
        let Some(bytes) = bytes.first_chunk::<SIZE>() else {
            return Slot::Damaged;
        };
        let flags = word(bytes, 20);
        // A fuzzer, which guesses no checksum, is to get behind it.
        let is_whole = cfg!(fuzzing) || word(bytes, 28) == check(first, number, &bytes[..28]);
        let is_possible =
            long(bytes, 0) <= LARGEST_OFFSET && flags & !(DURABLE | END | STATUS) == 0;
        if !is_whole || !is_possible {
            return Slot::Damaged;
        }
        let status = (flags & STATUS != 0).then(|| word(bytes, 24).cast_signed());
        Slot::Valid(Self {
            end: long(bytes, 0),
            time: long(bytes, 8),
            checksum: word(bytes, 16),
            durable: flags & DURABLE != 0,
            last: (flags & END != 0).then_some(status),
        })
    }
}

fn check(first: u64, number: u64, bytes: &[u8]) -> u32 {
    let place = [first.to_le_bytes(), number.to_le_bytes()].concat();
    crc32c::crc32c_append(crc32c::crc32c(&place), bytes)
}

/// The four bytes at `at`, as a number.
fn word(bytes: &[u8; SIZE], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}

/// The eight bytes at `at`, as a number.
fn long(bytes: &[u8; SIZE], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_entry_is_read_back_in_its_place_and_nowhere_else(
            end in 0..=LARGEST_OFFSET, time: u64, checksum: u32, durable: bool, last: Option<Option<i32>>,
            first: u64, number: u64,
        ) {
            let entry = Entry { end, time, checksum, durable, last };
            let bytes = entry.encode(first, number);
            prop_assert_eq!(Entry::decode(&bytes, first, number), Slot::Valid(entry));
            prop_assert_eq!(Entry::decode(&bytes, first, number ^ 1), Slot::Damaged);
            prop_assert_eq!(Entry::decode(&bytes, first ^ 1, number), Slot::Damaged);
        }

        #[test]
        fn an_end_that_no_file_reaches_is_damage(end in LARGEST_OFFSET + 1.., time: u64) {
            let entry = Entry { end, time, checksum: 0, durable: true, last: None };
            prop_assert_eq!(Entry::decode(&entry.encode(0, 0), 0, 0), Slot::Damaged);
        }

        #[test]
        fn one_bit_of_an_entry_turned_over_is_seen(end in 0..=LARGEST_OFFSET, checksum: u32, bit in 0..SIZE * 8) {
            let entry = Entry { end, time: 1, checksum, durable: true, last: None };
            let mut bytes = entry.encode(0, 0);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Entry::decode(&bytes, 0, 0), Slot::Damaged);
        }

        #[test]
        fn any_bytes_can_be_looked_at(bytes: Vec<u8>, first: u64, number: u64) {
            let slot = Entry::decode(&bytes, first, number);
            prop_assert!(!matches!(slot, Slot::Valid(_)));
        }
    }
}
