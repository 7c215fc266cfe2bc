//! The sender's end of a stream: what the other half has not acknowledged is kept. Pure.

use std::collections::VecDeque;

use crate::error::Misuse;
use crate::frames::{Kind, LONGEST_PAYLOAD, encode_parts};
use crate::stream::Stream;

/// A stream that this half sends.
#[derive(Debug)]
pub(crate) struct Outgoing {
    stream: Stream,
    /// From `acknowledged` on.
    kept: VecDeque<u8>,
    acknowledged: u64,
    /// What was handed to this connection.
    sent: u64,
    /// What was handed to any connection.
    ever_sent: u64,
    /// The most that is kept.
    window: usize,
    ended: bool,
    /// This connection has been told of the end.
    end_sent: bool,
    /// Nobody reads it.
    stopped: bool,
}

impl Outgoing {
    pub(crate) fn new(stream: Stream, window: usize) -> Self {
        Self {
            stream,
            kept: VecDeque::new(),
            acknowledged: 0,
            sent: 0,
            ever_sent: 0,
            window,
            ended: false,
            end_sent: false,
            stopped: false,
        }
    }

    /// How many bytes may be pushed now.
    pub(crate) fn room(&self) -> usize {
        self.window - self.kept.len()
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= self.room() && !self.ended);
        if !self.stopped {
            self.kept.extend(bytes);
        }
    }

    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    fn pushed(&self) -> u64 {
        self.acknowledged + self.kept.len() as u64
    }

    /// Tells whether a frame is to be sent.
    pub(crate) fn has_frame(&self) -> bool {
        !self.stopped && (self.sent < self.pushed() || (self.ended && !self.end_sent))
    }

    /// Appends the next frame; false where there is none.
    pub(crate) fn next_frame(&mut self, into: &mut Vec<u8>) -> bool {
        if !self.has_frame() {
            return false;
        }
        let from = (self.sent - self.acknowledged) as usize;
        let count = (self.kept.len() - from).min(LONGEST_PAYLOAD);
        if count == 0 {
            self.end_sent = true;
            encode_parts(Kind::End, self.stream, self.sent, [&[], &[]], into);
            return true;
        }
        let (first, second) = self.kept.as_slices();
        let payload = if from >= first.len() {
            let from = from - first.len();
            [&second[from..from + count], &[][..]]
        } else {
            let in_first = count.min(first.len() - from);
            [&first[from..from + in_first], &second[..count - in_first]]
        };
        encode_parts(Kind::Data, self.stream, self.sent, payload, into);
        self.sent += count as u64;
        self.ever_sent = self.ever_sent.max(self.sent);
        true
    }

    /// Forgets what the other half has given.
    pub(crate) fn acknowledge(&mut self, offset: u64) -> Result<(), Misuse> {
        if self.stopped {
            return Ok(());
        }
        if offset > self.sent {
            let (stream, sent) = (self.stream, self.sent);
            return Err(Misuse::Acknowledged {
                stream,
                offset,
                sent,
            });
        }
        // An older one is no news.
        if let Some(news) = offset.checked_sub(self.acknowledged) {
            self.kept.drain(..news as usize);
            self.acknowledged = offset;
        }
        Ok(())
    }

    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        self.kept = VecDeque::new();
        self.sent = self.acknowledged;
    }

    /// Goes on from what the other half has got, on a new connection.
    pub(crate) fn resume(&mut self, received: u64, end_known: bool) -> Result<(), Misuse> {
        if self.stopped {
            return Ok(());
        }
        // It cannot have got more than was ever sent, and not less than it has acknowledged.
        if received < self.acknowledged || received > self.ever_sent {
            return Err(Misuse::Resumed {
                stream: self.stream,
                offset: received,
                kept: self.acknowledged,
                sent: self.ever_sent,
            });
        }
        self.sent = received;
        self.end_sent = end_known;
        Ok(())
    }
}
