//! A copy of this process that shares its table of descriptors.
#![allow(unsafe_code, reason = "clone")]

use std::os::fd::{FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use libc::{c_int, c_long};

use super::mask::AllSignalsBlocked;
use super::raw;

/// Makes a copy of this process that lives this life and ends; gives its number and pidfd.
///
/// The memory is a copy, as after a fork. The table of descriptors is one: what either opens or closes
/// is open or closed to both, and an open file is closed for good when both have ended. In the copy
/// every signal that can be is blocked.
///
/// Only for a process with one thread: another one might hold a lock at this moment, and in the copy
/// nobody would ever give it back.
pub(crate) fn twin(life: impl FnOnce()) -> Result<(i32, OwnedFd), i32> {
    let blocked = AllSignalsBlocked::new()?;
    let mut pidfd: c_int = -1;
    let flags = libc::CLONE_FILES | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: without CLONE_VM and without a stack the copy goes on behind the call as this process does,
    // in memory of its own. The kernel stores the pidfd through the pointer, in this process.
    let pid = unsafe {
        raw::call(
            libc::SYS_clone,
            [flags.into(), 0, (&raw mut pidfd) as c_long, 0, 0],
        )
    }?;
    if pid == 0 {
        // The frames above belong to the other one: nothing returns to them, whatever happens.
        let _ = catch_unwind(AssertUnwindSafe(life));
        loop {
            // SAFETY: it takes a number, and does not return.
            let _ = unsafe { raw::call(libc::SYS_exit_group, [0; 5]) };
        }
    }
    drop(blocked);
    // SAFETY: clone succeeded with CLONE_PIDFD, so the kernel stored a new descriptor, which nobody else
    // owns. The kernel made it close-on-exec.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok((pid as i32, pidfd))
}

/// Closes 0, 1 and 2 in a copy whose original has ended.
pub(crate) fn close_standard_streams() {
    for number in 0..3 {
        // SAFETY: the table is the copy's alone by now, and nothing in it reads or writes there any more.
        let _ = unsafe { raw::call(libc::SYS_close, [number, 0, 0, 0, 0]) };
    }
}
