//! Which process: its number, and when it started.

use std::fmt;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// The number.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start_time: u64,
}

impl ProcessId {
    /// The time since the process started, to a hundredth of a second.
    ///
    /// # References
    ///
    /// CLOCK_BOOTTIME in [clock_gettime(2)](https://man7.org/linux/man-pages/man2/clock_gettime.2.html)
    #[doc(hidden)]
    pub fn age(self) -> Duration {
        let now = clock_gettime(ClockId::Boottime);
        let now = Duration::new(now.tv_sec as u64, now.tv_nsec as u32);
        let start =
            Duration::from_millis(self.start_time * 1000 / rustix::param::clock_ticks_per_second());
        now.saturating_sub(start)
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.pid)
    }
}
