//! Descriptors that are handed over by name, and what each can be taken as.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use rustix::fs::{FileType, OFlags};

use crate::error::{DescriptorFault, DescriptorKind, Error, Result};

impl DescriptorKind {
    /// Looks at an open descriptor.
    ///
    /// # Errors
    ///
    /// [`Error::System`] when the kernel does not tell.
    ///
    /// # References
    ///
    /// [fstat(2)](https://man7.org/linux/man-pages/man2/fstat.2.html)
    pub fn of(descriptor: impl AsFd) -> Result<Self> {
        let failed = || Error::system("look at a descriptor");
        let stat = rustix::fs::fstat(&descriptor).map_err(failed())?;
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Fifo => {
                let flags = rustix::fs::fcntl_getfl(&descriptor).map_err(failed())?;
                match flags & OFlags::RWMODE {
                    OFlags::WRONLY => Self::PipeWriter,
                    OFlags::RDWR => Self::Fifo,
                    _ => Self::PipeReader,
                }
            }
            FileType::Socket => Self::Socket,
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::CharacterDevice if rustix::termios::isatty(&descriptor) => Self::Terminal,
            _ => Self::Other,
        })
    }
}

/// A terminal, or its other side.
#[derive(Debug)]
pub struct Terminal(OwnedFd);

impl From<OwnedFd> for Terminal {
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }
}

impl From<Terminal> for OwnedFd {
    fn from(terminal: Terminal) -> Self {
        terminal.0
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A type as which a named descriptor can be taken.
///
/// A type of one's own, which accepts directories only:
///
/// ```
/// use std::fs::File;
/// use std::os::fd::OwnedFd;
/// use pipewright_handoff::{DescriptorKind, FromDescriptor};
///
/// struct Directory(File);
/// impl From<OwnedFd> for Directory {
///     fn from(descriptor: OwnedFd) -> Self {
///         Self(descriptor.into())
///     }
/// }
/// impl FromDescriptor for Directory {
///     const KINDS: &'static [DescriptorKind] = &[DescriptorKind::Directory];
/// }
/// assert!(Directory::KINDS.contains(&DescriptorKind::of(File::open("/")?)?));
/// assert!(!Directory::KINDS.contains(&DescriptorKind::of(tempfile::tempfile()?)?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait FromDescriptor: From<OwnedFd> {
    /// The kinds that this type can be; empty for any.
    const KINDS: &'static [DescriptorKind];
}

macro_rules! from_descriptor {
    ($($owner:ty: [$($kind:ident),*]),* $(,)?) => {$(
        impl FromDescriptor for $owner {
            const KINDS: &'static [DescriptorKind] = &[$(DescriptorKind::$kind),*];
        }
    )*};
}

from_descriptor!(
    PipeReader: [PipeReader, Fifo],
    PipeWriter: [PipeWriter, Fifo],
    UnixStream: [Socket],
    UnixListener: [Socket],
    UnixDatagram: [Socket],
    std::net::TcpStream: [Socket],
    std::net::TcpListener: [Socket],
    std::net::UdpSocket: [Socket],
    File: [File, Directory],
    Terminal: [Terminal],
    OwnedFd: [],
);

/// The named descriptors that arrived. `None`: taken.
#[derive(Debug, Default)]
pub(crate) struct Arrived(pub(crate) BTreeMap<String, Option<OwnedFd>>);

impl Arrived {
    pub(crate) fn take<T: FromDescriptor>(&mut self, name: &str) -> Result<T> {
        let fault = |fault| Error::Descriptor {
            name: name.to_owned(),
            fault,
        };
        let given = || self.0.keys().cloned().collect();
        let Some(place) = self.0.get(name) else {
            return Err(fault(DescriptorFault::NotGiven { given: given() }));
        };
        let Some(descriptor) = place else {
            return Err(fault(DescriptorFault::TakenAlready));
        };
        let actual = DescriptorKind::of(descriptor)?;
        if !T::KINDS.is_empty() && !T::KINDS.contains(&actual) {
            return Err(fault(DescriptorFault::WrongKind {
                actual,
                wanted: T::KINDS,
            }));
        }
        let taken = self.0.get_mut(name).and_then(Option::take);
        taken
            .map(T::from)
            .ok_or_else(|| fault(DescriptorFault::TakenAlready))
    }
}
