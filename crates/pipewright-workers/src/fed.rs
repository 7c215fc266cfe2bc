//! A run whose input ends when that is said, and not when this process does.
//!
//! Where the command writes to where everybody sees it, the end of its input means that it has read all
//! there is. If this process is killed the kernel closes its end of the pipe first and sends the
//! parent-death signal then: in between the command would see an end that is none. So the writing end is
//! also put into the queue of a socket, and the command has the socket: as long as it lives the pipe has
//! a writer. To end the input, the end is taken out of the queue again.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use pipewright::{Child, Command, PipeExt, PipeWriter, Signal, Stdio};
use rustix::io::{Errno, IoSlice};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType, recv, sendmsg, socketpair,
};

use crate::chunk::Chunk;
use crate::error::{Error, Result};
use crate::order::End;
use crate::worker::{PIPE, end_of, feed};

/// A command that is being fed. It does not go on alone: dropped, it is killed.
pub(crate) struct Fed {
    // Before the end of its input, which must not be taken for the end of all.
    child: Child,
    input: PipeWriter,
    /// Holds another copy of `input` in its queue.
    queue: OwnedFd,
}

impl Fed {
    /// Starts the command, which writes to `stdout`.
    pub(crate) fn start(command: Command, stdout: impl Into<Stdio>) -> Result<Self> {
        let (reader, input) = pipewright::pipe().map_err(Error::Start)?;
        // A refusal leaves a smaller pipe.
        let _ = reader.set_capacity(PIPE);
        let (queue, copy) = queue_with(&input).map_err(|error| Error::Write(error.into()))?;
        // Its number here is one that the command has nothing else at.
        let number = copy.as_raw_fd();
        let child = command
            .fd(number, copy)
            .stdin(reader)
            .stdout(stdout)
            .parent_death_signal(Signal::KILL)
            .kill_on_drop()
            .spawn()
            .map_err(Error::Start)?;
        Ok(Self {
            child,
            input,
            queue,
        })
    }

    /// The end of the pipe to write to.
    pub(crate) fn input(&self) -> &PipeWriter {
        &self.input
    }

    /// Writes a chunk; `false` when the command reads no more.
    pub(crate) fn feed(&self, chunk: &Chunk) -> Result<bool> {
        feed(chunk, &self.input)
    }

    /// Says that this was all of the input, and waits for the command's end.
    pub(crate) fn end(self) -> Result<End> {
        // Without room for a descriptor: the kernel closes what it carries.
        recv(&self.queue, &mut [0; 1], RecvFlags::DONTWAIT)
            .map_err(|error| Error::Write(error.into()))?;
        drop((self.queue, self.input));
        self.child.wait().map(end_of).map_err(Error::Start)
    }
}

/// A socket, twice, with a copy of this descriptor in its queue.
fn queue_with(input: &PipeWriter) -> std::result::Result<(OwnedFd, OwnedFd), Errno> {
    let (sends, queue) = socketpair(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let descriptors = [input.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fits = control.push(SendAncillaryMessage::ScmRights(&descriptors));
    debug_assert!(fits, "there is room for one");
    let sent = sendmsg(
        &sends,
        &[IoSlice::new(b"0")],
        &mut control,
        SendFlags::empty(),
    )?;
    debug_assert_eq!(sent, 1);
    let copy = rustix::io::fcntl_dupfd_cloexec(&queue, 3)?;
    Ok((queue, copy))
}
