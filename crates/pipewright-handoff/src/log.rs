//! A child's log: whole lines, forwarded under its name.
//!
//! There are two kinds of thread. A *forwarder* for each child does nothing but read its pipe, so
//! the pipe never fills up, whatever becomes of the sink. The *writer* of a sink writes the lines
//! out. Between them is a queue of bounded size: if the sink is too slow for long, lines are
//! dropped, and their number is written in their place. A log must not hold up the child that
//! writes it.

use std::collections::VecDeque;
use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pipewright::poll::{Deadline, poll};
use pipewright::{Child, Splitter, write_without_sigpipe};
use rustix::event::{PollFd, PollFlags};

use crate::error::{Error, Result};
use crate::link::ParentLink;

/// Bytes that may wait for a slow sink.
const QUEUE_LIMIT: usize = 8 << 20;

/// The longest line in bytes that is kept whole; a longer one is cut about there.
const LONGEST: usize = 1 << 20;

/// The stack of a thread that reads a pipe.
const STACK: usize = 128 * 1024;

/// The name under which a child finds its end of the log pipe.
pub(crate) const NAME: &str = "pipewright log";

/// The log pipe of a child that is being started.
pub(crate) struct Pending {
    sink: LogSink,
    reader: PipeReader,
}

impl Pending {
    /// Reads the pipe from here on, until its writer is gone or the child has ended. A start that
    /// failed never comes here, so no forwarder waits for it.
    pub(crate) fn forward(self, name: &str, child: &Child) -> Result<()> {
        self.sink.forward(name, self.reader, child.as_fd())
    }
}

/// The place to which the log lines of children go: a writer in this process. Each line is written
/// as `name: text`, one after the other.
///
/// Clones are handles to the same sink. [`finish`](Self::finish) waits for all lines.
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
        self.0.queue().sources += 1;
        Self(Arc::clone(&self.0))
    }
}

impl Drop for LogSink {
    fn drop(&mut self) {
        self.0.queue().sources -= 1;
        self.0.changed.notify_all();
    }
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    /// The bytes in `lines`.
    bytes: usize,
    /// Lines dropped since the last one that found room.
    lost: u64,
    /// Forwarders at work.
    forwarders: usize,
    /// Handles from which forwarders may still be started.
    sources: usize,
    /// The writer has a line in hand.
    writing: bool,
}

impl Queue {
    /// Tells if all that has come was written, and no more can come.
    fn is_done(&self) -> bool {
        self.forwarders == 0 && !self.writing && self.lines.is_empty() && self.lost == 0
    }

    fn push(&mut self, line: Vec<u8>) {
        self.bytes += line.len();
        self.lines.push_back(line);
    }

    /// Puts their number in the place of lines that were dropped.
    fn note_lost(&mut self) {
        if self.lost > 0 {
            let lost = std::mem::take(&mut self.lost);
            self.push(format!("{lost} log lines were dropped: they came too fast\n").into());
        }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next line; `None` when none can come any more.
    fn next_line(&self) -> Option<Vec<u8>> {
        let mut queue = self.queue();
        loop {
            if queue.lines.is_empty() {
                queue.note_lost();
            }
            if let Some(line) = queue.lines.pop_front() {
                queue.bytes -= line.len();
                queue.writing = true;
                return Some(line);
            }
            if queue.sources == 0 && queue.forwarders == 0 {
                return None;
            }
            let waited = self.changed.wait(queue);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn push(&self, line: Vec<u8>) {
        let mut queue = self.queue();
        if queue.bytes + line.len() > QUEUE_LIMIT {
            queue.lost += 1;
            return;
        }
        queue.note_lost();
        queue.push(line);
        self.changed.notify_all();
    }
}

impl LogSink {
    /// Makes a sink that writes lines to `to`, from a thread of its own.
    ///
    /// If `to` fails (a full disk, a closed pipe), lines are lost and nothing else happens: the
    /// children's logs are still read.
    ///
    /// # Errors
    ///
    /// [`Error::System`] when no thread can be started.
    pub fn new(to: impl Write + Send + 'static) -> Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                sources: 1,
                ..Queue::default()
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
    /// For logs that do not come by [`ReExec::log`](crate::ReExec::log), such as a program's
    /// stderr.
    ///
    /// # Errors
    ///
    /// [`Error::System`] when no thread can be started.
    pub fn forward(&self, name: &str, reader: PipeReader, process: BorrowedFd<'_>) -> Result<()> {
        let process = process
            .try_clone_to_owned()
            .map_err(Error::io("duplicate a pidfd"))?;
        let (shared, name) = (Arc::clone(&self.0), name.to_owned());
        shared.queue().forwarders += 1;
        let started = start("pipewright forwarder", {
            let shared = Arc::clone(&shared);
            move || {
                forward(&shared, &name, &reader, &process);
                shared.queue().forwarders -= 1;
                shared.changed.notify_all();
            }
        });
        if started.is_err() {
            shared.queue().forwarders -= 1;
        }
        started
    }

    /// Makes a pipe for the log of a child that is about to start, and returns the child's end as
    /// well.
    pub(crate) fn pipe(self) -> Result<(Pending, OwnedFd)> {
        let (reader, writer) = pipewright::pipe()?;
        Ok((Pending { sink: self, reader }, writer.into()))
    }

    /// Waits until every child's log has ended and every line was written out, and returns `false`
    /// if that did not happen in time.
    pub fn finish(&self, timeout: Duration) -> bool {
        let deadline = Deadline::after(timeout);
        let mut queue = self.0.queue();
        while !queue.is_done() {
            let left = deadline.left().unwrap_or(Duration::MAX);
            if left.is_zero() {
                return false;
            }
            let waited = self.0.changed.wait_timeout(queue, left.min(LONGEST_WAIT));
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl ParentLink {
    /// Takes the log that the parent gave by [`ReExec::log`](crate::ReExec::log).
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take).
    pub fn log(&mut self) -> Result<Log> {
        self.take(NAME).map(Log::new)
    }
}

/// The longest wait of a condition variable that does not overflow the clock.
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
        shared.queue().writing = false;
        shared.changed.notify_all();
    }
}

/// Reads one pipe to its end.
fn forward(shared: &Shared, name: &str, reader: &PipeReader, process: &OwnedFd) {
    let (mut splitter, mut unwritten) = (Splitter::default(), Vec::new());
    let mut buffer = [0; 16 * 1024];
    let emit = |line: &[u8]| {
        let mut whole = Vec::with_capacity(name.len() + line.len() + 3);
        whole.extend_from_slice(name.as_bytes());
        whole.extend_from_slice(b": ");
        whole.extend_from_slice(line);
        whole.push(b'\n');
        shared.push(whole);
    };
    loop {
        let mut polled = [
            PollFd::new(reader, PollFlags::IN),
            PollFd::new(process, PollFlags::IN),
        ];
        if poll(&mut polled, Deadline::NEVER).is_err() {
            break;
        }
        // The process has ended. Its last words may have come between the looks at the two, so the
        // pipe is looked at once more. A daemon that the child left behind may still hold the pipe,
        // but is not the child.
        if polled[0].revents().is_empty()
            && !matches!(poll(&mut polled[..1], Deadline::now()), Ok(1..))
        {
            break;
        }
        match rustix::io::read(reader, &mut buffer) {
            Ok(0) => break,
            Ok(count) => unwritten.extend_from_slice(buffer.get(..count).unwrap_or(&[])),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
        while let Some(line) = splitter.next(&mut unwritten, false) {
            emit(&line.bytes);
        }
        // A line without end must not fill memory.
        if unwritten.len() >= LONGEST
            && let Some(line) = splitter.next(&mut unwritten, true)
        {
            emit(&line.bytes);
        }
    }
    if let Some(line) = splitter.next(&mut unwritten, true) {
        emit(&line.bytes);
    }
}

/// A child's log, as [`ParentLink::log`](crate::ParentLink::log) gives it: a writer of lines.
///
/// It keeps what is written until a line is whole, and writes that out at once. The kernel keeps a
/// write of up to 4096 bytes whole even if several processes share the log. Dropping it writes out
/// the rest of a last line. It is closed when the process executes another program.
#[derive(Debug)]
pub struct Log {
    pipe: PipeWriter,
    line: Vec<u8>,
}

impl Log {
    pub(crate) fn new(pipe: PipeWriter) -> Self {
        let line = Vec::new();
        Self { pipe, line }
    }

    /// Fails if nobody reads any more, instead of ending this process by SIGPIPE.
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
        // If nobody reads the log any more, there is nobody to tell.
        let _ = self.write_out(&self.line);
    }
}

impl AsFd for Log {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}
