//! The stack of its own on which the child runs between clone and exec, and the clone itself.
#![allow(unsafe_code, reason = "mmap and clone")]

use std::ffi::c_void;
use std::ops::Deref;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

use super::image::Image;
use super::vfork::{self, Failure, Report, Start};
use crate::error::Step;

/// Bytes for the child's frames: it calls a few functions deep and keeps one buffer of 2 KiB.
const SIZE: usize = 32 * 1024;

/// A mapping with a page at its low end that nobody may touch, so that an overflow is a fault and
/// not a quiet change to the parent's memory.
pub(super) struct Stack {
    start: *mut c_void,
    length: usize,
}

/// Stacks that no start uses just now. Mapping one anew would cost more than everything else that
/// the parent does for a start.
static SPARE: Mutex<Vec<Stack>> = Mutex::new(Vec::new());

/// How many are kept, of 36 KiB each; as many starts at once need no mapping.
const SPARE_STACKS: usize = 16;

// SAFETY: a mapping belongs to no thread; whoever owns the value is the only one to use it.
unsafe impl Send for Stack {}

/// A stack on loan from those that are spare.
pub(super) struct Loan(Option<Stack>);

impl Loan {
    pub(super) fn take() -> Result<Self, i32> {
        let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Ok(Self(Some(match spare {
            Some(stack) => stack,
            None => Stack::map()?,
        })))
    }
}

impl Deref for Loan {
    type Target = Stack;

    #[expect(clippy::expect_used, reason = "taken only in drop")]
    fn deref(&self) -> &Stack {
        self.0
            .as_ref()
            .expect("a loan holds its stack until it is dropped")
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE_STACKS {
            spare.extend(self.0.take());
        }
    }
}

impl Stack {
    fn map() -> Result<Self, i32> {
        let guard = rustix::param::page_size();
        let length = guard + SIZE;
        // SAFETY: a new private mapping at an address that the kernel chooses.
        let start = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::STACK | MapFlags::NORESERVE,
            )
        }
        .map_err(|errno| errno.raw_os_error())?;
        let stack = Self { start, length };
        // SAFETY: the first page of the mapping just made, which nothing uses yet.
        unsafe { mprotect(stack.start, guard, MprotectFlags::empty()) }
            .map_err(|errno| errno.raw_os_error())?;
        Ok(stack)
    }

    /// Clones a child onto the stack. Returns when it has executed the program, or has ended with
    /// the failure it reports.
    pub(super) fn clone_onto(
        &self,
        image: &Image,
    ) -> Result<(i32, OwnedFd, Option<Failure>), (Step, i32)> {
        let report = Report::default();
        let start = Start {
            image,
            report: &report,
        };
        let mut pidfd: libc::c_int = -1;
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;

        let blocked = AllSignalsBlocked::new().map_err(|errno| (Step::Signals, errno))?;
        // SAFETY: the stack is mapped, unused, and its high end is page-aligned; with CLONE_VFORK
        // this thread is suspended until the child no longer uses it, nor `start`, `report` and
        // `image`. The child keeps to the rules of the module `vfork`. The kernel stores the pidfd
        // through the pointer to `pidfd`, the place where clone(2) passes it.
        let pid = unsafe {
            libc::clone(
                vfork::child,
                self.start.byte_add(self.length),
                flags,
                (&raw const start).cast_mut().cast(),
                &raw mut pidfd,
                ptr::null_mut::<c_void>(),
                ptr::null_mut::<c_void>(),
            )
        };
        let errno = vfork::errno();
        drop(blocked);

        if pid == -1 {
            return Err((Step::Clone, errno));
        }
        // SAFETY: clone succeeded with CLONE_PIDFD, so the kernel stored a new descriptor, which
        // nobody else owns. The kernel made it close-on-exec.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        Ok((pid, pidfd, report.failure()))
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length, and no child runs on it any more.
        let _ = unsafe { munmap(self.start, self.length) };
    }
}

/// Every signal is blocked in this thread until this is dropped.
///
/// Done with the system call itself: the C library keeps two signals of its own out of every mask,
/// and a handler of those would run in the child, too.
pub(super) struct AllSignalsBlocked {
    before: u64,
}

impl AllSignalsBlocked {
    pub(super) fn new() -> Result<Self, i32> {
        let mut before = 0_u64;
        set_mask(u64::MAX, Some(&mut before))?;
        Ok(Self { before })
    }
}

impl Drop for AllSignalsBlocked {
    fn drop(&mut self) {
        // It cannot fail: the mask is one that was in force.
        let _ = set_mask(self.before, None);
    }
}

fn set_mask(mask: u64, before: Option<&mut u64>) -> Result<(), i32> {
    let before = before.map_or(ptr::null_mut(), ptr::from_mut);
    // SAFETY: both point to 8 bytes, the size of the kernel's signal set, or are null.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::c_long::from(libc::SIG_SETMASK),
            &raw const mask,
            before,
            vfork::SIGNAL_SET_BYTES,
        )
    };
    if result == -1 {
        Err(vfork::errno())
    } else {
        Ok(())
    }
}
