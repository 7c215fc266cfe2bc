//! Waiting for the stages: signals passed on, the deadline kept, the pipeline watched.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use anyhow::Context;
use pipewright::{Child, PipelineStatus, RunningPipeline, Signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::signals::Signals;
use super::watching::Watching;
use crate::outcome::Observed;

/// How long a killed process may take to be gone.
const TO_DIE: Duration = Duration::from_secs(1);

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
    pub(super) status: PipelineStatus,
    /// The limit that was reached.
    pub(super) timed_out: Option<Duration>,
    /// What was seen, if the pipeline ran long enough.
    pub(super) observed: Option<Observed>,
}

/// Waits for every stage.
pub(super) fn wait(
    running: &RunningPipeline,
    signals: &mut Signals,
    mut watching: Watching<'_>,
    limit: &Limit,
) -> anyhow::Result<Waited> {
    let mut deadline = limit
        .timeout
        .and_then(|timeout| running.started().checked_add(timeout));
    let mut timed_out = None;
    for signal in signals.take_all() {
        running.signal(signal)?;
    }
    loop {
        // No status is taken before all have ended: till then the zombies tell what they used.
        let alive = running.still_running()?;
        if alive.is_empty() {
            // What ended the last stage may have come to us as well.
            signals.take_undelivered();
            let observed = watching.finish();
            return Ok(Waited {
                status: running.wait()?,
                timed_out,
                observed,
            });
        }

        let next = deadline.into_iter().chain(watching.due()).min();
        wait_for_event(&alive, signals.readable(), next)?;
        for signal in signals.take_undelivered() {
            // To what the stages started as well, as the terminal would have done.
            running.signal_tree(signal)?;
        }
        if signals.take_stop() {
            watching.hide();
            signals.stop();
        }
        watching.step();
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            if timed_out.is_none() {
                timed_out = limit.timeout;
                deadline = limit
                    .kill_after
                    .and_then(|grace| Instant::now().checked_add(grace));
                running.signal_tree(Signal::TERM)?;
                // A stopped stage would not see it.
                running.signal(Signal::CONT)?;
            } else {
                deadline = None;
                running.kill_tree(TO_DIE)?;
            }
        }
    }
}

/// Returns when a stage has ended, a signal has come, or the time is there.
fn wait_for_event(
    alive: &[&Child],
    signals: BorrowedFd<'_>,
    until: Option<Instant>,
) -> anyhow::Result<()> {
    let mut polled: Vec<PollFd<'_>> = alive
        .iter()
        .map(|child| PollFd::new(*child, PollFlags::IN))
        .chain([PollFd::from_borrowed_fd(signals, PollFlags::IN)])
        .collect();
    let timeout = until.map(|until| {
        let left = until.saturating_duration_since(Instant::now());
        Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        }
    });
    match poll(&mut polled, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(errno) => Err(errno).context("cannot wait for the stages"),
    }
}
