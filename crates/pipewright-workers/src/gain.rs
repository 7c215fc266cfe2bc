//! Whether workers would make a pipeline faster than one process does: the figures of a moment, and what
//! follows from them.

use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity};

/// For how long figures are taken before anything is made of them.
const WINDOW: Duration = Duration::from_millis(100);

/// A command that has a core, or waits for one, for less of its time waits for its neighbours.
const BUSY: f64 = 0.85;

/// So many times as fast it has to become: what is foretold from one moment is not exact, and workers
/// leave off at the end of the input one after the other.
const WORTH: f64 = 1.3;

/// Seconds a byte that a core takes to hand on chunks and their outputs.
const COPY: f64 = 1.5e-9;

/// One moment of a stage that runs as one process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figures {
    /// Cores that may be used.
    pub(crate) cores: f64,
    /// How many of them had nothing to do.
    pub(crate) idle: f64,
    /// The share of the time for which the process had a core, or waited for one.
    pub(crate) busy: f64,
    /// Bytes a second that it was given.
    pub(crate) rate: f64,
}

/// What workers would be good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worth {
    Gain,
    /// The stage waits for its neighbours.
    Waits,
    /// Other programs have the other cores.
    NoIdleCore,
    /// Handing on chunks would take what they gain.
    Fast,
}

impl Figures {
    /// Tells what workers would be good for.
    ///
    /// Whatever runs on the machine besides gets through a byte with as much of the cores as before, and
    /// copying is added to that. So once all cores are busy there is so much more of everything.
    pub(crate) fn worth(&self) -> Worth {
        let times = |copy: f64| self.cores / (self.cores - self.idle + copy * self.rate);
        if self.busy < BUSY {
            Worth::Waits
        } else if times(COPY) >= WORTH {
            Worth::Gain
        } else if times(0.0) < WORTH {
            Worth::NoIdleCore
        } else {
            Worth::Fast
        }
    }
}

/// Looks at a process and at the machine from time to time.
pub(crate) struct Watch {
    process: u32,
    cpus: Option<CpuSet>,
    began: Instant,
    at: Option<Reading>,
    moved: u64,
}

/// What had come together so far.
struct Reading {
    busy: Duration,
    idle: Duration,
    moved: u64,
}

impl Watch {
    pub(crate) fn begin(process: u32) -> Self {
        let mut watch = Self {
            process,
            cpus: sched_getaffinity(None).ok(),
            began: Instant::now(),
            at: None,
            moved: 0,
        };
        watch.at = watch.read();
        watch
    }

    /// Counts bytes that the process was given. From time to time the answer is what they came to; never
    /// where `/proc` does not tell.
    pub(crate) fn moved(&mut self, bytes: u64) -> Option<Figures> {
        self.moved += bytes;
        let time = self.began.elapsed();
        if time < WINDOW {
            return None;
        }
        let (before, now) = (self.at.take(), self.read());
        self.began = Instant::now();
        let share = |to: Duration, from: Duration| {
            to.saturating_sub(from).as_secs_f64() / time.as_secs_f64()
        };
        let figures = before.zip(now.as_ref()).map(|(before, now)| Figures {
            cores: std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64),
            idle: share(now.idle, before.idle),
            busy: share(now.busy, before.busy),
            rate: (now.moved - before.moved) as f64 / time.as_secs_f64(),
        });
        self.at = now;
        figures
    }

    fn read(&self) -> Option<Reading> {
        // Of its first thread. A program of several uses several cores already.
        let times = std::fs::read_to_string(format!("/proc/{}/schedstat", self.process)).ok()?;
        // Nanoseconds for which it had a core, and for which it waited for one.
        let mut times = times.split(' ').map(|time| time.parse::<u64>().ok());
        let busy = times.next()?? + times.next()??;
        let stat = std::fs::read_to_string("/proc/stat").ok()?;
        Some(Reading {
            busy: Duration::from_nanos(busy),
            idle: idle(&stat, |cpu| {
                self.cpus.as_ref().is_none_or(|cpus| cpus.is_set(cpu))
            }),
            moved: self.moved,
        })
    }
}

/// How long these cores together had nothing to do, by `/proc/stat`.
fn idle(stat: &str, is_ours: impl Fn(usize) -> bool) -> Duration {
    let ticks = stat.lines().filter_map(|line| {
        let mut words = line.strip_prefix("cpu")?.split(' ');
        let cpu = words.next()?.parse().ok()?;
        // Its fourth figure, and what it had nothing to do for because of a disk.
        let figures: Vec<u64> = words
            .skip(3)
            .take(2)
            .map_while(|it| it.parse().ok())
            .collect();
        is_ours(cpu).then(|| figures.iter().sum::<u64>())
    });
    // The unit is a hundredth of a second on all machines that Linux runs on.
    Duration::from_millis(10 * ticks.sum::<u64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Figures = Figures {
        cores: 2.0,
        idle: 0.9,
        busy: 1.0,
        rate: 30e6,
    };

    #[test]
    fn workers_are_worth_it_for_a_busy_stage_that_is_slow_while_cores_are_idle() {
        assert_eq!(SLOW.worth(), Worth::Gain);
        let neighbours = Figures { busy: 0.6, ..SLOW };
        assert_eq!(neighbours.worth(), Worth::Waits);
        let crowded = Figures { idle: 0.2, ..SLOW };
        assert_eq!(crowded.worth(), Worth::NoIdleCore);
        let fast = Figures {
            rate: 600e6,
            ..SLOW
        };
        assert_eq!(fast.worth(), Worth::Fast);
    }

    #[test]
    fn of_many_cores_the_idle_ones_are_what_counts() {
        let many = Figures {
            cores: 64.0,
            ..SLOW
        };
        let worth = |idle| Figures { idle, ..many }.worth();
        assert_eq!(worth(1.0), Worth::NoIdleCore);
        assert_eq!(worth(40.0), Worth::Gain);
    }

    #[test]
    fn idle_time_is_that_of_the_cores_that_may_be_used() {
        let stat = "cpu  9 9 9 30 3 0\ncpu0 1 2 3 10 1 0 0\ncpu1 1 2 3 20 2 0 0\nintr 5 6 7\n";
        assert_eq!(idle(stat, |_| true), Duration::from_millis(330));
        assert_eq!(idle(stat, |cpu| cpu == 1), Duration::from_millis(220));
    }

    #[test]
    fn a_process_that_spins_is_busy_and_one_that_waits_is_not() {
        let mut watch = Watch::begin(std::process::id());
        if watch.at.is_none() {
            println!("skipped: this kernel does not tell of a process how long it had a core");
            return;
        }
        // The first thread of this process waits for the tests.
        std::thread::sleep(WINDOW);
        let figures = watch.moved(1 << 20).unwrap();
        assert!(figures.busy < BUSY, "{figures:?}");
        assert!(figures.rate > 0.0 && figures.cores >= 1.0, "{figures:?}");
        assert_eq!(watch.moved(1), None, "it is too early");
    }
}
