//! Waiting for the stages: signals passed on, the deadline kept, the pipeline watched.
//!
//! Whatever fails here, the stages are not left alone: a look that cannot be taken is taken in
//! another way, or left out.

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use pipewright::poll::poll;
use pipewright::{Child, RunningPipeline, Signal, Stage, reap_adopted};
use pipewright_observe::workspace::MemoryKills;
use rustix::event::{PollFd, PollFlags};

use super::passing::Passing;
use super::signals::Signals;
use super::watching::Watching;
use crate::disposition;
use crate::outcome::Observed;

/// How long a killed process may take to be gone.
const TO_DIE: Duration = Duration::from_secs(1);

/// Between two looks where the kernel does not let us wait for events.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// From then on it is known who is killed for memory: nobody fills it sooner, and a run that is over
/// pays nothing for it.
const MEMORY_AFTER: Duration = Duration::from_millis(2);

/// So long a stage's end may be the doing of a signal that comes next.
const JUST_NOW: Duration = Duration::from_millis(100);

/// Between two looks for orphans that have ended.
const REAP: Duration = Duration::from_secs(1);

/// The time that the stages may take.
#[derive(Debug)]
pub(super) struct Limit {
    /// SIGTERM comes after this time.
    pub(super) timeout: Option<Duration>,
    /// SIGKILL comes this much later.
    pub(super) kill_after: Option<Duration>,
}

/// What came of the wait.
pub(super) struct Waited {
    /// The limit that was reached.
    pub(super) timed_out: Option<Duration>,
    /// What was seen, if the pipeline ran long enough.
    pub(super) observed: Option<Observed>,
    /// The same of each pipeline in a text that one shell ran.
    pub(super) pipelines: Vec<Observed>,
    /// Who was killed for memory, likewise.
    pub(super) memory: Option<MemoryKills>,
}

/// Waits until every stage has ended. No status is taken: till then the zombies tell what they used.
pub(super) fn wait(
    running: &RunningPipeline,
    signals: &mut Signals,
    mut watching: Watching<'_>,
    limit: &Limit,
) -> Waited {
    let mut deadline = limit
        .timeout
        .and_then(|timeout| running.started().checked_add(timeout));
    let mut timed_out = None;
    let mut passing = Passing::new(running);
    passing.arrived_at_start(signals.take());
    let mut stages = Stages::new(running);
    let mut reap_at = None;
    let mut memory: Option<MemoryKills> = None;
    let memory_at = running.started() + MEMORY_AFTER;
    loop {
        if stages.look() {
            passing.look_soon();
        }
        if stages.alive.is_empty() {
            // What ended the last stage may have come to us as well.
            signals
                .take()
                .into_iter()
                .for_each(|it| passing.arrived(it));
            passing.finish();
            if let Some(memory) = memory.as_mut().filter(|memory| memory.any()) {
                memory.look_at_zombies(stages.pids.iter().copied());
            }
            let (observed, pipelines) = watching.finish();
            return Waited {
                timed_out,
                observed,
                pipelines,
                memory,
            };
        }

        let memory_due = memory.is_none().then_some(memory_at);
        let due = [deadline, watching.due(), passing.due(), reap_at, memory_due];
        wait_for_event(
            &stages.alive,
            signals.readable(),
            due.into_iter().flatten().min(),
        );
        for arrival in signals.take() {
            passing.arrived(arrival);
        }
        passing.step(stages.alive_just_now());
        if signals.take_child() {
            reap_at = reap_at.or(Some(Instant::now() + REAP));
        }
        if reap_at.is_some_and(|at| at <= Instant::now()) {
            reap_at = None;
            // Where /proc does not tell who they are, they stay till we end.
            let _ = reap_adopted(|pid| stages.pids.contains(&pid) || watching.started(pid));
        }
        if memory_at <= Instant::now() {
            memory.get_or_insert_with(MemoryKills::since_now);
        }
        if signals.take_stop() {
            watching.hide();
            disposition::stop();
        }
        watching.step();
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            if timed_out.is_none() {
                timed_out = limit.timeout;
                deadline = limit
                    .kill_after
                    .and_then(|grace| Instant::now().checked_add(grace));
                passing.send(Signal::TERM);
            } else {
                deadline = None;
                match running.kill_tree(TO_DIE) {
                    Ok(report) => {
                        if let Some(error) = report.unlisted {
                            passing.tell_unlisted(&error);
                        }
                        passing.tell_of(report.unreached);
                    }
                    // Its end could not be waited for.
                    Err(_) => passing.send(Signal::KILL),
                }
            }
        }
    }
}

/// The stages, and which of them run.
struct Stages<'a> {
    running: &'a RunningPipeline,
    alive: Vec<&'a Child>,
    ended: Vec<(Instant, &'a Child)>,
    pids: BTreeSet<u32>,
}

impl<'a> Stages<'a> {
    fn new(running: &'a RunningPipeline) -> Self {
        let alive: Vec<&Child> = running.stages().iter().filter_map(Stage::child).collect();
        Self {
            running,
            pids: alive.iter().map(|child| child.id()).collect(),
            alive,
            ended: Vec::new(),
        }
    }

    /// Looks which have ended; true if one has.
    fn look(&mut self) -> bool {
        let now = Instant::now();
        let alive = self.running.still_running().unwrap_or_else(|_| {
            // Their statuses are taken instead, and with them the figures of the zombies.
            let ended = |child: &&Child| !matches!(child.try_wait(), Ok(None));
            self.alive
                .iter()
                .copied()
                .filter(|child| !ended(child))
                .collect()
        });
        let ids: BTreeSet<u32> = alive.iter().map(|child| child.id()).collect();
        let before = std::mem::replace(&mut self.alive, alive).into_iter();
        let ended = before.filter(|child| !ids.contains(&child.id()));
        let known = self.ended.len();
        self.ended.extend(ended.map(|child| (now, child)));
        self.ended.len() > known
    }

    /// Those that run, or ran a moment ago.
    fn alive_just_now(&self) -> impl Iterator<Item = &'a Child> + Clone {
        let ended = self.ended.iter().rev();
        let recent = ended.take_while(|(at, _)| at.elapsed() < JUST_NOW);
        let recent = recent.map(|(_, child)| *child);
        self.alive.iter().copied().chain(recent)
    }
}

/// Returns when a stage has ended, a signal has come, or the time is there.
fn wait_for_event(alive: &[&Child], signals: BorrowedFd<'_>, until: Option<Instant>) {
    let mut polled: Vec<PollFd<'_>> = alive
        .iter()
        .map(|child| PollFd::new(*child, PollFlags::IN))
        .chain([PollFd::from_borrowed_fd(signals, PollFlags::IN)])
        .collect();
    if poll(&mut polled, until).is_err() {
        std::thread::sleep(LOOK_AGAIN);
    }
}
