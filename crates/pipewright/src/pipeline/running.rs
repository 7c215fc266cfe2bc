//! A pipeline that runs: its stages, and waiting for them.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{PipelineStatus, Policy, StageEnd, StageStatus};
use crate::child::{Child, wait_readable};
use crate::command::Command;
use crate::error::{Error, Result};

/// One stage of a running pipeline.
///
/// ```
/// use pipewright::Command;
///
/// let running = (Command::new("true") | Command::new("no-such-program")).spawn()?;
/// for stage in running.stages() {
///     // It runs, or there is a reason why not.
///     assert_ne!(stage.child().is_some(), stage.error().is_some(), "{}", stage.name());
/// }
/// # running.wait()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Stage {
    pub(super) name: String,
    pub(super) child: std::result::Result<Child, Arc<Error>>,
}

impl Stage {
    /// The command as one would type it.
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// let running = (Command::new("printf").arg("a b") | Command::new("cat")).spawn()?;
    /// assert_eq!(running.stages()[0].name(), "printf 'a b'");
    /// # running.wait()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process; `None` if it could not be started.
    ///
    /// ```
    /// use pipewright::{Command, Stdio};
    ///
    /// let running = (Command::new("yes") | Command::new("cat").stdout(Stdio::Null)).spawn()?;
    /// let yes = running.stages()[0].child().expect("it was started");
    /// yes.kill()?; // this stage alone; the other one sees the end of file
    /// let ended = running.wait()?;
    /// assert_eq!(ended.stages()[0].end.exit_code(), 128 + 9);
    /// assert!(ended.stages()[1].end.success());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn child(&self) -> Option<&Child> {
        self.child.as_ref().ok()
    }

    /// Why the stage could not be started; `None` if it was.
    ///
    /// ```
    /// use pipewright::{Command, Pipeline};
    ///
    /// let running = Pipeline::new([Command::new("no-such-program")]).spawn()?;
    /// let error = running.stages()[0].error().expect("there is no such program");
    /// assert_eq!(error.exit_code(), 127);
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
                StageEnd::from(child.wait()?),
                child.wall().unwrap_or_default(),
                child.usage().unwrap_or_default(),
            ),
        };
        Ok(StageStatus {
            name: self.name.clone(),
            end,
            wall,
            usage,
        })
    }
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
    pub(super) capacities: Vec<usize>,
    pub(super) inodes: Vec<u64>,
    pub(super) policy: Policy,
    pub(super) started: Instant,
}

impl RunningPipeline {
    /// Starts one command. Unlike as a stage of a pipeline, it is an error if it cannot start.
    pub(crate) fn of_one(command: Command) -> Result<Self> {
        let started = Instant::now();
        let name = command.to_string();
        let child = Ok(command.spawn()?);
        Ok(Self {
            stages: vec![Stage { name, child }],
            capacities: Vec::new(),
            inodes: Vec::new(),
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
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// let running = (Command::new("echo").arg("one") | Command::new("cat").arg("-")).spawn()?;
    /// let names: Vec<&str> = running.stages().iter().map(|stage| stage.name()).collect();
    /// assert_eq!(names, ["echo one", "cat -"]);
    /// # running.wait()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// The capacity in bytes of each pipe between two stages; 0 where none could be made.
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// let running = (Command::new("true") | Command::new("cat") | Command::new("cat")).spawn()?;
    /// assert_eq!(running.capacities().len(), 2); // of three stages
    /// assert!(running.capacities().iter().all(|bytes| bytes.is_power_of_two()));
    /// # running.wait()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn capacities(&self) -> &[usize] {
        &self.capacities
    }

    /// The inode number of each pipe between two stages, by which `/proc/PID/fd` names it:
    /// `pipe:[4711]`; 0 where none could be made. This process holds no end of any of them.
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// let running = (Command::new("sleep").arg("60") | Command::new("cat")).kill_on_drop().spawn()?;
    /// let cat = running.stages()[1].child().expect("it runs").id();
    /// let stdin = std::fs::read_link(format!("/proc/{cat}/fd/0"))?;
    /// assert_eq!(stdin.to_str(), Some(&*format!("pipe:[{}]", running.pipe_inodes()[0])));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn pipe_inodes(&self) -> &[u64] {
        &self.inodes
    }

    /// When the pipeline was started.
    ///
    /// ```
    /// use std::time::Instant;
    /// use pipewright::Command;
    ///
    /// let before = Instant::now();
    /// let running = (Command::new("true") | Command::new("cat")).spawn()?;
    /// assert!(before <= running.started() && running.started() <= Instant::now());
    /// # running.wait()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Waits until every stage has ended.
    ///
    /// It waits for the stages only: a process that one of them left behind is not waited for, even
    /// if it holds a pipe.
    ///
    /// # Errors
    ///
    /// As [`Child::wait`].
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// let first = Command::new("sh").args(["-c", "exit 4"]);
    /// let running = (first | Command::new("sleep").arg("0.02")).spawn()?;
    /// let ended = running.wait()?; // of both, although the first is over sooner
    /// assert_eq!(ended.stages()[0].end.exit_code(), 4);
    /// assert!(ended.stages()[1].wall.as_millis() >= 20);
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
    /// As [`Child::wait`].
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// let (stdin, writer) = pipewright::pipe()?;
    /// let running = (Command::new("cat").stdin(stdin) | Command::new("cat")).spawn()?;
    /// assert!(running.try_wait()?.is_none()); // both wait for input
    /// drop(writer);
    /// running.wait()?;
    /// assert!(running.try_wait()?.is_some_and(|status| status.success()));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_wait(&self) -> Result<Option<PipelineStatus>> {
        self.wait_until(Some(Instant::now()))
    }

    /// Waits until every stage has ended, at most for this long; `None` if one still runs then.
    ///
    /// # Errors
    ///
    /// As [`Child::wait`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use pipewright::Command;
    ///
    /// let running = (Command::new("sleep").arg("60") | Command::new("cat")).kill_on_drop().spawn()?;
    /// assert!(running.wait_timeout(Duration::from_millis(5))?.is_none());
    /// running.kill()?;
    /// assert!(running.wait_timeout(Duration::from_secs(60))?.is_some());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Option<PipelineStatus>> {
        self.wait_until(Instant::now().checked_add(timeout))
    }

    /// Waits until every stage has ended, or until `deadline`; `None` if one still runs then.
    ///
    /// # Errors
    ///
    /// As [`Child::wait`].
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use pipewright::Command;
    ///
    /// let start = Instant::now();
    /// let running = (Command::new("sleep").arg("60") | Command::new("cat")).kill_on_drop().spawn()?;
    /// let deadline = start + Duration::from_millis(20);
    /// assert!(running.wait_until(Some(deadline))?.is_none());
    /// assert!(Instant::now() >= deadline);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn wait_until(&self, deadline: Option<Instant>) -> Result<Option<PipelineStatus>> {
        let mut running: Vec<&Child> = Vec::with_capacity(self.stages.len());
        for child in self.stages.iter().filter_map(Stage::child) {
            if child.try_wait()?.is_none() {
                running.push(child);
            }
        }
        // All at once, so that the wall time of each is taken when it ends.
        while !running.is_empty() {
            let handles: Vec<BorrowedFd<'_>> = running.iter().map(|child| child.as_fd()).collect();
            let ready = wait_readable(&handles, deadline)?;
            if ready.is_empty() {
                return Ok(None);
            }
            for index in ready.into_iter().rev() {
                if running[index].try_wait()?.is_some() {
                    running.swap_remove(index);
                }
            }
        }
        let stages = self
            .stages
            .iter()
            .map(Stage::status)
            .collect::<Result<_>>()?;
        let ended = |child: &Child| child.wall().map(|wall| child.started() + wall);
        let end = self
            .stages
            .iter()
            .filter_map(Stage::child)
            .filter_map(ended)
            .max();
        let wall = end.map_or(Duration::ZERO, |end| {
            end.saturating_duration_since(self.started)
        });
        Ok(Some(PipelineStatus::new(stages, self.policy, wall)))
    }

    /// Sends a signal to every stage that runs.
    ///
    /// # Errors
    ///
    /// As [`Child::signal`], after every stage was tried.
    ///
    /// ```
    /// use pipewright::{Command, Signal};
    ///
    /// let sleeps = || Command::new("sleep").arg("60");
    /// let running = (sleeps() | sleeps() | sleeps()).spawn()?;
    /// running.signal(Signal::HUP)?;
    /// let codes: Vec<u8> = running.wait()?.stages().iter().map(|it| it.end.exit_code()).collect();
    /// assert_eq!(codes, [129, 129, 129]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
    ///
    /// ```
    /// use pipewright::{Command, Stdio};
    ///
    /// let running = (Command::new("yes") | Command::new("cat").stdout(Stdio::Null)).spawn()?;
    /// running.kill()?;
    /// assert_eq!(running.wait()?.stages()[1].to_string(), "cat: killed by SIGKILL");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)
    }

    /// Asks every stage to end with SIGTERM, ends with SIGKILL those that still run after `grace`,
    /// and returns how they ended: see [`Child::kill_after`].
    ///
    /// # Errors
    ///
    /// As [`Child::kill_after`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use pipewright::Command;
    ///
    /// let (stderr, writer) = pipewright::pipe()?;
    /// let script = "trap '' TERM; echo ready >&2; exec sleep 60";
    /// let stubborn = Command::new("sh").args(["-c", script]).stderr(writer);
    /// let running = (Command::new("sleep").arg("60") | stubborn).spawn()?;
    /// std::io::Read::read_exact(&mut &stderr, &mut [0; 6])?;
    /// let ended = running.kill_after(Duration::from_millis(20))?;
    /// let codes: Vec<u8> = ended.stages().iter().map(|stage| stage.end.exit_code()).collect();
    /// assert_eq!(codes, [128 + 15, 128 + 9]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn kill_after(&self, grace: Duration) -> Result<PipelineStatus> {
        self.signal(Signal::TERM)?;
        if let Some(status) = self.wait_timeout(grace)? {
            return Ok(status);
        }
        self.kill()?;
        self.wait()
    }
}
