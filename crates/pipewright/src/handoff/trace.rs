//! What an observer of a channel sees.

use std::fmt;
use std::time::Duration;

/// Which way a packet went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From this process.
    Sent,
    /// To this process.
    Received,
}

/// Something that went over a channel.
#[derive(Debug)]
#[non_exhaustive]
pub struct Event<'a> {
    /// Which way.
    pub direction: Direction,
    /// What it was, in words: `the barrier "map my ids"`.
    pub what: &'a str,
    /// When, on the clock that counts from the machine's start and that all processes share.
    pub at: Duration,
}

type Observer = Box<dyn FnMut(&Event<'_>) + Send>;

/// The observer of a channel, if there is one.
#[derive(Default)]
pub(super) struct Trace(Option<Observer>);

impl Trace {
    pub(super) fn set(&mut self, observer: impl FnMut(&Event<'_>) + Send + 'static) {
        self.0 = Some(Box::new(observer));
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn tell(&mut self, direction: Direction, what: &str) {
        let Some(observer) = &mut self.0 else { return };
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let nanoseconds = u32::try_from(now.tv_nsec).unwrap_or(0);
        let at = Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), nanoseconds);
        observer(&Event {
            direction,
            what,
            at,
        });
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trace").field(&self.is_set()).finish()
    }
}
