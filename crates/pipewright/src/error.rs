//! What can go wrong, said so that somebody can act on it.
//!
//! Every error names what was tried, on what, and why the kernel refused.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

use crate::capture::collected::Collected;

/// The result of everything in this crate that can fail.
///
/// ```
/// use pipewright::{Command, Result};
///
/// fn kernel() -> Result<String> {
///     Command::new("uname").arg("-s").capture().read()
/// }
/// assert_eq!(kernel()?, "Linux");
/// # Ok::<(), pipewright::Error>(())
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Anything this crate can fail with.
///
/// It turns into an [`io::Error`] of the matching [`io::ErrorKind`], so that `?` works in
/// functions that return [`io::Result`].
///
/// ```
/// use pipewright::{Command, Error, Step};
///
/// let error = Command::new("true").current_dir("/nope").spawn().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     r#"cannot start "true": chdir to "/nope": No such file or directory (os error 2)"#,
/// );
/// assert!(matches!(error, Error::Start(failure) if matches!(failure.step, Step::ChangeDirectory(_))));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A command was put together wrongly. Nothing was started.
    #[error("cannot start {program:?}: {reason}")]
    Invalid {
        /// The program as it was named.
        program: String,
        /// What is wrong with the command.
        reason: InvalidCommand,
    },

    /// The kernel refused one step of a start. Nothing of the child is left behind.
    #[error(transparent)]
    Start(#[from] StartError),

    /// A stage of a pipeline was not started because another one cannot be.
    #[error("{name} was held back: {missing} cannot be started")]
    HeldBack {
        /// The stage as one would type it.
        name: String,
        /// The other one.
        missing: String,
    },

    /// A pipe was asked for a capacity above what an unprivileged process may have.
    #[error(
        "cannot set the pipe's capacity to {requested} bytes: the ceiling for an unprivileged \
         process is {ceiling} bytes (/proc/sys/fs/pipe-max-size); ask for less, or raise the ceiling"
    )]
    CapacityAboveCeiling {
        /// Bytes that were asked for.
        requested: usize,
        /// Bytes in `/proc/sys/fs/pipe-max-size`.
        ceiling: usize,
    },

    /// A pipe may not grow because this user's pipes already hold their share of memory.
    #[error(
        "cannot set the pipe's capacity to {requested} bytes: this user's pipes together have \
         reached their quota (/proc/sys/fs/pipe-user-pages-soft); close pipes, or raise the quota"
    )]
    CapacityOverQuota {
        /// Bytes that were asked for.
        requested: usize,
    },

    /// A pipe may not shrink below what is still unread in it.
    #[error(
        "cannot set the pipe's capacity to {requested} bytes: {unread} bytes in it are still \
         unread; read them first, or ask for more"
    )]
    CapacityBelowUnread {
        /// Bytes that were asked for.
        requested: usize,
        /// Bytes that wait in the pipe.
        unread: usize,
    },

    /// A command or pipeline whose output was collected had not ended in time. It was killed.
    #[error(
        "{name} did not end within {timeout:?} and was killed; {} bytes of its output were \
         collected before",
        .collected.bytes()
    )]
    TimedOut {
        /// The command as one would type it.
        name: String,
        /// The time it was given.
        timeout: Duration,
        /// What had arrived by then.
        collected: Box<Collected>,
    },

    /// A [`Canceller`](crate::Canceller) ended the collecting. What ran was killed.
    #[error(
        "{name} was cancelled and killed; {} bytes of its output were collected before",
        .collected.bytes()
    )]
    Cancelled {
        /// The command as one would type it.
        name: String,
        /// What had arrived by then.
        collected: Box<Collected>,
    },

    /// A command or pipeline wrote more than was allowed. It was killed.
    #[error(
        "{name} wrote more than the {limit} bytes allowed and was killed; allow more, or send its \
         output to a file"
    )]
    OutputTooLarge {
        /// The command as one would type it.
        name: String,
        /// The bytes allowed.
        limit: usize,
        /// What had arrived: as many bytes as were allowed.
        collected: Box<Collected>,
    },

    /// Every stage has ended, but a process that one of them left behind still holds a pipe that
    /// was collected from.
    #[error(
        "{name} has ended, but {grace:?} later a process that it left behind still holds its \
         output open; let that process redirect its output, or allow it more time"
    )]
    PipeHeldOpen {
        /// The command as one would type it.
        name: String,
        /// The time the pipe was given to be closed.
        grace: Duration,
        /// What had arrived, and how the stages ended.
        collected: Box<Collected>,
    },

    /// A command ended, but not with success.
    #[error("{name} failed: {end}{}", after_colon(.stderr))]
    Failed {
        /// The stage that failed, as one would type it.
        name: String,
        /// How it ended, in words.
        end: String,
        /// The status that a shell would give.
        exit_code: u8,
        /// The end of what it wrote to its stderr, without control characters.
        stderr: String,
    },

    /// Output that was to be text is not UTF-8.
    #[error("the output of {name} is not UTF-8: byte {position} is 0x{byte:02x}; take it as bytes")]
    NotUtf8 {
        /// The command as one would type it.
        name: String,
        /// The position of the first wrong byte, counted from 0 at the start of the output.
        position: u64,
        /// That byte.
        byte: u8,
    },

    /// Collecting the output of a command or pipeline failed: its input could not be read, its
    /// output did not fit into memory, or its status was lost. What ran was killed.
    #[error("{reason}")]
    CaptureFailed {
        /// The command as one would type it.
        name: String,
        /// What failed.
        reason: Box<Error>,
        /// What had arrived by then: all of it, if only the status was lost.
        collected: Box<Collected>,
    },

    /// Nothing has come within the time that one read was given. The command runs on, and the next
    /// read goes on where this one was.
    #[error("nothing has come from {name} within {time:?}; it still runs")]
    NothingYet {
        /// The command as one would type it.
        name: String,
        /// The time that was given.
        time: Duration,
    },

    /// A child has ended, and how cannot be known any more: see
    /// [`Child`](crate::Child#other-code-that-waits).
    #[error("{program} has ended, but its status is lost: {cause}")]
    StatusLost {
        /// The program as the command named it.
        program: String,
        /// What became of the status.
        cause: LostStatus,
    },

    /// A system call failed on a pipe, a process or a descriptor.
    #[error("cannot {operation}: {source}")]
    System {
        /// What was tried, as a verb and its object: `make a pipe`.
        operation: &'static str,
        /// Why the kernel refused. The message has it already, so that it is no
        /// [`source`](std::error::Error::source).
        r#source: io::Error,
    },
}

impl Error {
    pub(crate) fn system(operation: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::System {
            operation,
            source: errno.into(),
        }
    }

    /// What a capture had collected before it was given up, if this is the error of one.
    pub fn collected(&self) -> Option<&Collected> {
        match self {
            Self::TimedOut { collected, .. }
            | Self::Cancelled { collected, .. }
            | Self::OutputTooLarge { collected, .. }
            | Self::PipeHeldOpen { collected, .. }
            | Self::CaptureFailed { collected, .. } => Some(collected),
            _ => None,
        }
    }

    /// The error of a capture, with what was collected. One that has no place for it gets one.
    pub(crate) fn with_collected(
        mut self,
        name: impl FnOnce() -> String,
        bytes: Collected,
    ) -> Self {
        match &mut self {
            Self::TimedOut { collected, .. }
            | Self::Cancelled { collected, .. }
            | Self::OutputTooLarge { collected, .. }
            | Self::PipeHeldOpen { collected, .. } => {
                **collected = bytes;
                self
            }
            _ => Self::CaptureFailed {
                name: name(),
                reason: Box::new(self),
                collected: Box::new(bytes),
            },
        }
    }

    /// The kernel's error number behind this error, where there is one.
    ///
    /// ```
    /// let error = pipewright::Command::new("/no/such/program").spawn().unwrap_err();
    /// assert_eq!(error.raw_os_error(), Some(2)); // ENOENT
    /// ```
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Start(failure) => failure.source.raw_os_error(),
            Self::System { source, .. } => source.raw_os_error(),
            Self::CapacityAboveCeiling { .. } | Self::CapacityOverQuota { .. } => {
                Some(Errno::PERM.raw_os_error())
            }
            Self::CapacityBelowUnread { .. } => Some(Errno::BUSY.raw_os_error()),
            Self::TimedOut { .. } | Self::NothingYet { .. } => Some(Errno::TIMEDOUT.raw_os_error()),
            Self::CaptureFailed { reason, .. } => reason.raw_os_error(),
            Self::Invalid {
                reason: InvalidCommand::UserId | InvalidCommand::GroupId,
                ..
            } => Some(Errno::INVAL.raw_os_error()),
            Self::StatusLost { .. } => Some(Errno::CHILD.raw_os_error()),
            Self::Invalid { .. }
            | Self::HeldBack { .. }
            | Self::Cancelled { .. }
            | Self::OutputTooLarge { .. }
            | Self::PipeHeldOpen { .. }
            | Self::Failed { .. }
            | Self::NotUtf8 { .. } => None,
        }
    }

    /// The status a shell would give: 127 where the program was not found, 126 where it was found
    /// and could not be executed, its own for a command that failed, 124 (as timeout(1)) for one
    /// that did not end in time, 125 for anything else.
    ///
    /// ```
    /// let not_found = pipewright::Command::new("/no/such/program").spawn().unwrap_err();
    /// assert_eq!(not_found.exit_code(), 127);
    /// let a_directory = pipewright::Command::new("/tmp").spawn().unwrap_err();
    /// assert_eq!(a_directory.exit_code(), 126);
    /// ```
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Start(StartError {
                step: Step::Execute(_),
                source,
                ..
            }) => match source.kind() {
                io::ErrorKind::NotFound => 127,
                _ => 126,
            },
            Self::Failed { exit_code, .. } => *exit_code,
            Self::TimedOut { .. } => 124,
            Self::CaptureFailed { reason, .. } => reason.exit_code(),
            _ => 125,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match (&error, error.raw_os_error()) {
            (Error::Invalid { .. }, _) => io::ErrorKind::InvalidInput,
            (Error::NotUtf8 { .. }, _) => io::ErrorKind::InvalidData,
            (Error::Cancelled { .. }, _) => io::ErrorKind::Interrupted,
            (_, Some(errno)) => io::Error::from_raw_os_error(errno).kind(),
            (_, None) => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// Why the status of a child that has ended cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LostStatus {
    /// The kernel keeps no status for this process.
    #[error(
        "SIGCHLD is ignored in this process, so the kernel keeps no status; set SIGCHLD to its \
         default (a program may inherit it as ignored) before children are started"
    )]
    Ignored,
    /// Other code in this process took it.
    #[error(
        "other code in this process waited for any child (waitpid(-1), perhaps in a handler for \
         SIGCHLD) and took it; let that code wait for its own children only"
    )]
    TakenElsewhere,
}

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

fn after_colon(text: &str) -> String {
    let separator = if text.is_empty() { "" } else { ": " };
    format!("{separator}{text}")
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
        (Step::Clone, Errno::AGAIN) => {
            "the limit on processes is reached: see ulimit -u and the cgroup's pids.max"
        }
        (Step::PlaceDescriptor(_), Errno::BADF) => {
            "the number must be below the limit on open descriptors (ulimit -n), and its source open"
        }
        (Step::OpenNull | Step::MakePipe, Errno::MFILE) => {
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
///
/// ```
/// use pipewright::{Command, Error, Step};
///
/// let beyond_the_limit = Command::new("true").fd(i32::MAX, std::fs::File::open("/")?).spawn();
/// let Err(Error::Start(failure)) = beyond_the_limit else { panic!("it started") };
/// assert_eq!(failure.step, Step::PlaceDescriptor(i32::MAX));
/// assert_eq!(Step::NewSession.to_string(), "start a session");
/// # Ok::<(), std::io::Error>(())
/// ```
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

/// What is wrong with a command that was never started.
///
/// ```
/// use pipewright::{Command, Error, InvalidCommand};
///
/// let error = Command::new("true").env("A=B", "c").spawn().unwrap_err();
/// assert!(matches!(
///     error,
///     Error::Invalid { reason: InvalidCommand::VariableName(name), .. } if name == "A=B"
/// ));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidCommand {
    /// Two sources were named for one descriptor number.
    #[error("descriptor {0} has two sources; name one source for each number")]
    DescriptorTwice(i32),
    /// A descriptor number below zero.
    #[error("descriptor number {0} is negative; numbers start at 0")]
    DescriptorNegative(i32),
    /// [`Stdio::SameAsStdout`](crate::Stdio::SameAsStdout) for something that is not stderr.
    #[error("only stderr can be the same as stdout; give {0} a source of its own")]
    SameAsStdout(&'static str),
    /// [`Stdio::SameAsStderr`](crate::Stdio::SameAsStderr) for something that is not stdout.
    #[error("only stdout can be the same as stderr; give {0} a source of its own")]
    SameAsStderr(&'static str),
    /// Stdout is to be the same as stderr, and stderr the same as stdout.
    #[error("stdout and stderr are each to be the same as the other; give one of them a target")]
    SameAsEachOther,
    /// A zero byte in something that becomes a C string.
    #[error("{0} contains a zero byte, which would end it early in the child")]
    InteriorNul(&'static str),
    /// A variable's name that is empty or contains `=`.
    #[error("environment variable name {0:?} is empty or contains \"=\"")]
    VariableName(String),
    /// A session leader is the leader of its own group already.
    #[error("a new session already is a new process group; ask for one of the two")]
    SessionAndGroup,
    /// A user id of all ones, which the kernel reads as "leave it as it is".
    #[error("user id 4294967295 stands for no user; name one below it")]
    UserId,
    /// A group id of all ones, likewise.
    #[error("group id 4294967295 stands for no group; name one below it")]
    GroupId,
    /// A middle stage whose stdin or stdout was chosen, although the pipeline connects it.
    #[error("its {0} is connected by the pipeline; leave it unset")]
    ConnectedByPipeline(&'static str),
}
