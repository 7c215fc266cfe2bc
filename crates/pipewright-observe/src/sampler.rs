//! Looks at a running pipeline again and again, and keeps count of what that costs.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

pub use self::link::Link;
use self::look::{Look, Watched};
pub use self::sample::{
    Activity, Figures, Layout, PipeFigures, PipeLayout, Sample, SpoolFigures, StageFigures,
    StageLayout,
};
use crate::error::{Error, Result};
use crate::patience::PATIENCE;
use crate::pipe::PipeHandle;
use crate::proc::{self, Process, ProcessId};
use crate::topology::Pipeline;

pub(crate) mod activity;
mod flow;
mod link;
mod look;
pub(crate) mod remote;
mod sample;
mod stage;

/// The time between two looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intervals {
    /// Between two samples: the states of stages and pipes.
    pub states: Duration,
    /// Between two sets of figures: CPU time, bytes, rates.
    pub figures: Duration,
}

impl Default for Intervals {
    /// States every 20 ms, figures every second.
    fn default() -> Self {
        Self {
            states: Duration::from_millis(20),
            figures: Duration::from_secs(1),
        }
    }
}

/// Looks at the stages and pipes of one running pipeline.
///
/// It holds `O_PATH` handles of the pipes and descriptors of files below `/proc`, about six for each
/// process; a pipeline of hundreds of stages may need a higher limit of open files
/// (`RLIMIT_NOFILE`). The caller calls [`Sampler::tick`] whenever [`Sampler::due_in`] has passed.
///
/// A thread of its own does the looking, because the kernel may make whoever looks wait for as long
/// as it pleases the process that is looked at. A look that takes longer than half a second is not
/// waited for: until it is over, samples say [`Activity::Unknown`].
///
/// ```
/// use std::process::{Command, Stdio};
/// use pipewright_observe::{Intervals, PipeHandle, Process, Sampler};
///
/// // sleep 60 | cat
/// let (reader, writer) = std::io::pipe()?;
/// let pipe = PipeHandle::of_end(&reader)?;
/// let mut sleep = Command::new("sleep").arg("60").stdout(writer).spawn()?;
/// let mut cat = Command::new("cat").stdin(reader).stdout(Stdio::null()).spawn()?;
///
/// let stages = vec![Process::open(sleep.id())?, Process::open(cat.id())?];
/// let mut sampler = Sampler::linear(stages, vec![pipe], Intervals::default())?;
/// for _ in 0..10 {
///     let sample = sampler.tick();
///     println!("{} | {}, {:?}", sample.stages[0], sample.stages[1], sample.pipes[0]);
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
    intervals: Intervals,
    started: Instant,
    next_states: Instant,
    next_figures: Instant,
    cpu_time: Duration,
    /// Asks for a look: with figures or without, and what to call around each close of a pipe.
    asking: Sender<(bool, fn())>,
    around_close: fn(),
    looks: Receiver<Look>,
    /// The last one asked for has not come yet.
    waiting: bool,
}

impl Sampler {
    /// Watches `stages`, connected by `links`.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] if a link names a stage that is not there, [`Error::System`] if the thread
    /// that looks cannot be started.
    pub fn new(stages: Vec<Process>, links: Vec<Link>, intervals: Intervals) -> Result<Self> {
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
            stages: stage_layouts(&stages)?,
            pipes: links
                .iter()
                .map(|link| PipeLayout {
                    pipe: link.pipe.id(),
                    writers: link.writers.clone(),
                    readers: link.readers.clone(),
                })
                .collect(),
        };
        let (asking, asked) = channel();
        let (looked, looks) = channel();
        let (begun, begins) = channel();
        let unnamed: Vec<bool> = layout
            .stages
            .iter()
            .map(|stage| stage.command.is_empty())
            .collect();
        std::thread::Builder::new()
            .name("pipewright-look".into())
            .spawn(move || {
                let mut watched = Watched::new(stages, links, unnamed);
                // Who does not wait for it any more does not want to know.
                let _ = begun.send(());
                for (with_figures, around_close) in asked {
                    if looked
                        .send(watched.look(with_figures, around_close))
                        .is_err()
                    {
                        return;
                    }
                }
            })
            .map_err(|error| Error::System {
                what: "start the thread that looks at a pipeline".into(),
                reason: error,
            })?;
        // From then on it is known what the stages have used until now. Later is better than never.
        let _ = begins.recv_timeout(PATIENCE);
        let now = Instant::now();
        Ok(Self {
            layout,
            intervals,
            started: now,
            next_states: now,
            next_figures: now + intervals.figures,
            cpu_time: Duration::ZERO,
            asking,
            around_close: || {},
            looks,
            waiting: false,
        })
    }

    /// Calls this function right before and right after each close of a pipe by a look. Who follows the
    /// closes of a pipe by inotify can take the events then, before two equal ones become one.
    #[doc(hidden)]
    #[must_use]
    pub fn around_each_close(self, around_close: fn()) -> Self {
        Self {
            around_close,
            ..self
        }
    }

    /// Watches a line of stages: `pipes[i]` leads from `stages[i]` to `stages[i + 1]`.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] unless there is one pipe fewer than there are stages.
    pub fn linear(
        stages: Vec<Process>,
        pipes: Vec<PipeHandle>,
        intervals: Intervals,
    ) -> Result<Self> {
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
        Self::new(stages, links, intervals)
    }

    /// Watches a pipeline found on this machine by a [`Scan`](crate::topology::Scan).
    ///
    /// # Errors
    ///
    /// [`Error::Ended`] if one of its processes or pipes is gone by now: scan again.
    pub fn attach(pipeline: &Pipeline, intervals: Intervals) -> Result<Self> {
        let stages = pipeline
            .stages
            .iter()
            .map(|stage| Process::open_same(stage.process))
            .collect::<Result<Vec<_>>>()?;
        let links = pipeline
            .pipes
            .iter()
            .map(|link| {
                Ok(Link {
                    pipe: link.open()?,
                    writers: link.writers.clone(),
                    readers: link.readers.clone(),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Self::new(stages, links, intervals)
    }

    /// The shape of the pipeline: what the indices in samples mean.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The time until the next sample is due; zero if it is due now.
    pub fn due_in(&self) -> Duration {
        self.next_states.saturating_duration_since(Instant::now())
    }

    /// CPU time that looking has taken so far.
    pub fn cpu_time(&self) -> Duration {
        self.cpu_time
    }

    /// Takes one sample now, with figures if their interval has passed.
    pub fn tick(&mut self) -> Sample {
        self.sample(self.next_figures <= Instant::now())
    }

    /// Takes one sample now, with figures. Call it when the stages have ended and before they are
    /// waited for: a zombie still has its figures, and these are the final ones.
    pub fn finish(&mut self) -> Sample {
        self.sample(true)
    }

    fn sample(&mut self, with_figures: bool) -> Sample {
        let now = Instant::now();
        // A late tick is not made up for: the next one comes a whole interval later.
        self.next_states = now + self.intervals.states;
        let look = if self.waiting {
            self.looks.try_recv().ok()
        } else {
            // The thread ends with this sampler and not before, unless it panics.
            let _ = self.asking.send((with_figures, self.around_close));
            self.looks.recv_timeout(PATIENCE).ok()
        };
        self.waiting = look.is_none();
        let Some(look) = look else {
            return self.nothing_seen(now);
        };
        if look.figures.is_some() {
            self.next_figures = look.at + self.intervals.figures;
        }
        self.cpu_time += look.cpu_time;
        for (stage, command) in look.commands {
            self.layout.stages[stage].command = command;
        }
        Sample {
            at: look.at.saturating_duration_since(self.started),
            stages: look.stages,
            pipes: look.pipes,
            figures: look.figures,
        }
    }

    fn nothing_seen(&self, now: Instant) -> Sample {
        Sample {
            at: now - self.started,
            stages: vec![Activity::Unknown; self.layout.stages.len()],
            pipes: vec![None; self.layout.pipes.len()],
            figures: None,
        }
    }
}

/// The stages by the names that they were given, or else by their command lines. A process that does not
/// let its command line be read is called by the kernel's name for it, in brackets, as ps does it.
fn stage_layouts(stages: &[Process]) -> Result<Vec<StageLayout>> {
    let unnamed: Vec<ProcessId> = stages
        .iter()
        .filter(|process| process.name().is_none())
        .map(Process::id)
        .collect();
    let mut lines = proc::command_lines(&unnamed)?.into_iter();
    let mut command = |process: &Process| match process.name() {
        Some(name) => name.to_owned(),
        None => match lines.next() {
            Some(Ok(line)) => line.shortened(),
            Some(Err(Error::NoAnswer { .. })) => {
                let stat = process.stat();
                stat.map_or_else(|_| String::new(), |stat| stat.bracketed_name())
            }
            Some(Err(_)) | None => String::new(),
        },
    };
    Ok(stages
        .iter()
        .map(|process| StageLayout {
            process: process.id(),
            command: command(process),
        })
        .collect())
}
