//! Every signal kept away from a thread while it makes a child.
#![allow(unsafe_code, reason = "sets the signal mask by a system call")]

use std::ptr;

use libc::c_long;

use super::raw;

/// The size of the kernel's signal set in bytes, which is not the C library's.
pub(super) const SIGNAL_SET_BYTES: c_long = 8;

/// Every signal is blocked in this thread until this is dropped.
///
/// Done with the system call itself: the C library keeps two signals of its own out of every mask,
/// and a handler of those would run in the child, too.
pub(super) struct AllSignalsBlocked {
    before: u64,
}

impl AllSignalsBlocked {
    pub(super) fn new() -> Result<Self, i32> {
        let mut before = 0;
        set(u64::MAX, Some(&mut before))?;
        Ok(Self { before })
    }
}

impl Drop for AllSignalsBlocked {
    fn drop(&mut self) {
        // It cannot fail: the mask is one that was in force.
        let _ = set(self.before, None);
    }
}

fn set(mask: u64, before: Option<&mut u64>) -> Result<(), i32> {
    let how = c_long::from(libc::SIG_SETMASK);
    let before = before.map_or(ptr::null_mut(), ptr::from_mut) as c_long;
    let arguments = [
        how,
        (&raw const mask) as c_long,
        before,
        SIGNAL_SET_BYTES,
        0,
    ];
    // SAFETY: both point to 8 bytes, the size of the kernel's signal set, or are null.
    unsafe { raw::call(libc::SYS_rt_sigprocmask, arguments) }.map(drop)
}
