//! Waiting for the channel and the other process in one poll.

use std::cell::OnceCell;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::error::{Error, Result};

/// When a wait ends, and how long it is.
///
/// The clock is read when it is first asked for: an answer that is there already, or comes at once,
/// does without.
#[derive(Debug, Clone)]
pub(super) struct Deadline {
    at: OnceCell<Option<Instant>>,
    pub(super) allowed: Duration,
}

impl Deadline {
    pub(super) fn after(allowed: Duration) -> Self {
        let at = OnceCell::new();
        Self { at, allowed }
    }

    /// `None`: never.
    fn at(&self) -> Option<Instant> {
        // A time too far to be told is no limit.
        *self
            .at
            .get_or_init(|| Instant::now().checked_add(self.allowed))
    }

    pub(super) fn passed(&self) -> bool {
        self.at().is_some_and(|at| at <= Instant::now())
    }

    /// Whether it has not been asked for yet, and allows at least this long.
    pub(super) fn is_fresh(&self, at_least: Duration) -> bool {
        self.at.get().is_none() && self.allowed >= at_least
    }

    /// Counts from now on, if it did not before.
    pub(super) fn start(&self) {
        let _ = self.at();
    }

    /// The earlier of this deadline and `limit` from now.
    pub(super) fn at_most(&self, limit: Duration) -> Self {
        let other = Self::after(limit);
        match (self.at(), other.at()) {
            (Some(mine), Some(theirs)) if mine > theirs => other,
            (None, _) => other,
            _ => self.clone(),
        }
    }

    fn left(&self) -> Option<Timespec> {
        self.at().map(|at| {
            let left = at.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        })
    }
}

/// Waits until the channel is ready in the way asked for or the process has ended; tells which.
/// Neither: the deadline has passed.
pub(super) fn wait(
    channel: (BorrowedFd<'_>, PollFlags),
    process: Option<BorrowedFd<'_>>,
    deadline: &Deadline,
) -> Result<(PollFlags, bool)> {
    let channel = PollFd::from_borrowed_fd(channel.0, channel.1);
    match process {
        Some(process) => {
            let process = PollFd::from_borrowed_fd(process, PollFlags::IN);
            let mut polled = [channel, process];
            poll_until(&mut polled, deadline)?;
            let [channel, process] = polled;
            Ok((channel.revents(), !process.revents().is_empty()))
        }
        None => {
            let mut polled = [channel];
            poll_until(&mut polled, deadline)?;
            let [channel] = polled;
            Ok((channel.revents(), false))
        }
    }
}

fn poll_until(polled: &mut [PollFd<'_>], deadline: &Deadline) -> Result<()> {
    loop {
        match poll(polled, deadline.left().as_ref()) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::system("poll")(errno)),
        }
    }
}
