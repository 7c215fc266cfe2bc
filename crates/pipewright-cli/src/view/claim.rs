//! One live view a terminal at a time: who has it is known by a socket's name.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The right to paint on the controlling terminal. It ends with this value, or with the process,
/// however that ends.
///
/// The name is an abstract socket's: no file is left behind, no right to the terminal's device is
/// needed, and the kernel frees it after kill -9. Processes in different network namespaces do not
/// see each other's.
///
/// # References
///
/// Abstract sockets in [unix(7)](https://man7.org/linux/man-pages/man7/unix.7.html)
#[derive(Debug)]
pub(crate) struct Claim {
    _name: Option<UnixDatagram>,
}

impl Claim {
    /// Claims the terminal; `None` while another process has it.
    pub(crate) fn take() -> Option<Self> {
        match bind() {
            Ok(socket) => Some(Self {
                _name: Some(socket),
            }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => None,
            // No sockets here, as in some sandboxes: then nobody is asked.
            Err(_) => Some(Self { _name: None }),
        }
    }
}

/// A terminal is known by its session, of which it is the only one: its device has several names.
fn bind() -> io::Result<UnixDatagram> {
    let session = rustix::process::getsid(None)?.as_raw_pid();
    let namespace = std::fs::metadata("/proc/self/ns/pid").map_or(0, |it| it.ino());
    let name = format!("pipewright live view {session} {namespace}");
    UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?)
}
