//! Output as lines, while the command runs.

use std::iter::FusedIterator;
use std::time::Duration;

use super::exchange::{Exchange, Turn};
use super::output::{failure, text};
use super::splitter::{Piece, Splitter};
use super::stream::{Keep, OutputStream, Stream};
use crate::error::{Error, Result};
use crate::pipeline::{PipelineStatus, RunningPipeline};
use crate::poll::Deadline;

/// One line of a command's output, and where it came from: see [`TaggedLines`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// The stream that it was written to.
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
/// that is not UTF-8 the next line. [`next_bytes`](Self::next_bytes) takes any bytes for a line.
///
/// Their stderr is read meanwhile, so that the stages cannot block on it, and its end is kept for the
/// error. At most a line (see [`limit`](super::Capture::limit)) and a few KiB are
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
pub struct Lines<'a>(Split<'a>);

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
///         _ => {}
///     }
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is read, and the command waits, until the lines are asked for"]
pub struct TaggedLines<'a>(Split<'a>);

macro_rules! shared_methods {
    ($iterator:ident) => {
        impl $iterator<'_> {
            /// The status of every stage. `None` until the iterator has come to its end, and after a
            /// bound was reached.
            pub fn status(&self) -> Option<&PipelineStatus> {
                self.0.status.as_ref()
            }

            /// The stages that run, for their ids and for signals.
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
        Self(Split::of_stdout(exchange))
    }

    /// The next line as bytes: what is not UTF-8 is no error.
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// let latin_1 = Command::new("printf").arg(r"f\374r\n");
    /// let mut lines = latin_1.capture().lines()?;
    /// while let Some(line) = lines.next_bytes() {
    ///     assert_eq!(line?, b"f\xfcr");
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn next_bytes(&mut self) -> Option<Result<Vec<u8>>> {
        let found = self.0.next(Deadline::NEVER)?;
        Some(found.map(|(_, piece)| piece.bytes))
    }

    /// The next line, if it comes within this time; otherwise [`Error::NothingYet`], and the command
    /// runs on. The next call goes on where this one was.
    ///
    /// ```
    /// use std::time::Duration;
    /// use pipewright::{Command, Error};
    ///
    /// let (stdin, mut writer) = pipewright::pipe()?;
    /// let mut lines = Command::new("cat").stdin(stdin).capture().lines()?;
    /// let nothing = lines.next_within(Duration::from_millis(10));
    /// assert!(matches!(nothing, Some(Err(Error::NothingYet { .. }))));
    /// std::io::Write::write_all(&mut writer, b"late\n")?;
    /// assert_eq!(lines.next_within(Duration::from_secs(60)).expect("a line")?, "late");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn next_within(&mut self, time: Duration) -> Option<Result<String>> {
        Some(self.0.next_within(time)?.map(|line| line.text))
    }
}

impl Iterator for Lines<'_> {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Result<String>> {
        Some(self.0.next_line(Deadline::NEVER)?.map(|line| line.text))
    }
}

impl<'a> TaggedLines<'a> {
    pub(super) fn new(exchange: Exchange<'a>) -> Self {
        Self(Split::new(exchange))
    }

    /// The next line as bytes, and where it came from: what is not UTF-8 is no error.
    pub fn next_bytes(&mut self) -> Option<Result<(OutputStream, Vec<u8>)>> {
        let found = self.0.next(Deadline::NEVER)?;
        Some(found.map(|(from, piece)| (from, piece.bytes)))
    }

    /// The next line, if it comes within this time: see [`Lines::next_within`].
    pub fn next_within(&mut self, time: Duration) -> Option<Result<Line>> {
        self.0.next_within(time)
    }
}

impl Iterator for TaggedLines<'_> {
    type Item = Result<Line>;

    fn next(&mut self) -> Option<Result<Line>> {
        self.0.next_line(Deadline::NEVER)
    }
}

/// The output of an exchange, cut into lines.
#[derive(Debug)]
pub(super) struct Split<'a> {
    pub(super) exchange: Exchange<'a>,
    /// One for each stream of the exchange.
    splitters: Vec<Splitter>,
    pub(super) status: Option<PipelineStatus>,
    pub(super) done: bool,
}

impl<'a> Split<'a> {
    /// Of stdout only; of every stderr the end is kept for errors.
    pub(super) fn of_stdout(mut exchange: Exchange<'a>) -> Self {
        exchange.keep_tails_of_stderr();
        Self::new(exchange)
    }

    pub(super) fn new(exchange: Exchange<'a>) -> Self {
        Self {
            splitters: vec![Splitter::default(); exchange.streams.len()],
            exchange,
            status: None,
            done: false,
        }
    }

    fn next_within(&mut self, time: Duration) -> Option<Result<Line>> {
        let found = self.next_line(Deadline::after(time));
        found.or_else(|| (!self.done).then(|| Err(self.exchange.nothing_yet(time))))
    }

    /// The next line. `None` at the end, and if there is none by then.
    fn next_line(&mut self, until: Deadline) -> Option<Result<Line>> {
        let found = self.next(until)?;
        Some(found.and_then(|(from, piece)| self.line(from, piece)))
    }

    /// Any line as text.
    pub(super) fn line(&self, from: OutputStream, piece: Piece) -> Result<Line> {
        let text = text(piece.bytes, piece.offset, || self.exchange.running().name())?;
        Ok(Line { from, text })
    }

    fn next(&mut self, until: Deadline) -> Option<Result<(OutputStream, Piece)>> {
        loop {
            if let Some(found) = self.buffered() {
                return Some(Ok(found));
            }
            if self.done {
                return None;
            }
            let turn = self.exchange.turn(until);
            let idle = matches!(turn, Ok(Turn::Idle));
            if let Some(error) = self.after(turn) {
                return Some(Err(error));
            }
            if idle && until.has_passed() {
                return None;
            }
        }
    }

    /// A line that is there already.
    pub(super) fn buffered(&mut self) -> Option<(OutputStream, Piece)> {
        let mut streams = self.splitters.iter_mut().zip(&mut self.exchange.streams);
        streams.find_map(|(splitter, stream)| {
            if stream.keep == Keep::Tail {
                return None;
            }
            let piece = splitter.next(&mut stream.buffer, stream.reader.is_none())?;
            Some((stream.from, piece))
        })
    }

    /// Takes note of the end of a turn. Gives an error if there is one to be told.
    pub(super) fn after(&mut self, turn: Result<Turn>) -> Option<Error> {
        let error = match turn {
            Ok(Turn::Moved | Turn::Idle) => return None,
            Ok(Turn::Finished) => match self.exchange.status() {
                Ok(status) => {
                    let failure = self.exchange.failure(&status);
                    self.status = Some(status);
                    failure
                }
                Err(error) => Some(error),
            },
            Err(error) => Some(error),
        };
        self.done = true;
        self.splitters.clear();
        error
    }
}

impl Exchange<'_> {
    /// Keeps of every stderr only its end, for an error.
    pub(super) fn keep_tails_of_stderr(&mut self) {
        for stream in &mut self.streams {
            if stream.from != OutputStream::Stdout {
                stream.keep = Keep::Tail;
            }
        }
    }

    /// The error of a pipeline that failed.
    pub(super) fn failure(&self, status: &PipelineStatus) -> Option<Error> {
        failure(status, |stage| {
            let written = |it: &&Stream| it.from == OutputStream::Stderr(stage);
            let stream = self.streams.iter().find(written);
            stream.map_or(&[][..], |stream| stream.buffer.as_slice())
        })
    }

    pub(super) fn nothing_yet(&self, time: Duration) -> Error {
        Error::NothingYet {
            name: self.running().name(),
            time,
        }
    }
}
