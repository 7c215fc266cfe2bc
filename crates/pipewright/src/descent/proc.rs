//! The processes of this pid namespace, as its own `/proc` tells of them.
//!
//! Only files that the kernel fills without the memory of the process are read here, so that nobody
//! can hold up a look: `stat` takes no lock that a process could keep. Its environment is another
//! matter; see [`words`](super::words).

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{CWD, Dir, Mode, OFlags, PROC_SUPER_MAGIC, fstatfs, openat, readlinkat};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, kill_process, pidfd_open,
    pidfd_send_signal, waitid,
};

use crate::poll::{Deadline, wait_readable};
use crate::spawn::{adopt, is_sigchld_ignored, reaping};

/// One process as `/proc/PID/stat` tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) name: String,
    pub(crate) state: u8,
    /// It has ended, with all of its threads, and its status waits to be taken.
    pub(crate) zombie: bool,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    /// When it started, in clock ticks since the machine did.
    pub(crate) started: u64,
}

/// What makes a process unmistakable: its number, and when it started.
pub(crate) type Key = (i32, u64);

impl Process {
    pub(crate) fn key(&self) -> Key {
        (self.pid, self.started)
    }

    /// Parses the text of a `stat` file.
    fn parse(stat: &str) -> Option<Self> {
        // The name is in parentheses and may itself contain anything, parentheses too.
        let (pid, rest) = stat.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let state = *fields.first()?.as_bytes().first()?;
        Some(Self {
            pid: pid.parse().ok()?,
            name: name.to_owned(),
            state,
            // The first thread may have ended before the others. Then the process has not.
            zombie: matches!(state, b'Z' | b'X') && fields.get(17)?.parse::<u32>().ok()? <= 1,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }
}

/// The `/proc` of this process's own pid namespace.
#[derive(Debug)]
pub(crate) struct Proc(OwnedFd);

impl Proc {
    /// Opens it. Where `/proc` shows another namespace its numbers are strangers', so that is an
    /// error, as it is where `/proc` is no such file system.
    pub(crate) fn own() -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let proc = Self(openat(CWD, "/proc", flags, Mode::empty())?);
        if fstatfs(&proc.0)?.f_type != PROC_SUPER_MAGIC {
            return Err(io::Error::other("/proc is no proc file system"));
        }
        let own = getpid().as_raw_pid().to_string();
        // ENOENT: this process has no number in the namespace that is shown.
        let shown = readlinkat(&proc.0, "self", Vec::new());
        let is_own = shown.is_ok_and(|shown| shown.to_bytes() == own.as_bytes())
            && proc.numbers_of_self()? <= 1;
        if !is_own {
            return Err(io::Error::other("/proc is of another pid namespace"));
        }
        Ok(proc)
    }

    /// How many numbers this process has, from the namespace that is shown down to its own. One,
    /// then, if the two are the same: numbers in two namespaces can be equal by chance.
    fn numbers_of_self(&self) -> io::Result<usize> {
        let status = self.read("self/status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        // A kernel without namespaces has no such line.
        Ok(line.map_or(1, |line| line.split_ascii_whitespace().count()))
    }

    /// Lists every process that can be seen, and tells what kept some from being listed.
    pub(crate) fn processes(&self) -> (Vec<Process>, Option<io::Error>) {
        let mut processes = Vec::new();
        let result = self.list(&mut processes);
        (processes, result.err())
    }

    fn list(&self, processes: &mut Vec<Process>) -> io::Result<()> {
        let mut first = Ok(());
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            let Some(pid) = entry
                .file_name()
                .to_str()
                .ok()
                .and_then(|it| it.parse().ok())
            else {
                continue;
            };
            match self.process(pid) {
                Ok(process) => processes.push(process),
                Err(error) if is_gone(&error) => {}
                // Hidden from this user, as mounted with hidepid.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                Err(error) => first = first.and(Err(error)),
            }
        }
        first
    }

    /// The process that has this number now.
    pub(crate) fn process(&self, pid: i32) -> io::Result<Process> {
        Process::parse(&self.read(&format!("{pid}/stat"))?)
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Reads the environment. This may take as long as the process wants: see
    /// [`words`](super::words).
    ///
    /// It is read in one step: the file belongs to the program that ran when it was opened, and ends
    /// wherever a reader is when another program comes. A part would pass for the whole.
    pub(super) fn environment(&self, pid: i32) -> io::Result<Vec<u8>> {
        let path = format!("{pid}/environ");
        let mut bytes = vec![0; 64 << 10];
        loop {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let mut file = File::from(openat(&self.0, &path, flags, Mode::empty())?);
            let length = file.read(&mut bytes)?;
            if length < bytes.len() {
                bytes.truncate(length);
                return Ok(bytes);
            }
            bytes.resize(2 * length, 0);
        }
    }

    /// Tells whether the process is in the midst of exec: the old program's memory is gone, and the
    /// new one has no arguments and no environment yet.
    pub(super) fn is_between_programs(&self, pid: i32) -> bool {
        let arguments = read(self.0.as_fd(), &format!("{pid}/cmdline"));
        arguments.is_ok_and(|it| it.is_empty())
    }

    pub(super) fn has_ended(&self, pid: i32) -> bool {
        self.process(pid).map_or(true, |it| it.zombie)
    }

    fn read(&self, path: &str) -> io::Result<String> {
        // A process's name is any bytes.
        let bytes = read(self.0.as_fd(), path)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Takes hold of a process that was listed, unless it is gone: ESRCH.
    pub(crate) fn open(&self, process: &Process) -> Result<Handle, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let gone = |errno| match errno {
            Errno::NOENT => Errno::SRCH,
            errno => errno,
        };
        // The directory is of one process for good: nothing can be read in it once that is gone.
        let path = process.pid.to_string();
        let directory = openat(&self.0, path, flags, Mode::empty()).map_err(gone)?;
        let is_it = || {
            let stat = read(directory.as_fd(), "stat")?;
            let now = Process::parse(&String::from_utf8_lossy(&stat));
            Ok(now.is_some_and(|now| now.started == process.started))
        };
        let check = || match is_it() {
            Ok(true) => Ok(()),
            Ok(false) => Err(Errno::SRCH),
            Err(error) if is_gone(&error) => Err(Errno::SRCH),
            Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        };
        let pid = Pid::from_raw(process.pid).ok_or(Errno::SRCH)?;
        let opened = pidfd_open(pid, PidfdFlags::empty());
        // It was there after the pidfd was opened, so the pidfd is of nobody else.
        check()?;
        let kind = match opened {
            Ok(pidfd) => Kind::Pidfd(pidfd),
            // A sandbox that is older than the system call.
            Err(Errno::NOSYS | Errno::PERM | Errno::ACCESS) => Kind::Directory(directory),
            Err(errno) => return Err(errno),
        };
        Ok(Handle { kind, pid })
    }
}

fn read(directory: BorrowedFd<'_>, path: &str) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let mut bytes = Vec::with_capacity(512);
    File::from(openat(directory, path, flags, Mode::empty())?).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Tells whether a process was gone when something of it was to be read.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOENT | Errno::SRCH)
    )
}

/// A process that is held: whatever becomes of its number, this stands for it and nobody else.
#[derive(Debug)]
pub(crate) struct Handle {
    kind: Kind,
    pid: Pid,
}

#[derive(Debug)]
enum Kind {
    Pidfd(OwnedFd),
    /// Its directory in `/proc`, which the kernel takes for a pidfd where a signal is to be sent.
    Directory(OwnedFd),
}

impl Handle {
    /// Sends a signal. ESRCH: it is gone.
    ///
    /// `orphan`: if it is a child of this process, nobody but this crate takes its status.
    pub(crate) fn signal(&self, signal: Signal, orphan: bool) -> Result<(), Errno> {
        let (Kind::Pidfd(held) | Kind::Directory(held)) = &self.kind;
        match pidfd_send_signal(held, signal) {
            // Of another user, or a sandbox that is older than the system call.
            Err(errno @ (Errno::PERM | Errno::NOSYS | Errno::ACCESS)) => {
                // Nobody takes the status meanwhile, so the number stays that of a child.
                let _reaping = reaping();
                if !orphan || !self.is_unreaped_child() || is_sigchld_ignored() {
                    return Err(errno);
                }
                kill_process(self.pid, signal)
            }
            result => result,
        }
    }

    fn is_unreaped_child(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(self.wait_id(), options).is_ok() && !self.is_gone()
    }

    fn wait_id(&self) -> WaitId<'_> {
        match &self.kind {
            Kind::Pidfd(pidfd) => WaitId::PidFd(pidfd.as_fd()),
            Kind::Directory(_) => WaitId::Pid(self.pid),
        }
    }

    /// Tells, of a directory, whether its process is there no more.
    fn is_gone(&self) -> bool {
        match &self.kind {
            Kind::Pidfd(_) => false,
            Kind::Directory(directory) => read(directory.as_fd(), "stat").is_err(),
        }
    }

    /// Takes the status, if it is this process's to take and there is one.
    pub(crate) fn reap(&self) {
        let _reaping = reaping();
        if !self.is_gone() {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            // Where this process is no subreaper it is somebody else's.
            let _ = waitid(self.wait_id(), options);
        }
    }

    /// Leaves the process to be reaped when it has ended, if it is a child of this process.
    pub(crate) fn adopt(self) {
        if let Kind::Pidfd(pidfd) = self.kind {
            adopt(self.pid.as_raw_pid(), pidfd);
        }
    }
}

/// Waits until one of the processes has ended, and returns the indices of those that have: none, if
/// the deadline has passed.
pub(crate) fn wait_any(
    handles: &[&Handle],
    pidfds: &[BorrowedFd<'_>],
    deadline: Deadline,
) -> crate::Result<(Vec<usize>, Vec<usize>)> {
    // A directory cannot be polled.
    let pause = Duration::from_millis(5);
    loop {
        let mut ended = Vec::new();
        let mut places = Vec::new();
        let mut polled = pidfds.to_vec();
        for (index, handle) in handles.iter().enumerate() {
            match &handle.kind {
                Kind::Pidfd(pidfd) => {
                    places.push(index);
                    polled.push(pidfd.as_fd());
                }
                Kind::Directory(directory) => {
                    let stat = read(directory.as_fd(), "stat").unwrap_or_default();
                    let process = Process::parse(&String::from_utf8_lossy(&stat));
                    if process.is_none_or(|process| process.zombie) {
                        ended.push(index);
                    }
                }
            }
        }
        let until = if !ended.is_empty() {
            Deadline::now()
        } else if places.len() < handles.len() {
            Deadline::after(pause).or_before(deadline)
        } else {
            deadline
        };
        let mut ready = wait_readable(&polled, until)?;
        let of_handles = ready.split_off(ready.partition_point(|&it| it < pidfds.len()));
        ended.extend(of_handles.iter().map(|it| places[it - pidfds.len()]));
        if !ended.is_empty() || !ready.is_empty() || deadline.has_passed() {
            return Ok((ended, ready));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_spaces_and_parentheses() {
        let stat = "7 (a) (b c) S 3 5 5 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1 1";
        let process = Process::parse(stat).unwrap();
        assert_eq!(process.name, "a) (b c");
        assert_eq!((process.pid, process.parent, process.group), (7, 3, 5));
        assert_eq!((process.started, process.zombie), (4242, false));
        assert_eq!(Process::parse("7 (cut"), None);
    }

    #[test]
    fn this_process_is_listed_once() {
        let (processes, error) = Proc::own().unwrap().processes();
        assert!(error.is_none(), "{error:?}");
        let own = getpid().as_raw_pid();
        assert_eq!(processes.iter().filter(|it| it.pid == own).count(), 1);
    }

    #[test]
    fn a_process_that_started_at_another_time_is_gone() {
        let proc = Proc::own().unwrap();
        let mut process = proc.process(getpid().as_raw_pid()).unwrap();
        assert!(proc.open(&process).is_ok());
        process.started += 1;
        assert_eq!(proc.open(&process).unwrap_err(), Errno::SRCH);
    }
}
