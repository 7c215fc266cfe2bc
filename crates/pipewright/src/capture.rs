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
mod running;
pub(crate) mod splitter;
mod stream;

use std::time::Duration;

#[cfg(feature = "tokio")]
pub use asynchronous::AsyncLines;
pub use cancel::Canceller;
pub use collected::Collected;
pub use input::Input;
pub use lines::{Line, Lines, TaggedLines};
pub use output::Output;
pub use running::{OutputReader, RunningCapture};
pub use stream::OutputStream;

use crate::command::{Command, Stdio};
#[cfg(doc)]
use crate::error::Error;
use crate::error::{InvalidCommand, Result};
use crate::pipe;
use crate::pipeline::{Pipeline, RunningPipeline};
use exchange::{Bounds, Exchange};
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
    pub fn capture<'a>(self) -> Capture<'a> {
        Capture::new(Running::Many(self))
    }
}

/// A command or pipeline whose output is to be collected, and within which bounds.
///
/// [`output`](Self::output) gives everything with the status as data, [`read`](Self::read) the text
/// of a command that must succeed, [`lines`](Self::lines) one line after the other,
/// [`reader`](Self::reader) the bytes as they come. [`spawn`](Self::spawn) starts it now, to be
/// collected later.
///
/// A stdin, stdout or stderr that the command chooses itself stays as it is. One that it leaves unset
/// is collected; an unset stdin is `/dev/null`, or the [`input`](Self::input).
///
/// Everything is done on the calling thread, in one loop: it feeds and reads whatever is ready.
/// So no sizes and no order of reading and writing can block it, and there is nothing to join. A
/// child may leave a part of its input unread.
///
/// # Bounds
///
/// Without bounds it waits for the end of the output, as a shell's `$(…)` does: a process left in
/// the background that has the pipe holds it up. [`timeout`](Self::timeout),
/// [`pipe_grace`](Self::pipe_grace), [`limit`](Self::limit) and [`canceller`](Self::canceller) put
/// an end to that. When one of them is reached, every stage that runs is killed (all their
/// descendants as well with [`kill_tree`](Self::kill_tree); asked to end first with
/// [`kill_after`](Self::kill_after)) and the error holds what was collected.
/// What was killed is waited for, at most 10 ms, or 100 ms for whole trees; the kernel needs longer
/// only for a process that is stuck in it.
///
/// To give up one wait and not the command, see [`Lines::next_within`],
/// [`OutputReader::read_within`] and [`RunningCapture::collect_for`].
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

/// The command or pipeline to run.
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

    /// Feeds the stdin of the (first) command: with bytes, text, a file, a [reader](Input::reader).
    pub fn input(mut self, input: impl Into<Input<'a>>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// Limits the time from the start to the end of everything. The limit is kept even if another
    /// process still holds a pipe then.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.bounds.timeout = Some(timeout);
        self
    }

    /// Limits how long the output may stay open after the end of every stage. A process that was left
    /// behind keeps it open. After that time it is an [`Error::PipeHeldOpen`], which tells how the
    /// stages ended. A child that this process is starting just then is no holder; 10
    /// ms are added to tell it apart.
    pub fn pipe_grace(mut self, grace: Duration) -> Self {
        self.bounds.pipe_grace = Some(grace);
        self
    }

    /// Limits the bytes that are collected, of all streams together. Of [lines](Self::lines) and of a
    /// [reader](Self::reader): those that are held at once.
    pub fn limit(mut self, bytes: usize) -> Self {
        self.bounds.limit = Some(bytes);
        self
    }

    /// Kills the stages when the capture is dropped before it is over, as
    /// [`Command::kill_on_drop`] does: a future that is not polled any more, [lines](Self::lines) of
    /// which no more are wanted. Otherwise they run on, without a reader.
    pub fn kill_on_drop(mut self) -> Self {
        self.running = match self.running {
            Running::One(command) => Running::One(Box::new(command.kill_on_drop())),
            Running::Many(pipeline) => Running::Many(pipeline.kill_on_drop()),
        };
        self
    }

    /// Lets another thread end the capture.
    pub fn canceller(mut self, canceller: &Canceller) -> Self {
        self.bounds.canceller = Some(canceller.clone());
        self
    }

    /// When a bound is reached, asks the stages to end with SIGTERM first, and kills what still runs
    /// after `grace`. Collecting goes on meanwhile, within the [`limit`](Self::limit), so that what
    /// they say on their way out is in the error. The deadline is late by that much.
    ///
    /// ```
    /// use std::time::Duration;
    /// use pipewright::{Command, Error};
    ///
    /// let script = "trap 'echo tidied up; exit' TERM; echo begun; while :; do sleep 0.01; done";
    /// let error = Command::new("sh").args(["-c", script])
    ///     .capture()
    ///     .timeout(Duration::from_secs(1))
    ///     .kill_after(Duration::from_secs(60))
    ///     .output()
    ///     .unwrap_err();
    /// assert!(matches!(error, Error::TimedOut { .. }));
    /// println!("{:?}", error.collected()); // begun, tidied up
    /// ```
    pub fn kill_after(mut self, grace: Duration) -> Self {
        self.bounds.kill_after = Some(grace);
        self
    }

    /// Kills everything that was started when a bound is reached, and not only the stages:
    /// as [`Child::kill_tree`](crate::Child::kill_tree) does. With
    /// [`Command::own_tree`] that reaches daemons, too.
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
    /// - [`Error::CaptureFailed`] when the kernel refuses, the input's reader fails, the output does
    ///   not fit into memory, or a stage's status is lost. What ran is killed then, and the error
    ///   holds what was collected.
    pub fn output(self) -> Result<Output> {
        self.spawn()?.output()
    }

    /// Starts it, to be collected later: see [`RunningCapture`].
    ///
    /// # Errors
    ///
    /// As the start in [`output`](Self::output).
    pub fn spawn(self) -> Result<RunningCapture<'a>> {
        Ok(RunningCapture::new(self.start()?))
    }

    /// Runs it, and gives its stdout as text, without the newlines at its end, as `$(…)` does.
    ///
    /// # Errors
    ///
    /// As [`output`](Self::output), [`Error::Failed`] when it did not succeed, and
    /// [`Error::NotUtf8`].
    pub fn read(self) -> Result<String> {
        read(self.output()?)
    }

    /// Starts it, and gives the lines of its stdout as they come: see [`Lines`].
    ///
    /// # Errors
    ///
    /// As the start in [`output`](Self::output).
    pub fn lines(self) -> Result<Lines<'a>> {
        Ok(Lines::new(self.start()?))
    }

    /// Starts it, and gives the lines of its stdout and of every stage's stderr as they come, each
    /// with its origin: see [`TaggedLines`].
    ///
    /// # Errors
    ///
    /// As the start in [`output`](Self::output).
    pub fn tagged_lines(self) -> Result<TaggedLines<'a>> {
        Ok(TaggedLines::new(self.start()?))
    }

    /// Starts it, and gives the bytes of its stdout as they come: see [`OutputReader`].
    ///
    /// # Errors
    ///
    /// As the start in [`output`](Self::output).
    pub fn reader(self) -> Result<OutputReader<'a>> {
        Ok(OutputReader::new(self.start()?))
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
                pipeline.spread_stderr()?;
                pipeline.check()?;
                let mut input = Some(self.input);
                let count = pipeline.commands().len();
                pipeline.change_each(|index, mut command| {
                    if let Some(input) = input.take() {
                        command = connect_input(command, input, &mut feed)?;
                    }
                    if index + 1 == count {
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
    /// Once it is finished. A status that is lost does not take the bytes with it.
    fn into_output(mut self) -> Result<Output> {
        match self.status() {
            Ok(status) => Ok(Output::new(status, self.take_collected())),
            Err(error) => Err(self.with_collected(error)),
        }
    }
}
