//! What the writer and the readers of a spool know of each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cursor::Cursor;
use crate::error::{Error, Result};
use crate::files::FileSystem;
use crate::names;
use crate::options::{Options, Retain, Sync};
use crate::recovery::Found;

/// How far a spool is. Offsets are bytes from the beginning of the stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Progress {
    /// The offset of the first byte that is still held.
    pub first: u64,
    /// The offset behind the last byte that readers may have.
    pub committed: u64,
    /// What lies below this offset survives a power cut.
    pub durable: u64,
    /// The stream is complete; it has its producer's status where that is known.
    pub complete: Option<Option<i32>>,
    /// There is a writer.
    pub writing: bool,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) firsts: BTreeSet<u64>,
    pub(crate) released: u64,
    pub(crate) committed: u64,
    pub(crate) durable: u64,
    pub(crate) complete: Option<Option<i32>>,
    pub(crate) writing: bool,
    pub(crate) poisoned: bool,
    /// Readers that have nothing to read.
    pub(crate) starving: usize,
    /// What lies behind the durable offset may not be there.
    unchecked: bool,
}

impl State {
    fn progress(&self) -> Progress {
        Progress {
            first: self.firsts.first().copied().unwrap_or(self.released),
            committed: self.committed,
            durable: self.durable,
            complete: self.complete,
            writing: self.writing,
        }
    }
}

#[derive(Debug)]
struct Cursors<F> {
    readers: BTreeMap<String, Cursor<F>>,
    released: Option<Cursor<F>>,
}

/// The files and the state of a spool.
#[derive(Debug)]
pub(crate) struct Shared<F: FileSystem> {
    pub(crate) files: F,
    pub(crate) options: Options,
    /// Bytes behind the last entry, when it was opened to be read.
    pub(crate) left_over: u64,
    state: Mutex<State>,
    changed: Condvar,
    cursors: Mutex<Cursors<F::File>>,
}

impl<F: FileSystem> Shared<F> {
    pub(crate) fn new(files: F, options: Options, found: Found<F::File>, writing: bool) -> Self {
        Self {
            files,
            options,
            left_over: if writing { 0 } else { found.loose },
            state: Mutex::new(State {
                firsts: found.firsts,
                released: found.released,
                committed: found.end,
                durable: found.durable,
                complete: found.last,
                writing,
                poisoned: false,
                starving: 0,
                unchecked: found.unchecked,
            }),
            changed: Condvar::new(),
            cursors: Mutex::new(Cursors {
                readers: BTreeMap::new(),
                released: found.released_cursor,
            }),
        }
    }

    /// Opens the cursor of a reader, and gives the offset that it goes on from.
    pub(crate) fn reader(&self, name: &str) -> Result<u64> {
        let file_name = names::reader(name);
        let create = || {
            let file = self.files.create(&file_name);
            file.map_err(|error| Error::write(&file_name, error))
        };
        let start = self.state().released;
        let cursor = match Cursor::read(create()?, &file_name)? {
            Some(cursor) => cursor,
            None => Cursor::new(create()?, &file_name, start)?,
        };
        // One that a dead process wrote may be nowhere but in memory.
        if self.options.sync == Sync::Disk {
            self.or_poison(cursor.sync())?;
            let synced = self.files.sync();
            self.or_poison(synced.map_err(|error| Error::sync(".", error)))?;
        }
        let offset = cursor.offset().max(start);
        self.cursors().readers.insert(name.to_owned(), cursor);
        Ok(offset)
    }

    pub(crate) fn progress(&self) -> Progress {
        self.state().progress()
    }

    pub(crate) fn wait(
        &self,
        enough: impl Fn(&Progress) -> bool,
        longest: Option<Duration>,
    ) -> Progress {
        let deadline = longest.and_then(|longest| Instant::now().checked_add(longest));
        let mut state = self.state();
        loop {
            let progress = state.progress();
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if enough(&progress) || left.is_some_and(|left| left.is_zero()) {
                return progress;
            }
            state = match left {
                Some(left) => {
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let waited = self.changed.wait(state);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }

    /// Notes what a reader has done with, and removes segments that nobody needs.
    pub(crate) fn acknowledge(&self, reader: &str, offset: u64) -> Result<()> {
        if self.state().poisoned {
            return Err(Error::Poisoned);
        }
        let mut cursors = self.cursors();
        if let Some(cursor) = cursors.readers.get_mut(reader) {
            if offset <= cursor.offset() {
                return Ok(());
            }
            cursor.write(offset)?;
            if self.options.sync == Sync::Disk {
                self.or_poison(cursor.sync())?;
            }
        }
        self.release(&mut cursors)
    }

    /// Removes segments that all readers have acknowledged, where they are not to be kept.
    pub(crate) fn release_read(&self) -> Result<()> {
        self.release(&mut self.cursors())
    }

    /// What says that they are not needed reaches the disk first.
    fn release(&self, cursors: &mut Cursors<F::File>) -> Result<()> {
        if self.options.retain == Retain::Everything {
            return Ok(());
        }
        let done = cursors.readers.values().map(Cursor::offset).min();
        let (firsts, keep) = {
            let state = self.state();
            let Some(keep) = done.and_then(|done| state.firsts.range(..=done).next_back().copied())
            else {
                return Ok(());
            };
            let firsts: Vec<_> = state.firsts.range(..keep).copied().collect();
            (firsts, keep)
        };
        if firsts.is_empty() {
            return Ok(());
        }
        let lasts = self.files.lasts();
        if lasts {
            for cursor in cursors.readers.values() {
                self.or_poison(cursor.sync())?;
            }
        }
        match &mut cursors.released {
            Some(cursor) => cursor.write(keep)?,
            none => {
                let file = self.files.create(names::RELEASED);
                let file = file.map_err(|error| Error::write(names::RELEASED, error))?;
                *none = Some(Cursor::new(file, names::RELEASED, keep)?);
            }
        }
        if lasts {
            if let Some(cursor) = &cursors.released {
                self.or_poison(cursor.sync())?;
            }
            self.or_poison(self.files.sync().map_err(|error| Error::sync(".", error)))?;
        }
        for &first in &firsts {
            for name in [names::index(first), names::data(first)] {
                let removed = self.files.remove(&name);
                removed.map_err(|error| Error::write(&name, error))?;
            }
        }
        self.change(|state| {
            state.released = keep;
            state.firsts.retain(|first| *first >= keep);
        });
        Ok(())
    }

    /// Bytes that end at `end` are not as they were written: if nobody knew them to be there, the stream was
    /// cut off where they begin. Tells whether it was.
    pub(crate) fn is_cut(&self, begin: u64, end: u64) -> bool {
        let mut state = self.state();
        let is_cut = state.unchecked && end > state.durable;
        if is_cut {
            (state.committed, state.complete) = (begin, None);
        }
        is_cut
    }

    /// After a failed sync nothing more is written.
    pub(crate) fn or_poison<T>(&self, result: Result<T>) -> Result<T> {
        if matches!(result, Err(Error::Sync { .. })) {
            self.change(|state| state.poisoned = true);
        }
        result
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cursors(&self) -> MutexGuard<'_, Cursors<F::File>> {
        self.cursors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
