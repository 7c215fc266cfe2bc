//! The control channel: typed messages, stages and barriers between two processes.

mod packets;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use packets::Next;

use super::error::{Error, Result};
use super::frame::{self, Control, DESCRIPTOR_LIMIT, Format, PACKET_LIMIT, Payload};
use super::peer::Peer;
use super::socket::PacketSocket;
use super::trace::{Direction, Event, Trace};
use super::wait::Deadline;

/// How long a wait lasts where nothing else was said.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the first look at the socket waits, before the process is looked at as well.
///
/// Most answers come within it, and one system call is half the price of a poll and a receive. It
/// delays the news of a death only where somebody else holds the channel's other end, since else the
/// death ends the wait.
const FIRST_LOOK: Duration = Duration::from_millis(20);

/// After the end of the channel, how long to look for the end of the process. A process that ends
/// closes its descriptors a moment before its end can be seen.
const END_FOLLOWS: Duration = Duration::from_secs(3);

/// Typed messages both ways between two processes.
///
/// It is one SEQPACKET socket, so that packets stay whole and in order, and every packet is numbered,
/// so that one that was lost or overtaken is noticed. Every wait watches the socket **and** the other
/// process, and has a deadline; all that was sent before a death is received before the death is
/// told. Nothing here raises SIGPIPE.
///
/// `&mut self` throughout: two writers on one channel would send out of order, and the borrow
/// checker does not let them.
///
/// A message may be up to 64 KiB, encoded; attach a file or memfd for more. It is received as the
/// very type that it was sent as: a `&str` is received by nobody, a `String` as a `String`.
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
    socket: PacketSocket,
    peer: Peer,
    format: Format,
    timeout: Duration,
    stage: String,
    sent: u32,
    received: u32,
    /// The other side has told of a failure.
    refused: bool,
    outgoing: Vec<u8>,
    incoming: Box<[u8; PACKET_LIMIT]>,
    pub(super) trace: Trace,
}

impl Channel {
    /// A channel over one end of a SEQPACKET socket pair, to a process that is held by a pidfd.
    ///
    /// For processes that found each other in another way; [`ReExec`](super::ReExec) makes its own.
    ///
    /// # Errors
    ///
    /// [`Error::Protocol`] when the socket is of another type.
    ///
    /// ```
    /// use pipewright_handoff::Channel;
    /// use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    /// use rustix::process::{PidfdFlags, getpid, pidfd_open};
    ///
    /// let kind = SocketType::SEQPACKET;
    /// let (one, other) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    /// let this = || pidfd_open(getpid(), PidfdFlags::empty()); // the peer is a thread here
    /// let (mut one, mut other) = (Channel::new(one, this()?)?, Channel::new(other, this()?)?);
    /// one.send(&"hello".to_owned())?;
    /// assert_eq!(other.receive::<String>()?, "hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(socket: impl Into<OwnedFd>, peer: impl Into<OwnedFd>) -> Result<Self> {
        let socket = PacketSocket::new(socket.into())?;
        let peer = Peer::Process(peer.into());
        Ok(Self::over(socket, peer, Format::Postcard))
    }

    /// The same with messages in JSON, as a foreign program writes them; see
    /// [`Foreign`](super::Foreign).
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    ///
    /// ```
    /// use pipewright_handoff::Channel;
    /// use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    /// use rustix::process::{PidfdFlags, getpid, pidfd_open};
    ///
    /// let kind = SocketType::SEQPACKET;
    /// let (ours, theirs) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    /// let mut channel = Channel::new_json(ours, pidfd_open(getpid(), PidfdFlags::empty())?)?;
    /// rustix::io::write(&theirs, br#"{"sequence": 0, "message": [1, 2]}"#)?;
    /// assert_eq!(channel.receive::<Vec<u32>>()?, [1, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new_json(socket: impl Into<OwnedFd>, peer: impl Into<OwnedFd>) -> Result<Self> {
        Ok(Self {
            format: Format::Json,
            ..Self::new(socket, peer)?
        })
    }

    pub(super) fn over(socket: PacketSocket, peer: Peer, format: Format) -> Self {
        socket.set_wait(FIRST_LOOK);
        Self {
            socket,
            peer,
            format,
            timeout: DEFAULT_TIMEOUT,
            stage: "start".to_owned(),
            sent: 0,
            received: 0,
            refused: false,
            outgoing: Vec::new(),
            incoming: Box::new([0; PACKET_LIMIT]),
            trace: Trace::default(),
        }
    }

    /// How long each wait of this channel may last: 10 seconds unless it was set.
    ///
    /// ```
    /// use std::time::Duration;
    /// use pipewright::Command;
    /// use pipewright_handoff::Foreign;
    ///
    /// let mut child = Foreign::new(Command::new("true")).spawn()?;
    /// assert_eq!(child.channel().timeout(), Duration::from_secs(10));
    /// # child.into_child().wait()?;
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Sets how long each wait may last. `Duration::MAX` is no limit; the death of the other process
    /// still ends a wait.
    ///
    /// ```
    /// use std::time::Duration;
    /// use pipewright::Command;
    /// use pipewright_handoff::{Error, Foreign};
    ///
    /// let silent = Command::new("sleep").arg("60").kill_on_drop();
    /// let mut child = Foreign::new(silent).spawn()?;
    /// child.channel().set_timeout(Duration::from_millis(5));
    /// assert!(matches!(child.channel().receive::<u32>(), Err(Error::TimedOut { .. })));
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// The last stage that either side announced; `start` before the first.
    ///
    /// ```
    /// use pipewright_handoff::{EntryPoints, ParentLink, ReExec, Result};
    ///
    /// fn init(parent: &mut ParentLink) -> Result<()> {
    ///     parent.channel().enter("set up the network")?;
    ///     parent.channel().send(&"done".to_owned())
    /// }
    /// EntryPoints::new().entry("init", init).dispatch();
    /// let mut child = ReExec::new("init").spawn()?;
    /// assert_eq!(child.channel().stage(), "start");
    /// assert_eq!(child.channel().receive::<String>()?, "done");
    /// assert_eq!(child.channel().stage(), "set up the network"); // it came before
    /// # child.into_child().wait()?;
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    pub fn stage(&self) -> &str {
        &self.stage
    }

    /// Calls `observer` for everything that is sent or received from here on.
    ///
    /// ```
    /// use pipewright_handoff::{EntryPoints, ReExec};
    ///
    /// EntryPoints::new()
    ///     .entry("init", |parent| parent.channel().barrier("map my ids"))
    ///     .dispatch();
    /// let mut child = ReExec::new("init").spawn()?;
    /// let (tell, told) = std::sync::mpsc::channel();
    /// child.channel().on_event(move |event| tell.send(event.what.to_owned()).unwrap_or(()));
    /// child.channel().serve_barrier("map my ids", || Ok::<(), std::io::Error>(()))?;
    /// assert!(child.into_child().wait()?.success());
    /// let told: Vec<String> = told.iter().collect();
    /// assert_eq!(told, [r#"the barrier "map my ids""#, r#""go on" at the barrier "map my ids""#]);
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    pub fn on_event(&mut self, observer: impl FnMut(&Event<'_>) + Send + 'static) {
        self.trace.set(observer);
    }

    /// Sends a message.
    ///
    /// It waits only while the socket's buffer is full of packets that the other side has not taken.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`], [`Error::PeerDied`], [`Error::TimedOut`].
    ///
    /// ```
    /// use pipewright::Command;
    /// use pipewright_handoff::{Error, Foreign};
    ///
    /// let mut child = Foreign::new(Command::new("cat").stdin(pipewright::Stdio::Null)).spawn()?;
    /// let too_large = child.channel().send(&"x".repeat(100_000));
    /// assert!(matches!(too_large, Err(Error::TooLarge { .. }))); // nothing of it was sent
    /// child.child().wait()?;
    /// assert!(matches!(child.channel().send(&"x".to_owned()), Err(Error::PeerDied { .. })));
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    pub fn send<T: Serialize>(&mut self, message: &T) -> Result<()> {
        self.send_with(message, &[])
    }

    /// Sends a message with descriptors attached; the other side gets copies of them.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); [`Error::TooLarge`] also for more than 253 descriptors, the kernel's
    /// limit.
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
        if descriptors.len() > DESCRIPTOR_LIMIT {
            return Err(Error::TooLarge {
                what: "a table of descriptors",
                size: descriptors.len() as u64,
                limit: DESCRIPTOR_LIMIT as u64,
                advice: "attach them to several messages",
            });
        }
        let began = self.trace.now();
        let mut packet = std::mem::take(&mut self.outgoing);
        let attached = descriptors.len();
        let sent = frame::encode_message(&mut packet, self.format, self.sent, attached, message)
            .and_then(|()| self.send_packet(&packet, descriptors, END_FOLLOWS));
        self.outgoing = packet;
        sent?;
        self.trace.tell(began, Direction::Sent, || {
            format!("a message of type {}", std::any::type_name::<T>())
        });
        Ok(())
    }

    /// Receives the next message.
    ///
    /// Stages that the other side announces on the way are noted in [`stage`](Self::stage).
    ///
    /// # Errors
    ///
    /// [`Error::PeerDied`], [`Error::TimedOut`], [`Error::TooLarge`], [`Error::Protocol`] when
    /// something else came, [`Error::Remote`] when the other side tells of its failure.
    ///
    /// ```
    /// use pipewright_handoff::{EntryPoints, Error, ReExec};
    ///
    /// EntryPoints::new().entry("sender", |parent| parent.channel().send(&7_u32)).dispatch();
    /// let mut child = ReExec::new("sender").spawn()?;
    /// assert_eq!(child.channel().receive::<u32>()?, 7);
    /// let error = child.channel().receive::<u32>().unwrap_err(); // it has sent no other
    /// assert!(matches!(error, Error::PeerDied { status: Some(status), .. } if status.success()));
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<T> {
        self.receive_timeout(self.timeout)
    }

    /// The same with a limit of its own.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    ///
    /// ```
    /// use std::time::Duration;
    /// use pipewright_handoff::{EntryPoints, Error, ReExec};
    ///
    /// EntryPoints::new().entry("echo", |parent| {
    ///     let word: String = parent.channel().receive_timeout(Duration::from_secs(60))?;
    ///     parent.channel().send(&word)
    /// }).dispatch();
    /// let mut child = ReExec::new("echo").spawn()?;
    /// let nothing_yet = child.channel().receive_timeout::<String>(Duration::from_millis(5));
    /// assert!(matches!(nothing_yet, Err(Error::TimedOut { .. })));
    /// assert_eq!(child.channel().request::<_, String>(&"HOLA!".to_owned())?, "HOLA!");
    /// # child.into_child().wait()?;
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    pub fn receive_timeout<T: DeserializeOwned>(&mut self, timeout: Duration) -> Result<T> {
        self.receive_any(timeout, None)
    }

    /// Receives the next message with the descriptors attached to it, close-on-exec.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive); [`Error::Protocol`] also where the descriptors could not all
    /// be received, because this process has reached its limit.
    ///
    /// ```
    /// use std::os::fd::AsFd;
    /// use pipewright_handoff::{EntryPoints, ParentLink, ReExec, Result};
    ///
    /// fn open(parent: &mut ParentLink) -> Result<()> {
    ///     let root = std::fs::File::open("/").expect("there is a root");
    ///     parent.channel().send_with(&"the root".to_owned(), &[root.as_fd()])
    /// }
    /// EntryPoints::new().entry("open", open).dispatch();
    /// let mut child = ReExec::new("open").spawn()?;
    /// let (name, descriptors) = child.channel().receive_with::<String>()?;
    /// let root = std::fs::File::from(descriptors.into_iter().next().expect("one came"));
    /// assert!(name == "the root" && root.metadata().is_ok_and(|root| root.is_dir()));
    /// # child.into_child().wait()?;
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
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
    ///
    /// ```
    /// use pipewright_handoff::{EntryPoints, ParentLink, ReExec, Result};
    ///
    /// fn measure(parent: &mut ParentLink) -> Result<()> {
    ///     let text: String = parent.channel().receive()?;
    ///     parent.channel().send(&text.len())
    /// }
    /// EntryPoints::new().entry("measure", measure).dispatch();
    /// let mut child = ReExec::new("measure").spawn()?;
    /// let length: usize = child.channel().request(&"four".to_owned())?;
    /// assert_eq!(length, 4);
    /// # child.into_child().wait()?;
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    pub fn request<Q: Serialize, A: DeserializeOwned>(&mut self, question: &Q) -> Result<A> {
        self.send(question)?;
        self.receive()
    }

    fn receive_any<T: DeserializeOwned>(
        &mut self,
        timeout: Duration,
        descriptors: Option<&mut Vec<OwnedFd>>,
    ) -> Result<T> {
        let deadline = Deadline::after(timeout);
        let expected = || format!("a message of type {}", std::any::type_name::<T>());
        let decode = |payload: Payload<'_>| payload.decode::<T>();
        match self.next(&deadline, END_FOLLOWS, descriptors, decode)? {
            Next::Message(message) => message,
            Next::Control(control) => Err(Error::protocol(expected(), control.describe())),
            Next::End { dead } => Err(self.ended(dead, expected())),
        }
    }

    /// Receives a word of the channel's own.
    pub(super) fn receive_control(&mut self, timeout: Duration, expected: &str) -> Result<Control> {
        let deadline = Deadline::after(timeout);
        match self.next(&deadline, END_FOLLOWS, None, |_| ())? {
            Next::Control(control) => Ok(control),
            Next::Message(()) => Err(Error::protocol(expected, "a message")),
            Next::End { dead } => Err(self.ended(dead, expected)),
        }
    }

    /// Waits for the end of the channel: the other process has closed it, executed a program, or
    /// ended.
    pub(super) fn wait_for_end(&mut self, timeout: Duration) -> Result<()> {
        const EXPECTED: &str = "the end of the channel";
        let deadline = Deadline::after(timeout);
        match self.next(&deadline, Duration::ZERO, None, |_| ())? {
            Next::End { .. } => Ok(()),
            Next::Control(control) => Err(Error::protocol(EXPECTED, control.describe())),
            Next::Message(()) => Err(Error::protocol(EXPECTED, "a message")),
        }
    }

    pub(super) fn send_control(&mut self, control: &Control) -> Result<()> {
        self.send_control_or_leave(control, END_FOLLOWS)
    }

    /// The same. `end_follows`: how long the end of the process is waited for where the other side
    /// has closed the channel; for zero, its end is not told from its closing.
    pub(super) fn send_control_or_leave(
        &mut self,
        control: &Control,
        end_follows: Duration,
    ) -> Result<()> {
        let began = self.trace.now();
        let mut packet = std::mem::take(&mut self.outgoing);
        let sent = frame::encode_control(&mut packet, self.format, self.sent, control)
            .and_then(|()| self.send_packet(&packet, &[], end_follows));
        self.outgoing = packet;
        sent?;
        let what = || control.describe();
        self.trace.tell(began, Direction::Sent, what);
        Ok(())
    }

    pub(super) fn was_refused(&self) -> bool {
        self.refused
    }

    pub(super) fn set_stage(&mut self, stage: &str) {
        stage.clone_into(&mut self.stage);
    }

    /// Takes the channel apart.
    pub(super) fn into_peer(self) -> Peer {
        self.peer
    }

    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Moves the channel's descriptor out of the way of others.
    pub(super) fn move_above(&mut self, number: i32) -> Result<()> {
        self.socket = self.socket.duplicate_above(number)?;
        Ok(())
    }
}

/// The channel can be polled together with other descriptors: it is readable when something can be
/// received, and at its end.
///
/// ```
/// use pipewright_handoff::{EntryPoints, ReExec};
/// use rustix::event::{PollFd, PollFlags, poll};
///
/// EntryPoints::new().entry("sender", |parent| parent.channel().send(&7_u32)).dispatch();
/// let mut child = ReExec::new("sender").spawn()?;
/// let ready = poll(&mut [PollFd::new(child.channel(), PollFlags::IN)], None)?;
/// assert_eq!(ready, 1);
/// assert_eq!(child.channel().receive::<u32>()?, 7); // without waiting
/// # child.into_child().wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
