//! The poll loop: looks at everything that a running pipeline is connected to, and serves it.

use std::os::fd::AsFd;
#[cfg(feature = "tokio")]
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::Signal;

use super::cancel::Canceller;
use super::collected::Collected;
use super::input::{Fed, Feed};
use super::resident::make_resident;
use super::stream::{Keep, OutputStream, Stream, reserve};
use crate::error::{Error, Result};
use crate::pipe::{self, PipeExt, fair_capacity};
use crate::pipeline::{PipelineStatus, RunningPipeline, Stage};
use crate::poll::{Deadline, poll};
use crate::spawn;

/// When to give up, and what to do then.
#[derive(Debug, Clone, Default)]
pub(super) struct Bounds {
    pub(super) timeout: Option<Duration>,
    pub(super) pipe_grace: Option<Duration>,
    pub(super) limit: Option<usize>,
    pub(super) canceller: Option<Canceller>,
    pub(super) kill_tree: bool,
    /// The time between asking the stages to end and killing them.
    pub(super) kill_after: Option<Duration>,
}

/// The outcome of one turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Something was moved, or the time was up before anything could be.
    Moved,
    /// There was nothing to be done by the time that the turn was given.
    Idle,
    /// Every stream has ended and so has every stage.
    Finished,
}

/// The stages were asked to end, and are given time for it.
#[derive(Debug)]
struct Ending {
    /// Why.
    reason: Error,
    until: Deadline,
}

/// The meaning of a polled descriptor.
#[derive(Debug, Clone, Copy)]
enum Polled {
    Feed,
    Stream(usize),
    Stage(usize),
    Canceller,
}

/// A running pipeline with its input and its output.
///
/// One thread does everything, by poll: whatever is ready is served, so that no side can wait for
/// another one that is not served. Reads follow a poll that said there is something, and this is
/// the only reader, so they do not block; the write end is non-blocking.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    running: RunningPipeline,
    feed: Option<Feed<'a>>,
    pub(super) streams: Vec<Stream>,
    /// The stages whose end was not seen yet.
    unended: Vec<usize>,
    /// True once the last stage's end was seen.
    ended: bool,
    /// When a pipe that others hold is given up: known once every stage has ended.
    grace_end: Deadline,
    /// The starts that were under way at the end of the grace.
    earlier: Option<spawn::Earlier>,
    /// True once they are over.
    settled: bool,
    bounds: Bounds,
    deadline: Deadline,
    ending: Option<Ending>,
    /// True once the stages were asked to end.
    asked: bool,
    /// Bytes that each pipe may have; asked for once, when one is full.
    share: Option<usize>,
    pub(super) finished: bool,
}

/// The bytes asked for in the first read of a stream, and the least in any other.
const FIRST_READ: usize = 8 * 1024;
/// The bytes that are kept of a stream's end.
const TAIL: usize = 2048;
/// The most bytes asked for in one read: what the largest unprivileged pipe holds.
const LARGEST_READ: usize = 1 << 20;
/// The time that killed processes are waited for. They end at once unless the kernel is stuck in them.
const KILLED: Duration = Duration::from_millis(10);
/// The same for whole trees, which have to be found first.
const TREE_KILLED: Duration = Duration::from_millis(100);
/// The time that a child, once it executes its program, needs to lose the copies it should not have.
const SETTLING: Duration = Duration::from_millis(10);

impl<'a> Exchange<'a> {
    pub(super) fn new(
        running: RunningPipeline,
        feed: Option<Feed<'a>>,
        streams: Vec<Stream>,
        bounds: Bounds,
    ) -> Result<Self> {
        let started = |stage: &Stage| stage.child().is_some();
        let stages = running.stages().iter().enumerate();
        let unended: Vec<usize> = stages
            .filter(|(_, stage)| started(stage))
            .map(|(index, _)| index)
            .collect();
        let deadline = bounds.timeout.map_or(Deadline::NEVER, |timeout| {
            Deadline::counted_from(running.started(), timeout)
        });
        let mut exchange = Self {
            ended: false,
            grace_end: Deadline::NEVER,
            earlier: None,
            settled: false,
            running,
            feed,
            streams,
            unended,
            bounds,
            deadline,
            ending: None,
            asked: false,
            share: None,
            finished: false,
        };
        if exchange.unended.is_empty() {
            exchange.start_grace();
        }
        if let Some(feed) = &exchange.feed
            && feed.is_large(feed.writer().capacity()?)
        {
            let share = exchange.share();
            if let Some(feed) = &exchange.feed {
                feed.enlarge(share);
            }
        }
        Ok(exchange)
    }

    /// The pipeline that is running.
    pub(super) fn running(&self) -> &RunningPipeline {
        &self.running
    }

    /// Everything that a turn may look at, and what for: one list for the whole exchange, so that it
    /// can be watched by other means than [`turn`](Self::turn).
    #[cfg(feature = "tokio")]
    pub(super) fn watched(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let children = self.running.stages().iter().filter_map(Stage::child);
        let read = [
            children.map(AsFd::as_fd).collect::<Vec<_>>(),
            self.streams
                .iter()
                .filter_map(|it| it.reader.as_ref())
                .map(AsFd::as_fd)
                .collect(),
            self.bounds.canceller.iter().map(AsFd::as_fd).collect(),
        ];
        let written = self
            .feed
            .iter()
            .map(|feed| (feed.writer().as_fd(), PollFlags::OUT));
        read.into_iter()
            .flatten()
            .map(|it| (it, PollFlags::IN))
            .chain(written)
    }

    /// The status of every stage; one that is lost is an error. Does not block once the exchange is
    /// finished.
    pub(super) fn status(&self) -> Result<PipelineStatus> {
        let status = self.running.wait()?;
        for child in self.running.stages().iter().filter_map(Stage::child) {
            child.wait()?;
        }
        Ok(status)
    }

    /// Serves what is ready, after waiting for it until `until` at most. When a bound is reached,
    /// what runs is ended, and the error holds what was collected.
    pub(super) fn turn(&mut self, until: Deadline) -> Result<Turn> {
        match self.serve(until) {
            Ok(turn) => Ok(turn),
            Err(error) => self.end_stages(error),
        }
    }

    fn is_streaming(&self) -> bool {
        self.streams.iter().any(|stream| stream.reader.is_some())
    }

    /// Tells whether every stream has ended and so has every stage.
    pub(super) fn is_over(&self) -> bool {
        !self.is_streaming() && self.unended.is_empty()
    }

    fn serve(&mut self, until: Deadline) -> Result<Turn> {
        if let Some(ending) = self.ending.take_if(|ending| {
            // A pipe is waited for only where its holder is to be ended as well.
            let streaming = self.streams.iter().any(|stream| stream.reader.is_some());
            let gone = self.unended.is_empty() && !(self.bounds.kill_tree && streaming);
            gone || ending.until.has_passed()
        }) {
            return Err(ending.reason);
        }
        if self.is_over() {
            // Nobody is left who could read it.
            self.feed = None;
            self.finished = true;
            return Ok(Turn::Finished);
        }
        let ended_before = self.ended;
        let ready = self.poll(until)?;
        let mut hung_up = 0;
        for &(polled, flags) in &ready {
            match polled {
                Polled::Canceller => {
                    return Err(Error::Cancelled {
                        name: self.running.name(),
                        collected: Box::default(),
                    });
                }
                Polled::Feed => self.pump(flags)?,
                Polled::Stream(index) => {
                    hung_up += usize::from(flags.contains(PollFlags::HUP));
                    self.read(index)?;
                }
                Polled::Stage(index) => self.take_end(index)?,
            }
        }
        // A stream without a writer ends by itself, however much is in it. Only a poll that began
        // after the last stage's end tells: in an earlier one the stage itself may be the writer.
        let open = self.streams.iter().filter(|it| it.reader.is_some()).count();
        let held_open = ended_before && open > hung_up;
        self.check_bounds(held_open)?;
        Ok(if ready.is_empty() {
            Turn::Idle
        } else {
            Turn::Moved
        })
    }

    /// The moment at which the waiting has to end.
    pub(super) fn next_deadline(&self) -> Deadline {
        match &self.ending {
            Some(ending) => ending.until,
            None => self.deadline.or_before(self.grace_end),
        }
    }

    /// Also after a turn that moved something: a stream that is always ready must not keep a
    /// deadline from being seen.
    fn check_bounds(&mut self, held_open: bool) -> Result<()> {
        if self.ending.is_some() {
            return Ok(());
        }
        if self.deadline.has_passed() {
            return Err(Error::TimedOut {
                name: self.running.name(),
                timeout: self.bounds.timeout.unwrap_or_default(),
                collected: Box::default(),
            });
        }
        if !held_open || !self.grace_end.has_passed() {
            return Ok(());
        }
        if self.settled {
            return Err(Error::PipeHeldOpen {
                name: self.running.name(),
                grace: self.bounds.pipe_grace.unwrap_or_default(),
                collected: Box::default(),
            });
        }
        // Perhaps the holder is a child that another thread is starting: until it executes its
        // program it has a copy of everything that was open here when it was made.
        let earlier = self.earlier.get_or_insert_with(spawn::Earlier::now);
        self.settled = earlier.is_over();
        self.grace_end = Deadline::after(SETTLING);
        Ok(())
    }

    fn poll(&self, until: Deadline) -> Result<Vec<(Polled, PollFlags)>> {
        let mut polled = Vec::with_capacity(self.streams.len() + 3);
        let mut descriptors = Vec::with_capacity(self.streams.len() + 3);
        if let Some(canceller) = self
            .bounds
            .canceller
            .as_ref()
            .filter(|_| self.ending.is_none())
        {
            polled.push(Polled::Canceller);
            descriptors.push(PollFd::new(canceller, PollFlags::IN));
        }
        if let Some(feed) = &self.feed {
            polled.push(Polled::Feed);
            descriptors.push(PollFd::new(feed.writer(), PollFlags::OUT));
        }
        for (index, stream) in self.streams.iter().enumerate() {
            if let Some(reader) = &stream.reader {
                polled.push(Polled::Stream(index));
                descriptors.push(PollFd::new(reader, PollFlags::IN));
            }
        }
        // While streams are open the ends of stages matter only to the graces. Watching for them
        // would be a wake-up more for each stage.
        let waits_for_ends = self.bounds.pipe_grace.is_some() || self.ending.is_some();
        if !self.is_streaming() || waits_for_ends {
            for &index in &self.unended {
                if let Some(child) = self.running.stages()[index].child() {
                    polled.push(Polled::Stage(index));
                    descriptors.push(PollFd::from_borrowed_fd(child.as_fd(), PollFlags::IN));
                }
            }
        }
        poll(&mut descriptors, until.or_before(self.next_deadline()))
            .map_err(Error::system("poll"))?;
        let flags = descriptors.iter().map(PollFd::revents);
        Ok(polled
            .into_iter()
            .zip(flags)
            .filter(|(_, flags)| !flags.is_empty())
            .collect())
    }

    fn pump(&mut self, flags: PollFlags) -> Result<()> {
        let Some(feed) = &mut self.feed else {
            return Ok(());
        };
        // An error on a write end is a reader that is gone: no need to write in order to learn it.
        if flags.contains(PollFlags::ERR) || feed.pump()? == Fed::Done {
            self.feed = None;
        }
        Ok(())
    }

    /// Reads what one stream has, straight into the room behind what its buffer holds.
    fn read(&mut self, index: usize) -> Result<()> {
        let counted = self.streams.iter().filter(|it| it.keep == Keep::All);
        let total: usize = counted.map(|stream| stream.buffer.len()).sum();
        let stream = &mut self.streams[index];
        let Some(reader) = &stream.reader else {
            return Ok(());
        };
        let held = stream.buffer.len();
        reserve(&mut stream.buffer, held.clamp(FIRST_READ, LARGEST_READ))?;
        let room = stream.buffer.capacity() - held;
        if held > LARGEST_READ {
            // As much as the read will fill, so that no memory is taken for nothing.
            let unread = reader.unread()?.min(room);
            make_resident(&mut stream.buffer.spare_capacity_mut()[..unread]);
        }
        let spare = rustix::buffer::spare_capacity(&mut stream.buffer);
        match rustix::io::read(reader, spare) {
            Ok(0) => stream.reader = None,
            Ok(count) => {
                if stream.keep == Keep::Tail {
                    let excess = stream.buffer.len().saturating_sub(TAIL);
                    stream.buffer.drain(..excess);
                } else if let Some(limit) = self.bounds.limit
                    && total + count > limit
                {
                    let excess = total + count - limit;
                    stream.buffer.truncate(held + count - excess);
                    if self.ending.is_none() {
                        return Err(Error::OutputTooLarge {
                            name: self.running.name(),
                            limit,
                            collected: Box::default(),
                        });
                    }
                }
                // It had more than a short answer. Until here the pipe's size was of no matter.
                if count == room && !stream.enlarged {
                    stream.enlarged = true;
                    let share = self.share();
                    if let Some(reader) = &self.streams[index].reader {
                        let _ = pipe::resize(reader, share);
                    }
                }
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => return Err(Error::system("read a child's output")(errno)),
        }
        Ok(())
    }

    fn share(&mut self) -> usize {
        let pipes = self.streams.len() + usize::from(self.feed.is_some());
        *self.share.get_or_insert_with(|| fair_capacity(pipes, None))
    }

    fn start_grace(&mut self) {
        self.ended = true;
        let grace = self.bounds.pipe_grace;
        self.grace_end = grace.map_or(Deadline::NEVER, Deadline::after);
    }

    fn take_end(&mut self, index: usize) -> Result<()> {
        if let Some(child) = self.running.stages()[index].child() {
            match child.try_wait() {
                Ok(None) => return Ok(()),
                // It has ended all the same. That its status is lost is told at the end, when
                // everything was collected.
                Ok(Some(_)) | Err(Error::StatusLost { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.unended.retain(|&unended| unended != index);
        if self.unended.is_empty() {
            self.start_grace();
        }
        Ok(())
    }

    /// Asks the stages to end, if they are to be asked, and were not before; or else gives up.
    fn end_stages(&mut self, reason: Error) -> Result<Turn> {
        let Some(grace) = self.bounds.kill_after.filter(|_| !self.asked) else {
            // What goes wrong while they are ending is not why they are.
            let reason = self.ending.take().map_or(reason, |ending| ending.reason);
            return Err(self.give_up(reason));
        };
        self.asked = true;
        self.feed = None;
        self.signal(Signal::TERM);
        // One that is stopped would not see it.
        self.signal(Signal::CONT);
        self.ending = Some(Ending {
            reason,
            until: Deadline::after(grace),
        });
        Ok(Turn::Moved)
    }

    /// Sends a signal to whatever is to be ended. Should the kernel refuse, the caller is told why
    /// the collecting ended, and nothing else.
    fn signal(&self, signal: Signal) {
        if self.bounds.kill_tree {
            let _ = self.running.signal_tree(signal);
        } else {
            let _ = self.running.signal(signal);
        }
    }

    /// Kills what runs, takes what is still in the pipes, and puts it into the error.
    fn give_up(&mut self, reason: Error) -> Error {
        self.finished = true;
        self.feed = None;
        if self.bounds.kill_tree {
            let _ = self.running.kill_tree(TREE_KILLED);
        }
        let _ = self.running.kill();
        for index in 0..self.streams.len() {
            self.drain(index);
        }
        let _ = self.running.wait_timeout(KILLED);
        self.with_collected(reason)
    }

    /// Puts what was collected into an error.
    pub(super) fn with_collected(&mut self, reason: Error) -> Error {
        let collected = self.take_collected();
        reason.with_collected(|| self.running.name(), collected)
    }

    /// Takes what is in a pipe now. What a process that was not killed writes meanwhile is not
    /// waited for.
    fn drain(&mut self, index: usize) {
        let reader = self.streams[index].reader.as_ref();
        let mut unread = reader.map_or(0, |reader| reader.unread().unwrap_or(0));
        while unread > 0 {
            let held = self.streams[index].buffer.len();
            let read = self.read(index);
            let count = self.streams[index].buffer.len().saturating_sub(held);
            if read.is_err() || count == 0 {
                break;
            }
            unread = unread.saturating_sub(count);
        }
    }

    /// Moves what was collected out.
    pub(super) fn take_collected(&mut self) -> Collected {
        let stages = self.running.stages();
        let mut collected = Collected {
            stdout: Vec::new(),
            stderr: stages.iter().map(|_| Vec::new()).collect(),
            statuses: stages
                .iter()
                .map(|stage| stage.child().and_then(|child| child.try_wait().ok()?))
                .collect(),
        };
        for stream in &mut self.streams {
            let mut bytes = std::mem::take(&mut stream.buffer);
            bytes.shrink_to_fit();
            match stream.from {
                OutputStream::Stdout => collected.stdout = bytes,
                OutputStream::Stderr(stage) => collected.stderr[stage] = bytes,
            }
        }
        collected
    }
}
