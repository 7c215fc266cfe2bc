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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::page::Page;
    use crate::export::recordings;
    use crate::export::trace::Trace;

    #[test]
    fn an_hour_grows_a_file_by_no_more_than_the_help_says() {
        // A tenth of an hour's samples, of stages that do something else each time.
        let recording = recordings::hour(&["cat access.log", "gzip -6", "wc -c"], 18_000);
        let exports: [(&str, Box<dyn Export>, usize); 3] = [
            ("samples", Box::new(Samples::default()), 50),
            ("trace", Box::new(Trace::default()), 150),
            ("report", Box::new(Page::default()), 1),
        ];
        for (name, mut export, most) in exports {
            let bytes = recording.written(&mut *export).len();
            let hour = if name == "report" { bytes } else { 10 * bytes };
            println!("{name}: {:.1} MB an hour", hour as f64 / 1e6);
            assert!(hour < most * 1_000_000, "{name}: {hour} bytes an hour");
        }
    }
}
