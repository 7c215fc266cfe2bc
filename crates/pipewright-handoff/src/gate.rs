//! The start gate: "created, not started", until another process opens it.
//!
//! A container runtime sets a process up in full and has it wait until somebody starts it, perhaps
//! another process much later. With a fifo, one side's open blocks until the other side comes, and
//! for ever if that died. Here the waiting process listens on a socket. If nobody listens any more,
//! the kernel says so at once. Nobody can open the gate twice, because the listener is closed as
//! soon as the gate has been opened.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pipewright::poll::{Deadline, poll};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::PidfdFlags;

use crate::channel::{Channel, Peer};
use crate::error::{Error, OPEN_GATE, Result};
use crate::exec::wait_exec;
use crate::frame::{Control, Format};
use crate::link::{ChildLink, ParentLink};
use crate::socket::PacketSocket;

/// The most visitors that can knock at once.
const BACKLOG: i32 = 8;

/// Bytes of a socket's path, without the zero byte at its end.
const PATH_LIMIT: usize = 107;

/// The time that a visitor may take to say what it wants.
const KNOCK: Duration = Duration::from_secs(5);

/// The phase in which both sides are meanwhile.
const PHASE: &str = "gate";

/// A gate at which this process is going to wait, and that others find by its path.
///
/// It exists from [`new`](Self::new) on, so make it before the root directory changes. The path
/// stays when the process ends. Put it into a directory that only the owner can enter, to keep
/// others from opening the gate.
///
/// ```
/// use std::path::PathBuf;
/// use std::time::Duration;
/// use pipewright::Command;
/// use pipewright_handoff::{EntryPoints, Gate, ParentLink, ReExec, Result};
///
/// fn init(parent: &mut ParentLink) -> Result<()> {
///     let gate = Gate::new(parent.config::<PathBuf>()?)?;
///     parent.wait_at(gate, Duration::from_secs(60))?;
///     parent.exec(Command::new("sh").args(["-c", "exit 6"]))
/// }
/// EntryPoints::new().entry("init", init).dispatch();
/// let directory = tempfile::tempdir().expect("a temporary directory");
/// let path = directory.path().join("gate");
/// let mut child = ReExec::new("init").config(&path)?.spawn()?;
/// child.wait_created()?;
/// assert_eq!(child.child().try_wait()?, None); // it waits until its gate is opened
/// Gate::open(&path, Duration::from_secs(10))?;
/// assert_eq!(child.into_child().wait()?.code(), Some(6));
/// # Ok::<(), pipewright_handoff::Error>(())
/// ```
#[derive(Debug)]
pub struct Gate {
    listener: OwnedFd,
}

impl Gate {
    /// Makes a gate at a path that does not exist yet.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] for a path of more than 107 bytes; [`Error::System`] with EADDRINUSE if
    /// the path exists.
    ///
    /// # References
    ///
    /// [bind(2)](https://man7.org/linux/man-pages/man2/bind.2.html),
    /// [unix(7)](https://man7.org/linux/man-pages/man7/unix.7.html)
    pub fn new(path: impl AsRef<Path>) -> Result<Self> {
        let address = address(path.as_ref())?;
        let listener = socket()?;
        rustix::net::bind(&listener, &address).map_err(Error::system("make the gate"))?;
        rustix::net::listen(&listener, BACKLOG).map_err(Error::system("listen at the gate"))?;
        Ok(Self { listener })
    }

    /// Waits until somebody opens the gate, and returns the channel to that process.
    fn wait(self, timeout: Duration) -> Result<Channel> {
        let deadline = Deadline::after(timeout);
        loop {
            match rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC) {
                Ok(visitor) => {
                    // One that died before it said so has not opened the gate.
                    if let Some(channel) = opened_by(visitor)? {
                        return Ok(channel);
                    }
                }
                Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
                Err(errno) => return Err(Error::system("wait at the gate")(errno)),
            }
            let mut polled = [PollFd::new(&self.listener, PollFlags::IN)];
            if poll(&mut polled, deadline).map_err(Error::system("poll"))? == 0 {
                return Err(timed_out(timeout));
            }
        }
    }

    /// Opens the gate at `path` and waits until the process behind it executes its program.
    ///
    /// It never blocks for longer than `timeout`, whatever became of the process behind the gate.
    ///
    /// # Errors
    ///
    /// [`Error::System`] with ECONNREFUSED when nobody waits there, because the gate was opened
    /// before or the process has died; with ENOENT if there is no gate. [`Error::PeerDied`] when
    /// the process died just now. [`Error::Remote`] when its program could not be executed.
    /// [`Error::TimedOut`].
    ///
    /// # References
    ///
    /// [connect(2)](https://man7.org/linux/man-pages/man2/connect.2.html)
    pub fn open(path: impl AsRef<Path>, timeout: Duration) -> Result<()> {
        let mut channel = knock(path.as_ref(), timeout)?;
        channel.set_timeout(timeout);
        channel.set_phase(PHASE);
        channel.send_control(&Control::Open)?;
        wait_exec(&mut channel, timeout)
    }
}

impl ParentLink {
    /// Tells the parent that this child is created, and waits at the gate until somebody opens it.
    ///
    /// From the first word on the parent is free to go, and its end no longer matters. Once the
    /// gate is opened, the process that opened it takes the parent's place: it is told the phases,
    /// the failures and the exec.
    ///
    /// # Errors
    ///
    /// As [`Channel::send`] while the parent is told; [`Error::TimedOut`] when nobody came in time.
    /// `Duration::MAX` is no limit.
    pub fn wait_at(&mut self, gate: Gate, timeout: Duration) -> Result<()> {
        self.channel().send_control(&Control::Created)?;
        let mut channel = gate.wait(timeout)?;
        channel.set_timeout(self.channel().timeout());
        *self.channel() = channel;
        Ok(())
    }
}

impl ChildLink {
    /// Waits until the child is created and waits at its gate.
    ///
    /// # Errors
    ///
    /// As [`Channel::receive`].
    pub fn wait_created(&mut self) -> Result<()> {
        const EXPECTED: &str = "\"created\"";
        let timeout = self.channel().timeout();
        match self.channel().receive_control(timeout, EXPECTED)? {
            Control::Created => Ok(()),
            other => Err(Error::protocol(EXPECTED, other.describe())),
        }
    }
}

fn timed_out(waited: Duration) -> Error {
    let phase = PHASE.to_owned();
    Error::TimedOut { phase, waited }
}

fn socket() -> Result<OwnedFd> {
    // Non-blocking, because connecting blocks while the backlog is full.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .map_err(Error::system("make a socket"))
}

fn address(path: &Path) -> Result<SocketAddrUnix> {
    let length = path.as_os_str().len();
    if length > PATH_LIMIT {
        return Err(Error::TooLarge {
            what: "the path of a gate",
            size: length as u64,
            limit: PATH_LIMIT as u64,
            advice: "choose a directory with a shorter path",
        });
    }
    SocketAddrUnix::new(PathBuf::from(path)).map_err(Error::system("use the path of a gate"))
}

fn knock(path: &Path, timeout: Duration) -> Result<Channel> {
    let deadline = Deadline::after(timeout);
    let address = address(path)?;
    let socket = socket()?;
    loop {
        match rustix::net::connect(&socket, &address) {
            Ok(()) => break,
            // Others knock at the same time. One of them gets in, and the rest is told soon.
            Err(Errno::AGAIN | Errno::INTR) if !deadline.has_passed() => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(Errno::AGAIN | Errno::INTR) => return Err(timed_out(timeout)),
            Err(errno) => return Err(Error::system(OPEN_GATE)(errno)),
        }
    }
    let peer = process_behind(&socket)?;
    let socket = PacketSocket::new(socket)?;
    let name = "the process at the gate";
    Ok(Channel::over(socket, peer, Format::Postcard, name))
}

/// The process that listens at the other end.
fn process_behind(socket: &OwnedFd) -> Result<Peer> {
    let credentials = rustix::net::sockopt::socket_peercred(socket)
        .map_err(Error::system("learn which process waits at the gate"))?;
    let pidfd = rustix::process::pidfd_open(credentials.pid, PidfdFlags::empty());
    // If the number was given to another process meanwhile, no harm is done: the listener is dead
    // then, and the end of the channel tells.
    Ok(pidfd.map_or(Peer::Unseen, Peer::Process))
}

/// The channel to a visitor, if it opens the gate.
fn opened_by(visitor: OwnedFd) -> Result<Option<Channel>> {
    // It may be in another pid namespace, and have no number here.
    let socket = PacketSocket::new(visitor)?;
    let name = "the one who opened";
    let mut channel = Channel::over(socket, Peer::Unseen, Format::Postcard, name);
    channel.set_phase(PHASE);
    match channel.receive_control(KNOCK, "\"open\"") {
        Ok(Control::Open) => Ok(Some(channel)),
        _ => Ok(None),
    }
}
