//! Looks at a running pipeline again and again, and keeps count of what that costs.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use self::activity::{Neighbour, Neighbours};
use self::flow::{Counted, Seen};
pub use self::sample::{
    Activity, Figures, Layout, PipeFigures, PipeLayout, Sample, Scheduled, StageFigures,
    StageLayout,
};
use self::stage::Stage;
use crate::error::{Error, Result};
use crate::pipe::{PipeHandle, PipeLevel};
use crate::proc::Process;
use crate::topology::{self, Pipeline};

mod activity;
mod flow;
mod sample;
mod stage;

/// How often to look.
///
/// ```
/// use std::time::Duration;
/// use pipewright_observe::{Intervals, Process, Sampler};
///
/// let intervals = Intervals { states: Duration::from_millis(5), figures: Duration::ZERO };
/// let me = Process::open(std::process::id())?;
/// let mut sampler = Sampler::linear(vec![me], vec![], intervals)?;
/// assert!(sampler.tick().figures.is_some()); // each time
/// assert!(sampler.due_in() <= intervals.states);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intervals {
    /// Between two looks at the states of stages and pipes.
    pub states: Duration,
    /// Between two sets of figures: CPU time, bytes, rates.
    pub figures: Duration,
}

impl Default for Intervals {
    /// States every 20 ms, figures every second.
    fn default() -> Intervals {
        Intervals {
            states: Duration::from_millis(20),
            figures: Duration::from_secs(1),
        }
    }
}

/// A pipe between stages of a sampler.
///
/// ```
/// use pipewright_observe::{Intervals, Link, PipeHandle, Process, Sampler};
///
/// // Two stages that write into one pipe, and one that reads from it.
/// let (reader, _writer) = std::io::pipe()?;
/// let link = Link { pipe: PipeHandle::of_end(&reader)?, writers: vec![0, 1], readers: vec![2] };
/// let stages = (0..3).map(|_| Process::open(std::process::id())).collect::<Result<_, _>>()?;
/// let sampler = Sampler::new(stages, vec![link], Intervals::default())?;
/// assert!(sampler.layout().has_output(1) && sampler.layout().has_input(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Link {
    /// The pipe.
    pub pipe: PipeHandle,
    /// Indices of the stages that write to it.
    pub writers: Vec<usize>,
    /// Indices of the stages that read from it.
    pub readers: Vec<usize>,
}

/// What the sampler itself has used.
///
/// ```
/// use std::time::Duration;
/// use pipewright_observe::{Cost, Intervals, Process, Sampler};
///
/// let me = Process::open(std::process::id())?;
/// let mut sampler = Sampler::linear(vec![me], vec![], Intervals::default())?;
/// assert_eq!(sampler.cost(), Cost::default());
/// sampler.tick();
/// let Cost { cpu_time, samples, .. } = sampler.cost();
/// assert!(samples == 1 && cpu_time > Duration::ZERO);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// CPU time of the sampling thread inside [`Sampler::tick`].
    pub cpu_time: Duration,
    /// Time from the first sample to the last.
    pub elapsed: Duration,
    /// Samples taken.
    pub samples: u64,
}

impl Cost {
    /// The share of one core that sampling took, 0.01 being one percent.
    ///
    /// ```
    /// use std::time::Duration;
    /// use pipewright_observe::Cost;
    ///
    /// let cost = Cost {
    ///     cpu_time: Duration::from_millis(3),
    ///     elapsed: Duration::from_secs(1),
    ///     samples: 50,
    /// };
    /// assert_eq!(cost.share(), 0.003); // 0.3 % of a core
    /// ```
    pub fn share(&self) -> f64 {
        match self.elapsed.is_zero() {
            true => 0.0,
            false => self.cpu_time.as_secs_f64() / self.elapsed.as_secs_f64(),
        }
    }
}

/// Looks at the stages and pipes of one running pipeline.
///
/// It holds `O_PATH` handles of the pipes and descriptors of files below `/proc`, about six for each
/// process; a pipeline of hundreds of stages may need a higher limit of open files
/// (`RLIMIT_NOFILE`). It starts no thread: the caller calls [`Sampler::tick`] whenever
/// [`Sampler::due_in`] has passed.
///
/// ```
/// use std::process::{Command, Stdio};
/// use pipewright_observe::{Activity, Intervals, PipeHandle, Process, Sampler};
///
/// // sleep 60 | cat
/// let (reader, writer) = std::io::pipe()?;
/// let pipe = PipeHandle::of_end(&reader)?;
/// let mut sleep = Command::new("sleep").arg("60").stdout(writer).spawn()?;
/// let mut cat = Command::new("cat").stdin(reader).stdout(Stdio::null()).spawn()?;
///
/// let stages = vec![Process::open(sleep.id())?, Process::open(cat.id())?];
/// let mut sampler = Sampler::linear(stages, vec![pipe], Intervals::default())?;
/// let both_wait = [Activity::Sleeping, Activity::WaitingForInput];
/// while sampler.tick().stages != both_wait {
///     std::thread::sleep(sampler.due_in());
/// }
/// sleep.kill()?;
/// sleep.wait()?;
/// assert!(cat.wait()?.success(), "cat sees the end of file although the pipe is watched");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Sampler {
    layout: Layout,
    stages: Vec<Watched>,
    links: Vec<WatchedLink>,
    intervals: Intervals,
    started: Instant,
    next_states: Instant,
    last_figures: Instant,
    cost: Cost,
}

#[derive(Debug)]
struct Watched {
    stage: Stage,
    /// Indices of the pipes that lead in and out.
    inputs: Vec<usize>,
    outputs: Vec<usize>,
}

#[derive(Debug)]
struct WatchedLink {
    link: Link,
    /// Since the last figures, and since the sampler was made.
    interval: Seen,
    whole: Seen,
}

impl Sampler {
    /// Watches `stages`, connected by `links`.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] if a link names a stage that is not there.
    ///
    /// ```
    /// use pipewright_observe::{Error, Intervals, Link, PipeHandle, Process, Sampler};
    ///
    /// let (reader, _writer) = std::io::pipe()?;
    /// let link = Link { pipe: PipeHandle::of_end(&reader)?, writers: vec![0], readers: vec![1] };
    /// let only_one_stage = vec![Process::open(std::process::id())?];
    /// let refused = Sampler::new(only_one_stage, vec![link], Intervals::default());
    /// assert!(matches!(refused, Err(Error::Layout { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(stages: Vec<Process>, links: Vec<Link>, intervals: Intervals) -> Result<Sampler> {
        let named = stages.into_iter().map(|process| {
            let command = process.command_line().unwrap_or_default();
            (process, command.to_string())
        });
        Self::named(named.collect(), links, intervals)
    }

    /// Watches `stages`, each with the name that the layout and the verdict give it in place of its
    /// command line, which is not read then.
    ///
    /// # Errors
    ///
    /// As for [`Sampler::new`].
    pub fn named(
        stages: Vec<(Process, String)>,
        links: Vec<Link>,
        intervals: Intervals,
    ) -> Result<Sampler> {
        if let Some(wrong) = links
            .iter()
            .flat_map(|link| link.writers.iter().chain(&link.readers))
            .find(|&&stage| stage >= stages.len())
        {
            return Err(Error::Layout {
                reason: format!(
                    "a pipe is said to touch stage {wrong}, and there are {} stages",
                    stages.len()
                ),
            });
        }
        let layout = Layout {
            stages: stages
                .iter()
                .map(|(process, name)| StageLayout {
                    process: process.id(),
                    command: name.clone(),
                })
                .collect(),
            pipes: links
                .iter()
                .map(|link| PipeLayout {
                    pipe: link.pipe.id(),
                    writers: link.writers.clone(),
                    readers: link.readers.clone(),
                })
                .collect(),
        };
        let touching = |end: fn(&Link) -> &Vec<usize>, stage: usize| -> Vec<usize> {
            (0..links.len())
                .filter(|&link| end(&links[link]).contains(&stage))
                .collect()
        };
        let stages = stages
            .into_iter()
            .enumerate()
            .map(|(index, (process, _))| Watched {
                stage: Stage::new(process),
                inputs: touching(|link| &link.readers, index),
                outputs: touching(|link| &link.writers, index),
            })
            .collect();
        let links = links
            .into_iter()
            .map(|link| WatchedLink {
                link,
                interval: Seen::default(),
                whole: Seen::default(),
            })
            .collect();
        let now = Instant::now();
        Ok(Sampler {
            layout,
            stages,
            links,
            intervals,
            started: now,
            next_states: now,
            last_figures: now,
            cost: Cost::default(),
        })
    }

    /// Watches a line of stages: `pipes[i]` leads from `stages[i]` to `stages[i + 1]`.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] unless there is one pipe fewer than there are stages.
    ///
    /// ```
    /// use pipewright_observe::{Intervals, PipeHandle, Process, Sampler};
    ///
    /// let (reader, _writer) = std::io::pipe()?;
    /// let stage = || Process::open(std::process::id());
    /// let pipes = vec![PipeHandle::of_end(&reader)?];
    /// let sampler = Sampler::linear(vec![stage()?, stage()?], pipes, Intervals::default())?;
    /// assert_eq!(sampler.layout().pipes[0].readers, [1]);
    /// let error = Sampler::linear(vec![], vec![], Intervals::default()).unwrap_err();
    /// assert!(error.to_string().contains("stages in a line"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn linear(
        stages: Vec<Process>,
        pipes: Vec<PipeHandle>,
        intervals: Intervals,
    ) -> Result<Sampler> {
        if pipes.len() + 1 != stages.len() {
            return Err(Error::Layout {
                reason: format!(
                    "{} stages in a line have {} pipes between them, not {}",
                    stages.len(),
                    stages.len().saturating_sub(1),
                    pipes.len()
                ),
            });
        }
        let links = pipes
            .into_iter()
            .enumerate()
            .map(|(index, pipe)| Link {
                pipe,
                writers: vec![index],
                readers: vec![index + 1],
            })
            .collect();
        Sampler::new(stages, links, intervals)
    }

    /// Watches a pipeline found on this machine by a [`Scan`](topology::Scan).
    ///
    /// # Errors
    ///
    /// [`Error::Ended`] if one of its processes or pipes is gone by now: scan again.
    ///
    /// ```
    /// use std::process::{Command, Stdio};
    /// use pipewright_observe::topology::Scan;
    /// use pipewright_observe::{Error, Intervals, Process, Sampler};
    ///
    /// let (reader, writer) = std::io::pipe()?;
    /// let mut cat = Command::new("cat");
    /// # cat.stderr(Stdio::null()); // which may be a pipe, too
    /// let mut cat = cat.stdin(reader).stdout(Stdio::null()).spawn()?;
    /// while Process::open(cat.id())?.stat()?.name != b"cat" {} // in the midst of exec
    /// let pipeline = Scan::now()?.pipeline_of(cat.id())?; // this process writes, cat reads
    /// assert!(Sampler::attach(&pipeline, Intervals::default()).is_ok());
    /// drop(writer);
    /// cat.wait()?;
    /// let too_late = Sampler::attach(&pipeline, Intervals::default());
    /// assert!(matches!(too_late, Err(Error::Ended { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attach(pipeline: &Pipeline, intervals: Intervals) -> Result<Sampler> {
        let stages = pipeline
            .stages
            .iter()
            .map(|stage| Process::open_same(stage.process))
            .collect::<Result<Vec<_>>>()?;
        let links = pipeline
            .pipes
            .iter()
            .map(|link| {
                let (process, descriptor) = link.through;
                let pipe = PipeHandle::of_process(process.pid, descriptor)?;
                match pipe.id() == link.pipe {
                    true => Ok(Link {
                        pipe,
                        writers: link.writers.clone(),
                        readers: link.readers.clone(),
                    }),
                    false => Err(Error::Ended { pid: process.pid }),
                }
            })
            .collect::<Result<Vec<_>>>()?;
        Sampler::new(stages, links, intervals)
    }

    /// The shape of the pipeline: what the indices in samples mean.
    ///
    /// ```
    /// use pipewright_observe::{Intervals, Process, Sampler};
    ///
    /// let me = Process::open(std::process::id())?;
    /// let (id, command) = (me.id(), me.command_line()?.to_string());
    /// let sampler = Sampler::linear(vec![me], vec![], Intervals::default())?;
    /// assert_eq!(sampler.layout().stages[0].process, id);
    /// assert_eq!(sampler.layout().stages[0].command, command);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The pipe at an index, for example to set its capacity.
    ///
    /// ```
    /// use pipewright_observe::{Intervals, PipeHandle, Process, Sampler};
    ///
    /// let (reader, _writer) = std::io::pipe()?;
    /// let stage = || Process::open(std::process::id());
    /// let pipes = vec![PipeHandle::of_end(&reader)?];
    /// let sampler = Sampler::linear(vec![stage()?, stage()?], pipes, Intervals::default())?;
    /// let pipe = sampler.pipe(0).expect("it was given");
    /// assert_eq!(pipe.set_capacity(131_072)?.new, 131_072);
    /// assert!(sampler.pipe(1).is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pipe(&self, index: usize) -> Option<&PipeHandle> {
        self.links.get(index).map(|watched| &watched.link.pipe)
    }

    /// How long to wait until the next sample is due; zero if it is due now.
    ///
    /// ```
    /// use std::time::Duration;
    /// use pipewright_observe::{Intervals, Process, Sampler};
    ///
    /// let me = Process::open(std::process::id())?;
    /// let intervals = Intervals { states: Duration::from_secs(60), ..Intervals::default() };
    /// let mut sampler = Sampler::linear(vec![me], vec![], intervals)?;
    /// assert!(sampler.due_in().is_zero()); // the first one
    /// sampler.tick();
    /// assert!(!sampler.due_in().is_zero());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn due_in(&self) -> Duration {
        self.next_states.saturating_duration_since(Instant::now())
    }

    /// What sampling has cost so far.
    ///
    /// ```
    /// use pipewright_observe::{Intervals, Process, Sampler};
    ///
    /// let me = Process::open(std::process::id())?;
    /// let mut sampler = Sampler::linear(vec![me], vec![], Intervals::default())?;
    /// for _ in 0..3 {
    ///     sampler.tick();
    /// }
    /// assert_eq!(sampler.cost().samples, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// Takes one sample now, with figures if their interval has passed.
    ///
    /// ```
    /// use std::time::Duration;
    /// use pipewright_observe::{Activity, Intervals, Process, Sampler};
    ///
    /// let me = Process::open(std::process::id())?;
    /// let intervals = Intervals { figures: Duration::from_secs(60), ..Intervals::default() };
    /// let mut sampler = Sampler::linear(vec![me], vec![], intervals)?;
    /// let sample = sampler.tick();
    /// assert_eq!(sample.stages, [Activity::Running]); // it is looking
    /// assert!(sample.figures.is_none()); // they are due after a minute
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tick(&mut self) -> Sample {
        let figures = self.last_figures.elapsed() >= self.intervals.figures;
        self.look(figures)
    }

    /// Takes one sample now, with figures. Call it when the stages have ended and before they are
    /// waited for: a zombie still has its figures, and these are the final ones.
    ///
    /// ```
    /// use pipewright_observe::{Activity, Intervals, Process, Sampler};
    ///
    /// let (reader, writer) = std::io::pipe()?;
    /// let mut child = std::process::Command::new("cat").stdin(reader).spawn()?;
    /// let stages = vec![Process::open(child.id())?];
    /// let mut sampler = Sampler::linear(stages, vec![], Intervals::default())?;
    /// drop(writer); // the end of its input
    /// while sampler.tick().stages != [Activity::Ended] {
    ///     std::thread::yield_now();
    /// }
    /// let figures = sampler.finish().figures.expect("the final ones");
    /// assert!(figures.stages[0].read.is_some()); // told by the zombie
    /// child.wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn finish(&mut self) -> Sample {
        self.look(true)
    }

    fn look(&mut self, with_figures: bool) -> Sample {
        let before = clock_gettime(ClockId::ThreadCPUTime);
        let now = Instant::now();
        let levels: Vec<Option<PipeLevel>> = self.links.iter_mut().map(WatchedLink::look).collect();
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
        let mut stages = Vec::with_capacity(self.stages.len());
        for watched in &mut self.stages {
            near.clear();
            near.extend(
                watched
                    .inputs
                    .iter()
                    .chain(&watched.outputs)
                    .map(|&link| (self.links[link].link.pipe.id(), levels[link])),
            );
            let (inputs, outputs) = near.split_at(watched.inputs.len());
            stages.push(
                watched
                    .stage
                    .observe(Neighbours { inputs, outputs }, with_figures),
            );
        }
        for (layout, watched) in self.layout.stages.iter_mut().zip(&self.stages) {
            // It was in the midst of exec when it was asked before.
            if layout.command.is_empty()
                && let Some(command) = watched.stage.command()
            {
                layout.command = command;
            }
        }
        let figures = with_figures.then(|| self.figures(now));
        // A late tick is not made up for: the next one comes a whole interval later.
        self.next_states = now + self.intervals.states;
        let after = clock_gettime(ClockId::ThreadCPUTime);
        let spent =
            |time: rustix::time::Timespec| Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
        self.cost.cpu_time += spent(after).saturating_sub(spent(before));
        self.cost.elapsed = self.started.elapsed();
        self.cost.samples += 1;
        Sample {
            at: now - self.started,
            stages,
            pipes: levels,
            figures,
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
                let through = |before: bool, seen: Seen| {
                    let written = side(&watched.link.writers, |stage| stage.written, before);
                    let read = side(&watched.link.readers, |stage| stage.read, before);
                    flow::through(written, read, seen)
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
        }
    }
}

impl WatchedLink {
    fn look(&mut self) -> Option<PipeLevel> {
        let level = self.link.pipe.level().ok();
        self.interval.look(level);
        self.whole.look(level);
        level
    }
}
