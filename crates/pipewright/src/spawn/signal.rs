//! Signals to a whole process group, and what this process does with SIGCHLD.
#![allow(
    unsafe_code,
    reason = "pidfd_send_signal with flags, and sigaction, are in no crate we use"
)]

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use rustix::io::Errno;
use rustix::process::Signal;

use crate::error::LostStatus;

/// PIDFD_SIGNAL_PROCESS_GROUP, since Linux 6.9.
const PROCESS_GROUP: libc::c_uint = 1 << 2;

/// Sends a signal to the group that the process leads or led. The kernel goes by the process and not
/// by its number, so that this is sound even after its status was taken.
///
/// EINVAL: the kernel does not know how.
pub(crate) fn signal_group(leader: BorrowedFd<'_>, signal: Signal) -> Result<(), Errno> {
    // SAFETY: a system call on plain numbers; without information about the sender, the kernel fills
    // that in itself.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            leader.as_raw_fd(),
            signal.as_raw(),
            ptr::null::<libc::siginfo_t>(),
            PROCESS_GROUP,
        )
    };
    if result == 0 {
        return Ok(());
    }
    // SAFETY: the thread's errno is always readable.
    Err(Errno::from_raw_os_error(unsafe {
        *libc::__errno_location()
    }))
}

/// Tells whether this process ignores SIGCHLD, so that the kernel keeps no status of a child.
pub(crate) fn is_sigchld_ignored() -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asked with a null pointer, sigaction changes nothing and fills a struct that was
    // zeroed, which is a valid value of it.
    let action = unsafe {
        libc::sigaction(libc::SIGCHLD, ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN || action.sa_flags & libc::SA_NOCLDWAIT != 0
}

/// Finds out why a child's status is not to be had, as far as can be known afterwards.
pub(crate) fn lost_status() -> LostStatus {
    if is_sigchld_ignored() {
        LostStatus::Ignored
    } else {
        LostStatus::TakenElsewhere
    }
}
