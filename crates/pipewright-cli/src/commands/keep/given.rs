//! What a stage has given, remembered well enough to tell when another run of it gives something else.
//! Pure.
//!
//! The first MiB is remembered byte by byte, and all of it by a checksum a block; when there are too many
//! of those, each two are made one, and the blocks are twice as long.

use std::fmt;

/// So much is compared byte by byte.
const HEAD: usize = 1 << 20;

/// The length of a block, in the beginning.
const BLOCK: u64 = 64 << 10;

/// The most checksums: 256 KiB of them.
const MOST: usize = 64 << 10;

/// What was given so far.
#[derive(Debug)]
pub(super) struct Given {
    length: u64,
    head: Vec<u8>,
    block: u64,
    most: usize,
    /// Of all whole blocks.
    sums: Vec<u32>,
    /// Of the block that is not whole yet.
    open: u32,
}

/// Another run's output, compared as it comes.
#[derive(Debug)]
pub(super) struct Check {
    at: u64,
    /// So much was given when the run began.
    until: u64,
    /// Of the block that is being compared.
    open: u32,
}

/// Where two runs differ: a byte, or one of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) from: u64,
    /// Behind the last.
    pub(super) to: u64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to - self.from {
            1 => write!(f, "byte {}", self.from),
            _ => write!(f, "one of the bytes {} to {}", self.from, self.to - 1),
        }
    }
}

impl Given {
    pub(super) fn new() -> Self {
        Self::with(BLOCK, MOST)
    }

    fn with(block: u64, most: usize) -> Self {
        Self {
            length: 0,
            head: Vec::new(),
            block,
            most,
            sums: Vec::new(),
            open: 0,
        }
    }

    /// The number of bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Notes bytes that are given.
    pub(super) fn add(&mut self, mut bytes: &[u8]) {
        let room = HEAD - self.head.len();
        self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
        while !bytes.is_empty() {
            let length = up_to(bytes, self.block - self.length % self.block);
            self.open = crc32c::crc32c_append(self.open, &bytes[..length]);
            self.length += length as u64;
            bytes = &bytes[length..];
            if self.length.is_multiple_of(self.block) {
                self.sums.push(std::mem::take(&mut self.open));
                if self.sums.len() == self.most {
                    self.merge();
                }
            }
        }
    }

    /// Makes each two blocks one.
    fn merge(&mut self) {
        let block = usize::try_from(self.block).unwrap_or(usize::MAX);
        let pairs = self.sums.chunks_exact(2);
        self.sums = pairs
            .map(|pair| crc32c::crc32c_combine(pair[0], pair[1], block))
            .collect();
        self.block *= 2;
    }
}

impl Check {
    /// Of a run that begins now.
    pub(super) fn new(given: &Given) -> Self {
        Self {
            at: 0,
            until: given.length,
            open: 0,
        }
    }

    /// Takes bytes of the other run, and gives those of them that are new.
    pub(super) fn take<'a>(
        &mut self,
        given: &Given,
        bytes: &'a [u8],
    ) -> Result<&'a [u8], Difference> {
        let (mut old, new) = bytes.split_at(up_to(bytes, self.until - self.at));
        while !old.is_empty() {
            let length = up_to(old, given.block - self.at % given.block);
            let (piece, rest) = old.split_at(length);
            let start = usize::try_from(self.at).unwrap_or(usize::MAX);
            let head = given.head.get(start..).unwrap_or_default();
            if let Some(wrong) = head.iter().zip(piece).position(|(one, other)| one != other) {
                let from = self.at + wrong as u64;
                return Err(Difference { from, to: from + 1 });
            }
            self.open = crc32c::crc32c_append(self.open, piece);
            self.at += length as u64;
            old = rest;
            let is_whole = self.at.is_multiple_of(given.block);
            if is_whole || self.at == self.until {
                let number = usize::try_from((self.at - 1) / given.block).unwrap_or(usize::MAX);
                let sum = given.sums.get(number).copied().unwrap_or(given.open);
                if std::mem::take(&mut self.open) != sum {
                    let from = (self.at - 1) / given.block * given.block;
                    let from = from.max(given.head.len() as u64);
                    return Err(Difference { from, to: self.at });
                }
            }
        }
        Ok(new)
    }

    /// Takes the end of the other run: it has to have given as much.
    pub(super) fn end(&self) -> Result<(), Difference> {
        if self.at < self.until {
            let (from, to) = (self.at, self.at + 1);
            return Err(Difference { from, to });
        }
        Ok(())
    }
}

/// As many of the bytes as there are, or `most`.
fn up_to(bytes: &[u8], most: u64) -> usize {
    bytes.len().min(usize::try_from(most).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream(length: usize) -> Vec<u8> {
        let byte = |at: usize| (at.wrapping_mul(0x9E37_79B9) >> 13) as u8;
        (0..length).map(byte).collect()
    }

    /// Compares in pieces of some size, and gives what is new.
    fn compare(given: &Given, bytes: &[u8], piece: usize) -> Result<Vec<u8>, Difference> {
        let mut check = Check::new(given);
        let mut new = Vec::new();
        for piece in bytes.chunks(piece) {
            new.extend_from_slice(check.take(given, piece)?);
        }
        check.end()?;
        Ok(new)
    }

    proptest! {
        #[test]
        fn the_same_bytes_pass_and_the_new_ones_come_out(
            length in 0..5000_usize, more in 0..3000_usize, one in 1..700_usize, other in 1..700_usize,
            block in 1..200_u64,
        ) {
            let bytes = stream(length + more);
            let mut given = Given::with(block, 8);
            bytes[..length].chunks(one).for_each(|piece| given.add(piece));
            prop_assert_eq!(given.length(), length as u64);
            prop_assert!(given.sums.len() < 8);
            given.head.truncate(300);
            prop_assert_eq!(compare(&given, &bytes, other), Ok(bytes[length..].to_vec()));
        }

        #[test]
        fn a_byte_that_differs_is_found_and_named(
            length in 1..5000_usize, wrong in 0..5000_usize, one in 1..700_usize, other in 1..700_usize,
            block in 1..200_u64, head in 0..6000_usize,
        ) {
            let wrong = wrong % length;
            let mut bytes = stream(length);
            let mut given = Given::with(block, 8);
            bytes.chunks(one).for_each(|piece| given.add(piece));
            given.head.truncate(head);
            bytes[wrong] ^= 1;
            let found = compare(&given, &bytes, other).unwrap_err();
            let wrong = wrong as u64;
            prop_assert!(found.from <= wrong && wrong < found.to, "{found}");
            prop_assert!(found.to - found.from <= given.block);
            if wrong < head as u64 {
                prop_assert_eq!(found.to - found.from, 1);
            }
        }

        #[test]
        fn an_output_that_ends_too_early_is_found(length in 1..3000_usize, cut in 1..3000_usize) {
            let bytes = stream(length);
            let mut given = Given::new();
            given.add(&bytes);
            let cut = length - cut.min(length);
            let found = compare(&given, &bytes[..cut], 100).unwrap_err();
            prop_assert_eq!(found.from, cut as u64);
        }
    }
}
