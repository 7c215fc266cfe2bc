//! The one pass over `/proc` that finds every end of every pipe.

use std::collections::HashMap;
use std::ffi::CStr;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, RawDir, open, openat, readlinkat_raw, statat};
use rustix::io::{Errno, read};

use super::{Direction, Holder, PipeEnd, Scan, SocketEnd, SocketId};
use crate::error::{Error, Result};
use crate::parallel::in_parallel;
use crate::pipe::PipeId;
use crate::proc::stat::number;
use crate::proc::{ProcessId, Stat, displayable, numbers_in};

/// Long enough for `socket:[18446744073709551615]`; of longer links the rest is not wanted.
const LINK: usize = 32;

/// Read and write permission of the owner, which `lstat` of `/proc/PID/fd/N` shows for the modes
/// that the descriptor was opened with.
const READABLE: u32 = 0o400;
const WRITABLE: u32 = 0o200;

impl Scan {
    /// Looks at every descriptor of every process that this user may look at.
    ///
    /// Processes come and go meanwhile: what is told was true of each process at its own moment.
    ///
    /// ```
    /// use std::process::{Command, Stdio};
    /// use pipewright_observe::topology::{Scan, Shape};
    ///
    /// // sleep 60 | cat
    /// let (reader, writer) = std::io::pipe()?;
    /// let mut sleep = Command::new("sleep").arg("60").stdout(writer).spawn()?;
    /// let mut cat = Command::new("cat").stdin(reader).stdout(Stdio::null()).spawn()?;
    ///
    /// let pipeline = loop {
    ///     // In the midst of exec each has another name and more descriptors.
    ///     match Scan::now()?.pipeline_of(cat.id()) {
    ///         Ok(found) if found.stages[0].name == "sleep" && found.stages[1].name == "cat" => break found,
    ///         _ => std::thread::yield_now(),
    ///     }
    /// };
    /// assert_eq!(pipeline.shape, Shape::Linear);
    /// assert_eq!(pipeline.stages[0].process.pid, sleep.id());
    /// # sleep.kill()?; sleep.wait()?; cat.wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::System`] if `/proc` itself cannot be read. Single processes that may not be looked
    /// at are listed in [`Scan::denied`].
    ///
    /// # References
    ///
    /// [proc_pid_fd(5)](https://man7.org/linux/man-pages/man5/proc_pid_fd.5.html)
    pub fn now() -> Result<Scan> {
        let proc = open_proc().map_err(unreadable)?;
        let mut pids = Vec::new();
        numbers_in(&proc, |pid| pids.push(pid)).map_err(unreadable)?;
        let mut scan = Scan {
            processes: pids.len(),
            ..Scan::default()
        };
        let mut stats: HashMap<u32, Stat> = HashMap::new();
        for look in in_parallel(&pids, |&pid| Look::at(&proc, pid)) {
            scan.descriptors += look.descriptors;
            match look.seen {
                Seen::Nothing => {}
                Seen::Denied => scan.denied.push(look.pid),
                Seen::Ends(stat, ends, sockets) => {
                    let process = ProcessId {
                        pid: look.pid,
                        start_time: stat.start_time,
                    };
                    scan.sockets
                        .extend(sockets.into_iter().map(|(descriptor, socket)| SocketEnd {
                            process,
                            descriptor,
                            socket,
                        }));
                    if !ends.is_empty() {
                        scan.holders.push(Holder {
                            process,
                            name: displayable(&stat.name),
                            ends,
                        });
                    }
                    stats.insert(look.pid, stat);
                }
            }
        }
        for holder in &scan.holders {
            let mut pid = holder.process.pid;
            while pid != 0 && !scan.parents.contains_key(&pid) {
                let parent = match stats.get(&pid) {
                    Some(stat) => stat.parent,
                    None => stat_of(&proc, pid).map_or(0, |stat| stat.parent),
                };
                scan.parents.insert(pid, parent);
                pid = parent;
            }
        }
        Ok(scan)
    }
}

/// What was seen of one process.
struct Look {
    pid: u32,
    descriptors: usize,
    seen: Seen,
}

enum Seen {
    /// It holds no end of anything, or it is gone.
    Nothing,
    /// It may not be looked at.
    Denied,
    /// Its ends of pipes, and its sockets by descriptor.
    Ends(Stat, Vec<PipeEnd>, Vec<(u32, SocketId)>),
}

impl Look {
    fn at(proc: &OwnedFd, pid: u32) -> Look {
        let mut descriptors = 0;
        let (mut ends, mut sockets) = (Vec::new(), Vec::new());
        let listed = for_each_link(proc, pid, |directory, name, link| {
            descriptors += 1;
            if let Some(pipe) = PipeId::from_link(link) {
                ends.extend(directions(directory, name, pipe));
            } else if let Some(socket) = SocketId::from_link(link) {
                sockets.push((descriptor_number(name), socket));
            }
        });
        let seen = match listed {
            Ok(()) if ends.is_empty() && sockets.is_empty() => Seen::Nothing,
            Ok(()) => match stat_of(proc, pid) {
                Some(stat) => Seen::Ends(stat, ends, sockets),
                // It has ended since; then its ends are gone too.
                None => Seen::Nothing,
            },
            Err(Errno::ACCESS | Errno::PERM)
                if stat_of(proc, pid).is_some_and(|stat| !stat.kernel_thread) =>
            {
                Seen::Denied
            }
            Err(_) => Seen::Nothing,
        };
        Look {
            pid,
            descriptors,
            seen,
        }
    }
}

/// Every process and its parent, for kernels that do not list children.
pub(crate) fn parents() -> Vec<(u32, u32)> {
    let mut parents = Vec::new();
    if let Ok(proc) = open_proc() {
        // A listing that breaks off still tells of those before the break.
        let _ = numbers_in(&proc, |pid| {
            parents.extend(stat_of(&proc, pid).map(|stat| (pid, stat.parent)));
        });
    }
    parents
}

fn open_proc() -> Result<OwnedFd, Errno> {
    open(
        "/proc",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

fn unreadable(error: Errno) -> Error {
    Error::System {
        what: "list the processes in /proc".into(),
        source: error.into(),
    }
}

/// Calls `found` with each descriptor of a process and what it leads to, as far as that is short.
fn for_each_link(
    proc: &OwnedFd,
    pid: u32,
    mut found: impl FnMut(&OwnedFd, &CStr, &[u8]),
) -> Result<(), Errno> {
    let directory = openat(
        proc,
        format!("{pid}/fd"),
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut buffer = [std::mem::MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(&directory, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        let mut link = [0_u8; LINK];
        // Links are read, not followed: following one into a dead network mount would hang.
        if name.to_bytes().first().is_some_and(u8::is_ascii_digit)
            && let Ok(length) = readlinkat_raw(&directory, name, &mut link[..])
        {
            found(&directory, name, &link[..length]);
        }
    }
    Ok(())
}

/// The ends of the pipe that one descriptor is.
fn directions(directory: &OwnedFd, name: &CStr, pipe: PipeId) -> impl Iterator<Item = PipeEnd> {
    let mode = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map_or(0, |stat| stat.st_mode);
    let descriptor = descriptor_number(name);
    [(READABLE, Direction::Read), (WRITABLE, Direction::Write)]
        .into_iter()
        .filter(move |(bit, _)| mode & bit != 0)
        .map(move |(_, direction)| PipeEnd {
            pipe,
            direction,
            descriptor,
        })
}

/// The name is a number: the others, `.` and `..`, were left out.
fn descriptor_number(name: &CStr) -> u32 {
    number(name.to_bytes()).unwrap_or_default() as u32
}

fn stat_of(proc: &OwnedFd, pid: u32) -> Option<Stat> {
    let path = format!("{pid}/stat");
    let file = openat(proc, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut buffer = [0; 2048];
    let length = read(&file, &mut buffer).ok()?;
    Stat::parse(&buffer[..length])
}
