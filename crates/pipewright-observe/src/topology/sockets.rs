//! Which sockets are connected with which, asked of the kernel's socket diagnosis.
//!
//! # References
//!
//! [sock_diag(7)](https://man7.org/linux/man-pages/man7/sock_diag.7.html),
//! [netlink(7)](https://man7.org/linux/man-pages/man7/netlink.7.html)

use std::collections::HashMap;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

use super::ends::SocketId;
use crate::error::{Error, Result};

const HEADER: usize = 16;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const REQUEST_ALL: u16 = 0x301;
/// `UDIAG_SHOW_PEER`, and the attribute it asks for, `UNIX_DIAG_PEER`.
const SHOW_PEER: u32 = 4;
const PEER: u16 = 2;
/// `struct unix_diag_msg`, before its attributes.
const SOCKET: usize = 16;

impl SocketId {
    /// The other end of each connected Unix socket of this network namespace.
    ///
    /// # Errors
    ///
    /// [`Error::System`] where the kernel does not tell (`CONFIG_UNIX_DIAG`), or a sandbox forbids
    /// the question.
    pub fn unix_peers() -> Result<HashMap<Self, Self>> {
        ask().map_err(|errno| Error::System {
            what: "ask which Unix sockets are connected (sock_diag)".into(),
            reason: errno.into(),
        })
    }
}

fn ask() -> Result<HashMap<SocketId, SocketId>, Errno> {
    let kernel = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    send(&kernel, &request(), SendFlags::empty())?;
    let mut peers = HashMap::new();
    let mut datagram = vec![0; 32 * 1024];
    loop {
        let (length, _) = match recv(&kernel, &mut datagram[..], RecvFlags::empty()) {
            Err(Errno::INTR) => continue,
            received => received?,
        };
        if read_datagram(&datagram[..length], &mut peers)? {
            return Ok(peers);
        }
    }
}

/// `struct nlmsghdr` and `struct unix_diag_req`: all states, each with its peer.
fn request() -> Vec<u8> {
    const LENGTH: u32 = 40;
    let mut request = Vec::with_capacity(LENGTH as usize);
    request.extend(LENGTH.to_ne_bytes());
    request.extend(BY_FAMILY.to_ne_bytes());
    request.extend(REQUEST_ALL.to_ne_bytes());
    request.extend([0; 8]); // sequence and port
    request.extend([AddressFamily::UNIX.as_raw() as u8, 0, 0, 0]);
    request.extend(u32::MAX.to_ne_bytes());
    request.extend([0; 4]); // no single inode
    request.extend(SHOW_PEER.to_ne_bytes());
    request.extend([0; 8]); // no cookie
    request
}

/// Reads one datagram of the answer; `true`: it was the last.
fn read_datagram(mut rest: &[u8], peers: &mut HashMap<SocketId, SocketId>) -> Result<bool, Errno> {
    while let (Some(length), Some(kind)) = (word(rest, 0), half_word(rest, 4)) {
        let Some(body) = rest.get(HEADER..length as usize) else {
            return Err(Errno::BADMSG);
        };
        match kind {
            DONE => return Ok(true),
            // The negative errno.
            ERROR => {
                let errno = word(body, 0).map_or(0, |errno| (errno as i32).wrapping_neg());
                return Err(match errno {
                    1..4096 => Errno::from_raw_os_error(errno),
                    _ => Errno::BADMSG,
                });
            }
            _ => peers.extend(pair(body)),
        }
        rest = rest.get(aligned(length as usize)..).unwrap_or_default();
    }
    Ok(false)
}

/// A socket and its peer, if it has one.
fn pair(body: &[u8]) -> Option<(SocketId, SocketId)> {
    let socket = word(body, 4)?;
    let mut attributes = body.get(SOCKET..)?;
    while let (Some(length), Some(kind)) = (half_word(attributes, 0), half_word(attributes, 2)) {
        if kind == PEER {
            let peer = word(attributes, 4)?;
            return Some((SocketId(socket.into()), SocketId(peer.into())));
        }
        // An attribute of no length would be read for ever.
        attributes = attributes.get(aligned(length.max(4).into())..)?;
    }
    None
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn half_word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut message = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend([0; 10]);
        message.extend(body);
        message
    }

    fn socket(inode: u32, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![1, 1, 1, 0];
        body.extend(inode.to_ne_bytes());
        body.extend([0; 8]);
        for (kind, value) in attributes {
            body.extend((4 + value.len() as u16).to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(*value);
            body.resize(aligned(body.len()), 0);
        }
        message(BY_FAMILY, &body)
    }

    #[test]
    fn peers_are_found_behind_other_attributes_and_sockets_without_one_left_out() {
        let (name, peer) = (b"\0name", 8_u32.to_ne_bytes());
        let mut datagram = socket(7, &[(0, name), (PEER, &peer)]);
        datagram.extend(socket(9, &[(0, name)]));
        let mut peers = HashMap::new();
        assert_eq!(read_datagram(&datagram, &mut peers), Ok(false));
        assert_eq!(peers, [(SocketId(7), SocketId(8))].into());
        assert_eq!(read_datagram(&message(DONE, &[0; 4]), &mut peers), Ok(true));
    }

    #[test]
    fn an_error_and_nonsense_are_errors_and_end() {
        let mut peers = HashMap::new();
        let refused = message(ERROR, &(-2_i32).to_ne_bytes());
        assert_eq!(read_datagram(&refused, &mut peers), Err(Errno::NOENT));
        for length in 0..40 {
            let _ = read_datagram(&vec![0; length], &mut peers);
            let _ = read_datagram(&vec![0xff; length], &mut peers);
        }
        let endless = socket(7, &[(5, &[]), (5, &[])]);
        let zero_length = [&endless[..HEADER + SOCKET], &[0; 8]].concat();
        let _ = read_datagram(&zero_length, &mut peers);
        assert!(peers.is_empty());
    }
}
