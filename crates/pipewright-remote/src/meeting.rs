//! Where a far half is found by the connections that come later: a socket with an abstract name, so that no
//! kill leaves a file behind. Each brings its descriptors, and waits until the far half lets go of it.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind,
    connect, listen, recv, recvmsg, sendmsg, socket_with, sockopt,
};

use crate::messages::Token;

/// The longest greeting that is handed over.
const LONGEST: usize = 1 << 12;

/// A place where connections come.
#[derive(Debug)]
pub(crate) struct Meeting(OwnedFd);

/// A connection that has come.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// Its greeting, as bytes.
    pub(crate) greeting: Vec<u8>,
    pub(crate) input: OwnedFd,
    pub(crate) output: OwnedFd,
    /// Whoever brought it waits for its end.
    pub(crate) usher: OwnedFd,
}

fn new_socket() -> rustix::io::Result<OwnedFd> {
    socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
}

/// Everybody on the host can read the name, so it has only half of the token.
fn address(token: Token) -> rustix::io::Result<SocketAddrUnix> {
    let half: String = token.0[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    SocketAddrUnix::new_abstract_name(format!("pipewright-remote-{half}").as_bytes())
}

/// Only this user's processes are let in, and believed.
fn is_own(socket: impl AsFd) -> bool {
    sockopt::socket_peercred(socket).is_ok_and(|peer| peer.uid == rustix::process::geteuid())
}

impl Meeting {
    /// Opens it. ADDRINUSE when somebody has done so for this token.
    pub(crate) fn open(token: Token) -> rustix::io::Result<Self> {
        let socket = new_socket()?;
        bind(&socket, &address(token)?)?;
        listen(&socket, 16)?;
        Ok(Self(socket))
    }

    /// Takes the next one; `None` if it was nobody of ours.
    pub(crate) fn take(&self) -> Option<Arrival> {
        let usher = accept_with(&self.0, SocketFlags::CLOEXEC).ok()?;
        if !is_own(&usher) {
            return None;
        }
        // Who connects speaks at once.
        let wait = Timespec::try_from(Duration::from_secs(1)).ok();
        poll(&mut [PollFd::new(&usher, PollFlags::IN)], wait.as_ref()).ok()?;
        let mut greeting = vec![0; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let message = recvmsg(
            &usher,
            &mut [IoSliceMut::new(&mut greeting)],
            &mut control,
            flags,
        )
        .ok()?;
        greeting.truncate(message.bytes);
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        let [input, output] = <[OwnedFd; 2]>::try_from(descriptors).ok()?;
        Some(Arrival {
            greeting,
            input,
            output,
            usher,
        })
    }
}

impl AsFd for Meeting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Hands a connection over to the far half of this token, and waits until that lets go of it.
pub(crate) fn hand_over(
    token: Token,
    greeting: &[u8],
    descriptors: [BorrowedFd<'_>; 2],
) -> rustix::io::Result<()> {
    let socket = new_socket()?;
    connect(&socket, &address(token)?)?;
    if !is_own(&socket) {
        return Err(Errno::ACCESS);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(
        &socket,
        &[IoSlice::new(greeting)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    // Nothing is ever sent back.
    rustix::io::retry_on_intr(|| recv(&socket, &mut [0; 1], RecvFlags::empty()))?;
    Ok(())
}
