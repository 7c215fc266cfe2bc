//! An open process: what its files below `/proc` say.

use std::cell::{Cell, OnceCell, RefCell};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, pread, read};

use super::blocked::BlockedOn;
use super::command_line::CommandLine;
use super::file_size::FileSizes;
use super::id::ProcessId;
use super::root;
use super::stat::{IoCounters, Scheduled, Stat, number, words};
use crate::error::{Error, Result};
use crate::patience;

/// Room for `/proc/PID/stat`, the longest of the small files: fewer than 60 numbers and a name.
pub(super) const SMALL_FILE: usize = 2048;

/// No more of a command line is read: a process may have megabytes of arguments.
const LONGEST_COMMAND_LINE: usize = 256 * 1024;

const READ_COMMAND_LINE: &str = "read the command line";

/// A small file of a process, kept open from its first use.
///
/// Reading at offset 0 makes the kernel write the contents anew, and costs a third of opening,
/// reading and closing. After the process has ended it gives `ESRCH`, whoever has its number then.
#[derive(Debug, Default)]
struct KeptFile(OnceCell<OwnedFd>);

impl KeptFile {
    fn read<'a>(
        &self,
        directory: &OwnedFd,
        name: &str,
        buffer: &'a mut [u8],
    ) -> Result<&'a [u8], Errno> {
        let file = match self.0.get() {
            Some(file) => file,
            None => {
                let file = openat(
                    directory,
                    name,
                    OFlags::RDONLY | OFlags::CLOEXEC,
                    Mode::empty(),
                )?;
                self.0.get_or_init(|| file)
            }
        };
        let length = pread(file, &mut *buffer, 0)?;
        Ok(&buffer[..length])
    }
}

/// A process to be watched, as a stage of a [`Sampler`](crate::Sampler).
///
/// It holds up to five descriptors of files below `/proc/PID`; the process itself notices nothing.
///
/// ```
/// use pipewright_observe::{Error, Intervals, Process, Sampler};
///
/// let me = Process::open(std::process::id())?.named("a doc example");
/// let sampler = Sampler::linear(vec![me], vec![], Intervals::default())?;
/// assert_eq!(sampler.layout().stages[0].command, "a doc example");
/// // Process numbers stay below 2^22 on Linux.
/// assert!(matches!(Process::open(99_999_999), Err(Error::NoSuchProcess { .. })));
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct Process {
    id: ProcessId,
    name: Option<String>,
    /// `/proc/PID`, as an `O_PATH` descriptor.
    pub(super) directory: OwnedFd,
    stat: KeptFile,
    wait: KeptFile,
    children: KeptFile,
    io: KeptFile,
    /// `/proc/PID/syscall` was refused once: `wchan` is asked from then on.
    syscall_denied: Cell<bool>,
    pub(super) file_sizes: RefCell<FileSizes>,
}

impl Process {
    /// Opens the process that has the number `pid` now.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchProcess`] if there is none, [`Error::NoProc`] if `/proc` cannot tell.
    pub fn open(pid: u32) -> Result<Self> {
        Self::open_in(&root::open_own()?, pid)
    }

    pub(crate) fn open_in(proc: &OwnedFd, pid: u32) -> Result<Self> {
        let directory = openat(
            proc,
            pid.to_string(),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|error| match error {
            Errno::NOENT | Errno::SRCH => Error::NoSuchProcess { pid },
            other => Error::of_process("open the directory in /proc", pid, other),
        })?;
        let mut process = Self {
            id: ProcessId { pid, start_time: 0 },
            name: None,
            directory,
            stat: KeptFile::default(),
            wait: KeptFile::default(),
            children: KeptFile::default(),
            io: KeptFile::default(),
            syscall_denied: Cell::new(false),
            file_sizes: RefCell::default(),
        };
        process.id.start_time = process.stat()?.start_time;
        Ok(process)
    }

    /// The same process with a name for it, as the stage that it is: what was typed, for example.
    /// Without one, a sampler reads the command line.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self {
            name: Some(name.into()),
            ..self
        }
    }

    /// The name that it was given.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Opens a process met earlier.
    ///
    /// # Errors
    ///
    /// [`Error::Ended`] if it has ended, even if its number is in use again.
    #[doc(hidden)]
    pub fn open_same(id: ProcessId) -> Result<Self> {
        Self::open_same_in(&root::open_own()?, id)
    }

    pub(crate) fn open_same_in(proc: &OwnedFd, id: ProcessId) -> Result<Self> {
        let ended = Error::Ended { pid: id.pid };
        match Self::open_in(proc, id.pid) {
            Ok(process) if process.id == id => Ok(process),
            Ok(_) | Err(Error::NoSuchProcess { .. }) => Err(ended),
            Err(error) => Err(error),
        }
    }

    /// The process's identity.
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// State, parent, CPU time and threads. Anybody may ask; a zombie answers too.
    ///
    /// # Errors
    ///
    /// [`Error::Ended`] once it has been waited for.
    ///
    /// # References
    ///
    /// [proc_pid_stat(5)](https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html)
    #[doc(hidden)]
    pub fn stat(&self) -> Result<Stat> {
        let mut buffer = [0; SMALL_FILE];
        let text = self
            .stat
            .read(&self.directory, "stat", &mut buffer)
            .map_err(|error| Error::of_process("read the state", self.id.pid, error))?;
        Stat::parse(text).ok_or_else(|| self.malformed("stat"))
    }

    /// The command line. A zombie's and a kernel thread's is empty; so is, for a moment, that of a
    /// process in the midst of exec, also after the `spawn` that started it has returned.
    /// Of a longer one the first 256 KiB are read.
    ///
    /// # Errors
    ///
    /// [`Error::Ended`] once it has been waited for; [`Error::NoAnswer`] if its memory cannot be read
    /// within half a second.
    ///
    /// # References
    ///
    /// [proc_pid_cmdline(5)](https://man7.org/linux/man-pages/man5/proc_pid_cmdline.5.html)
    #[doc(hidden)]
    pub fn command_line(&self) -> Result<CommandLine> {
        let file = self
            .open_file("cmdline")
            .map_err(|error| Error::of_process(READ_COMMAND_LINE, self.id.pid, error))?;
        match patience::ask(|| read_to_end(file, LONGEST_COMMAND_LINE)) {
            Some(Ok(text)) => Ok(CommandLine::from_bytes(text)),
            Some(Err(error)) => Err(Error::of_process(READ_COMMAND_LINE, self.id.pid, error)),
            None => Err(no_command_line(self.id.pid)),
        }
    }

    /// Bytes read and written so far. A zombie answers until it is waited for, to those who have
    /// asked before it ended: its file belongs to root, but who has it open may still read it.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] for another user's process: unknown, which is not zero.
    ///
    /// # References
    ///
    /// [proc_pid_io(5)](https://man7.org/linux/man-pages/man5/proc_pid_io.5.html)
    #[doc(hidden)]
    pub fn io(&self) -> Result<IoCounters> {
        let mut buffer = [0; SMALL_FILE];
        let text = self
            .io
            .read(&self.directory, "io", &mut buffer)
            .map_err(|error| Error::of_process("read the I/O counters", self.id.pid, error))?;
        IoCounters::parse(text).ok_or_else(|| self.malformed("io"))
    }

    /// Time that each thread has spent on a CPU and waiting for one, by thread number.
    ///
    /// # Errors
    ///
    /// [`Error::Ended`], or [`Error::System`] where the kernel keeps no such account.
    ///
    /// # References
    ///
    /// [The kernel's sched-stats](https://docs.kernel.org/scheduler/sched-stats.html)
    #[doc(hidden)]
    pub fn schedules(&self) -> Result<Vec<(u32, Scheduled)>> {
        let mut schedules = Vec::new();
        for thread in self.threads()? {
            let mut buffer = [0; SMALL_FILE];
            match self.read_once(&format!("task/{thread}/schedstat"), &mut buffer) {
                Ok(text) => {
                    schedules.extend(Scheduled::parse(text).map(|schedule| (thread, schedule)))
                }
                // A thread may end between the listing and the reading.
                Err(Errno::NOENT | Errno::SRCH) => {}
                Err(error) => {
                    return Err(Error::of_process("read the schedule", self.id.pid, error));
                }
            }
        }
        Ok(schedules)
    }

    /// Finds out what its main thread waits for: with the descriptor where the kernel tells this user
    /// (by the rule of ptrace), otherwise from the kernel function it sleeps in.
    ///
    /// # References
    ///
    /// [proc_pid_syscall(5)](https://man7.org/linux/man-pages/man5/proc_pid_syscall.5.html),
    /// [proc_pid_wchan(5)](https://man7.org/linux/man-pages/man5/proc_pid_wchan.5.html)
    #[doc(hidden)]
    pub fn blocked_on(&self) -> BlockedOn {
        let mut buffer = [0; 256];
        match self.system_call(&mut buffer) {
            Some(text) => BlockedOn::from_syscall(text),
            None => self
                .read_once("wchan", &mut buffer)
                .map_or(BlockedOn::Unknown, BlockedOn::from_wchan),
        }
    }

    /// The contents of `/proc/PID/syscall`; `None` where this user may not know.
    pub(crate) fn system_call<'a>(&self, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        if self.syscall_denied.get() {
            return None;
        }
        match self.wait.read(&self.directory, "syscall", buffer) {
            Ok(text) => Some(text),
            Err(Errno::NOENT | Errno::SRCH) => None,
            Err(_) => {
                self.syscall_denied.set(true);
                None
            }
        }
    }

    /// Finds out what one of its threads waits for; see [`Process::blocked_on`].
    #[doc(hidden)]
    pub fn thread_blocked_on(&self, thread: u32) -> BlockedOn {
        let mut buffer = [0; 256];
        if !self.syscall_denied.get()
            && let Ok(text) = self.read_once(&format!("task/{thread}/syscall"), &mut buffer)
        {
            return BlockedOn::from_syscall(text);
        }
        self.read_once(&format!("task/{thread}/wchan"), &mut buffer)
            .map_or(BlockedOn::Unknown, BlockedOn::from_wchan)
    }

    /// Numbers of its threads, the main thread first.
    ///
    /// # Errors
    ///
    /// [`Error::Ended`] once it has been waited for.
    ///
    /// # References
    ///
    /// [proc_pid_task(5)](https://man7.org/linux/man-pages/man5/proc_pid_task.5.html)
    #[doc(hidden)]
    pub fn threads(&self) -> Result<Vec<u32>> {
        let error = |error| Error::of_process("list the threads", self.id.pid, error);
        let directory = openat(
            &self.directory,
            "task",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(error)?;
        let mut threads = Vec::new();
        numbers_in(&directory, |thread| threads.push(thread)).map_err(error)?;
        Ok(threads)
    }

    /// Numbers of the children that its main thread started, appended to `children`. `false`: this
    /// kernel does not tell (`CONFIG_PROC_CHILDREN`).
    ///
    /// # Errors
    ///
    /// [`Error::Ended`] if the process has been waited for.
    #[doc(hidden)]
    pub fn children(&self, children: &mut Vec<u32>) -> Result<bool> {
        let pid = self.id.pid;
        let mut buffer = [0; SMALL_FILE];
        match self.children.read(
            &self.directory,
            &format!("task/{pid}/children"),
            &mut buffer,
        ) {
            Ok(text) if text.len() < SMALL_FILE => children.extend(words(text).filter_map(child)),
            Ok(_) => {
                let text = self.read_whole(&format!("task/{pid}/children"), "list the children")?;
                children.extend(words(&text).filter_map(child));
            }
            Err(Errno::NOENT) if self.stat().is_ok() => return Ok(false),
            Err(error) => return Err(Error::of_process("list the children", pid, error)),
        }
        Ok(true)
    }

    /// Numbers of the children that one thread other than the main thread started.
    pub(crate) fn children_of_thread(&self, thread: u32, children: &mut Vec<u32>) {
        // A thread that has ended meanwhile has handed its children to another one.
        if let Ok(text) = self.read_whole(&format!("task/{thread}/children"), "list the children") {
            children.extend(words(&text).filter_map(child));
        }
    }

    fn open_file(&self, name: &str) -> Result<OwnedFd, Errno> {
        openat(
            &self.directory,
            name,
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
    }

    pub(super) fn read_once<'a>(
        &self,
        name: &str,
        buffer: &'a mut [u8],
    ) -> Result<&'a [u8], Errno> {
        let file = self.open_file(name)?;
        let length = read(&file, &mut *buffer)?;
        Ok(&buffer[..length])
    }

    fn read_whole(&self, name: &str, what: &'static str) -> Result<Vec<u8>> {
        self.open_file(name)
            .and_then(|file| read_to_end(file, usize::MAX))
            .map_err(|error| Error::of_process(what, self.id.pid, error))
    }

    pub(super) fn malformed(&self, name: &str) -> Error {
        Error::Malformed {
            path: format!("/proc/{}/{name}", self.id.pid),
        }
    }
}

/// The command lines of many processes, the questions side by side. Few files are open at a time.
///
/// # Errors
///
/// [`Error::NoProc`] if `/proc` cannot tell.
pub fn command_lines(processes: &[ProcessId]) -> Result<Vec<Result<CommandLine>>> {
    let proc = Arc::new(root::open_own()?);
    let questions = processes.iter().map(|&id| (Arc::clone(&proc), id));
    let answers = patience::ask_each(questions.collect(), |(proc, id)| {
        let file = Process::open_same_in(&proc, id)?.open_file("cmdline");
        file.and_then(|file| read_to_end(file, LONGEST_COMMAND_LINE))
            .map_err(|error| Error::of_process(READ_COMMAND_LINE, id.pid, error))
    });
    let lines = processes.iter().zip(answers);
    let lines = lines.map(|(id, answer)| match answer {
        Some(Ok(text)) => Ok(CommandLine::from_bytes(text)),
        Some(Err(error)) => Err(error),
        None => Err(no_command_line(id.pid)),
    });
    Ok(lines.collect())
}

fn no_command_line(pid: u32) -> Error {
    Error::NoAnswer {
        what: READ_COMMAND_LINE,
        pid,
    }
}

/// Reads a file below `/proc`, at most about `most` bytes of it.
fn read_to_end(file: OwnedFd, most: usize) -> Result<Vec<u8>, Errno> {
    let mut text = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let length = read(&file, &mut buffer)?;
        text.extend_from_slice(&buffer[..length]);
        // The kernel stops in the middle only where the next item would not fit into a page.
        if length < rustix::param::page_size() / 2 || text.len() >= most {
            return Ok(text);
        }
    }
}

fn child(word: &[u8]) -> Option<u32> {
    number(word).map(|pid| pid as u32)
}

/// Calls `found` for each entry of a directory below `/proc` whose name is a number.
pub(crate) fn numbers_in(directory: &OwnedFd, mut found: impl FnMut(u32)) -> Result<(), Errno> {
    let mut buffer = [std::mem::MaybeUninit::uninit(); 16 * 1024];
    let mut entries = rustix::fs::RawDir::new(directory, &mut buffer);
    while let Some(entry) = entries.next() {
        if let Some(number) = number(entry?.file_name().to_bytes()) {
            found(number as u32);
        }
    }
    Ok(())
}
