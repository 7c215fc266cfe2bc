//! Taking a signal's default action on purpose: to stop, or to end, as if it had not been caught.
#![allow(unsafe_code, reason = "sigaction, which is in no crate we use")]

use std::mem::MaybeUninit;

use libc::c_int;

/// Stops this process as Ctrl-Z would have without us, and returns when it goes on.
///
/// The kernel decides: it stops nobody in an orphaned process group, where no shell could let them go
/// on, as in `ssh -t host pipewright run …`. SIGSTOP would stop us there for ever.
///
/// # References
///
/// [signal(7)](https://man7.org/linux/man-pages/man7/signal.7.html),
/// [setpgid(2)](https://man7.org/linux/man-pages/man2/setpgid.2.html) on orphaned groups
pub(crate) fn stop() {
    take_default_action(libc::SIGTSTP);
}

/// Ends this process by the signal, so that whoever sent it, or waits for us, sees that it worked.
///
/// The first process of a pid namespace does not die of its own signals; it ends with 128 + n, as a
/// shell would tell of the other.
pub(crate) fn die_of(signal: c_int) -> ! {
    if signal == libc::SIGKILL {
        // It has no action that could be changed.
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
    take_default_action(signal);
    std::process::exit(128 + signal);
}

/// Likewise, for a signal that has ended another process: that one has left its core, where it leaves one.
pub(crate) fn die_of_without_core(signal: c_int) -> ! {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Core);
    limit.current = Some(0);
    // Refused: a core is left that says little.
    let _ = setrlimit(Resource::Core, limit);
    die_of(signal)
}

/// Sends the signal to this thread with its default action, and puts the action that it had back.
fn take_default_action(signal: c_int) {
    let mut before = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: all zeroes is a valid sigaction: SIG_DFL, no flags, an empty mask.
    let default: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the default action runs no code of this process; `before` has room for the other.
    if unsafe { libc::sigaction(signal, &raw const default, before.as_mut_ptr()) } != 0 {
        return;
    }
    // SAFETY: to send a signal touches no memory; what it does is the kernel's default.
    unsafe { libc::raise(signal) };
    // SAFETY: the first call succeeded, so that `before` holds an action that was in force.
    unsafe { libc::sigaction(signal, before.as_ptr(), std::ptr::null_mut()) };
}
