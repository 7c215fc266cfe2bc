//! A run written to files for other programs.

use std::fs::File;
use std::io::{BufWriter, Write};

use crate::observation::Recording;

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
