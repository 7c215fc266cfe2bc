//! The control channel: typed messages between two processes.

mod packets;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use packets::Peer;
use packets::{END_FOLLOWS, Next, Packets};

use crate::error::{Error, Result};
use crate::frame::{self, Control, DESCRIPTOR_LIMIT, Format, Payload};
use crate::socket::PacketSocket;

/// The time that a wait may last unless it was set.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Typed messages both ways between two processes.
///
/// It is one SEQPACKET socket, so packets stay whole and in order, and every packet is numbered, so
/// a lost one is noticed. Every wait watches the socket **and** the other process, and has a
/// deadline. All that was sent before a death is received before the death is reported. Nothing
/// here raises SIGPIPE.
///
/// Its methods take `&mut self`: two writers on one channel would send out of order, and the borrow
/// checker does not let them.
///
/// A message may be up to 64 KiB, encoded; attach a file or memfd for more. It is received as the
/// very type that it was sent as: send a `String`, not a `&str`, since no type that can be received
/// is a `&str`.
///
/// With the feature `tracing` each packet is an event at the level DEBUG, `sent` or `received`,
/// with the `peer` and what the `packet` is.
///
/// ```
/// use pipewright_handoff::{EntryPoints, ParentLink, ReExec, Result};
///
/// fn adder(parent: &mut ParentLink) -> Result<()> {
///     let (a, b): (u32, u32) = parent.channel().receive()?;
///     parent.channel().send(&(a + b))
/// }
/// EntryPoints::new().entry("adder", adder).dispatch();
/// let mut child = ReExec::new("adder").spawn()?;
/// child.channel().send(&(20_u32, 22_u32))?;
/// assert_eq!(child.channel().receive::<u32>()?, 42);
/// # child.into_child().wait()?;
/// # Ok::<(), pipewright_handoff::Error>(())
/// ```
///
/// # References
///
/// SOCK_SEQPACKET in [unix(7)](https://man7.org/linux/man-pages/man7/unix.7.html)
#[derive(Debug)]
pub struct Channel {
    packets: Packets,
    timeout: Duration,
}

impl Channel {
    /// Makes a channel of one end of a SEQPACKET socket pair, to a process that is held by a pidfd.
    ///
    /// For processes that found each other in another way; [`ReExec`](crate::ReExec) makes its own.
    ///
    /// # Errors
    ///
    /// [`Error::Protocol`] when the socket is of another type.
    pub fn new(socket: impl Into<OwnedFd>, peer: impl Into<OwnedFd>) -> Result<Self> {
        Self::to_process(socket.into(), peer.into(), Format::Postcard)
    }

    /// The same with messages in JSON, as a foreign program writes them; see
    /// [`Foreign`](crate::Foreign).
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn new_json(socket: impl Into<OwnedFd>, peer: impl Into<OwnedFd>) -> Result<Self> {
        Self::to_process(socket.into(), peer.into(), Format::Json)
    }

    fn to_process(socket: OwnedFd, peer: OwnedFd, format: Format) -> Result<Self> {
        let socket = PacketSocket::new(socket)?;
        Ok(Self::over(socket, Peer::Process(peer), format, "peer"))
    }

    pub(crate) fn over(socket: PacketSocket, peer: Peer, format: Format, name: &str) -> Self {
        Self {
            packets: Packets::over(socket, peer, format, name),
            timeout: DEFAULT_TIMEOUT,
        }
    }

    /// The time that each wait of this channel may last: 10 seconds unless it was set.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Sets the time that each wait may last. `Duration::MAX` is no limit; the death of the other
    /// process still ends a wait.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// The last phase that either side announced; `start` before the first.
    pub fn phase(&self) -> &str {
        &self.packets.phase
    }

    /// Sends a message.
    ///
    /// It waits only while the socket's buffer is full of packets that the other side has not
    /// taken.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`], and nothing of the message was sent; [`Error::PeerDied`];
    /// [`Error::TimedOut`].
    pub fn send<T: Serialize>(&mut self, message: &T) -> Result<()> {
        self.send_with(message, &[])
    }

    /// Sends a message with descriptors attached; the other side gets copies of them.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); [`Error::TooLarge`] also for more than 253 descriptors, the
    /// kernel's limit.
    ///
    /// ```
    /// use std::os::fd::AsFd;
    /// use pipewright_handoff::{EntryPoints, ParentLink, ReExec, Result};
    ///
    /// fn write_there(parent: &mut ParentLink) -> Result<()> {
    ///     let (text, mut descriptors) = parent.channel().receive_with::<String>()?;
    ///     let to = descriptors.pop().expect("one was attached");
    ///     rustix::io::write(to, text.as_bytes()).expect("the parent reads");
    ///     Ok(())
    /// }
    /// EntryPoints::new().entry("write there", write_there).dispatch();
    /// let mut child = ReExec::new("write there").spawn()?;
    /// let (reader, writer) = pipewright::pipe()?;
    /// child.channel().send_with(&"by a copy".to_owned(), &[writer.as_fd()])?;
    /// drop(writer); // this process keeps its own
    /// assert_eq!(std::io::read_to_string(reader)?, "by a copy");
    /// # child.into_child().wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # References
    ///
    /// SCM_RIGHTS in [unix(7)](https://man7.org/linux/man-pages/man7/unix.7.html)
    pub fn send_with<T: Serialize>(
        &mut self,
        message: &T,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<()> {
        let attached = descriptors.len();
        if attached > DESCRIPTOR_LIMIT {
            return Err(Error::TooLarge {
                what: "a table of descriptors",
                size: attached as u64,
                limit: DESCRIPTOR_LIMIT as u64,
                advice: "attach them to several messages",
            });
        }
        self.packets.send(
            |packet, format, number| {
                frame::encode_message(packet, format, number, attached, message)
            },
            || format!("a message of type {}", std::any::type_name::<T>()),
            descriptors,
            self.timeout,
            END_FOLLOWS,
        )
    }

    /// Receives the next message.
    ///
    /// Phases that the other side announces on the way are noted in [`phase`](Self::phase).
    ///
    /// # Errors
    ///
    /// [`Error::PeerDied`], [`Error::TimedOut`], [`Error::TooLarge`]; [`Error::Protocol`] when
    /// something else came; [`Error::Remote`] when the other side reports that it failed.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<T> {
        self.receive_timeout(self.timeout)
    }

    /// The same with a limit of its own.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    pub fn receive_timeout<T: DeserializeOwned>(&mut self, timeout: Duration) -> Result<T> {
        self.receive_any(timeout, None)
    }

    /// Receives the next message with the descriptors attached to it, close-on-exec.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive); [`Error::Protocol`] also if the descriptors could not all be
    /// received, because this process has reached its limit.
    pub fn receive_with<T: DeserializeOwned>(&mut self) -> Result<(T, Vec<OwnedFd>)> {
        let mut descriptors = Vec::new();
        let message = self.receive_any(self.timeout, Some(&mut descriptors))?;
        Ok((message, descriptors))
    }

    /// Sends a request and receives the answer.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send) and [`receive`](Self::receive).
    pub fn request<Q: Serialize, A: DeserializeOwned>(&mut self, question: &Q) -> Result<A> {
        self.send(question)?;
        self.receive()
    }

    fn receive_any<T: DeserializeOwned>(
        &mut self,
        timeout: Duration,
        descriptors: Option<&mut Vec<OwnedFd>>,
    ) -> Result<T> {
        let expected = || format!("a message of type {}", std::any::type_name::<T>());
        let decode = |payload: Payload<'_>| payload.decode::<T>();
        let next = self
            .packets
            .next(timeout, END_FOLLOWS, descriptors, decode)?;
        match next {
            Next::Message(message) => message,
            Next::Control(control) => Err(Error::protocol(expected(), control.describe())),
            Next::End { dead } => Err(self.packets.ended(dead, expected())),
        }
    }

    /// Receives a word of the channel's own.
    pub(crate) fn receive_control(&mut self, timeout: Duration, expected: &str) -> Result<Control> {
        match self.packets.next(timeout, END_FOLLOWS, None, |_| ())? {
            Next::Control(control) => Ok(control),
            Next::Message(()) => Err(Error::protocol(expected, "a message")),
            Next::End { dead } => Err(self.packets.ended(dead, expected)),
        }
    }

    /// Waits for the end of the channel: the other process has closed it, executed a program, or
    /// ended.
    pub(crate) fn wait_for_end(&mut self, timeout: Duration) -> Result<()> {
        const EXPECTED: &str = "the end of the channel";
        match self.packets.next(timeout, Duration::ZERO, None, |_| ())? {
            Next::End { .. } => Ok(()),
            Next::Control(control) => Err(Error::protocol(EXPECTED, control.describe())),
            Next::Message(()) => Err(Error::protocol(EXPECTED, "a message")),
        }
    }

    pub(crate) fn send_control(&mut self, control: &Control) -> Result<()> {
        self.send_last_control(control, END_FOLLOWS)
    }

    /// The same, for a process that does not wait that long for the other one's end.
    pub(crate) fn send_last_control(
        &mut self,
        control: &Control,
        end_follows: Duration,
    ) -> Result<()> {
        self.packets.send(
            |packet, format, number| frame::encode_control(packet, format, number, control),
            || control.describe(),
            &[],
            self.timeout,
            end_follows,
        )
    }

    pub(crate) fn was_refused(&self) -> bool {
        self.packets.refused
    }

    pub(crate) fn set_phase(&mut self, phase: &str) {
        phase.clone_into(&mut self.packets.phase);
    }

    /// Takes the channel apart.
    pub(crate) fn into_peer(self) -> Peer {
        self.packets.peer
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.packets.peer
    }

    /// Moves the channel's descriptor out of the way of others.
    pub(crate) fn move_above(&mut self, number: i32) -> Result<()> {
        self.packets.socket = self.packets.socket.duplicate_above(number)?;
        Ok(())
    }
}

/// The channel can be polled together with other descriptors: it is readable when something can be
/// received, and at its end.
impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.packets.socket.as_fd()
    }
}
