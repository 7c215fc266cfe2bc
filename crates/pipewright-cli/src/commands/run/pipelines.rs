//! The pipelines of a text that one shell runs: found from outside, and watched while they last.

use std::time::{Duration, Instant};

use pipewright_observe::topology::{Pipeline, Scan};
use pipewright_observe::verdict::Finding;
use pipewright_observe::{Activity, Intervals, PipeId, Sampler};
use rustix::time::{ClockId, clock_gettime};

use crate::observation::Observation;
use crate::outcome::Observed;
use crate::progress::look::Follower;
use crate::progress::words::Named;
use crate::view::live::Frame;

/// Between two looks for new ones, at least.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// The processor time of a look, times this, goes by before the next one: it takes 2 % at most.
const PART: u32 = 50;
/// So many are watched at a time.
const AT_ONCE: usize = 8;
/// So many are told of at the end.
const TOLD: usize = 100;

/// What the shell runs at the moment, and what it has run.
#[derive(Debug)]
pub(super) struct Pipelines {
    shell: u32,
    intervals: Intervals,
    current: Vec<Watched>,
    ended: Vec<Observed>,
    next_look: Instant,
}

/// One of them.
#[derive(Debug)]
struct Watched {
    observation: Observation,
    input: Follower,
    pipes: Vec<PipeId>,
    since: Instant,
}

impl Pipelines {
    pub(super) fn new(shell: u32, intervals: Intervals) -> Self {
        Self {
            shell,
            intervals,
            current: Vec::new(),
            ended: Vec::new(),
            next_look: Instant::now(),
        }
    }

    /// The time of the next look at one of them, or for others.
    pub(super) fn due(&self) -> Instant {
        let now = Instant::now();
        let each = self.current.iter().map(|it| now + it.observation.due_in());
        each.chain([self.next_look]).min().unwrap_or(now)
    }

    /// Does what is due.
    pub(super) fn step(&mut self) {
        let (ended, current) = std::mem::take(&mut self.current)
            .into_iter()
            .partition(|it| it.has_ended());
        self.current = current;
        self.keep(ended);
        for watched in &mut self.current {
            watched.observation.tick();
        }
        if self.next_look <= Instant::now() {
            let before = cpu_time();
            if let Ok(scan) = Scan::below(self.shell) {
                for found in scan.pipelines() {
                    self.found(&found);
                }
            }
            let spent = cpu_time().saturating_sub(before);
            self.next_look = Instant::now() + LOOK_AGAIN.max(spent * PART);
        }
    }

    /// What each of them looks like now.
    pub(super) fn frames(&self) -> impl Iterator<Item = Frame> {
        self.current.iter().map(|watched| {
            let elapsed = watched.since.elapsed();
            Frame::of(&watched.observation, elapsed, watched.input.progress())
        })
    }

    /// Those that lived long enough to be judged, in the order of their ends.
    pub(super) fn finish(mut self) -> Vec<Observed> {
        let current = std::mem::take(&mut self.current);
        self.keep(current);
        self.ended
    }

    fn found(&mut self, found: &Pipeline) {
        // A program whose output the shell captures is no pipeline that somebody wrote.
        if found.with_ancestor {
            return;
        }
        let pipes: Vec<PipeId> = found.pipes.iter().map(|pipe| pipe.pipe).collect();
        let same = |it: &Watched| it.pipes.iter().any(|pipe| pipes.contains(pipe));
        if let Some(known) = self.current.iter().position(same) {
            // It was found while the shell was still starting it.
            if self.current[known].observation.layout().stages.len() >= found.stages.len() {
                return;
            }
            self.current.remove(known);
        }
        if self.current.len() >= AT_ONCE {
            return;
        }
        // What has ended meanwhile was too short to be watched.
        if let Ok(sampler) = Sampler::attach(found, self.intervals) {
            let stages: Vec<_> = found.stages.iter().map(|it| it.process).collect();
            self.current.push(Watched {
                observation: Observation::new(sampler),
                input: Follower::start(stages.into_iter(), Named::ByArguments, None),
                pipes,
                since: Instant::now(),
            });
        }
    }

    fn keep(&mut self, ended: Vec<Watched>) {
        let observed = ended.into_iter().map(Watched::into_observed);
        let judged = observed.filter(|it| it.verdict.finding != Finding::TooShort);
        let room = TOLD - self.ended.len();
        self.ended.extend(judged.take(room));
    }
}

/// What this process has used so far, in all its threads.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

impl Watched {
    fn has_ended(&self) -> bool {
        let latest = self.observation.latest();
        latest.is_some_and(|sample| sample.stages.iter().all(|it| *it == Activity::Ended))
    }

    fn into_observed(self) -> Observed {
        let mut observed = self.observation.into_observed();
        observed.note_input(self.input.progress());
        observed
    }
}
