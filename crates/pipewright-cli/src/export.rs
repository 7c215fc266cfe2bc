//! A run written to files for other programs.

#[cfg(test)]
mod recordings;
pub(crate) mod report;
pub(crate) mod trace;

use std::fs::File;
use std::io::{BufWriter, Write};

use pipewright_observe::{Layout, PipeLayout};

use crate::observation::Recording;
use crate::view::text;

/// JSON lines: the layout first, then every sample.
pub(crate) fn samples(file: File, recording: &Recording) -> anyhow::Result<()> {
    let mut file = BufWriter::new(file);
    serde_json::to_writer(&mut file, &recording.layout)?;
    file.write_all(b"\n")?;
    for sample in &recording.samples {
        serde_json::to_writer(&mut file, sample)?;
        file.write_all(b"\n")?;
    }
    Ok(file.flush()?)
}

/// Which stages a pipe joins, counted from 1: `1 → 2`, or `1, 2 → 3`; `outside` is no stage.
fn joined(pipe: &PipeLayout) -> String {
    let side = |stages: &[usize]| {
        let numbers: Vec<String> = stages.iter().map(|stage| (stage + 1).to_string()).collect();
        match numbers.is_empty() {
            true => "outside".to_owned(),
            false => numbers.join(", "),
        }
    };
    format!("{} → {}", side(&pipe.writers), side(&pipe.readers))
}

/// What a stage is called: as it was typed, or else by its command line. One line, safe to show.
fn name(layout: &Layout, typed: Option<&str>, stage: usize) -> String {
    text::line(typed.unwrap_or(&layout.stages[stage].command).trim())
}
