//! The memory that the child runs on between clone and exec, and the clone itself.
#![allow(unsafe_code, reason = "mmap and clone")]

use std::arch::asm;
use std::ffi::c_void;
use std::ops::Deref;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use libc::c_int;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

use super::image::Image;
use super::in_child::InChild;
use super::mask::AllSignalsBlocked;
use super::stop::Noted;
use super::vfork::{Failure, at, become_program};
use crate::error::Step;

/// Bytes for the child's frames: it calls a few functions deep and keeps one buffer of 2 KiB, and a
/// signal's frame may take 12 KiB.
const SIZE: usize = 64 * 1024;

/// The largest page that the two architectures have. Asking for the real one costs more than the
/// addresses, and under valgrind the process: rustix looks for it where that leaves nothing.
const PAGE: usize = 64 * 1024;

/// From the low end to the high one: a page that nobody may touch, so that an overflow is a fault and
/// not a quiet change to the parent's memory; the stack; and a page for the child's [`Report`].
pub(super) struct Stack {
    start: *mut c_void,
    length: usize,
    report: *mut Report,
    /// The process that mapped it. One that was forked elsewhere has the mapping as well, and must not
    /// use it: the report is shared.
    process: i32,
}

/// What the child tells: nothing, unless the start failed.
///
/// Its page is shared as a file's would be. The child shares all of the parent's memory anyway, but
/// not where a tool such as valgrind turns the clone into a fork.
#[derive(Clone, Copy)]
struct Report {
    step: Option<&'static Step>,
    detail: i32,
    errno: i32,
}

impl Report {
    const NOTHING: Self = Self {
        step: None,
        detail: 0,
        errno: 0,
    };

    fn of(failure: Failure) -> Self {
        Self {
            step: Some(failure.step),
            detail: failure.detail,
            errno: failure.errno,
        }
    }

    fn failure(self) -> Option<Failure> {
        let step = self.step?;
        Some(Failure {
            step,
            detail: self.detail,
            errno: self.errno,
        })
    }
}

/// Stacks that no start uses just now. Mapping one anew would cost more than everything else that
/// the parent does for a start.
static SPARE: Mutex<Vec<Stack>> = Mutex::new(Vec::new());

/// How many are kept, of 192 KiB of addresses each; as many starts at once need no mapping.
const SPARE_STACKS: usize = 16;

// SAFETY: a mapping belongs to no thread; whoever owns the value is the only one to use it.
unsafe impl Send for Stack {}

/// A stack on loan from those that are spare.
pub(super) struct Loan(Option<Stack>);

impl Loan {
    /// For a start by the process of this number, which is this one's.
    pub(super) fn take(process: i32) -> Result<Self, i32> {
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        spare.retain(|stack| stack.process == process);
        let stack = spare.pop();
        drop(spare);
        stack
            .map_or_else(|| Stack::map(process), Ok)
            .map(|stack| Self(Some(stack)))
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
    fn map(process: i32) -> Result<Self, i32> {
        let length = PAGE + SIZE + PAGE;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let private = MapFlags::PRIVATE | MapFlags::STACK | MapFlags::NORESERVE;
        // SAFETY: a new private mapping at an address that the kernel chooses.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), length, access, private) }
            .map_err(|errno| errno.raw_os_error())?;
        let report = start.wrapping_byte_add(PAGE + SIZE);
        let stack = Self {
            start,
            length,
            report: report.cast(),
            process,
        };
        // SAFETY: both ends of the mapping just made, which nothing uses yet.
        unsafe {
            mprotect(stack.start, PAGE, MprotectFlags::empty())
                .and_then(|()| {
                    let shared = MapFlags::SHARED | MapFlags::FIXED;
                    mmap_anonymous(report, PAGE, access, shared).map(drop)
                })
                .map_err(|errno| errno.raw_os_error())?;
        }
        Ok(stack)
    }

    /// Clones a child onto the stack. Returns when it has executed the program, or has ended with the
    /// failure that comes with it.
    pub(super) fn clone_onto(
        &self,
        image: &Image,
    ) -> Result<(i32, OwnedFd, Option<Failure>), Failure> {
        let start = Start {
            image,
            report: self.report,
        };
        let blocked = AllSignalsBlocked::new().map_err(at(&Step::Signals))?;
        let noted = Noted::default();
        noted.begin();
        let mut pidfd: c_int = -1;
        // SAFETY: the page is this stack's, mapped and large enough, and no other start uses it. The
        // stack is as `clone` needs it; `start` and what it points to live on in this frame.
        let (pid, failure) = unsafe {
            self.report.write(Report::NOTHING);
            let pid = clone(self.report.cast(), &start, &mut pidfd);
            (pid, self.report.read().failure())
        };
        let stopped = noted.end();
        let pid = pid.map_err(at(&Step::Clone))?;
        // SAFETY: clone succeeded with CLONE_PIDFD, so the kernel stored a new descriptor, which
        // nobody else owns. The kernel made it close-on-exec.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        if let Some(signal) = stopped.and_then(rustix::process::Signal::from_named_raw) {
            // Before this thread takes its own. A child that has ended needs none.
            let _ = rustix::process::pidfd_send_signal(&pidfd, signal);
        }
        drop(blocked);
        Ok((pid, pidfd, failure))
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length, and no child runs on it any more.
        let _ = unsafe { munmap(self.start, self.length) };
    }
}

/// What the parent hands to [`child`].
struct Start<'a> {
    image: &'a Image,
    report: *mut Report,
}

/// Where the child begins, on its own stack.
///
/// # Safety
///
/// Only as what [`clone`] calls, all of whose conditions hold.
unsafe extern "C" fn child(start: *const Start<'_>) -> ! {
    // SAFETY: the Start is in the frame of the parent, which is suspended in clone until this child has
    // executed or ended. The clone was without CLONE_FILES, CLONE_FS, CLONE_SIGHAND and CLONE_THREAD,
    // and with all signals blocked: what the token asks for.
    let (start, token) = unsafe { (&*start, InChild::assume()) };
    let failure = become_program(token, start.image);
    // SAFETY: the page is this start's alone.
    unsafe { start.report.write(Report::of(failure)) };
    token.end()
}

/// Makes a child that shares this process's memory, and returns when it has executed or ended.
///
/// Not by the C library's `clone`, which tools put their own in the place of: ThreadSanitizer does, and
/// ends the process.
///
/// # Safety
///
/// All signals are blocked in this thread. Below `top`, which is aligned to 16, is a stack that nobody
/// uses.
unsafe fn clone(top: *mut c_void, start: &Start<'_>, pidfd: &mut c_int) -> Result<i32, i32> {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let result: isize;
    // SAFETY: the parent goes on behind `2:` with nothing changed but the registers named. The child
    // has copies of all registers and a stack of its own, so it touches nothing of this frame's before
    // it calls `child`, which does not return. The kernel stores the pidfd through the pointer to it,
    // the place where clone(2) passes it.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp", // the outermost frame
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone as isize => result,
            in("rdi") flags as isize,
            in("rsi") top,
            in("rdx") pidfd,
            in("r10") 0_usize,
            in("r8") 0_usize,
            in("r12") start,
            in("r13") child as unsafe extern "C" fn(_) -> !,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr", // the outermost frame
            "mov x30, xzr",
            "mov x0, x20",
            "blr x21",
            "brk #1",
            "2:",
            in("x8") libc::SYS_clone,
            inlateout("x0") flags as isize => result,
            in("x1") top,
            in("x2") pidfd,
            in("x3") 0_usize,
            in("x4") 0_usize,
            in("x20") start,
            in("x21") child as unsafe extern "C" fn(_) -> !,
        );
    }
    match i32::try_from(result) {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err(result.unsigned_abs() as i32),
    }
}
