//! Passing signals on: to each stage once, and to what the stages are still starting.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use pipewright::{Child, RunningPipeline, Signal, Spread, Unreached};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::signals::Arrival;
use crate::view::{self, text};

/// So long a signal waits: whoever sends it to pipewright may send it to the whole group next, as
/// timeout(1) does.
const HOLD: Duration = Duration::from_millis(10);

/// So long at most it waits for a stage that is just ending, and shows nothing meanwhile.
const HOLD_AT_MOST: Duration = Duration::from_millis(500);

/// So long after the last start the stages may be starting processes of their own.
const SETTLING: Duration = Duration::from_millis(250);

/// Between the first two looks for processes that have appeared; then twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(4);

/// Signals on their way to the stages.
#[derive(Debug)]
pub(super) struct Passing<'a> {
    running: &'a RunningPipeline,
    /// When the last stage had been started.
    complete: Instant,
    held: Vec<Held>,
    followed: Vec<Followed<'a>>,
    told: BTreeSet<u32>,
}

#[derive(Debug)]
struct Held {
    signal: Signal,
    since: Instant,
    due: Instant,
}

/// A signal that goes on to whoever appears.
#[derive(Debug)]
struct Followed<'a> {
    spread: Spread<'a>,
    due: Instant,
    pause: Duration,
}

impl<'a> Passing<'a> {
    /// All stages have been started.
    pub(super) fn new(running: &'a RunningPipeline) -> Self {
        Self {
            running,
            complete: Instant::now(),
            held: Vec::new(),
            followed: Vec::new(),
            told: BTreeSet::new(),
        }
    }

    /// What came while the stages were being started. Some may have it already, those that started
    /// later have not, and nobody knows which: twice is better than never.
    pub(super) fn arrived_at_start(&mut self, arrivals: Vec<Arrival>) {
        for arrival in arrivals {
            self.send(arrival.signal);
        }
    }

    /// Takes over a signal that came.
    pub(super) fn arrived(&mut self, arrival: Arrival) {
        let signal = arrival.signal;
        if arrival.by_terminal {
            self.follow(self.running.spread_to_late(signal));
        } else if self.held.iter().all(|held| held.signal != signal) {
            let since = Instant::now();
            self.held.push(Held {
                signal,
                since,
                due: since + HOLD,
            });
        }
    }

    /// Sends a signal to all stages, and to what they have started.
    pub(super) fn send(&mut self, signal: Signal) {
        self.follow(self.running.spread(signal));
    }

    /// When there is something to do next.
    pub(super) fn due(&self) -> Option<Instant> {
        let held = self.held.iter().map(|held| held.due);
        let followed = self.followed.iter().map(|followed| followed.due);
        held.chain(followed).min()
    }

    /// Does what is due. `stages`: those that run, or ran when the signals came.
    pub(super) fn step<'c>(&mut self, stages: impl Iterator<Item = &'c Child> + Clone) {
        let now = Instant::now();
        let due: Vec<Held> = self.held.extract_if(.., |held| held.due <= now).collect();
        for held in due {
            match group_has(held.signal, stages.clone()) {
                Some(true) => self.follow(self.running.spread_to_late(held.signal)),
                None if held.since.elapsed() < HOLD_AT_MOST => self.held.push(Held {
                    due: now + HOLD,
                    ..held
                }),
                _ => self.send(held.signal),
            }
        }
        for followed in self.followed.iter_mut().filter(|it| it.due <= now) {
            followed.spread.again();
            followed.pause *= 2;
            followed.due = now + followed.pause;
        }
        self.tell();
        self.followed.retain(|followed| !followed.spread.is_over());
    }

    /// Makes the next look be taken at once: a process has ended, and may have left another behind.
    pub(super) fn look_soon(&mut self) {
        for followed in &mut self.followed {
            followed.due = Instant::now();
        }
    }

    /// All stages have ended: whoever they left behind while the signal came gets it now.
    pub(super) fn finish(&mut self) {
        for Held { signal, .. } in std::mem::take(&mut self.held) {
            self.follow(self.running.spread_to_late(signal));
        }
        for followed in &mut self.followed {
            // What was reached may have been forking, too.
            while followed.spread.again() > 0 || followed.spread.is_pending() {
                std::thread::sleep(FIRST_PAUSE);
            }
        }
        self.tell();
    }

    /// Follows the signal while the stages are young. Later their processes are all there to be found
    /// at once, and what appears is a trap's, which tidies up.
    fn follow(&mut self, spread: Spread<'a>) {
        let mut followed = Followed {
            spread,
            due: Instant::now() + FIRST_PAUSE,
            pause: FIRST_PAUSE,
        };
        let unreached = followed.spread.take_unreached();
        self.tell_of(unreached);
        if self.complete.elapsed() < SETTLING {
            self.followed.push(followed);
        }
    }

    fn tell(&mut self) {
        let followed = self.followed.iter_mut();
        let unreached: Vec<Unreached> = followed
            .flat_map(|followed| followed.spread.take_unreached())
            .collect();
        self.tell_of(unreached);
    }

    /// Says that only the stages themselves were reached, and why.
    pub(super) fn tell_unlisted(&self, error: &std::io::Error) {
        view::complain(&format!(
            "cannot list the processes in /proc, so the stages were killed, and what they started \
             perhaps not: {error}"
        ));
    }

    /// Says once of each process that it could not be signalled, and why.
    pub(super) fn tell_of(&mut self, unreached: impl IntoIterator<Item = Unreached>) {
        for it in unreached {
            if self.told.insert(it.pid) {
                let name = text::line(&it.name);
                let other_user = it.source.kind() == std::io::ErrorKind::PermissionDenied;
                let why = if other_user {
                    "; it runs as another user, who or root can end it".to_owned()
                } else {
                    String::new()
                };
                let (pid, source) = (it.pid, &it.source);
                view::complain(&format!("cannot signal {name} (pid {pid}): {source}{why}"));
            }
        }
    }
}

/// Tells whether the signal went to the whole process group, as far as the stages show it: each of
/// those that neither catch nor ignore it died of it or is about to, and there is one at least. `None`:
/// one is ending, and it cannot be told yet of what.
fn group_has<'c>(signal: Signal, stages: impl Iterator<Item = &'c Child>) -> Option<bool> {
    let (mut somebody, mut ending) = (false, false);
    for stage in stages {
        match shown_by(stage, signal) {
            Some(Shown::Got) => somebody = true,
            Some(Shown::NotGot) => return Some(false),
            Some(Shown::Ending) => ending = true,
            None => {}
        }
    }
    (!ending).then_some(somebody)
}

/// What a stage shows of a signal.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    Got,
    NotGot,
    /// Soon it can be told.
    Ending,
}

/// Looks whether a stage has got the signal; `None` where it does not show.
fn shown_by(stage: &Child, signal: Signal) -> Option<Shown> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match waitid(WaitId::PidFd(stage.as_fd()), options) {
        Ok(Some(ended)) if ended.terminating_signal() == Some(signal.as_raw()) => Some(Shown::Got),
        Ok(None) => {
            let own = std::fs::read_link("/proc/self").ok()?;
            if own.to_str()? != std::process::id().to_string() {
                return None; // of another pid namespace
            }
            let status = std::fs::read_to_string(format!("/proc/{}/status", stage.id())).ok()?;
            shown_in(&status, signal)
        }
        _ => None,
    }
}

/// What the `status` of a process that ran a moment ago tells of a signal.
fn shown_in(status: &str, signal: Signal) -> Option<Shown> {
    // The memory goes first.
    if !status.contains("\nVmSize:") {
        return Some(Shown::Ending);
    }
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    let bit = |signal: Signal| 1 << (signal.as_raw() - 1);
    let pending = mask("SigPnd:")? | mask("ShdPnd:")?;
    // The kernel turns a signal that ends a process into SIGKILL at once.
    if pending & (bit(signal) | bit(Signal::KILL)) != 0 {
        return Some(Shown::Got);
    }
    let minded = mask("SigBlk:")? | mask("SigIgn:")? | mask("SigCgt:")?;
    (minded & bit(signal) == 0).then_some(Shown::NotGot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(memory: &str, [own, shared, blocked, ignored, caught]: [u64; 5]) -> String {
        format!(
            "Name:\ttail\n{memory}Threads:\t1\nSigPnd:\t{own:016x}\nShdPnd:\t{shared:016x}\n\
             SigBlk:\t{blocked:016x}\nSigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n"
        )
    }

    #[test]
    fn what_a_process_shows_of_a_signal_is_what_its_sets_say() {
        const MEMORY: &str = "VmSize:\t    5528 kB\n";
        let term = 1 << (Signal::TERM.as_raw() - 1);
        let kill = 1 << (Signal::KILL.as_raw() - 1);
        for (sets, shown) in [
            ([0, 0, 0, 0, 0], Some(Shown::NotGot)),
            ([0, term, 0, 0, 0], Some(Shown::Got)),
            ([term, 0, 0, 0, 0], Some(Shown::Got)),
            ([kill, 0, 0, 0, 0], Some(Shown::Got)),
            ([0, 0, term, 0, 0], None),
            ([0, 0, 0, term, 0], None),
            ([0, 0, 0, 0, term], None),
            ([0, 0, 0, kill, kill], Some(Shown::NotGot)),
        ] {
            assert_eq!(
                shown_in(&status(MEMORY, sets), Signal::TERM),
                shown,
                "{sets:?}"
            );
            // One that ends has no memory, and what it died of is no longer pending.
            let ending = shown_in(&status("", sets), Signal::TERM);
            assert_eq!(ending, Some(Shown::Ending), "{sets:?}");
        }
    }
}
