//! Waiting for descriptors, with a deadline or without.
//!
//! Everything in this workspace that waits does so here: signals that are handled meanwhile and
//! times too long for the clock are dealt with once.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::error::{Error, Result};

/// The moment at which a wait ends, or never.
///
/// A time too long for the clock, as [`Duration::MAX`], is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// No limit.
    pub const NEVER: Self = Self(None);

    /// So long from now.
    pub fn after(time: Duration) -> Self {
        Self(Instant::now().checked_add(time))
    }

    /// So long from a moment.
    pub fn counted_from(start: Instant, time: Duration) -> Self {
        Self(start.checked_add(time))
    }

    /// Now: a look without a wait.
    pub fn now() -> Self {
        Self(Some(Instant::now()))
    }

    /// The moment; `None` if there is no limit.
    pub fn instant(self) -> Option<Instant> {
        self.0
    }

    /// Tells whether the moment has come.
    pub fn has_passed(self) -> bool {
        self.left() == Some(Duration::ZERO)
    }

    /// The time until then, zero once it has passed; `None` if there is no limit.
    pub fn left(self) -> Option<Duration> {
        let at = self.0?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    /// The earlier of two.
    #[must_use]
    pub fn or_before(self, other: impl Into<Self>) -> Self {
        Self(self.0.into_iter().chain(other.into().0).min())
    }

    /// The later of two.
    #[must_use]
    pub fn or_after(self, other: impl Into<Self>) -> Self {
        Self(
            self.0
                .zip(other.into().0)
                .map(|(one, other)| one.max(other)),
        )
    }
}

impl From<Option<Instant>> for Deadline {
    /// `None`: no limit.
    fn from(at: Option<Instant>) -> Self {
        Self(at)
    }
}

impl From<Instant> for Deadline {
    fn from(at: Instant) -> Self {
        Self(Some(at))
    }
}

/// Waits until one of the descriptors is ready, and returns how many are: none, if the deadline has
/// passed. What each is ready for stands in it afterwards.
///
/// The wait is never shorter than was asked for: it goes on after a signal that was handled, and the
/// kernel rounds up.
///
/// # Errors
///
/// ENOMEM; EINVAL where there are more descriptors than this process may have open.
///
/// # References
///
/// [poll(2)](https://man7.org/linux/man-pages/man2/poll.2.html)
pub fn poll(
    descriptors: &mut [PollFd<'_>],
    deadline: impl Into<Deadline>,
) -> rustix::io::Result<usize> {
    let deadline = deadline.into();
    rustix::io::retry_on_intr(|| poll_until_signal(descriptors, deadline))
}

/// Likewise, but a signal that is handled ends the wait.
///
/// # Errors
///
/// As [`poll`], and EINTR after a signal.
pub fn poll_until_signal(
    descriptors: &mut [PollFd<'_>],
    deadline: impl Into<Deadline>,
) -> rustix::io::Result<usize> {
    let timeout = deadline.into().left().map(|left| Timespec {
        // The kernel takes any number of seconds, and waits as long as it can.
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    });
    rustix::event::poll(descriptors, timeout.as_ref())
}

/// Waits until one of the descriptors is readable and returns the indices of those that are; none
/// when the deadline has passed.
pub(crate) fn wait_readable(
    descriptors: &[BorrowedFd<'_>],
    deadline: impl Into<Deadline>,
) -> Result<Vec<usize>> {
    let mut polled: Vec<PollFd<'_>> = descriptors
        .iter()
        .map(|descriptor| PollFd::from_borrowed_fd(*descriptor, PollFlags::IN))
        .collect();
    poll(&mut polled, deadline).map_err(Error::system("poll"))?;
    let ready = polled.iter().enumerate();
    Ok(ready
        .filter(|(_, fd)| !fd.revents().is_empty())
        .map(|(index, _)| index)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_too_long_is_no_limit() {
        assert_eq!(Deadline::after(Duration::MAX), Deadline::NEVER);
        assert_eq!(Deadline::NEVER.left(), None);
        assert!(!Deadline::NEVER.has_passed());
    }

    #[test]
    fn of_two_deadlines_none_is_the_later() {
        let early = Instant::now();
        let late = early + Duration::from_secs(1);
        for (first, second) in [(Some(early), Some(late)), (Some(early), None)] {
            assert_eq!(Deadline(first).or_before(second), early.into());
            assert_eq!(Deadline(second).or_before(first), early.into());
            assert_eq!(Deadline(first).or_after(second), second.into());
            assert_eq!(Deadline(second).or_after(first), second.into());
        }
        assert!(Deadline(Some(early)).has_passed());
        assert_eq!(Deadline::NEVER.or_before(None), Deadline::NEVER);
    }

    #[test]
    fn the_wait_ends_when_something_is_ready_or_the_deadline_has_passed() {
        let (reader, writer) = crate::pipe().unwrap();
        let mut polled = [PollFd::new(&reader, PollFlags::IN)];
        let deadline = Deadline::after(Duration::from_millis(5));
        assert_eq!(poll(&mut polled, deadline), Ok(0));
        assert!(deadline.has_passed());
        drop(writer);
        assert_eq!(poll(&mut polled, Deadline::NEVER), Ok(1));
        // As far away as the clock goes, and seconds that the kernel has no room for.
        let far = (0..64).rev().map(|power| Duration::from_secs(1 << power));
        let far = far.map(Deadline::after).find(|it| it.instant().is_some());
        assert_eq!(poll(&mut polled, far.unwrap()), Ok(1));
    }
}
