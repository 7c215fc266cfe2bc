//! `/proc`, if it is the one of this process's own pid namespace.
//!
//! In a new pid namespace (`unshare --pid --fork`) the old `/proc` may still be mounted. Its numbers
//! are those of the outer namespace: a child's number names a stranger there. So nothing is looked
//! at before `/proc/self` has named this very process.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, fstatfs, open, openat, readlinkat_raw};
use rustix::io::{Errno, read};

use super::stat::{number, words};
use crate::error::{Error, Result};

/// `f_type` of a proc file system (linux/magic.h).
const PROC_MAGIC: u64 = 0x9fa0;

/// Opens `/proc`, and makes sure that it tells of this process's own namespace.
///
/// # References
///
/// [proc(5)](https://man7.org/linux/man-pages/man5/proc.5.html),
/// [pid_namespaces(7), "/proc and PID namespaces"](https://man7.org/linux/man-pages/man7/pid_namespaces.7.html)
pub(crate) fn open_own() -> Result<OwnedFd> {
    const NOT_MOUNTED: &str = "no proc file system is mounted on /proc";
    let unusable = |reason: &str| Error::NoProc {
        reason: reason.to_owned(),
    };
    let system = |error: Errno| Error::System {
        what: "open /proc".into(),
        reason: error.into(),
    };
    let proc = open(
        "/proc",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|error| match error {
        Errno::NOENT | Errno::NOTDIR => unusable(NOT_MOUNTED),
        other => system(other),
    })?;
    if fstatfs(&proc).map_err(system)?.f_type as u64 != PROC_MAGIC {
        return Err(unusable(NOT_MOUNTED));
    }
    let mut link = [0_u8; 32];
    let myself = match readlinkat_raw(&proc, "self", &mut link[..]) {
        Ok(length) => number(&link[..length]),
        // There is no such process in that namespace.
        Err(Errno::NOENT) => None,
        Err(other) => return Err(system(other)),
    };
    if myself != Some(u64::from(std::process::id())) {
        return Err(unusable(
            "/proc belongs to another pid namespace, so its numbers are those of other processes",
        ));
    }
    Ok(proc)
}

/// The same, with a second proof for those who look at all processes: by chance this process may
/// have the same number in both namespaces. `NSpid` lists its numbers from the namespace of `/proc`
/// inwards, so there is only one.
pub(crate) fn open_own_surely() -> Result<OwnedFd> {
    let proc = open_own()?;
    let status = openat(
        &proc,
        "self/status",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let mut buffer = [0; 4096];
    let length = status
        .and_then(|file| read(&file, &mut buffer))
        .unwrap_or(0);
    if numbers_of_this_process(&buffer[..length]) > 1 {
        return Err(Error::NoProc {
            reason: "/proc belongs to an outer pid namespace, so its numbers are those of other \
                     processes"
                .into(),
        });
    }
    Ok(proc)
}

/// Counts the numbers in the `NSpid` line of `/proc/PID/status`; 0 where there is no such line.
fn numbers_of_this_process(status: &[u8]) -> usize {
    status
        .split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(b"NSpid:"))
        .map_or(0, |numbers| words(numbers).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_process_in_nested_namespaces_are_counted() {
        let status = b"Name:\tcat\nNSpid:\t4242\t7\nNSpgid:\t4242\t7\n";
        assert_eq!(numbers_of_this_process(status), 2);
        assert_eq!(numbers_of_this_process(b"Name:\tcat\nNSpid:\t7\n"), 1);
        assert_eq!(numbers_of_this_process(b""), 0);
    }

    #[test]
    fn the_proc_of_these_tests_is_their_own() {
        assert!(open_own_surely().is_ok());
    }
}
