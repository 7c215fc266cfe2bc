//! One pipe, seen from outside.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open, openat, readlinkat_raw};
use rustix::io::{Errno, ioctl_fionread};
use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size};
use serde::{Deserialize, Serialize};

pub use self::id::PipeId;
use crate::error::{Error, Result};
use crate::proc::root;

pub(crate) mod id;

/// The contents of a pipe at one moment.
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
    pub fn empty(&self) -> bool {
        self.unread == 0
    }
}

/// The anonymous pipe that a link below `/proc` leads to, if it is one. The path of a file begins
/// with a slash, so none is taken for a pipe.
fn pipe_behind(proc: &OwnedFd, path: &str) -> Result<Option<PipeId>, Errno> {
    let mut link = [0_u8; 32];
    let length = readlinkat_raw(proc, path, &mut link[..])?;
    Ok(PipeId::from_link(&link[..length]))
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
/// An `O_PATH` descriptor of a pipe is neither a reader nor a writer, and can be held for as
/// long as you like. It answers no question either: to ask, a real end has to be opened, and for as
/// long as that end is open, a few microseconds, it counts. What that can change:
///
/// * **A reader too many.** When the last real reader has gone, a write that falls into those
///   microseconds succeeds instead of raising `SIGPIPE`, and its bytes are lost. A writer that
///   writes seldom could lose bytes without notice.
/// * **A writer too many.** When the last real writer has gone, a read of the drained pipe that
///   falls into those microseconds blocks instead of returning end of file (or gives `EAGAIN` on a
///   non-blocking descriptor). Closing the extra end wakes that reader, which then sees the end of
///   file. Nothing is lost, the answer comes microseconds later.
///
/// So every sample opens a *write* end, from which unread bytes, capacity, "full" and "the reader
/// is gone" can be learned. Whether the *writers* are gone shows only at a read end: that is a
/// question of its own, [`PipeHandle::writer_gone`], which first makes sure that a reader exists. Then the
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
    /// # References
    ///
    /// O_PATH in [open(2)](https://man7.org/linux/man-pages/man2/open.2.html)
    pub fn of_end(end: impl AsFd) -> Result<Self> {
        let proc = root::open_own()?;
        let path = format!("self/fd/{}", end.as_fd().as_raw_fd());
        Self::of_path(
            &proc,
            &path,
            "look at an own descriptor",
            std::process::id(),
        )
    }

    /// Takes hold of the pipe behind descriptor `descriptor` of process `pid`.
    ///
    /// # Errors
    ///
    /// [`Error::Ended`] if the process or its descriptor is gone, [`Error::Denied`] if this user
    /// may not look at it, [`Error::NotAPipe`] if it is something else.
    ///
    /// # References
    ///
    /// [proc_pid_fd(5)](https://man7.org/linux/man-pages/man5/proc_pid_fd.5.html)
    pub fn of_process(pid: u32, descriptor: u32) -> Result<Self> {
        let proc = root::open_own()?;
        let path = format!("{pid}/fd/{descriptor}");
        Self::of_path(&proc, &path, "look at a descriptor", pid)
    }

    fn of_path(proc: &OwnedFd, path: &str, what: &'static str, pid: u32) -> Result<Self> {
        let failed = |error| Error::of_process(what, pid, error);
        // Only what is a pipe is opened, and nothing is asked of a file: it may lie in a file system
        // that does not answer. A named FIFO is refused too: opening one, unlike an anonymous pipe,
        // wakes processes that wait in open(2) for a partner.
        let not_a_pipe = || Error::NotAPipe {
            descriptor: format!("/proc/{path}"),
        };
        pipe_behind(proc, path)
            .map_err(failed)?
            .ok_or_else(not_a_pipe)?;
        let handle =
            openat(proc, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
        // By now the number may lead elsewhere.
        let id = pipe_behind(proc, &format!("self/fd/{}", handle.as_raw_fd()))
            .map_err(failed)?
            .ok_or_else(not_a_pipe)?;
        Ok(Self { handle, id })
    }

    /// The pipe's identity.
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
    /// # References
    ///
    /// FIONREAD in [pipe(7)](https://man7.org/linux/man-pages/man7/pipe.7.html),
    /// [poll(2)](https://man7.org/linux/man-pages/man2/poll.2.html)
    pub fn level(&self) -> Result<PipeLevel> {
        self.level_and(|| {})
    }

    /// The same. Calls `before_close` while it has the pipe open still.
    pub(crate) fn level_and(&self, before_close: fn()) -> Result<PipeLevel> {
        let end = self.reopen(OFlags::WRONLY)?;
        let ready = self.poll(&end, PollFlags::OUT)?;
        let level = PipeLevel {
            unread: ioctl_fionread(&end)
                .map_err(|error| self.failed("ask for unread bytes", error))?,
            capacity: fcntl_getpipe_size(&end)
                .map_err(|error| self.failed("ask for the capacity", error))?
                as u64,
            full: !ready.contains(PollFlags::OUT),
            reader_gone: ready.contains(PollFlags::ERR),
        };
        before_close();
        Ok(level)
    }

    /// `true` if no process holds a write end any more: the readers see the end of file once they
    /// have drained the pipe. Of a pipe without a reader it is not asked, and `false`: see
    /// [`PipeHandle`] for why.
    ///
    /// # Errors
    ///
    /// [`Error::PipeDenied`] if the pipe was made by another user.
    ///
    /// # References
    ///
    /// POLLHUP in [poll(2)](https://man7.org/linux/man-pages/man2/poll.2.html)
    pub fn writer_gone(&self) -> Result<bool> {
        if self.level()?.reader_gone {
            return Ok(false);
        }
        let end = self.reopen(OFlags::RDONLY)?;
        Ok(self.poll(&end, PollFlags::IN)?.contains(PollFlags::HUP))
    }

    /// Sets the capacity, at least `bytes`, of a pipe that may be in use. Returns what the kernel
    /// made of it, in bytes: it rounds up to a power of two of pages.
    ///
    /// # Errors
    ///
    /// [`Error::CapacityNotGranted`] above the user's ceiling, [`Error::CapacityBelowUnread`] when
    /// shrinking a pipe that holds more than that.
    ///
    /// # References
    ///
    /// [fcntl(2), `F_SETPIPE_SZ`](https://man7.org/linux/man-pages/man2/fcntl.2.html)
    pub fn set_capacity(&self, bytes: usize) -> Result<usize> {
        let end = self.reopen(OFlags::WRONLY)?;
        fcntl_setpipe_size(&end, bytes).map_err(|error| match error {
            Errno::PERM => Error::CapacityNotGranted {
                pipe: self.id,
                requested: bytes,
            },
            Errno::BUSY => Error::CapacityBelowUnread {
                pipe: self.id,
                requested: bytes,
            },
            other => self.failed("set the capacity", other),
        })
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

    fn failed(&self, what: &'static str, error: Errno) -> Error {
        match error {
            Errno::ACCESS | Errno::PERM => Error::PipeDenied {
                what,
                pipe: self.id,
            },
            other => Error::System {
                what: format!("{what} of {}", self.id),
                reason: other.into(),
            },
        }
    }
}
