//! The child's half of a start: from the clone to the exec.
//!
//! # What may be done here
//!
//! The child shares this process's memory (CLONE_VM) while the thread that made it is suspended
//! (CLONE_VFORK); every other thread runs on. So everything the child does to memory it does to the
//! parent. No allocation and no lock, since another thread may hold the allocator's; no panic and
//! no destructor; nothing of the C library that keeps state. Only system calls, on data that
//! [`Image`] prepared, and stores into [`Report`]. Loops go through iterators, so that no index
//! can be out of bounds; arithmetic wraps, so that no overflow check can panic.
//!
//! Credentials are set by the system calls themselves: the C library's `setuid` would change every
//! thread of the parent.
//!
//! Signals: the parent blocks them all before the clone, and the child starts with them blocked.
//! It resets every handler to the default *before* it sets its own mask, or a handler of the
//! parent's could run here, in the parent's memory.
#![allow(
    unsafe_code,
    reason = "raw system calls in a child that shares its parent's memory"
)]

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use libc::{c_char, c_int, c_long, c_void};

use super::image::{Image, SHELL};
use super::walk::mark_open_descriptors;
use crate::descriptors::Move;

/// What the child is doing; the parent reads it when the child could not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Stage {
    Signals = 1,
    PlaceDescriptor,
    CloseDescriptors,
    NewSession,
    ProcessGroup,
    ResourceLimit,
    Nice,
    Groups,
    GroupId,
    UserId,
    ChangeDirectory,
    ParentDeathSignal,
    Execute,
}

impl Stage {
    const ALL: [Self; 13] = [
        Self::Signals,
        Self::PlaceDescriptor,
        Self::CloseDescriptors,
        Self::NewSession,
        Self::ProcessGroup,
        Self::ResourceLimit,
        Self::Nice,
        Self::Groups,
        Self::GroupId,
        Self::UserId,
        Self::ChangeDirectory,
        Self::ParentDeathSignal,
        Self::Execute,
    ];
}

/// What the child tells the parent through the memory that they share. It is all zero unless the
/// start failed.
#[derive(Debug, Default)]
pub(super) struct Report {
    stage: AtomicI32,
    /// The descriptor number, the index of the limit, the index of the candidate (or -1).
    detail: AtomicI32,
    errno: AtomicI32,
}

/// A step that the kernel refused in the child.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure {
    pub(super) stage: Stage,
    pub(super) detail: i32,
    pub(super) errno: i32,
}

impl Report {
    /// What the child reported; `None` when it executed the program.
    pub(super) fn failure(&self) -> Option<Failure> {
        let number = self.stage.load(Relaxed);
        let stage = *Stage::ALL.iter().find(|stage| **stage as i32 == number)?;
        Some(Failure {
            stage,
            detail: self.detail.load(Relaxed),
            errno: self.errno.load(Relaxed),
        })
    }

    fn set(&self, failure: Failure) {
        self.detail.store(failure.detail, Relaxed);
        self.errno.store(failure.errno, Relaxed);
        self.stage.store(failure.stage as i32, Relaxed);
    }
}

/// What the parent hands to [`child`].
pub(super) struct Start<'a> {
    pub(super) image: &'a Image,
    pub(super) report: &'a Report,
}

/// The child's entry point, on its own stack. It does not return.
///
/// It is called only by clone, in a CLONE_VM | CLONE_VFORK child with all signals blocked, with a
/// pointer to a [`Start`] that outlives the child's use of the shared memory.
pub(super) extern "C" fn child(start: *mut c_void) -> c_int {
    // SAFETY: clone passes a valid Start, which lives in the parent's frame; the parent is
    // suspended in clone until this child has executed or ended, so the frame stays.
    let start = unsafe { &*start.cast::<Start<'_>>() };
    // SAFETY: this is the child that `become_program` asks for.
    if let Err(failure) = unsafe { become_program(start.image) } {
        start.report.set(failure);
    }
    // SAFETY: exit_group ends this process only (it is no thread of the parent: no CLONE_THREAD),
    // and runs no handler that `exit` would.
    unsafe { libc::syscall(libc::SYS_exit_group, 127_i64) };
    127
}

/// One system call.
///
/// # Safety
///
/// As the system call.
unsafe fn call(number: c_long, arguments: [c_long; 5]) -> Result<c_long, i32> {
    let [a, b, c, d, e] = arguments;
    // SAFETY: by the caller. `syscall` itself only stores errno, in the thread-local storage of
    // the parent's thread, which is suspended.
    let result = unsafe { libc::syscall(number, a, b, c, d, e) };
    if result == -1 {
        Err(errno())
    } else {
        Ok(result)
    }
}

pub(super) fn errno() -> i32 {
    // SAFETY: the C library's thread-local errno is always a valid place to read.
    unsafe { *libc::__errno_location() }
}

/// Makes this process what the image describes, and executes the program.
///
/// # Safety
///
/// Only in a child as described at [`child`].
pub(super) unsafe fn become_program(image: &Image) -> Result<(), Failure> {
    let at = |stage: Stage, detail: i32| {
        move |errno: i32| Failure {
            stage,
            detail,
            errno,
        }
    };
    // SAFETY (all blocks of this function): the calls change this process only, which is the
    // child: its descriptor table, credentials, directory and limits are its own copies, since
    // neither CLONE_FILES, CLONE_FS nor CLONE_THREAD was given. Pointers passed to the kernel come
    // from the image, which outlives the exec.

    // SAFETY: see above.
    unsafe { reset_handlers() }.map_err(at(Stage::Signals, 0))?;

    // SAFETY: see above.
    unsafe { place_descriptors(image) }?;
    // SAFETY: see above.
    unsafe { close_gaps(image) }.map_err(at(Stage::CloseDescriptors, 0))?;

    if image.session {
        // SAFETY: see above.
        unsafe { call(libc::SYS_setsid, [0; 5]) }.map_err(at(Stage::NewSession, 0))?;
    }
    if let Some(group) = image.process_group {
        // SAFETY: see above.
        unsafe { call(libc::SYS_setpgid, [0, group.into(), 0, 0, 0]) }
            .map_err(at(Stage::ProcessGroup, 0))?;
    }
    for (index, limit) in (0_i32..).zip(&image.limits) {
        let values = limit.values.as_ptr() as c_long;
        // SAFETY: see above; `values` are two u64, the kernel's struct rlimit64.
        unsafe {
            call(
                libc::SYS_prlimit64,
                [0, limit.resource as c_long, values, 0, 0],
            )
        }
        .map_err(at(Stage::ResourceLimit, index))?;
    }
    if let Some(increment) = image.nice {
        let this_process = [c_long::from(libc::PRIO_PROCESS as i32), 0, 0, 0, 0];
        // SAFETY: see above. The system call gives 20 minus the niceness, so that it is positive.
        let now =
            unsafe { call(libc::SYS_getpriority, this_process) }.map_err(at(Stage::Nice, 0))?;
        let wanted = 20_i64.wrapping_sub(now).wrapping_add(increment.into());
        // SAFETY: see above.
        unsafe { call(libc::SYS_setpriority, [this_process[0], 0, wanted, 0, 0]) }
            .map_err(at(Stage::Nice, 0))?;
    }
    if let Some(mask) = image.umask {
        // SAFETY: see above. It cannot fail.
        let _ = unsafe { call(libc::SYS_umask, [mask.into(), 0, 0, 0, 0]) };
    }
    // Groups before the group, the group before the user: each step may take the right to the one
    // before it.
    if let Some(groups) = &image.groups {
        let list = [groups.len() as c_long, groups.as_ptr() as c_long, 0, 0, 0];
        // SAFETY: see above; the list has as many u32 as its length says.
        unsafe { call(libc::SYS_setgroups, list) }.map_err(at(Stage::Groups, 0))?;
    }
    if let Some(group) = image.group {
        let id = c_long::from(group);
        // SAFETY: see above.
        unsafe { call(libc::SYS_setresgid, [id, id, id, 0, 0]) }.map_err(at(Stage::GroupId, 0))?;
    }
    if let Some(user) = image.user {
        if image.groups.is_none() {
            // As std does: this process's supplementary groups must not reach a program that runs as
            // another user only because nobody thought of them. Only the kernel knows whether they
            // may be dropped (capability, user namespace, sandbox), so it is asked by doing it.
            // SAFETY: see above; no list is read.
            match unsafe { call(libc::SYS_setgroups, [0; 5]) } {
                Ok(_) | Err(libc::EPERM) => {}
                Err(errno) => return Err(at(Stage::Groups, 0)(errno)),
            }
        }
        let id = c_long::from(user);
        // SAFETY: see above.
        unsafe { call(libc::SYS_setresuid, [id, id, id, 0, 0]) }.map_err(at(Stage::UserId, 0))?;
    }
    // After the credentials: the directory must be reachable for the user that the program runs as.
    if !image.directory.is_null() {
        let directory = image.directory as c_long;
        // SAFETY: see above.
        unsafe { call(libc::SYS_chdir, [directory, 0, 0, 0, 0]) }
            .map_err(at(Stage::ChangeDirectory, 0))?;
    }
    if let Some(signal) = image.parent_death_signal {
        // After the credentials as well: the kernel drops the setting when they change.
        let set = [c_long::from(libc::PR_SET_PDEATHSIG), signal.into(), 0, 0, 0];
        // SAFETY: see above.
        unsafe { call(libc::SYS_prctl, set) }.map_err(at(Stage::ParentDeathSignal, 0))?;
        // The parent may have been killed before the line above. 0 is a parent in another pid
        // namespace, whose end cannot be seen in this way.
        // SAFETY: see above. It cannot fail.
        let parent = unsafe { call(libc::SYS_getppid, [0; 5]) }.unwrap_or(0);
        if parent != 0 && parent != c_long::from(image.parent) {
            return Err(at(Stage::ParentDeathSignal, 0)(libc::ESRCH));
        }
    }
    let mask = [
        c_long::from(libc::SIG_SETMASK),
        (&raw const image.signal_mask) as c_long,
        0,
        SIGNAL_SET_BYTES,
        0,
    ];
    // SAFETY: see above; no handler of the parent's is left that could run now.
    unsafe { call(libc::SYS_rt_sigprocmask, mask) }.map_err(at(Stage::Signals, 0))?;

    // SAFETY: see above.
    Err(unsafe { execute(image) })
}

/// The size of the kernel's signal set, which is not the C library's.
pub(super) const SIGNAL_SET_BYTES: c_long = 8;

/// The kernel's `struct sigaction` of x86-64 and aarch64.
#[repr(C)]
struct KernelSigaction {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

/// Puts every signal with a handler, and SIGPIPE, back to its default. What is ignored otherwise
/// stays ignored.
///
/// # Safety
///
/// Only in a child as described at [`child`].
unsafe fn reset_handlers() -> Result<(), i32> {
    let default = KernelSigaction {
        handler: libc::SIG_DFL,
        flags: 0,
        restorer: 0,
        mask: 0,
    };
    for signal in 1..=64_i64 {
        let mut present = MaybeUninit::<KernelSigaction>::uninit();
        let query = [
            signal,
            0,
            present.as_mut_ptr() as c_long,
            SIGNAL_SET_BYTES,
            0,
        ];
        // SAFETY: the kernel fills one struct of the layout above.
        unsafe { call(libc::SYS_rt_sigaction, query) }?;
        // SAFETY: the call succeeded, so the struct is filled.
        let handler = unsafe { present.assume_init() }.handler;
        let keep = handler == libc::SIG_DFL
            || (handler == libc::SIG_IGN && signal != c_long::from(libc::SIGPIPE));
        if !keep {
            let set = [
                signal,
                (&raw const default) as c_long,
                0,
                SIGNAL_SET_BYTES,
                0,
            ];
            // SAFETY: the child has its own table of handlers (no CLONE_SIGHAND).
            unsafe { call(libc::SYS_rt_sigaction, set) }?;
        }
    }
    Ok(())
}

/// Carries the plan's moves out.
///
/// # Safety
///
/// Only in a child as described at [`child`].
unsafe fn place_descriptors(image: &Image) -> Result<(), Failure> {
    let mut saved = -1;
    for step in &image.plan.moves {
        // SAFETY: the child's descriptor table is its own; the numbers come from descriptors that
        // the image owns, or are 0-2.
        let (number, result) = unsafe {
            match *step {
                Move::Duplicate { from, to } => (to, duplicate(from, to)),
                Move::Restore { to } => (to, duplicate(saved, to)),
                Move::Save { from } => {
                    let copy = [from.into(), c_long::from(libc::F_DUPFD_CLOEXEC), 3, 0, 0];
                    let result = call(libc::SYS_fcntl, copy);
                    if let Ok(number) = result {
                        saved = number as c_int;
                    }
                    (from, result)
                }
                Move::Keep { number } => (number, keep(number)),
                Move::Close { number } => {
                    let _ = call(libc::SYS_close, [number.into(), 0, 0, 0, 0]);
                    continue;
                }
            }
        };
        result.map_err(|errno| Failure {
            stage: Stage::PlaceDescriptor,
            detail: number,
            errno,
        })?;
    }
    Ok(())
}

/// # Safety
///
/// As [`place_descriptors`].
unsafe fn duplicate(from: c_int, to: c_int) -> Result<c_long, i32> {
    let mut result = Err(libc::EBUSY);
    // The two errors say "try again", but a child that tried for ever would hold its parent up for
    // ever.
    for _ in 0..1000 {
        // SAFETY: by the caller.
        result = unsafe { call(libc::SYS_dup3, [from.into(), to.into(), 0, 0, 0]) };
        if !matches!(result, Err(libc::EINTR | libc::EBUSY)) {
            break;
        }
    }
    result
}

/// # Safety
///
/// As [`place_descriptors`].
unsafe fn keep(number: c_int) -> Result<c_long, i32> {
    // SAFETY: by the caller.
    unsafe {
        call(
            libc::SYS_fcntl,
            [number.into(), c_long::from(libc::F_SETFD), 0, 0, 0],
        )
    }
}

/// Marks everything that was not asked for close-on-exec, whoever opened it and when.
///
/// Not closed at once, because the program may be named as `/proc/self/fd/7`.
///
/// # Safety
///
/// Only in a child as described at [`child`].
unsafe fn close_gaps(image: &Image) -> Result<(), i32> {
    for &(first, last) in &image.plan.gaps {
        let range = [
            first.into(),
            last.into(),
            c_long::from(libc::CLOSE_RANGE_CLOEXEC),
            0,
            0,
        ];
        // SAFETY: the child's descriptor table is its own.
        match unsafe { call(libc::SYS_close_range, range) } {
            Ok(_) => {}
            // Linux 5.10 knows the call without the flag; a sandbox may not let it through at all.
            Err(libc::EINVAL | libc::ENOSYS | libc::EPERM) => {
                // SAFETY: as above.
                return unsafe { mark_open_descriptors(&image.plan.gaps) };
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Tries the candidates as execvp does, and returns why none could be executed.
///
/// # Safety
///
/// Only in a child as described at [`child`].
unsafe fn execute(image: &Image) -> Failure {
    let failure = |detail: i32, errno: i32| Failure {
        stage: Stage::Execute,
        detail,
        errno,
    };
    if let Some(executable) = image.plan.executable {
        let (empty, argv, envp) = (c"".as_ptr(), image.argv.as_ptr(), image.envp.as_ptr());
        let flags = c_long::from(libc::AT_EMPTY_PATH);
        let open_file = [
            executable.into(),
            empty as c_long,
            argv as c_long,
            envp as c_long,
            flags,
        ];
        // SAFETY: both arrays end in null and point to C strings that the image owns.
        let result = unsafe { call(libc::SYS_execveat, open_file) };
        return failure(-1, result.err().unwrap_or(0));
    }
    let mut refused = None;
    for (index, &path) in (0_i32..).zip(&image.candidates) {
        // SAFETY: as above; the path is a C string of the image's.
        let errno = unsafe { exec(path, image.argv.as_ptr(), image) };
        match errno {
            libc::ENOEXEC => {
                if let Some(script) = image.shell_argv.get(1) {
                    script.set(path);
                }
                // A Cell of a pointer has the layout of the pointer.
                let argv = image.shell_argv.as_ptr().cast::<*const c_char>();
                // SAFETY: as above.
                return failure(index, unsafe { exec(SHELL.as_ptr(), argv, image) });
            }
            // There is one file, not one of several: whatever is wrong with it is the reason.
            errno if !image.searched => return failure(index, errno),
            // Somebody may have a right to a later one of that name. A directory that may not be
            // searched holds no program that this process could have found, as a shell has it:
            // execve gives the same errno for it as for a file without the right to execute.
            // SAFETY: as above.
            libc::EACCES if refused.is_none() && unsafe { is_seen(path) } => refused = Some(index),
            libc::EACCES => {}
            libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
            errno => return failure(index, errno),
        }
    }
    match refused {
        Some(index) => failure(index, libc::EACCES),
        None => failure(-1, libc::ENOENT),
    }
}

/// Whether the way to `path` may be searched, so that a file there can be seen.
///
/// # Safety
///
/// `path` is a C string.
unsafe fn is_seen(path: *const c_char) -> bool {
    let exists = [
        libc::AT_FDCWD.into(),
        path as c_long,
        libc::F_OK.into(),
        0,
        0,
    ];
    // SAFETY: by the caller; the call changes nothing.
    let answer = unsafe { call(libc::SYS_faccessat, exists) };
    answer != Err(libc::EACCES)
}

/// Returns only with the reason why not.
///
/// # Safety
///
/// `path` is a C string, `argv` an array of them that ends in null.
unsafe fn exec(path: *const c_char, argv: *const *const c_char, image: &Image) -> i32 {
    let envp = image.envp.as_ptr() as c_long;
    // SAFETY: by the caller; envp is such an array too.
    let result = unsafe {
        call(
            libc::SYS_execve,
            [path as c_long, argv as c_long, envp, 0, 0],
        )
    };
    result.err().unwrap_or(0)
}
