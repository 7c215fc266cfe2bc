//! Writing to a pipe that may have lost its reader, without the signal that comes with it.
#![allow(
    unsafe_code,
    reason = "the signal mask of this thread is in no crate we use"
)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::ptr;

use rustix::io::{Errno, write};

/// Writes once, as `write(2)`, and returns how many bytes were taken. Where nobody reads any more it
/// fails with EPIPE, and SIGPIPE is not raised.
///
/// Rust's runtime ignores that signal. A process that set it back to its default, as command-line
/// programs do, would otherwise die because a child did not read all of its input.
///
/// # Errors
///
/// Those of the system call, EPIPE, EAGAIN and EINTR among them.
///
/// # References
///
/// [write(2)](https://man7.org/linux/man-pages/man2/write.2.html),
/// [pipe(7)](https://man7.org/linux/man-pages/man7/pipe.7.html)
pub fn write_without_sigpipe(to: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    // The signal goes to the thread that writes, so it is enough to block it here, and to take it
    // off the queue again if this write put it there.
    let mut sigpipe = MaybeUninit::<libc::sigset_t>::uninit();
    let mut pending = MaybeUninit::<libc::sigset_t>::zeroed();
    let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: every pointer is to a set of the C library's type; sigemptyset makes the first one a
    // set, and the other two are zeroed, a valid value, which the calls overwrite.
    let (sigpipe, before, was_pending) = unsafe {
        libc::sigemptyset(sigpipe.as_mut_ptr());
        libc::sigaddset(sigpipe.as_mut_ptr(), libc::SIGPIPE);
        libc::sigpending(pending.as_mut_ptr());
        let was_pending = libc::sigismember(pending.as_ptr(), libc::SIGPIPE) == 1;
        libc::pthread_sigmask(libc::SIG_BLOCK, sigpipe.as_ptr(), before.as_mut_ptr());
        (sigpipe.assume_init(), before.assume_init(), was_pending)
    };
    let result = write(to, bytes);
    // SAFETY: as above. The wait does not block: its time is zero.
    unsafe {
        if result == Err(Errno::PIPE) && !was_pending {
            let at_once = libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            libc::sigtimedwait(&raw const sigpipe, ptr::null_mut(), &raw const at_once);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
    }
    Ok(result?)
}
