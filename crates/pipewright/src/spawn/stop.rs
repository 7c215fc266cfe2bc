//! Ctrl-Z at the moment of a start.
//!
//! The terminal's stop signal goes to this process and to the child alike. A child that stopped before
//! it executed would hold the parent's thread, which the kernel keeps suspended until the exec: the
//! parent could not stop, and a shell would wait for it for ever. So the child catches the signal, and
//! the parent sends it again when the program executes. An exec sets caught signals to their default.
#![allow(unsafe_code, reason = "a signal handler, and how it returns")]

use std::cell::Cell;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use libc::c_int;

use super::in_child::{Action, InChild};

/// What a signal does unless somebody changed it.
pub(super) const DEFAULT: Action = Action {
    handler: libc::SIG_DFL,
    flags: 0,
    restorer: 0,
    mask: 0,
};

thread_local! {
    /// Where the handler notes its signal. The child has the thread-local storage of the thread that
    /// made it, which is suspended.
    static NOTED: Cell<*const AtomicI32> = const { Cell::new(std::ptr::null()) };
}

/// The stop signal that came to a child before it executed its program, or 0.
#[derive(Default)]
pub(super) struct Noted(AtomicI32);

impl Noted {
    /// From here on the handler notes here, in a child that this thread makes.
    pub(super) fn begin(&self) {
        NOTED.set(&raw const self.0);
    }

    /// The signal that is to be sent again.
    pub(super) fn end(&self) -> Option<c_int> {
        NOTED.set(std::ptr::null());
        Some(self.0.load(Relaxed)).filter(|signal| *signal != 0)
    }
}

/// Notes that the signal came. One that continues the process takes a stop back.
extern "C" fn note(signal: c_int) {
    let noted = if signal == libc::SIGCONT { 0 } else { signal };
    // SAFETY: null, or set by `begin` to what lives until `end`, which comes after the child is gone
    // from this memory.
    if let Some(place) = unsafe { NOTED.get().as_ref() } {
        place.store(noted, Relaxed);
    }
}

/// Catches the signals by which a terminal stops a process, where they would stop this one.
///
/// A process that becomes the program itself holds nobody, and catches none.
pub(super) fn catch(child: InChild) -> Result<(), i32> {
    if NOTED.get().is_null() {
        return Ok(());
    }
    let action = Action {
        handler: note as *const () as usize,
        flags: FLAGS,
        restorer: restorer(),
        mask: 0,
    };
    for signal in [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU, libc::SIGCONT] {
        if child.handler(signal)? == libc::SIG_DFL {
            child.set_action(signal, &action)?;
        }
    }
    Ok(())
}

#[cfg(target_arch = "x86_64")]
const FLAGS: u64 = libc::SA_RESTART as u64 | 0x0400_0000; // SA_RESTORER
#[cfg(target_arch = "aarch64")]
const FLAGS: u64 = libc::SA_RESTART as u64;

/// What the kernel has a handler return to.
#[cfg(target_arch = "x86_64")]
fn restorer() -> usize {
    #[unsafe(naked)]
    extern "C" fn restore() {
        // rt_sigreturn, the system call of this number, takes what the kernel put on the stack.
        std::arch::naked_asm!("mov eax, 15", "syscall");
    }
    restore as *const () as usize
}

/// The kernel has its own.
#[cfg(target_arch = "aarch64")]
fn restorer() -> usize {
    0
}
