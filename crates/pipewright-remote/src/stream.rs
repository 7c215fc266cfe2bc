//! The streams between the two halves, and who sends which. Pure.

use serde::{Deserialize, Serialize};

/// A stream of bytes, in one direction.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[repr(u8)]
pub enum Stream {
    /// The stage's stdin, from here to there.
    Stdin = 0,
    /// Its stdout, from there to here.
    Stdout = 1,
    /// Its stderr, from there to here.
    Stderr = 2,
    /// What the far half is to do, from here to there.
    Orders = 3,
    /// What it has to tell, from there to here.
    Reports = 4,
}

/// Which half of a link this is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Half {
    /// Where the pipeline is.
    Near,
    /// Where the stage runs.
    Far,
}

impl Stream {
    /// All of them, by their numbers.
    pub const ALL: [Self; 5] = [
        Self::Stdin,
        Self::Stdout,
        Self::Stderr,
        Self::Orders,
        Self::Reports,
    ];

    pub(crate) fn of(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }

    /// Tells whether this half sends the stream; the other one gets it.
    pub fn is_sent_by(self, half: Half) -> bool {
        matches!(self, Self::Stdin | Self::Orders) == (half == Half::Near)
    }
}
