//! The floor: clone, dup2, execve, wait, and nothing else.
//!
//! This is what a start costs when nobody checks, protects or reports
//! anything. It also starts the commands that other benches time, because it
//! adds least to what they measure and learns their peak memory from `wait4`.
//!
//! # References
//!
//! clone(2), execve(2), wait4(2), `ru_maxrss` in getrusage(2)

// A raw clone into shared memory is the very thing measured here.
#![allow(unsafe_code)]

use std::ffi::{CString, OsStr, c_char, c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::{env, io, ptr};

/// 64 KiB, in units that keep the stack's top aligned as the ABI wants it.
const STACK_UNITS: usize = 64 * 1024 / size_of::<u128>();

/// A program laid out the way execve wants it, and a stack to start it on.
pub(crate) struct Program {
    path: CString,
    arguments: Vec<*mut c_char>,
    environment: Vec<*mut c_char>,
    moves: Vec<(RawFd, RawFd)>,
    stack: Box<[u128]>,
}

/// Whether the child runs in the parent's memory until it has executed the
/// program, or in a copy of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Memory {
    /// `CLONE_VM | CLONE_VFORK`: nothing is copied.
    Shared,
    /// A plain fork. An exec counts the peak of the memory it leaves behind
    /// into the peak of the new program; a copy brings only the few pages
    /// that this process wrote to, so the peak told is the program's own.
    Copied,
}

/// How a started program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// Largest resident size, in bytes, of the program or of the largest of
    /// the descendants it waited for.
    pub(crate) peak_memory: u64,
}

impl Program {
    /// `arguments` without the zeroth, which is the path. The environment is
    /// that of this process, now.
    ///
    /// # Errors
    ///
    /// If a string has a NUL in it.
    pub(crate) fn new(
        path: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> io::Result<Self> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let arguments: Result<Vec<CString>, _> = arguments
            .into_iter()
            .map(|argument| CString::new(argument.as_ref().as_bytes()))
            .collect();
        let environment: Result<Vec<CString>, _> = env::vars_os()
            .map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()))
            .collect();
        let zeroth = path.clone();
        Ok(Self {
            path,
            arguments: null_terminated([zeroth].into_iter().chain(arguments?)),
            environment: null_terminated(environment?),
            moves: Vec::new(),
            stack: vec![0; STACK_UNITS].into_boxed_slice(),
        })
    }

    /// Starts the program with each `(source, number)` duplicated in order,
    /// and returns its process id.
    ///
    /// # Errors
    ///
    /// If clone fails. A child that cannot execute the program ends with
    /// status 127.
    ///
    /// # Panics
    ///
    /// If a source has the number of a target: there is no plan of moves here.
    pub(crate) fn start(
        &mut self,
        descriptors: &[(BorrowedFd<'_>, RawFd)],
        memory: Memory,
    ) -> io::Result<c_int> {
        self.moves.clear();
        for &(source, number) in descriptors {
            let taken = descriptors.iter().any(|&(_, n)| n == source.as_raw_fd());
            assert!(!taken, "descriptor {source:?} lies on a target");
            self.moves.push((source.as_raw_fd(), number));
        }
        let flags = match memory {
            Memory::Shared => libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
            Memory::Copied => libc::SIGCHLD,
        };
        let top_of_stack = self.stack.as_mut_ptr_range().end.cast::<c_void>();
        // SAFETY: the stack is ours alone, 64 KiB, and its top is aligned to
        // 16 bytes, being the end of a slice of u128. `run_child` makes system calls only,
        // on what `self` owns. With shared memory CLONE_VFORK suspends this
        // thread until the child has executed the program or ended, so `self`
        // outlives the child's use of it; otherwise the child has a copy.
        let process =
            unsafe { libc::clone(run_child, top_of_stack, flags, ptr::from_mut(self).cast()) };
        match process {
            -1 => Err(io::Error::last_os_error()),
            process => Ok(process),
        }
    }
}

/// The child's half. The value returned is its exit status.
extern "C" fn run_child(program: *mut c_void) -> c_int {
    // SAFETY: `start` passes a pointer to its Program, which lives unchanged
    // until this child is gone or has left the shared memory.
    let program = unsafe { &*program.cast::<Program>() };
    // SAFETY: each call is async-signal-safe and gets plain numbers or
    // null-terminated arrays of C strings, all made before the clone. Rust's
    // runtime ignores SIGPIPE, which would outlive the exec.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        for &(source, number) in &program.moves {
            if libc::dup2(source, number) == -1 {
                return 127;
            }
        }
        libc::execve(
            program.path.as_ptr(),
            program.arguments.as_ptr().cast(),
            program.environment.as_ptr().cast(),
        );
    }
    127
}

/// Waits until the process ends.
///
/// # Errors
///
/// `ECHILD` if `process` is not an unwaited child of this process.
pub(crate) fn wait(process: c_int) -> io::Result<Ended> {
    let mut status = 0;
    // SAFETY: rusage is plain numbers, for which all zero bits are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live locals of the types wait4 fills in.
    while unsafe { libc::wait4(process, &mut status, 0, &mut usage) } == -1 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(Ended {
        status: ExitStatus::from_raw(status),
        peak_memory: usage.ru_maxrss.unsigned_abs() * 1024,
    })
}

/// The pointers of an argument or environment array; [`Program`] frees them.
fn null_terminated(strings: impl IntoIterator<Item = CString>) -> Vec<*mut c_char> {
    let pointers = strings.into_iter().map(CString::into_raw);
    pointers.chain([ptr::null_mut()]).collect()
}

impl Drop for Program {
    fn drop(&mut self) {
        for &pointer in self.arguments.iter().chain(&self.environment) {
            if !pointer.is_null() {
                // SAFETY: made by `CString::into_raw` in `null_terminated`,
                // never written to, and taken back only here.
                drop(unsafe { CString::from_raw(pointer) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn the_child_finds_the_descriptor_at_its_number() {
        for memory in [Memory::Shared, Memory::Copied] {
            let (mut reader, writer) = io::pipe().unwrap();
            let writer = rustix::io::fcntl_dupfd_cloexec(&writer, 10).unwrap();
            let mut shell = Program::new(Path::new("/bin/sh"), ["-c", "echo here >&3"]).unwrap();
            let process = shell.start(&[(writer.as_fd(), 3)], memory).unwrap();
            assert!(wait(process).unwrap().status.success());
            let mut bytes = [0; 5];
            reader.read_exact(&mut bytes).unwrap();
            assert_eq!(&bytes, b"here\n");
        }
    }

    #[test]
    fn status_and_peak_memory_are_the_program_s() {
        let mut shell = Program::new(Path::new("/bin/sh"), ["-c", "exit 7"]).unwrap();
        let ended = wait(shell.start(&[], Memory::Copied).unwrap()).unwrap();
        assert_eq!(ended.status.code(), Some(7));
        assert!(ended.peak_memory > 64 * 1024, "{ended:?}");
    }

    #[test]
    fn a_program_that_is_not_there_ends_with_127() {
        let mut nothing = Program::new(Path::new("/nonexistent"), [""; 0]).unwrap();
        let ended = wait(nothing.start(&[], Memory::Shared).unwrap()).unwrap();
        assert_eq!(ended.status.code(), Some(127));
    }
}
