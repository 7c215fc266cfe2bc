//! Watching the pipeline that `run` has started, and showing what is seen.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use pipewright::{RunningPipeline, Stage};
use pipewright_observe::{Intervals, Link, PipeHandle, PipeId, Process, Sampler};

use crate::cli::{self, Progress as When};
use crate::observation::Observation;
use crate::shell::Script;
use crate::view;
use crate::view::inline::Inline;
use crate::view::live::{Frame, Progress};
use crate::view::style::Palette;

/// A pipeline that is over sooner is not watched: it could not be judged, and should not be slowed.
const ATTACH_AFTER: Duration = Duration::from_millis(50);
/// The first picture comes this long after the start.
const FIRST_PAINT: Duration = Duration::from_millis(500);
/// Between two pictures.
const REPAINT: Duration = Duration::from_millis(200);

/// The watcher of one run.
#[derive(Debug)]
pub(super) struct Watching<'a> {
    running: &'a RunningPipeline,
    names: Vec<String>,
    state: State,
    face: Face,
    interval: Duration,
    keep_samples: bool,
    next_show: Instant,
}

#[derive(Debug)]
enum State {
    /// Not yet: it may be over in a moment.
    Waiting,
    Attached {
        observation: Box<Observation>,
        first: Process,
    },
    /// It cannot be watched, or nobody wants to know.
    Off,
}

/// Where what is seen is shown while the pipeline runs.
#[derive(Debug)]
enum Face {
    Nowhere,
    Live(Inline),
    /// A line an interval.
    Plain,
}

impl<'a> Watching<'a> {
    pub(super) fn new(running: &'a RunningPipeline, script: &Script, options: &cli::Run) -> Self {
        let face = face(options);
        let wanted = !matches!(face, Face::Nowhere) || options.wants_figures();
        let complete = running.stages().iter().all(|stage| stage.child().is_some());
        let first = match face {
            Face::Plain => options.interval,
            _ => FIRST_PAINT,
        };
        Self {
            running,
            names: script
                .stages
                .iter()
                .map(|stage| stage.text.clone())
                .collect(),
            state: if wanted && complete {
                State::Waiting
            } else {
                State::Off
            },
            face,
            interval: options.interval,
            keep_samples: options.keeps_samples(),
            next_show: running.started() + first,
        }
    }

    /// Whether the terminal has to be given back before this process stops or ends.
    pub(super) fn paints(&self) -> bool {
        matches!(self.face, Face::Live(_))
    }

    /// When there is something to do next.
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.state {
            State::Off => None,
            State::Waiting => Some(self.running.started() + ATTACH_AFTER),
            State::Attached { observation, .. } => Some(Instant::now() + observation.due_in()),
        }
    }

    /// Does what is due: attach, look, show.
    pub(super) fn step(&mut self) {
        if matches!(self.state, State::Waiting) {
            if self.running.started().elapsed() < ATTACH_AFTER {
                return;
            }
            self.state = self.attach().unwrap_or(State::Off);
        }
        let State::Attached { observation, first } = &mut self.state else {
            return;
        };
        observation.tick();
        if Instant::now() < self.next_show {
            return;
        }
        let elapsed = self.running.started().elapsed();
        let frame = Frame::of(
            observation,
            &self.names,
            elapsed,
            progress(first, Some(elapsed)),
        );
        match &mut self.face {
            Face::Nowhere => {}
            Face::Live(inline) => {
                self.next_show = Instant::now() + REPAINT;
                match (inline.may_paint(), inline.room()) {
                    (true, Some((width, height))) => inline.paint(&frame.rows(width, height)),
                    _ => inline.restore(),
                }
            }
            Face::Plain => {
                self.next_show += self.interval;
                view::tell(&format!("{}\n", frame.line()));
            }
        }
    }

    /// Gives the terminal back; the next step paints again.
    pub(super) fn hide(&mut self) {
        if let Face::Live(inline) = &mut self.face {
            inline.restore();
        }
    }

    /// The last look, when every stage has ended and none has been waited for.
    pub(super) fn finish(mut self) -> Option<Observation> {
        self.hide();
        match self.state {
            State::Attached {
                mut observation, ..
            } => {
                observation.look_at_end();
                Some(*observation)
            }
            _ => None,
        }
    }

    fn attach(&self) -> Option<State> {
        let pids = || {
            self.running
                .stages()
                .iter()
                .filter_map(Stage::child)
                .map(|child| child.id())
        };
        let stages: Vec<Process> = pids()
            .map(|pid| Process::open(pid).ok())
            .collect::<Option<_>>()?;
        let first = Process::open(pids().next()?).ok()?;
        let pids: Vec<u32> = pids().collect();
        let links = self
            .running
            .pipe_inodes()
            .iter()
            .enumerate()
            .filter_map(|(index, &inode)| {
                // The reader's stdin or the writer's stdout; a shell may have pointed either elsewhere.
                let ends = [(pids[index + 1], 0), (pids[index], 1), (pids[index], 2)];
                let handle = ends.into_iter().find_map(|(pid, descriptor)| {
                    let handle = PipeHandle::of_process(pid, descriptor).ok()?;
                    (handle.id() == PipeId(inode)).then_some(handle)
                });
                Some(Link {
                    pipe: handle?,
                    writers: vec![index],
                    readers: vec![index + 1],
                })
            });
        let intervals = Intervals {
            figures: self.interval,
            ..Intervals::default()
        };
        let sampler = Sampler::new(stages, links.collect(), intervals).ok()?;
        let observation = Box::new(Observation::new(sampler, self.keep_samples));
        Some(State::Attached { observation, first })
    }
}

/// The live view needs a terminal that the pipeline's data does not go to.
fn face(options: &cli::Run) -> Face {
    let terminal = std::io::stderr().is_terminal();
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    let live = || Face::Live(Inline::new(Palette::new(options.color)));
    match options.progress {
        When::Never => Face::Nowhere,
        _ if options.quiet => Face::Nowhere,
        When::Plain => Face::Plain,
        When::Auto if terminal && !dumb && !std::io::stdout().is_terminal() => live(),
        When::Auto => Face::Nowhere,
        When::Always if terminal && !dumb => live(),
        When::Always => Face::Plain,
    }
}

/// How far the first stage is in the regular file that it reads: its stdin, or the one that it has
/// opened. Of several, as sort has while it merges, none is the input. `elapsed` is the time it took to get there, where that is known.
pub(crate) fn progress(first: &Process, elapsed: Option<Duration>) -> Option<Progress> {
    let at = |descriptor| {
        let file = first.file_position(descriptor).ok()??;
        (file.size > 0 && file.offset > 0).then_some(file)
    };
    let opened = || {
        let mut files = (3..10).filter_map(at);
        files.next().filter(|_| files.next().is_none())
    };
    let file = at(0).or_else(opened)?;
    let fraction = (file.offset as f64 / file.size as f64).min(1.0);
    // Too early to tell how long it takes.
    let known = elapsed.filter(|_| fraction > 0.01);
    let left = known.map(|elapsed| elapsed.mul_f64((1.0 - fraction) / fraction));
    Some(Progress { fraction, left })
}
