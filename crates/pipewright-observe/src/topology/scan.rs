//! The one pass over `/proc` that finds every end of every pipe.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, RawDir, open, openat, readlinkat_raw, statat};
use rustix::io::{Errno, read};

use super::{Direction, Holder, PipeEnd, Scan};
use crate::error::{Error, Result};
use crate::pipe::PipeId;
use crate::proc::{ProcessId, Stat, displayable, numbers_in};

/// Long enough for `pipe:[18446744073709551615]`; of longer links the rest is not wanted.
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
    /// let pipeline = Scan::now()?.pipeline_of(cat.id())?;
    /// assert_eq!(pipeline.shape, Shape::Linear);
    /// assert_eq!(pipeline.stages[0].process.pid, sleep.id());
    /// assert_eq!(pipeline.stages[1].name, "cat");
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
        let mut scan = Scan::default();
        let mut stats: HashMap<u32, Stat> = HashMap::new();
        numbers_in(&proc, |pid| {
            scan.processes += 1;
            match ends_of(&proc, &format!("{pid}/fd"), &mut scan.descriptors) {
                Ok(ends) if ends.is_empty() => {}
                Ok(ends) => {
                    // It may have ended since; then its ends are gone too.
                    if let Some(stat) = stat_of(&proc, pid) {
                        scan.holders.push(Holder {
                            process: ProcessId {
                                pid,
                                start_time: stat.start_time,
                            },
                            name: displayable(&stat.name),
                            ends,
                        });
                        stats.insert(pid, stat);
                    }
                }
                Err(Errno::ACCESS | Errno::PERM) => {
                    if stat_of(&proc, pid).is_some_and(|stat| !stat.kernel_thread) {
                        scan.denied.push(pid);
                    }
                }
                Err(_) => {}
            }
        })
        .map_err(unreadable)?;
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

/// The ends of pipes among the descriptors in the directory `path`.
fn ends_of(proc: &OwnedFd, path: &str, descriptors: &mut usize) -> Result<Vec<PipeEnd>, Errno> {
    let directory = openat(
        proc,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut ends = Vec::new();
    let mut buffer = [std::mem::MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(&directory, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        let Some(descriptor) = name.to_str().ok().and_then(|name| name.parse().ok()) else {
            continue;
        };
        *descriptors += 1;
        let mut link = [0_u8; LINK];
        // Links are read, not followed: following one into a dead network mount would hang.
        let Ok(length) = readlinkat_raw(&directory, name, &mut link[..]) else {
            continue;
        };
        let Some(pipe) = PipeId::from_link(&link[..length]) else {
            continue;
        };
        let Ok(stat) = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        for (mode, direction) in [(READABLE, Direction::Read), (WRITABLE, Direction::Write)] {
            if stat.st_mode & mode != 0 {
                ends.push(PipeEnd {
                    pipe,
                    direction,
                    descriptor,
                });
            }
        }
    }
    Ok(ends)
}

fn stat_of(proc: &OwnedFd, pid: u32) -> Option<Stat> {
    let path = format!("{pid}/stat");
    let file = openat(proc, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut buffer = [0; 2048];
    let length = read(&file, &mut buffer).ok()?;
    Stat::parse(&buffer[..length])
}
