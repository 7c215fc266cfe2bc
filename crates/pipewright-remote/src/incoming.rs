//! The receiver's end of a stream: what came and was not yet given is held, within the window. Pure.

use std::collections::VecDeque;

use crate::error::Misuse;
use crate::stream::Stream;

/// A stream that this half gets.
#[derive(Debug)]
pub(crate) struct Incoming {
    stream: Stream,
    /// From `given` on.
    held: VecDeque<u8>,
    given: u64,
    acknowledged: u64,
    /// The last acknowledgement may have been lost with its connection, and the sender may wait for it.
    acknowledge_again: bool,
    window: usize,
    ended: bool,
    /// Nobody here reads it.
    stopped: bool,
    /// The sender is to be told so.
    stop_due: bool,
}

impl Incoming {
    pub(crate) fn new(stream: Stream, window: usize) -> Self {
        Self {
            stream,
            held: VecDeque::new(),
            given: 0,
            acknowledged: 0,
            acknowledge_again: false,
            window,
            ended: false,
            stopped: false,
            stop_due: false,
        }
    }

    pub(crate) fn received(&self) -> u64 {
        self.given + self.held.len() as u64
    }

    pub(crate) fn receive(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Misuse> {
        let stream = self.stream;
        let expected = self.received();
        if offset != expected {
            return Err(Misuse::OutOfOrder {
                stream,
                offset,
                expected,
            });
        }
        if self.ended {
            return Err(Misuse::BehindTheEnd { stream, offset });
        }
        if self.held.len() + bytes.len() > self.window {
            let window = self.window;
            return Err(Misuse::TooMuch { stream, window });
        }
        if self.stopped {
            self.given += bytes.len() as u64;
        } else {
            self.held.extend(bytes);
        }
        Ok(())
    }

    pub(crate) fn end(&mut self, offset: u64) -> Result<(), Misuse> {
        let (stream, expected) = (self.stream, self.received());
        if offset != expected {
            return Err(Misuse::OutOfOrder {
                stream,
                offset,
                expected,
            });
        }
        self.ended = true;
        Ok(())
    }

    /// Appends some of what is to be given, at most so much; it stays here until it was
    /// [given](Self::gave).
    pub(crate) fn peek(&self, most: usize, into: &mut Vec<u8>) {
        let (first, second) = self.held.as_slices();
        let in_first = most.min(first.len());
        into.extend_from_slice(&first[..in_first]);
        into.extend_from_slice(&second[..(most - in_first).min(second.len())]);
    }

    pub(crate) fn gave(&mut self, count: usize) {
        // Somebody may have stopped it meanwhile.
        let count = count.min(self.held.len());
        self.held.drain(..count);
        self.given += count as u64;
    }

    pub(crate) fn has_bytes(&self) -> bool {
        !self.held.is_empty()
    }

    /// Tells whether nothing more is to be given, now or later.
    pub(crate) fn is_over(&self) -> bool {
        self.stopped || (self.ended && self.held.is_empty())
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(crate) fn stop(&mut self) {
        self.given = self.received();
        self.held = VecDeque::new();
        self.stop_due = !self.stopped && !self.ended;
        self.stopped = true;
    }

    /// Tells whether so much was given since the last acknowledgement that the sender may soon wait for
    /// the next.
    fn is_acknowledgement_due(&self) -> bool {
        let news = self.given - self.acknowledged;
        !self.stopped && (self.acknowledge_again || news >= (self.window / 8) as u64)
    }

    /// Tells whether the sender is to be told something.
    pub(crate) fn has_due(&self) -> bool {
        self.stop_due || self.is_acknowledgement_due()
    }

    /// The offset to acknowledge, if it is time.
    pub(crate) fn take_due_acknowledgement(&mut self) -> Option<u64> {
        let due = self.is_acknowledgement_due();
        due.then(|| {
            self.acknowledge_again = false;
            self.acknowledged = self.given;
            self.given
        })
    }

    pub(crate) fn take_due_stop(&mut self) -> bool {
        std::mem::take(&mut self.stop_due)
    }

    /// The other half was told of everything here, on a new connection.
    pub(crate) fn resumed(&mut self) {
        self.stop_due = false;
        self.acknowledge_again = self.acknowledged > 0;
    }
}
