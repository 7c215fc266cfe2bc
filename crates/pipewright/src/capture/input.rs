//! The stdin of a child, fed while its output is collected.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, PipeReader, PipeWriter, Read};
use std::os::fd::OwnedFd;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::command::Stdio;
use crate::error::{Error, Result};
use crate::pipe;
use crate::spawn::write_without_sigpipe;

/// The stdin of the first stage of a [`Capture`](crate::Capture).
///
/// Bytes and text become one with `into()`, borrowed or owned; so does everything that owns a
/// descriptor.
///
/// ```
/// use pipewright::{Command, Input};
///
/// let sorted = Command::new("sort").capture().input("b\na\n").read()?;
/// assert_eq!(sorted, "a\nb");
///
/// let file = tempfile::tempfile()?;
/// let empty = Command::new("cat").capture().input(file).read()?; // cat reads the file itself
/// assert_eq!(empty, "");
///
/// let reader = std::io::Read::take(std::io::repeat(b'x'), 5);
/// let counted = Command::new("wc").arg("-c").capture().input(Input::reader(reader)).read()?;
/// assert_eq!(counted, "5");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Input<'a>(pub(super) Kind<'a>);

#[derive(Debug)]
pub(super) enum Kind<'a> {
    /// The child reads from here itself.
    Stdio(Stdio),
    Fed(Source<'a>),
}

pub(super) enum Source<'a> {
    Bytes(Cow<'a, [u8]>),
    Reader(Box<dyn Read + Send + 'a>),
}

impl<'a> Input<'a> {
    /// Whatever `reader` gives: it is read from when the child's stdin has room.
    ///
    /// It is for what is computed: a decompressor, a generator. It is read on the calling thread,
    /// between looks at the child's output, so one that blocks holds up everything, the deadline
    /// too. What has a descriptor (a file, a pipe, a socket) is better handed over itself: the
    /// child then reads it directly, nothing is copied, and nothing here can block.
    pub fn reader(reader: impl Read + Send + 'a) -> Self {
        Self(Kind::Fed(Source::Reader(Box::new(reader))))
    }
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Reader(_) => f.write_str("a reader"),
        }
    }
}

macro_rules! from_bytes {
    ($($bytes:ty => $convert:expr),* $(,)?) => {$(
        impl<'a> From<$bytes> for Input<'a> {
            fn from(bytes: $bytes) -> Self {
                Self(Kind::Fed(Source::Bytes($convert(bytes))))
            }
        }
    )*};
}

from_bytes!(
    &'a [u8] => Cow::Borrowed,
    &'a Vec<u8> => |bytes: &'a Vec<u8>| Cow::Borrowed(bytes.as_slice()),
    Vec<u8> => Cow::Owned,
    &'a str => |text: &'a str| Cow::Borrowed(text.as_bytes()),
    &'a String => |text: &'a String| Cow::Borrowed(text.as_bytes()),
    String => |text: String| Cow::Owned(text.into_bytes()),
);

impl<'a, const N: usize> From<&'a [u8; N]> for Input<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

macro_rules! from_descriptor {
    ($($owner:ty),* $(,)?) => {$(
        impl From<$owner> for Input<'_> {
            fn from(owner: $owner) -> Self {
                Self(Kind::Stdio(owner.into()))
            }
        }
    )*};
}

from_descriptor!(
    Stdio,
    OwnedFd,
    File,
    PipeReader,
    std::net::TcpStream,
    std::os::unix::net::UnixStream,
    std::process::ChildStdout,
    std::process::ChildStderr,
);

/// The parent's end of a child's stdin, and what is still to be written to it.
#[derive(Debug)]
pub(super) struct Feed<'a> {
    writer: PipeWriter,
    source: Source<'a>,
    /// Of bytes: how many were written. Of a reader: where in `chunk` the unwritten ones begin.
    written: usize,
    /// The bytes that were read from a reader.
    chunk: Vec<u8>,
}

/// The rest of the feeding.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fed {
    More,
    Done,
}

/// The bytes taken from a reader at once.
const CHUNK: usize = 128 * 1024;

impl<'a> Feed<'a> {
    pub(super) fn new(writer: PipeWriter, source: Source<'a>) -> Result<Self> {
        // The flag belongs to the open file behind the descriptor. This one is the write end, which
        // no child has; the child's read end is another one and stays blocking.
        fcntl_getfl(&writer)
            .and_then(|flags| fcntl_setfl(&writer, flags | OFlags::NONBLOCK))
            .map_err(Error::system("make a pipe's end non-blocking"))?;
        Ok(Self {
            writer,
            source,
            written: 0,
            chunk: Vec::new(),
        })
    }

    pub(super) fn writer(&self) -> &PipeWriter {
        &self.writer
    }

    /// Tells whether it may be more than a pipe of `capacity` bytes takes at once.
    pub(super) fn is_large(&self, capacity: usize) -> bool {
        match &self.source {
            Source::Bytes(bytes) => bytes.len() > capacity,
            Source::Reader(_) => true,
        }
    }

    /// Writes what fits. Never blocks, except in a reader that does.
    pub(super) fn pump(&mut self) -> Result<Fed> {
        let unwritten = match &mut self.source {
            Source::Bytes(bytes) => &bytes[self.written..],
            Source::Reader(reader) => {
                if self.written == self.chunk.len() {
                    self.written = 0;
                    self.chunk.resize(CHUNK, 0);
                    let read = read_some(reader.as_mut(), &mut self.chunk)?;
                    self.chunk.truncate(read);
                }
                &self.chunk[self.written..]
            }
        };
        if unwritten.is_empty() {
            return Ok(Fed::Done);
        }
        match write_without_sigpipe(&self.writer, unwritten) {
            Ok(count) => self.written += count,
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted => return Ok(Fed::More),
                // It did not want all of it. That is its right, as in `yes | head`.
                ErrorKind::BrokenPipe => return Ok(Fed::Done),
                _ => {
                    return Err(Error::System {
                        operation: "write to a child's stdin",
                        source: error,
                    });
                }
            },
        }
        // The end of a known length is seen at once, so that the child sees it without delay.
        match &self.source {
            Source::Bytes(bytes) if bytes.len() == self.written => Ok(Fed::Done),
            _ => Ok(Fed::More),
        }
    }

    /// Gives the pipe a larger capacity, as far as it is granted.
    pub(super) fn enlarge(&self, capacity: usize) {
        // A smaller pipe is slower, and no less right.
        let _ = pipe::resize(&self.writer, capacity);
    }
}

fn read_some(reader: &mut dyn Read, buffer: &mut [u8]) -> Result<usize> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => {
                return result.map_err(|source| Error::System {
                    operation: "read the input for a child from its reader",
                    source,
                });
            }
        }
    }
}
