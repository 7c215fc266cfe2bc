//! What a sampler sees: plain values, to be kept, written out and judged.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::pipe::{PipeId, PipeLevel};
use crate::proc::ProcessId;

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
///
/// ```
/// use pipewright_observe::{Intervals, Process, Sampler};
///
/// let mut sleep = std::process::Command::new("sleep").arg("60").spawn()?;
/// let stages = vec![Process::open(sleep.id())?];
/// let mut sampler = Sampler::linear(stages, vec![], Intervals::default())?;
/// while sampler.layout().stages[0].command != "sleep 60" {
///     sampler.tick(); // for a moment it was in the midst of exec
/// }
/// assert_eq!(sampler.layout().stages[0].process.pid, sleep.id());
/// # sleep.kill()?; sleep.wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageLayout {
    /// The process at the root of the stage.
    pub process: ProcessId,
    /// Its command line, safe to show; or the name that it was given.
    pub command: String,
}

/// One pipe of a [`Layout`].
///
/// ```
/// use pipewright_observe::{Layout, PipeId, PipeLayout};
///
/// // tee: one stage writes into two pipes.
/// let pipe = |id, reader| PipeLayout { pipe: PipeId(id), writers: vec![0], readers: vec![reader] };
/// let layout = Layout { stages: vec![], pipes: vec![pipe(1, 1), pipe(2, 2)] };
/// assert!(layout.has_input(1) && layout.has_input(2) && !layout.has_input(0));
/// ```
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
    /// Whether some pipe of the layout leads into the stage.
    ///
    /// ```
    /// use pipewright_observe::{Layout, PipeId, PipeLayout};
    ///
    /// let pipes = vec![PipeLayout { pipe: PipeId(1), writers: vec![0], readers: vec![1] }];
    /// let layout = Layout { stages: vec![], pipes };
    /// assert_eq!([0, 1].map(|stage| layout.has_input(stage)), [false, true]);
    /// ```
    pub fn has_input(&self, stage: usize) -> bool {
        self.pipes.iter().any(|pipe| pipe.readers.contains(&stage))
    }

    /// Whether some pipe of the layout leads out of the stage.
    ///
    /// ```
    /// use pipewright_observe::{Layout, PipeId, PipeLayout};
    ///
    /// let pipes = vec![PipeLayout { pipe: PipeId(1), writers: vec![0, 1], readers: vec![2] }];
    /// let layout = Layout { stages: vec![], pipes };
    /// assert_eq!([0, 1, 2].map(|stage| layout.has_output(stage)), [true, true, false]);
    /// ```
    pub fn has_output(&self, stage: usize) -> bool {
        self.pipes.iter().any(|pipe| pipe.writers.contains(&stage))
    }
}

/// What a stage was doing at the moment of a sample.
///
/// A stage is many threads. It is said to do what the busiest of them does; the order of the
/// variants, from least to most, is the order of that choice.
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
pub enum Activity {
    /// Every process of the stage has ended.
    Ended,
    /// Waiting for a child, for another thread, or for something with no name here.
    Elsewhere,
    /// Not to be known: the kernel does not let this user look.
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
    /// Waiting for bytes: from the stage before it, or, if there is none, from its standard input.
    WaitingForInput,
    /// Waiting for room: in the pipe to the next stage, or, if there is none, on its standard output.
    BlockedOnOutput,
    /// In uninterruptible sleep, nearly always waiting for a disk.
    Disk,
    /// On a CPU, or ready and waiting for one.
    Running,
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Activity::Ended => "ended",
            Activity::Elsewhere => "waiting",
            Activity::Unknown => "unknown",
            Activity::Stopped => "stopped",
            Activity::Polling => "polling",
            Activity::Network => "waiting for the network",
            Activity::Sleeping => "asleep",
            Activity::WaitingForInput => "waiting for input",
            Activity::BlockedOnOutput => "blocked on output",
            Activity::Disk => "waiting for a disk",
            Activity::Running => "running",
        })
    }
}

/// One look at a pipeline.
///
/// ```
/// use std::io::Write;
/// use pipewright_observe::{Intervals, PipeHandle, Process, Sample, Sampler};
///
/// let (reader, mut writer) = std::io::pipe()?;
/// writer.write_all(b"HOLA!")?;
/// let stage = || Process::open(std::process::id());
/// let pipes = vec![PipeHandle::of_end(&reader)?];
/// let mut sampler = Sampler::linear(vec![stage()?, stage()?], pipes, Intervals::default())?;
/// let Sample { stages, pipes, .. } = sampler.tick();
/// assert_eq!((stages.len(), pipes[0].map(|level| level.unread)), (2, Some(5)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Time since the sampler was made, written as microseconds.
    #[serde(with = "microseconds")]
    pub at: Duration,
    /// What each stage was doing.
    pub stages: Vec<Activity>,
    /// What each pipe showed; `None` where the kernel does not let this user look.
    pub pipes: Vec<Option<PipeLevel>>,
    /// Figures, in the samples where they were due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<Figures>,
}

/// The figures of one interval.
///
/// ```
/// use pipewright_observe::{Intervals, Process, Sampler};
///
/// let me = Process::open(std::process::id())?;
/// let mut sampler = Sampler::linear(vec![me], vec![], Intervals::default())?;
/// let figures = sampler.finish().figures.expect("they were asked for");
/// assert_eq!((figures.stages.len(), figures.pipes.len()), (1, 0));
/// assert!(!figures.interval.is_zero()); // since the sampler was made
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// The time since the figures before these, written as microseconds.
    #[serde(with = "microseconds")]
    pub interval: Duration,
    /// One for each stage.
    pub stages: Vec<StageFigures>,
    /// One for each pipe.
    pub pipes: Vec<PipeFigures>,
}

/// What a stage, all its processes together, has used.
///
/// ```
/// use pipewright_observe::{Intervals, Process, Sampler};
///
/// let mut child = std::process::Command::new("sleep").arg("60").spawn()?;
/// let stages = vec![Process::open(child.id())?];
/// let mut sampler = Sampler::linear(stages, vec![], Intervals::default())?;
/// let figures = sampler.finish().figures.expect("they were asked for");
/// let sleep = &figures.stages[0];
/// assert_eq!((sleep.processes, sleep.written, sleep.splices), (1, Some(0), false));
/// # child.kill()?; child.wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StageFigures {
    /// CPU time since the stage's processes started, written as microseconds. In steps of 10 ms.
    #[serde(with = "microseconds")]
    pub cpu_time: Duration,
    /// CPUs used over the interval: 1.0 is one core.
    pub cpus: f64,
    /// Of the interval, thread by thread added up: time on a CPU, and time ready but with no CPU
    /// free. `None` where the kernel keeps no such account.
    pub scheduled: Option<Scheduled>,
    /// Bytes read from any descriptor since the start; `None` where they are not to be known.
    pub read: Option<u64>,
    /// Bytes written to any descriptor since the start; `None` where they are not to be known.
    pub written: Option<u64>,
    /// Seen in `splice` or `tee`: its bytes are in no counter.
    pub splices: bool,
    /// Processes it consists of now.
    pub processes: usize,
    /// Name of the program that runs, or of the stage's first process, safe to show.
    pub program: String,
}

/// Time that threads spent on a CPU and waiting for one.
///
/// ```
/// use std::time::Duration;
/// use pipewright_observe::Scheduled;
///
/// // A thread that was ready for 100 ms, and had a CPU for a quarter of it.
/// let scheduled: Scheduled = serde_json::from_str(r#"{"on_cpu": 25000, "waiting_for_cpu": 75000}"#)?;
/// assert_eq!(scheduled.on_cpu, Duration::from_millis(25));
/// assert_eq!(scheduled.waiting_for_cpu, Duration::from_millis(75));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled {
    /// On a CPU, written as microseconds.
    #[serde(with = "microseconds")]
    pub on_cpu: Duration,
    /// Ready, with no CPU free, written as microseconds.
    #[serde(with = "microseconds")]
    pub waiting_for_cpu: Duration,
}

/// What has gone through a pipe, estimated from the counters of the processes at its ends.
///
/// Show these with `≈`: the counters add up every descriptor of a process.
///
/// ```
/// use std::io::Write;
/// use pipewright_observe::{Intervals, PipeHandle, Process, Sampler};
///
/// // A pipe from cat to this process.
/// let ((stdin, mut feed), (reader, stdout)) = (std::io::pipe()?, std::io::pipe()?);
/// let pipes = vec![PipeHandle::of_end(&reader)?];
/// let mut cat = std::process::Command::new("cat").stdin(stdin).stdout(stdout).spawn()?;
/// let stages = vec![Process::open(cat.id())?, Process::open(std::process::id())?];
/// let mut sampler = Sampler::linear(stages, pipes, Intervals::default())?;
/// feed.write_all(b"HOLA!\n")?;
/// drop(feed);
/// assert_eq!(std::io::read_to_string(reader)?, "HOLA!\n");
/// let figures = sampler.finish().figures.expect("they were asked for");
/// assert_eq!(figures.pipes[0].bytes, Some(6));
/// # cat.wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct PipeFigures {
    /// Bytes since the processes at its ends started; `None` is unknown, not zero.
    pub bytes: Option<u64>,
    /// Bytes a second over the interval; `None` is unknown, not zero.
    pub rate: Option<f64>,
}

mod microseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        time: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(time.as_micros() as u64)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_micros)
    }
}
