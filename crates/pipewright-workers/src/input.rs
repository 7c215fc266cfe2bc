//! The input of a stage, taken in chunks that end where a record does.

use std::io::ErrorKind::{Interrupted, WouldBlock};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use pipewright::poll::{Deadline, poll};
use rustix::event::{PollFd, PollFlags};

use crate::chunk::{Chunk, Store};
use crate::error::{Error, Result};
use crate::records::Records;

/// How much is to be taken.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Size {
    /// About so many bytes, up to the end of a record.
    About(u64),
    /// Just so many: an earlier run has cut here.
    Exactly(u64),
}

/// What became of taking a chunk.
#[derive(Debug)]
pub(crate) enum Taken {
    /// A chunk of whole records; more may follow.
    Chunk(Chunk),
    /// The rest of the input. It may lack the end of its last record, and be empty.
    Last(Chunk),
    /// Somebody called for attention; what was read so far is kept.
    Called,
    /// The command that reads the outputs has had enough.
    ReaderGone,
}

/// The input, and what was read of it behind the last cut.
pub(crate) struct Input {
    descriptor: OwnedFd,
    records: Records,
    store: Store,
    /// Whole and unfinished records that were not taken yet.
    kept: Chunk,
    ended: bool,
}

impl Input {
    pub(crate) fn new(descriptor: OwnedFd, records: Records, store: &Store) -> Result<Self> {
        Ok(Self {
            descriptor,
            records,
            kept: store.chunk().map_err(Error::store)?,
            store: store.clone(),
            ended: false,
        })
    }

    /// Takes a chunk. One of about so many bytes has fewer when nothing more came for `idle`, and more
    /// while no record is whole. `call` is readable when somebody calls for attention; `next` is looked at for
    /// whether it still has a reader.
    pub(crate) fn take(
        &mut self,
        size: Size,
        idle: Duration,
        call: BorrowedFd<'_>,
        next: Option<BorrowedFd<'_>>,
    ) -> Result<Taken> {
        let (Size::About(wanted) | Size::Exactly(wanted)) = size;
        let mut wanted = wanted.max(1);
        let mut is_idle = false;
        loop {
            if let Size::Exactly(length) = size
                && self.kept.len() >= length
            {
                return Ok(Taken::Chunk(self.swap(Some(length))?));
            }
            if self.ended {
                return Ok(Taken::Last(self.swap(None)?));
            }
            if matches!(size, Size::About(_)) && (self.kept.len() >= wanted || is_idle) {
                match self.kept.last_cut(&self.records).map_err(Error::store)? {
                    Some(cut) => return Ok(Taken::Chunk(self.swap(Some(cut))?)),
                    // One record is larger than a chunk.
                    None => wanted = wanted.max(self.kept.len().saturating_mul(2)),
                }
            }
            let deadline = if self.kept.len() > 0 && !is_idle {
                Deadline::after(idle)
            } else {
                Deadline::from(None)
            };
            let mut polled = [
                PollFd::new(&self.descriptor, PollFlags::IN),
                PollFd::from_borrowed_fd(call, PollFlags::IN),
                // Errors are told unasked: a pipe without readers is one.
                PollFd::from_borrowed_fd(next.unwrap_or(call), PollFlags::empty()),
            ];
            let polled = &mut polled[..2 + usize::from(next.is_some())];
            let ready = poll(polled, deadline).map_err(|error| Error::Read(error.into()))?;
            if !polled[1].revents().is_empty() {
                return Ok(Taken::Called);
            }
            if polled
                .get(2)
                .is_some_and(|next| next.revents().contains(PollFlags::ERR))
            {
                return Ok(Taken::ReaderGone);
            }
            is_idle = ready == 0;
            if !is_idle {
                self.read(wanted)?;
            }
        }
    }

    /// Where the input comes from. Who reads from it takes what comes before all that is taken later.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Takes up to `most` bytes of what there is just now, wherever records end; `None` when that is nothing.
    pub(crate) fn piece(&mut self, most: u64) -> Result<Option<Chunk>> {
        let mut polled = [PollFd::new(&self.descriptor, PollFlags::IN)];
        let ready = poll(&mut polled, Deadline::after(Duration::ZERO))
            .map_err(|error| Error::Read(error.into()))?;
        if ready == 0 {
            return Ok(None);
        }
        self.read(most)?;
        if self.kept.len() == 0 && !self.ended {
            return Ok(None);
        }
        self.swap(None).map(Some)
    }

    fn read(&mut self, wanted: u64) -> Result<()> {
        let most = wanted.saturating_sub(self.kept.len()).max(1);
        // A disk that is full while the input is read shows here, too.
        match self.kept.append_from(self.descriptor.as_fd(), most) {
            Ok(0) => self.ended = true,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), WouldBlock | Interrupted) => {}
            Err(error) if is_full(&error) => return Err(Error::Store(error)),
            Err(error) => return Err(Error::Read(error)),
        }
        Ok(())
    }

    /// Gives what is kept up to `cut`, and keeps the rest.
    fn swap(&mut self, cut: Option<u64>) -> Result<Chunk> {
        let mut next = self.store.chunk().map_err(Error::store)?;
        if let Some(cut) = cut {
            next.append(&self.kept, cut, self.kept.len())
                .map_err(Error::store)?;
            self.kept.truncate(cut).map_err(Error::store)?;
        }
        Ok(std::mem::replace(&mut self.kept, next))
    }

    /// Gives what is left: what was read and not taken, and the descriptor for the rest.
    pub(crate) fn into_rest(self) -> (Chunk, OwnedFd) {
        (self.kept, self.descriptor)
    }
}

/// Tells whether it was the chunk that had no room, and not the input that failed.
fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
