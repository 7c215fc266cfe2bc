//! Trust, but verify: the command is run on the beginning of the input as a whole and in parts, and the
//! two must give the same, before a byte of output was given.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::chunk::Store;
use crate::classes::Class;
use crate::error::Result;
use crate::gather::merge_in_memory;
use crate::order::{End, StatusRule};
use crate::records::Records;
use crate::runner::Ended;
use crate::worker::{LAST_PAUSE, Program};

/// How many records are cut at each place between two of them; fewer of a command whose start takes long,
/// for that is two starts a place.
const RECORDS: usize = 8;
const FEW_RECORDS: usize = 4;
const LONG_START: Duration = Duration::from_millis(5);

/// How many bytes are looked at, at most: the whole takes as long as it takes in sequence.
pub(crate) const SAMPLE: usize = 64 << 10;

/// Where the parts gave something else than the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The record before which the input was cut, from 1 up.
    pub record: usize,
    /// The first byte of the output in which they differ, from 0 up.
    pub byte: usize,
    /// What the whole gives there.
    pub whole: String,
    /// What the parts give there.
    pub parts: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cut before record {}, its output differs at byte {}: {:?} and not {:?}",
            self.record, self.byte, self.parts, self.whole
        )
    }
}

/// How a command is checked.
pub(crate) struct Verify<'a> {
    pub(crate) program: &'a Program,
    pub(crate) class: &'a Class,
    pub(crate) records: &'a Records,
    pub(crate) status: StatusRule,
    pub(crate) store: &'a Store,
    /// How long the command takes to start and end, and what it does on an empty input.
    pub(crate) nothing: Ended,
    /// So many runs at once.
    pub(crate) at_once: usize,
}

/// What a check found.
#[derive(Debug)]
pub(crate) enum Check {
    Same,
    Differs(Difference),
    /// The command fails on the sample, and in sequence it does so in its own way.
    Fails,
}

/// What a run came to: how it ended and what it wrote.
type Outcome = (End, Vec<u8>);

impl Verify<'_> {
    /// Checks the command on a sample that begins and ends with a record.
    ///
    /// It is run on all of it and on two halves; on the first records and on each two parts of them. What
    /// it does on nothing is known.
    pub(crate) fn check(&self, sample: &[u8]) -> Result<Check> {
        let records = if self.nothing.time < LONG_START {
            RECORDS
        } else {
            FEW_RECORDS
        };
        let few = self.records.length_of_first(records, sample);
        let few = &sample[..few.unwrap_or(sample.len())];
        let mut inputs = vec![few];
        // The record behind each cut, and where in `inputs` the whole is; its two parts come in turn.
        let mut cuts = Vec::new();
        for (record, cut) in (2..).zip(self.records.cuts(few)) {
            cuts.push((record, 0, inputs.len()));
            inputs.extend([&few[..cut], &few[cut..]]);
        }
        let middle = self.records.last_cut(&sample[..sample.len() / 2]);
        if let (true, Some(cut)) = (sample.len() > few.len(), middle) {
            let record = self.records.cuts(&sample[..cut]).count() + 2;
            cuts.push((record, inputs.len(), inputs.len() + 1));
            inputs.extend([sample, &sample[..cut], &sample[cut..]]);
        }
        let outcomes = self.run_all(&inputs)?;
        if !self.is_success(outcomes[0].0) {
            return Ok(Check::Fails);
        }
        let nothing = self.nothing.output.bytes().map_err(crate::Error::store)?;
        if !self.is_mergeable() && !nothing.is_empty() {
            let none = (End::Status(0), Vec::new());
            let printed = (End::Status(0), nothing);
            return Ok(Check::Differs(difference(0, &none, &printed)));
        }
        for (record, whole, parts) in cuts {
            let whole = &outcomes[whole];
            if self.is_success(whole.0)
                && let Some(found) = self.compare(record, whole, &outcomes[parts..parts + 2])?
            {
                return Ok(Check::Differs(found));
            }
        }
        Ok(Check::Same)
    }

    fn compare(
        &self,
        record: usize,
        whole: &Outcome,
        parts: &[Outcome],
    ) -> Result<Option<Difference>> {
        let [first, second] = parts else {
            unreachable!("a cut makes two parts");
        };
        let end = match (first.0, second.0) {
            (End::Status(one), End::Status(other))
                if self.is_success(first.0) && self.is_success(second.0) =>
            {
                End::Status(self.status.together(one, other))
            }
            (one, _) if !self.is_success(one) => one,
            (_, other) => other,
        };
        let outputs = vec![first.1.clone(), second.1.clone()];
        let output = match self.class {
            Class::Mergeable(merge) => merge_in_memory(self.program, merge, outputs, self.store)?,
            _ => outputs.concat(),
        };
        let parts = (end, output);
        Ok((parts != *whole).then(|| difference(record, whole, &parts)))
    }

    /// Runs the command on each of these, several at once.
    fn run_all(&self, inputs: &[&[u8]]) -> Result<Vec<Outcome>> {
        let next = AtomicUsize::new(0);
        let outcomes = Mutex::new(BTreeMap::new());
        let run = || {
            while let Some((number, input)) = {
                let number = next.fetch_add(1, Relaxed);
                inputs.get(number).map(|input| (number, *input))
            } {
                let outcome = self.run(input);
                let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                outcomes.insert(number, outcome);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.at_once.min(inputs.len()) {
                // Where there can be no thread this one does it.
                let _ = std::thread::Builder::new().spawn_scoped(scope, run);
            }
            run();
        });
        let outcomes = outcomes.into_inner();
        let outcomes = outcomes.unwrap_or_else(PoisonError::into_inner);
        outcomes.into_values().collect()
    }

    fn run(&self, bytes: &[u8]) -> Result<Outcome> {
        let mut pause = Duration::from_millis(1);
        let ended = loop {
            match self.program.run_on(bytes, self.store) {
                // Workers and other checks run now, too, and end.
                Err(error) if error.may_pass() && pause < LAST_PAUSE => {
                    std::thread::sleep(pause);
                    pause *= 2;
                }
                ended => break ended?,
            }
        };
        let output = ended.output.bytes().map_err(crate::Error::store)?;
        Ok((ended.end, output))
    }

    fn is_success(&self, end: End) -> bool {
        matches!(end, End::Status(status) if self.status.is_success(status))
    }

    fn is_mergeable(&self) -> bool {
        matches!(self.class, Class::Mergeable(_))
    }
}

fn difference(record: usize, whole: &Outcome, parts: &Outcome) -> Difference {
    let same = whole
        .1
        .iter()
        .zip(&parts.1)
        .take_while(|(one, other)| one == other)
        .count();
    let shown = |bytes: &[u8]| {
        let end = bytes.len().min(same + 20);
        String::from_utf8_lossy(bytes.get(same..end).unwrap_or_default()).into_owned()
    };
    Difference {
        record,
        byte: same,
        whole: shown(&whole.1),
        parts: shown(&parts.1),
    }
}
