//! The state of a spool, for whoever may look at its process.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pipewright_observe::workspace::SPOOL_STATE;
use pipewright_observe::{SpoolState, SpoolWait};
use pipewright_spool::{FileSystem, Spool};
use rustix::fs::{MemfdFlags, memfd_create};

/// A file in memory, which the observer finds among this process's descriptors.
pub(super) struct Board {
    /// Where there can be none, nobody is told.
    file: Option<File>,
    state: Mutex<SpoolState>,
    /// A durable offset is promised.
    is_durable: bool,
}

impl Board {
    pub(super) fn new(limit: Option<u64>, is_durable: bool) -> Self {
        let file = memfd_create(SPOOL_STATE, MemfdFlags::CLOEXEC);
        let state = SpoolState {
            limit,
            ..SpoolState::default()
        };
        Self {
            file: file.ok().map(File::from),
            state: Mutex::new(state),
            is_durable,
        }
    }

    /// Bytes up to this offset were taken in.
    pub(super) fn taken<F: FileSystem>(&self, spool: &Spool<F>, offset: u64) {
        self.tell(spool, |state| {
            state.taken = offset;
            state.waits = SpoolWait::Nothing;
        });
    }

    /// Bytes up to this offset were given.
    pub(super) fn given<F: FileSystem>(&self, spool: &Spool<F>, offset: u64) {
        self.tell(spool, |state| state.given = offset);
    }

    /// The stage before was kept waiting for so long, and still is.
    pub(super) fn waits<F: FileSystem>(&self, spool: &Spool<F>, why: SpoolWait, time: Duration) {
        self.tell(spool, |state| {
            state.waits = why;
            match why {
                SpoolWait::Full => state.full += time,
                SpoolWait::NoRoom => state.no_room += time,
                _ => {}
            }
        });
    }

    fn tell<F: FileSystem>(&self, spool: &Spool<F>, change: impl FnOnce(&mut SpoolState)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        let progress = spool.progress();
        state.durable = self.is_durable.then_some(progress.durable);
        state.held = state.taken.saturating_sub(progress.first);
        if let Some(file) = &self.file {
            // Who looks sees the state before, then.
            let _ = file.write_all_at(&state.encode(), 0);
        }
    }
}
