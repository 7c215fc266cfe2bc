//! One process, seen through `/proc`.
//!
//! A [`Process`] is bound to the process it was opened for: when that process has ended and its
//! number has been given to another, every question is answered with [`Error::Ended`], never with
//! the other's figures.

use std::cell::{Cell, OnceCell};
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, open, openat};
use rustix::io::{Errno, pread, read};

pub use self::blocked::BlockedOn;
pub use self::command_line::{CommandLine, displayable};
pub use self::descriptor::{FilePosition, Target};
pub use self::id::ProcessId;
pub use self::stat::{IoCounters, Schedule, Stat, State};
use self::stat::{number, words};
use crate::error::{Error, Result};

mod blocked;
mod command_line;
mod descriptor;
mod id;
pub(crate) mod stat;

/// Room for `/proc/PID/stat`, the longest of the small files: fewer than 60 numbers and a name.
const SMALL_FILE: usize = 2048;

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

/// A process that is looked at. It holds up to five descriptors of files below `/proc/PID`, the
/// process itself notices nothing.
///
/// ```
/// use pipewright_observe::{Error, Process};
///
/// let me = Process::open(std::process::id())?;
/// assert_eq!(me.stat()?.parent, std::os::unix::process::parent_id());
/// assert!(me.command_line()?.arguments().count() >= 1);
/// assert!(me.io()?.read > 0);
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct Process {
    id: ProcessId,
    /// `/proc/PID`, as an `O_PATH` descriptor.
    directory: OwnedFd,
    stat: KeptFile,
    wait: KeptFile,
    children: KeptFile,
    io: KeptFile,
    /// `/proc/PID/syscall` was refused once: `wchan` is asked from then on.
    syscall_denied: Cell<bool>,
}

impl Process {
    /// Opens the process that has the number `pid` now.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchProcess`] if there is none.
    ///
    /// ```
    /// use pipewright_observe::{Error, Process};
    ///
    /// let me = Process::open(std::process::id())?;
    /// assert_eq!(me.id().pid, std::process::id());
    /// assert!(matches!(Process::open(99_999_999), Err(Error::NoSuchProcess { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(pid: u32) -> Result<Process> {
        let path = format!("/proc/{pid}");
        let directory = open(
            &*path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|error| match error {
            Errno::NOENT | Errno::SRCH => Error::NoSuchProcess { pid },
            other => Error::of_process("open the directory in /proc", pid, other),
        })?;
        let mut process = Process {
            id: ProcessId { pid, start_time: 0 },
            directory,
            stat: KeptFile::default(),
            wait: KeptFile::default(),
            children: KeptFile::default(),
            io: KeptFile::default(),
            syscall_denied: Cell::new(false),
        };
        process.id.start_time = process.stat()?.start_time;
        Ok(process)
    }

    /// Opens a process met earlier.
    ///
    /// # Errors
    ///
    /// [`Error::Ended`] if it has ended, also when its number is in use again.
    ///
    /// ```
    /// use pipewright_observe::{Error, Process};
    ///
    /// let mut child = std::process::Command::new("true").spawn()?;
    /// let id = Process::open(child.id())?.id();
    /// child.wait()?;
    /// assert!(matches!(Process::open_same(id), Err(Error::Ended { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open_same(id: ProcessId) -> Result<Process> {
        let ended = Error::Ended { pid: id.pid };
        match Process::open(id.pid) {
            Ok(process) if process.id == id => Ok(process),
            Ok(_) | Err(Error::NoSuchProcess { .. }) => Err(ended),
            Err(error) => Err(error),
        }
    }

    /// The process's identity.
    ///
    /// ```
    /// use pipewright_observe::Process;
    ///
    /// let id = Process::open(std::process::id())?.id();
    /// assert_eq!(Process::open_same(id)?.id(), id);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// State, parent, CPU time and threads. Everybody may ask; a zombie answers too.
    ///
    /// # Errors
    ///
    /// [`Error::Ended`] once it has been waited for.
    ///
    /// ```
    /// use pipewright_observe::{Process, State};
    ///
    /// let mut child = std::process::Command::new("true").spawn()?;
    /// let process = Process::open(child.id())?;
    /// while process.stat()?.state != State::Zombie {
    ///     std::thread::yield_now();
    /// }
    /// child.wait()?;
    /// assert!(process.stat().unwrap_err().is_ended());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # References
    ///
    /// [proc_pid_stat(5)](https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html)
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
    ///
    /// # Errors
    ///
    /// [`Error::Ended`] once it has been waited for.
    ///
    /// ```
    /// use pipewright_observe::Process;
    ///
    /// let mine = Process::open(std::process::id())?.command_line()?;
    /// let arguments: Vec<String> = std::env::args().collect();
    /// assert!(mine.arguments().eq(arguments.iter().map(|argument| argument.as_bytes())));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # References
    ///
    /// [proc_pid_cmdline(5)](https://man7.org/linux/man-pages/man5/proc_pid_cmdline.5.html)
    pub fn command_line(&self) -> Result<CommandLine> {
        let text = self.read_whole("cmdline", "read the command line")?;
        Ok(CommandLine::from_bytes(text))
    }

    /// Bytes read and written so far. A zombie answers until it is waited for, to those who have
    /// asked before it ended: its file belongs to root, but who has it open may still read it.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] for another user's process: unknown, which is not zero.
    ///
    /// ```
    /// use std::io::Write;
    /// use pipewright_observe::Process;
    ///
    /// let me = Process::open(std::process::id())?;
    /// let before = me.io()?.written;
    /// std::fs::File::create("/dev/null")?.write_all(&[0; 5000])?;
    /// assert!(me.io()?.written >= before + 5000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # References
    ///
    /// [proc_pid_io(5)](https://man7.org/linux/man-pages/man5/proc_pid_io.5.html)
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
    /// ```
    /// use pipewright_observe::{Process, State};
    ///
    /// let mut sleep = std::process::Command::new("sleep").arg("60").spawn()?;
    /// let process = Process::open(sleep.id())?;
    /// while process.stat()?.state != State::Sleeping {
    ///     std::thread::yield_now();
    /// }
    /// let [(thread, schedule)] = process.schedules()?[..] else { panic!("one thread") };
    /// assert_eq!(thread, sleep.id());
    /// assert!(!schedule.on_cpu.is_zero()); // it came as far as its sleep
    /// # sleep.kill()?; sleep.wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # References
    ///
    /// [The kernel's sched-stats](https://docs.kernel.org/scheduler/sched-stats.html)
    pub fn schedules(&self) -> Result<Vec<(u32, Schedule)>> {
        let mut schedules = Vec::new();
        for thread in self.threads()? {
            let mut buffer = [0; SMALL_FILE];
            match self.read_once(&format!("task/{thread}/schedstat"), &mut buffer) {
                Ok(text) => {
                    schedules.extend(Schedule::parse(text).map(|schedule| (thread, schedule)))
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

    /// What its main thread waits for: with the descriptor where the kernel tells this user (the
    /// rule is that of ptrace), else from the kernel function it sleeps in.
    ///
    /// ```
    /// use std::process::Command;
    /// use pipewright_observe::{BlockedOn, Process};
    ///
    /// let (reader, _writer) = std::io::pipe()?;
    /// let mut cat = Command::new("cat").stdin(reader).spawn()?;
    /// let process = Process::open(cat.id())?;
    /// // In the end it waits for its input, which is descriptor 0.
    /// while !matches!(process.blocked_on(), BlockedOn::Read(Some(0) | None)) {
    ///     std::thread::yield_now();
    /// }
    /// # cat.kill()?; cat.wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # References
    ///
    /// [proc_pid_syscall(5)](https://man7.org/linux/man-pages/man5/proc_pid_syscall.5.html),
    /// [proc_pid_wchan(5)](https://man7.org/linux/man-pages/man5/proc_pid_wchan.5.html)
    pub fn blocked_on(&self) -> BlockedOn {
        let mut buffer = [0; 256];
        match self.system_call(&mut buffer) {
            Some(text) => BlockedOn::from_syscall(text),
            None => self
                .read_once("wchan", &mut buffer)
                .map_or(BlockedOn::Unknown, BlockedOn::from_wchan),
        }
    }

    /// The contents of `/proc/PID/syscall`; `None` where they are not to be known.
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

    /// What one of its threads waits for; see [`Process::blocked_on`].
    ///
    /// ```
    /// use pipewright_observe::{BlockedOn, Process};
    ///
    /// let mut sleep = std::process::Command::new("sleep").arg("60").spawn()?;
    /// let process = Process::open(sleep.id())?;
    /// let main = process.threads()?[0];
    /// while process.thread_blocked_on(main) != BlockedOn::Timer {
    ///     std::thread::yield_now();
    /// }
    /// # sleep.kill()?; sleep.wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    /// ```
    /// use pipewright_observe::Process;
    ///
    /// let me = Process::open(std::process::id())?;
    /// let before = me.threads()?;
    /// assert_eq!(before[0], std::process::id());
    /// std::thread::scope(|scope| {
    ///     let (end, ended) = std::sync::mpsc::channel::<()>();
    ///     scope.spawn(move || ended.recv());
    ///     assert_eq!(me.threads().map(|threads| threads.len()).ok(), Some(before.len() + 1));
    ///     drop(end);
    /// });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # References
    ///
    /// [proc_pid_task(5)](https://man7.org/linux/man-pages/man5/proc_pid_task.5.html)
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
    pub(crate) fn children(&self, children: &mut Vec<u32>) -> Result<bool> {
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

    fn read_once<'a>(&self, name: &str, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
        let file = openat(
            &self.directory,
            name,
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let length = read(&file, &mut *buffer)?;
        Ok(&buffer[..length])
    }

    fn read_whole(&self, name: &str, what: &'static str) -> Result<Vec<u8>> {
        let of_process = |error| Error::of_process(what, self.id.pid, error);
        let file = openat(
            &self.directory,
            name,
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(of_process)?;
        let mut text = Vec::new();
        let mut buffer = [0; 16 * 1024];
        loop {
            let length = read(&file, &mut buffer).map_err(of_process)?;
            text.extend_from_slice(&buffer[..length]);
            // The kernel stops in the middle only where the next item would not fit into a page.
            if length < rustix::param::page_size() / 2 {
                return Ok(text);
            }
        }
    }

    fn malformed(&self, name: &str) -> Error {
        Error::Malformed {
            path: format!("/proc/{}/{name}", self.id.pid),
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
