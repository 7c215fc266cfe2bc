//! A stream of messages over a pipe: length-prefixed, bounded, buffered.
//!
//! For a long-lived worker child. Each message is four bytes of length, the lowest first, and that
//! many bytes in postcard's form.

use std::io::ErrorKind;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::bounded::{Limit, encode};
use super::error::{Error, Result};
use super::frame::decode_all;
use super::wait::{Deadline, wait};
use pipewright::write_without_sigpipe;

/// The largest message in bytes unless another limit is set: 16 MiB.
///
/// ```
/// use pipewright_handoff::{DEFAULT_MESSAGE_LIMIT, Error, Sender};
///
/// let mut sender = Sender::<String>::new(std::fs::File::create("/dev/null")?);
/// let text = "x".repeat(DEFAULT_MESSAGE_LIMIT as usize); // and its length, which comes before it
/// assert!(matches!(sender.send(&text), Err(Error::TooLarge { limit: 0x100_0000, .. })));
/// # Ok::<(), std::io::Error>(())
/// ```
pub const DEFAULT_MESSAGE_LIMIT: u32 = 16 << 20;

/// Bytes that are collected before they are written, and asked for at once when reading.
const BUFFER: usize = 64 * 1024;

/// What a pipe takes whole once it is writable, so that such a write never blocks.
const PIPE_BUF: usize = 4096;

const PREFIX: usize = 4;

fn limit(bytes: u32) -> Limit {
    Limit {
        what: "a message",
        bytes: bytes.into(),
        advice: "raise the limit on both sides, or hand the bulk over in a file",
    }
}

/// The sending end of a stream of messages of one type.
///
/// Messages are collected and written in pieces of 64 KiB, whole pages of the pipe; what is left over
/// waits for more, and [`flush`](Self::flush) sends it. For messages of many KiB a larger pipe
/// ([`PipeExt::set_capacity`](crate::PipeExt::set_capacity)) saves most of the waiting. Dropping the sender does not send what was not flushed, because that could block.
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
    /// A sender over the writing end of a pipe, or a stream socket.
    ///
    /// ```
    /// use std::os::unix::net::UnixStream;
    /// use pipewright_handoff::{Receiver, Sender};
    ///
    /// let (one, other) = UnixStream::pair()?;
    /// let mut sender = Sender::<u64>::new(one);
    /// sender.send(&u64::MAX)?;
    /// sender.flush()?;
    /// assert_eq!(Receiver::<u64>::new(other).receive()?, Some(u64::MAX));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    ///
    /// ```
    /// use pipewright_handoff::{Error, Receiver, Sender};
    ///
    /// let (reader, writer) = pipewright::pipe()?;
    /// let mut sender = Sender::<String>::new(writer);
    /// sender.set_limit(100);
    /// assert!(matches!(sender.send(&"x".repeat(101)), Err(Error::TooLarge { limit: 100, .. })));
    /// sender.send(&"short".to_owned())?; // the stream goes on
    /// sender.flush()?;
    /// assert_eq!(Receiver::<String>::new(reader).receive()?.as_deref(), Some("short"));
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    pub fn set_limit(&mut self, bytes: u32) {
        self.limit = limit(bytes);
    }

    /// Sends a message, or keeps it until more have come together.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`], after which the stream goes on without that message; [`Error::System`]
    /// with EPIPE when nobody reads any more.
    ///
    /// ```
    /// use pipewright_handoff::Sender;
    ///
    /// let (reader, writer) = pipewright::pipe()?;
    /// let mut sender = Sender::<String>::new(writer);
    /// sender.send(&"kept for now".to_owned())?;
    /// drop(reader);
    /// sender.send(&"kept as well".to_owned())?;
    /// let error = sender.send(&"x".repeat(100_000)).unwrap_err(); // now all is written
    /// assert_eq!(error.raw_os_error(), Some(32)); // EPIPE: nobody reads
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    pub fn send(&mut self, message: &T) -> Result<()> {
        self.queue(message)?;
        let whole = self.buffer.len() / BUFFER * BUFFER;
        if whole > 0 {
            self.write_until(whole)?;
        }
        Ok(())
    }

    /// The same; where the reader is slow, not longer than this.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); [`Error::TimedOut`], after which the message waits in the buffer and
    /// nothing is lost.
    ///
    /// ```
    /// use std::time::Duration;
    /// use pipewright_handoff::{Error, Sender};
    ///
    /// let (_nobody_reads, writer) = pipewright::pipe()?;
    /// let mut sender = Sender::<String>::new(writer);
    /// let more_than_a_pipe_holds = "x".repeat(2 << 20);
    /// let sent = sender.send_timeout(&more_than_a_pipe_holds, Duration::from_millis(5));
    /// assert!(matches!(sent, Err(Error::TimedOut { .. })));
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
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
    ///
    /// ```
    /// use std::time::Duration;
    /// use pipewright_handoff::{Error, Receiver, Sender};
    ///
    /// let (reader, writer) = pipewright::pipe()?;
    /// let (mut sender, mut receiver) = (Sender::<u8>::new(writer), Receiver::<u8>::new(reader));
    /// sender.send(&7)?;
    /// let early = receiver.receive_timeout(Duration::from_millis(5));
    /// assert!(matches!(early, Err(Error::TimedOut { .. }))); // it is still in the buffer
    /// sender.flush()?;
    /// assert_eq!(receiver.receive()?, Some(7));
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    pub fn flush(&mut self) -> Result<()> {
        self.write_until(self.buffer.len())
    }

    fn write_until(&mut self, end: usize) -> Result<()> {
        while let Some(rest) = self
            .buffer
            .get(self.written..end)
            .filter(|rest| !rest.is_empty())
        {
            match write_without_sigpipe(&self.to, rest) {
                Ok(count) => self.written += count,
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock => {
                        let never = Deadline::after(Duration::MAX);
                        wait((self.to.as_fd(), PollFlags::OUT), None, &never)?;
                    }
                    _ => return Err(Error::io("write to the stream")(error)),
                },
            }
        }
        self.buffer.copy_within(self.written.., 0);
        self.buffer.truncate(self.buffer.len() - self.written);
        self.written = 0;
        Ok(())
    }

    /// The same, not longer than this.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] when the reader did not make room in time: what is left stays in the
    /// buffer, and the next call goes on with it. Otherwise as [`flush`](Self::flush).
    ///
    /// ```
    /// use std::time::Duration;
    /// use pipewright_handoff::{Receiver, Sender};
    ///
    /// let (reader, writer) = pipewright::pipe()?;
    /// let mut sender = Sender::<String>::new(writer);
    /// let text = "x".repeat(2 << 20); // more than a pipe holds
    /// assert!(sender.send_timeout(&text, Duration::from_millis(5)).is_err());
    /// let thread = std::thread::spawn(move || Receiver::<String>::new(reader).receive());
    /// sender.flush_timeout(Duration::from_secs(10))?; // goes on where it was
    /// assert_eq!(thread.join().expect("no panic")?, Some(text));
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    pub fn flush_timeout(&mut self, timeout: Duration) -> Result<()> {
        let deadline = Deadline::after(timeout);
        while let Some(rest) = self
            .buffer
            .get(self.written..)
            .filter(|rest| !rest.is_empty())
        {
            let (writable, _) = wait((self.to.as_fd(), PollFlags::OUT), None, &deadline)?;
            if writable.is_empty() {
                return Err(Error::TimedOut {
                    stage: "stream".to_owned(),
                    waited: timeout,
                });
            }
            let piece = rest.get(..PIPE_BUF).unwrap_or(rest);
            match write_without_sigpipe(&self.to, piece) {
                Ok(count) => self.written += count,
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted | ErrorKind::WouldBlock => {}
                    _ => return Err(Error::io("write to the stream")(error)),
                },
            }
        }
        self.empty();
        Ok(())
    }

    fn empty(&mut self) {
        self.buffer.clear();
        self.written = 0;
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
/// It allocates what has come and no more: a length prefix that claims more than the limit is an
/// error before anything is allocated, and one that claims much and is followed by little costs
/// little.
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
    /// A receiver over the reading end of a pipe, or a stream socket.
    ///
    /// ```
    /// use pipewright::Command;
    /// use pipewright_handoff::Receiver;
    ///
    /// // A program of another kind: two bytes, which are a string of one byte.
    /// let (reader, writer) = pipewright::pipe()?;
    /// let child = Command::new("printf").arg(r"\2\0\0\0\1x").stdout(writer).spawn()?;
    /// assert_eq!(Receiver::<String>::new(reader).receive()?.as_deref(), Some("x"));
    /// # child.wait()?;
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
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
    ///
    /// ```
    /// use pipewright_handoff::{Error, Receiver, Sender};
    ///
    /// let (reader, writer) = pipewright::pipe()?;
    /// let mut sender = Sender::<String>::new(writer);
    /// sender.send(&"x".repeat(500))?;
    /// sender.flush()?;
    /// let mut receiver = Receiver::<String>::new(reader);
    /// receiver.set_limit(100);
    /// assert!(matches!(receiver.receive(), Err(Error::TooLarge { limit: 100, .. })));
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    pub fn set_limit(&mut self, bytes: u32) {
        self.limit = limit(bytes);
    }

    /// Receives the next message; `None` at the end of the stream, after the last whole one.
    ///
    /// # Errors
    ///
    /// [`Error::Torn`] when the stream ended inside a message; [`Error::TooLarge`] and
    /// [`Error::Protocol`] when it holds something else than such messages. After any of these the
    /// stream is of no more use.
    ///
    /// ```
    /// use std::io::Write;
    /// use pipewright_handoff::{Error, Receiver};
    ///
    /// let (reader, mut writer) = pipewright::pipe()?;
    /// writer.write_all(&[8, 0, 0, 0, b'8', b' ', b'b']).expect("room"); // 3 of 8 bytes
    /// drop(writer);
    /// let error = Receiver::<String>::new(reader).receive().unwrap_err();
    /// assert!(matches!(error, Error::Torn { received: 7, expected: 12 }));
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    pub fn receive(&mut self) -> Result<Option<T>> {
        self.receive_timeout(Duration::MAX)
    }

    /// The same, not longer than this.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] when no whole message came in time: what has come of it is kept, and the
    /// next call goes on with it. Otherwise as [`receive`](Self::receive).
    ///
    /// ```
    /// use std::io::Write;
    /// use std::time::Duration;
    /// use pipewright_handoff::Receiver;
    ///
    /// let (reader, mut writer) = pipewright::pipe()?;
    /// let mut receiver = Receiver::<String>::new(reader);
    /// writer.write_all(&[3, 0, 0, 0, 2, b'o']).expect("room");
    /// assert!(receiver.receive_timeout(Duration::from_millis(5)).is_err()); // one byte is missing
    /// writer.write_all(b"k").expect("room");
    /// assert_eq!(receiver.receive_timeout(Duration::from_secs(10))?.as_deref(), Some("ok"));
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
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
            let limited = timeout != Duration::MAX;
            let deadline = deadline.get_or_insert_with(|| Deadline::after(timeout));
            if limited {
                let (readable, _) = wait((self.from.as_fd(), PollFlags::IN), None, deadline)?;
                if readable.is_empty() {
                    return Err(Error::TimedOut {
                        stage: "stream".to_owned(),
                        waited: timeout,
                    });
                }
            }
            if !self.fill(missing, deadline)? {
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

    /// The length of the next message, where its prefix has come.
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
    fn fill(&mut self, missing: usize, deadline: &Deadline) -> Result<bool> {
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
                    wait((self.from.as_fd(), PollFlags::IN), None, deadline)?;
                    if deadline.passed() {
                        return Err(Error::TimedOut {
                            stage: "stream".to_owned(),
                            waited: deadline.allowed,
                        });
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
