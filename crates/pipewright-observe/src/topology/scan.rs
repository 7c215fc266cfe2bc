//! The one pass over `/proc` that finds every end of every pipe.

use std::collections::HashMap;
use std::ffi::CStr;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, RawDir, openat, readlinkat_raw, statat};
use rustix::io::{Errno, read};

use super::ends::{Direction, Holder, PipeEnd, SocketEnd, SocketId};
use crate::error::{Error, Result};
use crate::parallel::in_parallel;
use crate::pipe::PipeId;
use crate::proc::stat::number;
use crate::proc::{ProcessId, Stat, numbers_in, root};
use crate::spool_state::KEEPER;
use crate::text::displayable;

/// Long enough for `socket:[18446744073709551615]`; of longer links the rest is not wanted.
const LINK: usize = 32;

/// Read and write permission of the owner, which `lstat` of `/proc/PID/fd/N` shows for the modes
/// that the descriptor was opened with.
const READABLE: u32 = 0o400;
const WRITABLE: u32 = 0o200;

/// Everything about pipes and processes that a pipeline is recognised from.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// The processes that hold ends of pipes.
    #[doc(hidden)]
    pub holders: Vec<Holder>,
    /// The sockets of all processes. They make no pipeline; they tell where one goes on.
    #[doc(hidden)]
    pub sockets: Vec<SocketEnd>,
    /// The parent of each process that holds an end of a pipe, and of all its ancestors, by number.
    #[doc(hidden)]
    pub parents: HashMap<u32, u32>,
    /// Processes whose descriptors this user may not look at, threads of the kernel left out.
    #[doc(hidden)]
    pub denied: Vec<u32>,
    /// The number of processes, kernel threads included.
    #[doc(hidden)]
    pub processes: usize,
    /// `/proc` shows no processes of others (`hidepid`): not even the first one, which every
    /// namespace has.
    #[doc(hidden)]
    pub others_hidden: bool,
    /// The number of descriptors that were looked at.
    #[doc(hidden)]
    pub descriptors: usize,
}

impl Scan {
    /// Looks at every descriptor of every process that this user may look at.
    ///
    /// Processes come and go meanwhile: each is described as it was at its own moment.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if `/proc` itself cannot be read. Single processes that may not be looked
    /// at are listed in [`Scan::denied`].
    ///
    /// # References
    ///
    /// [proc_pid_fd(5)](https://man7.org/linux/man-pages/man5/proc_pid_fd.5.html)
    pub fn now() -> Result<Self> {
        let proc = root::open_own_surely()?;
        let mut pids = Vec::new();
        numbers_in(&proc, |pid| pids.push(pid)).map_err(unreadable)?;
        Ok(Self::of(&proc, &pids))
    }

    /// Looks at the descriptors of a process and its descendants, and at no others: it costs little
    /// where much else is running. A pipe to another process has only one end in it.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if `/proc` cannot be read.
    ///
    /// ```
    /// use pipewright_observe::topology::Scan;
    ///
    /// assert!(Scan::below(std::process::id())?.pipelines().is_empty());
    /// # Ok::<(), pipewright_observe::Error>(())
    /// ```
    pub fn below(root: u32) -> Result<Self> {
        let proc = root::open_own_surely()?;
        let parents: HashMap<u32, u32> = parents().into_iter().collect();
        let all = Self {
            parents,
            ..Self::default()
        };
        let descends = |pid: &&u32| **pid == root || all.ancestors(**pid).any(|it| it == root);
        let pids: Vec<u32> = all.parents.keys().filter(descends).copied().collect();
        Ok(Self::of(&proc, &pids))
    }

    /// Looks at the descriptors of these processes.
    fn of(proc: &OwnedFd, pids: &[u32]) -> Self {
        let mut scan = Self {
            processes: pids.len(),
            others_hidden: !pids.contains(&1),
            ..Self::default()
        };
        let mut stats: HashMap<u32, Stat> = HashMap::new();
        for look in in_parallel(pids, |&pid| Look::at(proc, pid)) {
            scan.descriptors += look.descriptors;
            match look.found {
                Found::Nothing => {}
                Found::Denied => scan.denied.push(look.pid),
                Found::Ends(stat, ends, sockets, keeps) => {
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
                            keeps,
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
                    None => stat_of(proc, pid).map_or(0, |stat| stat.parent),
                };
                scan.parents.insert(pid, parent);
                pid = parent;
            }
        }
        scan
    }

    /// Parent, grandparent and so on, as far as they are known.
    pub(super) fn ancestors(&self, pid: u32) -> impl Iterator<Item = u32> {
        // The bound guards against a table that is not a tree: it was read process by process,
        // while processes came and went.
        std::iter::successors(self.parents.get(&pid).copied(), |pid| {
            self.parents.get(pid).copied()
        })
        .take_while(move |&above| above != 0 && above != pid)
        .take(self.parents.len())
    }
}

/// The result of looking at one process.
struct Look {
    pid: u32,
    descriptors: usize,
    found: Found,
}

enum Found {
    /// It holds no end of anything, or it is gone.
    Nothing,
    /// It may not be looked at.
    Denied,
    /// Its ends of pipes, its sockets by descriptor, and whether it is a keeper.
    Ends(Stat, Vec<PipeEnd>, Vec<(u32, SocketId)>, bool),
}

impl Look {
    fn at(proc: &OwnedFd, pid: u32) -> Self {
        let mut descriptors = 0;
        let (mut ends, mut sockets) = (Vec::new(), Vec::new());
        let mut keeps = false;
        let listed = for_each_link(proc, pid, |directory, name, link| {
            descriptors += 1;
            if let Some(pipe) = PipeId::from_link(link) {
                ends.extend(directions(directory, name, pipe));
            } else if let Some(socket) = SocketId::from_link(link) {
                sockets.push((descriptor_number(name), socket));
            } else {
                keeps |= is_keepers_state(link);
            }
        });
        let found = match listed {
            Ok(()) if ends.is_empty() && sockets.is_empty() => Found::Nothing,
            Ok(()) => match stat_of(proc, pid) {
                Ok(stat) => Found::Ends(stat, ends, sockets, keeps),
                // It has ended since; then its ends are gone too.
                Err(_) => Found::Nothing,
            },
            // With hidepid=noaccess nothing is told, not even that it is a thread of the kernel.
            Err(Errno::ACCESS | Errno::PERM) => match stat_of(proc, pid) {
                Ok(stat) if !stat.kernel_thread => Found::Denied,
                Err(Errno::ACCESS | Errno::PERM) => Found::Denied,
                Ok(_) | Err(_) => Found::Nothing,
            },
            Err(_) => Found::Nothing,
        };
        Self {
            pid,
            descriptors,
            found,
        }
    }
}

/// Every process and its parent, for kernels that do not list children.
pub(crate) fn parents() -> Vec<(u32, u32)> {
    let mut parents = Vec::new();
    if let Ok(proc) = root::open_own() {
        // A listing that breaks off still tells of those before the break.
        let _ = numbers_in(&proc, |pid| {
            parents.extend(stat_of(&proc, pid).map(|stat| (pid, stat.parent)));
        });
    }
    parents
}

fn unreadable(error: Errno) -> Error {
    Error::System {
        what: "list the processes in /proc".into(),
        reason: error.into(),
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

/// Tells whether a link is that of a keeper's state. It may be cut off, but not within the name.
fn is_keepers_state(link: &[u8]) -> bool {
    let name = link.strip_prefix(b"/memfd:");
    let name = name.and_then(|name| name.strip_prefix(KEEPER.as_bytes()));
    name.is_some_and(|rest| rest.starts_with(b" "))
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

fn stat_of(proc: &OwnedFd, pid: u32) -> Result<Stat, Errno> {
    let path = format!("{pid}/stat");
    let file = openat(proc, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buffer = [0; 2048];
    let length = read(&file, &mut buffer)?;
    Stat::parse(&buffer[..length]).ok_or(Errno::INVAL)
}
