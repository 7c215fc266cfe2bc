//! A run as JSON lines: first the layout, then every sample.

use std::io::{self, Write};

use pipewright_observe::{Layout, Sample};
use serde::Serialize;

use super::Export;
use crate::outcome::Outcome;

/// Writes each sample as it comes.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    begun: bool,
}

impl Export for Samples {
    fn begin(&mut self, layout: &Layout, out: &mut dyn Write) -> io::Result<()> {
        self.begun = true;
        line(layout, out)
    }

    fn sample(&mut self, sample: &Sample, out: &mut dyn Write) -> io::Result<()> {
        line(sample, out)
    }

    fn finish(&mut self, _: &Outcome, out: &mut dyn Write) -> io::Result<()> {
        if self.begun {
            return Ok(());
        }
        self.begin(&Layout::default(), out)
    }
}

fn line(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}
