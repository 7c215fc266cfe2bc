//! A foreign program as the child: a channel in JSON.

use std::collections::BTreeSet;

use super::channel::Channel;
use super::error::Result;
use super::frame::Format;
use super::link::ChildLink;
use super::peer::Peer;
use super::socket::PacketSocket;
use crate::command::Command;

/// The variable that tells a foreign program the number of its channel's descriptor.
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
/// use pipewright::handoff::Foreign;
///
/// let program = r#"
/// import json, os, socket
/// channel = socket.socket(fileno=int(os.environ["PIPEWRIGHT_CHANNEL"]))
/// numbers = json.loads(channel.recv(65536))["message"]
/// channel.send(json.dumps({"sequence": 0, "message": sum(numbers)}).encode())
/// "#;
/// let mut child = Foreign::new(Command::new("python3").args(["-c", program])).spawn()?;
/// let sum: u32 = child.channel().request(&vec![1, 2, 3])?;
/// assert_eq!(sum, 6);
/// # Ok::<(), pipewright::handoff::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is started until it is spawned"]
pub struct Foreign {
    command: Command,
}

impl Foreign {
    /// A child that runs this command.
    pub fn new(command: Command) -> Self {
        Self { command }
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// [`Error::Start`](super::Error::Start) or [`Error::System`](super::Error::System).
    pub fn spawn(self) -> Result<ChildLink> {
        let (ours, theirs) = PacketSocket::pair()?;
        let taken: BTreeSet<i32> = self.command.numbers().collect();
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
