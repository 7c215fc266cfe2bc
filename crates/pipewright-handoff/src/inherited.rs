//! The descriptors that this program was started with, each to be owned once.
//!
//! Rust's ownership of descriptors rests on each number having one owner. What an environment
//! variable, an argument or a hand-off *says* about a number is no proof of that. So the numbers
//! that are open are noted before `main`, when nothing in this program can have opened one, and
//! each of them is given out once. The note costs a start about 30 µs.
#![allow(
    unsafe_code,
    reason = "a function that runs before main, and makes owners of descriptors"
)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustix::fs::{Mode, OFlags, RawDir};
use rustix::io::FdFlags;

use crate::build;

const BITS: usize = u64::BITS as usize;

/// Bit n stands for descriptor n: it was open at the start and has no owner yet.
static FREE: [AtomicU64; 1024] = [const { AtomicU64::new(0) }; 1024];

/// Calls [`note`] before `main`.
//
// SAFETY: the C library's start-up code calls each function of this section once, on the main
// thread, with its own arguments, which a C function may leave unread. `note` needs nothing of
// Rust's runtime.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = note;

/// Makes system calls and stores into statics, and nothing else: no allocation, no panic.
extern "C" fn note() {
    // In a library that a running program loads, this runs late: others have owners by then.
    // SAFETY: it reads a number from the table that the kernel gave this program.
    if unsafe { libc::getauxval(libc::AT_PHDR) } != build::program_headers() as u64 {
        return;
    }
    if note_by_proc().is_none() {
        // Without /proc, those that nearly everybody means.
        for number in 3..1024 {
            // SAFETY: borrowed only for the next call, which fails when the number is not open.
            let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
            if rustix::io::fcntl_getfd(descriptor).is_ok() {
                set_free(number);
            }
        }
    }
}

fn note_by_proc() -> Option<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(c"/proc/self/fd", flags, Mode::empty()).ok()?;
    let mut space = [MaybeUninit::<u8>::uninit(); 4096];
    let mut entries = RawDir::new(&directory, &mut space);
    while let Some(entry) = entries.next() {
        let entry = entry.ok()?;
        let name = entry.file_name().to_bytes();
        // `.` and `..` are none.
        if let Some(number) = number(name) {
            set_free(number);
        }
    }
    // The directory itself is listed, too.
    let (word, bit) = place(directory.as_raw_fd())?;
    word.fetch_and(!bit, Relaxed);
    Some(())
}

/// Reads digits, without anything that could allocate or panic.
fn number(digits: &[u8]) -> Option<i32> {
    digits.iter().try_fold(0_i32, |number, &digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

fn place(number: i32) -> Option<(&'static AtomicU64, u64)> {
    let number = usize::try_from(number).ok()?;
    Some((FREE.get(number / BITS)?, 1 << (number % BITS)))
}

fn set_free(number: i32) {
    if let Some((word, bit)) = place(number) {
        word.fetch_or(bit, Relaxed);
    }
}

/// Takes a descriptor that this program was started with, by its number: as a service finds its
/// sockets from 3 on, or `make` hands its jobs' pipe to `$(MAKE)`.
///
/// Each can be taken once. It is close-on-exec from then on. What was handed over by name comes by
/// [`ParentLink::take`](crate::ParentLink::take) and not by this.
///
/// # Errors
///
/// For 0, 1 and 2, which are std's; for a number that was not open when the program started, that
/// has been taken before, that was closed since, or that was marked close-on-exec since, as
/// everything is that Rust opens; and in a library that a running program has loaded, which cannot
/// know what is inherited.
///
/// ```
/// use std::io::Write;
///
/// // Nobody has started this program with a descriptor 7.
/// assert!(pipewright_handoff::take_inherited(7).is_err());
/// let mut stdout = std::io::stdout();
/// writeln!(stdout, "0, 1 and 2 have owners already")?;
/// assert!(pipewright_handoff::take_inherited(1).is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # References
///
/// FD_CLOEXEC in [fcntl(2)](https://man7.org/linux/man-pages/man2/fcntl.2.html)
pub fn take_inherited(number: i32) -> io::Result<OwnedFd> {
    let refused = |why: &str| {
        let text = format!("cannot take the inherited descriptor {number}: {why}");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    };
    if (0..3).contains(&number) {
        return Err(refused(
            "0, 1 and 2 belong to std's Stdin, Stdout and Stderr; clone those",
        ));
    }
    let free = place(number).is_some_and(|(word, bit)| word.fetch_and(!bit, Relaxed) & bit != 0);
    if !free {
        return Err(refused(
            "it was not open when this program started, or it was taken already",
        ));
    }
    // SAFETY: borrowed only for the next two calls, which fail when the number is not open.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = rustix::io::fcntl_getfd(descriptor).map_err(|_| refused("it was closed since"))?;
    if flags.contains(FdFlags::CLOEXEC) {
        return Err(refused(
            "it is close-on-exec: this program has marked it so, or put another one there",
        ));
    }
    rustix::io::fcntl_setfd(descriptor, FdFlags::CLOEXEC)?;
    // SAFETY: it is open, and it has no other owner. It came with the exec: it was open before
    // anything in this program could open one, and it is not what Rust has opened at its number
    // since. The swap above gives each number to one caller.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Tells if this program has privileges that the one who started it may lack: its file is
/// set-user-ID, set-group-ID or has capabilities.
///
/// # References
///
/// AT_SECURE in [getauxval(3)](https://man7.org/linux/man-pages/man3/getauxval.3.html)
pub(crate) fn is_privileged() -> bool {
    // SAFETY: it reads a number from the table that the kernel gave this program.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}
