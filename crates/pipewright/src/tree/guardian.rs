//! A process that ends this one's children when this one is killed, before they see an end of file.
//!
//! A program that reads from a pipe takes the end of file for the end of its input. Where that is the
//! death of whoever wrote, it takes a part for the whole: `wc` counts it, `sort` sorts it, and both end
//! with 0. A parent-death signal comes too late, for the kernel closes the files of a process before it
//! tells its children. So somebody else has to hold the writing end for a moment longer.
//!
//! That is a copy of the process which *shares* its table of descriptors: no writing end has to be handed
//! to it, and none that is closed here stays open there. The pidfds of the children are in that table, too,
//! so it knows whom to end.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use rustix::process::{
    Pid, PidfdFlags, Resource, Signal, WaitId, WaitIdOptions, getpid, getrlimit, pidfd_open,
    pidfd_send_signal, setpgid, setrlimit, waitid,
};

use super::end;
use super::search::Search;
use crate::descent::proc::{Key, Proc};
use crate::error::{Error, Result};
use crate::poll::{Deadline, wait_readable};
use crate::spawn::{close_standard_streams, twin};

/// What the children may take to end. They do nothing more once the signal was sent.
const WITHIN: Duration = Duration::from_secs(2);

/// The number of the guardian that watches, or 0.
static WATCHES: AtomicU32 = AtomicU32::new(0);

/// A process that watches over this one, as long as this value lives.
///
/// When this process ends in whatever way, also by SIGKILL, and has children that it started by
/// [`Command::spawn`](crate::Command::spawn), then they and all that they have started are ended by
/// SIGKILL, **before they can see the end of a pipe that only this process held open**. So a program that
/// is fed from here never takes a part of its input for the whole.
///
/// It takes a process, with a copy of this one's memory, and costs nothing while both run. It is in a
/// process group of its own, and no signal that can be blocked ends it.
///
/// # Limits
///
/// Daemons that a child has left behind are not found, and neither are children whose
/// [`Child`](crate::Child) was dropped or given away. What becomes another user may not be ended.
///
/// ```
/// let guardian = pipewright::Guardian::start();
/// # // A test has several threads.
/// # if guardian.is_err() { return Ok(()) }
/// let (reader, writer) = pipewright::pipe()?;
/// // If this process is killed now, nothing is counted.
/// let count = pipewright::Command::new("wc").arg("-l").stdin(reader).spawn()?;
/// std::io::Write::write_all(&mut &writer, b"one\n")?;
/// drop(writer);
/// count.wait()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Guardian {
    pid: i32,
    process: OwnedFd,
    /// This process, in the table that both share.
    _watched: OwnedFd,
}

impl Guardian {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// [`Error::System`] when this process has several threads already, when it has no `/proc` of its own
    /// pid namespace, or when there can be no more processes.
    pub fn start() -> Result<Self> {
        let failed = |source| Error::System {
            operation: "start a guardian",
            source,
        };
        // Later it could not be known that there is none.
        Proc::own().map_err(failed)?;
        if fs::read_dir("/proc/self/task").map_err(failed)?.count() != 1 {
            return Err(failed(io::Error::other("this process has several threads")));
        }
        // Of whoever started this one.
        let strangers = pidfds().map_err(failed)?;
        let watched = pidfd_open(getpid(), PidfdFlags::empty());
        let watched = watched.map_err(|errno| failed(errno.into()))?;
        let life = || watch(&watched, &strangers);
        let (pid, process) =
            twin(life).map_err(|errno| failed(io::Error::from_raw_os_error(errno)))?;
        WATCHES.store(pid as u32, Relaxed);
        Ok(Self {
            pid,
            process,
            _watched: watched,
        })
    }

    /// The process id of the one that watches now; `None` where there is none.
    pub fn watching() -> Option<u32> {
        Some(WATCHES.load(Relaxed)).filter(|pid| *pid != 0)
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        if WATCHES.load(Relaxed) == self.pid as u32 {
            WATCHES.store(0, Relaxed);
        }
        // It holds nothing that this process does not.
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
        let ended = WaitId::PidFd(self.process.as_fd());
        let _ = rustix::io::retry_on_intr(|| waitid(ended.clone(), WaitIdOptions::EXITED));
    }
}

/// The guardian's whole life.
fn watch(watched: &OwnedFd, strangers: &BTreeSet<i32>) {
    // A stop of the whole group, or its end, is no matter of its.
    let _ = setpgid(None, None);
    let _ = rustix::thread::set_name(c"guardian");
    // It goes on if the kernel has no memory for the wait.
    while wait_readable(&[watched.as_fd()], Deadline::NEVER).map_or(true, |it| it.is_empty()) {
        std::thread::sleep(Duration::from_millis(10));
    }
    // From here on the table is this process's own.
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    // Room in the table, which may be full.
    close_standard_streams();
    let Ok(proc) = Proc::own() else { return };
    let children: BTreeSet<Key> = pidfds()
        .unwrap_or_default()
        .difference(strangers)
        // It has that number as long as nobody has taken its status: it is the same or a zombie.
        .filter_map(|pid| Some(proc.process(*pid).ok()?.key()))
        .collect();
    drop(proc);
    if !children.is_empty() {
        let _ = end(&mut Search::for_orphans(children), Deadline::after(WITHIN));
    }
}

/// The processes of which this one has a pidfd, and that have not ended.
fn pidfds() -> io::Result<BTreeSet<i32>> {
    let mut pids = BTreeSet::new();
    for entry in fs::read_dir("/proc/self/fdinfo")? {
        // The one that is read is gone afterwards.
        let Ok(text) = fs::read_to_string(entry?.path()) else {
            continue;
        };
        let pid = text.lines().find_map(|line| line.strip_prefix("Pid:"));
        pids.extend(pid.and_then(|pid| pid.trim().parse::<i32>().ok()));
    }
    // -1 has ended, 0 is in another namespace.
    pids.retain(|pid| Pid::from_raw(*pid).is_some() && *pid > 0);
    Ok(pids)
}
