//! `pipewright run`: one pipeline, from its text to the status that pipewright ends with.

mod passing;
mod plan;
mod recorder;
mod signals;
mod telling;
mod wait;
mod watching;
mod work;

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context;
use pipewright::{PipelineStatus, RunningPipeline};
use rustix::process::{getpid, set_child_subreaper};

use crate::cli;
use crate::disposition;
use crate::outcome::{OWN_ERROR, Outcome, Pipe, Stage};
use crate::view;
use plan::Plan;
use recorder::Recorder;
use signals::Signals;
use watching::Watching;
use work::Work;

pub(crate) fn run(options: cli::Run) -> anyhow::Result<ExitCode> {
    let plan = Plan::of(options)?;
    let work = Work::of(plan.source, plan.shell)?;
    if plan.dry_run {
        view::print(work.to_string().as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut recorder = Recorder::open(plan.paths)?;

    let mut signals = Signals::catch(plan.watch.paints()).context("cannot catch signals")?;
    // Who loses its parent becomes ours, so that a signal can follow it; refused, none does.
    let _ = set_child_subreaper(Some(getpid()));
    let started = SystemTime::now();
    let running = work
        .pipeline(&plan.forgiven)
        .capacity(plan.capacity)
        .policy(plan.policy)
        .spawn()?;
    let names: Vec<String> = work.stages().iter().map(work::name).collect();
    let watching = Watching::new(&running, names.clone(), plan.watch, &mut recorder);
    let waited = wait::wait(&running, &mut signals, watching, &plan.limit);
    let status = running.wait()?;

    let outcome = Outcome {
        stages: stages(&work, names, &running, &status),
        pipes: pipes(&work, &running),
        inverted: work.inverted(),
        failed: status.failed_stage(),
        started,
        wall: status.wall(),
        timed_out: waited.timed_out,
        signal: signals.to_die_of(&status),
        observed: waited.observed,
    };
    let told = plan.telling.tell(&outcome).err();
    let failures = recorder.finish(&outcome);
    let failures: Vec<_> = told.into_iter().chain(failures).collect();
    for failure in &failures {
        view::complain(&failure.to_string());
    }
    if let Some(signal) = outcome.signal {
        disposition::die_of(signal);
    }
    // The pipeline's own failure says more than that of its record.
    Ok(ExitCode::from(match outcome.exit_code() {
        0 if !failures.is_empty() => OWN_ERROR,
        code => code,
    }))
}

fn stages(
    work: &Work,
    names: Vec<String>,
    running: &RunningPipeline,
    status: &PipelineStatus,
) -> Vec<Stage> {
    let typed = work.stages().iter().zip(names);
    let ran = running.stages().iter().zip(status.stages());
    typed
        .zip(ran)
        .map(|((typed, name), (ran, status))| Stage {
            name,
            text: typed.text.clone(),
            shell: work.shell_of(typed).map(str::to_owned),
            pid: ran.child().map(|child| child.id()),
            end: status.end.clone(),
            wall: status.wall,
            usage: status.usage,
            reader_gone: status.reader_gone,
            forgiven: status.forgiven,
        })
        .collect()
}

fn pipes(work: &Work, running: &RunningPipeline) -> Vec<Pipe> {
    let pipes = running.pipes().iter();
    pipes
        .zip(work.stages())
        .map(|(pipe, stage)| Pipe {
            capacity: pipe.as_ref().map_or(0, |pipe| pipe.capacity),
            stderr_too: stage.stderr_too,
        })
        .collect()
}
