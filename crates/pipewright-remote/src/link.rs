//! One link: the lanes that carry its frames, dealt to them in turn and collected in turn.
//!
//! Each lane is a connection with a window of its own, so several together hold more bytes under way than
//! one. Whoever collects knows from which lane the next frame comes, so no order is lost and nothing has to
//! be sorted.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use crate::error::Misuse;
use crate::frames::{Decoder, Frame, NoFrame};
use crate::session::Session;

/// The bytes that a lane holds back before the next frame has to wait.
const BACKLOG: usize = 1 << 18;

/// One connection.
#[derive(Debug)]
pub(crate) struct Lane {
    input: OwnedFd,
    output: OwnedFd,
    decoder: Decoder,
    /// What was not yet written.
    backlog: Vec<u8>,
    written: usize,
}

/// The connections that make one link.
#[derive(Debug)]
pub(crate) struct Link {
    lanes: Vec<Lane>,
    /// Whose turn it is.
    next_in: usize,
    next_out: usize,
}

/// Why a link is none any more.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The other end is gone, or cannot be reached.
    Away,
    /// What came is no frame.
    Frame(NoFrame),
    /// What came makes no sense.
    Misuse(Misuse),
}

impl From<Misuse> for Broken {
    fn from(misuse: Misuse) -> Self {
        Self::Misuse(misuse)
    }
}

impl Lane {
    /// Neither descriptor may block. `decoder` may hold what was read beyond the greeting.
    pub(crate) fn new(input: OwnedFd, output: OwnedFd, decoder: Decoder) -> Self {
        Self {
            input,
            output,
            decoder,
            backlog: Vec::new(),
            written: 0,
        }
    }

    /// Says something before the lane belongs to a link.
    pub(crate) fn say(&mut self, frame: &Frame<'_>) -> Result<(), Broken> {
        frame.encode(&mut self.backlog);
        self.flush()
    }

    fn waiting(&self) -> usize {
        self.backlog.len() - self.written
    }

    /// Writes what it takes now.
    fn flush(&mut self) -> Result<(), Broken> {
        while self.waiting() > 0 {
            match rustix::io::write(&self.output, &self.backlog[self.written..]) {
                Ok(count) => self.written += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(_) => return Err(Broken::Away),
            }
        }
        self.backlog.clear();
        self.written = 0;
        Ok(())
    }
}

impl Link {
    pub(crate) fn new(lanes: Vec<Lane>) -> Self {
        Self {
            lanes,
            next_in: 0,
            next_out: 0,
        }
    }

    /// Hands one frame to the next lane, whatever waits there.
    pub(crate) fn send(&mut self, frame: &Frame<'_>) -> Result<(), Broken> {
        let lane = &mut self.lanes[self.next_out];
        frame.encode(&mut lane.backlog);
        self.next_out = (self.next_out + 1) % self.lanes.len();
        self.lanes.iter_mut().try_for_each(Lane::flush)
    }

    /// Hands over frames until there are none, or a lane takes no more; tells whether there were any.
    pub(crate) fn send_all(&mut self, session: &mut Session) -> Result<bool, Broken> {
        let mut any = false;
        loop {
            while self.lanes[self.next_out].waiting() < BACKLOG {
                let lane = &mut self.lanes[self.next_out];
                if lane.written > 0 && lane.written == lane.backlog.len() {
                    lane.backlog.clear();
                    lane.written = 0;
                }
                if !session.next_frame(&mut lane.backlog) {
                    break;
                }
                any = true;
                self.next_out = (self.next_out + 1) % self.lanes.len();
            }
            self.lanes.iter_mut().try_for_each(Lane::flush)?;
            if self.lanes[self.next_out].waiting() > 0 || !session.has_frame() {
                return Ok(any);
            }
        }
    }

    /// Tells whether everything that was handed over is on its way.
    pub(crate) fn is_flushed(&self) -> bool {
        self.lanes.iter().all(|lane| lane.waiting() == 0)
    }

    /// Reads what is there, and gives each frame to `take`. Tells whether anything came.
    pub(crate) fn receive(
        &mut self,
        mut take: impl FnMut(&Frame<'_>) -> Result<(), Misuse>,
    ) -> Result<bool, Broken> {
        let mut any = false;
        // Not for ever: there is other work.
        for _ in 0..16 {
            let lane = &mut self.lanes[self.next_in];
            match lane.decoder.next_frame() {
                Ok(Some(frame)) => {
                    take(&frame)?;
                    any = true;
                    self.next_in = (self.next_in + 1) % self.lanes.len();
                    continue;
                }
                Ok(None) => {}
                Err(no_frame) => return Err(Broken::Frame(no_frame)),
            }
            match rustix::io::read(&lane.input, lane.decoder.room()) {
                Ok(0) => return Err(Broken::Away),
                Ok(count) => {
                    any = true;
                    lane.decoder.filled(count);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(any),
                Err(_) => return Err(Broken::Away),
            }
        }
        Ok(any)
    }

    /// What is to be waited for.
    pub(crate) fn polled(&self) -> impl Iterator<Item = PollFd<'_>> {
        let input = PollFd::new(&self.lanes[self.next_in].input, PollFlags::IN);
        let outputs = self.lanes.iter().filter(|lane| lane.waiting() > 0);
        let outputs = outputs.map(|lane| PollFd::new(&lane.output, PollFlags::OUT));
        std::iter::once(input).chain(outputs)
    }
}

/// Reads one frame, and not a byte more.
pub(crate) fn read_one_frame(input: BorrowedFd<'_>) -> io::Result<Decoder> {
    use crate::frames::{HEAD, LONGEST_PAYLOAD};
    let mut decoder = Decoder::default();
    let mut wanted = HEAD;
    let mut had = 0;
    while had < wanted {
        let room = &mut decoder.room()[..wanted - had];
        match rustix::io::read(input.as_fd(), &mut *room) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                had += count;
                decoder.filled(count);
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        if had == HEAD && wanted == HEAD {
            wanted += decoder.promised().min(LONGEST_PAYLOAD);
        }
    }
    Ok(decoder)
}
