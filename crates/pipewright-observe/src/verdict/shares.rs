//! Shares of time: of each stage in each activity, of each pipe full and empty.

use serde::{Deserialize, Serialize};

use crate::sampler::Layout;

/// How a stage has spent its time. The shares add up to 1.
///
/// ```
/// use std::time::Duration;
/// use pipewright_observe::verdict::{StageShares, Verdict};
/// use pipewright_observe::{Activity, Sample};
/// # use pipewright_observe::{Layout, ProcessId, StageLayout};
///
/// # let process = ProcessId { pid: 10, start_time: 1 };
/// # let stages = vec![StageLayout { process, command: "gzip -9".into() }];
/// # let layout = Layout { stages, pipes: vec![] };
/// # let sample = |n: u64, activity: Activity| Sample {
/// #     at: Duration::from_millis(20 * n),
/// #     stages: vec![activity],
/// #     pipes: vec![],
/// #     figures: None,
/// # };
/// let samples = [sample(0, Activity::Disk), sample(1, Activity::WaitingForInput)];
/// let half_and_half = StageShares { disk: 0.5, waiting_for_input: 0.5, ..StageShares::default() };
/// assert_eq!(Verdict::of(&layout, &samples).stages, [half_and_half]);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct StageShares {
    /// Waiting for bytes from the stage before, or from the standard input if there is none.
    pub waiting_for_input: f64,
    /// Waiting for room in the pipe to the next stage, or on the standard output if there is none.
    pub blocked_on_output: f64,
    /// On a CPU.
    pub on_cpu: f64,
    /// Ready, with no CPU free.
    pub waiting_for_cpu: f64,
    /// In uninterruptible sleep, nearly always waiting for a disk.
    pub disk: f64,
    /// Waiting for a socket.
    pub network: f64,
    /// Waiting for the clock.
    pub sleeping: f64,
    /// Waiting for any of several descriptors, none of them a pipe of the pipeline.
    pub polling: f64,
    /// Waiting for a child, another thread, or something with no name here.
    pub elsewhere: f64,
    /// Stopped by a signal or a debugger.
    pub stopped: f64,
    /// Not to be known.
    pub unknown: f64,
    /// Not there any more.
    pub ended: f64,
}

impl StageShares {
    /// Waiting for anything but its neighbours and a CPU.
    ///
    /// ```
    /// use pipewright_observe::verdict::StageShares;
    ///
    /// let shares = StageShares { disk: 0.25, sleeping: 0.5, on_cpu: 0.25, ..StageShares::default() };
    /// assert_eq!(shares.waiting_for_something_else(), 0.75);
    /// ```
    pub fn waiting_for_something_else(&self) -> f64 {
        self.disk + self.network + self.sleeping + self.polling + self.elsewhere + self.stopped
    }

    /// Time in which it did not wait for another stage, and could be waited for itself. Waiting for
    /// the world outside the pipeline is own time: nobody in the pipeline can shorten it.
    ///
    /// ```
    /// use pipewright_observe::verdict::StageShares;
    ///
    /// let shares = StageShares { waiting_for_input: 0.5, on_cpu: 0.5, ..StageShares::default() };
    /// assert_eq!(shares.own(true, true), 0.5); // it waited for the stage before it
    /// assert_eq!(shares.own(false, true), 1.0); // it is the first one, and waited for the world
    /// ```
    pub fn own(&self, has_input: bool, has_output: bool) -> f64 {
        let outside_input = if has_input {
            0.0
        } else {
            self.waiting_for_input
        };
        let outside_output = if has_output {
            0.0
        } else {
            self.blocked_on_output
        };
        self.on_cpu
            + self.waiting_for_cpu
            + self.waiting_for_something_else()
            + outside_input
            + outside_output
    }
}

/// How a pipe has spent its time. Neither full nor empty is what is left of 1.
///
/// ```
/// use std::time::Duration;
/// use pipewright_observe::verdict::Verdict;
/// use pipewright_observe::{Layout, PipeId, PipeLayout, PipeLevel, Sample};
///
/// # let pipe = PipeLayout { pipe: PipeId(1), writers: vec![0], readers: vec![1] };
/// # let layout = Layout { stages: vec![], pipes: vec![pipe] };
/// # let empty = PipeLevel { unread: 0, capacity: 65536, full: false, reader_gone: false };
/// # let full = PipeLevel { unread: 65536, full: true, ..empty };
/// # let sample = |n: u64, level| Sample {
/// #     at: Duration::from_millis(20 * n),
/// #     stages: vec![],
/// #     pipes: vec![Some(level)],
/// #     figures: None,
/// # };
/// let samples = [sample(0, empty), sample(1, full), sample(2, full), sample(3, full)];
/// let shares = Verdict::of(&layout, &samples).pipes[0].expect("it was looked at");
/// assert_eq!((shares.empty, shares.full, shares.unread), (0.25, 0.75, 49152.0));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct PipeShares {
    /// A writer would have had to wait.
    pub full: f64,
    /// A reader would have had to wait.
    pub empty: f64,
    /// Unread bytes on average.
    pub unread: f64,
    /// Capacity in bytes, as last seen.
    pub capacity: u64,
}

impl PipeShares {
    /// Now full, now empty: its size is what couples its two stages.
    pub(super) fn swings(&self) -> bool {
        self.full >= 0.2 && self.empty >= 0.2
    }
}

/// What the pipes next to a stage say: towards 1 if those before it are full and those after it
/// empty, towards -1 if it is the other way round.
pub(super) fn evidence(layout: &Layout, pipes: &[Option<PipeShares>], stage: usize) -> f64 {
    let mut sum = 0.0;
    let mut count = 0_u32;
    for (pipe, shares) in layout.pipes.iter().zip(pipes) {
        let Some(shares) = shares else { continue };
        if pipe.readers.contains(&stage) {
            sum += shares.full - shares.empty;
            count += 1;
        }
        if pipe.writers.contains(&stage) {
            sum += shares.empty - shares.full;
            count += 1;
        }
    }
    match count {
        0 => 0.0,
        count => sum / f64::from(count),
    }
}
