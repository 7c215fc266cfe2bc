//! Where one of the three standard descriptors of a child comes from.

use std::fs::File;
use std::io::{PipeReader, PipeWriter};
use std::os::fd::OwnedFd;

use crate::error::{Error, Result};

/// Where one of a child's descriptors 0, 1 and 2 comes from.
///
/// Anything that owns a descriptor turns into one: a [`File`], a pipe's end, a socket, an
/// [`OwnedFd`].
///
/// ```
/// use pipewright::{Command, Stdio};
///
/// let directory = tempfile::tempdir()?;
/// let log = std::fs::File::create(directory.path().join("log"))?;
/// Command::new("sh").args(["-c", "echo out; echo err >&2"])
///     .stdin(Stdio::Null)
///     .stdout(log)
///     .stderr(Stdio::SameAsStdout)
///     .spawn()?
///     .wait()?;
/// assert_eq!(std::fs::read_to_string(directory.path().join("log"))?, "out\nerr\n");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Stdio {
    /// The same as this process's.
    Inherit,
    /// `/dev/null`: reads give the end of file, writes are swallowed.
    Null,
    /// Nothing: the child starts without this descriptor, as after `>&-` in a shell.
    Closed,
    /// This descriptor. It is closed here once the child has it.
    Descriptor(OwnedFd),
    /// For stderr only: where stdout goes, `2>&1`.
    SameAsStdout,
    /// For stdout only: where stderr goes, `1>&2`.
    SameAsStderr,
}

impl Stdio {
    /// The same once more, for another child.
    pub(crate) fn duplicate(&self) -> Result<Self> {
        Ok(match self {
            Self::Inherit => Self::Inherit,
            Self::Null => Self::Null,
            Self::Closed => Self::Closed,
            Self::SameAsStdout => Self::SameAsStdout,
            Self::SameAsStderr => Self::SameAsStderr,
            Self::Descriptor(descriptor) => {
                let copy = descriptor.try_clone();
                Self::Descriptor(copy.map_err(|source| Error::System {
                    operation: "duplicate a descriptor for another child",
                    source,
                })?)
            }
        })
    }
}

impl From<OwnedFd> for Stdio {
    fn from(descriptor: OwnedFd) -> Self {
        Self::Descriptor(descriptor)
    }
}

macro_rules! from_owner {
    ($($owner:ty),* $(,)?) => {$(
        impl From<$owner> for Stdio {
            fn from(owner: $owner) -> Self {
                Self::Descriptor(owner.into())
            }
        }
    )*};
}

from_owner!(
    File,
    PipeReader,
    PipeWriter,
    std::net::TcpListener,
    std::net::TcpStream,
    std::net::UdpSocket,
    std::os::unix::net::UnixDatagram,
    std::os::unix::net::UnixListener,
    std::os::unix::net::UnixStream,
    std::process::ChildStdin,
    std::process::ChildStdout,
    std::process::ChildStderr,
);
