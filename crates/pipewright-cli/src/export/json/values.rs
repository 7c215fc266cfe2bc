//! What every form in JSON says in the same way: stages from 1, units in names, words for states.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use pipewright_observe::verdict::{PipeShares, SpoolShares, StageShares};
use pipewright_observe::{PipeLevel, SpoolFigures, SpoolState, SpoolWait};
use serde::{Serialize, Serializer};

/// The version of the forms.
pub(crate) const VERSION: u32 = 2;

/// A moment, as RFC 3339 has it, in UTC.
pub(crate) fn moment(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap_or_default();
    format!("{time:.6}")
}

/// Whole microseconds: more is noise.
pub(crate) fn seconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e6
}

/// To a ten-thousandth: shares are sums of samples.
pub(crate) fn share(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// To a thousandth.
pub(crate) fn rate(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// The numbers of stages.
pub(crate) fn numbers(indices: &[usize]) -> Vec<usize> {
    indices.iter().map(|index| index + 1).collect()
}

/// A state, by the name that it has in the observer's own records, with its words joined as in fields'
/// names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Word<T>(pub(crate) T);

impl<T: Serialize> Serialize for Word<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let name = serde_json::to_value(&self.0).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&name.as_str().unwrap_or_default().replace('-', "_"))
    }
}

/// A stage that keeps the stream on disk, or whose input is kept there.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Spool {
    /// It is the input of a stage that does something else.
    is_input: bool,
    taken_bytes: u64,
    given_bytes: u64,
    backlog_bytes: u64,
    durable_bytes: Option<u64>,
    held_bytes: u64,
    limit_bytes: Option<u64>,
    waits: Word<SpoolWait>,
    /// These are null where it was looked at once.
    taken_bytes_per_second: Option<f64>,
    given_bytes_per_second: Option<f64>,
    full_share: Option<f64>,
    no_room_share: Option<f64>,
    disk_share: Option<f64>,
}

impl Spool {
    /// At one moment.
    pub(crate) fn now(state: &SpoolState) -> Self {
        Self {
            is_input: state.is_input,
            taken_bytes: state.taken,
            given_bytes: state.given,
            backlog_bytes: state.backlog(),
            durable_bytes: state.durable,
            held_bytes: state.held,
            limit_bytes: state.limit,
            waits: Word(state.waits),
            taken_bytes_per_second: None,
            given_bytes_per_second: None,
            full_share: None,
            no_room_share: None,
            disk_share: None,
        }
    }
}

impl From<&SpoolShares> for Spool {
    fn from(spool: &SpoolShares) -> Self {
        Self {
            taken_bytes_per_second: Some(rate(spool.taken_rate)),
            given_bytes_per_second: Some(rate(spool.given_rate)),
            full_share: Some(share(spool.full)),
            no_room_share: Some(share(spool.no_room)),
            disk_share: Some(share(spool.disk)),
            ..Self::now(&spool.state)
        }
    }
}

/// Over one interval, in which nobody adds up who waited for the disk.
impl From<&SpoolFigures> for Spool {
    fn from(spool: &SpoolFigures) -> Self {
        Self {
            taken_bytes_per_second: Some(rate(spool.taken_rate)),
            given_bytes_per_second: Some(rate(spool.given_rate)),
            full_share: Some(share(spool.full)),
            no_room_share: Some(share(spool.no_room)),
            ..Self::now(&spool.state)
        }
    }
}

/// The contents of a pipe at one moment.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Level {
    pub(crate) unread_bytes: u64,
    pub(crate) capacity_bytes: u64,
    pub(crate) full: bool,
    pub(crate) reader_gone: bool,
}

impl From<PipeLevel> for Level {
    fn from(level: PipeLevel) -> Self {
        Self {
            unread_bytes: level.unread,
            capacity_bytes: level.capacity,
            full: level.full,
            reader_gone: level.reader_gone,
        }
    }
}

/// Shares of the time that a stage was watched. They add up to 1.
#[derive(Debug, Serialize)]
pub(crate) struct TimeOfStage {
    waiting_for_input: f64,
    blocked_on_output: f64,
    on_cpu: f64,
    waiting_for_cpu: f64,
    disk: f64,
    network: f64,
    sleeping: f64,
    person: f64,
    polling: f64,
    elsewhere: f64,
    stopped: f64,
    unknown: f64,
    ended: f64,
}

impl From<&StageShares> for TimeOfStage {
    fn from(shares: &StageShares) -> Self {
        Self {
            waiting_for_input: share(shares.waiting_for_input),
            blocked_on_output: share(shares.blocked_on_output),
            on_cpu: share(shares.on_cpu),
            waiting_for_cpu: share(shares.waiting_for_cpu),
            disk: share(shares.disk),
            network: share(shares.network),
            sleeping: share(shares.sleeping),
            person: share(shares.person),
            polling: share(shares.polling),
            elsewhere: share(shares.elsewhere),
            stopped: share(shares.stopped),
            unknown: share(shares.unknown),
            ended: share(shares.ended),
        }
    }
}

/// Shares of the time that a pipe was watched; the rest, up to 1, it was neither.
#[derive(Debug, Serialize)]
pub(crate) struct TimeOfPipe {
    full: f64,
    empty: f64,
}

impl From<&PipeShares> for TimeOfPipe {
    fn from(shares: &PipeShares) -> Self {
        Self {
            full: share(shares.full),
            empty: share(shares.empty),
        }
    }
}
