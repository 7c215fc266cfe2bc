//! Numbered packets between two processes: each wait watches the other process too, and has a
//! deadline.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitStatus;
use std::time::Duration;

use pipewright::Child;
use pipewright::poll::{Deadline, poll};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

#[cfg(feature = "tracing")]
use crate::error::Shown;
use crate::error::{Error, Result};
use crate::frame::{self, Content, Control, Format, PACKET_LIMIT, Packet, Payload};
use crate::socket::{PacketSocket, Received};

/// The time that the first look at the socket waits, before the process is looked at as well.
///
/// Most answers come within it, and one system call is half the price of a poll and a receive. It
/// delays the news of a death only if somebody else holds the channel's other end, since otherwise
/// the death ends the wait.
const FIRST_LOOK: Duration = Duration::from_millis(20);

/// After the end of the channel, how long to look for the end of the process. A process that ends
/// closes its descriptors a moment before its end can be seen.
pub(crate) const END_FOLLOWS: Duration = Duration::from_secs(3);

/// The process at the other end.
#[derive(Debug)]
pub(crate) enum Peer {
    /// A child of this process, whose status can be learned.
    Child(Child),
    /// Any process, by its pidfd.
    Process(OwnedFd),
    /// One that cannot be seen from here, because it is in another pid namespace. Its end shows as
    /// the end of the channel, which nobody else holds.
    #[cfg(feature = "gate")]
    Unseen,
}

impl Peer {
    fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Child(child) => Some(child.as_fd()),
            Self::Process(pidfd) => Some(pidfd.as_fd()),
            #[cfg(feature = "gate")]
            Self::Unseen => None,
        }
    }

    /// Its status, if it has ended and this process can know.
    fn status(&self) -> Option<ExitStatus> {
        match self {
            Self::Child(child) => child.try_wait().ok().flatten(),
            _ => None,
        }
    }
}

/// One end of a channel.
#[derive(Debug)]
pub(super) struct Packets {
    pub(super) socket: PacketSocket,
    pub(super) peer: Peer,
    pub(super) format: Format,
    pub(super) phase: String,
    /// The other side has reported a failure.
    pub(super) refused: bool,
    /// The other side's name in a trace.
    #[cfg_attr(not(feature = "tracing"), expect(dead_code))]
    name: String,
    sent: u32,
    received: u32,
    outgoing: Vec<u8>,
    incoming: Box<[u8; PACKET_LIMIT]>,
}

/// The end of a wait.
pub(super) enum Next<M> {
    Message(M),
    Control(Control),
    /// Nobody holds the other end of the channel, or the process has ended, or both.
    End {
        dead: bool,
    },
}

impl Packets {
    pub(super) fn over(socket: PacketSocket, peer: Peer, format: Format, name: &str) -> Self {
        socket.set_wait(FIRST_LOOK);
        Self {
            socket,
            peer,
            format,
            phase: "start".to_owned(),
            refused: false,
            name: name.to_owned(),
            sent: 0,
            received: 0,
            outgoing: Vec::new(),
            incoming: Box::new([0; PACKET_LIMIT]),
        }
    }

    /// Sends the packet that `encode` writes into a buffer, given its number.
    ///
    /// `end_follows`: how long the end of the process is waited for if the other side has closed
    /// the channel; for zero, its end is not told from its closing.
    pub(super) fn send(
        &mut self,
        encode: impl FnOnce(&mut Vec<u8>, Format, u32) -> Result<()>,
        what: impl FnOnce() -> String,
        descriptors: &[BorrowedFd<'_>],
        timeout: Duration,
        end_follows: Duration,
    ) -> Result<()> {
        let mut packet = std::mem::take(&mut self.outgoing);
        let sent = encode(&mut packet, self.format, self.sent).and_then(|()| {
            // Before it goes: afterwards the other side may be the first to tell of it.
            self.trace("sent", what);
            self.send_packet(&packet, descriptors, timeout, end_follows)
        });
        self.outgoing = packet;
        sent
    }

    fn send_packet(
        &mut self,
        packet: &[u8],
        descriptors: &[BorrowedFd<'_>],
        timeout: Duration,
        end_follows: Duration,
    ) -> Result<()> {
        let mut deadline = None;
        loop {
            let sent = self.socket.try_send(packet, descriptors);
            if sent.is_ok() {
                self.sent = self.sent.wrapping_add(1);
                return Ok(());
            }
            // The clock is read only if it has to wait.
            let deadline = *deadline.get_or_insert_with(|| Deadline::after(timeout));
            match sent {
                Ok(()) | Err(Errno::AGAIN) => {}
                // What it sent before can still be received, and tells more than this error.
                Err(Errno::PIPE | Errno::CONNRESET) => {
                    let dead = self.end_of_process(deadline, end_follows)?;
                    return Err(self.ended(dead, "an open channel"));
                }
                Err(errno) => return Err(Error::system("send a packet")(errno)),
            }
            let (writable, dead) = self.wait(PollFlags::OUT, deadline)?;
            if dead {
                return Err(self.ended(true, ""));
            }
            if !writable {
                return Err(self.timed_out(timeout));
            }
        }
    }

    /// Waits for the next thing that is no announcement. A failure of the other side is an error.
    ///
    /// `end_follows`: how long the end of the process is waited for after the end of the channel.
    pub(super) fn next<M>(
        &mut self,
        timeout: Duration,
        end_follows: Duration,
        mut descriptors: Option<&mut Vec<OwnedFd>>,
        decode: impl Fn(Payload<'_>) -> M,
    ) -> Result<Next<M>> {
        let deadline = Deadline::after(timeout);
        loop {
            let list = descriptors.as_deref_mut();
            let (length, dead) = self.next_packet(deadline, timeout, end_follows, list)?;
            let Some(length) = length else {
                return Ok(Next::End { dead });
            };
            let bytes = self.incoming.get(..length).unwrap_or(&[]);
            let packet = frame::decode(self.format, bytes)?;
            check(&packet, self.received, descriptors.as_deref())?;
            self.received = self.received.wrapping_add(1);
            self.trace("received", || packet.content.describe());
            match packet.content {
                Content::Message(payload) => return Ok(Next::Message(decode(payload))),
                Content::Control(Control::Phase(phase)) => self.phase = phase,
                Content::Control(Control::Failure {
                    phase,
                    message,
                    errno,
                }) => {
                    self.refused = true;
                    return Err(Error::Remote {
                        phase,
                        message,
                        errno,
                    });
                }
                Content::Control(control) => return Ok(Next::Control(control)),
            }
        }
    }

    /// Waits for the next packet and returns its length, or `None` at the end of the channel; and
    /// `true` if the process has ended as well.
    fn next_packet(
        &mut self,
        deadline: Deadline,
        timeout: Duration,
        end_follows: Duration,
        mut descriptors: Option<&mut Vec<OwnedFd>>,
    ) -> Result<(Option<usize>, bool)> {
        let mut dead = false;
        // The kernel counts in ticks of some milliseconds, and may wait a little longer than asked.
        let mut may_wait = deadline.left().is_none_or(|left| left >= FIRST_LOOK * 2);
        loop {
            let list = descriptors.as_deref_mut();
            match self.socket.receive(&mut self.incoming, list, may_wait) {
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
            may_wait = false;
            let (readable, ended) = self.wait(PollFlags::IN, deadline)?;
            dead = ended;
            if !readable && !ended && deadline.has_passed() {
                return Err(self.timed_out(timeout));
            }
        }
    }

    /// Waits until the socket is ready or the process has ended, and tells which. Neither: the
    /// deadline has passed.
    fn wait(&self, interest: PollFlags, deadline: Deadline) -> Result<(bool, bool)> {
        let pidfd = self.peer.pidfd();
        let watched = 1 + usize::from(pidfd.is_some());
        let socket = self.socket.as_fd();
        let mut polled = [
            PollFd::from_borrowed_fd(socket, interest),
            PollFd::from_borrowed_fd(pidfd.unwrap_or(socket), PollFlags::IN),
        ];
        poll(&mut polled[..watched], deadline).map_err(Error::system("poll"))?;
        let [socket, process] = polled.map(|polled| !polled.revents().is_empty());
        Ok((socket, process))
    }

    /// Tells a subscriber of a packet, with the feature `tracing`.
    #[cfg_attr(
        not(feature = "tracing"),
        expect(unused_variables, clippy::unused_self)
    )]
    fn trace(&self, way: &'static str, what: impl FnOnce() -> String) {
        #[cfg(feature = "tracing")]
        tracing::debug!(
            target: "pipewright_handoff",
            peer = %Shown(&self.name),
            packet = %Shown(&what()),
            "{way}",
        );
    }

    /// Waits for the end of the process, no longer than `within`; `false` if it still lives.
    fn end_of_process(&self, deadline: Deadline, within: Duration) -> Result<bool> {
        let Some(pidfd) = self.peer.pidfd() else {
            return Ok(true); // the end of the channel is all that shows of it
        };
        let deadline = deadline.or_before(Deadline::after(within));
        let mut polled = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
        let ended = poll(&mut polled, deadline).map_err(Error::system("poll"))?;
        Ok(ended > 0)
    }

    /// The error of an end where there should be none.
    pub(super) fn ended(&self, dead: bool, expected: impl std::fmt::Display) -> Error {
        if dead {
            return Error::PeerDied {
                phase: self.phase.clone(),
                status: self.peer.status(),
            };
        }
        let got = "the end of the channel: the other process lives, and closed it or executed \
                   another program";
        Error::protocol(expected, got)
    }

    fn timed_out(&self, waited: Duration) -> Error {
        Error::TimedOut {
            phase: self.phase.clone(),
            waited,
        }
    }
}

/// Refuses a packet that is not the next one, or has other descriptors attached than it announces,
/// or any if nobody asked for them.
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
