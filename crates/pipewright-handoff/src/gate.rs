//! The start gate: "created, not started", and the one who opens it later.
//!
//! Container runtimes have a process wait, set up in full, until somebody starts it, perhaps another
//! process much later. With a fifo, the one side's open blocks until the other side comes, and for
//! ever if it died. Here the waiting process listens on a socket: where nobody listens any more, the
//! kernel says so at once, and nobody can open the gate twice, because the listener is closed when
//! it has been opened.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::PidfdFlags;

use super::channel::Channel;
use super::error::{Error, OPEN_GATE, Result};
use super::exec::wait_exec;
use super::frame::{Control, Format};
use super::link::{ChildLink, ParentLink};
use super::peer::Peer;
use super::socket::PacketSocket;
use super::wait::{Deadline, wait};

/// How many may knock at once.
const BACKLOG: i32 = 8;

/// Bytes of a socket's path, without the zero byte at its end.
const PATH_LIMIT: usize = 107;

/// How long one who knocked may take to say what he wants.
const KNOCK: Duration = Duration::from_secs(5);

/// A gate at which this process is going to wait, and that others find by its path.
///
/// It exists from [`new`](Self::new) on, so that it can be made before the root directory changes.
/// The path stays when the process ends; a directory that only the owner can enter keeps others from
/// opening the gate.
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
/// assert_eq!(child.child().try_wait()?, None); // it waits, for whoever comes
/// Gate::open(&path, Duration::from_secs(10))?;
/// assert_eq!(child.into_child().wait()?.code(), Some(6));
/// # Ok::<(), pipewright_handoff::Error>(())
/// ```
#[derive(Debug)]
pub struct Gate {
    listener: OwnedFd,
}

impl Gate {
    /// Makes a gate at a path at which nothing is yet.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] for a path of more than 107 bytes; [`Error::System`] with EADDRINUSE where
    /// something is there already.
    ///
    /// ```
    /// use pipewright_handoff::Gate;
    ///
    /// let directory = tempfile::tempdir()?;
    /// let _gate = Gate::new(directory.path().join("gate"))?;
    /// let error = Gate::new(directory.path().join("gate")).unwrap_err();
    /// assert_eq!(error.raw_os_error(), Some(98)); // EADDRINUSE
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

    /// Waits until somebody opens the gate, and returns the channel to him.
    fn wait(self, timeout: Duration) -> Result<Channel> {
        let deadline = Deadline::after(timeout);
        loop {
            match rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC) {
                Ok(visitor) => {
                    // One who died before he said it has not opened the gate.
                    if let Some(channel) = opened_by(visitor)? {
                        return Ok(channel);
                    }
                }
                Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
                Err(errno) => return Err(Error::system("wait at the gate")(errno)),
            }
            let listener = (self.listener.as_fd(), PollFlags::IN);
            let (knocked, _) = wait(listener, None, &deadline)?;
            if knocked.is_empty() {
                return Err(Error::TimedOut {
                    stage: "gate".to_owned(),
                    waited: timeout,
                });
            }
        }
    }

    /// Opens the gate at `path` and waits until the process behind it executes its program.
    ///
    /// It never blocks for longer than `timeout`, whatever became of the process behind the gate.
    ///
    /// # Errors
    ///
    /// [`Error::System`] with ECONNREFUSED when nobody waits there: it was opened before, or the
    /// process has died; with ENOENT where no gate is. [`Error::PeerDied`] when the process died just
    /// now. [`Error::Remote`] when its program could not be executed. [`Error::TimedOut`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use pipewright_handoff::Gate;
    ///
    /// let directory = tempfile::tempdir()?;
    /// let path = directory.path().join("gate");
    /// let open = || Gate::open(&path, Duration::from_secs(10)).unwrap_err().raw_os_error();
    /// assert_eq!(open(), Some(2)); // ENOENT: no gate is there
    /// drop(Gate::new(&path)?);
    /// assert_eq!(open(), Some(111)); // ECONNREFUSED: nobody waits there any more
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # References
    ///
    /// [connect(2)](https://man7.org/linux/man-pages/man2/connect.2.html)
    pub fn open(path: impl AsRef<Path>, timeout: Duration) -> Result<()> {
        let mut channel = knock(path.as_ref(), &Deadline::after(timeout))?;
        channel.set_timeout(timeout);
        channel.set_stage("gate");
        channel.send_control(&Control::Open)?;
        wait_exec(&mut channel, timeout)
    }
}

impl ParentLink {
    /// Tells the parent that this child is created, and waits at the gate until somebody opens it.
    ///
    /// From the first word on the parent is free to go; its end is not looked at any more. From the
    /// opening on, the one who opened takes the parent's place: stages, failures and the exec are told
    /// to him.
    ///
    /// # Errors
    ///
    /// As [`Channel::send`] while the parent is told; [`Error::TimedOut`] when nobody came in time,
    /// where `Duration::MAX` is no limit.
    ///
    /// ```
    /// use std::time::Duration;
    /// use pipewright_handoff::{EntryPoints, Gate, ParentLink, ReExec, Result};
    ///
    /// fn init(parent: &mut ParentLink) -> Result<()> {
    ///     let gate = Gate::new(parent.config::<String>()?)?;
    ///     parent.wait_at(gate, Duration::from_millis(5)) // nobody comes
    /// }
    /// EntryPoints::new().entry("init", init).dispatch();
    /// let directory = tempfile::tempdir().expect("a temporary directory");
    /// let path = directory.path().join("gate").display().to_string();
    /// let mut child = ReExec::new("init").config(&path)?.spawn()?;
    /// child.wait_created()?;
    /// let error = child.channel().receive::<()>().unwrap_err();
    /// assert_eq!(error.stage(), Some("gate"));
    /// # child.into_child().wait()?;
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
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
    ///
    /// ```
    /// use pipewright_handoff::{EntryPoints, ReExec};
    ///
    /// EntryPoints::new().entry("init", |_| Err::<(), _>("no disk left")).dispatch();
    /// let mut child = ReExec::new("init").spawn()?;
    /// let error = child.wait_created().unwrap_err(); // it never came to its gate
    /// assert_eq!(error.to_string(), "start: no disk left");
    /// # child.into_child().wait()?;
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    pub fn wait_created(&mut self) -> Result<()> {
        const EXPECTED: &str = "\"created\"";
        let timeout = self.channel().timeout();
        match self.channel().receive_control(timeout, EXPECTED)? {
            Control::Created => Ok(()),
            other => Err(Error::protocol(EXPECTED, other.describe())),
        }
    }
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

fn knock(path: &Path, deadline: &Deadline) -> Result<Channel> {
    let address = address(path)?;
    let socket = socket()?;
    loop {
        match rustix::net::connect(&socket, &address) {
            Ok(()) => break,
            // Others knock at the same time. One of them gets in, and the rest is told soon.
            Err(Errno::AGAIN | Errno::INTR) if !deadline.passed() => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(Errno::AGAIN) => {
                return Err(Error::TimedOut {
                    stage: "gate".to_owned(),
                    waited: deadline.allowed,
                });
            }
            Err(errno) => return Err(Error::system(OPEN_GATE)(errno)),
        }
    }
    let peer = process_behind(&socket)?;
    Ok(Channel::over(
        PacketSocket::new(socket)?,
        peer,
        Format::Postcard,
    ))
}

/// The process that listens at the other end.
fn process_behind(socket: &OwnedFd) -> Result<Peer> {
    let credentials = rustix::net::sockopt::socket_peercred(socket)
        .map_err(Error::system("learn who waits at the gate"))?;
    let pidfd = rustix::process::pidfd_open(credentials.pid, PidfdFlags::empty());
    // A number that was given to another process meanwhile does no harm: the listener is dead then,
    // and the end of the channel tells.
    Ok(pidfd.map_or(Peer::Unseen, Peer::Process))
}

/// The channel to one who knocked, if he opens the gate.
fn opened_by(visitor: OwnedFd) -> Result<Option<Channel>> {
    // He may be in another pid namespace, where he has no number that could be opened here.
    let socket = PacketSocket::new(visitor)?;
    let mut channel = Channel::over(socket, Peer::Unseen, Format::Postcard);
    channel.set_stage("gate");
    match channel.receive_control(KNOCK, "\"open\"") {
        Ok(Control::Open) => Ok(Some(channel)),
        _ => Ok(None),
    }
}
