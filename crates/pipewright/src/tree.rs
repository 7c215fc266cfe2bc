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
//! Whoever is found is held by a pidfd before its start time is compared, so that no signal goes to
//! another process that got the number meanwhile. The children themselves are held from the start,
//! and get their signal first, whatever `/proc` shows.
//!
//! `/proc` is believed only if it is the one of this process's own pid namespace. Without it, the
//! children and the process groups that they lead are all that a signal reaches, and the report says
//! so. Of other processes' memory, which can keep a reader waiting for ever, only what marks an
//! orphan is read, and only for a time.

mod dropped;
mod guardian;
mod report;
mod search;
pub(crate) mod spread;

use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpid, waitid};

use crate::child::Child;
use crate::command::Command;
use crate::descent::proc::Proc;
use crate::error::{Error, Result};
use crate::pipeline::{RunningPipeline, Stage};
use crate::poll::Deadline;
pub use guardian::Guardian;
pub use report::{TreeReport, Unreached};
use search::Search;

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
    /// # Limits
    ///
    /// An orphan is not found if it has cleared or overwritten its environment, if `/proc` hides it
    /// from this user (`hidepid`), or if it was started by somebody else on the program's behalf
    /// (cron, systemd, a container engine, D-Bus).
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
    /// What is started at this very moment may be missed, as with any signal. With
    /// [`own_tree`](Command::own_tree), a process that was adopted and keeps its environment from being
    /// read is waited for, for a second at most.
    ///
    /// # Errors
    ///
    /// None at present. That a process could not be signalled, or `/proc` not be read, is told in the
    /// report.
    pub fn signal_tree(&self, signal: Signal) -> Result<TreeReport> {
        Ok(signal_tree(&[self], signal))
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
    /// [`Error::System`] when its end cannot be waited for. Processes that could not be ended are told
    /// in the report: of another user (EPERM), or stuck in the kernel (ETIMEDOUT). So it is when
    /// `/proc` cannot be read.
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

    /// Waits until the process and everything that it started and that
    /// [can be found](Command::own_tree) has ended, at the latest until `within` is over. Nobody is
    /// signalled; the report names those that still run then.
    ///
    /// This is the wait for a whole process group, too, where the child leads one. The child's own
    /// status is left for [`wait`](Child::wait). Orphans are reaped here.
    ///
    /// # Errors
    ///
    /// As [`kill_tree`](Self::kill_tree).
    ///
    /// ```
    /// use std::time::Duration;
    /// use pipewright::Command;
    ///
    /// let script = "(sleep 0.05; exit 1) & exit 0";
    /// let child = Command::new("sh").args(["-c", script]).process_group(0).spawn()?;
    /// let report = child.wait_tree(Duration::from_secs(60))?;
    /// assert!(report.is_complete()); // the sleep has ended, too
    /// # child.wait()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn wait_tree(&self, within: Duration) -> Result<TreeReport> {
        wait_tree(&[self], within)
    }
}

impl RunningPipeline {
    /// Sends a signal once to every stage and to everything that they started: see
    /// [`Child::signal_tree`].
    ///
    /// # Errors
    ///
    /// As [`Child::signal_tree`].
    pub fn signal_tree(&self, signal: Signal) -> Result<TreeReport> {
        Ok(signal_tree(&self.children(), signal))
    }

    /// Ends every stage and everything that they started: see [`Child::kill_tree`].
    ///
    /// # Errors
    ///
    /// As [`Child::kill_tree`].
    pub fn kill_tree(&self, within: Duration) -> Result<TreeReport> {
        kill_tree(&self.children(), within)
    }

    /// Waits for the end of every stage and of everything that they started: see
    /// [`Child::wait_tree`].
    ///
    /// # Errors
    ///
    /// As [`Child::wait_tree`].
    pub fn wait_tree(&self, within: Duration) -> Result<TreeReport> {
        wait_tree(&self.children(), within)
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
/// [`Error::System`] when `/proc` cannot be read, or shows another pid namespace.
pub fn reap_adopted(keep: impl Fn(u32) -> bool) -> Result<usize> {
    let this = getpid().as_raw_pid();
    let failed = |source| Error::System {
        operation: "list the processes in /proc",
        source,
    };
    let (all, error) = Proc::own().map_err(failed)?.processes();
    error.map_or(Ok(()), |error| Err(failed(error)))?;
    let zombies = all.into_iter().filter(|it| it.zombie && it.parent == this);
    let mut taken = 0;
    for pid in zombies.filter_map(|it| Pid::from_raw(it.pid)) {
        if !keep(pid.as_raw_pid() as u32) {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            taken += usize::from(matches!(waitid(WaitId::Pid(pid), options), Ok(Some(_))));
        }
    }
    Ok(taken)
}

fn signal_tree(children: &[&Child], signal: Signal) -> TreeReport {
    let mut search = Search::new(children);
    search.look(Some(signal), Deadline::NEVER);
    search.report(false)
}

fn kill_tree(children: &[&Child], within: Duration) -> Result<TreeReport> {
    let mut search = Search::new(children);
    end(&mut search, Deadline::after(within))?;
    Ok(search.report(true))
}

/// Ends everybody who can be found.
fn end(search: &mut Search<'_>, deadline: Deadline) -> Result<()> {
    loop {
        // Stopped, and so without new children, until a look finds nobody new. A look counts only
        // if everybody had stopped before it: a fork that was under way when the signal came is
        // still completed.
        loop {
            let all_stopped = search.all_stopped();
            let new = search.look(Some(Signal::STOP), deadline);
            if (new == 0 && all_stopped) || deadline.has_passed() {
                break;
            }
            std::thread::yield_now();
        }
        search.signal_reached(Signal::KILL);
        while search.await_one(deadline)? > 0 && !deadline.has_passed() {}
        search.reap();
        // An orphan may have been adopted after the last look. It is new, then.
        if deadline.has_passed() || search.look(Some(Signal::STOP), deadline) == 0 {
            return Ok(());
        }
    }
}

fn wait_tree(children: &[&Child], within: Duration) -> Result<TreeReport> {
    let deadline = Deadline::after(within);
    let mut search = Search::new(children);
    loop {
        // A look after each end, since those that it left behind may be found only now.
        let new = search.look(None, deadline);
        let running = search.await_one(deadline)?;
        search.reap();
        if (running == 0 && new == 0) || deadline.has_passed() {
            return Ok(search.report(true));
        }
    }
}
