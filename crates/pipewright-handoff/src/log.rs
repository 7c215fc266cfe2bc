//! A child's log: whole lines, forwarded under its name.
//!
//! Two kinds of thread. A *forwarder* for each child does nothing but read its pipe, so that the pipe
//! never fills up unread, whatever becomes of the sink. The *writer* of a sink writes the lines out.
//! Between them is a queue of bounded size: where the sink is too slow for longer, lines are
//! dropped, and their number is told in their place. A log must not hold up what it tells about.

use std::collections::VecDeque;
use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::error::{Error, Result};
use super::lines::Lines;
use super::link::ParentLink;
use super::wait::{Deadline, wait};
use pipewright::{Child, write_without_sigpipe};

/// Bytes that may wait for a slow sink.
const QUEUE_LIMIT: usize = 8 << 20;

/// The stack of a thread that reads a pipe.
const STACK: usize = 128 * 1024;

/// Under this name a child finds its end of the log pipe.
pub(super) const NAME: &str = "pipewright log";

/// The log pipe of a child that is being started.
pub(super) struct Pending {
    sink: LogSink,
    reader: PipeReader,
}

impl Pending {
    /// From here on the pipe has a reader, until its writer is gone or the child has ended. A start
    /// that failed never comes here, so no forwarder waits for it.
    pub(super) fn forward(self, name: &str, child: &Child) -> Result<()> {
        self.sink.forward(name, self.reader, child.as_fd())
    }
}

/// Where the log lines of children go: a writer in this process, one line after the other, each as
/// `name: text`.
///
/// Clones stand for the same sink. [`finish`](Self::finish) waits for all lines.
///
/// ```
/// use std::io::Write;
/// use std::time::Duration;
/// use pipewright_handoff::{EntryPoints, LogSink, ParentLink, ReExec, Result};
///
/// fn worker(parent: &mut ParentLink) -> Result<()> {
///     let mut log = parent.log()?;
///     writeln!(log, "half done").expect("the parent reads");
///     Ok(())
/// }
/// EntryPoints::new().entry("worker", worker).dispatch();
/// let (reader, writer) = pipewright::pipe()?;
/// let sink = LogSink::new(writer)?;
/// let child = ReExec::new("worker").log(&sink).spawn()?;
/// assert!(sink.finish(Duration::from_secs(10)));
/// drop(sink); // and so the writer
/// assert_eq!(std::io::read_to_string(reader)?, "worker: half done\n");
/// # child.into_child().wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LogSink(Arc<Shared>);

impl Clone for LogSink {
    fn clone(&self) -> Self {
        self.0.state().sources += 1;
        Self(Arc::clone(&self.0))
    }
}

impl Drop for LogSink {
    fn drop(&mut self) {
        self.0.state().sources -= 1;
        self.0.changed.notify_all();
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    /// The bytes in `lines`.
    bytes: usize,
    /// Lines that found no room since the last one that did.
    lost: u64,
    /// Forwarders at work.
    forwarders: usize,
    /// Handles that forwarders may still be started from.
    sources: usize,
    /// The writer has a line in hand.
    writing: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next line; `None` when none can come any more.
    fn next_line(&self) -> Option<Vec<u8>> {
        let mut state = self.state();
        loop {
            if let Some(line) = state.lines.pop_front() {
                state.bytes -= line.len();
                state.writing = true;
                return Some(line);
            }
            if state.sources == 0 && state.forwarders == 0 {
                return None;
            }
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn push(&self, line: Vec<u8>) {
        let mut state = self.state();
        if state.bytes + line.len() > QUEUE_LIMIT {
            state.lost += 1;
            return;
        }
        if state.lost > 0 {
            let note = format!("{} log lines were lost: they came too fast\n", state.lost);
            state.lost = 0;
            state.bytes += note.len();
            state.lines.push_back(note.into_bytes());
        }
        state.bytes += line.len();
        state.lines.push_back(line);
        self.changed.notify_all();
    }
}

impl LogSink {
    /// A sink that writes lines to `to`, from a thread of its own.
    ///
    /// An error of `to` (a full disk, a closed pipe) loses lines and nothing else: the children's
    /// logs are still read.
    ///
    /// # Errors
    ///
    /// [`Error::System`] when no thread can be started.
    ///
    /// ```
    /// use std::os::fd::AsFd;
    /// use std::time::Duration;
    /// use pipewright::Command;
    /// use pipewright_handoff::LogSink;
    ///
    /// let directory = tempfile::tempdir()?;
    /// let path = directory.path().join("log");
    /// let sink = LogSink::new(std::fs::File::create(&path)?)?;
    /// for name in ["a", "b"] {
    ///     let (reader, writer) = pipewright::pipe()?;
    ///     let child = Command::new("echo").arg("done").stdout(writer).spawn()?;
    ///     sink.forward(name, reader, child.as_fd())?;
    /// }
    /// assert!(sink.finish(Duration::from_secs(10)));
    /// let log = std::fs::read_to_string(path)?;
    /// let mut lines: Vec<&str> = log.lines().collect();
    /// lines.sort();
    /// assert_eq!(lines, ["a: done", "b: done"]); // two children, one file
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(to: impl Write + Send + 'static) -> Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                sources: 1,
                ..State::default()
            }),
            changed: Condvar::new(),
        });
        let writers = Arc::clone(&shared);
        start("pipewright log", move || write_lines(&writers, to))?;
        Ok(Self(shared))
    }

    /// Forwards lines from `reader` until nobody can write to it any more, or the process has ended
    /// and all that it wrote was read.
    ///
    /// For logs that come in another way than by [`ReExec::log`](super::ReExec::log): a program's
    /// stderr, say.
    ///
    /// # Errors
    ///
    /// [`Error::System`] when no thread can be started.
    ///
    /// ```
    /// use std::os::fd::AsFd;
    /// use pipewright::Command;
    /// use pipewright_handoff::LogSink;
    ///
    /// let (read_here, writer) = pipewright::pipe()?;
    /// let sink = LogSink::new(writer)?;
    /// let (reader, stderr) = pipewright::pipe()?;
    /// let child = Command::new("sh").args(["-c", "echo careful >&2"]).stderr(stderr).spawn()?;
    /// sink.forward("my shell", reader, child.as_fd())?;
    /// drop(sink);
    /// assert_eq!(std::io::read_to_string(read_here)?, "my shell: careful\n");
    /// # child.wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn forward(&self, name: &str, reader: PipeReader, process: BorrowedFd<'_>) -> Result<()> {
        let process = process
            .try_clone_to_owned()
            .map_err(Error::io("duplicate a pidfd"))?;
        let (shared, name) = (Arc::clone(&self.0), name.to_owned());
        shared.state().forwarders += 1;
        let started = start("pipewright forwarder", {
            let shared = Arc::clone(&shared);
            move || {
                forward(&shared, &name, &reader, &process);
                shared.state().forwarders -= 1;
                shared.changed.notify_all();
            }
        });
        if started.is_err() {
            shared.state().forwarders -= 1;
        }
        started
    }

    /// A pipe for the log of a child that is not there yet, and the child's end of it.
    pub(super) fn pipe(self) -> Result<(Pending, OwnedFd)> {
        let (reader, writer) = pipewright::pipe()?;
        Ok((Pending { sink: self, reader }, writer.into()))
    }

    /// Waits until every child's log has ended and every line was written out; `false` when that has
    /// not happened in time.
    ///
    /// ```
    /// use std::os::fd::AsFd;
    /// use std::time::Duration;
    /// use pipewright::Command;
    /// use pipewright_handoff::LogSink;
    ///
    /// let sink = LogSink::new(std::io::sink())?;
    /// let (reader, stderr) = pipewright::pipe()?;
    /// let child = Command::new("sleep").arg("60").stderr(stderr).kill_on_drop().spawn()?;
    /// sink.forward("sleep", reader, child.as_fd())?;
    /// assert!(!sink.finish(Duration::from_millis(5))); // it could still log something
    /// child.kill()?;
    /// assert!(sink.finish(Duration::from_secs(10)));
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    pub fn finish(&self, timeout: Duration) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.0.state();
        while state.forwarders > 0 || state.writing || !state.lines.is_empty() {
            let left = deadline.map_or(Duration::MAX, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                return false;
            }
            let waited = self.0.changed.wait_timeout(state, left.min(LONGEST_WAIT));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl ParentLink {
    /// Takes the log that the parent gave by [`ReExec::log`](super::ReExec::log).
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take).
    ///
    /// ```
    /// use std::io::Write;
    /// use pipewright_handoff::{EntryPoints, ParentLink, ReExec, Result};
    ///
    /// fn worker(parent: &mut ParentLink) -> Result<()> {
    ///     let mut log = parent.log()?; // there is one only if the parent gave it
    ///     writeln!(log, "ready").expect("the parent reads");
    ///     Ok(())
    /// }
    /// EntryPoints::new().entry("worker", worker).dispatch();
    /// let mut without = ReExec::new("worker").spawn()?;
    /// let error = without.channel().receive::<()>().unwrap_err().to_string();
    /// assert!(error.contains("was not handed over; there is none"));
    /// # without.into_child().wait()?;
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    pub fn log(&mut self) -> Result<Log> {
        self.take(NAME).map(Log::new)
    }
}

/// What a condition variable can be asked to wait without an overflow of the clock.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

fn start(name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK)
        .spawn(body)
        .map(|_| ())
        .map_err(Error::io("start a thread for a log"))
}

fn write_lines(shared: &Shared, mut to: impl Write) {
    while let Some(line) = shared.next_line() {
        // A line that cannot be written is lost; the next one may find room.
        let _ = to.write_all(&line).and_then(|()| to.flush());
        shared.state().writing = false;
        shared.changed.notify_all();
    }
}

/// Reads one pipe to its end.
fn forward(shared: &Shared, name: &str, reader: &PipeReader, process: &OwnedFd) {
    let mut lines = Lines::default();
    let mut buffer = [0; 16 * 1024];
    let never = Deadline::after(Duration::MAX);
    let emit = |line: &[u8]| {
        let mut whole = Vec::with_capacity(name.len() + line.len() + 3);
        whole.extend_from_slice(name.as_bytes());
        whole.extend_from_slice(b": ");
        whole.extend_from_slice(line);
        whole.push(b'\n');
        shared.push(whole);
    };
    loop {
        let pipe = (reader.as_fd(), PollFlags::IN);
        let Ok((readable, ended)) = wait(pipe, Some(process.as_fd()), &never) else {
            break;
        };
        if readable.is_empty() {
            // The process has ended and nothing is left to read; whoever else holds the pipe, a
            // daemon that it left behind, is not the child.
            if ended {
                break;
            }
            continue;
        }
        match rustix::io::read(reader, &mut buffer) {
            Ok(0) => break,
            Ok(count) => lines.push(buffer.get(..count).unwrap_or(&[]), emit),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
    lines.finish(emit);
}

/// A child's log, as [`ParentLink::log`](super::ParentLink::log) gives it: a writer of lines.
///
/// What is written is kept until a line is whole and then goes out in one write, which the kernel
/// keeps whole up to 4096 bytes even if several processes share the log. Dropping it writes out what
/// is left of a last line. It is closed when the process executes another program.
///
/// ```
/// use std::io::Write;
/// use pipewright_handoff::{EntryPoints, LogSink, ParentLink, ReExec, Result};
///
/// fn worker(parent: &mut ParentLink) -> Result<()> {
///     let mut log = parent.log()?;
///     write!(log, "in two ").expect("the parent reads");
///     write!(log, "pieces").expect("the parent reads"); // and no newline
///     Ok(())
/// }
/// EntryPoints::new().entry("worker", worker).dispatch();
/// let (reader, writer) = pipewright::pipe()?;
/// let child = ReExec::new("worker").log(&LogSink::new(writer)?).spawn()?;
/// assert_eq!(std::io::read_to_string(reader)?, "worker: in two pieces\n"); // one line
/// # child.into_child().wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Log {
    pipe: PipeWriter,
    line: Vec<u8>,
}

impl Log {
    pub(super) fn new(pipe: PipeWriter) -> Self {
        let line = Vec::new();
        Self { pipe, line }
    }

    /// Where nobody reads any more it is an error, and not the end of this process by SIGPIPE.
    fn write_out(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match write_without_sigpipe(&self.pipe, bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or(&[]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            if self.line.is_empty() && piece.ends_with(b"\n") {
                self.write_out(piece)?;
                continue;
            }
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.write_out(&line)?;
            }
        }
        Ok(bytes.len())
    }

    /// Does nothing: a line that is not whole stays until it is.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Where nobody reads the log any more, there is nobody to tell.
        let _ = self.write_out(&self.line);
    }
}

impl AsFd for Log {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}
