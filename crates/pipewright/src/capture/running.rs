//! A capture that was started, to be collected later or bit by bit.

use std::io::{self, Read};
use std::time::Duration;

use super::exchange::{Exchange, Turn};
use super::lines::{Lines, TaggedLines};
use super::output::Output;
use super::stream::OutputStream;
use super::{Collected, read};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::pipeline::{PipelineStatus, RunningPipeline};
use crate::poll::Deadline;

/// A capture whose command runs, while this process does something else. Made by
/// [`Capture::spawn`](super::Capture::spawn).
///
/// No thread collects meanwhile. What is written waits in the pipes, and a command that has filled
/// one waits, too, until [`output`](Self::output) or another method here reads on;
/// [`collect_for`](Self::collect_for) does so for a while. The bounds of the capture are looked at
/// only then; a [timeout](super::Capture::timeout) still counts from the start.
///
/// Dropping it closes the pipes, and neither waits nor kills, unless
/// [`kill_on_drop`](super::Capture::kill_on_drop) was asked for.
///
/// ```
/// use pipewright::Command;
///
/// let sorted = ["b\na\n", "d\nc\n"].map(|text| Command::new("sort").capture().input(text).spawn());
/// // Both run at once.
/// let sorted = sorted.map(|running| running.and_then(|running| running.read()));
/// assert_eq!(sorted.map(|text| text.expect("it sorts")), ["a\nb", "c\nd"]);
/// ```
#[derive(Debug)]
#[must_use = "the command waits once its pipes are full, until its output is asked for"]
pub struct RunningCapture<'a>(Exchange<'a>);

impl<'a> RunningCapture<'a> {
    pub(super) fn new(exchange: Exchange<'a>) -> Self {
        Self(exchange)
    }

    /// Collects the rest, until it has ended: see [`Capture::output`](super::Capture::output).
    ///
    /// # Errors
    ///
    /// As there, apart from those of the start.
    pub fn output(mut self) -> Result<Output> {
        while self.0.turn(Deadline::NEVER)? != Turn::Finished {}
        self.0.into_output()
    }

    /// The rest of its stdout as text: see [`Capture::read`](super::Capture::read).
    ///
    /// # Errors
    ///
    /// As there, apart from those of the start.
    pub fn read(self) -> Result<String> {
        read(self.output()?)
    }

    /// The lines of its stdout as they come: see [`Lines`].
    pub fn lines(self) -> Lines<'a> {
        Lines::new(self.0)
    }

    /// The lines of all streams as they come: see [`TaggedLines`].
    pub fn tagged_lines(self) -> TaggedLines<'a> {
        TaggedLines::new(self.0)
    }

    /// The bytes of its stdout as they come: see [`OutputReader`].
    pub fn reader(self) -> OutputReader<'a> {
        OutputReader::new(self.0)
    }

    /// Feeds and collects for this long, or until all has ended, and gives what has come meanwhile.
    /// The command runs on.
    ///
    /// ```
    /// use std::time::Duration;
    /// use pipewright::Command;
    ///
    /// let (stdin, mut writer) = pipewright::pipe()?;
    /// let mut running = Command::new("cat").stdin(stdin).capture().spawn()?;
    /// std::io::Write::write_all(&mut writer, b"in time")?;
    /// let mut collected = Vec::new();
    /// while collected.len() < 7 {
    ///     collected.extend(running.collect_for(Duration::from_millis(50))?.stdout);
    /// }
    /// assert_eq!(collected, b"in time");
    /// assert!(!running.has_ended()); // and it can be asked again
    /// drop(writer);
    /// assert_eq!(running.output()?.stdout, b""); // what was taken is not told again
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`output`](Self::output), when a bound of the whole capture is reached.
    pub fn collect_for(&mut self, time: Duration) -> Result<Collected> {
        let until = Deadline::after(time);
        loop {
            match self.0.turn(until)? {
                Turn::Finished => break,
                // Also of one that is always ready.
                Turn::Moved | Turn::Idle if until.has_passed() => break,
                Turn::Moved | Turn::Idle => {}
            }
        }
        Ok(self.0.take_collected())
    }

    /// Tells whether its output and all stages had ended when it was last collected from.
    pub fn has_ended(&self) -> bool {
        self.0.is_over()
    }

    /// The stages that run, for their ids and for signals.
    pub fn running(&self) -> &RunningPipeline {
        self.0.running()
    }
}

/// The bytes of a command's stdout, as they come. Made by
/// [`Capture::reader`](super::Capture::reader).
///
/// It reads to the end of the output; there the last read is an error if a stage failed, so that
/// what looks complete is. The error's source is an [`Error::Failed`] with the end of the stage's
/// stderr, which is read meanwhile. A [bound](super::Capture#bounds) that is reached is an error in
/// the same way.
///
/// Dropping it early closes the pipes: the command learns by SIGPIPE that no more is wanted.
///
/// ```
/// use std::io::Read;
/// use pipewright::Command;
///
/// let mut reader = Command::new("sh").args(["-c", "echo data; echo why >&2; exit 3"])
///     .capture()
///     .reader()?;
/// let mut data = String::new();
/// let error = reader.read_to_string(&mut data).unwrap_err();
/// assert!(error.to_string().ends_with("failed: exit status 3: why"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is read, and the command waits, until the bytes are asked for"]
pub struct OutputReader<'a> {
    exchange: Exchange<'a>,
    /// The bytes of stdout's buffer that were given out.
    given: usize,
    status: Option<PipelineStatus>,
    done: bool,
}

impl<'a> OutputReader<'a> {
    pub(super) fn new(mut exchange: Exchange<'a>) -> Self {
        exchange.keep_tails_of_stderr();
        Self {
            exchange,
            given: 0,
            status: None,
            done: false,
        }
    }

    /// Reads what comes within this time; otherwise [`Error::NothingYet`], and the command runs on.
    /// 0 is the end.
    ///
    /// # Errors
    ///
    /// [`Error::NothingYet`]; at the end, [`Error::Failed`]; and those of a
    /// [bound](super::Capture#bounds).
    pub fn read_within(&mut self, buffer: &mut [u8], time: Duration) -> Result<usize> {
        let until = Deadline::after(time);
        let count = self.read_until(buffer, until)?;
        count.ok_or_else(|| self.exchange.nothing_yet(time))
    }

    /// The status of every stage. `None` until the end was read, and after a bound was reached.
    pub fn status(&self) -> Option<&PipelineStatus> {
        self.status.as_ref()
    }

    /// The stages that run, for their ids and for signals.
    pub fn running(&self) -> &RunningPipeline {
        self.exchange.running()
    }

    /// `None`: there is nothing by then.
    fn read_until(&mut self, buffer: &mut [u8], until: Deadline) -> Result<Option<usize>> {
        loop {
            let streams = &mut self.exchange.streams;
            let stdout = streams
                .iter_mut()
                .find(|it| it.from == OutputStream::Stdout);
            let held = stdout.map_or(&mut [][..], |it| &mut it.buffer[self.given..]);
            if !held.is_empty() || buffer.is_empty() {
                let count = held.len().min(buffer.len());
                buffer[..count].copy_from_slice(&held[..count]);
                self.given += count;
                return Ok(Some(count));
            }
            if self.done {
                return Ok(Some(0));
            }
            self.forget_given();
            match self.exchange.turn(until) {
                Ok(Turn::Idle) if until.has_passed() => return Ok(None),
                Ok(Turn::Moved | Turn::Idle) => {}
                Ok(Turn::Finished) => {
                    self.done = true;
                    let status = self.exchange.status()?;
                    let failure = self.exchange.failure(&status);
                    self.status = Some(status);
                    if let Some(error) = failure {
                        return Err(error);
                    }
                }
                Err(error) => {
                    self.done = true;
                    return Err(error);
                }
            }
        }
    }

    fn forget_given(&mut self) {
        for stream in &mut self.exchange.streams {
            if stream.from == OutputStream::Stdout {
                stream.buffer.clear();
            }
        }
        self.given = 0;
    }
}

impl Read for OutputReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.read_until(buffer, Deadline::NEVER)?;
        Ok(count.unwrap_or(0))
    }
}
