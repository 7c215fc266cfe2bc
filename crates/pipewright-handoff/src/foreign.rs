//! A foreign program as the child: a channel in JSON.

use std::collections::BTreeSet;

use super::channel::Channel;
use super::error::Result;
use super::frame::Format;
use super::link::ChildLink;
use super::peer::Peer;
use super::socket::PacketSocket;
use pipewright::Command;

/// The variable that tells a foreign program the number of its channel's descriptor.
///
/// ```
/// use pipewright::Command;
/// use pipewright_handoff::{CHANNEL_VARIABLE, Foreign};
///
/// let script = format!("test -S /proc/self/fd/${CHANNEL_VARIABLE}"); // is it a socket?
/// let child = Foreign::new(Command::new("sh").args(["-c", &script])).spawn()?;
/// assert!(child.into_child().wait()?.success());
/// # Ok::<(), pipewright_handoff::Error>(())
/// ```
pub const CHANNEL_VARIABLE: &str = "PIPEWRIGHT_CHANNEL";

/// A program of any language as the child, with a channel in JSON.
///
/// It finds a SEQPACKET socket at the descriptor whose number is in the environment variable
/// `PIPEWRIGHT_CHANNEL`. Each packet, at most 65536 bytes, is one JSON object with `sequence`, which
/// counts the packets of either direction from 0, and one of:
///
/// - `"message": …` – a message, in the form that serde gives its type;
/// - `"stage": "NAME"` – what the sender does now;
/// - `"barrier": "NAME"`, answered by `"go_on": "NAME"`;
/// - `"executing": "PROGRAM"`;
/// - `"failure": {"stage": …, "message": …, "errno": … or null}`.
///
/// ```
/// use pipewright::Command;
/// use pipewright_handoff::Foreign;
///
/// let program = r#"
/// import json, os, socket
/// channel = socket.socket(fileno=int(os.environ["PIPEWRIGHT_CHANNEL"]))
/// numbers = json.loads(channel.recv(65536))["message"]
/// channel.send(json.dumps({"sequence": 0, "message": sum(numbers)}).encode())
/// "#;
/// # if Command::new("python3").arg("-V").capture().output().is_err() { return Ok(()); }
/// let mut child = Foreign::new(Command::new("python3").args(["-c", program])).spawn()?;
/// # child.channel().set_timeout(std::time::Duration::MAX); // it loads much before it begins
/// let sum: u32 = child.channel().request(&vec![1, 2, 3])?;
/// assert_eq!(sum, 6);
/// # Ok::<(), pipewright_handoff::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is started until it is spawned"]
pub struct Foreign {
    command: Command,
}

impl Foreign {
    /// A child that runs this command.
    ///
    /// ```
    /// use pipewright::Command;
    /// use pipewright_handoff::Foreign;
    ///
    /// let script = r#"echo "{\"sequence\": 0, \"message\": \"$1\"}" >&$PIPEWRIGHT_CHANNEL"#;
    /// let shell = Command::new("sh").args(["-c", script, "sh", "from a shell"]);
    /// let mut child = Foreign::new(shell).spawn()?;
    /// assert_eq!(child.channel().receive::<String>()?, "from a shell");
    /// # child.into_child().wait()?;
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    pub fn new(command: Command) -> Self {
        Self { command }
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// [`Error::Start`](super::Error::Start) or [`Error::System`](super::Error::System).
    ///
    /// ```
    /// use pipewright::Command;
    /// use pipewright_handoff::{Error, Foreign};
    ///
    /// let error = Foreign::new(Command::new("no-such-program")).spawn().unwrap_err();
    /// assert!(matches!(error, Error::Start(start) if start.exit_code() == 127));
    /// ```
    pub fn spawn(self) -> Result<ChildLink> {
        let (ours, theirs) = PacketSocket::pair()?;
        let taken: BTreeSet<i32> = self.command.fd_numbers().collect();
        let number = (3..).find(|number| !taken.contains(number)).unwrap_or(3);
        let child = self
            .command
            .env(CHANNEL_VARIABLE, number.to_string())
            .fd(number, theirs)
            .spawn()?;
        let channel = Channel::over(ours, Peer::Child(child), Format::Json);
        Ok(ChildLink::new(channel))
    }
}
