//! A run written to files for other programs.

pub(crate) mod json;
#[cfg(test)]
mod recordings;
pub(crate) mod report;
pub(crate) mod trace;

use std::fs::File;
use std::io::{BufWriter, Write};

use pipewright_observe::PipeLayout;

use crate::outcome::Observed;

/// JSON lines: the layout first, then every sample.
pub(crate) fn samples(file: File, observed: &Observed) -> anyhow::Result<()> {
    let mut file = BufWriter::new(file);
    serde_json::to_writer(&mut file, &observed.layout)?;
    file.write_all(b"\n")?;
    for sample in &observed.samples {
        serde_json::to_writer(&mut file, sample)?;
        file.write_all(b"\n")?;
    }
    Ok(file.flush()?)
}

/// Which stages a pipe joins, counted from 1: `1 → 2`, or `1, 2 → 3`; `outside` is no stage.
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
