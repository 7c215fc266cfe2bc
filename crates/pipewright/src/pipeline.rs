//! `A | B | C`: commands connected by kernel pipes, and how each of them ended.

mod status;

use std::ops::BitOr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

pub use status::{PipelineStatus, Policy, StageEnd, StageStatus, signal_name};

use crate::child::{Child, wait_readable};
use crate::command::{Command, Stdio};
use crate::error::{Error, InvalidCommand, Result, Step};
use crate::pipe::{self, PipeExt, fair_capacity};

/// Commands, each of which reads what the one before it writes.
///
/// Made by `|` between commands, or from an iterator. The first command's stdin and the last one's
/// stdout are what those commands say (inherited by default); so is everything else of each
/// command.
///
/// The stages are connected directly by kernel pipes: no byte passes through this process, and
/// after the start it holds no end of any of them.
///
/// ```
/// use std::io::Read;
/// use pipewright::Command;
///
/// let (mut reader, writer) = pipewright::pipe()?;
/// let ended = (Command::new("printf").arg("b\na\nb\n")
///     | Command::new("sort")
///     | Command::new("uniq").arg("-c").stdout(writer))
/// .run()?;
///
/// let mut counted = String::new();
/// reader.read_to_string(&mut counted)?;
/// assert_eq!(counted.split_whitespace().collect::<Vec<_>>(), ["1", "a", "2", "b"]);
/// assert!(ended.success());
/// for stage in ended.stages() {
///     println!("{stage}"); // printf 'b\na\nb\n': exit status 0
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a pipeline does nothing until it is spawned"]
pub struct Pipeline {
    commands: Vec<Command>,
    capacity: Capacity,
    policy: Policy,
}

/// How large the pipes between stages are made.
///
/// All pipes of one pipeline together never take more than half of the user's soft quota
/// (`/proc/sys/fs/pipe-user-pages-soft`), so that nobody else's new pipes shrink to two pages: the
/// pipes of a very long pipeline are smaller. What the kernel refuses is no error; it gets what
/// there is.
///
/// ```
/// use pipewright::{Capacity, Command};
///
/// let pipeline = Command::new("echo") | Command::new("cat") | Command::new("true");
/// let running = pipeline.capacity(Capacity::Bytes(100_000)).spawn()?;
/// assert_eq!(running.capacities(), [131_072; 2]); // rounded up
/// # running.wait()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Capacity {
    /// The largest that the kernel grants, up to 1 MiB: fewer switches between the stages.
    #[default]
    Maximum,
    /// The kernel's default, 16 pages.
    Default,
    /// At least this many bytes, rounded up by the kernel to a power of two of pages.
    Bytes(usize),
}

impl Pipeline {
    /// A pipeline of these commands, in their order.
    ///
    /// ```
    /// use pipewright::{Command, Pipeline, Stdio};
    ///
    /// let cats = (0..10).map(|_| Command::new("cat"));
    /// let first = Command::new("true");
    /// let ended = Pipeline::new(std::iter::once(first).chain(cats)).run()?;
    /// assert_eq!(ended.stages().len(), 11);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(commands: impl IntoIterator<Item = Command>) -> Self {
        Self {
            commands: commands.into_iter().collect(),
            capacity: Capacity::default(),
            policy: Policy::default(),
        }
    }

    /// Chooses how large the pipes between the stages are made.
    ///
    /// ```
    /// use pipewright::{Capacity, Command, PipeExt};
    ///
    /// let pipeline = Command::new("true") | Command::new("cat");
    /// let running = pipeline.capacity(Capacity::Default).spawn()?;
    /// assert_eq!(running.capacities(), [pipewright::pipe()?.0.capacity()?]); // as any new pipe has
    /// # running.wait()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn capacity(mut self, capacity: Capacity) -> Self {
        self.capacity = capacity;
        self
    }

    /// Chooses which stages' ends decide whether the pipeline succeeded.
    ///
    /// ```
    /// use pipewright::{Command, Policy};
    ///
    /// let fails_then_copies = || Command::new("false") | Command::new("cat");
    /// assert!(!fails_then_copies().run()?.success());
    /// assert!(fails_then_copies().policy(Policy::Last).run()?.success());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Starts every stage with [`Command::own_tree`].
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// let tells = || Command::new("sh").args(["-c", "cat; echo ${PIPEWRIGHT_TREE:+marked}"]);
    /// assert_eq!((tells() | tells()).own_tree().capture().read()?, "marked\nmarked");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn own_tree(self) -> Self {
        self.map(Command::own_tree)
    }

    /// Starts every stage with [`Command::kill_on_drop`].
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// let (reader, writer) = pipewright::pipe()?;
    /// let sleeps = Command::new("sleep").arg("60").stderr(writer);
    /// drop((sleeps | Command::new("cat")).kill_on_drop().spawn()?);
    /// assert_eq!(std::io::read_to_string(reader)?, ""); // the first stage has ended
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn kill_on_drop(self) -> Self {
        self.map(Command::kill_on_drop)
    }

    fn map(mut self, change: impl FnMut(Command) -> Command) -> Self {
        self.commands = self.commands.into_iter().map(change).collect();
        self
    }

    /// Starts all stages, from the first to the last.
    ///
    /// A stage that cannot start does not take the others down: its ends of the pipes are closed,
    /// so that its neighbours see the end of file or SIGPIPE, and its error is its status.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when a command was put together wrongly, or names a source for a
    /// descriptor that the pipeline connects. Nothing was started then.
    ///
    /// ```
    /// use pipewright::{Command, Error, Stdio};
    ///
    /// let running = (Command::new("no-such-program") | Command::new("cat")).spawn()?;
    /// assert!(running.stages()[0].error().is_some());
    /// assert!(running.stages()[1].child().is_some_and(|cat| cat.wait().is_ok())); // the end of file
    /// let connected = Command::new("echo").stdout(Stdio::Null) | Command::new("cat");
    /// assert!(matches!(connected.spawn(), Err(Error::Invalid { .. })));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # References
    ///
    /// [pipe(7)](https://man7.org/linux/man-pages/man7/pipe.7.html)
    pub fn spawn(self) -> Result<RunningPipeline> {
        self.check()?;
        let started = Instant::now();
        let last = self.commands.len() - 1;
        let wanted = match self.capacity {
            Capacity::Bytes(bytes) => Some(bytes),
            Capacity::Maximum | Capacity::Default => None,
        };
        let share = fair_capacity(last, wanted);

        let mut stages = Vec::with_capacity(self.commands.len());
        let mut capacities = Vec::with_capacity(last);
        let mut inodes = Vec::with_capacity(last);
        let mut stdin = None;
        for (index, mut command) in self.commands.into_iter().enumerate() {
            let name = command.to_string();
            if let Some(reader) = stdin.take() {
                command = command.stdin(reader);
            }
            let mut outcome = Ok(command);
            if index < last {
                // One pipe at a time, so that a long pipeline needs few descriptors at once.
                match self.capacity.pipe(share) {
                    Ok((reader, writer, capacity)) => {
                        inodes.push(rustix::fs::fstat(&reader).map_or(0, |it| it.st_ino));
                        outcome = outcome.map(|command| command.stdout(writer));
                        stdin = Some(Stdio::from(reader));
                        capacities.push(capacity);
                    }
                    Err(error) => {
                        outcome = outcome
                            .and_then(|command| Err(command.failed(Step::MakePipe, error.into())));
                        // What a reader sees whose writer never came: the end of file.
                        stdin = Some(Stdio::Null);
                        capacities.push(0);
                        inodes.push(0);
                    }
                }
            }
            stages.push(Stage {
                name,
                child: outcome.and_then(Command::spawn).map_err(Arc::new),
            });
        }
        Ok(RunningPipeline {
            stages,
            capacities,
            inodes,
            policy: self.policy,
            started,
        })
    }

    /// Starts all stages and waits until the last of them has ended.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn) and [`RunningPipeline::wait`]. A stage that could not start or
    /// that failed is no error here; the status tells of it.
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// let search = Command::new("printf").arg("hay\n") | Command::new("grep").args(["-q", "needle"]);
    /// let ended = search.run()?;
    /// assert_eq!(ended.stages()[1].to_string(), "grep -q needle: exit status 1");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn run(self) -> Result<PipelineStatus> {
        self.spawn()?.wait()
    }

    pub(crate) fn commands(&self) -> &[Command] {
        &self.commands
    }

    /// Replaces every command by what `change` makes of it. `change` gets its index, too.
    pub(crate) fn change_each(
        &mut self,
        mut change: impl FnMut(usize, Command) -> Result<Command>,
    ) -> Result<()> {
        let commands = std::mem::take(&mut self.commands).into_iter().enumerate();
        self.commands = commands
            .map(|(index, command)| change(index, command))
            .collect::<Result<_>>()?;
        Ok(())
    }

    /// Everything that can be found wrong before anything is started.
    pub(crate) fn check(&self) -> Result<()> {
        let Some(last) = self.commands.len().checked_sub(1) else {
            return Err(Error::Invalid {
                program: String::new(),
                reason: InvalidCommand::NoStage,
            });
        };
        for (index, command) in self.commands.iter().enumerate() {
            command.check()?;
            if index > 0 && command.chooses(0) {
                return Err(command.invalid(InvalidCommand::ConnectedByPipeline("stdin")));
            }
            if index < last && command.chooses(1) {
                return Err(command.invalid(InvalidCommand::ConnectedByPipeline("stdout")));
            }
        }
        Ok(())
    }
}

impl Capacity {
    /// A pipe of this capacity, as far as `share` bytes allow.
    fn pipe(self, share: usize) -> Result<(std::io::PipeReader, std::io::PipeWriter, usize)> {
        let (reader, writer) = pipe::pipe()?;
        let present = reader.capacity()?;
        let wanted = match self {
            Self::Default => present.min(share),
            Self::Maximum | Self::Bytes(_) => share,
        };
        let granted = pipe::resize(&reader, wanted)?;
        Ok((reader, writer, granted))
    }
}

impl FromIterator<Command> for Pipeline {
    fn from_iter<I: IntoIterator<Item = Command>>(commands: I) -> Self {
        Self::new(commands)
    }
}

impl From<Command> for Pipeline {
    fn from(command: Command) -> Self {
        Self::new([command])
    }
}

/// `a | b`: b reads what a writes.
///
/// ```
/// use pipewright::Command;
///
/// let reversed = Command::new("echo").arg("HOLA!") | Command::new("rev");
/// assert_eq!(reversed.capture().read()?, "!ALOH");
/// # Ok::<(), std::io::Error>(())
/// ```
impl<P: Into<Pipeline>> BitOr<P> for Command {
    type Output = Pipeline;

    fn bitor(self, next: P) -> Pipeline {
        Pipeline::from(self) | next
    }
}

/// Appends what is on the right. Capacity and policy stay those of the left side.
///
/// ```
/// use pipewright::{Command, Pipeline, Policy};
///
/// let left = Pipeline::from(Command::new("false")).policy(Policy::Last);
/// let right = Command::new("cat") | Command::new("cat");
/// let ended = (left | right).run()?;
/// assert_eq!(ended.stages().len(), 3);
/// assert!(ended.success()); // by the left side's policy
/// # Ok::<(), std::io::Error>(())
/// ```
impl<P: Into<Pipeline>> BitOr<P> for Pipeline {
    type Output = Pipeline;

    fn bitor(mut self, next: P) -> Pipeline {
        self.commands.extend(next.into().commands);
        self
    }
}

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
    name: String,
    child: std::result::Result<Child, Arc<Error>>,
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
    stages: Vec<Stage>,
    capacities: Vec<usize>,
    inodes: Vec<u64>,
    policy: Policy,
    started: Instant,
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
