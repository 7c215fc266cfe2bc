//! The forms in which a run is written to a file, one file per form.

pub(crate) mod comparison;
pub(crate) mod json;
pub(crate) mod page;
#[cfg(test)]
mod recordings;
pub(crate) mod samples;
pub(crate) mod trace;

use std::fmt;
use std::io::{self, Write};

use pipewright_observe::{Layout, PipeLayout, Sample};

use crate::outcome::Outcome;
use crate::progress::Progress;

/// A form of a run. It keeps no more than a bounded part of what it is told.
pub(crate) trait Export: fmt::Debug {
    /// Is told once what is watched. Not called for a run that was over too soon to be watched.
    fn begin(&mut self, _: &Layout, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    /// Is told how far the input is, before each sample with figures; `None` is unknown.
    fn progress(&mut self, _: Option<Progress>) {}

    /// Is told each sample.
    fn sample(&mut self, _: &Sample, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    /// Is told how it ended.
    fn finish(&mut self, outcome: &Outcome, out: &mut dyn Write) -> io::Result<()>;
}

/// The stages that a pipe joins, counted from 1: `1 → 2`, or `1, 2 → 3`; `outside` is no stage.
fn joined(pipe: &PipeLayout) -> String {
    let side = |stages: &[usize]| {
        let numbers: Vec<String> = stages.iter().map(|stage| (stage + 1).to_string()).collect();
        if numbers.is_empty() {
            "outside".to_owned()
        } else {
            numbers.join(", ")
        }
    };
    format!("{} → {}", side(&pipe.writers), side(&pipe.readers))
}
