//! The steps of a start, and the error that names the one that failed.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// Which step of a start the kernel refused, and why.
///
/// ```
/// use pipewright::{Command, Error};
///
/// let Err(Error::Start(failure)) = Command::new("/").spawn() else { panic!("a directory ran") };
/// assert_eq!(failure.program, "/");
/// assert_eq!(failure.source.kind(), std::io::ErrorKind::PermissionDenied);
/// assert_eq!(failure.advice.as_deref(), Some("it is a directory"));
/// ```
#[derive(Debug, thiserror::Error)]
#[error("cannot start {program:?}: {step}: {source}{}", after_semicolon(.advice))]
#[non_exhaustive]
pub struct StartError {
    /// The program as it was named.
    pub program: String,
    /// What was being done.
    pub step: Step,
    /// Why the kernel refused. The message has it already, so that it is no
    /// [`source`](std::error::Error::source).
    pub r#source: io::Error,
    /// What to do about it, where the reason alone does not say.
    pub advice: Option<Cow<'static, str>>,
}

fn after_semicolon(advice: &Option<Cow<'static, str>>) -> String {
    advice
        .as_ref()
        .map_or_else(String::new, |advice| format!("; {advice}"))
}

impl StartError {
    pub(crate) fn new(program: String, step: Step, source: io::Error) -> Self {
        Self::told(program, step, source, Some(Path::new("")))
    }

    /// The same; what a step names by a relative path is looked at from `directory`, and no file is
    /// looked at where that is `None`.
    pub(crate) fn told(
        program: String,
        step: Step,
        source: io::Error,
        directory: Option<&Path>,
    ) -> Self {
        let errno = source.raw_os_error().map(Errno::from_raw_os_error);
        let advice = errno.and_then(|errno| advice(&step, errno, directory));
        Self {
            program,
            step,
            source,
            advice,
        }
    }
}

fn advice(step: &Step, errno: Errno, directory: Option<&Path>) -> Option<Cow<'static, str>> {
    let advice = match (step, errno) {
        (Step::Execute(path), Errno::NOENT) => return missing(path, directory?),
        (Step::Execute(path), Errno::ACCESS)
            if directory.is_some_and(|directory| directory.join(path).is_dir()) =>
        {
            "it is a directory"
        }
        (Step::Execute(_), Errno::ACCESS) => {
            "chmod +x makes a file executable, unless its file system is mounted noexec"
        }
        (Step::Execute(_), Errno::NOEXEC) => {
            "it is no program for this machine, or it is damaged: file(1) tells what it is"
        }
        (Step::Execute(_), Errno::TOOBIG) => {
            "arguments and environment together are too large: hand the bytes over through a \
             descriptor"
        }
        (Step::Clone | Step::Thread, Errno::AGAIN) => {
            "the limit on processes is reached: see ulimit -u and the cgroup's pids.max"
        }
        (Step::PlaceDescriptor(_), Errno::BADF) => {
            "the number must be below the limit on open descriptors (ulimit -n), and its source open"
        }
        (Step::OpenNull | Step::MakePipe | Step::Clone, Errno::MFILE) => {
            "this process has no descriptor left: see ulimit -n"
        }
        _ => return None,
    };
    Some(Cow::Borrowed(advice))
}

/// What is missing where the file itself is there.
fn missing(path: &Path, directory: &Path) -> Option<Cow<'static, str>> {
    if !path.as_os_str().as_encoded_bytes().contains(&b'/') {
        return None; // it was not found along PATH
    }
    let path = directory.join(path);
    if !path.metadata().ok()?.is_file() {
        return None;
    }
    // As much as the kernel reads.
    let mut start = Vec::new();
    let file = std::fs::File::open(path).ok();
    let read = file.map(|file| file.take(256).read_to_end(&mut start));
    let Some(line) = read.and(start.strip_prefix(b"#!")) else {
        return Some(Cow::Borrowed(
            "the file is there: the loader or the shell that it needs is not",
        ));
    };
    let line = line.split(|byte| *byte == b'\n').next()?.trim_ascii_start();
    let end = line.iter().position(|byte| b" \t".contains(byte));
    let name = String::from_utf8_lossy(&line[..end.unwrap_or(line.len())]);
    let ending = if name.ends_with('\r') {
        "; the line ends in a carriage return, as on Windows"
    } else {
        ""
    };
    Some(Cow::Owned(format!(
        "the file is there: the interpreter that its first line names, {name:?}, is not{ending}"
    )))
}

/// One step of starting a process, in the order in which they happen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Opening `/dev/null` in the parent.
    OpenNull,
    /// Making the pipe between two stages in the parent.
    MakePipe,
    /// Becoming a subreaper, for [`Command::own_tree`](crate::Command::own_tree).
    Subreaper,
    /// Making the thread that lasts as long as the child, for
    /// [`Command::parent_death_signal`](crate::Command::parent_death_signal).
    Thread,
    /// Mapping the stack on which the child runs until it executes.
    MapStack,
    /// Blocking signals in the parent, or setting them up in the child.
    Signals,
    /// Creating the process.
    Clone,
    /// Putting a descriptor to its number in the child.
    PlaceDescriptor(i32),
    /// Marking every other descriptor close-on-exec, so that none leaks.
    CloseDescriptors,
    /// `setsid`.
    NewSession,
    /// `ioctl(TIOCSCTTY)` on the terminal at this number.
    ControllingTerminal(i32),
    /// `setpgid`.
    ProcessGroup,
    /// `ioctl(TIOCSPGRP)` on the terminal at this number.
    Foreground(i32),
    /// `setrlimit`.
    ResourceLimit(rustix::process::Resource),
    /// `setpriority`.
    Nice,
    /// `sched_setaffinity`.
    CpuAffinity,
    /// `chroot` to this directory.
    ChangeRoot(PathBuf),
    /// `setgroups`.
    Groups,
    /// `setresgid`.
    GroupId,
    /// `setresuid`.
    UserId,
    /// `prctl(PR_SET_NO_NEW_PRIVS)`.
    NoNewPrivileges,
    /// `chdir` to this directory.
    ChangeDirectory(PathBuf),
    /// `prctl(PR_SET_PDEATHSIG)`.
    ParentDeathSignal,
    /// `execve` of this path; the bare name when the search in `PATH` found nothing.
    Execute(PathBuf),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenNull => f.write_str("open /dev/null"),
            Self::MakePipe => f.write_str("make a pipe"),
            Self::Subreaper => f.write_str("become a subreaper"),
            Self::Thread => f.write_str("make a thread that lasts as long as the child"),
            Self::MapStack => f.write_str("map a stack"),
            Self::Signals => f.write_str("set up signals"),
            Self::Clone => f.write_str("clone"),
            Self::PlaceDescriptor(number) => write!(f, "put a descriptor at {number}"),
            Self::CloseDescriptors => f.write_str("mark other descriptors close-on-exec"),
            Self::NewSession => f.write_str("start a session"),
            Self::ControllingTerminal(number) => {
                write!(f, "make descriptor {number} the controlling terminal")
            }
            Self::Foreground(number) => {
                write!(
                    f,
                    "come to the foreground of the terminal at descriptor {number}"
                )
            }
            Self::ProcessGroup => f.write_str("set the process group"),
            Self::ResourceLimit(resource) => write!(f, "set the resource limit {resource:?}"),
            Self::Nice => f.write_str("set the niceness"),
            Self::CpuAffinity => f.write_str("choose CPUs"),
            Self::ChangeRoot(directory) => write!(f, "chroot to {directory:?}"),
            Self::Groups => f.write_str("set the supplementary groups"),
            Self::GroupId => f.write_str("set the group id"),
            Self::UserId => f.write_str("set the user id"),
            Self::NoNewPrivileges => f.write_str("forbid new privileges"),
            Self::ChangeDirectory(directory) => write!(f, "chdir to {directory:?}"),
            Self::ParentDeathSignal => f.write_str("set the parent-death signal"),
            Self::Execute(path) => write!(f, "exec {path:?}"),
        }
    }
}
