//! A stream of messages over a pipe: length-prefixed, bounded, buffered.
//!
//! For a long-lived worker child. Each message is four bytes of length, the lowest first, and that
//! many bytes in postcard's form.

use std::io::ErrorKind;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use pipewright::poll::{Deadline, poll};
use pipewright::write_without_sigpipe;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{Limit, decode_all, encode};
use crate::error::{Error, Result};

/// The largest message in bytes unless another limit is set: 16 MiB.
pub const DEFAULT_MESSAGE_LIMIT: u32 = 16 << 20;

/// Bytes that are collected before they are written, and asked for at once when reading.
const BUFFER: usize = 64 * 1024;

/// A pipe that is writable takes this many bytes whole, so such a write never blocks.
const PIPE_BUF: usize = 4096;

const PREFIX: usize = 4;

fn limit(bytes: u32) -> Limit {
    Limit {
        what: "a message",
        bytes: bytes.into(),
        advice: "raise the limit on both sides, or hand the bulk over in a file",
    }
}

/// Waits until the descriptor is ready; `false` if the deadline has passed.
fn await_ready(descriptor: &OwnedFd, interest: PollFlags, deadline: Deadline) -> Result<bool> {
    let mut polled = [PollFd::new(descriptor, interest)];
    Ok(poll(&mut polled, deadline).map_err(Error::system("poll"))? > 0)
}

fn timed_out(waited: Duration) -> Error {
    let phase = "stream".to_owned();
    Error::TimedOut { phase, waited }
}

/// The sending end of a stream of messages of one type.
///
/// Messages are collected and written in pieces of 64 KiB, whole pages of the pipe. The rest waits
/// for more, and [`flush`](Self::flush) sends it. For messages of many KiB a larger pipe
/// ([`PipeExt::set_capacity`](pipewright::PipeExt::set_capacity)) saves most of the waiting.
/// Dropping the sender does not send what was not flushed, because that could block.
///
/// ```
/// use pipewright_handoff::{Receiver, Sender};
///
/// let (reader, writer) = pipewright::pipe()?;
/// let mut sender = Sender::new(writer);
/// sender.send(&(1_u8, "one".to_owned()))?;
/// sender.send(&(2_u8, "two".to_owned()))?;
/// sender.flush()?;
/// drop(sender);
///
/// let mut receiver = Receiver::<(u8, String)>::new(reader);
/// assert_eq!(receiver.receive()?, Some((1, "one".to_owned())));
/// assert_eq!(receiver.receive()?, Some((2, "two".to_owned())));
/// assert_eq!(receiver.receive()?, None); // the end of the stream
/// # Ok::<(), pipewright_handoff::Error>(())
/// ```
#[derive(Debug)]
pub struct Sender<T> {
    to: OwnedFd,
    limit: Limit,
    /// Encoded and not written; the first `written` bytes are.
    buffer: Vec<u8>,
    written: usize,
    messages: PhantomData<fn(&T)>,
}

impl<T: Serialize> Sender<T> {
    /// Makes a sender of the writing end of a pipe, or of a stream socket.
    pub fn new(to: impl Into<OwnedFd>) -> Self {
        Self {
            to: to.into(),
            limit: limit(DEFAULT_MESSAGE_LIMIT),
            buffer: Vec::new(),
            written: 0,
            messages: PhantomData,
        }
    }

    /// Sets the size in bytes that a message may have at most.
    pub fn set_limit(&mut self, bytes: u32) {
        self.limit = limit(bytes);
    }

    /// Sends a message, or keeps it until more have come together.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`], after which the stream goes on without that message; [`Error::System`]
    /// with EPIPE when nobody reads any more.
    pub fn send(&mut self, message: &T) -> Result<()> {
        self.queue(message)?;
        let whole = self.buffer.len() / BUFFER * BUFFER;
        if whole > 0 {
            self.write_until(whole, Duration::MAX)?;
        }
        Ok(())
    }

    /// The same, but waits no longer than this for a slow reader.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); [`Error::TimedOut`], after which the message waits in the buffer
    /// and nothing is lost.
    pub fn send_timeout(&mut self, message: &T, timeout: Duration) -> Result<()> {
        self.queue(message)?;
        if self.buffer.len() - self.written >= BUFFER {
            self.flush_timeout(timeout)?;
        }
        Ok(())
    }

    /// Writes out all that was sent. It waits until the reader has made room.
    ///
    /// # Errors
    ///
    /// [`Error::System`].
    pub fn flush(&mut self) -> Result<()> {
        self.flush_timeout(Duration::MAX)
    }

    /// The same, but waits no longer than this.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] when the reader did not make room in time; the rest stays in the buffer,
    /// and the next call goes on with it. Otherwise as [`flush`](Self::flush).
    pub fn flush_timeout(&mut self, timeout: Duration) -> Result<()> {
        self.write_until(self.buffer.len(), timeout)
    }

    fn write_until(&mut self, end: usize, timeout: Duration) -> Result<()> {
        let deadline = Deadline::after(timeout);
        let limited = deadline != Deadline::NEVER;
        while self.written < end {
            // Without a limit a write may wait. With one it may not.
            if limited && !await_ready(&self.to, PollFlags::OUT, deadline)? {
                return Err(timed_out(timeout));
            }
            let longest = if limited { PIPE_BUF } else { usize::MAX };
            let next = end.min(self.written.saturating_add(longest));
            let piece = self.buffer.get(self.written..next).unwrap_or(&[]);
            match write_without_sigpipe(&self.to, piece) {
                Ok(count) => self.written += count,
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    // The descriptor does not block.
                    ErrorKind::WouldBlock => {
                        await_ready(&self.to, PollFlags::OUT, deadline)?;
                    }
                    _ => return Err(Error::io("write to the stream")(error)),
                },
            }
        }
        self.buffer.drain(..self.written);
        self.written = 0;
        Ok(())
    }

    fn queue(&mut self, message: &T) -> Result<()> {
        let start = self.buffer.len();
        self.buffer.extend([0; PREFIX]);
        match encode(message, &mut self.buffer, self.limit) {
            Ok(length) => {
                let prefix = self.buffer.get_mut(start..start + PREFIX);
                if let Some(prefix) = prefix {
                    prefix.copy_from_slice(&(length as u32).to_le_bytes());
                }
                Ok(())
            }
            Err(error) => {
                self.buffer.truncate(start);
                Err(error)
            }
        }
    }
}

impl<T> AsFd for Sender<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.to.as_fd()
    }
}

/// The receiving end of a stream of messages of one type.
///
/// It allocates what has come and no more. A length prefix that claims more than the limit is an
/// error before anything is allocated; one that claims much and is followed by little costs little.
///
/// ```
/// use std::io::Write;
/// use pipewright_handoff::{Error, Receiver};
///
/// let (reader, mut writer) = pipewright::pipe()?;
/// writer.write_all(&[0xff; 4]).expect("room"); // claims 4 GiB
/// let claimed = Receiver::<String>::new(reader).receive();
/// assert!(matches!(claimed, Err(Error::TooLarge { size: 0xffff_ffff, .. })));
/// # Ok::<(), pipewright_handoff::Error>(())
/// ```
#[derive(Debug)]
pub struct Receiver<T> {
    from: OwnedFd,
    limit: Limit,
    buffer: Vec<u8>,
    /// The bytes of `buffer` that were read, and how many of these were taken.
    filled: usize,
    taken: usize,
    messages: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Receiver<T> {
    /// Makes a receiver of the reading end of a pipe, or of a stream socket.
    pub fn new(from: impl Into<OwnedFd>) -> Self {
        Self {
            from: from.into(),
            limit: limit(DEFAULT_MESSAGE_LIMIT),
            buffer: Vec::new(),
            filled: 0,
            taken: 0,
            messages: PhantomData,
        }
    }

    /// Sets the size in bytes that a message may have at most.
    pub fn set_limit(&mut self, bytes: u32) {
        self.limit = limit(bytes);
    }

    /// Receives the next message; `None` at the end of the stream, after the last whole one.
    ///
    /// # Errors
    ///
    /// [`Error::Torn`] when the stream ended inside a message; [`Error::TooLarge`] and
    /// [`Error::Protocol`] when it holds anything but such messages. After any of these the stream
    /// cannot be used any more.
    pub fn receive(&mut self) -> Result<Option<T>> {
        self.receive_timeout(Duration::MAX)
    }

    /// The same, but waits no longer than this.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] when no whole message came in time; the part that has come is kept, and
    /// the next call goes on from there. Otherwise as [`receive`](Self::receive).
    pub fn receive_timeout(&mut self, timeout: Duration) -> Result<Option<T>> {
        let mut deadline = None;
        loop {
            let missing = match self.length()? {
                Some(length) if self.available() >= PREFIX + length => {
                    return self.take(length).map(Some);
                }
                Some(length) => PREFIX + length - self.available(),
                None => PREFIX - self.available(),
            };
            // The clock is read only if a message is not there yet.
            let deadline = *deadline.get_or_insert_with(|| Deadline::after(timeout));
            if deadline != Deadline::NEVER && !await_ready(&self.from, PollFlags::IN, deadline)? {
                return Err(timed_out(timeout));
            }
            if !self.fill(missing, deadline, timeout)? {
                return self.end();
            }
        }
    }

    fn available(&self) -> usize {
        self.filled - self.taken
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.get(self.taken..self.filled).unwrap_or(&[])
    }

    /// The length of the next message, once its prefix has come.
    fn length(&self) -> Result<Option<usize>> {
        let Some(prefix) = self.bytes().first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*prefix);
        if u64::from(length) > self.limit.bytes {
            return Err(self.limit.exceeded(length.into()));
        }
        Ok(Some(length as usize))
    }

    fn take(&mut self, length: usize) -> Result<T> {
        let body = self.bytes().get(PREFIX..PREFIX + length).unwrap_or(&[]);
        let message = decode_all(body, std::any::type_name::<T>());
        self.taken += PREFIX + length;
        message
    }

    /// Reads once, at least one byte; `false` at the end.
    fn fill(&mut self, missing: usize, deadline: Deadline, timeout: Duration) -> Result<bool> {
        if self.taken > 0 {
            self.buffer.copy_within(self.taken..self.filled, 0);
            self.filled -= self.taken;
            self.taken = 0;
        }
        // Room for what is missing, but for no more than was received so far: a claim alone
        // allocates nothing.
        let room = BUFFER.max(missing.min(self.filled));
        if self.buffer.len() < self.filled + room {
            self.buffer
                .reserve_exact(self.filled + room - self.buffer.len());
            self.buffer.resize(self.filled + room, 0);
        }
        loop {
            let free = self.buffer.get_mut(self.filled..).unwrap_or(&mut []);
            match rustix::io::read(&self.from, free) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    self.filled += count;
                    return Ok(true);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    if !await_ready(&self.from, PollFlags::IN, deadline)? {
                        return Err(timed_out(timeout));
                    }
                }
                Err(errno) => return Err(Error::system("read from the stream")(errno)),
            }
        }
    }

    fn end(&self) -> Result<Option<T>> {
        let received = self.available() as u64;
        if received == 0 {
            return Ok(None);
        }
        let length = self.length()?;
        Err(Error::Torn {
            received,
            expected: length.map_or(PREFIX as u64, |length| (PREFIX + length) as u64),
        })
    }
}

impl<T> AsFd for Receiver<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.from.as_fd()
    }
}
