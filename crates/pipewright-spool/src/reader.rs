//! A reader of a spool: pieces of the stream whose checksum is right.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use crate::entry::{Entry, SIZE, Slot};
use crate::error::{Damage, Error, Result};
use crate::files::{FileSystem, StoredFile, checksum, read_exactly};
use crate::names;
use crate::shared::Shared;

/// What comes next in the stream.
#[derive(Debug)]
pub enum Next<F> {
    /// Bytes.
    Bytes(Piece<F>),
    /// The writer is there, and has not written more.
    NothingYet,
    /// The stream is complete; it has its producer's status where that is known.
    End(Option<i32>),
    /// There is no more, and no writer: the stream was cut off.
    CutOff,
}

/// Bytes in a file, checked.
#[derive(Debug)]
pub struct Piece<F> {
    /// The file.
    pub file: Arc<F>,
    /// Where they begin in the file.
    pub at: u64,
    /// The number of bytes.
    pub length: u64,
    /// Where they begin in the stream.
    pub offset: u64,
    /// When the last of them was written, as the time since 1970.
    pub time: Duration,
}

/// The segment that is being read.
#[derive(Debug)]
struct Open<F> {
    first: u64,
    data: Arc<F>,
    index: F,
    /// The next entry, and where its bytes begin in the stream.
    entry: u64,
    start: u64,
}

/// A reader, at some offset of the stream.
#[derive(Debug)]
pub struct Reader<F: FileSystem> {
    shared: Arc<Shared<F>>,
    name: Option<String>,
    offset: u64,
    open: Option<Open<F::File>>,
}

impl<F: FileSystem> Reader<F> {
    pub(crate) fn new(shared: Arc<Shared<F>>, name: Option<String>, offset: u64) -> Self {
        Self {
            shared,
            name,
            offset,
            open: None,
        }
    }

    /// Gives the offset of the next byte.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Gives what comes next, without waiting.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if the bytes are not those that were written; none of them was given then.
    pub fn next_piece(&mut self) -> Result<Next<F::File>> {
        let progress = self.shared.progress();
        if self.offset >= progress.committed {
            return Ok(match progress.complete {
                Some(status) => Next::End(status),
                None if progress.writing => Next::NothingYet,
                None => Next::CutOff,
            });
        }
        let offset = self.offset;
        let open = self.segment()?;
        loop {
            let (start, entry) = (open.start, open.next_entry()?);
            if entry.end <= offset {
                continue;
            }
            let (from, to) = (start - open.first, entry.end - open.first);
            let name = names::data(open.first);
            let sum = checksum(&*open.data, from, to, 0);
            let sum = sum.map_err(|error| Error::read(&name, error))?;
            if sum != Some(entry.checksum) {
                if self.shared.is_cut(start, entry.end) {
                    return Ok(Next::CutOff);
                }
                return Err(Damage::new(&name, from, "a byte of the stream").into());
            }
            let piece = Piece {
                file: Arc::clone(&open.data),
                at: offset - open.first,
                length: entry.end - offset,
                offset,
                time: Duration::from_nanos(entry.time),
            };
            self.offset = entry.end;
            return Ok(Next::Bytes(piece));
        }
    }

    /// Gives the CRC-32C of all that is left, from the index alone.
    pub(crate) fn checksum(mut self) -> Result<u32> {
        let committed = self.shared.progress().committed;
        let mut sum = 0;
        while self.offset < committed {
            let open = self.segment()?;
            let (start, entry) = (open.start, open.next_entry()?);
            let length = usize::try_from(entry.end - start).unwrap_or(usize::MAX);
            sum = crc32c::crc32c_combine(sum, entry.checksum, length);
            self.offset = entry.end;
        }
        Ok(sum)
    }

    /// Waits until [`next_piece`](Self::next_piece) has something, or the time is over.
    pub fn wait(&self, longest: Option<Duration>) {
        let offset = self.offset;
        self.shared.state().starving += 1;
        self.shared.wait(
            |progress| {
                progress.committed > offset || progress.complete.is_some() || !progress.writing
            },
            longest,
        );
        self.shared.state().starving -= 1;
    }

    /// Says that all before this offset is done with: it is never given again to a reader of this name.
    /// With [`Retain::Unread`](crate::Retain::Unread) its segments may be removed.
    ///
    /// # Errors
    ///
    /// What the file system said; [`Error::Sync`] and [`Error::Poisoned`] after a failed sync.
    pub fn acknowledge(&mut self, offset: u64) -> Result<()> {
        match &self.name {
            Some(name) => self.shared.acknowledge(name, offset.min(self.offset)),
            None => Ok(()),
        }
    }

    /// The segment that holds the next byte.
    fn segment(&mut self) -> Result<&mut Open<F::File>> {
        let first = {
            let state = self.shared.state();
            state.firsts.range(..=self.offset).next_back().copied()
        };
        let first =
            first.ok_or_else(|| Damage::new(&names::data(self.offset), 0, "a missing segment"))?;
        if self.open.as_ref().is_none_or(|open| open.first != first) {
            let open = |name: String| {
                let file = self.shared.files.open(&name);
                file.map_err(|error| Error::read(&name, error))
            };
            self.open = Some(Open {
                first,
                data: Arc::new(open(names::data(first))?),
                index: open(names::index(first))?,
                entry: 0,
                start: first,
            });
        }
        match &mut self.open {
            Some(open) => Ok(open),
            None => unreachable!("it was opened above"),
        }
    }
}

impl<F: StoredFile> Open<F> {
    fn next_entry(&mut self) -> Result<Entry> {
        let name = names::index(self.first);
        let at = self.entry * SIZE as u64;
        let mut bytes = [0; SIZE];
        let read = read_exactly(&self.index, &mut bytes, at);
        let read = read.map_err(|error| Error::read(&name, error))?;
        match Entry::decode(&bytes[..read], self.first, self.entry) {
            Slot::Valid(entry) if entry.end >= self.start => {
                self.entry += 1;
                self.start = entry.end;
                Ok(entry)
            }
            _ => Err(Damage::new(&name, at, "an entry").into()),
        }
    }
}
