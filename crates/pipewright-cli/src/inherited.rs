//! What this process was started with, noted before Rust's runtime changes it.
//!
//! std opens `/dev/null` on each of 0, 1 and 2 that is closed, and ignores SIGPIPE, before `main`.
//! Afterwards nobody can tell a stdout that the caller closed from one that it pointed to `/dev/null`,
//! and a stage must find what the caller left, as in a shell.
#![allow(
    unsafe_code,
    reason = "a function that runs before main, and asks for the actions of signals"
)]

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use libc::c_int;
use rustix::process::{Resource, Rlimit, getegid, geteuid, getgid, getrlimit, getuid, setrlimit};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};

/// Bit n stands for descriptor n.
static CLOSED: AtomicU8 = AtomicU8::new(0);
/// Bit n-1 stands for signal n.
static IGNORED: AtomicU64 = AtomicU64::new(0);

/// Calls [`note`] before `main`, and so before std's own preparations.
//
// SAFETY: the C library's start-up code calls each function of this section once, on the main
// thread, with its own arguments, which a C function may leave unread. `note` needs nothing of
// Rust's runtime.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = note;

/// Makes system calls and stores into statics, and nothing else: no allocation, no panic.
extern "C" fn note() {
    for number in 0..3 {
        // SAFETY: it asks for the flags of a descriptor, open or not.
        if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
            CLOSED.fetch_or(1 << number, Relaxed);
        }
    }
    for signal in 1..32 {
        let mut action = MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: with no new action it only fills the struct; where it cannot (-1) nothing is read.
        let ignored = unsafe {
            libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
                && action.assume_init_ref().sa_sigaction == libc::SIG_IGN
        };
        if ignored {
            IGNORED.fetch_or(1 << (signal - 1), Relaxed);
        }
    }
}

/// Tells whether the caller had closed this one of 0, 1 and 2.
pub(crate) fn was_closed(number: u8) -> bool {
    CLOSED.load(Relaxed) & (1 << number) != 0
}

/// Tells whether the caller ignored this signal, as `nohup` ignores SIGHUP.
pub(crate) fn was_ignored(signal: c_int) -> bool {
    IGNORED.load(Relaxed) & (1 << (signal - 1)) != 0
}

/// Puts SIGCHLD back to its default where the caller ignored it: the kernel keeps no status of a
/// child while it is ignored.
pub(crate) fn keep_statuses() {
    if was_ignored(libc::SIGCHLD) {
        // SAFETY: the default action runs no code of this process.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    }
}

/// Gives up what a set-user-ID or set-group-ID bit has given this process, as bash does: what it starts
/// is its caller's. To be called before there is a second thread.
pub(crate) fn give_up_others_ids() -> rustix::io::Result<()> {
    let (user, group) = (getuid(), getgid());
    if geteuid() != user {
        set_thread_res_uid(user, user, user)?;
    }
    if getegid() != group {
        set_thread_res_gid(group, group, group)?;
    }
    Ok(())
}

/// Tells how many descriptors this process may have open, once the soft limit is raised; `None` is no
/// limit.
pub(crate) fn most_descriptors() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

/// Raises the soft limit of open descriptors to the hard one, and returns the caller's limit, which
/// is the stages' to have.
///
/// # References
///
/// [getrlimit(2)](https://man7.org/linux/man-pages/man2/getrlimit.2.html)
pub(crate) fn raise_descriptor_limit() -> Rlimit {
    let caller = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: caller.maximum,
        ..caller
    };
    // Where even that is refused the limit stays as it is.
    let _ = setrlimit(Resource::Nofile, raised);
    caller
}
