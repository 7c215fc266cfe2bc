//! A process with everything that it started, daemons too: signals for all of it, and its end.
//!
//! # How a tree is found
//!
//! The kernel knows of each process only its *present* parent. When a process ends, its children
//! get another one: the nearest ancestor that is a *subreaper*, or init. A daemon makes use of that
//! to leave its tree. So there are three ways in which a process is known to belong:
//!
//! - it descends from the child through parents that all still run;
//! - it is in the process group that the child leads;
//! - with [`Command::own_tree`]: it was adopted by this process, which became a subreaper, and its
//!   environment carries a word that was given to the child alone.
//!
//! Whoever is found is held by a pidfd, and its start time is compared afterwards, so that no signal
//! goes to another process that got the number meanwhile.

pub(crate) mod spread;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpid, pidfd_send_signal, waitid};

use crate::child::{Child, wait_readable};
use crate::command::Command;
use crate::descent::{Process, Roots, members, open, snapshot};
use crate::error::{Error, Result};
use crate::pipeline::{RunningPipeline, Stage};

/// What became of a signal to a whole tree.
///
/// ```
/// use std::time::Duration;
///
/// let child = pipewright::Command::new("sleep").arg("60").own_tree().spawn()?;
/// let report = child.kill_tree(Duration::from_secs(10))?;
/// assert_eq!(report.signalled, 1);
/// assert!(report.daemons_known);
/// for unreached in &report.unreached {
///     eprintln!("{} ({}) is left: {}", unreached.name, unreached.pid, unreached.source);
/// }
/// # child.wait()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct TreeReport {
    /// How many processes were signalled, the children themselves too.
    pub signalled: usize,
    /// Those that were found and could not be signalled, or had not ended in the time given.
    pub unreached: Vec<Unreached>,
    /// Whether daemons were looked for as well: every child was started with
    /// [`Command::own_tree`]. If not, a process whose parent had ended may be left, unless it is in
    /// the process group that the child leads.
    pub daemons_known: bool,
}

/// A process of a tree that a signal did not reach or did not end: see [`TreeReport`].
///
/// ```
/// use std::time::Duration;
///
/// let child = pipewright::Command::new("sleep").arg("60").kill_on_drop().spawn()?;
/// let report = child.kill_tree(Duration::ZERO)?; // no time at all
/// assert_eq!(report.signalled, 1);
/// for unreached in &report.unreached {
///     assert_eq!((unreached.pid, &*unreached.name), (child.id(), "sleep"));
///     assert_eq!(unreached.source.kind(), std::io::ErrorKind::TimedOut); // signalled, not ended yet
/// }
/// # child.wait()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Unreached {
    /// Its number.
    pub pid: u32,
    /// Its name, at most 15 bytes, as the kernel has it.
    pub name: String,
    /// Why it could not be signalled. ETIMEDOUT: it was, and had not ended. EACCES: it was adopted
    /// by this process, and whether it belongs to the tree cannot be told.
    pub source: io::Error,
}

impl Command {
    /// Lets [`Child::kill_tree`] and [`Child::signal_tree`] find daemons too: processes that the
    /// program starts and that leave it by a double fork and a session of their own.
    ///
    /// It has two effects outside the child. **This process becomes a subreaper**, for good: every
    /// orphan among its descendants becomes its child, also those of commands without this option.
    /// And the program sees a variable, `PIPEWRIGHT_TREE`, by which its descendants are known.
    ///
    /// Orphans that still run when the child's end is seen are reaped by this crate. One that ended
    /// before stays a zombie; see [`reap_adopted`].
    ///
    /// ```
    /// let command = pipewright::Command::new("printenv").arg("PIPEWRIGHT_TREE").own_tree();
    /// assert!(!command.capture().read()?.is_empty());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Limits
    ///
    /// An orphan is not found if it has cleared or overwritten its environment, or if it was started
    /// by somebody else on the program's behalf (cron, systemd, a container engine, D-Bus).
    ///
    /// # References
    ///
    /// PR_SET_CHILD_SUBREAPER in
    /// [prctl(2)](https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html)
    pub fn own_tree(mut self) -> Self {
        self.own_tree = true;
        self
    }
}

impl Child {
    /// Sends a signal once to the process and to everything that it started and that
    /// [can be found](Command::own_tree). Signals to forward, as a terminal's interrupt.
    ///
    /// What is started at this very moment may be missed, as with any signal.
    ///
    /// # Errors
    ///
    /// [`Error::System`] when `/proc` cannot be read. That a process could not be signalled is told
    /// in the report.
    ///
    /// ```
    /// use pipewright::{Command, Signal};
    ///
    /// let (reader, writer) = pipewright::pipe()?;
    /// let script = "sleep 60 & echo started; wait";
    /// let child = Command::new("sh").args(["-c", script]).stdout(writer).spawn()?;
    /// std::io::Read::read_exact(&mut &reader, &mut [0; 8])?;
    ///
    /// let report = child.signal_tree(Signal::TERM)?;
    /// assert_eq!(report.signalled, 2); // the shell and its sleep
    /// assert!(report.unreached.is_empty());
    /// child.wait()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn signal_tree(&self, signal: Signal) -> Result<TreeReport> {
        signal_tree(&[self], signal)
    }

    /// Ends the process and everything that it started and that [can be found](Command::own_tree)
    /// with SIGKILL, and returns when all of it has ended, at the latest after `within`.
    ///
    /// All of it is stopped first (SIGSTOP), again and again until no new one is found: a process
    /// that starts others faster than they can be killed is no match, and none loses its parent,
    /// by which it is known, before its own children were found. Where the child leads a process
    /// group, the kernel ends that in one step.
    ///
    /// The child's own status is left for [`wait`](Child::wait). Orphans are reaped here.
    ///
    /// # Errors
    ///
    /// [`Error::System`] when `/proc` cannot be read. Processes that could not be ended are told in
    /// the report: of another user (EPERM), or stuck in the kernel (ETIMEDOUT).
    ///
    /// ```
    /// use std::time::Duration;
    /// use pipewright::Command;
    ///
    /// let (reader, writer) = pipewright::pipe()?;
    /// // A daemon: its parent has ended, and it has a session of its own.
    /// let script = "(setsid sh -c 'echo started; sleep 60' &) ; exec sleep 60";
    /// let child = Command::new("sh").args(["-c", script]).stdout(writer).own_tree().spawn()?;
    /// std::io::Read::read_exact(&mut &reader, &mut [0; 8])?;
    ///
    /// let report = child.kill_tree(Duration::from_secs(10))?;
    /// assert!(report.unreached.is_empty() && report.daemons_known);
    /// assert_eq!(std::io::read_to_string(reader)?, ""); // nobody is left who holds the pipe
    /// child.wait()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn kill_tree(&self, within: Duration) -> Result<TreeReport> {
        kill_tree(&[self], within)
    }
}

impl RunningPipeline {
    /// Sends a signal once to every stage and to everything that they started: see
    /// [`Child::signal_tree`].
    ///
    /// # Errors
    ///
    /// As [`Child::signal_tree`].
    ///
    /// ```
    /// use pipewright::{Command, Signal};
    ///
    /// let (reader, writer) = pipewright::pipe()?;
    /// let shell = Command::new("sh").args(["-c", "sleep 60 & echo started; wait"]).stdout(writer);
    /// let running = (Command::new("sleep").arg("60") | shell).spawn()?;
    /// std::io::Read::read_exact(&mut &reader, &mut [0; 8])?;
    /// assert_eq!(running.signal_tree(Signal::TERM)?.signalled, 3); // two stages, and the second's sleep
    /// assert_eq!(running.wait()?.exit_code(), 128 + 15);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn signal_tree(&self, signal: Signal) -> Result<TreeReport> {
        signal_tree(&self.children(), signal)
    }

    /// Ends every stage and everything that they started: see [`Child::kill_tree`].
    ///
    /// # Errors
    ///
    /// As [`Child::kill_tree`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use pipewright::Command;
    ///
    /// let (reader, writer) = pipewright::pipe()?;
    /// let shell = Command::new("sh").args(["-c", "sleep 60 & cat"]).stdout(writer);
    /// let running = (Command::new("yes") | shell).spawn()?;
    /// std::io::Read::read_exact(&mut &reader, &mut [0; 2])?;
    /// let report = running.kill_tree(Duration::from_secs(10))?;
    /// assert!(report.unreached.is_empty());
    /// assert_eq!(running.wait()?.exit_code(), 128 + 9);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn kill_tree(&self, within: Duration) -> Result<TreeReport> {
        kill_tree(&self.children(), within)
    }

    fn children(&self) -> Vec<&Child> {
        self.stages().iter().filter_map(Stage::child).collect()
    }
}

/// Takes the zombies of processes that this one has adopted as a subreaper (see
/// [`Command::own_tree`]) and that ended before anybody knew of them. Returns their number.
///
/// The kernel does not tell an adopted child from one that was started here. So this takes the
/// zombie of *every* child for which `keep` is false: it must be true for the number of each
/// [`Child`] that is still to be waited for, and of each child that other code in this process has
/// started.
///
/// ```
/// let child = pipewright::Command::new("sleep").arg("60").own_tree().spawn()?;
/// pipewright::reap_adopted(|pid| pid == child.id())?;
/// child.kill()?;
/// child.wait()?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::System`] when `/proc` cannot be read.
pub fn reap_adopted(keep: impl Fn(u32) -> bool) -> Result<usize> {
    let this = getpid().as_raw_pid();
    let zombies = processes()?
        .into_iter()
        .filter(|it| it.zombie && it.parent == this);
    let mut taken = 0;
    for pid in zombies.filter_map(|it| Pid::from_raw(it.pid)) {
        if !keep(pid.as_raw_pid() as u32) {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            taken += usize::from(matches!(waitid(WaitId::Pid(pid), options), Ok(Some(_))));
        }
    }
    Ok(taken)
}

fn processes() -> Result<Vec<Process>> {
    snapshot().map_err(|source| Error::System {
        operation: "list the processes in /proc",
        source,
    })
}

/// A process of the tree that was found.
struct Member {
    pidfd: OwnedFd,
    name: String,
    /// Whether its status is nobody's but the one's who adopts it. A child that was started here,
    /// and is in another child's process group, has somebody who waits for it.
    orphan: bool,
}

/// One look after another at a tree.
struct Search<'a> {
    children: &'a [&'a Child],
    /// By number and start time, so that one number may come twice.
    found: BTreeMap<(i32, u64), Member>,
    /// Those that had ended before they were found, and whose parent, a member, had not taken their
    /// status. When that parent is killed they are this process's to reap.
    ended: BTreeMap<(i32, u64), OwnedFd>,
    refused: BTreeMap<(i32, u64), Unreached>,
}

impl<'a> Search<'a> {
    fn new(children: &'a [&'a Child]) -> Self {
        Self {
            children,
            found: BTreeMap::new(),
            ended: BTreeMap::new(),
            refused: BTreeMap::new(),
        }
    }

    /// The children as they are now. A number counts only until its zombie was taken.
    fn roots(&self) -> Roots {
        let mut roots = Roots::default();
        for child in self.children {
            roots.markers.extend(child.descent().marker.clone());
            if !child.is_reaped() {
                let pid = child.id() as i32;
                roots.pids.insert(pid);
                if child.descent().leads_group {
                    roots.groups.insert(pid);
                }
            }
        }
        roots
    }

    /// Finds the members that were not found before, signals each, and tells how many there were.
    fn extend(&mut self, signal: Signal) -> Result<usize> {
        let roots = self.roots();
        let all = processes()?;
        let this = getpid().as_raw_pid();
        let (mut adopted, mut hidden) = (BTreeSet::new(), BTreeSet::new());
        let marked = |process: &Process| match process.carries(&roots.markers) {
            Ok(true) => adopted.insert(process.pid),
            // Of another user: it may or may not belong.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                hidden.insert(process.pid);
                false
            }
            // The last error: it is gone meanwhile.
            Ok(false) | Err(_) => false,
        };
        let members = members(&all, &roots, this, marked);
        let mut new = 0;
        for process in &members {
            let key = (process.pid, process.started);
            if self.found.contains_key(&key) || self.refused.contains_key(&key) {
                continue;
            }
            let result =
                open(process).and_then(|pidfd| pidfd_send_signal(&pidfd, signal).map(|()| pidfd));
            match result {
                Ok(pidfd) => {
                    new += 1;
                    let member = Member {
                        pidfd,
                        name: process.name.clone(),
                        orphan: process.parent != this || adopted.contains(&process.pid),
                    };
                    self.found.insert(key, member);
                }
                Err(Errno::SRCH) => {}
                Err(errno) => {
                    self.refused
                        .insert(key, unreached(key.0, &process.name, errno));
                }
            }
        }
        let parents: BTreeSet<i32> = self.found.keys().map(|(pid, _)| *pid).collect();
        for process in all.iter().filter(|it| it.zombie) {
            let key = (process.pid, process.started);
            if parents.contains(&process.parent) && !self.found.contains_key(&key) {
                self.ended
                    .extend(open(process).ok().map(|pidfd| (key, pidfd)));
            }
        }
        for process in all.iter().filter(|it| hidden.contains(&it.pid)) {
            let key = (process.pid, process.started);
            self.refused
                .insert(key, unreached(key.0, &process.name, Errno::ACCESS));
        }
        Ok(new)
    }

    /// Whether nobody who was signalled runs any more, or waits for something that could let it run.
    fn all_stopped(&self) -> bool {
        self.found.keys().all(|(pid, _)| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // The name, in parentheses, may contain anything; the state follows the last one.
            let state = stat
                .rsplit_once(") ")
                .and_then(|(_, rest)| rest.chars().next());
            !matches!(state, Some('R' | 'S'))
        })
    }

    fn report(self, mut unreached: Vec<Unreached>) -> TreeReport {
        unreached.extend(self.refused.into_values());
        TreeReport {
            signalled: self.found.len(),
            unreached,
            daemons_known: self.children.iter().all(|it| it.descent().marker.is_some()),
        }
    }
}

fn unreached(pid: i32, name: &str, errno: Errno) -> Unreached {
    Unreached {
        pid: pid as u32,
        name: name.to_owned(),
        source: errno.into(),
    }
}

fn signal_tree(children: &[&Child], signal: Signal) -> Result<TreeReport> {
    let mut search = Search::new(children);
    search.extend(signal)?;
    Ok(search.report(Vec::new()))
}

fn kill_tree(children: &[&Child], within: Duration) -> Result<TreeReport> {
    let deadline = Instant::now().checked_add(within);
    let in_time = || deadline.is_none_or(|deadline| Instant::now() < deadline);
    let mut search = Search::new(children);
    let mut late;
    loop {
        // Stopped, and so without new children, until a look finds nobody new. A look counts only
        // if everybody had stopped before it: a fork that was under way when the signal came is
        // still completed.
        loop {
            let all_stopped = search.all_stopped();
            if (search.extend(Signal::STOP)? == 0 && all_stopped) || !in_time() {
                break;
            }
            std::thread::yield_now();
        }
        for child in children.iter().filter(|it| it.descent().leads_group) {
            // A member of another user is found, and told of, by its own number.
            let _ = child.send_to_group(Signal::KILL);
        }
        for member in search.found.values() {
            // It was stopped, so it may be killed; or it has ended.
            let _ = pidfd_send_signal(&member.pidfd, Signal::KILL);
        }
        late = Vec::new();
        for ((pid, _), member) in &search.found {
            if wait_readable(&[member.pidfd.as_fd()], deadline)?.is_empty() {
                late.push(unreached(*pid, &member.name, Errno::TIMEDOUT));
            }
        }
        // All at the end: an orphan becomes ours only when its parent has ended.
        let orphans = search.found.values().filter(|member| member.orphan);
        for pidfd in orphans.map(|it| &it.pidfd).chain(search.ended.values()) {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            // Where this process is no subreaper it is somebody else's.
            let _ = waitid(WaitId::PidFd(pidfd.as_fd()), options);
        }
        // An orphan may have been adopted after the last look. It is new, then.
        if !in_time() || search.extend(Signal::STOP)? == 0 {
            break;
        }
    }
    Ok(search.report(late))
}
