//! The run as one JSON object. Its shape is versioned: fields may come, none changes its meaning.

use std::io::{self, Write};

use pipewright::{StageEnd, signal_name};
use pipewright_observe::verdict::{
    Finding, Limit, Phase, PipeShares, Prediction, Reason, StageShares,
};
use serde::Serialize;

use super::Export;
use crate::outcome::{ByWorkers, Observed, Outcome};

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
    negated: bool,
    success: bool,
    /// The status of pipewright, unless a signal ends it.
    exit_code: u8,
    timed_out: bool,
    /// The signal that reached pipewright, by name.
    signal: Option<String>,
    wall_seconds: f64,
    /// Null: the text was cut into the stages below.
    whole: Option<Whole<'a>>,
    stages: Vec<Stage<'a>>,
    pipes: Vec<Pipe<'a>>,
    /// Null: it was over too soon to be watched, or nobody was to watch it.
    verdict: Option<Conclusion<'a>>,
    /// What workers would gain at the bottleneck, or why they cannot run it.
    workers_advice: Option<&'a str>,
}

/// The conclusion of watching it.
#[derive(Debug, Serialize)]
struct Conclusion<'a> {
    sentence: String,
    advice: Option<String>,
    finding: &'a Finding,
    /// Null: nothing can be foretold.
    prediction: Option<Foretold>,
    /// Empty: the bottleneck stayed where it was.
    phases: Vec<Turn<'a>>,
    seconds: f64,
    samples: u64,
}

/// The pipeline if its bottleneck cost nothing.
#[derive(Debug, Serialize)]
struct Foretold {
    sentence: String,
    /// Share of the time that it would take.
    time_share: f64,
    /// Number of the stage that would limit it then; null: the number of cores would.
    limiting_stage: Option<usize>,
}

/// A stretch of time with one bottleneck.
#[derive(Debug, Serialize)]
struct Turn<'a> {
    from_seconds: f64,
    until_seconds: f64,
    /// Number of the stage; null: no stage held the others up.
    stage: Option<usize>,
    command: Option<&'a str>,
    reason: Option<Reason>,
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
    stages: Vec<&'a str>,
    verdict: Conclusion<'a>,
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
    shares: Option<&'a StageShares>,
    /// The kernel killed it because memory ran out.
    killed_for_memory: bool,
    /// Its reader was gone before it had ended.
    reader_gone: bool,
    /// Its end would be a failure, but for --forgive.
    forgiven: bool,
    /// Null: it was run once.
    workers: Option<&'a ByWorkers>,
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
}

/// The pipe from one stage to the next, by their numbers.
#[derive(Debug, Serialize)]
struct Pipe<'a> {
    from: usize,
    to: usize,
    capacity_bytes: usize,
    stderr_too: bool,
    /// Estimated; null is unknown.
    estimated_bytes: Option<u64>,
    /// Of the time it was watched.
    shares: Option<&'a PipeShares>,
}

/// One line of JSON.
fn json(outcome: &Outcome) -> serde_json::Result<String> {
    let observed = outcome.observed.as_ref();
    let figures = |index: usize| observed?.figures.as_ref()?.stages.get(index);
    let stages = outcome
        .stages
        .iter()
        .enumerate()
        .map(|(index, stage)| Stage {
            number: index + 1,
            text: &stage.text,
            start: if stage.shell.is_some() {
                "shell"
            } else {
                "direct"
            },
            pid: stage.pid,
            end: end(&stage.end),
            exit_code: stage.end.exit_code(),
            wall_seconds: stage.wall.as_secs_f64(),
            user_seconds: stage.usage.user.as_secs_f64(),
            system_seconds: stage.usage.system.as_secs_f64(),
            peak_memory_bytes: stage.usage.peak_memory,
            read_bytes: figures(index).and_then(|figures| figures.read),
            written_bytes: figures(index).and_then(|figures| figures.written),
            shares: observed.and_then(|observed| observed.verdict.stages.get(index)),
            killed_for_memory: stage.killed_for_memory,
            reader_gone: stage.reader_gone,
            forgiven: stage.forgiven,
            workers: stage.workers.as_ref(),
        });
    let pipes = outcome.pipes.iter().enumerate().map(|(index, pipe)| Pipe {
        from: index + 1,
        to: index + 2,
        capacity_bytes: pipe.capacity,
        stderr_too: pipe.stderr_too,
        estimated_bytes: observed.and_then(|observed| observed.bytes_after(index)),
        shares: observed.and_then(|observed| observed.pipe_after(index)),
    });
    let run = Run {
        version: 1,
        negated: outcome.inverted,
        success: outcome.exit_code() == 0,
        exit_code: outcome.exit_code(),
        timed_out: outcome.timed_out.is_some(),
        signal: outcome.signal.map(signal_name),
        wall_seconds: outcome.wall.as_secs_f64(),
        whole: outcome.whole.as_ref().map(|whole| Whole {
            reason: &whole.reason,
            statuses: &whole.statuses,
            pipelines: whole.pipelines.iter().map(inner).collect(),
        }),
        stages: stages.collect(),
        pipes: pipes.collect(),
        // A shell that waits for what it has started is nobody's bottleneck.
        verdict: observed.filter(|_| outcome.whole.is_none()).map(conclusion),
        workers_advice: outcome.workers_advice.as_deref(),
    };
    Ok(serde_json::to_string(&run)? + "\n")
}

fn conclusion(observed: &Observed) -> Conclusion<'_> {
    Conclusion {
        sentence: observed.verdict.sentence(),
        advice: observed.verdict.advice(),
        finding: &observed.verdict.finding,
        prediction: observed.verdict.prediction.as_ref().map(foretold),
        phases: observed.verdict.phases.iter().map(turn).collect(),
        seconds: observed.verdict.seconds,
        samples: observed.verdict.samples,
    }
}

fn foretold(prediction: &Prediction) -> Foretold {
    let limiting_stage = match &prediction.limit {
        Limit::Stage { stage, .. } => Some(stage + 1),
        _ => None,
    };
    Foretold {
        sentence: prediction.sentence(),
        time_share: prediction.time,
        limiting_stage,
    }
}

fn turn(phase: &Phase) -> Turn<'_> {
    let found = phase.bottleneck.as_ref();
    Turn {
        from_seconds: phase.from_seconds,
        until_seconds: phase.until_seconds,
        stage: found.map(|found| found.stage + 1),
        command: found.map(|found| &*found.command),
        reason: found.map(|found| found.reason),
    }
}

fn inner(observed: &Observed) -> Inner<'_> {
    let stages = observed.layout.stages.iter();
    Inner {
        stages: stages.map(|stage| &*stage.command).collect(),
        verdict: conclusion(observed),
    }
}

fn end(end: &StageEnd) -> End {
    match end {
        StageEnd::Exited(code) => End::Exited { code: *code },
        StageEnd::Signaled {
            signal,
            core_dumped,
        } => End::Signaled {
            signal: signal_name(*signal),
            number: *signal,
            core_dumped: *core_dumped,
        },
        StageEnd::ClosedEarly => End::ClosedEarly,
        other => End::NotStarted {
            reason: other.to_string(),
        },
    }
}
