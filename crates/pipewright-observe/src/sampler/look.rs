//! One look at all stages and pipes, and the figures since the last ones.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::activity::{Neighbour, Neighbours};
use super::flow::{self, Counted, Passed};
use super::link::Link;
use super::sample::{Activity, Figures, PipeFigures, StageFigures};
use super::stage::Stage;
use crate::pipe::PipeLevel;
use crate::proc::Process;
use crate::topology;

/// The result of one look.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) at: Instant,
    pub(super) stages: Vec<Activity>,
    pub(super) pipes: Vec<Option<PipeLevel>>,
    pub(super) figures: Option<Figures>,
    /// Command lines that could be read only now, by stage.
    pub(super) commands: Vec<(usize, String)>,
    /// CPU time it took.
    pub(super) cpu_time: Duration,
}

/// The stages and pipes of a sampler.
#[derive(Debug)]
pub(super) struct Watched {
    stages: Vec<WatchedStage>,
    links: Vec<WatchedLink>,
    last_figures: Instant,
    cores: Option<usize>,
}

#[derive(Debug)]
struct WatchedStage {
    stage: Stage,
    /// Indices of the pipes that lead in and out.
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    /// Its command line was empty: it was in the midst of exec.
    unnamed: bool,
}

#[derive(Debug)]
struct WatchedLink {
    link: Link,
    /// Since the last figures, and since the sampler was made.
    interval: Passed,
    whole: Passed,
}

impl Watched {
    pub(super) fn new(stages: Vec<Process>, links: Vec<Link>, unnamed: Vec<bool>) -> Self {
        let last_figures = Instant::now();
        let mut inputs = vec![Vec::new(); stages.len()];
        let mut outputs = inputs.clone();
        for (index, link) in links.iter().enumerate() {
            for &reader in &link.readers {
                inputs[reader].push(index);
            }
            for &writer in &link.writers {
                outputs[writer].push(index);
            }
        }
        let stages = stages
            .into_iter()
            .zip(inputs)
            .zip(outputs)
            .zip(unnamed)
            .map(|(((process, inputs), outputs), unnamed)| WatchedStage {
                stage: Stage::new(process),
                inputs,
                outputs,
                unnamed,
            })
            .collect();
        let links = links
            .into_iter()
            .map(|link| WatchedLink {
                link,
                interval: Passed::default(),
                whole: Passed::default(),
            })
            .collect();
        Self {
            stages,
            links,
            last_figures,
            cores: std::thread::available_parallelism().map(usize::from).ok(),
        }
    }

    /// Looks once; with figures, if they are due. Calls `around_close` before and
    /// after it closes each pipe.
    pub(super) fn look(&mut self, with_figures: bool, around_close: fn()) -> Look {
        let before = cpu_time();
        let at = Instant::now();
        let pipes: Vec<Option<PipeLevel>> = self
            .links
            .iter_mut()
            .map(|link| link.look(around_close))
            .collect();
        if with_figures
            && self
                .stages
                .iter()
                .any(|watched| watched.stage.needs_parents)
        {
            let parents = topology::parents();
            for watched in &mut self.stages {
                watched.stage.adopt_from(&parents);
            }
        }
        let mut near: Vec<Neighbour> = Vec::new();
        let mut stages: Vec<Activity> = Vec::with_capacity(self.stages.len());
        let mut commands = Vec::new();
        for (index, watched) in self.stages.iter_mut().enumerate() {
            near.clear();
            let neighbour = |link: usize| (self.links[link].link.pipe.id(), pipes[link]);
            near.extend(watched.inputs.iter().map(|&link| {
                let (pipe, level) = neighbour(link);
                // Nobody waits for bytes from writers that have all ended.
                let ended = |&writer: &usize| stages.get(writer) == Some(&Activity::Ended);
                let over = self.links[link].link.writers.iter().all(ended);
                (pipe, level.filter(|level| !(over && level.empty())))
            }));
            near.extend(watched.outputs.iter().map(|&link| neighbour(link)));
            let (inputs, outputs) = near.split_at(watched.inputs.len());
            let activity = watched
                .stage
                .observe(Neighbours { inputs, outputs }, with_figures);
            stages.push(activity);
            watched.unnamed &= activity != Activity::Ended;
            if watched.unnamed
                && let Some(command) = watched.stage.command()
            {
                watched.unnamed = false;
                commands.push((index, command));
            }
        }
        let figures = with_figures.then(|| self.figures(at));
        Look {
            at,
            stages,
            pipes,
            figures,
            commands,
            cpu_time: cpu_time().saturating_sub(before),
        }
    }

    fn figures(&mut self, now: Instant) -> Figures {
        let interval = now - self.last_figures;
        self.last_figures = now;
        // Taken before the new figures, which start an interval of their own.
        let ran: Vec<(bool, bool)> = self
            .stages
            .iter()
            .map(|watched| (watched.stage.ran, watched.stage.ever_ran))
            .collect();
        let earlier: Vec<StageFigures> = self
            .stages
            .iter()
            .map(|watched| watched.stage.last().clone())
            .collect();
        let stages: Vec<StageFigures> = self
            .stages
            .iter_mut()
            .map(|watched| watched.stage.figures(interval))
            .collect();
        let pipes = self
            .links
            .iter_mut()
            .map(|watched| {
                let side = |ends: &[usize],
                            count: fn(&StageFigures) -> Option<u64>,
                            before: bool| Counted {
                    bytes: ends.iter().try_fold(0_u64, |sum, &stage| {
                        let total = count(&stages[stage])?;
                        let start = if before { count(&earlier[stage])? } else { 0 };
                        Some(sum.saturating_add(total.saturating_sub(start)))
                    }),
                    splices: ends.iter().any(|&stage| stages[stage].splices),
                    ran: ends
                        .iter()
                        .any(|&stage| if before { ran[stage].0 } else { ran[stage].1 }),
                };
                // Who records the input of the only reader knows it to the byte.
                let recorded = |all: &[StageFigures]| match watched.link.readers[..] {
                    [reader] => all[reader].input,
                    _ => None,
                };
                let through = |before: bool, passed: Passed| {
                    if let Some(total) = recorded(&stages) {
                        let start = if before {
                            recorded(&earlier).unwrap_or(0)
                        } else {
                            0
                        };
                        return Some(total.saturating_sub(start));
                    }
                    let written = side(&watched.link.writers, |stage| stage.written, before);
                    let read = side(&watched.link.readers, |stage| stage.read, before);
                    flow::through(written, read, passed)
                };
                let figures = PipeFigures {
                    bytes: through(false, watched.whole),
                    rate: through(true, watched.interval)
                        .filter(|_| !interval.is_zero())
                        .map(|bytes| bytes as f64 / interval.as_secs_f64()),
                };
                watched.interval.restart();
                figures
            })
            .collect();
        Figures {
            interval,
            stages,
            pipes,
            cores: self.cores,
        }
    }
}

impl WatchedLink {
    fn look(&mut self, around_close: fn()) -> Option<PipeLevel> {
        let level = self.link.pipe.level_and(around_close).ok();
        around_close();
        self.interval.look(level);
        self.whole.look(level);
        level
    }
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
