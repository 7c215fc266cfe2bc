//! The process at the other end of a channel.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitStatus;

use pipewright::Child;

/// The process at the other end.
#[derive(Debug)]
pub(super) enum Peer {
    /// A child of this process, whose status can be learned.
    Child(Child),
    /// Any process, by its pidfd.
    Process(OwnedFd),
    /// One that cannot be seen from here: it is in another pid namespace. Its end shows as the end of
    /// the channel, which nobody else holds.
    #[cfg_attr(not(feature = "gate"), expect(dead_code))]
    Unseen,
}

impl Peer {
    pub(super) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Child(child) => Some(child.as_fd()),
            Self::Process(pidfd) => Some(pidfd.as_fd()),
            Self::Unseen => None,
        }
    }

    /// How it ended, where that can be known.
    pub(super) fn status(&self) -> Option<ExitStatus> {
        match self {
            Self::Child(child) => child.try_wait().ok().flatten(),
            Self::Process(_) | Self::Unseen => None,
        }
    }
}
