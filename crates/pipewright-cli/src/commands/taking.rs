//! Bytes of stdin taken to a spool, without a copy where the kernel can.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::Context;
use pipewright_observe::SpoolWait;
use pipewright_spool::{Error, FileSystem, Spool, Writer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionread;
use rustix::pipe::fcntl_getpipe_size;

use crate::commands::board::Board;
use crate::view;

/// How long to wait before a full disk is tried again: nobody tells when it has room.
pub(super) const DISK_PATIENCE: Duration = Duration::from_millis(100);

/// How often a full spool says that it still is.
const FULL_PATIENCE: Duration = Duration::from_millis(250);

/// The most that an ordinary user's pipe holds.
const LARGEST_PIPE: u64 = 1 << 20;

/// A piece that is smaller costs more to take than its bytes do, where many come.
const WORTHWHILE: usize = 128 << 10;

/// How long a pipe is then left to fill.
const FILL: Duration = Duration::from_micros(150);

/// Why no more was taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Taken {
    /// That was all.
    All,
    /// Nobody wants more.
    Enough,
}

/// Somebody who may want no more.
pub(super) struct Wants<'a> {
    /// A pipe: when it is in error, the question is asked.
    pub(super) pipe: BorrowedFd<'a>,
    /// More is wanted all the same.
    pub(super) more: &'a dyn Fn() -> bool,
}

/// Takes stdin to the disk, up to its end. The end is not written down.
///
/// A full disk is waited for; `place` names it.
pub(super) fn take_in<F: FileSystem>(
    spool: &Spool<F>,
    writer: &mut Writer<F>,
    limit: Option<u64>,
    place: &str,
    mut wants: Option<Wants<'_>>,
    board: Option<&Board>,
) -> anyhow::Result<Taken> {
    let mut stdin = Input::new();
    let mut told = false;
    loop {
        let ready = match writer.due() {
            Some(due) if due.is_zero() => Ready::Late,
            due => stdin.wait(due, &mut wants)?,
        };
        let step = match ready {
            Ready::Unwanted => return take_what_is_there(&mut stdin, writer),
            Ready::Late => writer.commit().map(|()| true),
            Ready::Input => stdin.take(writer),
        };
        match step {
            Ok(more) => {
                if let Some(board) = board {
                    board.taken(spool, writer.end());
                }
                if !more {
                    return Ok(Taken::All);
                }
            }
            Err(Error::Full) => {
                // A reader may have made room since.
                let (end, limit) = (writer.end(), limit.unwrap_or(u64::MAX));
                if let Some(board) = board {
                    board.waits(spool, SpoolWait::Full, Duration::ZERO);
                }
                let begin = Instant::now();
                spool.wait(|progress| end - progress.first < limit, Some(FULL_PATIENCE));
                if let Some(board) = board {
                    board.waits(spool, SpoolWait::Full, begin.elapsed());
                }
            }
            Err(error @ Error::NoRoom { .. }) => {
                let begin = Instant::now();
                await_room(spool, writer, error, place, &mut told);
                if let Some(board) = board {
                    board.waits(spool, SpoolWait::NoRoom, begin.elapsed());
                }
                if is_unwanted(&mut wants) {
                    return Ok(Taken::Enough);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Takes what the pipe holds, and no more: whoever has finished giving need not give it again.
fn take_what_is_there<F: FileSystem>(
    stdin: &mut Input,
    writer: &mut Writer<F>,
) -> anyhow::Result<Taken> {
    let most = writer.end() + LARGEST_PIPE;
    while writer.end() < most {
        match stdin.wait(Some(Duration::ZERO), &mut None)? {
            Ready::Input => {}
            _ => break,
        }
        match stdin.take(writer) {
            Ok(true) => {}
            Ok(false) => return Ok(Taken::All),
            Err(Error::NoRoom { .. }) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Taken::Enough)
}

/// Writes the end of the stream down, with its producer's status where that is known.
pub(super) fn finish<F: FileSystem>(
    spool: &Spool<F>,
    writer: &mut Writer<F>,
    status: Option<i32>,
    place: &str,
) -> anyhow::Result<()> {
    let mut told = false;
    loop {
        match writer.finish(status) {
            Err(error @ Error::NoRoom { .. }) => {
                await_room(spool, writer, error, place, &mut told);
            }
            finished => return Ok(finished?),
        }
    }
}

fn await_room<F: FileSystem>(
    spool: &Spool<F>,
    writer: &mut Writer<F>,
    error: Error,
    place: &str,
    told: &mut bool,
) {
    if !*told {
        view::complain(&format!(
            "{:#}: {place} is full, and everybody waits until it has room",
            anyhow::Error::from(error)
        ));
        *told = true;
    }
    // What is there can be given, and so make room.
    let _ = writer.commit();
    let first = spool.progress().first;
    spool.wait(|progress| progress.first > first, Some(DISK_PATIENCE));
}

/// Asks whether nobody wants more.
fn is_unwanted(wants: &mut Option<Wants<'_>>) -> bool {
    let Some(asked) = wants else {
        return false;
    };
    let mut polled = [PollFd::new(&asked.pipe, PollFlags::empty())];
    let gone = poll(&mut polled, Some(&Timespec::default()));
    if !gone.is_ok_and(|gone| gone > 0) {
        return false;
    }
    if (asked.more)() {
        // It stays in error, and need not be asked again.
        *wants = None;
        return false;
    }
    true
}

/// What there is to do.
enum Ready {
    Input,
    /// The time is over.
    Late,
    Unwanted,
}

/// stdin, moved by the kernel where it can.
struct Input {
    /// What was read and is not yet written, where it is no pipe.
    buffer: Vec<u8>,
    from: usize,
    is_pipe: bool,
    /// A pipe that can be left to fill: its writer does not come to its end meanwhile.
    is_large: bool,
    /// Small pieces that were taken one after the other, unless the pipe was left to fill; and when the
    /// last was.
    small: u32,
    last: Option<Instant>,
}

impl Input {
    fn new() -> Self {
        let capacity = fcntl_getpipe_size(rustix::stdio::stdin());
        Self {
            buffer: Vec::new(),
            from: 0,
            is_pipe: true,
            is_large: capacity.is_ok_and(|capacity| capacity >= 4 * WORTHWHILE),
            small: 0,
            last: None,
        }
    }

    /// Where many small pieces come, waits a moment so that they become fewer. Tells whether it did so.
    fn let_fill(&self) -> bool {
        let is_soon = self.last.is_some_and(|last| last.elapsed() < 4 * FILL);
        let fills = self.is_large && self.small >= 8 && is_soon;
        let stdin = rustix::stdio::stdin();
        if fills && ioctl_fionread(stdin).is_ok_and(|unread| unread < WORTHWHILE as u64) {
            std::thread::sleep(FILL);
        }
        fills
    }

    fn took(&mut self, bytes: usize, was_filled: bool) {
        if !was_filled {
            let is_small = bytes < WORTHWHILE;
            self.small = if is_small {
                self.small.saturating_add(1)
            } else {
                0
            };
        }
        self.last = Some(Instant::now());
    }

    /// Waits until there is something to take, nobody wants it, or the time is over.
    fn wait(
        &self,
        longest: Option<Duration>,
        wants: &mut Option<Wants<'_>>,
    ) -> anyhow::Result<Ready> {
        if self.from < self.buffer.len() {
            return Ok(Ready::Input);
        }
        let stdin = rustix::stdio::stdin();
        let longest = longest.and_then(|longest| Timespec::try_from(longest).ok());
        let mut polled = vec![PollFd::new(&stdin, PollFlags::IN)];
        let reader = wants.as_ref().map(|wants| wants.pipe);
        polled.extend(
            reader
                .iter()
                .map(|pipe| PollFd::new(pipe, PollFlags::empty())),
        );
        match poll(&mut polled, longest.as_ref()) {
            Err(rustix::io::Errno::INTR) => return Ok(Ready::Late),
            polled => polled.context("cannot wait for stdin")?,
        };
        let is_gone = polled
            .get(1)
            .is_some_and(|reader| !reader.revents().is_empty());
        Ok(if is_gone && is_unwanted(wants) {
            Ready::Unwanted
        } else if polled[0].revents().is_empty() {
            Ready::Late
        } else {
            Ready::Input
        })
    }

    /// Takes some; `false` at the end of file.
    fn take<F: FileSystem>(&mut self, writer: &mut Writer<F>) -> pipewright_spool::Result<bool> {
        if self.is_pipe {
            let was_filled = self.let_fill();
            match writer.splice_from(rustix::stdio::stdin().as_fd()) {
                Ok(Some(taken)) => {
                    self.took(taken, was_filled);
                    return Ok(taken > 0);
                }
                Ok(None) => {
                    self.is_pipe = false;
                    self.buffer.reserve_exact(1 << 18);
                }
                Err(error) if would_block(&error) => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        if self.from == self.buffer.len() {
            self.buffer.resize(1 << 18, 0);
            self.from = 0;
            let read = io::stdin().lock().read(&mut self.buffer);
            self.buffer.truncate(*read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                    ) => {}
                Err(source) => {
                    let name = "stdin".to_owned();
                    return Err(Error::Read { name, source });
                }
            }
        }
        self.from += writer.write(&self.buffer[self.from..])?;
        Ok(true)
    }
}

fn would_block(error: &Error) -> bool {
    let (Error::Write { source, .. } | Error::Read { source, .. }) = error else {
        return false;
    };
    matches!(
        source.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
