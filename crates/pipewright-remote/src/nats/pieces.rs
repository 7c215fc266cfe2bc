//! Bytes cut into pieces that fit into messages, and made one again. Pure.

use std::ops::Range;

/// A piece has at most so many bytes. Servers take 1 MiB by default, headers included.
pub const PIECE: u64 = 512 << 10;

/// How bytes of a known length lie in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pieces {
    length: u64,
}

impl Pieces {
    /// For so many bytes.
    #[must_use]
    pub fn of(length: u64) -> Self {
        Self { length }
    }

    /// How many there are: none for no bytes.
    #[must_use]
    pub fn count(self) -> u64 {
        self.length.div_ceil(PIECE)
    }

    /// Where a piece begins and ends; `None` behind the last.
    ///
    /// ```
    /// use pipewright_remote::nats::{PIECE, Pieces};
    ///
    /// let pieces = Pieces::of(PIECE + 1);
    /// assert_eq!(pieces.range(1), Some(PIECE..PIECE + 1));
    /// assert_eq!(pieces.range(2), None);
    /// ```
    #[must_use]
    pub fn range(self, piece: u64) -> Option<Range<u64>> {
        let start = piece
            .checked_mul(PIECE)
            .filter(|start| *start < self.length)?;
        Some(start..self.length.min(start.saturating_add(PIECE)))
    }

    /// All of them, in order.
    pub fn ranges(self) -> impl Iterator<Item = (u64, Range<u64>)> {
        (0..self.count()).filter_map(move |piece| Some((piece, self.range(piece)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_cover_every_byte_once_and_none_is_too_long(length in 0..20 * PIECE) {
            let mut at = 0;
            for (piece, range) in Pieces::of(length).ranges() {
                prop_assert_eq!(range.start, at);
                prop_assert!(range.end > range.start && range.end - range.start <= PIECE);
                prop_assert_eq!(Pieces::of(length).range(piece), Some(range.clone()));
                at = range.end;
            }
            prop_assert_eq!(at, length);
            prop_assert_eq!(Pieces::of(length).range(Pieces::of(length).count()), None);
        }
    }

    #[test]
    fn a_length_that_nothing_has_is_no_reason_to_overflow() {
        assert!(Pieces::of(u64::MAX).range(u64::MAX).is_none());
        assert!(Pieces::of(u64::MAX).range(u64::MAX / PIECE).is_some());
    }
}
