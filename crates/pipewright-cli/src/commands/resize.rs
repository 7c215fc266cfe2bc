//! `pipewright resize`: the capacity of the pipes of a pipeline that runs.

use std::process::ExitCode;

use pipewright_observe::Process;
use pipewright_observe::topology::{FoundPipe, Pipeline, Scan};

use crate::cli;
use crate::view;
use crate::view::text;

pub(crate) fn resize(options: &cli::Resize) -> anyhow::Result<ExitCode> {
    Process::open(options.pid)?; // or there is no such process
    let pipeline = Scan::now()?.pipeline_of(options.pid)?;
    let wanted = options.size.bytes();
    let mut told = String::new();
    let mut refused = false;
    for pipe in &pipeline.pipes {
        let result = match set_capacity(pipe, wanted) {
            Ok((old, new)) => format!("{old} → {new} bytes"),
            Err(error) => {
                refused = true;
                format!("unchanged: {error}")
            }
        };
        told += &format!("{}: {result}\n", ends(&pipeline, pipe));
    }
    view::say(&told)?;
    Ok(ExitCode::from(u8::from(refused)))
}

/// The capacity before and after, in bytes.
fn set_capacity(
    pipe: &FoundPipe,
    wanted: usize,
) -> Result<(u64, usize), pipewright_observe::Error> {
    let handle = pipe.open()?;
    let old = handle.level()?.capacity;
    Ok((old, handle.set_capacity(wanted)?))
}

/// The stages at both ends of a pipe, by number and name.
fn ends(pipeline: &Pipeline, pipe: &FoundPipe) -> String {
    let names = |indices: &[usize]| {
        let stages = indices.iter().map(|&index| &pipeline.stages[index]);
        let names: Vec<String> = stages
            .map(|stage| format!("{} {}", stage.process.pid, text::line(&stage.name)))
            .collect();
        names.join(", ")
    };
    format!("{} → {}", names(&pipe.writers), names(&pipe.readers))
}
