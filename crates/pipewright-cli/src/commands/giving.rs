//! Bytes of a spool given to a descriptor, without a copy where the kernel can.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use pipewright_spool::Piece;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::sendfile;
use rustix::io::Errno;

/// Gives all of a piece. A reader that has gone is `BrokenPipe`.
///
/// # References
///
/// [sendfile(2)](https://man7.org/linux/man-pages/man2/sendfile.2.html)
pub(super) fn give(piece: &Piece<File>, to: BorrowedFd<'_>) -> io::Result<()> {
    let end = piece.at + piece.length;
    let mut at = piece.at;
    while at < end {
        let left = usize::try_from(end - at).unwrap_or(usize::MAX);
        match sendfile(to, &*piece.file, Some(&mut at), left.min(1 << 20)) {
            // What was checked a moment ago is no longer there.
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => await_room(to),
            Err(Errno::INVAL | Errno::NOSYS) => return copy(&piece.file, at, end, to),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// For what takes no sendfile, such as a file opened to append.
fn copy(file: &File, mut at: u64, end: u64, to: BorrowedFd<'_>) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    while at < end {
        let length = buffer
            .len()
            .min(usize::try_from(end - at).unwrap_or(usize::MAX));
        file.read_exact_at(&mut buffer[..length], at)?;
        let mut piece = &buffer[..length];
        while !piece.is_empty() {
            match rustix::io::write(to, piece) {
                Ok(written) => piece = &piece[written..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => await_room(to),
                Err(errno) => return Err(errno.into()),
            }
        }
        at += length as u64;
    }
    Ok(())
}

fn await_room(to: BorrowedFd<'_>) {
    // Interrupted or not, it is tried again.
    let _ = poll(&mut [PollFd::new(&to, PollFlags::OUT)], None);
}

/// Waits until the reader of a pipe has gone; for ever where there is none.
pub(super) fn await_gone(to: impl AsFd) {
    loop {
        let mut polled = [PollFd::new(&to, PollFlags::empty())];
        match poll(&mut polled, None) {
            Ok(_) if polled[0].revents().contains(PollFlags::ERR) => return,
            Err(Errno::INTR) => {}
            // Closed on the other side, which is no pipe's way: who writes will see.
            _ => std::thread::park(),
        }
    }
}
