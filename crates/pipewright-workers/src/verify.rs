//! Trust, but verify: the command is run on the beginning of the input as a whole and in parts, and the
//! two must give the same, before a byte of output was given.

use std::fmt;

use crate::chunk::Store;
use crate::classes::Class;
use crate::error::Result;
use crate::gather::merge_in_memory;
use crate::order::{End, StatusRule};
use crate::records::Records;
use crate::worker::Program;

/// How many records are cut at each place between two of them.
const RECORDS: usize = 8;

/// How many bytes are looked at, at most: the whole takes as long as it takes in sequence.
pub(crate) const SAMPLE: usize = 256 << 10;

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
    /// It is run on all of it and on two halves; on the first records and on each two parts of them;
    /// and on nothing.
    pub(crate) fn check(&self, sample: &[u8]) -> Result<Check> {
        let few = self
            .records
            .length_of_first(RECORDS, sample)
            .unwrap_or(sample.len());
        let few = &sample[..few];
        let whole = self.run(few)?;
        if !self.is_success(whole.0) {
            return Ok(Check::Fails);
        }
        let nothing = self.run(b"")?;
        if !self.is_mergeable() && !nothing.1.is_empty() {
            return Ok(Check::Differs(difference(
                0,
                &(End::Status(0), Vec::new()),
                &nothing,
            )));
        }
        for (index, cut) in self.records.cuts(few).enumerate() {
            if let Some(found) = self.compare(index + 2, &whole, [&few[..cut], &few[cut..]])? {
                return Ok(Check::Differs(found));
            }
        }
        if sample.len() > few.len() {
            let whole = self.run(sample)?;
            let middle = self.records.last_cut(&sample[..sample.len() / 2]);
            if let (true, Some(cut)) = (self.is_success(whole.0), middle) {
                let record = self.records.cuts(&sample[..cut]).count() + 2;
                let found = self.compare(record, &whole, [&sample[..cut], &sample[cut..]])?;
                return Ok(found.map_or(Check::Same, Check::Differs));
            }
        }
        Ok(Check::Same)
    }

    fn compare(
        &self,
        record: usize,
        whole: &Outcome,
        parts: [&[u8]; 2],
    ) -> Result<Option<Difference>> {
        let [first, second] = [self.run(parts[0])?, self.run(parts[1])?];
        let end = match (first.0, second.0) {
            (End::Status(one), End::Status(other))
                if self.is_success(first.0) && self.is_success(second.0) =>
            {
                End::Status(self.status.together(one, other))
            }
            (one, _) if !self.is_success(one) => one,
            (_, other) => other,
        };
        let outputs = vec![first.1, second.1];
        let output = match self.class {
            Class::Mergeable(merge) => merge_in_memory(self.program, merge, outputs, self.store)?,
            _ => outputs.concat(),
        };
        let parts = (end, output);
        Ok((parts != *whole).then(|| difference(record, whole, &parts)))
    }

    fn run(&self, bytes: &[u8]) -> Result<Outcome> {
        let ended = self.program.run_on(bytes, self.store)?;
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
