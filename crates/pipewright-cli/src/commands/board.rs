//! The state of a spool, or of a keeper, for whoever may look at its process.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pipewright::Child;
use pipewright_observe::workspace::{Board as Told, KEEPER_STATE, SPOOL_STATE};
use pipewright_observe::{Process, SpoolState, SpoolWait};
use pipewright_spool::{FileSystem, Spool};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;

/// A file in memory, which the observer finds among this process's descriptors.
pub(super) struct Board {
    /// Where there can be none, nobody is told.
    file: Option<File>,
    told: Mutex<Told>,
    limit: Option<u64>,
    /// A durable offset is promised.
    is_durable: bool,
    is_input: bool,
    /// Held by whoever waits for a run that has ended.
    reaping: Mutex<()>,
}

impl Board {
    /// Of a stage that is a spool.
    pub(super) fn new(limit: Option<u64>, is_durable: bool) -> Self {
        Self::named(SPOOL_STATE, limit, is_durable)
    }

    /// Of a stage's keeper.
    pub(super) fn of_keeper(is_durable: bool) -> Self {
        // The observer looks at no other program.
        let _ = rustix::thread::set_name(c"pipewright");
        let board = Self::named(KEEPER_STATE, None, is_durable);
        board.change(|_| {});
        board
    }

    fn named(name: &str, limit: Option<u64>, is_durable: bool) -> Self {
        Self {
            file: memfd_create(name, MemfdFlags::CLOEXEC).ok().map(File::from),
            told: Mutex::new(Told::default()),
            limit,
            is_durable,
            is_input: name == KEEPER_STATE,
            reaping: Mutex::new(()),
        }
    }

    /// Bytes up to these offsets were taken in, and given, before.
    pub(super) fn begin<F: FileSystem>(&self, spool: &Spool<F>, taken: u64, given: u64) {
        self.tell(spool, |state| (state.taken, state.given) = (taken, given));
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

    /// A stage was given its recorded input up to this offset.
    pub(super) fn fed(&self, offset: u64) {
        self.change(|told| {
            if let Some(state) = &mut told.spool {
                state.given = offset;
            }
        });
    }

    /// Waits for a run of the stage's program. What that has read and written is taken down first, for the
    /// kernel then counts it as this process's own.
    pub(super) fn await_end(&self, child: &Child) -> pipewright::Result<ExitStatus> {
        let mut polled = [PollFd::new(child, PollFlags::IN)];
        while poll(&mut polled, None) == Err(Errno::INTR) {}
        let _reaping = self.reaping.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = child.id();
        let is_told = self.lock().ended.last == pid;
        let counters = Process::open(pid).and_then(|process| process.io());
        if let (false, Ok(counters)) = (is_told, counters) {
            self.change(|told| {
                told.ended.last = pid;
                told.ended.read += counters.read;
                told.ended.written += counters.written;
            });
        }
        child.wait()
    }

    fn tell<F: FileSystem>(&self, spool: &Spool<F>, change: impl FnOnce(&mut SpoolState)) {
        let progress = spool.progress();
        self.change(|told| {
            let state = told.spool.get_or_insert_with(|| SpoolState {
                limit: self.limit,
                is_input: self.is_input,
                ..SpoolState::default()
            });
            change(state);
            state.durable = self.is_durable.then_some(progress.durable);
            state.held = state.taken.saturating_sub(progress.first);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Told)) {
        let mut told = self.lock();
        change(&mut told);
        if let Some(file) = &self.file {
            // Who looks sees the state before, then.
            let _ = file.write_all_at(&told.encode(), 0);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
