//! What a spool between two stages came to, or the recorded input of a stage: pure.

use serde::{Deserialize, Serialize};

use crate::sampler::SpoolFigures;
use crate::spool_state::SpoolState;

/// From this share of time on, a spool is worth a word.
const NOTEWORTHY: f64 = 0.1;

/// A stage that keeps the stream on disk, or whose input is kept there.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SpoolShares {
    /// Its index.
    pub stage: usize,
    /// How far it was when last seen.
    pub state: SpoolState,
    /// Bytes a second that it took, on average.
    pub taken_rate: f64,
    /// Bytes a second that it gave, on average.
    pub given_rate: f64,
    /// The share of time in which it was full: its reader was behind by its limit.
    pub full: f64,
    /// The share of time in which its disk had no room.
    pub no_room: f64,
    /// The share of time in which it waited for its disk.
    pub disk: f64,
}

impl SpoolShares {
    /// The stage before it is clearly faster than the one after.
    pub(super) fn falls_behind(&self) -> bool {
        self.taken_rate > 1.2 * self.given_rate
    }

    /// What held up the stage before it, as a sentence without a full stop; `None` if nothing did.
    /// Stages are counted from 1.
    pub fn sentence(&self) -> Option<String> {
        let number = self.stage + 1;
        let percent = |share: f64| format!("{:.0} % of the time", share * 100.0);
        if self.state.is_input {
            let time = percent(self.no_room);
            // What disk the stage's program waits for is its own matter.
            return (self.no_room >= NOTEWORTHY).then(|| {
                format!(
                    "the disk that records the input of stage {number} had no room, {time}: everybody \
                     waited for some"
                )
            });
        }
        if self.no_room >= NOTEWORTHY {
            let time = percent(self.no_room);
            Some(format!(
                "the disk of the spool (stage {number}) had no room, {time}: everybody waited for some"
            ))
        } else if self.full >= NOTEWORTHY {
            let time = percent(self.full);
            Some(format!(
                "the spool (stage {number}) was full, {time}: its reader is behind by its limit"
            ))
        } else if self.disk >= 0.5 {
            let time = percent(self.disk);
            Some(format!(
                "the disk limits the spool (stage {number}), {time}"
            ))
        } else {
            None
        }
    }
}

/// The sums of what one spool told.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SpoolTally {
    state: Option<SpoolState>,
    /// Sums of rates and shares times seconds.
    taken: f64,
    given: f64,
    full: f64,
    no_room: f64,
    seconds: f64,
}

impl SpoolTally {
    pub(super) fn add(&mut self, told: &SpoolFigures, seconds: f64) {
        self.append(&Self {
            state: Some(told.state),
            taken: told.taken_rate * seconds,
            given: told.given_rate * seconds,
            full: told.full * seconds,
            no_room: told.no_room * seconds,
            seconds,
        });
    }

    pub(super) fn append(&mut self, later: &Self) {
        self.state = later.state.or(self.state);
        self.taken += later.taken;
        self.given += later.given;
        self.full += later.full;
        self.no_room += later.no_room;
        self.seconds += later.seconds;
    }

    pub(super) fn shares(&self, stage: usize, disk: f64) -> Option<SpoolShares> {
        let over = |sum: f64| sum / self.seconds.max(f64::EPSILON);
        Some(SpoolShares {
            stage,
            state: self.state?,
            taken_rate: over(self.taken),
            given_rate: over(self.given),
            full: over(self.full),
            no_room: over(self.no_room),
            disk,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn told(full: f64, no_room: f64, disk: f64) -> Option<String> {
        told_of(SpoolState::default(), full, no_room, disk)
    }

    fn told_of(before: SpoolState, full: f64, no_room: f64, disk: f64) -> Option<String> {
        let state = SpoolState {
            taken: 4000,
            given: 1000,
            full: Duration::from_secs_f64(full),
            no_room: Duration::from_secs_f64(no_room),
            ..before
        };
        let mut tally = SpoolTally::default();
        let second = Duration::from_secs(1);
        tally.add(&SpoolFigures::since(&before, state, second), 1.0);
        tally.add(&SpoolFigures::since(&state, state, second), 1.0);
        let shares = tally.shares(1, disk).unwrap();
        assert_eq!((shares.taken_rate, shares.given_rate), (2000.0, 500.0));
        shares.sentence()
    }

    #[test]
    fn a_spool_says_what_held_up_the_stage_before_it() {
        let told = |full, no_room, disk| told(full, no_room, disk).unwrap_or_default();
        assert_eq!(
            told(1.0, 0.0, 0.9),
            "the spool (stage 2) was full, 50 % of the time: its reader is behind by its limit"
        );
        assert!(
            told(1.0, 0.5, 0.9).starts_with("the disk of the spool (stage 2) had no room, 25 %")
        );
        assert_eq!(
            told(0.0, 0.0, 0.9),
            "the disk limits the spool (stage 2), 90 % of the time"
        );
        assert_eq!(told(0.1, 0.0, 0.3), "");
    }

    #[test]
    fn a_recorded_input_says_only_that_its_disk_had_no_room() {
        let input = SpoolState {
            is_input: true,
            ..SpoolState::default()
        };
        assert_eq!(told_of(input, 0.0, 0.0, 0.9), None);
        let told = told_of(input, 0.0, 0.5, 0.9).unwrap();
        assert!(
            told.starts_with("the disk that records the input of stage 2 had no room, 25 %"),
            "{told}"
        );
    }

    #[test]
    fn a_stage_that_is_no_spool_is_not_told_of() {
        assert_eq!(SpoolTally::default().shares(0, 1.0), None);
    }
}
