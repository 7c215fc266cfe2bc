//! What may be done between clone and exec: one method for each system call.
//!
//! The child shares this process's memory (CLONE_VM) while the thread that made it is suspended
//! (CLONE_VFORK); every other thread runs on. So everything the child does to memory it does to the
//! parent. No allocation and no lock, since another thread may hold the allocator's; no panic and
//! no destructor; nothing of the C library. Only system calls, on data that
//! [`Image`](super::image::Image) prepared. Loops go through iterators, so that no index can be out of
//! bounds; arithmetic wraps, so that no overflow check can panic.
//!
//! Credentials are set by the system calls themselves: the C library's `setuid` would change every
//! thread of the parent.
#![allow(unsafe_code, reason = "raw system calls, and what they filled in")]

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use libc::{c_int, c_long};

use super::image::{Text, Texts};
use super::mask::SIGNAL_SET_BYTES;
use super::raw;

/// The proof that this code runs in a child, between clone and exec.
///
/// All that the methods change is the child's own: it has its own descriptor table, directory, signal
/// handlers, limits and credentials, because none of CLONE_FILES, CLONE_FS, CLONE_SIGHAND and
/// CLONE_THREAD was given.
#[derive(Clone, Copy)]
pub(super) struct InChild {
    /// It belongs to the one thread that the child has.
    _here: PhantomData<*const ()>,
}

/// What the kernel answers: a number, or the number of an error.
pub(super) type Answer = Result<c_long, i32>;

/// What a signal does, as the kernels of x86-64 and aarch64 lay it out: `struct sigaction`.
#[repr(C)]
pub(super) struct Action {
    pub(super) handler: usize,
    pub(super) flags: u64,
    pub(super) restorer: usize,
    pub(super) mask: u64,
}

impl InChild {
    /// # Safety
    ///
    /// This must be a process whose table of descriptors, credentials, directory, handlers and limits
    /// nobody minds being changed: a child as described at [`InChild`] whose parent's thread is
    /// suspended, or a process that is about to become the program itself. Signals are blocked. What
    /// the process was given to read stays where it is until it has executed.
    pub(super) unsafe fn assume() -> Self {
        Self { _here: PhantomData }
    }

    /// Makes a system call. Only for this file, each of whose calls passes numbers, or places in
    /// memory together with how much of it the kernel may read or fill.
    fn call<const N: usize>(self, number: c_long, given: [c_long; N]) -> Answer {
        let mut arguments = [0; 5];
        arguments
            .iter_mut()
            .zip(given)
            .for_each(|(argument, given)| *argument = given);
        // SAFETY: the token says that what the call changes is the child's own; and see above.
        unsafe { raw::call(number, arguments) }
    }

    /// Asks what a signal does: the address of its handler, SIG_DFL or SIG_IGN.
    pub(super) fn handler(self, signal: c_int) -> Result<usize, i32> {
        let mut present = MaybeUninit::<Action>::uninit();
        let place = present.as_mut_ptr() as c_long;
        self.call(
            libc::SYS_rt_sigaction,
            [signal.into(), 0, place, SIGNAL_SET_BYTES],
        )?;
        // SAFETY: the call succeeded, so the kernel filled the struct.
        Ok(unsafe { present.assume_init() }.handler)
    }

    pub(super) fn set_action(self, signal: c_int, action: &Action) -> Answer {
        let place = (&raw const *action) as c_long;
        self.call(
            libc::SYS_rt_sigaction,
            [signal.into(), place, 0, SIGNAL_SET_BYTES],
        )
    }

    pub(super) fn set_signal_mask(self, mask: &u64) -> Answer {
        let place = (&raw const *mask) as c_long;
        self.call(
            libc::SYS_rt_sigprocmask,
            [libc::SIG_SETMASK.into(), place, 0, SIGNAL_SET_BYTES],
        )
    }

    pub(super) fn duplicate(self, from: c_int, to: c_int) -> Answer {
        self.call(libc::SYS_dup3, [from.into(), to.into(), 0])
    }

    /// Copies to a free number from 3 on, close-on-exec.
    pub(super) fn copy(self, from: c_int) -> Answer {
        self.call(
            libc::SYS_fcntl,
            [from.into(), libc::F_DUPFD_CLOEXEC.into(), 3],
        )
    }

    /// Sets the flags of a descriptor: FD_CLOEXEC or none.
    pub(super) fn set_flags(self, number: c_int, flags: c_int) -> Answer {
        self.call(
            libc::SYS_fcntl,
            [number.into(), libc::F_SETFD.into(), flags.into()],
        )
    }

    pub(super) fn close(self, number: c_int) -> Answer {
        self.call(libc::SYS_close, [number.into()])
    }

    /// Marks every descriptor of a range close-on-exec.
    pub(super) fn mark_range(self, first: u32, last: u32) -> Answer {
        self.call(
            libc::SYS_close_range,
            [first.into(), last.into(), libc::CLOSE_RANGE_CLOEXEC.into()],
        )
    }

    /// Opens for reading, close-on-exec.
    pub(super) fn open(self, path: Text, flags: c_int) -> Answer {
        let flags = libc::O_RDONLY | libc::O_CLOEXEC | flags;
        self.call(
            libc::SYS_openat,
            [libc::AT_FDCWD.into(), path.address(), flags.into(), 0],
        )
    }

    /// Reads to the buffer; gives how many bytes are filled.
    pub(super) fn read(self, from: c_int, buffer: &mut [u8]) -> Answer {
        let (place, size) = (buffer.as_mut_ptr() as c_long, buffer.len() as c_long);
        self.call(libc::SYS_read, [from.into(), place, size])
    }

    /// Reads entries of a directory to the buffer; gives how many bytes are filled.
    pub(super) fn entries(self, directory: c_int, buffer: &mut [u8]) -> Answer {
        let (place, size) = (buffer.as_mut_ptr() as c_long, buffer.len() as c_long);
        self.call(libc::SYS_getdents64, [directory.into(), place, size])
    }

    pub(super) fn new_session(self) -> Answer {
        self.call(libc::SYS_setsid, [])
    }

    /// Makes the terminal at this number the controlling one of the session that this leads.
    pub(super) fn take_terminal(self, number: c_int) -> Answer {
        self.call(
            libc::SYS_ioctl,
            [number.into(), libc::TIOCSCTTY as c_long, 0],
        )
    }

    /// Puts this process group into the foreground of the terminal at this number. With signals
    /// blocked, one in the background may do that.
    pub(super) fn take_foreground(self, number: c_int) -> Answer {
        let group = self.call(libc::SYS_getpgid, [0])? as c_int;
        let place = (&raw const group) as c_long;
        let set = libc::TIOCSPGRP as c_long;
        self.call(libc::SYS_ioctl, [number.into(), set, place])
    }

    pub(super) fn set_process_group(self, group: i32) -> Answer {
        self.call(libc::SYS_setpgid, [0, group.into()])
    }

    /// Sets current and maximum of a limit: two u64, the kernel's `struct rlimit64`.
    pub(super) fn set_limit(self, resource: c_long, values: &[u64; 2]) -> Answer {
        let place = values.as_ptr() as c_long;
        self.call(libc::SYS_prlimit64, [0, resource, place, 0])
    }

    /// Adds to the niceness.
    pub(super) fn add_niceness(self, increment: i32) -> Answer {
        let process = c_long::from(libc::PRIO_PROCESS as i32);
        // The system call gives 20 minus the niceness, so that it is positive.
        let now = self.call(libc::SYS_getpriority, [process, 0])?;
        let wanted = 20_i64.wrapping_sub(now).wrapping_add(increment.into());
        self.call(libc::SYS_setpriority, [process, 0, wanted])
    }

    /// Sets the CPUs: bit n of the whole stands for CPU n.
    pub(super) fn set_cpus(self, set: &[u64]) -> Answer {
        let (size, place) = (size_of_val(set) as c_long, set.as_ptr() as c_long);
        self.call(libc::SYS_sched_setaffinity, [0, size, place])
    }

    pub(super) fn set_umask(self, mask: u32) -> Answer {
        self.call(libc::SYS_umask, [mask.into()])
    }

    pub(super) fn set_groups(self, groups: &[u32]) -> Answer {
        let (length, place) = (groups.len() as c_long, groups.as_ptr() as c_long);
        self.call(libc::SYS_setgroups, [length, place])
    }

    /// Sets the real, effective and saved group.
    pub(super) fn set_group(self, group: u32) -> Answer {
        self.call(libc::SYS_setresgid, [group.into(); 3])
    }

    /// Sets the real, effective and saved user.
    pub(super) fn set_user(self, user: u32) -> Answer {
        self.call(libc::SYS_setresuid, [user.into(); 3])
    }

    /// Goes to the new root, too: from the directory that was, the way leads out of it.
    pub(super) fn change_root(self, directory: Text) -> Answer {
        self.call(libc::SYS_chroot, [directory.address()])?;
        self.change_directory(Text::constant(c"/"))
    }

    pub(super) fn change_directory(self, directory: Text) -> Answer {
        self.call(libc::SYS_chdir, [directory.address()])
    }

    /// Changes one of prctl's settings that take a number.
    pub(super) fn control(self, setting: c_int, value: c_int) -> Answer {
        self.call(libc::SYS_prctl, [setting.into(), value.into(), 0, 0, 0])
    }

    /// The parent's number; 0 when it is in another pid namespace.
    pub(super) fn parent(self) -> c_long {
        // It cannot fail.
        self.call(libc::SYS_getppid, []).unwrap_or(0)
    }

    /// Tells whether this process may not search the way to `path`, so that it cannot see a file
    /// there.
    pub(super) fn may_not_see(self, path: Text) -> bool {
        self.access(path, libc::F_OK) == Err(libc::EACCES)
    }

    pub(super) fn access(self, path: Text, mode: c_int) -> Answer {
        self.call(
            libc::SYS_faccessat,
            [libc::AT_FDCWD.into(), path.address(), mode.into()],
        )
    }

    /// Executes; returns only with the reason why not.
    pub(super) fn execute(self, path: Text, arguments: &Texts, environment: &Texts) -> i32 {
        let given = [path.address(), arguments.address(), environment.address()];
        self.call(libc::SYS_execve, given).err().unwrap_or(0)
    }

    /// Executes an open file; returns only with the reason why not.
    pub(super) fn execute_open(self, file: c_int, arguments: &Texts, environment: &Texts) -> i32 {
        let given = [
            file.into(),
            c"".as_ptr() as c_long,
            arguments.address(),
            environment.address(),
            libc::AT_EMPTY_PATH.into(),
        ];
        self.call(libc::SYS_execveat, given).err().unwrap_or(0)
    }

    /// Ends this process, without running what `exit` would.
    pub(super) fn end(self) -> ! {
        loop {
            let _ = self.call(libc::SYS_exit_group, [127]);
        }
    }
}
