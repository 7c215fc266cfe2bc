//! The turns of a half: send, receive, wait, and notice when the link is gone.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::frames::{Frame, Kind};
use crate::lease::Lease;
use crate::link::{Broken, Link};
use crate::shared::Shared;

/// A session, and its link while there is one.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) shared: Arc<Shared>,
    pub(crate) lease: Lease,
    link: Option<Link>,
}

impl Exchange {
    pub(crate) fn new(shared: Arc<Shared>, lease: Lease) -> Self {
        let link = None;
        Self {
            shared,
            lease,
            link,
        }
    }

    pub(crate) fn has_link(&self) -> bool {
        self.link.is_some()
    }

    /// Goes on with this link.
    pub(crate) fn set_link(&mut self, link: Link) {
        self.link = Some(link);
        self.lease.linked(Instant::now());
    }

    pub(crate) fn lose_link(&mut self) {
        self.link = None;
        self.lease.lost(Instant::now());
    }

    /// Tells whether all that there is to send has been handed to the kernel.
    pub(crate) fn is_flushed(&self) -> bool {
        !self.shared.session().has_frame() && self.link.as_ref().is_none_or(Link::is_flushed)
    }

    /// Sends and receives what can be, waits if there is nothing, and tells which of the others are ready.
    /// An error is the other half's fault; a link that is gone is none, and is just not there afterwards.
    pub(crate) fn turn(
        &mut self,
        others: &[BorrowedFd<'_>],
        until: Option<Instant>,
    ) -> Result<Vec<bool>, Broken> {
        let busy = match self.exchange() {
            Ok(busy) => busy,
            Err(Broken::Away) => {
                self.lose_link();
                true
            }
            Err(broken) => return Err(broken),
        };
        let next = self.lease.next();
        let next = until.map_or(next, |until| until.min(next));
        let mut wait = next.saturating_duration_since(Instant::now());
        if busy {
            wait = std::time::Duration::ZERO;
        }
        let timeout = Timespec::try_from(wait).ok();
        let bell = PollFd::new(&self.shared.link, PollFlags::IN);
        let others = others.iter().map(|it| PollFd::new(it, PollFlags::IN));
        let count = others.len();
        let links = self.link.iter().flat_map(Link::polled);
        let mut polled: Vec<_> = std::iter::once(bell).chain(others).chain(links).collect();
        if poll(&mut polled, timeout.as_ref()).is_err() {
            return Ok(vec![false; count]);
        }
        if !polled[0].revents().is_empty() {
            self.shared.link.hush();
        }
        let ready = polled[1..=count].iter();
        Ok(ready.map(|it| !it.revents().is_empty()).collect())
    }

    fn exchange(&mut self) -> Result<bool, Broken> {
        let Some(link) = &mut self.link else {
            return Ok(false);
        };
        let shared = &*self.shared;
        let received = {
            let mut session = shared.session();
            link.receive(|frame| {
                session.receive(frame)?;
                shared.ring_for(frame);
                Ok(())
            })?
        };
        let now = Instant::now();
        if received {
            self.lease.heard(now);
        }
        // Only now: this process may have been stopped for a while, with everything there to be read.
        if self.lease.is_silent(now) {
            return Err(Broken::Away);
        }
        if link.send_all(&mut shared.session())? {
            self.lease.said(now);
        } else if self.lease.is_ping_due(now) {
            link.send(&Frame::bare(Kind::Ping))?;
            self.lease.said(now);
        }
        Ok(received)
    }
}
