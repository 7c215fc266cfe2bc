//! Collecting output on tokio: the same turns, between which the task waits.

use super::exchange::{Exchange, Turn, Wait};
use super::lines::{Line, Splitter};
use super::output::Output;
use super::{Capture, read};
use crate::asynchronous::Events;
use crate::error::Result;
use crate::pipeline::{PipelineStatus, RunningPipeline};

/// Does the next thing that can be done, once something can be.
async fn turn(exchange: &mut Exchange<'_>, events: &Events) -> Result<Turn> {
    if exchange.is_over() {
        // Nothing is left that could become ready.
        return exchange.turn(Wait::Look);
    }
    let deadline = exchange.next_deadline();
    let mut look = || match exchange.turn(Wait::Look)? {
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
    ///
    /// ```
    /// use pipewright::{Command, Error};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pipewright::Result<()> {
    /// let sorted = Command::new("sort").capture().input("b\na\n").read_async().await?;
    /// assert_eq!(sorted, "a\nb");
    /// let failed = Command::new("false").capture().read_async().await;
    /// assert!(matches!(failed, Err(Error::Failed { exit_code: 1, .. })));
    /// # Ok(()) }
    /// ```
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
    ///
    /// ```
    /// use std::time::Duration;
    /// use pipewright::Command;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pipewright::Result<()> {
    /// let waits = Command::new("sh").args(["-c", "echo one; exec sleep 60"]);
    /// let mut lines = waits.capture().kill_on_drop().lines_async()?;
    /// assert_eq!(lines.next_line().await.expect("the first line")?.text, "one");
    /// let no_more = tokio::time::timeout(Duration::from_millis(5), lines.next_line()).await;
    /// assert!(no_more.is_err()); // the task was free meanwhile
    /// # Ok(()) }
    /// ```
    pub fn lines_async(self) -> Result<AsyncLines<'a>> {
        AsyncLines::new(Splitter::of_stdout(self.start()?))
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
    ///
    /// ```
    /// use pipewright::{Command, OutputStream};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pipewright::Result<()> {
    /// let warns = Command::new("sh").args(["-c", "echo careful >&2"]);
    /// let mut lines = warns.capture().tagged_lines_async()?;
    /// let line = lines.next_line().await.expect("one line")?;
    /// assert_eq!((line.from, &*line.text), (OutputStream::Stderr(0), "careful"));
    /// # Ok(()) }
    /// ```
    pub fn tagged_lines_async(self) -> Result<AsyncLines<'a>> {
        AsyncLines::new(Splitter::new(self.start()?))
    }
}

/// The lines of a command's output, for tasks. It ends, and tells of failures, as
/// [`Lines`](crate::Lines) does. Needs the feature `tokio`.
///
/// ```
/// use pipewright::Command;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pipewright::Result<()> {
/// let mut lines = Command::new("seq").arg("3").capture().lines_async()?;
/// let mut sum = 0;
/// while let Some(line) = lines.next_line().await {
///     sum += line?.text.parse::<u32>().expect("a number");
/// }
/// assert_eq!(sum, 6);
/// assert!(lines.status().expect("it has ended").success());
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "nothing is read, and the command waits, until the lines are asked for"]
pub struct AsyncLines<'a> {
    splitter: Splitter<'a>,
    events: Events,
}

impl<'a> AsyncLines<'a> {
    fn new(splitter: Splitter<'a>) -> Result<Self> {
        let events = Events::new(splitter.exchange.watched())?;
        Ok(Self { splitter, events })
    }

    /// The next line, `None` at the end.
    ///
    /// Dropping the future loses nothing: the next call goes on where it was, so that it can stand
    /// in a `select!`.
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pipewright::Result<()> {
    /// let mut one = Command::new("echo").arg("one").capture().lines_async()?;
    /// let mut two = Command::new("echo").arg("two").capture().lines_async()?;
    /// let first = tokio::select! {
    ///     line = one.next_line() => line,
    ///     line = two.next_line() => line,
    /// };
    /// assert!(["one", "two"].contains(&&*first.expect("a line")?.text));
    /// # Ok(()) }
    /// ```
    pub async fn next_line(&mut self) -> Option<Result<Line>> {
        loop {
            if let Some(line) = self.splitter.buffered() {
                return Some(line);
            }
            if self.splitter.done {
                return None;
            }
            let turn = turn(&mut self.splitter.exchange, &self.events).await;
            if let Some(error) = self.splitter.after(turn) {
                return Some(error);
            }
        }
    }

    /// How every stage ended. `None` until the lines have come to their end, and after a bound was
    /// reached.
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pipewright::Result<()> {
    /// let mut lines = Command::new("sh").args(["-c", "exit 4"]).capture().lines_async()?;
    /// assert!(lines.status().is_none());
    /// assert!(lines.next_line().await.is_some_and(|line| line.is_err())); // the failure is told
    /// assert_eq!(lines.status().map(|status| status.exit_code()), Some(4));
    /// # Ok(()) }
    /// ```
    pub fn status(&self) -> Option<&PipelineStatus> {
        self.splitter.status.as_ref()
    }

    /// The stages that run, for their ids and for signals.
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pipewright::Result<()> {
    /// let mut lines = Command::new("sh").args(["-c", "echo $$"]).capture().lines_async()?;
    /// let told = lines.next_line().await.expect("one line")?.text;
    /// let child = lines.running().stages()[0].child().expect("it was started");
    /// assert_eq!(told, child.id().to_string());
    /// # Ok(()) }
    /// ```
    pub fn running(&self) -> &RunningPipeline {
        self.splitter.exchange.running()
    }
}
