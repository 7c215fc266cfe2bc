//! An offset that is written again and again: two slots in turn, so that one is always whole.

use crate::error::{Damage, Error, Result};
use crate::files::{LARGEST_OFFSET, StoredFile, read_exactly, write_all};

const SIZE: usize = 32;
/// Slots lie on pages of their own: a torn write of one leaves the other.
const APART: u64 = 4096;

/// What stands in a slot. Pure.
fn encode(sequence: u64, offset: u64) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    bytes[..8].copy_from_slice(&sequence.to_le_bytes());
    bytes[8..16].copy_from_slice(&offset.to_le_bytes());
    let check = crc32c::crc32c(&bytes[..28]);
    bytes[28..].copy_from_slice(&check.to_le_bytes());
    bytes
}

/// `None` is a slot never written to; one that is neither was damaged.
fn decode(bytes: &[u8; SIZE]) -> std::result::Result<Option<(u64, u64)>, ()> {
    if *bytes == [0; SIZE] {
        return Ok(None);
    }
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]));
    let (sequence, offset) = (number(0), number(8));
    if sequence > LARGEST_OFFSET || offset > LARGEST_OFFSET {
        return Err(());
    }
    // A fuzzer, which guesses no checksum, is to get behind it.
    if cfg!(fuzzing) || encode(sequence, offset) == *bytes {
        Ok(Some((sequence, offset)))
    } else {
        Err(())
    }
}

/// A file that keeps one offset.
#[derive(Debug)]
pub(crate) struct Cursor<F> {
    file: F,
    name: String,
    sequence: u64,
    offset: u64,
}

impl<F: StoredFile> Cursor<F> {
    /// Reads the offset that was written last; `None` if there never was one.
    pub(crate) fn read(file: F, name: &str) -> Result<Option<Self>> {
        let mut newest = None;
        for slot in 0..2 {
            let mut bytes = [0; SIZE];
            read_exactly(&file, &mut bytes, slot * APART)
                .map_err(|error| Error::read(name, error))?;
            let found = decode(&bytes).map_err(|()| Damage::new(name, slot * APART, "a cursor"))?;
            newest = newest.max(found);
        }
        let name = name.to_owned();
        Ok(newest.map(|(sequence, offset)| Self {
            file,
            name,
            sequence,
            offset,
        }))
    }

    /// A cursor where there was none.
    pub(crate) fn new(file: F, name: &str, offset: u64) -> Result<Self> {
        let name = name.to_owned();
        let mut cursor = Self {
            file,
            name,
            sequence: 0,
            offset,
        };
        cursor.write(offset)?;
        Ok(cursor)
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn write(&mut self, offset: u64) -> Result<()> {
        let sequence = self.sequence + 1;
        let at = sequence % 2 * APART;
        write_all(&self.file, &encode(sequence, offset), at)
            .map_err(|error| Error::write(&self.name, error))?;
        (self.sequence, self.offset) = (sequence, offset);
        Ok(())
    }

    pub(crate) fn sync(&self) -> Result<()> {
        self.file
            .sync_data()
            .map_err(|error| Error::sync(&self.name, error))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_slot_is_read_back_and_one_bit_turned_over_is_seen(
            sequence in 1..=LARGEST_OFFSET, offset in 0..=LARGEST_OFFSET, bit in 0..SIZE * 8,
        ) {
            let mut bytes = encode(sequence, offset);
            prop_assert_eq!(decode(&bytes), Ok(Some((sequence, offset))));
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(decode(&bytes), Err(()));
        }
    }
    /// Nothing was written there, whatever its checksum says; and what is added would overflow.
    #[test]
    fn an_offset_that_no_file_reaches_is_damage() {
        for (sequence, offset) in [
            (1, LARGEST_OFFSET + 1),
            (LARGEST_OFFSET + 1, 1),
            (u64::MAX, u64::MAX),
        ] {
            assert_eq!(decode(&encode(sequence, offset)), Err(()));
        }
    }
}
