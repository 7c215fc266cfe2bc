//! A pipeline that runs: its stages and pipes, and waiting for them.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::closes::{self, Closes};
use super::{PipelineStatus, Policy, StageEnd, StageStatus};
use crate::child::Child;
use crate::command::Command;
use crate::error::{Error, Result};
use crate::poll::{Deadline, wait_readable};

/// One stage of a running pipeline.
#[derive(Debug)]
pub struct Stage {
    pub(super) name: String,
    pub(super) child: std::result::Result<Child, Arc<Error>>,
    /// The statuses that are no failure of it.
    pub(super) forgiven: BTreeSet<u8>,
}

impl Stage {
    /// A stage that was started, or whose error that is.
    pub(super) fn new(name: String, child: Result<Child>, forgiven: BTreeSet<u8>) -> Self {
        Self {
            name,
            child: child.map_err(Arc::new),
            forgiven,
        }
    }

    /// The command as one would type it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process; `None` if it could not be started.
    pub fn child(&self) -> Option<&Child> {
        self.child.as_ref().ok()
    }

    /// Why the stage could not be started; `None` if it was.
    pub fn error(&self) -> Option<&Error> {
        self.child.as_ref().err().map(|error| &**error)
    }

    fn status(&self) -> Result<StageStatus> {
        let (end, wall, usage) = match &self.child {
            Err(error) => {
                let end = StageEnd::NotStarted(Arc::clone(error));
                (end, Duration::ZERO, Default::default())
            }
            Ok(child) => (
                match child.wait() {
                    Err(Error::StatusLost { cause, .. }) => StageEnd::StatusLost(cause),
                    status => status?.into(),
                },
                child.wall().unwrap_or_default(),
                child.usage().unwrap_or_default(),
            ),
        };
        Ok(StageStatus::new(self.name.clone(), end, wall, usage).forgive(&self.forgiven))
    }
}

/// One pipe between two stages of a running pipeline. This process holds no end of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct StagePipe {
    /// The bytes that it holds at most.
    pub capacity: usize,
    /// The inode number, by which `/proc/PID/fd` names it: `pipe:[4711]`.
    pub inode: u64,
    /// Watches how its ends are closed; `None` where they cannot be watched.
    pub(super) closes: Option<Closes>,
}

/// A pipeline whose stages were started.
///
/// All methods take `&self` and may be called from several threads. Dropping it neither blocks nor
/// kills, as with [`Child`].
///
/// ```
/// use pipewright::{Command, Signal};
///
/// let running = (Command::new("sleep").arg("60") | Command::new("cat")).spawn()?;
/// assert!(running.try_wait()?.is_none());
/// running.stages()[0].child().expect("it runs").signal(Signal::TERM)?;
/// assert_eq!(running.wait()?.exit_code(), 128 + 15); // cat had its end of file
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct RunningPipeline {
    pub(super) stages: Vec<Stage>,
    /// One fewer than stages.
    pub(super) pipes: Vec<Option<StagePipe>>,
    pub(super) policy: Policy,
    pub(super) started: Instant,
}

impl RunningPipeline {
    /// Starts one command. Unlike as a stage of a pipeline, it is an error if it cannot start.
    pub(crate) fn of_one(mut command: Command) -> Result<Self> {
        let started = Instant::now();
        let stage = Stage {
            name: command.to_string(),
            forgiven: std::mem::take(&mut command.forgiven),
            child: Ok(command.spawn()?),
        };
        Ok(Self {
            stages: vec![stage],
            pipes: Vec::new(),
            policy: Policy::default(),
            started,
        })
    }

    /// The whole pipeline as one would type it, for messages.
    pub(crate) fn name(&self) -> String {
        let names: Vec<&str> = self.stages.iter().map(Stage::name).collect();
        names.join(" | ")
    }

    /// The stages, from the first to the last.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// The pipes between the stages: the one at index 0 connects the first two. `None` where no
    /// pipe could be made.
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// let running = (Command::new("sleep").arg("60") | Command::new("cat")).kill_on_drop().spawn()?;
    /// let pipe = running.pipes()[0].as_ref().expect("it was made");
    /// assert!(pipe.capacity.is_power_of_two());
    /// let cat = running.stages()[1].child().expect("it runs").id();
    /// let stdin = std::fs::read_link(format!("/proc/{cat}/fd/0"))?;
    /// assert_eq!(stdin.to_str(), Some(&*format!("pipe:[{}]", pipe.inode)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn pipes(&self) -> &[Option<StagePipe>] {
        &self.pipes
    }

    /// When the pipeline was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Waits until every stage has ended.
    ///
    /// It waits for the stages only: a process that one of them left behind is not waited for, even
    /// if it holds a pipe.
    ///
    /// A stage whose status other code has taken is told as [`StageEnd::StatusLost`], among the others.
    ///
    /// # Errors
    ///
    /// [`Error::System`] when the kernel does not let a stage be waited for.
    pub fn wait(&self) -> Result<PipelineStatus> {
        loop {
            if let Some(status) = self.wait_until(None)? {
                return Ok(status);
            }
        }
    }

    /// The status if every stage has ended, `None` if one runs. Does not block.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn try_wait(&self) -> Result<Option<PipelineStatus>> {
        self.wait_until(Some(Instant::now()))
    }

    /// Waits until every stage has ended, at most for this long; `None` if one still runs then.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Option<PipelineStatus>> {
        self.wait_until(Deadline::after(timeout).instant())
    }

    /// Waits until every stage has ended, or until `deadline`; `None` if one still runs then.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn wait_until(&self, deadline: Option<Instant>) -> Result<Option<PipelineStatus>> {
        let mut running = Vec::with_capacity(self.stages.len());
        for (index, stage) in self.stages.iter().enumerate() {
            if let Some(child) = stage.child()
                && !self.take_end(index, child)?
            {
                running.push((index, child));
            }
        }
        // All at once, so that the wall time of each is taken when it ends.
        while !running.is_empty() {
            let handles: Vec<BorrowedFd<'_>> = running.iter().map(|(_, it)| it.as_fd()).collect();
            let ready = wait_readable(&handles, deadline)?;
            if ready.is_empty() {
                return Ok(None);
            }
            for place in ready.into_iter().rev() {
                let (index, child) = running[place];
                if self.take_end(index, child)? {
                    running.swap_remove(place);
                }
            }
        }
        self.status().map(Some)
    }

    /// The stages that have not ended. Takes no status, so that those that have stay to be seen in
    /// `/proc`: see [`Child::has_ended`].
    ///
    /// # Errors
    ///
    /// As [`Child::has_ended`].
    pub fn still_running(&self) -> Result<Vec<&Child>> {
        closes::note_closes();
        let mut running = Vec::new();
        for (index, stage) in self.stages.iter().enumerate() {
            if let Some(child) = stage.child() {
                let ended = child.has_ended()?;
                self.note_end(index, ended);
                running.extend((!ended).then_some(child));
            }
        }
        Ok(running)
    }

    /// Takes a stage's status if it has ended.
    fn take_end(&self, index: usize, child: &Child) -> Result<bool> {
        let ended = match child.try_wait() {
            // It has ended all the same.
            Err(Error::StatusLost { .. }) => true,
            status => status?.is_some(),
        };
        self.note_end(index, ended);
        Ok(ended)
    }

    /// Has the pipe behind a stage looked at, once the stage has ended.
    fn note_end(&self, index: usize, ended: bool) {
        if ended && let Some(closes) = self.closes(index) {
            closes.writer_ended(|| self.reads_its_pipe(index + 1));
        }
    }

    /// Tells whether a stage has the pipe before it for its stdin at this moment.
    fn reads_its_pipe(&self, index: usize) -> bool {
        let (Some(child), Some(pipe)) = (self.stages[index].child(), &self.pipes[index - 1]) else {
            return false;
        };
        std::fs::read_link(format!("/proc/{}/fd/0", child.id()))
            .is_ok_and(|stdin| stdin.as_os_str() == &*format!("pipe:[{}]", pipe.inode))
    }

    fn closes(&self, writer: usize) -> Option<&Closes> {
        self.pipes.get(writer)?.as_ref()?.closes.as_ref()
    }

    /// The status. Every stage has ended.
    fn status(&self) -> Result<PipelineStatus> {
        let mut stages = Vec::with_capacity(self.stages.len());
        for (index, stage) in self.stages.iter().enumerate() {
            let mut status = stage.status()?;
            if index + 1 < self.stages.len() {
                let reader_was_first = self.closes(index).and_then(Closes::reader_was_first);
                status = status.before_a_reader(reader_was_first);
            }
            stages.push(status);
        }
        let ended = |child: &Child| child.wall().map(|wall| child.started() + wall);
        let children = self.stages.iter().filter_map(Stage::child);
        let end = children.filter_map(ended).max();
        let wall = end.map_or(Duration::ZERO, |end| {
            end.saturating_duration_since(self.started)
        });
        Ok(PipelineStatus::new(stages, self.policy, wall))
    }

    /// Sends a signal to every stage that runs.
    ///
    /// # Errors
    ///
    /// As [`Child::signal`], after every stage was tried.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let mut result = Ok(());
        for child in self.stages.iter().filter_map(Stage::child) {
            // One that refuses must not keep the signal from the others.
            result = result.and(child.signal(signal));
        }
        result
    }

    /// Ends every stage with SIGKILL. It does not wait.
    ///
    /// # Errors
    ///
    /// As [`signal`](Self::signal).
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)
    }

    /// Asks every stage to end with SIGTERM, ends with SIGKILL those that still run after `grace`,
    /// and returns how they ended: see [`Child::kill_after`].
    ///
    /// # Errors
    ///
    /// As [`Child::kill_after`].
    pub fn kill_after(&self, grace: Duration) -> Result<PipelineStatus> {
        self.signal(Signal::TERM)?;
        if let Some(status) = self.wait_timeout(grace)? {
            return Ok(status);
        }
        self.kill()?;
        self.wait()
    }
}
