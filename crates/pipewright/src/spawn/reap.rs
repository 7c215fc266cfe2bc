//! Taking the status of an ended child, together with what it used.
#![allow(
    unsafe_code,
    reason = "waitid's fifth argument, the resource usage, is in no crate we use"
)]

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// What a process used, with all its descendants that it waited for.
///
/// ```
/// let counts = "i=0; while [ $i -lt 9999 ]; do i=$((i+1)); done";
/// let child = pipewright::Command::new("sh").args(["-c", counts]).spawn()?;
/// child.wait()?;
/// let usage = child.usage().expect("it has ended");
/// assert!(usage.user + usage.system > std::time::Duration::ZERO);
/// if let Some(bytes) = usage.peak_memory {
///     assert!(bytes > 4096);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # References
///
/// [getrusage(2)](https://man7.org/linux/man-pages/man2/getrusage.2.html)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ResourceUsage {
    /// CPU time in user mode.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// The largest resident set in bytes, of the process or of one of those descendants.
    ///
    /// `None` when it was no larger than this process's own. A child that is started without a copy
    /// of its parent's memory shares that memory until it executes, and the kernel counts it; so
    /// only a peak that is clearly larger (by more than 1 MiB) is known to be the child's.
    pub peak_memory: Option<u64>,
}

impl ResourceUsage {
    /// CPU time in both modes.
    pub fn cpu(&self) -> Duration {
        self.user + self.system
    }
}

/// A status that was taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reaped {
    pub(crate) status: ExitStatus,
    /// User and system time.
    pub(crate) times: (Duration, Duration),
    /// The kernel's figure for the peak, in bytes.
    pub(crate) peak_memory: u64,
}

/// Takes the status of the child if it has ended. Never blocks.
pub(crate) fn reap(pidfd: BorrowedFd<'_>) -> Result<Option<Reaped>, Errno> {
    let mut information = MaybeUninit::<libc::siginfo_t>::zeroed();
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG;
    loop {
        // SAFETY: the two pointers are to structs of the kernel's layout, which it fills.
        let result = unsafe {
            libc::syscall(
                libc::SYS_waitid,
                libc::P_PIDFD,
                pidfd.as_raw_fd(),
                information.as_mut_ptr(),
                options,
                usage.as_mut_ptr(),
            )
        };
        if result == 0 {
            break;
        }
        // SAFETY: the thread's errno is always readable.
        let errno = unsafe { *libc::__errno_location() };
        if errno != libc::EINTR {
            return Err(Errno::from_raw_os_error(errno));
        }
    }
    // SAFETY: both were zeroed, a valid value for either, and perhaps filled since. With WNOHANG
    // the kernel leaves si_pid zero when the child has not ended.
    let (information, usage) = unsafe { (information.assume_init(), usage.assume_init()) };
    // SAFETY: waitid fills the fields of a child's end.
    let (pid, number) = unsafe { (information.si_pid(), information.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    // Back into the form that wait(2) gives, of which std's ExitStatus is made.
    let raw = match information.si_code {
        libc::CLD_EXITED => (number & 0xff) << 8,
        libc::CLD_DUMPED => number | 0x80,
        _ => number,
    };
    Ok(Some(Reaped {
        status: ExitStatus::from_raw(raw),
        times: (duration(usage.ru_utime), duration(usage.ru_stime)),
        peak_memory: usage.ru_maxrss as u64 * 1024,
    }))
}

/// Blocks until the child has ended, and leaves its status to be taken. Returns at once when it was
/// taken by somebody else.
pub(crate) fn wait_for_end(pidfd: BorrowedFd<'_>) -> Result<(), Errno> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    match rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(pidfd), options)) {
        Ok(_) | Err(Errno::CHILD) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Blocks until no child of this number runs any more. Leaves its status to be taken.
pub(super) fn await_end(pid: u32) {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return;
    };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    // ECHILD: its status was taken already. Where waiting is forbidden, the thread lasts for good.
    match rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), options)) {
        Ok(_) | Err(Errno::CHILD) => {}
        Err(_) => loop {
            std::thread::park();
        },
    }
}

/// Tells whether the child has ended, and leaves its status to be taken.
pub(crate) fn has_ended(pidfd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match waitid(WaitId::PidFd(pidfd), options) {
        Ok(ended) => Ok(ended.is_some()),
        Err(Errno::CHILD) => Ok(true),
        Err(errno) => Err(errno),
    }
}

/// Tells whether the child's status has not been taken, by this crate or by anybody else. Till then
/// its number stays its own.
pub(crate) fn is_unreaped(pidfd: BorrowedFd<'_>) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::PidFd(pidfd), options).is_ok()
}

/// This process's own largest resident set so far, in bytes.
pub(crate) fn own_peak_memory() -> u64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the kernel fills a struct that was zeroed, which is a valid value of it.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    usage.ru_maxrss as u64 * 1024
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
}
