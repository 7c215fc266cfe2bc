//! `A | B | C`: commands connected by kernel pipes, and how each of them ended.

mod closes;
mod running;
mod status;

use std::ffi::OsStr;
use std::io::{PipeReader, PipeWriter};
use std::ops::BitOr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use running::{RunningPipeline, Stage, StagePipe};
pub use status::{PipelineStatus, Policy, StageEnd, StageStatus, signal_name};

use closes::Closes;
#[doc(hidden)]
pub use closes::note_closes;

use crate::command::{Command, Stdio};
use crate::error::{Error, InvalidCommand, Result, Step};
use crate::pipe::{self, PipeExt, fair_capacity};
use crate::spawn;

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
    /// Of every stage that does not choose its own.
    stderr: Option<Stdio>,
    one_group: bool,
    all_or_nothing: bool,
}

/// The time that killed processes are waited for. They end at once unless the kernel is stuck in them.
const KILLED: Duration = Duration::from_millis(100);

/// The size of the pipes between stages.
///
/// All pipes of one pipeline together never take more than half of the user's soft quota
/// (`/proc/sys/fs/pipe-user-pages-soft`), so that nobody else's new pipes shrink to two pages: the
/// pipes of a very long pipeline are smaller. A refusal by the kernel is not an error: the pipe then
/// is as large as it grants.
///
/// ```
/// use pipewright::{Capacity, Command};
///
/// let pipeline = Command::new("echo") | Command::new("cat") | Command::new("true");
/// let running = pipeline.capacity(Capacity::Bytes(100_000)).spawn()?;
/// let pipe = running.pipes()[0].as_ref().expect("it was made");
/// assert_eq!(pipe.capacity, 131_072); // rounded up
/// # running.wait()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
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
    pub fn new(commands: impl IntoIterator<Item = Command>) -> Self {
        Self {
            commands: commands.into_iter().collect(),
            capacity: Capacity::default(),
            policy: Policy::default(),
            stderr: None,
            one_group: false,
            all_or_nothing: false,
        }
    }

    /// Chooses how large the pipes between the stages are made.
    pub fn capacity(mut self, capacity: Capacity) -> Self {
        self.capacity = capacity;
        self
    }

    /// Chooses the stages whose ends decide whether the pipeline succeeded.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Starts every stage with [`Command::own_tree`].
    pub fn own_tree(self) -> Self {
        self.map(Command::own_tree)
    }

    /// Starts every stage with [`Command::kill_on_drop`].
    pub fn kill_on_drop(self) -> Self {
        self.map(Command::kill_on_drop)
    }

    /// Starts every stage with [`Command::kill_tree_on_drop`].
    pub fn kill_tree_on_drop(self) -> Self {
        self.map(Command::kill_tree_on_drop)
    }

    /// Puts all stages into one new process group, which the first of them leads, as a shell with
    /// job control does. A stage that chooses a group or a session itself keeps its own.
    ///
    /// # References
    ///
    /// [setpgid(2)](https://man7.org/linux/man-pages/man2/setpgid.2.html)
    pub fn new_process_group(mut self) -> Self {
        self.one_group = true;
        self
    }

    /// The directory for every stage that does not choose one itself.
    pub fn current_dir(self, directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        self.map(|mut command| {
            command.directory.get_or_insert_with(|| directory.clone());
            command
        })
    }

    /// Sets an environment variable for every stage that does not set, remove or clear it itself.
    pub fn env(self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.map(|mut command| {
            let environment = &mut command.environment;
            if !environment.cleared {
                let (name, value) = (name.as_ref().to_owned(), value.as_ref().to_owned());
                environment.changes.entry(name).or_insert(Some(value));
            }
            command
        })
    }

    /// Sends the stderr of every stage to one place, except of those that choose their own: as
    /// [`Command::stderr`].
    pub fn stderr(mut self, target: impl Into<Stdio>) -> Self {
        self.stderr = Some(target.into());
        self
    }

    /// Starts all stages or none. A program that is not there is found before anything starts; if
    /// a stage then cannot start for another reason, those before it are killed. Either way
    /// [`spawn`](Self::spawn) gives the error.
    ///
    /// ```
    /// use pipewright::{Command, Error};
    ///
    /// let stages = Command::new("sleep").arg("60") | Command::new("no-such-program");
    /// let error = stages.all_or_nothing().run().unwrap_err(); // at once
    /// assert!(matches!(&error, Error::Start(start) if start.program == "no-such-program"));
    /// assert_eq!(error.exit_code(), 127);
    /// ```
    pub fn all_or_nothing(mut self) -> Self {
        self.all_or_nothing = true;
        self
    }

    fn map(mut self, change: impl FnMut(Command) -> Command) -> Self {
        self.commands = self.commands.into_iter().map(change).collect();
        self
    }

    /// Starts all stages, from the first to the last. With no stage at all, nothing is started, and
    /// that is a success.
    ///
    /// A stage that cannot start does not take the others down: its ends of the pipes are closed,
    /// so that its neighbours see the end of file or SIGPIPE, and its error is its status. With
    /// [`all_or_nothing`](Self::all_or_nothing) it does.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when a command was put together wrongly, or names a source for a
    /// descriptor that the pipeline connects. Nothing was started then. With
    /// [`all_or_nothing`](Self::all_or_nothing), [`Error::Start`] of the stage that cannot start.
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
    pub fn spawn(mut self) -> Result<RunningPipeline> {
        self.spread_stderr()?;
        self.check()?;
        if self.all_or_nothing
            && let Some(error) = self.commands.iter().find_map(spawn::missing)
        {
            return Err(error);
        }
        let started = Instant::now();
        let count = self.commands.len();
        let wanted = match self.capacity {
            Capacity::Bytes(bytes) => Some(bytes),
            Capacity::Maximum | Capacity::Default => None,
        };
        let share = fair_capacity(count.saturating_sub(1), wanted);

        let mut running = RunningPipeline {
            stages: Vec::with_capacity(count),
            pipes: Vec::with_capacity(count.saturating_sub(1)),
            policy: self.policy,
            started,
        };
        let mut stdin = None;
        // Of the group that all stages are in, once there is one.
        let mut leader = None;
        for (index, mut command) in self.commands.into_iter().enumerate() {
            let mut leads = false;
            let name = command.to_string();
            let forgiven = std::mem::take(&mut command.forgiven);
            if let Some(reader) = stdin.take() {
                command = command.stdin(reader);
            }
            let attributes = &mut command.attributes;
            if self.one_group && !attributes.session && attributes.process_group.is_none() {
                // Until the leader's status is taken, its number stays the group's. 0: a new one.
                attributes.process_group = Some(leader.unwrap_or(0));
                leads = leader.is_none();
            }
            let mut outcome = Ok(command);
            if index + 1 < count {
                // One pipe at a time, so that a long pipeline needs few descriptors at once.
                match self.capacity.pipe(share) {
                    Ok((reader, writer, pipe)) => {
                        outcome = outcome.map(|command| command.stdout(writer));
                        stdin = Some(Stdio::from(reader));
                        running.pipes.push(Some(pipe));
                    }
                    Err(error) => {
                        outcome = outcome
                            .and_then(|command| Err(command.failed(Step::MakePipe, error.into())));
                        // What a reader sees whose writer never came: the end of file.
                        stdin = Some(Stdio::Null);
                        running.pipes.push(None);
                    }
                }
            }
            match outcome.and_then(Command::spawn) {
                Err(error) if self.all_or_nothing => {
                    running.kill()?;
                    running.wait_timeout(KILLED)?;
                    return Err(error);
                }
                child => {
                    if leads && let Ok(child) = &child {
                        leader = Some(child.id() as i32);
                    }
                    running.stages.push(Stage::new(name, child, forgiven));
                }
            }
        }
        Ok(running)
    }

    /// Starts all stages and waits until the last of them has ended.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn) and [`RunningPipeline::wait`]. A stage that could not start or
    /// that failed is no error here; the status tells of it.
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

    /// Gives its stderr to every stage that does not choose one.
    pub(crate) fn spread_stderr(&mut self) -> Result<()> {
        let Some(stderr) = self.stderr.take() else {
            return Ok(());
        };
        self.change_each(|_, command| {
            Ok(if command.chooses(2) {
                command
            } else {
                command.stderr(stderr.duplicate()?)
            })
        })
    }

    /// Everything that can be found wrong before anything is started.
    pub(crate) fn check(&self) -> Result<()> {
        for (index, command) in self.commands.iter().enumerate() {
            command.check()?;
            if index > 0 && command.chooses(0) {
                return Err(command.invalid(InvalidCommand::ConnectedByPipeline("stdin")));
            }
            if index + 1 < self.commands.len() && command.chooses(1) {
                return Err(command.invalid(InvalidCommand::ConnectedByPipeline("stdout")));
            }
        }
        Ok(())
    }
}

impl Command {
    /// Says that this exit status is no failure, where the command is a stage of a pipeline or is
    /// captured: 1 of `grep`, which means that nothing was found, or 23 of `curl`, whose reader had
    /// enough. Of a signal, 128 and its number. May be called for several statuses.
    ///
    /// The [status](StageStatus) of the stage stays what it is; it only does not count.
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// let search = Command::new("printf").arg("hay") | Command::new("grep").arg("needle").forgive(1);
    /// let ended = search.run()?;
    /// assert!(ended.success());
    /// assert_eq!(ended.stages()[1].to_string(), "grep needle: exit status 1 (forgiven)");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn forgive(mut self, status: u8) -> Self {
        self.forgiven.insert(status);
        self
    }

    /// Says that no end of the command is a failure, as duct's `unchecked` does: see
    /// [`forgive`](Self::forgive). That it cannot start still is one.
    pub fn forgive_all(mut self) -> Self {
        self.forgiven.extend(1..=u8::MAX);
        self
    }
}

impl Capacity {
    /// The bytes that are asked for; the kernel may grant fewer.
    pub fn bytes(self) -> usize {
        match self {
            Self::Maximum => pipe::MEBIBYTE,
            Self::Default => pipe::DEFAULT_PAGES * rustix::param::page_size(),
            Self::Bytes(bytes) => bytes,
        }
    }

    /// A pipe of this capacity, as far as `share` bytes allow.
    fn pipe(self, share: usize) -> Result<(PipeReader, PipeWriter, StagePipe)> {
        let (reader, writer) = pipe::pipe()?;
        let present = reader.capacity()?;
        let wanted = match self {
            Self::Default => present.min(share),
            Self::Maximum | Self::Bytes(_) => share,
        };
        let pipe = StagePipe {
            capacity: pipe::resize(&reader, wanted)?,
            inode: rustix::fs::fstat(&reader)
                .map_err(Error::system("look at a pipe"))?
                .st_ino,
            closes: Closes::watch(&reader),
        };
        Ok((reader, writer, pipe))
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
impl<P: Into<Pipeline>> BitOr<P> for Command {
    type Output = Pipeline;

    fn bitor(self, next: P) -> Pipeline {
        Pipeline::from(self) | next
    }
}

/// Appends what is on the right. What was chosen for the pipeline as a whole stays as on the left side.
impl<P: Into<Pipeline>> BitOr<P> for Pipeline {
    type Output = Pipeline;

    fn bitor(mut self, next: P) -> Pipeline {
        self.commands.extend(next.into().commands);
        self
    }
}
