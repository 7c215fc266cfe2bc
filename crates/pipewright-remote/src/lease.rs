//! When a link counts as lost, and when it has been away for too long. Pure.

use std::time::{Duration, Instant};

/// How long the halves live without each other, and when they last heard of each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    length: Duration,
    heard: Instant,
    said: Instant,
    /// There is no link since then.
    lost: Option<Instant>,
}

impl Lease {
    /// A lease that begins without a link.
    pub(crate) fn new(length: Duration, now: Instant) -> Self {
        Self {
            length,
            heard: now,
            said: now,
            lost: Some(now),
        }
    }

    /// How long nothing may be heard before the link counts as lost. The other half says something three
    /// times in that time.
    fn silence(&self) -> Duration {
        (self.length / 3).max(Duration::from_millis(100))
    }

    /// There is a link.
    pub(crate) fn linked(&mut self, now: Instant) {
        (self.heard, self.said, self.lost) = (now, now, None);
    }

    /// The link is gone.
    pub(crate) fn lost(&mut self, now: Instant) {
        self.lost.get_or_insert(now);
    }

    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    pub(crate) fn said(&mut self, now: Instant) {
        self.said = now;
    }

    /// Tells whether it is time for a sign of life.
    pub(crate) fn is_ping_due(&self, now: Instant) -> bool {
        self.lost.is_none() && now >= self.said + self.silence() / 3
    }

    /// Tells whether a link that is there counts as lost.
    pub(crate) fn is_silent(&self, now: Instant) -> bool {
        self.lost.is_none() && now >= self.heard + self.silence()
    }

    /// Tells whether there was no link for as long as the lease.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.lost.is_some_and(|lost| now >= lost + self.length)
    }

    /// When to look again.
    pub(crate) fn next(&self) -> Instant {
        match self.lost {
            Some(lost) => lost + self.length,
            None => (self.said + self.silence() / 3).min(self.heard + self.silence()),
        }
    }

    /// What is left without a link.
    pub(crate) fn left(&self, now: Instant) -> Duration {
        let over = self.lost.map_or(now, |lost| lost) + self.length;
        over.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_link_is_lost_after_a_silence_and_the_lease_runs_from_there() {
        let start = Instant::now();
        let mut lease = Lease::new(seconds(30), start);
        lease.linked(start);
        let at = |count| start + seconds(count);
        assert!(!lease.is_ping_due(at(3)) && lease.is_ping_due(at(4)));
        lease.said(at(4));
        assert!(!lease.is_ping_due(at(5)));
        assert!(!lease.is_silent(at(9)) && lease.is_silent(at(10)));
        lease.heard(at(9));
        assert!(!lease.is_silent(at(10)) && lease.is_silent(at(19)));
        assert!(!lease.is_over(at(1000)), "there is a link");
        lease.lost(at(19));
        lease.lost(at(30));
        assert_eq!(lease.left(at(20)), seconds(29));
        assert!(!lease.is_over(at(48)) && lease.is_over(at(49)));
        assert_eq!(lease.next(), at(49));
    }

    #[test]
    fn a_new_link_ends_the_count() {
        let start = Instant::now();
        let mut lease = Lease::new(seconds(3), start);
        assert!(lease.is_over(start + seconds(3)), "nobody ever came");
        lease.linked(start + seconds(2));
        assert!(!lease.is_over(start + seconds(9)));
        assert_eq!(lease.next(), start + seconds(2) + seconds(1) / 3);
    }
}
