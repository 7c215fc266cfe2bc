//! What a coordinator knows of its chunks from a run before: which cuts hold, which run comes next. Pure.

use std::collections::BTreeMap;

use super::messages::Cut;

/// An input that is not the one the job was begun with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// A chunk has other bytes.
    #[error(
        "chunk {} of the input (bytes {from} to {to}) is not what it was when the job was begun: give the same input, or begin anew (--anew)", .chunk + 1
    )]
    Differs {
        /// The chunk, from 0 up.
        chunk: u64,
        /// Where it begins in the input, in bytes.
        from: u64,
        /// Where it ends.
        to: u64,
    },
    /// The input is shorter.
    #[error(
        "the input has ended before chunk {}, which it had when the job was begun: give the same input, or begin anew (--anew)", .chunk + 1
    )]
    Shorter {
        /// The first chunk that is missing.
        chunk: u64,
    },
    /// The last chunk ended where no record does, and now more follows it.
    #[error(
        "the input goes on behind chunk {}, where it ended when the job was begun: give the same input, or begin anew (--anew)", .chunk + 1
    )]
    Longer {
        /// The chunk that was the last.
        chunk: u64,
    },
}

/// The chunks of a job: where the input was cut, and how often each was run.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The cuts that stood on the server before this run; they have no gap.
    before: BTreeMap<u64, Cut>,
    attempts: BTreeMap<u64, u32>,
}

impl Ledger {
    /// Takes a cut that stands on the server.
    pub fn learn(&mut self, chunk: u64, cut: Cut) {
        self.before.insert(chunk, cut);
    }

    /// Tells how long a chunk is, if an earlier run has cut it.
    #[must_use]
    pub fn length(&self, chunk: u64) -> Option<u64> {
        self.before.get(&chunk).map(|cut| cut.length)
    }

    /// Compares a chunk with what stands on the server.
    ///
    /// # Errors
    ///
    /// [`Mismatch::Differs`].
    pub fn compare(&self, chunk: u64, now: &Cut, then: &Cut) -> Result<(), Mismatch> {
        if let Some(before) = chunk.checked_sub(1) {
            self.compare_end(before)?;
        }
        if (now.length, now.sha256) == (then.length, then.sha256) {
            return Ok(());
        }
        let from = self.before.range(..chunk).map(|(_, cut)| cut.length).sum();
        Err(Mismatch::Differs {
            chunk,
            from,
            to: from + then.length,
        })
    }

    /// Takes note that the input goes on behind this chunk.
    ///
    /// # Errors
    ///
    /// [`Mismatch::Longer`] when it was the last one.
    pub fn compare_end(&self, chunk: u64) -> Result<(), Mismatch> {
        match self.before.get(&chunk) {
            Some(cut) if cut.last => Err(Mismatch::Longer { chunk }),
            _ => Ok(()),
        }
    }

    /// Takes note of the end of the input behind so many chunks.
    ///
    /// # Errors
    ///
    /// [`Mismatch::Shorter`] when it had more.
    pub fn ended(&self, chunks: u64) -> Result<(), Mismatch> {
        match self.before.range(chunks..).next() {
            Some((&chunk, _)) => Err(Mismatch::Shorter { chunk }),
            None => Ok(()),
        }
    }

    /// Gives the run that is to be made next of a chunk: 0 for the first, and one more each time.
    ///
    /// A coordinator that takes over asks for the same runs in the same order, and finds the results of
    /// those that were made.
    pub fn next_attempt(&mut self, chunk: u64) -> u32 {
        let next = self.attempts.entry(chunk).or_default();
        let attempt = *next;
        *next += 1;
        attempt
    }
}
