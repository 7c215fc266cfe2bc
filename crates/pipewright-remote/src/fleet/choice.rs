//! Which host gets the next run, and when one is late. Pure.

use std::time::Duration;

/// A run may take so much longer than expected before another host is given the chunk as well.
const LATE: (f64, Duration) = (2.0, Duration::from_millis(250));

/// What a host does at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// How many runs it may have at once.
    pub(super) slots: usize,
    /// How many it has.
    pub(super) running: usize,
    /// How long it takes for a byte of a chunk, in seconds, once that is known.
    pub(super) pace: Option<f64>,
}

/// The idlest host: the one with the largest share of its slots free, and of two that are alike the faster.
pub(super) fn idlest(loads: impl Iterator<Item = (usize, Load)>) -> Option<usize> {
    let share = |load: Load| load.running as f64 / load.slots as f64;
    // One that has done nothing yet may be the fastest.
    let key = |load: Load| (share(load), load.pace.unwrap_or(0.0));
    let free = loads.filter(|(_, load)| load.running < load.slots);
    let best = free.min_by(|(_, one), (_, other)| {
        key(*one)
            .partial_cmp(&key(*other))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    best.map(|(host, _)| host)
}

/// What the runs so far took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    bytes: u64,
    time: Duration,
}

impl Pace {
    /// Takes note of a run on so many bytes.
    pub(super) fn add(&mut self, bytes: u64, time: Duration) {
        self.bytes += bytes;
        self.time += time;
    }

    /// Seconds for a byte.
    pub(super) fn per_byte(self) -> Option<f64> {
        (self.bytes > 0).then(|| self.time.as_secs_f64() / self.bytes as f64)
    }

    /// Tells whether a run on so many bytes takes much longer than the others did.
    pub(super) fn is_late(self, bytes: u64, elapsed: Duration) -> bool {
        self.per_byte().is_some_and(|pace| {
            elapsed.as_secs_f64() > LATE.0 * pace * bytes as f64 + LATE.1.as_secs_f64()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(running: usize, slots: usize, pace: Option<f64>) -> Load {
        Load {
            slots,
            running,
            pace,
        }
    }

    #[test]
    fn the_host_with_the_largest_free_share_is_taken_and_of_two_alike_the_faster() {
        let table = [
            (vec![], None),
            (vec![load(0, 0, None)], None),
            (vec![load(2, 2, None), load(4, 4, None)], None),
            (vec![load(1, 2, None), load(1, 4, None)], Some(1)),
            (vec![load(1, 4, None), load(1, 2, None)], Some(0)),
            (vec![load(3, 4, None), load(2, 2, None)], Some(0)),
            (vec![load(0, 2, Some(3.0)), load(0, 4, Some(1.0))], Some(1)),
            (vec![load(0, 2, Some(0.5)), load(0, 4, None)], Some(1)),
            (vec![load(0, 4, Some(1.0)), load(0, 4, Some(1.0))], Some(0)),
        ];
        for (loads, expected) in table {
            let found = idlest(loads.iter().copied().enumerate());
            assert_eq!(found, expected, "{loads:?}");
        }
    }

    #[test]
    fn a_run_is_late_only_beside_others() {
        let mut pace = Pace::default();
        let seconds = Duration::from_secs;
        assert!(
            !pace.is_late(1, seconds(1000)),
            "nobody knows how long it takes"
        );
        pace.add(100, seconds(1));
        pace.add(300, seconds(3));
        assert!(!pace.is_late(1000, seconds(20)) && pace.is_late(1000, seconds(21)));
        // A short one is given a moment.
        assert!(!pace.is_late(1, Duration::from_millis(260)));
    }
}
