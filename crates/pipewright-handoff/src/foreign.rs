//! Starting a program of another kind as the child, with a channel in JSON.

use std::collections::BTreeSet;

use pipewright::Command;

use crate::channel::{Channel, Peer};
use crate::error::Result;
use crate::frame::Format;
use crate::link::ChildLink;
use crate::socket::PacketSocket;
/// The variable in which a foreign program finds the number of its channel's descriptor.
pub const CHANNEL_VARIABLE: &str = "PIPEWRIGHT_CHANNEL";

/// A program in any language as the child, with a channel in JSON.
///
/// It finds a SEQPACKET socket at the descriptor whose number is in the environment variable
/// `PIPEWRIGHT_CHANNEL`. Each packet is one JSON object of at most 65536 bytes. It has `sequence`,
/// which counts the packets in each direction from 0, and one of:
///
/// - `"message": …`: a message, in the form that serde gives its type;
/// - `"phase": "NAME"`: what the sender does now;
/// - `"barrier": "NAME"`, answered by `"go_on": "NAME"`;
/// - `"executing": "PROGRAM"`;
/// - `"failure": {"phase": …, "message": …, "errno": … or null}`.
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
/// # child.channel().set_timeout(std::time::Duration::from_secs(60)); // it loads much
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
    /// Makes a child that runs this command.
    pub fn new(command: Command) -> Self {
        Self { command }
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// [`Error::Start`](crate::Error::Start), [`Error::System`](crate::Error::System).
    pub fn spawn(self) -> Result<ChildLink> {
        let (ours, theirs) = PacketSocket::pair()?;
        let name = self.command.get_program().to_string_lossy().into_owned();
        let taken: BTreeSet<i32> = self.command.fd_numbers().collect();
        let number = (3..).find(|number| !taken.contains(number)).unwrap_or(3);
        let child = self
            .command
            .env(CHANNEL_VARIABLE, number.to_string())
            .fd(number, theirs)
            .spawn()?;
        let channel = Channel::over(ours, Peer::Child(child), Format::Json, &name);
        Ok(ChildLink::new(channel))
    }
}
