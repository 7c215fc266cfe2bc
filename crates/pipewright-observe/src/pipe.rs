//! One pipe, seen from outside.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fstat, fstatfs, open};
use rustix::io::{Errno, ioctl_fionread};
use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// `f_type` of the kernel's own file system of anonymous pipes (linux/magic.h).
const PIPEFS_MAGIC: u64 = 0x5049_5045;

/// The identity of an anonymous pipe: its inode number, unique on this kernel while it lives.
///
/// It prints as the kernel writes it: `pipe:[4711]`.
///
/// ```
/// use std::os::fd::AsRawFd;
/// use pipewright_observe::{PipeHandle, PipeId};
///
/// let (reader, writer) = std::io::pipe()?;
/// let id: PipeId = PipeHandle::of_end(&reader)?.id();
/// assert_eq!(id, PipeHandle::of_end(&writer)?.id()); // one pipe, two ends
/// let link = std::fs::read_link(format!("/proc/self/fd/{}", reader.as_raw_fd()))?;
/// assert_eq!(link.to_str(), Some(&*id.to_string()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PipeId(pub u64);

impl PipeId {
    /// Reads the target of a link `/proc/PID/fd/N`; `None` if it is no anonymous pipe.
    ///
    /// ```
    /// use pipewright_observe::PipeId;
    ///
    /// assert_eq!(PipeId::from_link(b"pipe:[4711]"), Some(PipeId(4711)));
    /// assert_eq!(PipeId::from_link(b"socket:[4711]"), None);
    /// ```
    pub fn from_link(link: &[u8]) -> Option<PipeId> {
        let inode = link.strip_prefix(b"pipe:[")?.strip_suffix(b"]")?;
        std::str::from_utf8(inode).ok()?.parse().ok().map(PipeId)
    }
}

impl fmt::Display for PipeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pipe:[{}]", self.0)
    }
}

/// What one look at a pipe shows.
///
/// ```
/// use std::io::Write;
/// use pipewright_observe::{PipeHandle, PipeLevel};
///
/// let (reader, mut writer) = std::io::pipe()?;
/// let pipe = PipeHandle::of_end(&reader)?;
/// writer.write_all(&vec![0; pipe.level()?.capacity as usize])?; // to the brim
/// let PipeLevel { unread, capacity, full, reader_gone } = pipe.level()?;
/// assert!(full && unread == capacity && !reader_gone);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipeLevel {
    /// Bytes written and not yet read.
    pub unread: u64,
    /// Capacity in bytes. It counts page slots: a pipe can be full with fewer bytes than this.
    pub capacity: u64,
    /// A writer would block: poll finds the pipe not writable.
    pub full: bool,
    /// No process holds a read end any more: the next write raises `SIGPIPE`.
    pub reader_gone: bool,
}

impl PipeLevel {
    /// A reader would block, or see the end of file.
    ///
    /// ```
    /// use std::io::Write;
    /// use pipewright_observe::PipeHandle;
    ///
    /// let (reader, mut writer) = std::io::pipe()?;
    /// let pipe = PipeHandle::of_end(&reader)?;
    /// assert!(pipe.level()?.empty());
    /// writer.write_all(b"x")?;
    /// assert!(!pipe.level()?.empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn empty(&self) -> bool {
        self.unread == 0
    }
}

/// Which ends of a pipe still have a holder.
///
/// ```
/// use pipewright_observe::{PipeEnds, PipeHandle};
///
/// let (reader, writer) = std::io::pipe()?;
/// let (other_reader, _other_writer) = std::io::pipe()?;
/// let (one, other) = (PipeHandle::of_end(&reader)?, PipeHandle::of_end(&other_reader)?);
/// drop((writer, other_reader));
/// assert_eq!((one.ends()?, other.ends()?), (PipeEnds::NoWriter, PipeEnds::NoReader));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PipeEnds {
    /// At least one reader and one writer.
    Both,
    /// Readers, but no writer: the readers see the end of file once they have drained the pipe.
    NoWriter,
    /// No reader. Whether a writer is left is not asked: see
    /// [`PipeHandle`] for why.
    NoReader,
}

/// A pipe's capacity before and after a change, in bytes.
///
/// ```
/// use pipewright_observe::{CapacityChange, PipeHandle};
///
/// let (reader, _writer) = std::io::pipe()?;
/// let pipe = PipeHandle::of_end(&reader)?;
/// let first = pipe.set_capacity(100_000)?;
/// assert_eq!(first.new, 131_072); // rounded up
/// assert_eq!(pipe.set_capacity(131_072)?, CapacityChange { old: first.new, new: first.new });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapacityChange {
    /// What it was.
    pub old: usize,
    /// What the kernel made of the request: it rounds up to a power of two of pages.
    pub new: usize,
}

/// A hold on a pipe that counts neither as a reader nor as a writer.
///
/// It does not keep the pipe's readers from seeing the end of file, nor its writers from getting
/// `SIGPIPE`, and it costs one descriptor.
///
/// ```
/// use std::io::Write;
/// use pipewright_observe::PipeHandle;
///
/// let (reader, mut writer) = std::io::pipe()?;
/// let handle = PipeHandle::of_end(&reader)?;
///
/// writer.write_all(b"HOLA!")?;
/// let level = handle.level()?;
/// assert_eq!(level.unread, 5);
/// assert!(!level.full && !level.empty() && !level.reader_gone);
///
/// drop(reader);
/// assert!(handle.level()?.reader_gone);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What looking changes
///
/// An `O_PATH` descriptor of a pipe is neither a reader nor a writer, and can be held for as long
/// as one likes. It answers no question either: to ask, a real end has to be opened, and for as
/// long as that end is open, a few microseconds, it counts. What that can change:
///
/// * **A reader too many.** When the last real reader has gone, a write that falls into those
///   microseconds succeeds instead of raising `SIGPIPE`, and its bytes are lost. A writer that
///   writes seldom could be told a lie by this.
/// * **A writer too many.** When the last real writer has gone, a read of the drained pipe that
///   falls into those microseconds blocks instead of returning end of file (or gives `EAGAIN` on a
///   non-blocking descriptor). Closing the extra end wakes that reader, which then sees the end of
///   file. Nothing is lost, the answer comes microseconds later.
///
/// So every sample opens a *write* end, from which unread bytes, capacity, "full" and "the reader
/// is gone" can be learned. Whether the *writers* are gone shows only at a read end: that is a
/// question of its own, [`PipeHandle::ends`], which first makes sure that a reader exists. Then the
/// extra reader could only matter to a write made within microseconds after the real reader's
/// exit, and such a write is lost in the same way if it comes microseconds before that exit.
///
/// # References
///
/// [pipe(7)](https://man7.org/linux/man-pages/man7/pipe.7.html),
/// [open(2), `O_PATH`](https://man7.org/linux/man-pages/man2/open.2.html)
#[derive(Debug)]
pub struct PipeHandle {
    handle: OwnedFd,
    id: PipeId,
}

impl PipeHandle {
    /// Takes hold of a pipe through one of its ends in this process.
    ///
    /// # Errors
    ///
    /// [`Error::NotAPipe`] if the descriptor is something else, a named FIFO included.
    ///
    /// ```
    /// use pipewright_observe::{Error, PipeHandle};
    ///
    /// let (_reader, writer) = std::io::pipe()?;
    /// assert!(PipeHandle::of_end(&writer).is_ok()); // either end will do
    /// let directory = std::fs::File::open("/")?;
    /// assert!(matches!(PipeHandle::of_end(directory), Err(Error::NotAPipe { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # References
    ///
    /// O_PATH in [open(2)](https://man7.org/linux/man-pages/man2/open.2.html)
    pub fn of_end(end: impl AsFd) -> Result<PipeHandle> {
        let path = format!("/proc/self/fd/{}", end.as_fd().as_raw_fd());
        PipeHandle::of_path(path, "look at an own descriptor", std::process::id())
    }

    /// Takes hold of the pipe behind descriptor `descriptor` of process `pid`.
    ///
    /// # Errors
    ///
    /// [`Error::Ended`] if the process or its descriptor is gone, [`Error::Denied`] if this user
    /// may not look at it, [`Error::NotAPipe`] if it is something else.
    ///
    /// ```
    /// use std::process::Command;
    /// use pipewright_observe::PipeHandle;
    ///
    /// let (reader, writer) = std::io::pipe()?;
    /// let mut cat = Command::new("cat").stdin(reader).spawn()?;
    /// let pipe = PipeHandle::of_process(cat.id(), 0)?;
    /// assert_eq!(pipe.id(), PipeHandle::of_end(&writer)?.id());
    /// drop(writer);
    /// assert!(cat.wait()?.success()); // the handle did not keep its input open
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # References
    ///
    /// [proc_pid_fd(5)](https://man7.org/linux/man-pages/man5/proc_pid_fd.5.html)
    pub fn of_process(pid: u32, descriptor: u32) -> Result<PipeHandle> {
        let path = format!("/proc/{pid}/fd/{descriptor}");
        PipeHandle::of_path(path, "look at a descriptor", pid)
    }

    fn of_path(path: String, what: &'static str, pid: u32) -> Result<PipeHandle> {
        let handle = open(&*path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| Error::of_process(what, pid, error))?;
        let system = |source: Errno| Error::System {
            what: format!("look at {path}"),
            source: source.into(),
        };
        // A named FIFO is refused: opening one, unlike an anonymous pipe, wakes processes that
        // wait in open(2) for a partner.
        if fstatfs(&handle).map_err(system)?.f_type as u64 != PIPEFS_MAGIC {
            return Err(Error::NotAPipe { descriptor: path });
        }
        let id = PipeId(fstat(&handle).map_err(system)?.st_ino);
        Ok(PipeHandle { handle, id })
    }

    /// The pipe's identity.
    ///
    /// ```
    /// use pipewright_observe::PipeHandle;
    ///
    /// let (one, _one) = std::io::pipe()?;
    /// let (other, _other) = std::io::pipe()?;
    /// assert_ne!(PipeHandle::of_end(&one)?.id(), PipeHandle::of_end(&other)?.id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn id(&self) -> PipeId {
        self.id
    }

    /// Looks at the pipe once: five short system calls.
    ///
    /// After both ends have gone, the kernel has nothing left to tell: unread is 0, the capacity is
    /// the default, and [`PipeLevel::reader_gone`] is true.
    ///
    /// # Errors
    ///
    /// [`Error::PipeDenied`] if the pipe was made by another user.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use pipewright_observe::PipeHandle;
    ///
    /// let (mut reader, mut writer) = std::io::pipe()?;
    /// let pipe = PipeHandle::of_end(&reader)?;
    /// writer.write_all(b"seven.bytes")?;
    /// assert_eq!(pipe.level()?.unread, 11); // and they stay there
    /// reader.read_exact(&mut [0; 6])?;
    /// assert_eq!(pipe.level()?.unread, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # References
    ///
    /// FIONREAD in [pipe(7)](https://man7.org/linux/man-pages/man7/pipe.7.html),
    /// [poll(2)](https://man7.org/linux/man-pages/man2/poll.2.html)
    pub fn level(&self) -> Result<PipeLevel> {
        let end = self.reopen(OFlags::WRONLY)?;
        let ready = self.poll(&end, PollFlags::OUT)?;
        Ok(PipeLevel {
            unread: ioctl_fionread(&end)
                .map_err(|error| self.failed("ask for unread bytes", error))?,
            capacity: self.capacity_of(&end)? as u64,
            full: !ready.contains(PollFlags::OUT),
            reader_gone: ready.contains(PollFlags::ERR),
        })
    }

    /// Tells which ends are still held by anybody.
    ///
    /// # Errors
    ///
    /// [`Error::PipeDenied`] if the pipe was made by another user.
    ///
    /// ```
    /// use pipewright_observe::{PipeEnds, PipeHandle};
    ///
    /// let (reader, writer) = std::io::pipe()?;
    /// let pipe = PipeHandle::of_end(&reader)?;
    /// assert_eq!(pipe.ends()?, PipeEnds::Both);
    /// drop(writer);
    /// assert_eq!(pipe.ends()?, PipeEnds::NoWriter);
    /// drop(reader);
    /// assert_eq!(pipe.ends()?, PipeEnds::NoReader);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # References
    ///
    /// POLLHUP and POLLERR in [poll(2)](https://man7.org/linux/man-pages/man2/poll.2.html)
    pub fn ends(&self) -> Result<PipeEnds> {
        if self.level()?.reader_gone {
            return Ok(PipeEnds::NoReader);
        }
        let end = self.reopen(OFlags::RDONLY)?;
        match self.poll(&end, PollFlags::IN)?.contains(PollFlags::HUP) {
            true => Ok(PipeEnds::NoWriter),
            false => Ok(PipeEnds::Both),
        }
    }

    /// Sets the capacity, at least `bytes`, of a pipe that may be in use.
    ///
    /// ```
    /// use pipewright_observe::PipeHandle;
    ///
    /// let (reader, _writer) = std::io::pipe()?;
    /// let change = PipeHandle::of_end(&reader)?.set_capacity(8192)?;
    /// assert_eq!(change.new, 8192);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::CapacityNotGranted`] above the user's ceiling, [`Error::CapacityBelowUnread`] when
    /// shrinking a pipe that holds more than that.
    ///
    /// # References
    ///
    /// [fcntl(2), `F_SETPIPE_SZ`](https://man7.org/linux/man-pages/man2/fcntl.2.html)
    pub fn set_capacity(&self, bytes: usize) -> Result<CapacityChange> {
        let end = self.reopen(OFlags::WRONLY)?;
        let old = self.capacity_of(&end)?;
        let new = fcntl_setpipe_size(&end, bytes).map_err(|error| match error {
            Errno::PERM => Error::CapacityNotGranted {
                pipe: self.id,
                requested: bytes,
            },
            Errno::BUSY => Error::CapacityBelowUnread {
                pipe: self.id,
                requested: bytes,
            },
            other => self.failed("set the capacity", other),
        })?;
        Ok(CapacityChange { old, new })
    }

    /// Opens a real end, which must not outlive the question it is opened for.
    fn reopen(&self, direction: OFlags) -> Result<OwnedFd> {
        open(
            format!("/proc/self/fd/{}", self.handle.as_raw_fd()),
            direction | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|error| self.failed("open the pipe for a sample", error))
    }

    fn poll(&self, end: &OwnedFd, interest: PollFlags) -> Result<PollFlags> {
        let mut asked = [PollFd::new(end, interest)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut asked, Some(&at_once)).map_err(|error| self.failed("poll the pipe", error))?;
        Ok(asked[0].revents())
    }

    fn capacity_of(&self, end: &OwnedFd) -> Result<usize> {
        fcntl_getpipe_size(end).map_err(|error| self.failed("ask for the capacity", error))
    }

    fn failed(&self, what: &'static str, error: Errno) -> Error {
        match error {
            Errno::ACCESS | Errno::PERM => Error::PipeDenied {
                what,
                pipe: self.id,
            },
            other => Error::System {
                what: format!("{what} of {}", self.id),
                source: other.into(),
            },
        }
    }
}
