//! Ending a capture from another thread.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

use crate::error::{Error, Result};

/// Ends captures and line iterators from another thread.
///
/// It is a flag that is raised once. Clones share it, and one can be given to any number of
/// captures, before or after it was raised.
///
/// ```
/// use pipewright::{Canceller, Command, Error};
///
/// let canceller = Canceller::new()?;
/// let other = canceller.clone();
/// let thread = std::thread::spawn(move || other.cancel());
///
/// let error = Command::new("sleep").arg("60").capture().canceller(&canceller).output().unwrap_err();
/// assert!(matches!(error, Error::Cancelled { .. }));
/// thread.join().unwrap();
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # References
///
/// [eventfd(2)](https://man7.org/linux/man-pages/man2/eventfd.2.html)
#[derive(Debug, Clone)]
pub struct Canceller(Arc<OwnedFd>);

impl Canceller {
    /// A flag that is not raised.
    ///
    /// # Errors
    ///
    /// [`Error::System`] when no descriptor is left.
    pub fn new() -> Result<Self> {
        let flag = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(Error::system("make an event descriptor"))?;
        Ok(Self(Arc::new(flag)))
    }

    /// Raises the flag. Whatever waits with it ends now, and what is started with it later at once.
    pub fn cancel(&self) {
        // It can fail only when the counter is at its limit, and then it is raised already.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}

/// Readable once the flag is raised, so that it can be polled together with other descriptors.
///
/// ```
/// use rustix::event::{PollFd, PollFlags, Timespec, poll};
///
/// let canceller = pipewright::Canceller::new()?;
/// let at_once = Timespec::default();
/// let is_raised = || poll(&mut [PollFd::new(&canceller, PollFlags::IN)], Some(&at_once));
/// assert_eq!(is_raised()?, 0);
/// canceller.cancel();
/// assert_eq!(is_raised()?, 1);
/// # Ok::<(), std::io::Error>(())
/// ```
impl AsFd for Canceller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
