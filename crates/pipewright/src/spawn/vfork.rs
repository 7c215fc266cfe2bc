//! The child's half of a start: the steps from the clone to the exec, in their order.
//!
//! [`InChild`] says what may be done here, and what not. A failure is told through memory that the
//! child shares with its parent.

use std::path::PathBuf;

use libc::c_int;
use rustix::process::Resource;

use super::image::{Image, Text};
use super::in_child::InChild;
use super::stop;
use super::walk::mark_open_descriptors;
use crate::descriptors::Move;
use crate::error::Step;

/// A step that the kernel refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure {
    /// What it names besides is filled in by the parent.
    pub(super) step: &'static Step,
    /// The descriptor number, the index of the limit, the index of the candidate (or -1).
    pub(super) detail: i32,
    pub(super) errno: i32,
}

/// Makes of an error the failure of a step.
pub(super) fn at(step: &'static Step) -> impl Fn(i32) -> Failure {
    numbered(step, 0)
}

/// The same, of a step about one of several.
fn numbered(step: &'static Step, detail: i32) -> impl Fn(i32) -> Failure {
    move |errno| Failure {
        step,
        detail,
        errno,
    }
}

/// Makes this process what the image describes, and executes the program.
pub(super) fn become_program(child: InChild, image: &Image) -> Failure {
    match prepare(child, image) {
        Ok(()) => execute(child, image),
        Err(failure) => failure,
    }
}

/// Everything before the exec.
fn prepare(child: InChild, image: &Image) -> Result<(), Failure> {
    let options = &image.attributes;
    // Handlers first: one of the parent's must not run here, in the parent's memory.
    reset_handlers(child).map_err(at(&Step::Signals))?;
    place_descriptors(child, image)?;
    close_gaps(child, image).map_err(at(&Step::CloseDescriptors))?;
    if options.session {
        child.new_session().map_err(at(&Step::NewSession))?;
    }
    if let Some(number) = options.terminal {
        child
            .take_terminal(number)
            .map_err(numbered(&Step::ControllingTerminal(0), number))?;
    }
    if let Some(group) = options.process_group {
        child
            .set_process_group(group)
            .map_err(at(&Step::ProcessGroup))?;
    }
    if let Some(number) = options.foreground {
        child
            .take_foreground(number)
            .map_err(numbered(&Step::Foreground(0), number))?;
    }
    for (index, (resource, limit)) in (0_i32..).zip(&options.limits) {
        let values = [limit.current, limit.maximum].map(|value| value.unwrap_or(u64::MAX));
        child
            .set_limit(*resource as _, &values)
            .map_err(numbered(&Step::ResourceLimit(Resource::Core), index))?;
    }
    if let Some(increment) = options.nice {
        child.add_niceness(increment).map_err(at(&Step::Nice))?;
    }
    if let Some(mask) = options.umask {
        // It cannot fail.
        let _ = child.set_umask(mask);
    }
    if !options.cpus.is_empty() {
        child
            .set_cpus(&options.cpus)
            .map_err(at(&Step::CpuAffinity))?;
    }
    // Before the credentials, which may take the right to it.
    if let Some(root) = image.root {
        child
            .change_root(root)
            .map_err(at(const { &Step::ChangeRoot(PathBuf::new()) }))?;
    }
    set_credentials(child, image)?;
    if options.no_new_privileges {
        child
            .control(libc::PR_SET_NO_NEW_PRIVS, 1)
            .map_err(at(&Step::NoNewPrivileges))?;
    }
    // After the credentials: the directory must be reachable for the user that the program runs as.
    if let Some(directory) = image.directory {
        child
            .change_directory(directory)
            .map_err(at(const { &Step::ChangeDirectory(PathBuf::new()) }))?;
    }
    if let Some(signal) = options.parent_death_signal {
        // After the credentials as well: the kernel drops the setting when they change.
        child
            .control(libc::PR_SET_PDEATHSIG, signal.as_raw())
            .map_err(at(&Step::ParentDeathSignal))?;
        // The parent may have been killed before the line above. 0 is a parent in another pid
        // namespace, whose end cannot be seen in this way.
        let parent = child.parent();
        if parent != 0 && parent != i64::from(image.parent) {
            return Err(at(&Step::ParentDeathSignal)(libc::ESRCH));
        }
    }
    stop::catch(child).map_err(at(&Step::Signals))?;
    child
        .set_signal_mask(&options.signal_mask)
        .map_err(at(&Step::Signals))?;
    Ok(())
}

/// Groups before the group, the group before the user: each step may take the right to the one
/// before it.
fn set_credentials(child: InChild, image: &Image) -> Result<(), Failure> {
    let options = &image.attributes;
    if let Some(groups) = &options.groups {
        child.set_groups(groups).map_err(at(&Step::Groups))?;
    }
    if let Some(group) = options.group {
        child.set_group(group).map_err(at(&Step::GroupId))?;
    }
    if let Some(user) = options.user {
        if options.groups.is_none() {
            // As std does: this process's supplementary groups must not reach a program that runs as
            // another user only because nobody thought of them. Only the kernel knows whether they
            // may be dropped (capability, user namespace, sandbox), so it is asked by doing it.
            match child.set_groups(&[]) {
                Ok(_) | Err(libc::EPERM) => {}
                Err(errno) => return Err(at(&Step::Groups)(errno)),
            }
        }
        child.set_user(user).map_err(at(&Step::UserId))?;
    }
    Ok(())
}

/// Puts every signal with a handler, and SIGPIPE, back to its default. What is ignored otherwise
/// stays ignored.
fn reset_handlers(child: InChild) -> Result<(), i32> {
    for signal in 1..=64 {
        let handler = child.handler(signal)?;
        let keep =
            handler == libc::SIG_DFL || (handler == libc::SIG_IGN && signal != libc::SIGPIPE);
        if !keep {
            child.set_action(signal, &stop::DEFAULT)?;
        }
    }
    Ok(())
}

/// Carries the plan's moves out.
fn place_descriptors(child: InChild, image: &Image) -> Result<(), Failure> {
    let mut saved = -1;
    for step in &image.plan.moves {
        let (number, result) = match *step {
            Move::Duplicate { from, to } => (to, duplicate(child, from, to)),
            Move::Restore { to } => (to, duplicate(child, saved, to)),
            Move::Save { from } => {
                let copy = child.copy(from);
                saved = copy.map_or(saved, |number| number as c_int);
                (from, copy.map(drop))
            }
            Move::Keep { number } => (number, child.set_flags(number, 0).map(drop)),
            Move::Close { number } => {
                let _ = child.close(number);
                (number, Ok(()))
            }
        };
        result.map_err(numbered(&Step::PlaceDescriptor(0), number))?;
    }
    Ok(())
}

fn duplicate(child: InChild, from: c_int, to: c_int) -> Result<(), i32> {
    let mut result = Ok(0);
    // The two errors say "try again", but a child that tried for ever would hold its parent up for
    // ever.
    for _ in 0..1000 {
        result = child.duplicate(from, to);
        if !matches!(result, Err(libc::EINTR | libc::EBUSY)) {
            break;
        }
    }
    result.map(drop)
}

/// Marks everything that was not asked for close-on-exec, whoever opened it and when.
///
/// Not closed at once, because the program may be named as `/proc/self/fd/7`.
fn close_gaps(child: InChild, image: &Image) -> Result<(), i32> {
    for &(first, last) in &image.plan.gaps {
        match child.mark_range(first, last) {
            Ok(_) => {}
            // Linux 5.10 knows the call without the flag; a sandbox may not let it through at all.
            Err(libc::EINVAL | libc::ENOSYS | libc::EPERM) => {
                return mark_open_descriptors(child, &image.plan.gaps);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Tries the candidates as execvp does, and returns why none could be executed.
fn execute(child: InChild, image: &Image) -> Failure {
    let failure = |detail: i32, errno: i32| Failure {
        step: const { &Step::Execute(PathBuf::new()) },
        detail,
        errno,
    };
    if let Some(executable) = image.plan.executable {
        let errno = child.execute_open(executable, &image.arguments, &image.environment);
        return failure(-1, errno);
    }
    let mut refused = None;
    for (index, &path) in (0_i32..).zip(&image.candidates) {
        let errno = child.execute(path, &image.arguments, &image.environment);
        match errno {
            libc::ENOEXEC if is_text(child, path) => {
                image.script_arguments.set(1, path);
                let script = &image.script_arguments;
                let errno = child.execute(image.shell, script, &image.environment);
                return failure(index, errno);
            }
            // There is one file, not one of several: whatever is wrong with it is the reason.
            errno if !image.searched => return failure(index, errno),
            // Somebody may have a right to a later one of that name. A directory that may not be
            // searched holds no program that this process could have found, as a shell has it:
            // execve gives the same errno for it as for a file without the right to execute.
            libc::EACCES if refused.is_none() && !child.may_not_see(path) => refused = Some(index),
            libc::EACCES => {}
            libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
            errno => return failure(index, errno),
        }
    }
    if let Some(index) = refused {
        return failure(index, libc::EACCES);
    }
    // A file that is there and yet was not found: what its first line names was not.
    let mut candidates = (0_i32..).zip(&image.candidates);
    let there = candidates.find(|(_, path)| child.access(**path, libc::X_OK).is_ok());
    failure(there.map_or(-1, |(index, _)| index), libc::ENOENT)
}

/// Tells whether a file that the kernel does not know how to execute is a script for the shell: one
/// without a zero byte in its first line, as bash has it. What cannot be read is none.
fn is_text(child: InChild, path: Text) -> bool {
    let Ok(file) = child.open(path, 0) else {
        return false;
    };
    let mut start = [0; 128];
    let read = child.read(file as c_int, &mut start);
    let _ = child.close(file as c_int);
    let read = read.ok().and_then(|length| start.get(..length as usize));
    read.is_some_and(|start| {
        let mut line = start.iter().take_while(|byte| **byte != b'\n');
        !start.starts_with(b"\x7fELF") && line.all(|byte| *byte != 0)
    })
}
