//! Samples added up.

use std::time::Duration;

use crate::proc::Scheduled;
use crate::sampler::{Activity, Layout, PipeLayout, Sample};
use crate::verdict::shares::{PipeShares, StageShares};
use crate::verdict::spool::{SpoolShares, SpoolTally};
use crate::verdict::waits::Waits;

/// The sums of a series of samples: of constant size, however many they are.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    pub(super) samples: u64,
    first: Option<Duration>,
    last: Duration,
    stages: Vec<StageTally>,
    pipes: Vec<PipeTally>,
    pub(super) cores: Option<usize>,
}

#[derive(Debug, Clone, Default)]
struct StageTally {
    /// Samples in each activity, indexed by its discriminant.
    activities: [u64; Activity::ALL.len()],
    scheduled: Scheduled,
    /// Sum of CPUs times seconds, and the seconds.
    cpu_seconds: f64,
    system_seconds: f64,
    seconds: f64,
    program: String,
    spool: SpoolTally,
}

#[derive(Debug, Clone, Default)]
struct PipeTally {
    looks: u64,
    full: u64,
    empty: u64,
    unread: u128,
    capacity: u64,
    /// Bytes that went through, where that is known.
    passed: f64,
}

impl Tally {
    pub(super) fn new(layout: &Layout) -> Self {
        Self {
            samples: 0,
            first: None,
            last: Duration::ZERO,
            stages: vec![StageTally::default(); layout.stages.len()],
            pipes: vec![PipeTally::default(); layout.pipes.len()],
            cores: None,
        }
    }

    pub(super) fn add(&mut self, sample: &Sample) {
        self.samples += 1;
        self.first.get_or_insert(sample.at);
        self.last = sample.at;
        for (stage, &activity) in self.stages.iter_mut().zip(&sample.stages) {
            stage.activities[activity as usize] += 1;
        }
        for (pipe, level) in self.pipes.iter_mut().zip(&sample.pipes) {
            let Some(level) = level else { continue };
            pipe.looks += 1;
            pipe.full += u64::from(level.full);
            pipe.empty += u64::from(level.empty());
            pipe.unread += u128::from(level.unread);
            // Once both ends are gone, a look finds a fresh pipe of the default capacity.
            if !level.reader_gone || pipe.capacity == 0 {
                pipe.capacity = level.capacity;
            }
        }
        let Some(figures) = &sample.figures else {
            return;
        };
        let interval = figures.interval.as_secs_f64();
        for (stage, figures) in self.stages.iter_mut().zip(&figures.stages) {
            if let Some(scheduled) = figures.scheduled {
                stage.scheduled.on_cpu += scheduled.on_cpu;
                stage.scheduled.waiting_for_cpu += scheduled.waiting_for_cpu;
                stage.scheduled.turns += scheduled.turns;
            }
            stage.cpu_seconds += figures.cpus * interval;
            stage.system_seconds += figures.system_cpus * interval;
            stage.seconds += interval;
            stage.program.clone_from(&figures.program);
            if let Some(told) = &figures.spool {
                stage.spool.add(told, interval);
            }
        }
        for (pipe, figures) in self.pipes.iter_mut().zip(&figures.pipes) {
            pipe.passed += figures.rate.unwrap_or(0.0) * interval;
        }
        self.cores = figures.cores.or(self.cores);
    }

    /// Adds the sums of the time that follows.
    pub(super) fn append(&mut self, later: &Self) {
        self.samples += later.samples;
        self.first = self.first.or(later.first);
        self.last = self.last.max(later.last);
        for (stage, later) in self.stages.iter_mut().zip(&later.stages) {
            stage.append(later);
        }
        for (pipe, later) in self.pipes.iter_mut().zip(&later.pipes) {
            pipe.append(later);
        }
        self.cores = later.cores.or(self.cores);
    }

    /// The time of the first sample.
    pub(super) fn first(&self) -> Duration {
        self.first.unwrap_or_default()
    }

    /// The time of the last sample.
    pub(super) fn last(&self) -> Duration {
        self.last
    }

    /// Time from the first sample to the last.
    pub(super) fn span(&self) -> Duration {
        self.last.saturating_sub(self.first())
    }

    /// CPUs used on average; `None` if there were no figures.
    pub(super) fn cpus(&self, stage: usize) -> Option<f64> {
        let stage = &self.stages[stage];
        (stage.seconds > 0.0).then(|| stage.cpu_seconds / stage.seconds)
    }

    /// CPUs used on average, by the finer of the kernel's two accounts: one counts in steps of 10 ms,
    /// the other leaves out short-lived children.
    pub(super) fn cpus_counted(&self, stage: usize) -> Option<f64> {
        let tally = &self.stages[stage];
        let scheduled = tally.scheduled.on_cpu.as_secs_f64() / tally.seconds.max(f64::EPSILON);
        self.cpus(stage).map(|cpus| cpus.max(scheduled))
    }

    /// The part of the CPUs used on average that went into waiting for neighbours, piece by piece.
    pub(super) fn cpus_for_waits(&self, layout: &Layout, stage: usize) -> f64 {
        let tally = &self.stages[stage];
        let touches =
            |pipe: &PipeLayout| pipe.readers.contains(&stage) || pipe.writers.contains(&stage);
        let pipes = layout.pipes.iter().zip(&self.pipes);
        let passed = pipes
            .filter(|(pipe, _)| touches(pipe))
            .map(|(_, it)| it.passed);
        let waits = Waits {
            turns: tally.scheduled.turns as f64,
            bytes: passed.sum(),
            system_seconds: tally.system_seconds,
        };
        waits.seconds() / tally.seconds.max(f64::EPSILON)
    }

    /// The program that was last seen to run in the stage; `None` if there were no figures.
    pub(super) fn program(&self, stage: usize) -> Option<String> {
        let program = &self.stages[stage].program;
        (!program.is_empty()).then(|| program.clone())
    }

    pub(super) fn stage_shares(&self) -> Vec<StageShares> {
        self.stages
            .iter()
            .map(|stage| stage.shares(self.samples))
            .collect()
    }

    /// Of the stages that are spools; `stages` are the shares of all.
    pub(super) fn spool_shares(&self, stages: &[StageShares]) -> Vec<SpoolShares> {
        let spools = self.stages.iter().zip(stages).enumerate();
        spools
            .filter_map(|(index, (stage, shares))| stage.spool.shares(index, shares.disk))
            .collect()
    }

    pub(super) fn pipe_shares(&self) -> Vec<Option<PipeShares>> {
        self.pipes.iter().map(PipeTally::shares).collect()
    }
}

impl StageTally {
    fn append(&mut self, later: &Self) {
        for (count, later) in self.activities.iter_mut().zip(later.activities) {
            *count += later;
        }
        self.scheduled.on_cpu += later.scheduled.on_cpu;
        self.scheduled.waiting_for_cpu += later.scheduled.waiting_for_cpu;
        self.scheduled.turns += later.scheduled.turns;
        self.cpu_seconds += later.cpu_seconds;
        self.system_seconds += later.system_seconds;
        self.seconds += later.seconds;
        self.spool.append(&later.spool);
        if !later.program.is_empty() {
            self.program.clone_from(&later.program);
        }
    }

    fn shares(&self, samples: u64) -> StageShares {
        let share = |activity: Activity| match samples {
            0 => 0.0,
            samples => self.activities[activity as usize] as f64 / samples as f64,
        };
        let running = share(Activity::Running);
        // A sample cannot tell a thread on a CPU from one that waits for it. The scheduler's
        // account can.
        let ready = (self.scheduled.on_cpu + self.scheduled.waiting_for_cpu).as_secs_f64();
        let waiting = if ready > 0.0 {
            self.scheduled.waiting_for_cpu.as_secs_f64() / ready
        } else {
            0.0
        };
        StageShares {
            waiting_for_input: share(Activity::WaitingForInput),
            blocked_on_output: share(Activity::BlockedOnOutput),
            on_cpu: running * (1.0 - waiting),
            waiting_for_cpu: running * waiting,
            disk: share(Activity::Disk),
            network: share(Activity::Network),
            sleeping: share(Activity::Sleeping),
            person: share(Activity::WaitingForPerson),
            polling: share(Activity::Polling),
            elsewhere: share(Activity::Elsewhere),
            stopped: share(Activity::Stopped),
            unknown: share(Activity::Unknown),
            ended: share(Activity::Ended),
        }
    }
}

impl PipeTally {
    fn append(&mut self, later: &Self) {
        self.looks += later.looks;
        self.full += later.full;
        self.empty += later.empty;
        self.unread += later.unread;
        self.passed += later.passed;
        if later.looks > 0 {
            self.capacity = later.capacity;
        }
    }

    fn shares(&self) -> Option<PipeShares> {
        (self.looks > 0).then(|| PipeShares {
            full: self.full as f64 / self.looks as f64,
            empty: self.empty as f64 / self.looks as f64,
            unread: self.unread as f64 / self.looks as f64,
            capacity: self.capacity,
        })
    }
}
