//! `pipewright run`: one pipeline, from its text to the status that pipewright ends with.

mod asking;
mod compare;
mod elsewhere;
mod kept;
mod passing;
mod pipelines;
mod plan;
mod programs;
mod recorded;
mod recorder;
pub(crate) mod resume;
mod signals;
mod statuses;
mod telling;
mod texts;
mod variables;
mod wait;
mod watching;
mod wide;
mod work;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use pipewright::{Child, PipelineStatus, ResourceUsage, RunningPipeline, StageEnd};
use rustix::process::{getpid, set_child_subreaper};

use crate::cli::{self, Widening};
use crate::disposition;
use crate::outcome::{OWN_ERROR, Outcome, Pipe, Stage};
use crate::recording::directory::Recording;
use crate::view;
use crate::view::tags::Tags;
use plan::{Plan, Rules, Task};
use recorder::{Paths, Recorder};
use signals::Signals;
use telling::Telling;
use wait::Waited;
use watching::{Face, Kind, Watch, Watching};
use work::{Manner, Source, Streams, Work};

pub(crate) fn run(options: cli::Run) -> anyhow::Result<ExitCode> {
    let plan = Plan::of(options)?;
    let source = match plan.task {
        Task::Run(source) => source,
        Task::Compare(contest) => {
            let prepare = |text: &OsString| {
                let source = Source::Text {
                    text: text.clone(),
                    arguments: Vec::new(),
                };
                prepared(source, plan.manner.clone(), plan.workers.as_ref(), &plan.on)
            };
            let refused = |work: &Work| Some(nothing_started(work, work.held_back()?));
            let once = |work, streams, signals: &mut Signals| {
                let watch = Watch {
                    wanted: true,
                    face: Face::Nowhere,
                    input: false,
                    interval: plan.watch.interval,
                    size: None,
                };
                let mut recorder = Recorder::open(Paths::default())?;
                once(
                    work,
                    &plan.rules,
                    watch,
                    Some(streams),
                    signals,
                    &mut recorder,
                )
            };
            adopt_orphans();
            return compare::compare(&contest, prepare, refused, once);
        }
    };
    let mut work = prepared(source, plan.manner, plan.workers.as_ref(), &plan.on)?;
    let decided = plan.keeping.decide(&mut work)?;
    if plan.tag {
        work.refuse_whole("--tag")?;
    }
    if plan.dry_run {
        view::print(work.to_string().as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut recorder = Recorder::open(plan.paths)?;
    if let Some(ends) = work.held_back() {
        let outcome = nothing_started(&work, ends);
        return Ok(conclude(&outcome, &plan.telling, recorder));
    }

    let mut signals = Signals::catch(plan.watch.paints()).context("cannot catch signals")?;
    adopt_orphans();
    let (tags, errors) = if plan.tag {
        kept::can_start_itself("--tag")?;
        let (tags, errors) = Tags::start(&work.names(), plan.telling.palette)?;
        (Some(tags), errors)
    } else {
        (None, Vec::new())
    };
    // The last of what may fail before something runs, for it leaves something behind.
    let mut recording = match &decided {
        Some(decided) => plan
            .keeping
            .begin(decided, &mut work, &plan.rules.forgiven)?,
        None => None,
    };
    let streams = Streams {
        errors,
        ..Streams::default()
    };
    let outcome = once(
        work,
        &plan.rules,
        plan.watch,
        Some(streams),
        &mut signals,
        &mut recorder,
    );
    let mut outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            // What has run stays; of what could not be started nothing does.
            recording.iter().for_each(Recording::discard);
            return Err(error);
        }
    };
    if let Some(recording) = &mut recording {
        recorded::end(recording, &mut outcome, 0, None);
    }
    if let Some(tags) = tags {
        tags.finish();
    }
    signals.release();
    let status = conclude(&outcome, &plan.telling, recorder);
    if let Some(signal) = outcome.signal {
        disposition::die_of(signal);
    }
    Ok(status)
}

/// A pipeline ready to be started, with workers where they were asked for.
fn prepared(
    source: Source,
    manner: Manner,
    workers: Option<&Widening>,
    on: &[(usize, String)],
) -> anyhow::Result<Work> {
    let mut work = Work::of(source, manner)?;
    if let Some(workers) = workers {
        work.widen(workers)?;
    }
    work.move_away(on)?;
    Ok(work)
}

/// Whoever loses its parent becomes a child of this process, so that a signal can follow it; where
/// that is refused, none does.
fn adopt_orphans() {
    let _ = set_child_subreaper(Some(getpid()));
}

/// Runs a pipeline to its end.
fn once(
    mut work: Work,
    rules: &Rules,
    watch: Watch,
    streams: Option<Streams>,
    signals: &mut Signals,
    recorder: &mut Recorder,
) -> anyhow::Result<Outcome> {
    let started = SystemTime::now();
    let running = work
        .pipeline(&rules.forgiven, streams)
        .capacity(rules.capacity)
        .policy(rules.policy)
        .spawn()?;
    let names = work.names();
    let watching = Watching::new(
        &running,
        work.names_with_workers(&names),
        work.named_input(),
        watch,
        Kind {
            before: work.kept().before(),
            whole: work.is_whole(),
        },
        recorder,
    );
    let waited = wait::wait(&running, signals, watching, &rules.limit);
    let status = running.wait()?;

    let mut outcome = Outcome {
        before: work.kept().before(),
        text: work.text(),
        stages: stages(&work, names, &running, &status, &waited),
        pipes: pipes(&work, &running),
        inverted: work.inverted(),
        failed: status.failed_stage(),
        started,
        wall: status.wall(),
        timed_out: waited.timed_out,
        signal: signals.to_die_of(&status),
        observed: waited.observed,
        workers_advice: None,
        whole: None,
    };
    let observed = outcome.observed.as_ref();
    outcome.workers_advice = observed.and_then(|it| work.workers_advice(&it.verdict));
    outcome.count_the_unwaited();
    for (index, stage) in outcome.stages.iter_mut().enumerate() {
        stage.restarts = work.kept().restarts(index);
    }
    for (index, workers) in work.by_workers() {
        outcome.stages[index].workers = Some(workers);
    }
    for (index, told) in work.on_hosts() {
        outcome.stages[index].ran_on(told);
    }
    outcome.whole = work.into_whole(rules.policy, &rules.forgiven, waited.pipelines);
    if let Some(status) = outcome.whole.as_ref().and_then(|whole| whole.status) {
        outcome.failed = (status != 0).then_some(0);
    }
    Ok(outcome)
}

/// Tells of the run, and returns the status to end with.
fn conclude(outcome: &Outcome, telling: &Telling, recorder: Recorder) -> ExitCode {
    let told = telling.tell(outcome).err();
    let failures = recorder.finish(outcome);
    let failures: Vec<_> = told.into_iter().chain(failures).collect();
    for failure in &failures {
        view::complain(&failure.to_string());
    }
    // The pipeline's own failure says more than that of its record.
    ExitCode::from(match outcome.exit_code() {
        0 if !failures.is_empty() => OWN_ERROR,
        code => code,
    })
}

/// What a run came to that was not begun.
fn nothing_started(work: &Work, ends: Vec<StageEnd>) -> Outcome {
    let failed = ends.iter().rposition(|end| end.exit_code() != OWN_ERROR);
    let stages = work.stages().iter().zip(ends);
    let stages = stages.map(|(typed, end)| Stage {
        name: work::name(typed),
        text: typed.text.to_string_lossy().into_owned(),
        shell: work.shell_of(typed),
        pid: None,
        end,
        wall: Duration::ZERO,
        usage: ResourceUsage::default(),
        killed_for_memory: false,
        reader_gone: false,
        forgiven: false,
        restarts: None,
        workers: None,
        on_host: None,
    });
    Outcome {
        before: 0,
        text: work.text(),
        stages: stages.collect(),
        pipes: Vec::new(),
        inverted: work.inverted(),
        failed,
        started: SystemTime::now(),
        wall: Duration::ZERO,
        timed_out: None,
        signal: None,
        observed: None,
        workers_advice: None,
        whole: None,
    }
}

fn stages(
    work: &Work,
    names: Vec<String>,
    running: &RunningPipeline,
    status: &PipelineStatus,
    waited: &Waited,
) -> Vec<Stage> {
    // After the time was over, the SIGKILL is ours.
    let memory = waited
        .memory
        .as_ref()
        .filter(|_| waited.timed_out.is_none());
    let killed_for_memory = |child: Option<&Child>, end: &StageEnd| {
        // 137 is a shell's word for it.
        let killed = matches!(
            end,
            StageEnd::Signaled { signal: 9, .. } | StageEnd::Exited(137)
        );
        let child = child.filter(|_| killed);
        child
            .zip(memory)
            .is_some_and(|(child, memory)| memory.killed(child.id()))
    };
    let typed = work.stages().iter().zip(names);
    let ran = running.stages().iter().zip(status.stages());
    typed
        .zip(ran)
        .map(|((typed, name), (ran, status))| Stage {
            name,
            text: typed.text.to_string_lossy().into_owned(),
            shell: work.shell_of(typed),
            pid: ran.child().map(|child| child.id()),
            killed_for_memory: killed_for_memory(ran.child(), &status.end),
            end: status.end.clone(),
            wall: status.wall,
            usage: status.usage,
            reader_gone: status.reader_gone,
            forgiven: status.forgiven,
            restarts: None,
            workers: None,
            on_host: None,
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
