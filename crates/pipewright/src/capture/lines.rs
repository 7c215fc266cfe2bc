//! Output as lines, while the command runs.

use std::iter::FusedIterator;

use super::exchange::{Exchange, Turn, Wait};
use super::output::{failure, text};
use super::stream::{Keep, OutputStream, Stream};
use crate::error::Result;
use crate::pipeline::{PipelineStatus, RunningPipeline};

/// One line of a command's output, and where it came from: see [`TaggedLines`].
///
/// ```
/// use pipewright::{Command, OutputStream};
///
/// let mut lines = Command::new("printf").arg("text\r\n").capture().tagged_lines()?;
/// let line = lines.next().expect("one line")?;
/// assert_eq!(line.from, OutputStream::Stdout);
/// assert_eq!(line.text, "text");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// Which stream it was written to.
    pub from: OutputStream,
    /// The line without its newline.
    pub text: String,
}

/// The lines of a command's stdout, as they come. Made by [`Capture::lines`](super::Capture::lines).
///
/// Each is without its newline (and without the carriage return before it); the last one may have
/// had none. The iterator ends when the output and every stage have ended. **A failure is never
/// silent**: a stage that failed, a [bound](super::Capture#bounds) that was reached and a line that
/// is not UTF-8 are each an `Err` item. After a failed status or a bound comes `None`; after a line
/// that is not UTF-8 the next line.
///
/// What the stages write to stderr meanwhile is read, so that they cannot block on it, and its end
/// is kept for the error. At most a line (see [`limit`](super::Capture::limit)) and a few KiB are
/// held, however much is written.
///
/// Dropping it early closes the pipes: the command learns by SIGPIPE that no more is wanted.
///
/// ```
/// use pipewright::{Command, Error};
///
/// let mut lines = Command::new("sh").args(["-c", "echo one; echo two; exit 4"]).capture().lines()?;
/// assert_eq!(lines.next().unwrap()?, "one");
/// assert_eq!(lines.next().unwrap()?, "two");
/// assert!(matches!(lines.next(), Some(Err(Error::Failed { exit_code: 4, .. }))));
/// assert!(lines.next().is_none());
/// assert_eq!(lines.status().expect("it has ended").exit_code(), 4);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is read, and the command waits, until the lines are asked for"]
pub struct Lines<'a>(pub(super) Splitter<'a>);

/// The lines of a command's stdout and of every stage's stderr, as they come, each with its origin.
/// Made by [`Capture::tagged_lines`](super::Capture::tagged_lines).
///
/// It ends, and tells of failures, as [`Lines`] does. The lines of one stream are in their order;
/// between streams the order is that in which they were found, which is close to that in which they
/// were written and not promised to be it.
///
/// ```
/// use pipewright::{Command, OutputStream};
///
/// let script = "echo result; echo warning >&2";
/// for line in Command::new("sh").args(["-c", script]).capture().tagged_lines()? {
///     let line = line?;
///     match line.from {
///         OutputStream::Stdout => assert_eq!(line.text, "result"),
///         OutputStream::Stderr(stage) => assert_eq!((stage, &*line.text), (0, "warning")),
///     }
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is read, and the command waits, until the lines are asked for"]
pub struct TaggedLines<'a>(pub(super) Splitter<'a>);

macro_rules! shared_methods {
    ($iterator:ident) => {
        impl $iterator<'_> {
            /// How every stage ended. `None` until the iterator has come to its end, and after a
            /// bound was reached.
            ///
            /// ```
            /// use pipewright::Command;
            ///
            /// let mut lines = Command::new("echo").arg("only").capture().lines()?;
            /// assert!(lines.status().is_none());
            /// assert_eq!(lines.by_ref().count(), 1);
            /// assert!(lines.status().is_some_and(|status| status.success()));
            /// # Ok::<(), std::io::Error>(())
            /// ```
            pub fn status(&self) -> Option<&PipelineStatus> {
                self.0.status.as_ref()
            }

            /// The stages that run, for their ids and for signals.
            ///
            /// ```
            /// use pipewright::{Command, Signal};
            ///
            /// let sleeps = Command::new("sleep").arg("60");
            /// let mut lines = sleeps.capture().lines()?;
            /// lines.running().signal(Signal::TERM)?;
            /// let error = lines.next().expect("it tells how that ended").unwrap_err();
            /// assert_eq!(error.to_string(), "sleep 60 failed: killed by SIGTERM");
            /// # Ok::<(), std::io::Error>(())
            /// ```
            pub fn running(&self) -> &RunningPipeline {
                self.0.exchange.running()
            }
        }

        impl FusedIterator for $iterator<'_> {}
    };
}

shared_methods!(Lines);
shared_methods!(TaggedLines);

impl<'a> Lines<'a> {
    pub(super) fn new(exchange: Exchange<'a>) -> Self {
        Self(Splitter::of_stdout(exchange))
    }
}

impl Iterator for Lines<'_> {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Result<String>> {
        Some(self.0.next()?.map(|line| line.text))
    }
}

impl<'a> TaggedLines<'a> {
    pub(super) fn new(exchange: Exchange<'a>) -> Self {
        Self(Splitter::new(exchange))
    }
}

impl Iterator for TaggedLines<'_> {
    type Item = Result<Line>;

    fn next(&mut self) -> Option<Result<Line>> {
        self.0.next()
    }
}

/// Splits what an exchange collects into lines.
#[derive(Debug)]
pub(super) struct Splitter<'a> {
    pub(super) exchange: Exchange<'a>,
    /// One for each stream of the exchange.
    cursors: Vec<Cursor>,
    pub(super) status: Option<PipelineStatus>,
    pub(super) done: bool,
}

/// How far a stream's buffer was given out.
#[derive(Debug, Default, Clone)]
struct Cursor {
    /// The first byte that was not.
    start: usize,
    /// Up to here there is no newline after `start`.
    scanned: usize,
    /// The position of the buffer's first byte in the whole stream.
    offset: u64,
}

impl<'a> Splitter<'a> {
    /// Of stdout only; of every stderr the end is kept for errors.
    pub(super) fn of_stdout(mut exchange: Exchange<'a>) -> Self {
        for stream in &mut exchange.streams {
            if stream.from != OutputStream::Stdout {
                stream.keep = Keep::Tail;
            }
        }
        Self::new(exchange)
    }

    pub(super) fn new(exchange: Exchange<'a>) -> Self {
        Self {
            cursors: vec![Cursor::default(); exchange.streams.len()],
            exchange,
            status: None,
            done: false,
        }
    }

    fn next(&mut self) -> Option<Result<Line>> {
        loop {
            if let Some(line) = self.buffered() {
                return Some(line);
            }
            if self.done {
                return None;
            }
            let turn = self.exchange.turn(Wait::Event);
            if let Some(error) = self.after(turn) {
                return Some(error);
            }
        }
    }

    /// A line that is there already.
    pub(super) fn buffered(&mut self) -> Option<Result<Line>> {
        for index in 0..self.cursors.len() {
            if let Some((bytes, offset)) = self.take_line(index) {
                let from = self.exchange.streams[index].from;
                let line = text(bytes, offset, || self.exchange.running().name());
                return Some(line.map(|text| Line { from, text }));
            }
        }
        None
    }

    /// What the end of a turn means: an error to be told, or nothing.
    pub(super) fn after(&mut self, turn: Result<Turn>) -> Option<Result<Line>> {
        let error = match turn {
            Ok(Turn::Finished) => match self.exchange.status() {
                Ok(status) => {
                    let streams = &self.exchange.streams;
                    let stderr = |stage| {
                        let written = |it: &&Stream| it.from == OutputStream::Stderr(stage);
                        let stream = streams.iter().find(written);
                        stream.map_or(&[][..], |stream| stream.buffer.as_slice())
                    };
                    let failure = failure(&status, stderr);
                    self.status = Some(status);
                    failure
                }
                Err(error) => Some(error),
            },
            Ok(Turn::Moved | Turn::Idle) => return None,
            Err(error) => Some(error),
        };
        self.done = true;
        self.cursors.clear();
        error.map(Err)
    }

    /// The next whole line of a stream, and its position in it.
    fn take_line(&mut self, index: usize) -> Option<(Vec<u8>, u64)> {
        let (cursor, stream) = (&mut self.cursors[index], &mut self.exchange.streams[index]);
        if stream.keep == Keep::Tail {
            return None;
        }
        let buffer = &mut stream.buffer;
        let newline = buffer[cursor.scanned..]
            .iter()
            .position(|&byte| byte == b'\n')
            .map(|position| cursor.scanned + position);
        let (end, next) = match newline {
            Some(newline) => (newline, newline + 1),
            None if stream.reader.is_none() && cursor.start < buffer.len() => {
                (buffer.len(), buffer.len())
            }
            None => {
                // Once for each read, not for each line.
                buffer.drain(..cursor.start);
                cursor.offset += cursor.start as u64;
                cursor.start = 0;
                cursor.scanned = buffer.len();
                return None;
            }
        };
        let offset = cursor.offset + cursor.start as u64;
        let line = &buffer[cursor.start..end];
        let line = match newline {
            Some(_) => line.strip_suffix(b"\r").unwrap_or(line),
            None => line,
        };
        let line = line.to_vec();
        cursor.start = next;
        cursor.scanned = next;
        Some((line, offset))
    }
}
