//! Collecting output on tokio: the same turns, between which the task waits.

use super::exchange::{Exchange, Turn};
use super::lines::{Line, Split};
use super::output::Output;
use super::splitter::Piece;
use super::stream::OutputStream;
use super::{Capture, read};
use crate::asynchronous::Events;
use crate::error::Result;
use crate::pipeline::{PipelineStatus, RunningPipeline};
use crate::poll::Deadline;

/// Does the next thing that can be done, once something can be.
async fn turn(exchange: &mut Exchange<'_>, events: &Events) -> Result<Turn> {
    if exchange.is_over() {
        // Nothing is left that could become ready.
        return exchange.turn(Deadline::now());
    }
    let deadline = exchange.next_deadline().instant();
    let mut look = || match exchange.turn(Deadline::now())? {
        Turn::Idle => Ok(None),
        turn => Ok(Some(turn)),
    };
    match deadline {
        None => events.until(look).await,
        Some(deadline) => {
            let in_time = tokio::time::timeout_at(deadline.into(), events.until(&mut look)).await;
            // The deadline has passed: a last look finds that, and gives up.
            in_time.unwrap_or_else(|_| Ok(look()?.unwrap_or(Turn::Moved)))
        }
    }
}

impl<'a> Capture<'a> {
    /// [`output`](Capture::output) without blocking the thread. Needs the feature `tokio`.
    ///
    /// Nothing is started before the first poll. Dropping the future closes the pipes; the stages
    /// run on, or are killed with [`kill_on_drop`](Capture::kill_on_drop).
    ///
    /// # Errors
    ///
    /// As [`output`](Capture::output).
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, or in one without I/O; with a bound in time, in one without time.
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pipewright::Result<()> {
    /// let (sorted, counted) = tokio::join!(
    ///     Command::new("sort").capture().input("b\na\n").output_async(),
    ///     Command::new("wc").arg("-c").capture().input("12345").read_async(),
    /// );
    /// assert_eq!(sorted?.stdout, b"a\nb\n");
    /// assert_eq!(counted?, "5");
    /// # Ok(()) }
    /// ```
    pub async fn output_async(self) -> Result<Output> {
        let mut exchange = self.start()?;
        let events = Events::new(exchange.watched())?;
        while turn(&mut exchange, &events).await? != Turn::Finished {}
        exchange.into_output()
    }

    /// [`read`](Capture::read) without blocking the thread: see
    /// [`output_async`](Self::output_async).
    ///
    /// # Errors
    ///
    /// As [`read`](Capture::read).
    ///
    /// # Panics
    ///
    /// As [`output_async`](Self::output_async).
    pub async fn read_async(self) -> Result<String> {
        read(self.output_async().await?)
    }

    /// Starts it, and gives the lines of its stdout as they come: see [`AsyncLines`]. Needs the
    /// feature `tokio`.
    ///
    /// # Errors
    ///
    /// As [`lines`](Capture::lines).
    ///
    /// # Panics
    ///
    /// As [`output_async`](Self::output_async).
    pub fn lines_async(self) -> Result<AsyncLines<'a>> {
        AsyncLines::new(Split::of_stdout(self.start()?))
    }

    /// Starts it, and gives the lines of its stdout and of every stage's stderr as they come: see
    /// [`AsyncLines`]. Needs the feature `tokio`.
    ///
    /// # Errors
    ///
    /// As [`lines`](Capture::lines).
    ///
    /// # Panics
    ///
    /// As [`output_async`](Self::output_async).
    pub fn tagged_lines_async(self) -> Result<AsyncLines<'a>> {
        AsyncLines::new(Split::new(self.start()?))
    }
}

/// The lines of a command's output, for tasks. It ends, and tells of failures, as
/// [`Lines`](crate::Lines) does. Needs the feature `tokio`.
#[derive(Debug)]
#[must_use = "nothing is read, and the command waits, until the lines are asked for"]
pub struct AsyncLines<'a> {
    split: Split<'a>,
    events: Events,
}

impl<'a> AsyncLines<'a> {
    fn new(split: Split<'a>) -> Result<Self> {
        let events = Events::new(split.exchange.watched())?;
        Ok(Self { split, events })
    }

    /// The next line, `None` at the end.
    ///
    /// Dropping the future loses nothing: the next call goes on where it was, so that it can stand
    /// in a `select!`.
    pub async fn next_line(&mut self) -> Option<Result<Line>> {
        let found = self.next().await?;
        Some(found.and_then(|(from, piece)| self.split.line(from, piece)))
    }

    /// The next line as bytes, and where it came from: what is not UTF-8 is no error. Otherwise as
    /// [`next_line`](Self::next_line).
    pub async fn next_bytes(&mut self) -> Option<Result<(OutputStream, Vec<u8>)>> {
        let found = self.next().await?;
        Some(found.map(|(from, piece)| (from, piece.bytes)))
    }

    async fn next(&mut self) -> Option<Result<(OutputStream, Piece)>> {
        loop {
            if let Some(found) = self.split.buffered() {
                return Some(Ok(found));
            }
            if self.split.done {
                return None;
            }
            let turn = turn(&mut self.split.exchange, &self.events).await;
            if let Some(error) = self.split.after(turn) {
                return Some(Err(error));
            }
        }
    }

    /// The status of every stage. `None` until the lines have come to their end, and after a bound was
    /// reached.
    pub fn status(&self) -> Option<&PipelineStatus> {
        self.split.status.as_ref()
    }

    /// The stages that run, for their ids and for signals.
    pub fn running(&self) -> &RunningPipeline {
        self.split.exchange.running()
    }
}
