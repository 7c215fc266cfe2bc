//! A run that writes to where everybody sees it, while it is fed.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use pipewright::poll::poll;
use pipewright::{Child, Command, Guardian, PipeExt, PipeWriter, Signal, Stdio};
use rustix::event::{PollFd, PollFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::pipe::{SpliceFlags, splice};

use crate::chunk::{Chunk, wait_until_writable};
use crate::error::{Error, Result};
use crate::order::End;
use crate::worker::{PIPE, end_of, feed, reader_of};

/// A command that is being fed. It does not go on alone: when this process is gone, or has failed, the end
/// of its input is not the end of what it should read.
pub(crate) struct Fed {
    // Before its input: if this is dropped the command is killed first.
    child: Child,
    input: PipeWriter,
    /// How long to wait for room in a pipe that is full; `None` where the pipe is small.
    pause: Cell<Option<Duration>>,
}

/// What became of moving input on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    Bytes(u64),
    /// The input has ended.
    All,
    /// The command has ended, or reads no more.
    NobodyReads,
}

/// How a command ended that was fed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FedEnd {
    pub(crate) end: End,
    /// It left some of its input unread.
    pub(crate) left_input: bool,
    /// How long it had a core.
    pub(crate) on_core: Duration,
}

/// Bounds of the pause, and what it begins with: a pipe of 1 MiB lasts at least a millisecond.
const PAUSES: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(4));
const FIRST_PAUSE: Duration = Duration::from_micros(250);

impl Fed {
    /// Starts the command, which writes to `stdout`.
    pub(crate) fn start(command: Command, stdout: impl Into<Stdio>) -> Result<Self> {
        let (reader, input) = pipewright::pipe().map_err(Error::Start)?;
        // A refusal leaves a smaller pipe.
        let is_large = reader.set_capacity(PIPE).is_ok();
        let child = ended_with_this_process(command)
            .stdin(reader)
            .stdout(stdout)
            .kill_on_drop()
            .spawn()
            .map_err(Error::Start)?;
        Ok(Self {
            child,
            input,
            pause: Cell::new(is_large.then_some(FIRST_PAUSE)),
        })
    }

    /// The end of the pipe to write to.
    pub(crate) fn input(&self) -> &PipeWriter {
        &self.input
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes a chunk; `false` when the command reads no more.
    pub(crate) fn feed(&self, chunk: &Chunk) -> Result<bool> {
        feed(chunk, &self.input)
    }

    /// Moves on all of `input`, until it ends or the command reads no more.
    pub(crate) fn pour(&self, input: BorrowedFd<'_>) -> io::Result<()> {
        while let Moved::Bytes(_) = self.hand_on(input, u64::MAX)? {}
        Ok(())
    }

    /// Moves on up to `most` bytes of what `input` has, by reference, once it has something and there is
    /// room.
    ///
    /// A slow command makes room for one page at a time. To be woken for each takes more than to move it,
    /// so a large pipe that is full is left alone for a while, in which about a quarter of it is read.
    pub(crate) fn hand_on(&self, input: BorrowedFd<'_>, most: u64) -> io::Result<Moved> {
        let most = usize::try_from(most).unwrap_or(PIPE).min(PIPE);
        let mut paused = false;
        loop {
            // A command that has ended is seen even while the input is silent.
            let mut polled = [
                PollFd::from_borrowed_fd(input, PollFlags::IN),
                PollFd::from_borrowed_fd(self.input.as_fd(), PollFlags::empty()),
            ];
            poll(&mut polled, None)?;
            if polled[1].revents().contains(PollFlags::ERR) {
                return Ok(Moved::NobodyReads);
            }
            let moved = match splice(input, None, &self.input, None, most, SpliceFlags::NONBLOCK) {
                // Some kinds of terminals and devices.
                Err(Errno::INVAL) => self.copy(input, most),
                moved => moved,
            };
            match moved {
                Ok(0) => return Ok(Moved::All),
                Err(Errno::PIPE) => return Ok(Moved::NobodyReads),
                Ok(bytes) => {
                    if let (true, Some(pause)) = (paused, self.pause.get()) {
                        let pause = match bytes {
                            ..=0x1_ffff => pause * 2,
                            0x8_0000.. => pause / 2,
                            _ => pause,
                        };
                        self.pause.set(Some(pause.clamp(PAUSES.0, PAUSES.1)));
                    }
                    return Ok(Moved::Bytes(bytes as u64));
                }
                Err(Errno::AGAIN) => {
                    match self.pause.get() {
                        Some(pause) => std::thread::sleep(pause),
                        None => wait_until_writable(self.input.as_fd())?,
                    }
                    paused = true;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn copy(&self, input: BorrowedFd<'_>, most: usize) -> rustix::io::Result<usize> {
        let mut bytes = [0; 4096];
        let length = rustix::io::read(input, &mut bytes[..most.min(4096)])?;
        let mut left = &bytes[..length];
        while !left.is_empty() {
            // What was read is in no other place: a signal must not lose it.
            left = &left[retry_on_intr(|| rustix::io::write(&self.input, left))?..];
        }
        Ok(length)
    }

    /// Says that this was all of the input, and waits for the command's end.
    pub(crate) fn end(self) -> Result<FedEnd> {
        // From now on only: a command that has ended must break the pipe until all is in it.
        let left = reader_of(&self.input).map_err(Error::Write)?;
        drop(self.input);
        let status = self.child.wait().map_err(Error::Start)?;
        Ok(FedEnd {
            end: end_of(status),
            left_input: rustix::io::ioctl_fionread(&left).is_ok_and(|bytes| bytes > 0),
            on_core: self
                .child
                .usage()
                .map_or(Duration::ZERO, |usage| usage.cpu()),
        })
    }
}

/// Has the command ended when this process is killed. A guardian does so before the command can see the end
/// of its input, and with all that it has started: to be found, that needs its parent. The kernel's signal
/// may come later than that end.
pub(crate) fn ended_with_this_process(command: Command) -> Command {
    match Guardian::watching() {
        Some(_) => command,
        None => command.parent_death_signal(Signal::KILL),
    }
}
