//! The run as one JSON object. schema.json and docs/json.md have every field; within a version fields may come, and none
//! changes its meaning.

pub(crate) mod values;
mod verdict;

use std::io::{self, Write};

use pipewright::{StageEnd, signal_name};
use serde::Serialize;

use super::Export;
use crate::outcome::{ByWorkers, Observed, OnHost, Outcome};
use crate::progress::Progress;
use values::{Spool, TimeOfPipe, TimeOfStage, VERSION, moment, numbers, rate, seconds, share};
use verdict::Conclusion;

/// The JSON Schema of this form and of the others.
pub(crate) const SCHEMA: &str = include_str!("json/schema.json");

/// Writes one line at the end.
#[derive(Debug)]
pub(crate) struct Json;

impl Export for Json {
    fn finish(&mut self, outcome: &Outcome, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(json(outcome)?.as_bytes())
    }
}

#[derive(Debug, Serialize)]
struct Run<'a> {
    version: u32,
    text: &'a str,
    started_at: String,
    wall_seconds: f64,
    /// The status of pipewright, unless a signal ends it.
    exit_code: u8,
    success: bool,
    negated: bool,
    /// Null: none failed.
    failed_stage: Option<usize>,
    timed_out: bool,
    /// The signal that reached pipewright, by name.
    signal: Option<String>,
    /// Null: its size is not known, or nobody was there to see it read.
    input: Option<Input>,
    /// Null: the text was cut into the stages below.
    whole: Option<Whole<'a>>,
    stages: Vec<Stage<'a>>,
    pipes: Vec<Pipe>,
    /// Null: it was over too soon to be watched, or nobody was to watch it.
    verdict: Option<Conclusion<'a>>,
    /// What workers would gain at the bottleneck, or why they cannot run it.
    workers_advice: Option<&'a str>,
}

/// The way through the input.
#[derive(Debug, Serialize)]
pub(super) struct Input {
    total_bytes: u64,
    read_bytes: u64,
    read_share: f64,
    /// Null: nothing was read.
    average_bytes_per_second: Option<f64>,
    /// Null: too early to tell.
    current_bytes_per_second: Option<f64>,
    /// Null: nothing was read.
    seconds_left: Option<f64>,
}

/// One shell ran the text; it is the only stage.
#[derive(Debug, Serialize)]
struct Whole<'a> {
    reason: &'a str,
    /// Of its stages, from the first to the last; empty where they are not known.
    statuses: &'a [u8],
    /// Those that lived long enough to be judged, in the order of their ends.
    pipelines: Vec<Inner<'a>>,
}

/// A pipeline in a text that one shell ran.
#[derive(Debug, Serialize)]
struct Inner<'a> {
    input: Option<Input>,
    stages: Vec<InnerStage<'a>>,
    pipes: Vec<InnerPipe>,
    verdict: Conclusion<'a>,
}

#[derive(Debug, Serialize)]
struct InnerStage<'a> {
    number: usize,
    pid: u32,
    command: &'a str,
    /// These are null where nobody may know them.
    cpu_seconds: Option<f64>,
    read_bytes: Option<u64>,
    written_bytes: Option<u64>,
    shares: Option<TimeOfStage>,
}

#[derive(Debug, Serialize)]
struct InnerPipe {
    writers: Vec<usize>,
    readers: Vec<usize>,
    estimated_bytes: Option<u64>,
    shares: Option<TimeOfPipe>,
}

#[derive(Debug, Serialize)]
struct Stage<'a> {
    number: usize,
    text: &'a str,
    start: &'static str,
    pid: Option<u32>,
    end: End,
    exit_code: u8,
    wall_seconds: f64,
    user_seconds: f64,
    system_seconds: f64,
    /// Null: no larger than pipewright's own, and so not known.
    peak_memory_bytes: Option<u64>,
    /// From and to any descriptor, as far as counted.
    read_bytes: Option<u64>,
    written_bytes: Option<u64>,
    /// Of the time it was watched; null if it was not.
    shares: Option<TimeOfStage>,
    /// The kernel killed it because memory ran out.
    killed_for_memory: bool,
    /// Its reader was gone before it had ended.
    reader_gone: bool,
    /// Its end would be a failure, but for --forgive.
    forgiven: bool,
    /// Null: it was not to be started again.
    restarts: Option<u32>,
    /// Null: it was run once.
    workers: Option<&'a ByWorkers>,
    /// Null: it ran here.
    on_host: Option<&'a OnHost>,
    /// Null: it is no `pipewright spool` and its input is not recorded, or it was not watched.
    spool: Option<Spool>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum End {
    Exited {
        code: i32,
    },
    Signaled {
        signal: String,
        number: i32,
        core_dumped: bool,
    },
    ClosedEarly,
    NotStarted {
        reason: String,
    },
    StatusLost {
        reason: String,
    },
}

/// The pipe from one stage to the next, by their numbers.
#[derive(Debug, Serialize)]
struct Pipe {
    from: usize,
    to: usize,
    /// As it was made; null: it was not.
    capacity_bytes: Option<usize>,
    stderr_too: bool,
    /// Null: unknown.
    estimated_bytes: Option<u64>,
    average_bytes_per_second: Option<f64>,
    /// These are null where it was not watched.
    average_unread_bytes: Option<u64>,
    shares: Option<TimeOfPipe>,
}

/// One line of JSON.
fn json(outcome: &Outcome) -> serde_json::Result<String> {
    let observed = outcome.observed.as_ref();
    let wall = outcome.wall.as_secs_f64();
    let run = Run {
        version: VERSION,
        text: &outcome.text,
        started_at: moment(outcome.started),
        wall_seconds: seconds(outcome.wall),
        exit_code: outcome.exit_code(),
        success: outcome.exit_code() == 0,
        negated: outcome.inverted,
        failed_stage: outcome.failed.map(|index| index + 1),
        timed_out: outcome.timed_out.is_some(),
        signal: outcome.signal.map(signal_name),
        input: observed.and_then(|observed| Input::at_end(observed, wall)),
        whole: outcome.whole.as_ref().map(|whole| Whole {
            reason: &whole.reason,
            statuses: &whole.statuses,
            pipelines: whole.pipelines.iter().map(Inner::of).collect(),
        }),
        stages: stages(outcome),
        pipes: pipes(outcome),
        // A shell that waits for what it has started is nobody's bottleneck.
        verdict: observed
            .filter(|_| outcome.whole.is_none())
            .map(Conclusion::of),
        workers_advice: outcome.workers_advice.as_deref(),
    };
    Ok(serde_json::to_string(&run)? + "\n")
}

fn stages(outcome: &Outcome) -> Vec<Stage<'_>> {
    let observed = outcome.observed.as_ref();
    let figures = |index: usize| observed?.figures.as_ref()?.stages.get(index);
    let stages = outcome.stages.iter().enumerate();
    let stages = stages.map(|(index, stage)| Stage {
        number: index + 1,
        text: &stage.text,
        start: if stage.shell.is_some() {
            "shell"
        } else {
            "direct"
        },
        pid: stage.pid,
        end: End::of(&stage.end),
        exit_code: stage.end.exit_code(),
        wall_seconds: seconds(stage.wall),
        user_seconds: seconds(stage.usage.user),
        system_seconds: seconds(stage.usage.system),
        peak_memory_bytes: stage.usage.peak_memory,
        read_bytes: figures(index).and_then(|figures| figures.read),
        written_bytes: figures(index).and_then(|figures| figures.written),
        shares: observed
            .and_then(|observed| observed.verdict.stages.get(index))
            .map(TimeOfStage::from),
        killed_for_memory: stage.killed_for_memory,
        reader_gone: stage.reader_gone,
        forgiven: stage.forgiven,
        restarts: stage.restarts,
        workers: stage.workers.as_ref(),
        on_host: stage.on_host.as_ref(),
        spool: observed
            .and_then(|observed| {
                let mut spools = observed.verdict.spools.iter();
                spools.find(|spool| spool.stage == index)
            })
            .map(Spool::from),
    });
    stages.collect()
}

fn pipes(outcome: &Outcome) -> Vec<Pipe> {
    let observed = outcome.observed.as_ref();
    let wall = outcome.wall.as_secs_f64();
    let pipes = outcome.pipes.iter().enumerate();
    let pipes = pipes.map(|(index, pipe)| {
        let bytes = observed.and_then(|observed| observed.bytes_after(index));
        let shares = observed.and_then(|observed| observed.pipe_after(index));
        Pipe {
            from: index + 1,
            to: index + 2,
            capacity_bytes: (pipe.capacity > 0).then_some(pipe.capacity),
            stderr_too: pipe.stderr_too,
            estimated_bytes: bytes,
            average_bytes_per_second: bytes.map(|bytes| rate(bytes as f64 / wall)),
            average_unread_bytes: shares.map(|shares| shares.unread.round() as u64),
            shares: shares.map(TimeOfPipe::from),
        }
    });
    pipes.collect()
}

impl Input {
    /// Of a pipeline that ran for so many seconds.
    fn at_end(observed: &Observed, seconds: f64) -> Option<Self> {
        let progress = observed.input.as_ref()?;
        let average = (progress.read > 0).then(|| progress.read as f64 / seconds);
        Some(Self::of(progress, average))
    }

    pub(super) fn of(progress: &Progress, average: Option<f64>) -> Self {
        let Progress { read, total, .. } = *progress;
        Self {
            total_bytes: total,
            read_bytes: read,
            read_share: share(progress.fraction()),
            average_bytes_per_second: average.map(rate),
            current_bytes_per_second: progress.current.map(rate),
            seconds_left: average.map(|average| rate((total - read) as f64 / average)),
        }
    }
}

impl<'a> Inner<'a> {
    fn of(observed: &'a Observed) -> Self {
        let figures = observed.figures.as_ref();
        let stages = observed.layout.stages.iter().enumerate();
        let pipes = observed.layout.pipes.iter().enumerate();
        Self {
            input: Input::at_end(observed, observed.verdict.seconds),
            stages: stages
                .map(|(index, stage)| {
                    let figures = figures.and_then(|figures| figures.stages.get(index));
                    InnerStage {
                        number: index + 1,
                        pid: stage.process.pid,
                        command: &stage.command,
                        cpu_seconds: figures.map(|figures| seconds(figures.cpu_time)),
                        read_bytes: figures.and_then(|figures| figures.read),
                        written_bytes: figures.and_then(|figures| figures.written),
                        shares: observed.verdict.stages.get(index).map(TimeOfStage::from),
                    }
                })
                .collect(),
            pipes: pipes
                .map(|(index, pipe)| {
                    let figures = figures.and_then(|figures| figures.pipes.get(index));
                    let shares = observed.verdict.pipes.get(index);
                    InnerPipe {
                        writers: numbers(&pipe.writers),
                        readers: numbers(&pipe.readers),
                        estimated_bytes: figures.and_then(|figures| figures.bytes),
                        shares: shares.and_then(Option::as_ref).map(TimeOfPipe::from),
                    }
                })
                .collect(),
            verdict: Conclusion::of(observed),
        }
    }
}

impl End {
    fn of(end: &StageEnd) -> Self {
        match end {
            StageEnd::Exited(code) => Self::Exited { code: *code },
            StageEnd::Signaled {
                signal,
                core_dumped,
            } => Self::Signaled {
                signal: signal_name(*signal),
                number: *signal,
                core_dumped: *core_dumped,
            },
            StageEnd::ClosedEarly => Self::ClosedEarly,
            StageEnd::StatusLost(cause) => Self::StatusLost {
                reason: cause.to_string(),
            },
            other => Self::NotStarted {
                reason: other.to_string(),
            },
        }
    }
}
