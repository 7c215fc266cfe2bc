//! What a coordinator knows of its chunks from a run before: which cuts hold, which run comes next. Pure.

use std::collections::{BTreeMap, BTreeSet};

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
    /// Those of them that the input was found to have as well.
    compared: BTreeSet<u64>,
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
    pub fn compare(&mut self, chunk: u64, now: &Cut, then: &Cut) -> Result<(), Mismatch> {
        if let Some(before) = chunk.checked_sub(1) {
            self.compare_end(before)?;
        }
        if (now.length, now.sha256) == (then.length, then.sha256) {
            self.compared.insert(chunk);
            return Ok(());
        }
        let from = self.before.range(..chunk).map(|(_, cut)| cut.length).sum();
        Err(Mismatch::Differs {
            chunk,
            from,
            to: from + then.length,
        })
    }

    /// Tells whether all that an earlier run has cut was compared. What lies behind it may be cut only then:
    /// the cuts of another input would stand there for good.
    #[must_use]
    pub fn all_are_compared(&self) -> bool {
        self.before
            .keys()
            .all(|chunk| self.compared.contains(chunk))
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(length: u64, byte: u8) -> Cut {
        Cut {
            length,
            sha256: [byte; 32],
            last: false,
        }
    }

    /// What happens to the next chunk.
    #[derive(Debug, Clone, Copy)]
    enum Event {
        /// So many workers have it at the same time, and each puts its result.
        Run(u8),
        /// Its run fails, and it is run again.
        Fail,
        /// The coordinator dies and another begins.
        Die,
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            4 => (1_u8..4).prop_map(Event::Run),
            1 => Just(Event::Fail),
            2 => Just(Event::Die),
        ];
        proptest::collection::vec(event, 1..60)
    }

    proptest! {
        /// A server is a map that is only ever added to; a coordinator has a ledger and a next chunk.
        #[test]
        fn whoever_dies_each_run_has_one_result_and_none_is_made_again(events in events()) {
            let mut cuts: BTreeMap<u64, Cut> = BTreeMap::new();
            let mut results: BTreeMap<(u64, u32), Option<u32>> = BTreeMap::new();
            let mut computed = BTreeSet::new();
            let (mut ledger, mut chunk, mut worker) = (Ledger::default(), 0, 0);
            for event in events {
                if let Event::Die = event {
                    (ledger, chunk) = (Ledger::default(), 0);
                    for (number, cut) in &cuts {
                        ledger.learn(*number, cut.clone());
                    }
                    continue;
                }
                let known = ledger.length(chunk);
                prop_assert_eq!(known, cuts.get(&chunk).map(|cut| cut.length).filter(|_| known.is_some()));
                let now = cut(chunk + 1, chunk as u8);
                let there = cuts.entry(chunk).or_insert_with(|| now.clone());
                prop_assert_eq!(ledger.compare(chunk, &now, there), Ok(()));
                loop {
                    let attempt = ledger.next_attempt(chunk);
                    let result = match results.get(&(chunk, attempt)) {
                        Some(result) => *result,
                        None => {
                            prop_assert!(computed.insert((chunk, attempt)), "it was made before");
                            let (runs, fails) = match event {
                                Event::Run(runs) => (runs, false),
                                _ => (1, attempt == 0),
                            };
                            let first = worker;
                            for _ in 0..runs {
                                // Only where nothing is.
                                results.entry((chunk, attempt)).or_insert((!fails).then_some(worker));
                                worker += 1;
                            }
                            prop_assert_eq!(results[&(chunk, attempt)], (!fails).then_some(first));
                            results[&(chunk, attempt)]
                        }
                    };
                    if result.is_some() {
                        break;
                    }
                }
                chunk += 1;
            }
        }

        #[test]
        fn any_other_input_is_an_error_that_names_the_first_chunk_that_differs(
            lengths in proptest::collection::vec(1_u64..1000, 1..20),
            at: proptest::sample::Index,
        ) {
            let mut ledger = Ledger::default();
            for (number, length) in (0..).zip(&lengths) {
                ledger.learn(number, cut(*length, 1));
            }
            let at = at.index(lengths.len());
            let from = lengths[..at].iter().sum::<u64>();
            let then = cut(lengths[at], 1);
            prop_assert!(!ledger.all_are_compared());
            for number in (0..lengths.len()).filter(|number| *number != at) {
                let same = cut(lengths[number], 1);
                prop_assert_eq!(ledger.compare(number as u64, &same, &same), Ok(()));
            }
            prop_assert_eq!(
                ledger.compare(at as u64, &cut(lengths[at], 2), &then),
                Err(Mismatch::Differs { chunk: at as u64, from, to: from + lengths[at] })
            );
            prop_assert!(!ledger.all_are_compared());
            prop_assert_eq!(ledger.compare(at as u64, &then, &then), Ok(()));
            prop_assert!(ledger.all_are_compared());
            prop_assert_eq!(ledger.ended(at as u64), Err(Mismatch::Shorter { chunk: at as u64 }));
            prop_assert_eq!(ledger.ended(lengths.len() as u64), Ok(()));
        }
    }

    #[test]
    fn an_input_that_goes_on_where_it_ended_is_another() {
        let mut ledger = Ledger::default();
        ledger.learn(
            0,
            Cut {
                last: true,
                ..cut(5, 1)
            },
        );
        assert_eq!(ledger.compare_end(0), Err(Mismatch::Longer { chunk: 0 }));
        let next = cut(3, 1);
        assert_eq!(
            ledger.compare(1, &next, &next),
            Err(Mismatch::Longer { chunk: 0 })
        );
    }
}
