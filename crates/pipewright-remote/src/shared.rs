//! A session that threads share: pumps between it and the stage's streams, and the link.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;

use crate::frames::{Frame, Kind};
use crate::session::Session;
use crate::stream::{Half, Stream};

/// The most bytes that are moved at once.
const PIECE: usize = 1 << 18;

/// Wakes whoever polls it.
#[derive(Debug)]
pub(crate) struct Bell(OwnedFd);

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(
            0,
            EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK,
        )?))
    }

    pub(crate) fn ring(&self) {
        // Full: it rings already.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    pub(crate) fn hush(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A session, and the bells of those who work on it.
#[derive(Debug)]
pub(crate) struct Shared {
    session: Mutex<Session>,
    /// Of the link: there may be something to send, or somebody has failed.
    pub(crate) link: Bell,
    /// Of the pumps of stdin, stdout and stderr.
    pumps: [Bell; 3],
    failure: Mutex<Option<(&'static str, io::Error)>>,
}

impl Shared {
    pub(crate) fn new(half: Half, window: usize) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            session: Mutex::new(Session::new(half, window)),
            link: Bell::new()?,
            pumps: [Bell::new()?, Bell::new()?, Bell::new()?],
            failure: Mutex::new(None),
        }))
    }

    pub(crate) fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a frame in, and wakes whom it concerns.
    pub(crate) fn ring_for(&self, frame: &Frame<'_>) {
        if matches!(frame.kind, Kind::Data | Kind::End | Kind::Ack | Kind::Stop)
            && let Some(bell) = self.pumps.get(frame.stream as usize)
        {
            bell.ring();
        }
    }

    /// What a pump could not do here, once.
    pub(crate) fn take_failure(&self) -> Option<(&'static str, io::Error)> {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.take()
    }

    /// Has every pump let go of its stream.
    pub(crate) fn abandon(&self) {
        self.session().abandon();
        self.pumps.iter().for_each(Bell::ring);
    }

    fn fail(&self, what: &'static str, error: io::Error) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert((what, error));
        self.link.ring();
    }

    /// Reads a stream that this half sends, to its end, and closes it. When nobody reads it any more on
    /// the other side, it is closed at once, so that its writer here learns of it.
    pub(crate) fn feed(&self, stream: Stream, source: OwnedFd) {
        let bell = &self.pumps[stream as usize];
        let mut buffer = vec![0; PIECE];
        loop {
            let room = {
                let mut session = self.session();
                if session.is_stopped(stream) {
                    return;
                }
                session.room(stream).min(PIECE)
            };
            let mut polled = [
                PollFd::new(bell, PollFlags::IN),
                PollFd::new(&source, PollFlags::IN),
            ];
            // Without room the source is left alone.
            let count = if room == 0 { 1 } else { 2 };
            // Interrupted or not, everything is looked at again.
            let _ = poll(&mut polled[..count], None);
            if !polled[0].revents().is_empty() {
                bell.hush();
                continue;
            }
            if polled[1].revents().is_empty() {
                continue;
            }
            match rustix::io::read(&source, &mut buffer[..room]) {
                Ok(0) => {
                    self.session().end(stream);
                    self.link.ring();
                    return;
                }
                Ok(count) => {
                    self.session().push(stream, &buffer[..count]);
                    self.link.ring();
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => return self.fail("read the stage's input", errno.into()),
            }
        }
    }

    /// Writes a stream that this half gets, to its end, and closes it. When its reader here goes away, the
    /// writer on the other side learns of it.
    pub(crate) fn drain(&self, stream: Stream, target: OwnedFd) {
        let bell = &self.pumps[stream as usize];
        let mut buffer = Vec::with_capacity(PIECE);
        loop {
            buffer.clear();
            {
                let session = self.session();
                if session.is_over(stream) {
                    break;
                }
                session.peek(stream, PIECE, &mut buffer);
            }
            if buffer.is_empty() {
                let mut polled = [
                    PollFd::new(bell, PollFlags::IN),
                    PollFd::new(&target, PollFlags::empty()),
                ];
                let _ = poll(&mut polled, None);
                bell.hush();
                if polled[1].revents().contains(PollFlags::ERR) {
                    self.session().stop(stream);
                    break;
                }
                continue;
            }
            if let Err(errno) = self.give(stream, &target, &buffer) {
                self.session().stop(stream);
                if errno != Errno::PIPE {
                    self.fail("write what the stage has written", errno.into());
                }
                break;
            }
        }
        // Closed before the link hears of it: whoever waits for the end may rely on it.
        drop(target);
        self.link.ring();
    }

    fn give(&self, stream: Stream, target: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            match rustix::io::write(target, bytes) {
                Ok(count) => {
                    bytes = &bytes[count..];
                    let mut session = self.session();
                    session.gave(stream, count);
                    if session.has_frame() {
                        self.link.ring();
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let _ = poll(&mut [PollFd::new(target, PollFlags::OUT)], None);
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}
