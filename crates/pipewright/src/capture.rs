//! Feeding a command's stdin and collecting its stdout and stderr at once, without a deadlock
//! whatever the sizes and the order.

#[cfg(feature = "tokio")]
mod asynchronous;
mod cancel;
pub(crate) mod collected;
mod exchange;
mod input;
mod lines;
mod output;
mod resident;
mod stream;

use std::time::Duration;

#[cfg(feature = "tokio")]
pub use asynchronous::AsyncLines;
pub use cancel::Canceller;
pub use collected::Collected;
pub use input::Input;
pub use lines::{Line, Lines, TaggedLines};
pub use output::Output;
pub use stream::OutputStream;

use crate::command::{Command, Stdio};
#[cfg(doc)]
use crate::error::Error;
use crate::error::{InvalidCommand, Result};
use crate::pipe;
use crate::pipeline::{Pipeline, RunningPipeline};
use exchange::{Bounds, Exchange, Turn, Wait};
use input::{Feed, Kind};
use stream::Stream;

impl Command {
    /// Collects what the program writes: see [`Capture`].
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// assert_eq!(Command::new("echo").arg("hello").capture().read()?, "hello");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn capture<'a>(self) -> Capture<'a> {
        Capture::new(Running::One(Box::new(self)))
    }
}

impl Pipeline {
    /// Collects what the last stage writes to its stdout and every stage to its stderr: see
    /// [`Capture`].
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// let warn_and_echo = Command::new("sh").args(["-c", "echo careful >&2; cat"]);
    /// let output = (warn_and_echo | Command::new("tr").args(["a-z", "A-Z"]))
    ///     .capture()
    ///     .input("through both")
    ///     .output()?;
    /// assert_eq!(output.stdout, b"THROUGH BOTH");
    /// assert_eq!(output.stderr, [b"careful\n".to_vec(), Vec::new()]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn capture<'a>(self) -> Capture<'a> {
        Capture::new(Running::Many(self))
    }
}

/// A command or pipeline whose output is to be collected, and within which bounds.
///
/// [`output`](Self::output) gives everything with the status as data, [`read`](Self::read) the text
/// of a command that must succeed, [`lines`](Self::lines) one line after the other.
///
/// What a command says itself about its stdin, stdout or stderr stays so. What it leaves unset is
/// collected; an unset stdin is `/dev/null`, or the [`input`](Self::input).
///
/// Everything is done on the calling thread, in one loop: it feeds and reads whatever is ready.
/// So no sizes and no order of reading and writing can block it, and nothing has to be joined. A
/// child that does not read all of its input is no error.
///
/// # Bounds
///
/// Without bounds it waits for the end of the output, as a shell's `$(…)` does: a process left in
/// the background that has the pipe holds it up. [`timeout`](Self::timeout),
/// [`pipe_grace`](Self::pipe_grace), [`limit`](Self::limit) and [`canceller`](Self::canceller) put
/// an end to that. When one of them is reached, every stage that runs is killed (all their
/// descendants as well with [`kill_tree`](Self::kill_tree)) and the error holds what was collected.
/// What was killed is waited for, at most 10 ms, or 100 ms for whole trees; the kernel needs longer
/// only for a process that is stuck in it.
///
/// ```
/// use std::time::Duration;
/// use pipewright::{Command, Error};
///
/// let error = Command::new("sh").args(["-c", "echo started; exec sleep 60"])
///     .capture()
///     .timeout(Duration::from_secs(2))
///     .output()
///     .unwrap_err();
/// let Error::TimedOut { collected, .. } = error else { panic!("{error}") };
/// assert_eq!(collected.stdout, b"started\n");
/// ```
#[derive(Debug)]
#[must_use = "a capture does nothing until its output is asked for"]
pub struct Capture<'a> {
    running: Running,
    input: Option<Input<'a>>,
    bounds: Bounds,
}

/// What is to be run.
#[derive(Debug)]
enum Running {
    /// One command, whose failure to start is an error.
    One(Box<Command>),
    /// Stages, whose failures to start are told in their status.
    Many(Pipeline),
}

impl<'a> Capture<'a> {
    fn new(running: Running) -> Self {
        Self {
            running,
            input: None,
            bounds: Bounds::default(),
        }
    }

    /// What the (first) command reads on its stdin: bytes, text, a file, a [reader](Input::reader).
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// let far_more_than_a_pipe_holds = vec![b'x'; 1 << 20];
    /// let output = Command::new("cat").capture().input(&far_more_than_a_pipe_holds).output()?;
    /// assert_eq!(output.stdout, far_more_than_a_pipe_holds);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn input(mut self, input: impl Into<Input<'a>>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// The time from the start in which everything must have ended. It is kept even if somebody
    /// else still holds a pipe then.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use pipewright::{Command, Error};
    ///
    /// let start = Instant::now();
    /// let sleeps = Command::new("sleep").arg("60").capture().timeout(Duration::from_millis(20));
    /// assert!(matches!(sleeps.read(), Err(Error::TimedOut { .. })));
    /// assert!(start.elapsed() < Duration::from_secs(30));
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.bounds.timeout = Some(timeout);
        self
    }

    /// How long after the end of every stage the output may stay open. It is open as long as a
    /// process that was left behind has it. After that time it is an [`Error::PipeHeldOpen`], which
    /// tells how the stages ended. A child that this process is starting just then is no holder; 10
    /// ms are added to tell it apart.
    ///
    /// ```
    /// use std::time::Duration;
    /// use pipewright::{Command, Error};
    ///
    /// let leaves_one_behind = Command::new("sh").args(["-c", "sleep 3 & echo done"]);
    /// let error = leaves_one_behind.capture().pipe_grace(Duration::ZERO).output().unwrap_err();
    /// let Error::PipeHeldOpen { collected, .. } = error else { panic!("{error}") };
    /// assert_eq!(collected.stdout, b"done\n");
    /// assert!(collected.statuses[0].expect("it has ended").success());
    /// ```
    pub fn pipe_grace(mut self, grace: Duration) -> Self {
        self.bounds.pipe_grace = Some(grace);
        self
    }

    /// The most bytes that may be collected, of all streams together. Of [lines](Self::lines): the
    /// most that are held at once.
    ///
    /// ```
    /// use pipewright::{Command, Error};
    ///
    /// let error = Command::new("yes").capture().limit(1000).output().unwrap_err();
    /// let Error::OutputTooLarge { collected, .. } = error else { panic!("{error}") };
    /// assert_eq!(collected.stdout.len(), 1000);
    /// ```
    pub fn limit(mut self, bytes: usize) -> Self {
        self.bounds.limit = Some(bytes);
        self
    }

    /// Has the stages killed when the capture is dropped before it is over, as with
    /// [`Command::kill_on_drop`]: a future that is not polled any more, [lines](Self::lines) of
    /// which no more are wanted. Otherwise they run on, without a reader.
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// let (seen_here, kept_by_it) = pipewright::pipe()?;
    /// let waits = Command::new("sh").args(["-c", "echo ready; exec sleep 60"]).fd(3, kept_by_it);
    /// let mut lines = waits.capture().kill_on_drop().lines()?;
    /// assert_eq!(lines.next().transpose()?.as_deref(), Some("ready"));
    /// drop(lines);
    /// assert_eq!(std::io::read_to_string(seen_here)?, ""); // it has ended
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn kill_on_drop(mut self) -> Self {
        self.running = match self.running {
            Running::One(command) => Running::One(Box::new(command.kill_on_drop())),
            Running::Many(pipeline) => Running::Many(pipeline.kill_on_drop()),
        };
        self
    }

    /// Lets another thread end the capture.
    ///
    /// ```
    /// use pipewright::{Canceller, Command, Error};
    ///
    /// let canceller = Canceller::new()?;
    /// let mut lines = Command::new("yes").capture().canceller(&canceller).lines()?;
    /// assert_eq!(lines.next().transpose()?.as_deref(), Some("y"));
    /// canceller.cancel();
    /// let last = lines.find_map(Result::err); // after what was read before
    /// assert!(matches!(last, Some(Error::Cancelled { .. })));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn canceller(mut self, canceller: &Canceller) -> Self {
        self.bounds.canceller = Some(canceller.clone());
        self
    }

    /// Has everything that was started killed when a bound is reached, and not only the stages:
    /// as [`Child::kill_tree`](crate::Child::kill_tree) does. With
    /// [`Command::own_tree`] that reaches daemons, too.
    ///
    /// ```
    /// use pipewright::{Command, Error};
    ///
    /// let (seen_here, kept_by_them) = pipewright::pipe()?;
    /// let script = "sleep 60 & yes"; // the sleep is no stage
    /// let shell = Command::new("sh").args(["-c", script]).fd(3, kept_by_them);
    /// let result = shell.capture().limit(100).kill_tree().output();
    /// assert!(matches!(result, Err(Error::OutputTooLarge { .. })));
    /// assert_eq!(std::io::read_to_string(seen_here)?, ""); // both have ended
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn kill_tree(mut self) -> Self {
        self.bounds.kill_tree = true;
        self
    }

    /// Runs it, and collects its output until it has ended.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`], and of a single command [`Error::Start`], as
    ///   [`Command::spawn`]. A stage of a pipeline that cannot start is told in the status.
    /// - [`Error::TimedOut`], [`Error::PipeHeldOpen`], [`Error::OutputTooLarge`],
    ///   [`Error::Cancelled`] when a bound was reached.
    /// - [`Error::System`] when the kernel refuses, the input's reader fails, or the output does
    ///   not fit into memory. What ran is killed then.
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// let output = Command::new("grep").arg("needle").capture().input("hay\n").output()?;
    /// assert_eq!(output.exit_status().code(), Some(1)); // no match: data, and no error
    /// assert!(output.stdout.is_empty() && output.stderr[0].is_empty());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn output(self) -> Result<Output> {
        let mut exchange = self.start()?;
        while exchange.turn(Wait::Event)? != Turn::Finished {}
        exchange.into_output()
    }

    /// Runs it, and gives its stdout as text, without the newlines at its end, as `$(…)` does.
    ///
    /// # Errors
    ///
    /// As [`output`](Self::output), [`Error::Failed`] when it did not succeed, and
    /// [`Error::NotUtf8`].
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// let error = Command::new("ls").arg("/nope").capture().read().unwrap_err();
    /// assert!(error.to_string().starts_with("ls /nope failed: exit status 2: ls: "));
    /// ```
    pub fn read(self) -> Result<String> {
        read(self.output()?)
    }

    /// Starts it, and gives the lines of its stdout as they come: see [`Lines`].
    ///
    /// # Errors
    ///
    /// As the start in [`output`](Self::output).
    ///
    /// ```
    /// let seq = pipewright::Command::new("seq").arg("1000000");
    /// for line in seq.capture().lines()?.take(2) {
    ///     assert!(["1", "2"].contains(&&*line?)); // and the rest is never written
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn lines(self) -> Result<Lines<'a>> {
        Ok(Lines::new(self.start()?))
    }

    /// Starts it, and gives the lines of its stdout and of every stage's stderr as they come, each
    /// with its origin: see [`TaggedLines`].
    ///
    /// # Errors
    ///
    /// As the start in [`output`](Self::output).
    ///
    /// ```
    /// use pipewright::{Command, OutputStream};
    ///
    /// let first = Command::new("sh").args(["-c", "echo from the first >&2"]);
    /// let second = Command::new("sh").args(["-c", "echo from the second >&2"]);
    /// for line in (first | second).capture().tagged_lines()? {
    ///     let line = line?;
    ///     let stage = if line.text == "from the first" { 0 } else { 1 };
    ///     assert_eq!(line.from, OutputStream::Stderr(stage));
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn tagged_lines(self) -> Result<TaggedLines<'a>> {
        Ok(TaggedLines::new(self.start()?))
    }

    /// Connects what is to be collected, and starts.
    fn start(self) -> Result<Exchange<'a>> {
        let mut streams = Vec::new();
        let mut feed = None;
        let running = match self.running {
            Running::One(command) => {
                let command = connect_input(*command, self.input, &mut feed)?;
                let command = collect(command, OutputStream::Stdout, &mut streams)?;
                let command = collect(command, OutputStream::Stderr(0), &mut streams)?;
                RunningPipeline::of_one(command)?
            }
            Running::Many(mut pipeline) => {
                // Before anything is connected: afterwards every stage has its descriptors chosen.
                pipeline.check()?;
                let mut input = Some(self.input);
                let last = pipeline.commands().len() - 1;
                pipeline.change_each(|index, mut command| {
                    if let Some(input) = input.take() {
                        command = connect_input(command, input, &mut feed)?;
                    }
                    if index == last {
                        command = collect(command, OutputStream::Stdout, &mut streams)?;
                    }
                    collect(command, OutputStream::Stderr(index), &mut streams)
                })?;
                pipeline.spawn()?
            }
        };
        Exchange::new(running, feed, streams, self.bounds)
    }
}

/// The text of an output that must have succeeded.
fn read(output: Output) -> Result<String> {
    let mut text = output.check()?.text()?;
    text.truncate(text.trim_end_matches(['\n', '\r']).len());
    Ok(text)
}

/// Gives the first command its stdin.
fn connect_input<'a>(
    command: Command,
    input: Option<Input<'a>>,
    feed: &mut Option<Feed<'a>>,
) -> Result<Command> {
    let Some(input) = input else {
        return Ok(if command.chooses(0) {
            command
        } else {
            command.stdin(Stdio::Null)
        });
    };
    if command.chooses(0) {
        return Err(command.invalid(InvalidCommand::DescriptorTwice(0)));
    }
    Ok(match input.0 {
        Kind::Stdio(stdio) => command.stdin(stdio),
        Kind::Fed(source) => {
            let (reader, writer) = pipe::pipe()?;
            *feed = Some(Feed::new(writer, source)?);
            command.stdin(reader)
        }
    })
}

/// Connects one stream that the command leaves unset to a pipe, and keeps its reader.
fn collect(command: Command, from: OutputStream, streams: &mut Vec<Stream>) -> Result<Command> {
    let number = match from {
        OutputStream::Stdout => 1,
        OutputStream::Stderr(_) => 2,
    };
    if command.chooses(number) {
        return Ok(command);
    }
    let (reader, writer) = pipe::pipe()?;
    streams.push(Stream::new(from, reader));
    Ok(match from {
        OutputStream::Stdout => command.stdout(writer),
        OutputStream::Stderr(_) => command.stderr(writer),
    })
}

impl Exchange<'_> {
    fn into_output(mut self) -> Result<Output> {
        let status = self.status()?;
        Ok(Output::new(status, self.take_collected()))
    }
}
