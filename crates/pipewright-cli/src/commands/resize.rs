//! `pipewright resize`: the capacity of the pipes of a pipeline that runs.

use std::fmt::Write;
use std::process::ExitCode;

use pipewright_observe::topology::Scan;
use pipewright_observe::{PipeHandle, Process};

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
        let (process, descriptor) = pipe.through;
        let name = |indices: &[usize]| {
            let stages = indices.iter().map(|&index| &pipeline.stages[index]);
            let names: Vec<String> = stages
                .map(|stage| format!("{} {}", stage.process.pid, text::line(&stage.name)))
                .collect();
            names.join(", ")
        };
        let ends = format!("{} → {}", name(&pipe.writers), name(&pipe.readers));
        let change = PipeHandle::of_process(process.pid, descriptor)
            .and_then(|handle| handle.set_capacity(wanted));
        // Writing to a string does not fail.
        let _ = match change {
            Ok(change) => writeln!(told, "{ends}: {} → {} bytes", change.old, change.new),
            Err(error) => {
                refused = true;
                writeln!(told, "{ends}: unchanged: {error}")
            }
        };
    }
    view::print(told.as_bytes())?;
    Ok(ExitCode::from(u8::from(refused)))
}
