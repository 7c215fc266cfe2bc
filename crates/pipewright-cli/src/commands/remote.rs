//! `pipewright remote`: what ssh starts on the other host for `pipewright on` and `workers --on`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use pipewright_observe::{Activity, Intervals, Process, Sampler, Scheduled};
use pipewright_remote::{Look, far_half, run_chunks, watch_over};

use crate::cli;

/// How it starts what watches over a stage.
const WARDEN: [&str; 3] = ["remote", "--warden", "--"];

pub(crate) fn remote(options: &cli::Remote) -> anyhow::Result<ExitCode> {
    if options.chunks {
        run_chunks().context("cannot run chunks for another host")?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some(nonce) = &options.nonce else {
        match watch_over(&options.command, looks).context("descriptor 3 is not the far half's")? {}
    };
    far_half(nonce, &WARDEN)?;
    Ok(ExitCode::SUCCESS)
}

/// Looks at a stage here, for whoever asks from afar.
fn looks(process: u32) -> Option<impl FnMut() -> Look> {
    let process = Process::open(process).ok()?;
    let intervals = Intervals {
        states: Duration::from_millis(100),
        figures: Duration::from_millis(400),
    };
    let mut sampler = Sampler::linear(vec![process], Vec::new(), intervals).ok()?;
    let mut last = Look::default();
    let mut scheduled = Some(Scheduled::default());
    Some(move || {
        let sample = sampler.tick();
        last.activity = code(sample.stages[0]);
        if let Some(figures) = sample.figures.as_ref().map(|figures| &figures.stages[0]) {
            // Figures have what passed since the ones before.
            let both = scheduled.as_mut().zip(figures.scheduled);
            last.scheduled = both.map(|(sum, passed)| {
                sum.on_cpu += passed.on_cpu;
                sum.waiting_for_cpu += passed.waiting_for_cpu;
                (sum.on_cpu, sum.waiting_for_cpu)
            });
            last.cpu_time = figures.cpu_time;
            last.read = figures.read;
            last.written = figures.written;
            last.processes = figures.processes as u64;
            last.program.clone_from(&figures.program);
        }
        last.clone()
    })
}

/// An activity as a number between hosts.
pub(super) fn code(activity: Activity) -> u8 {
    let place = Activity::ALL.iter().position(|it| *it == activity);
    place
        .and_then(|place| u8::try_from(place).ok())
        .unwrap_or(u8::MAX)
}
