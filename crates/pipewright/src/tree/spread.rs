//! A signal that follows a pipeline whose stages are still starting their own processes.
//!
//! One look at the processes is not enough there. A shell blocks signals while it forks: one that
//! comes just then ends the shell afterwards, and the child that it has made is nobody's and never
//! hears of it. So later looks follow, which find whoever has appeared; among the orphans too, if
//! this process is a subreaper and adopts them.
//!
//! The stages themselves are reached by the handles that this process holds, whatever `/proc` is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Signal, getpgrp, getpid};
use rustix::time::{ClockId, clock_gettime};

use super::report::Unreached;
use crate::descent::proc::{Proc, Process};
use crate::descent::{Roots, members};
use crate::pipeline::{RunningPipeline, Stage};

/// How long after the signal a process may have been started and still have been on its way then.
/// What comes later was started by somebody who knows of the signal, as a trap that tidies up.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

/// A process younger than this may have lost the signal: what a shell has just forked still ignores
/// what the shell ignores. It gets the signal twice.
const YOUNG: Duration = Duration::from_millis(100);

/// The second time comes so long after the signal.
const SECOND: Duration = Duration::from_millis(30);

/// A signal on its way to all processes of a pipeline.
#[derive(Debug)]
pub struct Spread<'a> {
    pipeline: &'a RunningPipeline,
    signal: Signal,
    sent_at: Instant,
    /// Who was sent it, by process id and start time, and may be sent it once more.
    had: BTreeMap<(i32, u64), bool>,
    /// Those who were started before this moment, in clock ticks, have it.
    late_since: Option<u64>,
    unreached: Vec<Unreached>,
}

impl RunningPipeline {
    /// Sends a signal to the stages and to all that descends from them now.
    pub fn spread(&self, signal: Signal) -> Spread<'_> {
        let mut spread = Spread::new(self, signal);
        // Looked for before anything is sent: the children of one that dies have another parent.
        let members = spread.members(false);
        for child in self.stages().iter().filter_map(Stage::child) {
            if let Err(error) = child.signal(signal) {
                spread.unreached.push(Unreached {
                    pid: child.id(),
                    name: child.program().to_owned(),
                    source: error.into(),
                });
            }
            if spread.continues() {
                // Told of above, if it may not be signalled.
                let _ = child.signal(Signal::CONT);
            }
        }
        spread.send(&members);
        spread
    }

    /// Follows a signal that was sent to the whole process group just now: it need be sent to nobody
    /// but those that were being started, or have just been.
    pub fn spread_to_late(&self, signal: Signal) -> Spread<'_> {
        let mut spread = Spread::new(self, signal);
        spread.late_since = Some(spread.young_since());
        spread
    }
}

impl<'a> Spread<'a> {
    fn new(pipeline: &'a RunningPipeline, signal: Signal) -> Self {
        Self {
            pipeline,
            signal,
            sent_at: Instant::now(),
            had: BTreeMap::new(),
            late_since: None,
            unreached: Vec::new(),
        }
    }

    /// Looks for processes that have appeared since, and sends them the signal. Returns how many got
    /// it.
    pub fn again(&mut self) -> usize {
        let until = ticks(self.sent_at + ON_ITS_WAY);
        let mut members = self.members(true);
        let alive: BTreeSet<_> = members.iter().map(|it| (it.pid, it.started)).collect();
        self.had.retain(|process, _| alive.contains(process));
        members.retain(|it| it.started <= until);
        members.retain(|it| self.late_since.is_none_or(|since| it.started >= since));
        self.send(&members)
    }

    /// Tells whether somebody is to get it a second time.
    pub fn is_pending(&self) -> bool {
        self.had.values().any(|&once_more| once_more)
    }

    /// Tells whether nobody can appear any more that was on its way when the signal came.
    pub fn is_over(&self) -> bool {
        // As long again: a process that was made may show late.
        self.sent_at.elapsed() > 2 * ON_ITS_WAY
    }

    /// The processes that could not be signalled; each is told once.
    pub fn take_unreached(&mut self) -> Vec<Unreached> {
        std::mem::take(&mut self.unreached)
    }

    /// Finds the pipeline's processes, with or without those that have lost their parent. Without a
    /// `/proc` there is nobody to be found.
    fn members(&self, with_orphans: bool) -> Vec<Process> {
        let Ok(proc) = Proc::own() else {
            return Vec::new();
        };
        let (all, _) = proc.processes();
        let this = getpid().as_raw_pid();
        let mut roots = Roots {
            pids: self.stage_pids(),
            ..Roots::default()
        };
        if with_orphans {
            // One that left the group left the pipeline, as a daemon does.
            let group = getpgrp().as_raw_pid();
            let since = ticks(self.pipeline.started());
            let adopted = all
                .iter()
                .filter(|it| it.parent == this && it.group == group && it.started >= since);
            roots.pids.extend(adopted.map(|it| it.pid));
        }
        members(&all, &roots, &BTreeSet::new(), this)
            .into_iter()
            .cloned()
            .collect()
    }

    fn stage_pids(&self) -> BTreeSet<i32> {
        let children = self.pipeline.stages().iter().filter_map(Stage::child);
        let unreaped = children.filter(|child| child.holds_number());
        unreaped.map(|child| child.id() as i32).collect()
    }

    /// Tells whether SIGCONT follows, as timeout(1) and the kernel have it: who is stopped does not see
    /// that it is asked to end.
    fn continues(&self) -> bool {
        [Signal::TERM, Signal::HUP].contains(&self.signal)
    }

    /// Processes started from here on, in clock ticks, were young when the signal came.
    fn young_since(&self) -> u64 {
        ticks(self.sent_at.checked_sub(YOUNG).unwrap_or(self.sent_at))
    }

    /// Sends the signal to those who have not had it. The stages have it by their handles.
    fn send(&mut self, members: &[Process]) -> usize {
        let Ok(proc) = Proc::own() else { return 0 };
        let stages = self.stage_pids();
        let mut sent = 0;
        for process in members.iter().filter(|it| !stages.contains(&it.pid)) {
            let once_more = match self.had.get(&(process.pid, process.started)) {
                None => process.started >= self.young_since(),
                Some(true) if self.sent_at.elapsed() >= SECOND => false,
                Some(_) => continue,
            };
            self.had.insert((process.pid, process.started), once_more);
            let handle = proc.open(process);
            let result = handle.and_then(|handle| {
                handle.signal(self.signal, false)?;
                if self.continues() {
                    handle.signal(Signal::CONT, false)?;
                }
                Ok(())
            });
            match result {
                Ok(()) => sent += 1,
                Err(Errno::SRCH) => {}
                Err(errno) => {
                    self.unreached
                        .push(Unreached::new(process.pid as u32, &process.name, errno))
                }
            }
        }
        sent
    }
}

/// A moment in the kernel's unit for start times, counted from its boot.
fn ticks(at: Instant) -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let now = Duration::new(now.tv_sec as u64, now.tv_nsec as u32);
    let then = match at.checked_duration_since(Instant::now()) {
        Some(ahead) => now + ahead,
        None => now.saturating_sub(at.elapsed()),
    };
    let a_second = rustix::param::clock_ticks_per_second();
    (then.as_nanos() * u128::from(a_second) / 1_000_000_000) as u64
}
