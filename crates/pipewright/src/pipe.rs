//! One kernel pipe: its ends, its capacity, what waits in it, and moving bytes between pipes
//! without copying them through this process.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::SpliceFlags;

use crate::error::{Error, Result};

/// Makes a pipe and returns its ends, **the reader first**.
///
/// The two ends have different types, so that they cannot be swapped. Both are close-on-exec, and
/// neither is ever numbered 0, 1 or 2: in a process that was started without a stdin, the kernel
/// would hand out 0, and the pipe's end would be taken for the stdin of every child.
///
/// The capacity is the kernel's default, 65536 bytes on machines with pages of 4096 bytes; see
/// [`PipeExt::set_capacity`].
///
/// # Errors
///
/// [`Error::System`] when this process or the system has no descriptor left (EMFILE, ENFILE).
///
/// ```
/// use std::io::{Read, Write};
///
/// let (mut reader, mut writer) = pipewright::pipe()?;
/// writer.write_all(b"HOLA!")?;
/// drop(writer); // the last writer is gone: the reader will see the end of file
///
/// let mut received = String::new();
/// reader.read_to_string(&mut received)?;
/// assert_eq!(received, "HOLA!");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # References
///
/// [pipe(2)](https://man7.org/linux/man-pages/man2/pipe.2.html),
/// [pipe(7)](https://man7.org/linux/man-pages/man7/pipe.7.html)
pub fn pipe() -> Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = std::io::pipe().map_err(|source| Error::System {
        operation: "make a pipe",
        source,
    })?;
    Ok((
        above_stdio(reader.into())?.into(),
        above_stdio(writer.into())?.into(),
    ))
}

/// Moves a descriptor away from 0, 1 and 2.
fn above_stdio(descriptor: OwnedFd) -> Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    if descriptor.as_raw_fd() > 2 {
        return Ok(descriptor);
    }
    rustix::io::fcntl_dupfd_cloexec(&descriptor, 3).map_err(Error::system("make a pipe"))
}

/// The pipe behind an end: its capacity, and the bytes in it.
///
/// ```
/// use std::io::Write;
/// use pipewright::PipeExt;
///
/// let (reader, mut writer) = pipewright::pipe()?;
/// assert_eq!(reader.set_capacity(100_000)?, 131_072); // rounded up by the kernel
/// assert_eq!(writer.capacity()?, 131_072); // one pipe, seen from its other end
/// writer.write_all(b"four")?;
/// assert_eq!(reader.unread()?, 4);
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait PipeExt: AsFd {
    /// The capacity in bytes.
    ///
    /// The kernel counts page-sized slots, not bytes: writes that leave slots partly filled block
    /// before that many bytes are unread.
    ///
    /// # Errors
    ///
    /// [`Error::System`] with EBADF when the descriptor is not a pipe.
    ///
    /// # References
    ///
    /// F_GETPIPE_SZ in [fcntl(2)](https://man7.org/linux/man-pages/man2/fcntl.2.html)
    fn capacity(&self) -> Result<usize> {
        rustix::pipe::fcntl_getpipe_size(self).map_err(Error::system("read the pipe's capacity"))
    }

    /// Asks for a capacity of at least `bytes` and returns the bytes that the kernel granted: the
    /// next power of two, and at least one page.
    ///
    /// It may be called while the pipe is in use and has bytes in it.
    ///
    /// # Errors
    ///
    /// - [`Error::CapacityAboveCeiling`]: more than `/proc/sys/fs/pipe-max-size` (1 MiB unless it
    ///   was changed) without the privilege CAP_SYS_RESOURCE.
    /// - [`Error::CapacityOverQuota`]: this user's pipes together would pass
    ///   `/proc/sys/fs/pipe-user-pages-soft`.
    /// - [`Error::CapacityBelowUnread`]: what is unread would not fit.
    /// - [`Error::System`]: the descriptor is not a pipe, or no memory.
    ///
    /// # References
    ///
    /// F_SETPIPE_SZ in [fcntl(2)](https://man7.org/linux/man-pages/man2/fcntl.2.html)
    fn set_capacity(&self, bytes: usize) -> Result<usize> {
        match rustix::pipe::fcntl_setpipe_size(self, bytes) {
            Ok(granted) => Ok(granted),
            // One error number for two refusals; the ceiling tells which of them it was.
            Err(Errno::PERM) => match ceiling() {
                Some(ceiling) if bytes > ceiling => Err(Error::CapacityAboveCeiling {
                    requested: bytes,
                    ceiling,
                }),
                _ => Err(Error::CapacityOverQuota { requested: bytes }),
            },
            Err(Errno::BUSY) => Err(Error::CapacityBelowUnread {
                requested: bytes,
                unread: self.unread()?,
            }),
            Err(errno) => Err(Error::system("set the pipe's capacity")(errno)),
        }
    }

    /// The number of bytes that were written to the pipe and not read yet.
    ///
    /// # Errors
    ///
    /// [`Error::System`] when the descriptor cannot tell.
    ///
    /// # References
    ///
    /// FIONREAD in [pipe(7)](https://man7.org/linux/man-pages/man7/pipe.7.html)
    fn unread(&self) -> Result<usize> {
        rustix::io::ioctl_fionread(self)
            .map(|bytes| bytes as usize)
            .map_err(Error::system("read how much is unread in the pipe"))
    }
}

impl PipeExt for PipeReader {}
impl PipeExt for PipeWriter {}

/// The most that the kernel grants an unprivileged process, in bytes.
fn ceiling() -> Option<usize> {
    number_in("/proc/sys/fs/pipe-max-size")
}

fn number_in(path: &str) -> Option<usize> {
    // In one piece: a file of /proc/sys has no size that a buffer could be made to.
    let mut text = [0; 32];
    let length = File::open(path).ok()?.read(&mut text).ok()?;
    let text = str::from_utf8(text.get(..length)?).ok()?;
    text.trim().parse().ok()
}

/// The capacity in bytes that each of `pipes` pipes of one pipeline may ask for: what its user
/// `wanted`, or else 1 MiB, as far as the quota allows.
///
/// Together they take at most half of the user's soft quota, because past the quota every *other*
/// new pipe of the user gets two pages.
pub(crate) fn fair_capacity(pipes: usize, wanted: Option<usize>) -> usize {
    let quota_pages = number_in("/proc/sys/fs/pipe-user-pages-soft").unwrap_or(16384);
    let wanted = wanted.unwrap_or_else(|| ceiling().map_or(MEBIBYTE, |it| it.min(MEBIBYTE)));
    fair_share(pipes, wanted, quota_pages, rustix::param::page_size())
}

/// The capacity of a new pipe, in pages, until somebody asks for more.
///
/// # References
///
/// [pipe(7)](https://man7.org/linux/man-pages/man7/pipe.7.html)
pub const DEFAULT_PAGES: usize = 16;

/// The largest capacity that the kernel grants an unprivileged process, unless it was set up
/// otherwise.
pub(crate) const MEBIBYTE: usize = 1 << 20;

/// The pure part of [`fair_capacity`]. A quota of zero means that there is none.
fn fair_share(pipes: usize, wanted: usize, quota_pages: usize, page: usize) -> usize {
    if quota_pages == 0 || pipes == 0 {
        return wanted;
    }
    let share = (quota_pages / 2 / pipes).max(1);
    // The kernel rounds up to a power of two of pages; rounding down first keeps the promise.
    let share = 1 << share.ilog2();
    wanted.min(share * page)
}

/// Gives a pipe the largest capacity up to `wanted` that the kernel grants, and returns it. A
/// refusal is no error: then the pipe is smaller.
pub(crate) fn resize(pipe: &impl PipeExt, wanted: usize) -> Result<usize> {
    let present = pipe.capacity()?;
    if wanted < present {
        return pipe.set_capacity(wanted).or(Ok(present));
    }
    let halves = std::iter::successors(Some(wanted), |size| Some(size / 2));
    let larger = halves.take_while(|&size| size > present);
    Ok(larger
        .filter_map(|size| pipe.set_capacity(size).ok())
        .next()
        .unwrap_or(present))
}

/// Moves up to `length` bytes from one pipe to another (or between a pipe and a file or socket)
/// inside the kernel, and returns how many were moved. 0 is the end of file.
///
/// One of the two must be a pipe. It moves what is there: a short count is normal, and a loop that
/// wants all goes on until 0.
///
/// - **End of file**: 0 when the source is empty and has no writer left.
/// - **EINTR**: a signal before the first byte; it is tried again here, so it is never returned.
/// - **EAGAIN** ([`std::io::ErrorKind::WouldBlock`]): one of the two is non-blocking and has
///   nothing to give or no room. Nothing was moved; poll and call again.
/// - **EPIPE**: the destination has no reader left. The calling process also gets SIGPIPE, which
///   Rust's runtime ignores.
/// - Otherwise it blocks until at least one byte was moved.
///
/// # Errors
///
/// [`Error::System`] with the kernel's reason; EINVAL where neither is a pipe, or the destination
/// file was opened for appending.
///
/// ```
/// use std::io::{Read, Write};
///
/// let (from, mut feed) = pipewright::pipe()?;
/// let (mut out, to) = pipewright::pipe()?;
/// feed.write_all(b"through the kernel")?;
/// drop(feed);
///
/// assert_eq!(pipewright::splice(&from, &to, 1 << 20)?, 18);
/// assert_eq!(pipewright::splice(&from, &to, 1 << 20)?, 0); // end of file
/// drop(to);
/// let mut text = String::new();
/// out.read_to_string(&mut text)?;
/// assert_eq!(text, "through the kernel");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # References
///
/// [splice(2)](https://man7.org/linux/man-pages/man2/splice.2.html)
pub fn splice(from: impl AsFd, to: impl AsFd, length: usize) -> Result<usize> {
    rustix::io::retry_on_intr(|| {
        rustix::pipe::splice(&from, None, &to, None, length, SpliceFlags::empty())
    })
    .map_err(Error::system("splice between two descriptors"))
}

/// Copies up to `length` bytes from one pipe to another **without taking them** from the first, and
/// returns how many were copied. 0 is the end of file.
///
/// Both must be pipes, and not the two ends of the same one. A second call sees the same bytes
/// again; read or [`splice`] them away to go on. The descriptors behave as in [`splice`]: 0 only
/// at the end of file, EINTR tried again here, EAGAIN returned from non-blocking ends, EPIPE when
/// nobody reads the destination.
///
/// # Errors
///
/// [`Error::System`] with the kernel's reason; EINVAL where one is not a pipe or both are the same.
///
/// # References
///
/// [tee(2)](https://man7.org/linux/man-pages/man2/tee.2.html)
pub fn tee(from: impl AsFd, to: impl AsFd, length: usize) -> Result<usize> {
    rustix::io::retry_on_intr(|| rustix::pipe::tee(&from, &to, length, SpliceFlags::empty()))
        .map_err(Error::system("tee between two pipes"))
}

#[cfg(test)]
mod tests {
    use super::fair_share;

    const PAGE: usize = 4096;
    const MIB: usize = super::MEBIBYTE;

    #[test]
    fn a_short_pipeline_gets_what_it_wants() {
        assert_eq!(fair_share(1, MIB, 16384, PAGE), MIB);
        assert_eq!(fair_share(32, MIB, 16384, PAGE), MIB);
        assert_eq!(fair_share(2, 65536, 16384, PAGE), 65536);
    }

    #[test]
    fn all_pipes_together_take_at_most_half_the_quota() {
        for pipes in 1..5000 {
            let pages = fair_share(pipes, MIB, 16384, PAGE) / PAGE;
            assert!(pages.is_power_of_two());
            assert!(
                pages == 1 || pages * pipes <= 16384 / 2,
                "{pipes} pipes of {pages} pages"
            );
        }
    }

    #[test]
    fn no_quota_means_no_limit() {
        assert_eq!(fair_share(1000, MIB, 0, PAGE), MIB);
    }
}
