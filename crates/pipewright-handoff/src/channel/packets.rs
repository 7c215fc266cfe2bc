//! Packets of a channel, one after the other: each wait watches the other process too, and has a
//! deadline.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;

use super::super::error::{Error, Result};
use super::super::frame::{self, Content, Control, PACKET_LIMIT, Packet, Payload};
use super::super::socket::Received;
use super::super::trace::Direction;
use super::super::wait::{Deadline, wait};
use super::{Channel, FIRST_LOOK};

impl Channel {
    fn timed_out(&self, deadline: &Deadline) -> Error {
        Error::TimedOut {
            stage: self.stage.clone(),
            waited: deadline.allowed,
        }
    }

    pub(super) fn send_packet(
        &mut self,
        packet: &[u8],
        descriptors: &[BorrowedFd<'_>],
        end_follows: Duration,
    ) -> Result<()> {
        let deadline = Deadline::after(self.timeout);
        loop {
            match self.socket.try_send(packet, descriptors) {
                Ok(()) => {
                    self.sent = self.sent.wrapping_add(1);
                    return Ok(());
                }
                Err(Errno::AGAIN) => {}
                // What it sent before can still be received, and tells more than this error.
                Err(Errno::PIPE | Errno::CONNRESET) => {
                    return Err(self.gone(&deadline, end_follows));
                }
                Err(errno) => return Err(Error::system("send a packet")(errno)),
            }
            let socket = (self.socket.as_fd(), PollFlags::OUT);
            let (writable, dead) = wait(socket, self.peer.pidfd(), &deadline)?;
            if dead {
                return Err(self.ended(true, ""));
            }
            if writable.is_empty() {
                return Err(self.timed_out(&deadline));
            }
        }
    }

    /// Why the other end of the channel is closed: mostly because its process has ended, or is about
    /// to.
    fn gone(&self, deadline: &Deadline, end_follows: Duration) -> Error {
        match self.end_of_process(deadline, end_follows) {
            Ok(dead) => self.ended(dead, "an open channel"),
            Err(error) => error,
        }
    }

    /// The error of an end where there should be none.
    pub(super) fn ended(&self, dead: bool, expected: impl std::fmt::Display) -> Error {
        if dead {
            return Error::PeerDied {
                stage: self.stage.clone(),
                status: self.peer.status(),
            };
        }
        let got = "the end of the channel: the other process lives, and closed it or executed \
                   another program";
        Error::protocol(expected, got)
    }

    /// Whether the process ends within this time.
    fn end_of_process(&self, deadline: &Deadline, within: Duration) -> Result<bool> {
        let Some(pidfd) = self.peer.pidfd() else {
            return Ok(true); // the end of the channel is all that shows of it
        };
        let deadline = deadline.at_most(within);
        let (ended, _) = wait((pidfd, PollFlags::IN), None, &deadline)?;
        Ok(!ended.is_empty())
    }

    /// Waits for the next packet and returns its length; `None` at the end, with whether the process
    /// has ended as well.
    ///
    /// `end_follows`: how long the end of the process is waited for after the end of the channel.
    fn next_packet(
        &mut self,
        deadline: &Deadline,
        end_follows: Duration,
        mut descriptors: Option<&mut Vec<OwnedFd>>,
    ) -> Result<(Option<usize>, bool)> {
        let mut dead = false;
        // Once for each wait, whatever comes in it: then the deadline counts. The kernel counts in
        // ticks of some milliseconds, and may wait a little longer than asked for.
        let mut may_wait = deadline.is_fresh(FIRST_LOOK * 2);
        loop {
            let received =
                self.socket
                    .receive(&mut self.incoming, descriptors.as_deref_mut(), may_wait);
            if may_wait && !matches!(received, Ok(Received::Packet { .. })) {
                deadline.start();
            }
            may_wait = false;
            match received {
                Ok(Received::Packet { length, cut }) => {
                    if length > PACKET_LIMIT {
                        return Err(Error::TooLarge {
                            what: "a packet of the other side",
                            size: length as u64,
                            limit: PACKET_LIMIT as u64,
                            advice: "its sender must keep to the limit",
                        });
                    }
                    if cut {
                        let got = "fewer: this process has reached its limit (ulimit -n)";
                        return Err(Error::protocol("all attached descriptors", got));
                    }
                    return Ok((Some(length), dead));
                }
                Ok(Received::End) => {
                    let dead = dead || self.end_of_process(deadline, end_follows)?;
                    return Ok((None, dead));
                }
                // Looked at once more after its death was seen: nothing is left to receive.
                Err(Errno::AGAIN) if dead => return Ok((None, true)),
                Err(Errno::AGAIN) => {}
                Err(errno) => return Err(Error::system("receive a packet")(errno)),
            }
            let socket = (self.socket.as_fd(), PollFlags::IN);
            let (readable, ended) = wait(socket, self.peer.pidfd(), deadline)?;
            dead = ended;
            if readable.is_empty() && !ended && deadline.passed() {
                return Err(self.timed_out(deadline));
            }
        }
    }

    /// The next thing that is no announcement. A failure of the other side is an error.
    pub(super) fn next<M>(
        &mut self,
        deadline: &Deadline,
        end_follows: Duration,
        mut descriptors: Option<&mut Vec<OwnedFd>>,
        decode: impl Fn(Payload<'_>) -> M,
    ) -> Result<Next<M>> {
        loop {
            let list = descriptors.as_deref_mut();
            let (length, dead) = self.next_packet(deadline, end_follows, list)?;
            let Some(length) = length else {
                return Ok(Next::End { dead });
            };
            let bytes = self.incoming.get(..length).unwrap_or(&[]);
            let packet = frame::decode(self.format, bytes)?;
            check(&packet, self.received, descriptors.as_deref())?;
            self.received = self.received.wrapping_add(1);
            let (now, what) = (self.trace.now(), || packet.content.describe());
            self.trace.tell(now, Direction::Received, what);
            match packet.content {
                Content::Message(payload) => {
                    return Ok(Next::Message(decode(payload)));
                }
                Content::Control(Control::Stage(stage)) => {
                    deadline.start();
                    self.stage = stage;
                }
                Content::Control(Control::Failure {
                    stage,
                    message,
                    errno,
                }) => {
                    self.refused = true;
                    return Err(Error::Remote {
                        stage,
                        message,
                        errno,
                    });
                }
                Content::Control(control) => return Ok(Next::Control(control)),
            }
        }
    }
}

/// What a wait ended in.
pub(super) enum Next<M> {
    Message(M),
    Control(Control),
    /// Nobody holds the other end of the channel, or the process has ended, or both.
    End {
        dead: bool,
    },
}

/// Whether it is the packet that comes next, with the descriptors that it announces, or none where
/// nobody asked for any.
fn check(packet: &Packet<'_>, sequence: u32, descriptors: Option<&Vec<OwnedFd>>) -> Result<()> {
    if packet.sequence != sequence {
        let expected = format_args!("packet number {sequence}");
        let got = format_args!("number {}", packet.sequence);
        return Err(Error::protocol(expected, got));
    }
    match descriptors {
        None if packet.descriptors > 0 => {
            let got = format_args!("one with {}", packet.descriptors);
            Err(Error::protocol("a message without descriptors", got))
        }
        Some(list) if packet.descriptors != list.len() => {
            let expected = format_args!("{} attached descriptors", packet.descriptors);
            Err(Error::protocol(expected, list.len()))
        }
        _ => Ok(()),
    }
}
