//! What a sampler sees: plain values, to be kept, written out and judged.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::pipe::{PipeId, PipeLevel};
use crate::proc::{ProcessId, Scheduled};
use crate::spool_state::SpoolState;

/// The shape of the pipeline that samples are taken of. Indices in samples are those used here.
///
/// ```
/// use pipewright_observe::{Layout, PipeId, PipeLayout, ProcessId, StageLayout};
///
/// let stage = |pid, command: &str| StageLayout {
///     process: ProcessId { pid, start_time: 1 },
///     command: command.into(),
/// };
/// let cat_to_wc = Layout {
///     stages: vec![stage(10, "cat log"), stage(11, "wc -l")],
///     pipes: vec![PipeLayout { pipe: PipeId(4711), writers: vec![0], readers: vec![1] }],
/// };
/// assert!(cat_to_wc.has_output(0) && !cat_to_wc.has_output(1));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// The stages, upstream first where the pipeline is a line.
    pub stages: Vec<StageLayout>,
    /// The pipes between them.
    pub pipes: Vec<PipeLayout>,
}

/// One stage of a [`Layout`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageLayout {
    /// The process at the root of the stage.
    pub process: ProcessId,
    /// Its command line, safe to show; or the name that it was given.
    pub command: String,
}

/// One pipe of a [`Layout`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipeLayout {
    /// The pipe's identity.
    pub pipe: PipeId,
    /// Indices of the stages that write to it.
    pub writers: Vec<usize>,
    /// Indices of the stages that read from it.
    pub readers: Vec<usize>,
}

impl Layout {
    /// `true` if a pipe of the layout leads into the stage.
    pub fn has_input(&self, stage: usize) -> bool {
        self.pipes.iter().any(|pipe| pipe.readers.contains(&stage))
    }

    /// `true` if a pipe of the layout leads out of the stage.
    pub fn has_output(&self, stage: usize) -> bool {
        self.pipes.iter().any(|pipe| pipe.writers.contains(&stage))
    }
}

/// The activity of a stage at the moment of a sample.
///
/// A stage can be many threads. It counts as doing what the busiest of them does; the variants are
/// ordered from least to most busy.
///
/// ```
/// use pipewright_observe::Activity;
///
/// // Of a stage's threads, the busiest one counts.
/// let threads = [Activity::Elsewhere, Activity::Running, Activity::WaitingForInput];
/// assert_eq!(threads.iter().max(), Some(&Activity::Running));
/// assert_eq!(Activity::BlockedOnOutput.to_string(), "blocked on output");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Activity {
    /// Every process of the stage has ended.
    Ended,
    /// Waiting for a child, for another thread, or for something with no name here.
    Elsewhere,
    /// Unknown: the kernel does not let this user look, or there was no answer.
    Unknown,
    /// Stopped by a signal or a debugger.
    Stopped,
    /// Waiting for any of several descriptors, and no pipe of the pipeline explains it: a
    /// network connection, a terminal, a timer.
    Polling,
    /// Waiting for a socket.
    Network,
    /// Waiting for the clock.
    Sleeping,
    /// Waiting for somebody to press a key at a terminal.
    WaitingForPerson,
    /// Waiting for bytes: from the stage before it, or, if there is none, from its standard input.
    WaitingForInput,
    /// Waiting for room: in the pipe to the next stage, or, if there is none, on its standard output.
    BlockedOnOutput,
    /// In uninterruptible sleep, nearly always waiting for a disk.
    Disk,
    /// On a CPU, or ready and waiting for one.
    Running,
}

impl Activity {
    /// All of them, from least to most busy.
    pub const ALL: [Self; 12] = [
        Self::Ended,
        Self::Elsewhere,
        Self::Unknown,
        Self::Stopped,
        Self::Polling,
        Self::Network,
        Self::Sleeping,
        Self::WaitingForPerson,
        Self::WaitingForInput,
        Self::BlockedOnOutput,
        Self::Disk,
        Self::Running,
    ];

    /// A few words for it, as views and reports show them.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Elsewhere => "waiting",
            Self::Unknown => "unknown",
            Self::Stopped => "stopped",
            Self::Polling => "polling",
            Self::Network => "waiting for the network",
            Self::Sleeping => "asleep",
            Self::WaitingForPerson => "waiting for a person",
            Self::WaitingForInput => "waiting for input",
            Self::BlockedOnOutput => "blocked on output",
            Self::Disk => "waiting for a disk",
            Self::Running => "running",
        }
    }
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// One look at a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Time since the sampler was made, written as microseconds.
    #[serde(with = "crate::microseconds")]
    pub at: Duration,
    /// The activity of each stage.
    pub stages: Vec<Activity>,
    /// The contents of each pipe; `None` where the kernel does not let this user look.
    pub pipes: Vec<Option<PipeLevel>>,
    /// Figures, in the samples where they were due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<Figures>,
}

/// The figures of one interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// The time since the figures before these, written as microseconds.
    #[serde(with = "crate::microseconds")]
    pub interval: Duration,
    /// One for each stage.
    pub stages: Vec<StageFigures>,
    /// One for each pipe.
    pub pipes: Vec<PipeFigures>,
    /// Cores that this process may use, and so those that it has started; `None` is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<usize>,
}

/// The resources that a stage, all its processes together, has used.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StageFigures {
    /// CPU time since the stage's processes started, written as microseconds. In steps of 10 ms.
    #[serde(with = "crate::microseconds")]
    pub cpu_time: Duration,
    /// CPUs used over the interval: 1.0 is one core.
    pub cpus: f64,
    /// The part of `cpus` that was spent in the kernel.
    #[serde(default)]
    pub system_cpus: f64,
    /// CPU time in the kernel since the start, written as microseconds. In steps of 10 ms.
    #[serde(with = "crate::microseconds", default)]
    pub system_time: Duration,
    /// Of the interval, thread by thread added up: time on a CPU, and time ready but with no CPU
    /// free. `None` where the kernel keeps no such account.
    pub scheduled: Option<Scheduled>,
    /// Bytes read from any descriptor since the start; `None` where this user may not know.
    pub read: Option<u64>,
    /// Bytes written to any descriptor since the start; `None` where this user may not know.
    pub written: Option<u64>,
    /// Seen in `splice` or `tee`: its bytes are in no counter.
    pub splices: bool,
    /// Processes it consists of now.
    pub processes: usize,
    /// Name of the program that runs, or of the stage's first process, safe to show.
    pub program: String,
    /// What it tells of itself, if it is a `pipewright spool`; of its recorded input, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spool: Option<SpoolFigures>,
    /// Bytes of its recorded input that the stage before it has given; `None` where nobody records it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<u64>,
}

/// What a stage that keeps the stream on disk tells of itself. These are its own counts, no estimates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SpoolFigures {
    /// How far it is.
    pub state: SpoolState,
    /// Bytes a second that it took, over the interval.
    pub taken_rate: f64,
    /// Bytes a second that it gave, over the interval.
    pub given_rate: f64,
    /// The share of the interval in which it was full: its reader was behind by its limit.
    pub full: f64,
    /// The share of the interval in which its disk had no room.
    pub no_room: f64,
}

impl SpoolFigures {
    /// What has changed since the state before.
    pub(crate) fn since(before: &SpoolState, state: SpoolState, interval: Duration) -> Self {
        let seconds = interval.as_secs_f64();
        let over = |amount: f64| if seconds > 0.0 { amount / seconds } else { 0.0 };
        let bytes = |now: u64, before: u64| over(now.saturating_sub(before) as f64);
        let share = |now: Duration, before: Duration| {
            over(now.saturating_sub(before).as_secs_f64()).min(1.0)
        };
        Self {
            state,
            taken_rate: bytes(state.taken, before.taken),
            given_rate: bytes(state.given, before.given),
            full: share(state.full, before.full),
            no_room: share(state.no_room, before.no_room),
        }
    }
}

/// The bytes that went through a pipe, estimated from the counters of the processes at its ends.
///
/// Show these with `≈`: the counters add up every descriptor of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PipeFigures {
    /// Bytes since the processes at its ends started; `None` is unknown, not zero.
    pub bytes: Option<u64>,
    /// Bytes a second over the interval; `None` is unknown, not zero.
    pub rate: Option<f64>,
}
