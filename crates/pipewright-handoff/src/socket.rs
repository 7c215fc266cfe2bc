//! One SEQPACKET socket: whole packets, with descriptors attached.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::Timeout;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use crate::error::{Error, Result};
use crate::frame::{DESCRIPTOR_LIMIT, PACKET_LIMIT};

/// A socket that keeps packets whole.
#[derive(Debug)]
pub(crate) struct PacketSocket {
    socket: OwnedFd,
}

/// Something received.
#[derive(Debug)]
pub(crate) enum Received {
    /// A packet of this many bytes, which may be more than the buffer holds. `cut`: descriptors
    /// came with it that could not be received.
    Packet { length: usize, cut: bool },
    /// Nobody holds the other end any more.
    End,
}

impl PacketSocket {
    pub(crate) fn pair() -> Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
                .map_err(Error::system("make a socket pair"))?;
        Ok((Self { socket: ours }, theirs))
    }

    pub(crate) fn new(socket: OwnedFd) -> Result<Self> {
        let kind = rustix::net::sockopt::socket_type(&socket)
            .map_err(Error::system("look at the channel's socket"))?;
        if kind != SocketType::SEQPACKET {
            let got = format_args!("{kind:?}");
            return Err(Error::protocol("a socket of type SEQPACKET", got));
        }
        Ok(Self { socket })
    }

    /// Sends a packet, or nothing. Never blocks, never raises SIGPIPE.
    pub(crate) fn try_send(
        &self,
        packet: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), Errno> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        if descriptors.is_empty() {
            return rustix::io::retry_on_intr(|| rustix::net::send(&self.socket, packet, flags))
                .map(|_| ());
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTOR_LIMIT))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(Errno::TOOMANYREFS);
        }
        let parts = [IoSlice::new(packet)];
        rustix::io::retry_on_intr(|| {
            rustix::net::sendmsg(&self.socket, &parts, &mut control, flags)
        })
        .map(|_| ())
    }

    /// Sets how long [`receive`](Self::receive) waits when it may.
    pub(crate) fn set_wait(&self, wait: Duration) {
        // Without a limit a receive that may wait could wait for ever; then the socket never waits.
        if rustix::net::sockopt::set_socket_timeout(&self.socket, Timeout::Recv, Some(wait))
            .is_err()
        {
            let _ = rustix::io::ioctl_fionbio(&self.socket, true);
        }
    }

    /// Takes the next packet into the buffer, and its descriptors into the list. If there is none
    /// it fails with EAGAIN, with `may_wait` after as long as [`set_wait`](Self::set_wait) said.
    ///
    /// Without a list the kernel closes the descriptors, and the call is cheaper.
    pub(crate) fn receive(
        &self,
        buffer: &mut [u8; PACKET_LIMIT],
        descriptors: Option<&mut Vec<OwnedFd>>,
        may_wait: bool,
    ) -> Result<Received, Errno> {
        // TRUNC: the length told is the packet's, also when it does not fit.
        let mut flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::TRUNC;
        flags.set(RecvFlags::DONTWAIT, !may_wait);
        let received = match descriptors {
            Some(descriptors) => self.receive_with_control(buffer, descriptors, flags),
            None => rustix::io::retry_on_intr(|| {
                rustix::net::recv(&self.socket, &mut buffer[..], flags)
            })
            .map(|(_, length)| (length, false)),
        };
        match received {
            // The peer closed its end while packets of ours were unread in it.
            Err(Errno::CONNRESET) => Ok(Received::End),
            Ok((0, _)) if self.hung_up() => Ok(Received::End),
            Ok((length, cut)) => Ok(Received::Packet { length, cut }),
            Err(errno) => Err(errno),
        }
    }

    fn receive_with_control(
        &self,
        buffer: &mut [u8; PACKET_LIMIT],
        descriptors: &mut Vec<OwnedFd>,
        flags: RecvFlags,
    ) -> Result<(usize, bool), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTOR_LIMIT))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut parts = [IoSliceMut::new(buffer)];
            match rustix::net::recvmsg(&self.socket, &mut parts, &mut control, flags) {
                Err(Errno::INTR) => {}
                result => break result?,
            }
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(arrived) = message {
                descriptors.extend(arrived);
            }
        }
        let cut = received.flags.contains(ReturnFlags::CTRUNC);
        Ok((received.bytes, cut))
    }

    /// Tells the end of the channel from a packet of no bytes.
    fn hung_up(&self) -> bool {
        use pipewright::poll::{Deadline, poll};
        use rustix::event::{PollFd, PollFlags};
        let mut polled = [PollFd::new(&self.socket, PollFlags::RDHUP)];
        poll(&mut polled, Deadline::now()).is_ok_and(|ready| ready > 0)
    }

    /// Duplicates the descriptor, at this number or above.
    pub(crate) fn duplicate_above(&self, number: i32) -> Result<Self> {
        let socket = rustix::io::fcntl_dupfd_cloexec(&self.socket, number)
            .map_err(Error::system("move the channel out of the way"))?;
        Ok(Self { socket })
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
