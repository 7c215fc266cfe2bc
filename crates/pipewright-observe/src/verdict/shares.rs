//! Shares of time: of each stage in each activity, of each pipe full and empty.

use serde::{Deserialize, Serialize};

use crate::sampler::Layout;

/// The shares of its time that a stage has spent in each activity. They add up to 1.
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
    /// Waiting for somebody at the terminal's keyboard.
    #[serde(default)]
    pub person: f64,
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
    pub fn waiting_for_something_else(&self) -> f64 {
        self.disk
            + self.network
            + self.sleeping
            + self.person
            + self.polling
            + self.elsewhere
            + self.stopped
    }

    /// Time in which it did not wait for another stage, and could be waited for itself. Waiting for
    /// the world outside the pipeline is own time: nobody in the pipeline can shorten it.
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

/// The shares of its time that a pipe was full and empty; the rest, up to 1, it was neither.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
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

/// The evidence of the pipes next to a stage: towards 1 if those before it are full and those after it
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
