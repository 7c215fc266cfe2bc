//! Watching the pipeline that `run` has started, and showing what is seen.

use std::time::{Duration, Instant};

use pipewright::{RunningPipeline, Stage};
use pipewright_observe::{
    Activity, Intervals, Link, PipeHandle, PipeId, Process, ProcessId, Sample, Sampler,
};

use super::pipelines::Pipelines;
use super::recorder::Recorder;
use crate::observation::Observation;
use crate::outcome::Observed;
use crate::progress::look::Follower;
use crate::progress::words::Named;
use crate::progress::{Pace, Progress};
use crate::view::inline::Inline;
use crate::view::live::Frame;
use crate::view::live::brief::Brief;
use crate::view::style::Row;
use crate::view::yielding::{SILENCE, Yielding};
use crate::view::{self, silence, terminal, text};

/// A pipeline that is over sooner is not watched: it could not be judged, and should not be slowed.
const ATTACH_AFTER: Duration = Duration::from_millis(50);
/// The first picture comes this long after the start.
const FIRST_PAINT: Duration = Duration::from_millis(500);
/// Between two pictures.
const REPAINT: Duration = Duration::from_millis(200);

/// The way to watch a run.
#[derive(Debug)]
pub(super) struct Watch {
    /// Somebody wants to see it, now or at the end.
    pub(super) wanted: bool,
    pub(super) face: Face,
    /// Somebody wants to know how far it is in its input.
    pub(super) input: bool,
    /// Between two sets of figures.
    pub(super) interval: Duration,
    /// The size of the input, as the user tells it.
    pub(super) size: Option<u64>,
}

impl Watch {
    /// The terminal has to be given back before this process stops or ends.
    pub(super) fn paints(&self) -> bool {
        matches!(self.face, Face::Live(_) | Face::WhileSilent { .. })
    }
}

/// The watcher of one run.
#[derive(Debug)]
pub(super) struct Watching<'a> {
    running: &'a RunningPipeline,
    /// The stages' names.
    names: Vec<String>,
    /// What is known of the files that the first stage reads.
    named: Named,
    sight: Sight,
    watch: Watch,
    kind: Kind,
    recorder: &'a mut Recorder,
    next_show: Instant,
}

/// What its stages are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    /// Stages of the pipeline that come before them, and do not run.
    pub(super) before: usize,
    /// One shell runs the text: its pipelines are to be looked for.
    pub(super) whole: bool,
}

#[derive(Debug)]
enum Sight {
    /// Not yet: it may be over in a moment.
    Waiting,
    Attached {
        observation: Box<Observation>,
        input: Input,
        /// Of a text that is run whole.
        pipelines: Option<Box<Pipelines>>,
    },
    /// It cannot be watched, or nobody wants to know.
    Off,
}

/// The way through the input.
#[derive(Debug)]
enum Input {
    /// Of the files that it consists of.
    Files(Follower),
    /// Of the size that the user told: by what the first stage hands on, or the only one reads.
    Told {
        size: u64,
        pace: Pace,
        latest: Option<Progress>,
    },
}

impl Input {
    fn new(
        stages: impl Iterator<Item = ProcessId>,
        named: Named,
        size: Option<u64>,
        started: Instant,
    ) -> Self {
        match size {
            None => Self::Files(Follower::start(stages, named, Some(started))),
            Some(size) => Self::Told {
                size,
                pace: Pace::new(Some(started)),
                latest: None,
            },
        }
    }

    fn note(&mut self, sample: &Sample) {
        let (Self::Told { size, pace, latest }, Some(figures)) = (self, &sample.figures) else {
            return;
        };
        let handed_on = figures.pipes.first().map(|pipe| pipe.bytes);
        let read = || figures.stages.first().and_then(|stage| stage.read);
        *latest = handed_on
            .unwrap_or_else(read)
            .map(|read| pace.progress(Instant::now(), read.min(*size), *size));
    }

    fn progress(&self) -> Option<Progress> {
        match self {
            Self::Files(follower) => follower.progress(),
            Self::Told { latest, .. } => *latest,
        }
    }

    /// Tells how far it was at the end.
    fn note_in(&self, observed: &mut Observed) {
        let progress = self.progress();
        match self {
            Self::Files(_) => observed.note_input(progress),
            Self::Told { .. } => observed.input = progress,
        }
    }
}

/// The place to show a pipeline while it runs.
#[derive(Debug)]
pub(super) enum Face {
    Nowhere,
    Live(Box<Inline>),
    /// The same, where the output goes to the same terminal: while that stays silent.
    WhileSilent {
        view: Box<Yielding>,
        /// Where that cannot be known, a hint may be given instead.
        or_hint: bool,
    },
    /// One line per interval.
    Plain,
    /// Once, and only if the terminal that the output goes to has stayed silent: what would show more.
    Hint(Box<Inline>, &'static str),
}

/// The line that a silent terminal gets.
const HINT: &str = "  still running; --progress always shows where, as does > FILE";

/// The same where no view can be drawn.
pub(super) const DUMB_HINT: &str = "  still running; --progress plain shows where";

impl<'a> Watching<'a> {
    pub(super) fn new(
        running: &'a RunningPipeline,
        names: Vec<String>,
        named: Named,
        watch: Watch,
        kind: Kind,
        recorder: &'a mut Recorder,
    ) -> Self {
        let complete = running.stages().iter().all(|stage| stage.child().is_some());
        let first = match watch.face {
            Face::Plain => watch.interval,
            Face::WhileSilent { .. } | Face::Hint(..) => SILENCE,
            _ => FIRST_PAINT,
        };
        Self {
            running,
            names,
            named: if watch.input { named } else { Named::Unknown },
            sight: if watch.wanted && complete {
                Sight::Waiting
            } else {
                Sight::Off
            },
            watch,
            kind,
            recorder,
            next_show: running.started() + first,
        }
    }

    /// Tells whether this is a process of pipewright's own, and no stage's.
    pub(super) fn started(&self, pid: u32) -> bool {
        let guard = match &self.watch.face {
            Face::Live(inline) => inline.guard_id(),
            Face::WhileSilent { view, .. } => view.guard_id(),
            _ => None,
        };
        guard == Some(pid)
    }

    /// The time of the next thing to do.
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.sight {
            Sight::Off => None,
            Sight::Waiting => Some(self.running.started() + ATTACH_AFTER),
            Sight::Attached {
                observation,
                pipelines,
                ..
            } => {
                let due = Instant::now() + observation.due_in();
                let inner = pipelines.iter().map(|it| it.due());
                inner.chain([due]).min()
            }
        }
    }

    /// Does what is due: attach, look, show.
    pub(super) fn step(&mut self) {
        if matches!(self.sight, Sight::Waiting) {
            if self.running.started().elapsed() < ATTACH_AFTER {
                return;
            }
            self.sight = self.attach().unwrap_or(Sight::Off);
            if let Sight::Attached { observation, .. } = &self.sight {
                self.recorder.begin(observation.layout());
            }
        }
        let Sight::Attached {
            observation,
            input,
            pipelines,
        } = &mut self.sight
        else {
            return;
        };
        if let Some(sample) = observation.tick() {
            input.note(sample);
            self.recorder.sample(sample, input.progress());
        }
        if let Some(pipelines) = pipelines {
            pipelines.step();
        }
        let latest = observation.latest();
        let person = latest.is_some_and(|it| it.stages.contains(&Activity::WaitingForPerson));
        self.listen(person);
        if Instant::now() < self.next_show {
            return;
        }
        self.show(person)
    }

    /// Makes way for what others write to the terminal.
    fn listen(&mut self, person: bool) {
        let Face::WhileSilent { view, .. } = &mut self.watch.face else {
            return;
        };
        view.look(person);
        if view.is_deaf() {
            self.watch.face = match std::mem::replace(&mut self.watch.face, Face::Nowhere) {
                Face::WhileSilent {
                    view,
                    or_hint: true,
                } => Face::Hint(Box::new(view.into_inline()), HINT),
                _ => Face::Nowhere,
            };
        }
    }

    /// Shows how it stands.
    fn show(&mut self, person: bool) {
        let Sight::Attached {
            observation,
            input,
            pipelines,
        } = &self.sight
        else {
            return;
        };
        let elapsed = self.running.started().elapsed();
        let mut frames: Vec<Frame> = pipelines.iter().flat_map(|it| it.frames()).collect();
        if frames.is_empty() {
            let mut frame = Frame::of(observation, elapsed, input.progress());
            frame.since_start = true;
            if pipelines.is_some() {
                // A shell that waits for what it has started is nobody's bottleneck.
                frame.finding = "no pipeline at the moment".to_owned();
                frame.brief = Brief::only("no pipeline at the moment");
                frame.advice = None;
                frame.worth = None;
                frame.stages[0].bottleneck = false;
            }
            frames.push(frame);
        }
        match &mut self.watch.face {
            Face::Nowhere => {}
            Face::Hint(inline, hint) => {
                // What the last stage has written is on the terminal, or was read by somebody; and a
                // first stage that waits for input may be waiting for the keyboard.
                let Some(figures) = observation.figures() else {
                    self.next_show = Instant::now() + REPAINT;
                    return;
                };
                let written = figures.stages.last().and_then(|stage| stage.written);
                let first = observation
                    .latest()
                    .and_then(|sample| sample.stages.first().copied());
                let is_silent = written == Some(0) || !silence::output_goes_to_it();
                let silent = is_silent && !person && first != Some(Activity::WaitingForInput);
                if silent && inline.may_paint() && view::would_take_text() {
                    let columns = terminal::columns(std::io::stderr());
                    let hint = text::shortened(hint, columns);
                    view::tell(&format!("{}\n", inline.palette().faint(hint)));
                }
                self.watch.face = Face::Nowhere;
            }
            // A terminal that was stopped by Ctrl-S, or a reader that is late, must not hold up the
            // deadline and the signals that this process waits for.
            _ if !view::would_take_text() => self.next_show = Instant::now() + REPAINT,
            Face::Live(inline) => {
                self.next_show = Instant::now() + REPAINT;
                match (inline.may_paint(), inline.room()) {
                    (true, Some((width, height))) => inline.paint(&stacked(&frames, width, height)),
                    _ => inline.restore(),
                }
            }
            Face::WhileSilent { view, .. } => {
                self.next_show = Instant::now() + REPAINT;
                if let Some((width, height)) = view.room(person) {
                    view.paint(&stacked(&frames, width, height));
                }
            }
            Face::Plain => {
                self.next_show += self.watch.interval;
                let date = jiff::Zoned::now().strftime("%F %T").to_string();
                for frame in frames {
                    view::tell(&format!("{}\n", frame.line(&date)));
                }
            }
        }
    }

    /// Gives the terminal back; the next step paints again.
    pub(super) fn hide(&mut self) {
        match &mut self.watch.face {
            Face::Live(inline) => inline.restore(),
            Face::WhileSilent { view, .. } => view.restore(),
            _ => {}
        }
    }

    /// The last look, when every stage has ended and none has been waited for: at the stages, and
    /// at the pipelines of a text that was run whole.
    pub(super) fn finish(mut self) -> (Option<Observed>, Vec<Observed>) {
        self.hide();
        match self.sight {
            Sight::Attached {
                mut observation,
                mut input,
                pipelines,
            } => {
                let sample = observation.look_at_end();
                input.note(sample);
                self.recorder.sample(sample, input.progress());
                let mut observed = observation.into_observed();
                input.note_in(&mut observed);
                let inner = pipelines.map_or_else(Vec::new, |pipelines| pipelines.finish());
                (Some(observed), inner)
            }
            _ => (None, Vec::new()),
        }
    }

    fn attach(&self) -> Option<Sight> {
        let children = self.running.stages().iter().filter_map(Stage::child);
        let pids: Vec<u32> = children.map(|child| child.id()).collect();
        let named = pids.iter().zip(self.names.iter().cloned());
        let stages = named
            .map(|(&pid, name)| Some(Process::open(pid).ok()?.named(name)))
            .collect::<Option<_>>()?;
        let links = self
            .running
            .pipes()
            .iter()
            .enumerate()
            .filter_map(|(index, pipe)| {
                let inode = pipe.as_ref()?.inode;
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
            figures: self.watch.interval,
            ..Intervals::default()
        };
        // Each look opens and closes the pipes, and must not hide a stage's close.
        let sampler = Sampler::new(stages, links.collect(), intervals)
            .ok()?
            .around_each_close(pipewright::note_closes);
        let observation = Box::new(Observation::new(sampler).behind(self.kind.before));
        let processes = observation.layout().stages.iter().map(|it| it.process);
        let processes: Vec<ProcessId> = processes.collect();
        Some(Sight::Attached {
            observation,
            input: Input::new(
                processes.into_iter(),
                self.named.clone(),
                self.watch.size,
                self.running.started(),
            ),
            pipelines: self
                .kind
                .whole
                .then(|| Box::new(Pipelines::new(pids[0], intervals))),
        })
    }
}

/// Rows of several pipelines, as far as there is room.
fn stacked(frames: &[Frame], width: usize, height: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    for (frame, left) in frames.iter().zip((1..=frames.len()).rev()) {
        // What the others leave of the room is shared by those that come.
        let room = (height - rows.len()) / left;
        rows.extend(frame.rows(width, room));
        rows.truncate(height);
    }
    rows
}
