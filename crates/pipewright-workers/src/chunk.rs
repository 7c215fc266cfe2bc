//! The bytes of a chunk, or of a worker's output: in memory, or in an unlinked file where memory is
//! short.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;

use pipewright::Stdio;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::pipe::SpliceFlags;

use crate::error::{Error, Result};
use crate::records::Records;

/// How much one system call moves at most.
const PIECE: usize = 1 << 20;

/// Where chunks are kept, and how much of them may be in memory.
#[derive(Debug, Clone)]
pub struct Store {
    limit: u64,
    in_memory: Arc<AtomicU64>,
}

impl Store {
    /// Keeps up to `limit` bytes in memory, and what comes then in unlinked files in `$TMPDIR`.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            in_memory: Arc::default(),
        }
    }

    /// Gives room for a chunk.
    ///
    /// # Errors
    ///
    /// When there is no room, or this process has too many open files.
    pub fn chunk(&self) -> io::Result<Chunk> {
        let in_memory = self.in_memory.load(Relaxed) < self.limit;
        let file = if in_memory {
            File::from(memfd_create(c"pipewright chunk", MemfdFlags::CLOEXEC)?)
        } else {
            tempfile::tempfile()?
        };
        Ok(Chunk {
            file,
            length: 0,
            counted: in_memory.then(|| Arc::clone(&self.in_memory)),
        })
    }
}

/// Some bytes, in order, that can be read as often as one likes.
///
/// The pages of a chunk that was spliced into a pipe may lie there unread for long after: a chunk is
/// written once, and never again.
#[derive(Debug)]
pub struct Chunk {
    file: File,
    length: u64,
    /// What counts the bytes in memory, where it is in memory.
    counted: Option<Arc<AtomicU64>>,
}

impl Chunk {
    /// Its length, in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// What a program is to have as its stdout, so that all it writes is in the chunk.
    ///
    /// On a disk, that may be full, it writes to a pipe: many a program takes no notice of a write that
    /// fails, and what it lost would be missing unseen.
    pub(crate) fn for_program(self) -> Result<(Stdio, Written)> {
        if self.counted.is_some() {
            let stdout = self.for_writing().map_err(Error::store)?;
            return Ok((stdout.into(), Written::Direct(self)));
        }
        let (reader, stdout) = pipewright::pipe().map_err(Error::Start)?;
        let drained = Drained::begin(self, reader.into())?;
        Ok((stdout.into(), Written::Drained(drained)))
    }

    /// A descriptor of the file for a program to write to, from its beginning.
    pub(crate) fn for_writing(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// A descriptor of the file for a program to read by its path.
    pub(crate) fn for_reading(&self) -> io::Result<File> {
        // By a description of its own: its position is its own, too.
        File::open(format!(
            "/proc/self/fd/{}",
            std::os::fd::AsRawFd::as_raw_fd(&self.file)
        ))
    }

    /// Takes note of what a program wrote.
    pub(crate) fn measure(&mut self) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        self.set_length(length);
        Ok(())
    }

    /// Appends up to `most` bytes from `input` in one move; 0 is its end.
    pub(crate) fn append_from(&mut self, input: BorrowedFd<'_>, most: u64) -> io::Result<u64> {
        let most = usize::try_from(most).unwrap_or(PIECE).min(PIECE);
        let mut offset = self.length;
        let moved = match rustix::pipe::splice(
            input,
            None,
            &self.file,
            Some(&mut offset),
            most,
            SpliceFlags::empty(),
        ) {
            // Neither of the two is a pipe: a file or a terminal is the input.
            Err(Errno::INVAL) => {
                let mut bytes = vec![0; most];
                let length = rustix::io::read(input, &mut bytes)?;
                self.file.write_all_at(&bytes[..length], self.length)?;
                length
            }
            moved => moved?,
        };
        self.set_length(self.length + moved as u64);
        Ok(moved as u64)
    }

    /// Appends what another chunk has from `from` to `to`.
    pub(crate) fn append(&mut self, other: &Self, from: u64, to: u64) -> io::Result<()> {
        let mut bytes = vec![0; PIECE.min(usize::try_from(to - from).unwrap_or(PIECE))];
        let mut at = from;
        while at < to {
            let piece = bytes.len().min(usize::try_from(to - at).unwrap_or(PIECE));
            other.file.read_exact_at(&mut bytes[..piece], at)?;
            self.append_bytes(&bytes[..piece])?;
            at += piece as u64;
        }
        Ok(())
    }

    /// Appends bytes.
    ///
    /// # Errors
    ///
    /// When there is no room for them.
    pub fn append_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.length)?;
        self.set_length(self.length + bytes.len() as u64);
        Ok(())
    }

    /// Forgets what lies behind `length`.
    pub(crate) fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.set_length(length);
        Ok(())
    }

    /// Reads a range of bytes.
    ///
    /// # Errors
    ///
    /// When the chunk does not have it.
    pub fn read(&self, from: u64, to: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(to - from).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, from)?;
        Ok(bytes)
    }

    /// Reads all of it.
    pub(crate) fn bytes(&self) -> io::Result<Vec<u8>> {
        self.read(0, self.length)
    }

    /// Tells whether grep would take the bytes for text, in a UTF-8 locale.
    pub(crate) fn is_text(&self) -> io::Result<bool> {
        let bytes = self.bytes()?;
        Ok(memchr::memchr(0, &bytes).is_none() && std::str::from_utf8(&bytes).is_ok())
    }

    /// Writes what lies behind `from` to `output`, by reference where that can be.
    ///
    /// # Errors
    ///
    /// When that cannot be written to.
    pub fn give(&self, from: u64, output: BorrowedFd<'_>) -> io::Result<()> {
        let mut offset = from;
        while offset < self.length {
            let piece = usize::try_from(self.length - offset)
                .unwrap_or(PIECE)
                .min(PIECE);
            match rustix::fs::sendfile(output, &self.file, Some(&mut offset), piece) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => wait_until_writable(output)?,
                // A file that is open for appending, or of a kind that takes nothing by reference.
                Err(Errno::INVAL | Errno::NOSYS) => {
                    let bytes = self.read(offset, offset + piece as u64)?;
                    offset += match rustix::io::write(output, &bytes) {
                        Err(Errno::AGAIN) => {
                            wait_until_writable(output)?;
                            0
                        }
                        Err(Errno::INTR) => 0,
                        written => written? as u64,
                    };
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Finds the last place where the chunk may be cut; see [`Records::last_cut`]. It looks at the last
    /// bytes only, where the kind of record allows it.
    pub(crate) fn last_cut(&self, records: &Records) -> io::Result<Option<u64>> {
        if let Records::Lines(_) = records {
            return Ok(records.last_cut(&self.bytes()?).map(|cut| cut as u64));
        }
        let mut window = 64 << 10;
        loop {
            let from = self.length.saturating_sub(window);
            let bytes = self.read(from, self.length)?;
            match records.last_cut(&bytes) {
                Some(cut) => return Ok(Some(from + cut as u64)),
                None if from == 0 => return Ok(None),
                None => window *= 4,
            }
        }
    }

    fn set_length(&mut self, length: u64) {
        if let Some(counted) = &self.counted {
            counted.fetch_add(length.wrapping_sub(self.length), Relaxed);
        }
        self.length = length;
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.set_length(0);
    }
}

/// A chunk that a program writes.
pub(crate) enum Written {
    Direct(Chunk),
    Drained(Drained),
}

impl Written {
    /// Takes note of what was written, once the program has ended.
    pub(crate) fn end(self) -> Result<Chunk> {
        match self {
            Self::Direct(mut chunk) => {
                chunk.measure().map_err(Error::store)?;
                Ok(chunk)
            }
            Self::Drained(drained) => drained.end(),
        }
    }
}

/// A thread that moves what a program writes from a pipe to a chunk.
pub(crate) struct Drained {
    thread: JoinHandle<io::Result<Chunk>>,
    ended: Arc<OwnedFd>,
}

impl Drained {
    fn begin(mut chunk: Chunk, reader: OwnedFd) -> Result<Self> {
        let ended =
            eventfd(0, EventfdFlags::CLOEXEC).map_err(|error| Error::store(error.into()))?;
        let ended = Arc::new(ended);
        let call = Arc::clone(&ended);
        let thread = std::thread::Builder::new().spawn(move || {
            loop {
                let mut polled = [
                    PollFd::new(&reader, PollFlags::IN),
                    PollFd::new(&call, PollFlags::IN),
                ];
                pipewright::poll::poll(&mut polled, None)?;
                // A daemon may hold the pipe open: when the program has ended, all that it wrote is here.
                let is_empty = polled[0].revents().is_empty();
                if is_empty || chunk.append_from(reader.as_fd(), PIECE as u64)? == 0 {
                    return Ok(chunk);
                }
            }
        });
        Ok(Self {
            thread: thread.map_err(Error::Threads)?,
            ended,
        })
    }

    fn end(self) -> Result<Chunk> {
        // It is full only when it was rung before.
        let _ = rustix::io::write(&self.ended, &1_u64.to_ne_bytes());
        match self.thread.join() {
            Ok(chunk) => chunk.map_err(Error::store),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Somebody else has made the descriptor non-blocking; here it is waited for.
pub(crate) fn wait_until_writable(output: BorrowedFd<'_>) -> io::Result<()> {
    let mut polled = [rustix::event::PollFd::from_borrowed_fd(
        output,
        rustix::event::PollFlags::OUT,
    )];
    pipewright::poll::poll(&mut polled, None)?;
    Ok(())
}
