//! The one writer of a spool.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::entry::{Entry, SIZE};
use crate::error::{Error, Result};
use crate::files::{FileSystem, StoredFile, checksum, write_all};
use crate::names;
use crate::options::Sync;
use crate::shared::Shared;

/// So that an index stays small however slowly bytes come.
const MOST_ENTRIES: u64 = 8192;

/// So many bytes are worth an entry, if a reader has nothing else to do.
const WORTHWHILE: u64 = 256 << 10;

/// The segment that is being written.
#[derive(Debug)]
pub(crate) struct Segment<F> {
    first: u64,
    pub(crate) data: F,
    index: F,
    entries: u64,
    /// The bytes that it is to hold.
    most: u64,
    /// Offsets in the stream.
    end: u64,
    committed: u64,
    /// Of the bytes between the two.
    checksum: u32,
}

impl<F: StoredFile> Segment<F> {
    /// Opens the files, and makes those that are not there.
    pub(crate) fn open<S: FileSystem<File = F>>(
        files: &S,
        first: u64,
        entries: u64,
        end: u64,
        most: u64,
    ) -> Result<Self> {
        let open = |name: String| {
            let file = files.create(&name);
            file.map_err(|error| Error::write(&name, error))
        };
        Ok(Self {
            first,
            data: open(names::data(first))?,
            index: open(names::index(first))?,
            entries,
            most,
            end,
            committed: end,
            checksum: 0,
        })
    }

    /// Takes in bytes that stand behind the last entry.
    pub(crate) fn adopt(&mut self, bytes: u64, checksum: u32) {
        self.end += bytes;
        self.checksum = checksum;
    }

    fn is_full(&self) -> bool {
        self.end - self.first >= self.most || self.entries >= MOST_ENTRIES
    }

    fn write_entry(&mut self, entry: Entry) -> Result<()> {
        let bytes = entry.encode(self.first, self.entries);
        write_all(&self.index, &bytes, self.entries * SIZE as u64)
            .map_err(|error| Error::write(&names::index(self.first), error))
    }

    fn sync(&self, file: &F, name: &str) -> Result<()> {
        file.sync_data().map_err(|error| Error::sync(name, error))
    }
}

/// The one writer of a spool.
#[derive(Debug)]
pub struct Writer<F: FileSystem> {
    shared: Arc<Shared<F>>,
    segment: Option<Segment<F::File>>,
    end: u64,
    /// There are bytes that are not committed yet.
    pending: bool,
    /// When the last group was committed.
    last: Option<Instant>,
}

impl<F: FileSystem> Writer<F> {
    pub(crate) fn new(shared: Arc<Shared<F>>, segment: Option<Segment<F::File>>, end: u64) -> Self {
        let pending = end > shared.progress().committed;
        Self {
            shared,
            segment,
            end,
            pending,
            last: None,
        }
    }

    /// Gives the offset behind the last byte that was written.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Writes some of the bytes, and tells how many. They survive the death of this process.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoom`] and [`Error::Full`], after which the same call may be made again; else the
    /// spool is of no more use.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let room = self.room()?;
        let length = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        let piece = &bytes[..length];
        let segment = self.segment()?;
        let written = segment
            .data
            .write_at(piece, segment.end - segment.first)
            .map_err(|error| Error::write(&names::data(segment.first), error))?;
        segment.checksum = crc32c::crc32c_append(segment.checksum, &piece[..written]);
        self.took(written as u64);
        Ok(written)
    }

    /// Moves some bytes from a pipe, and tells how many: 0 at its end. What has left the pipe survives
    /// the death of this process. `None` where the kernel cannot do it from this descriptor: read, and
    /// [`write`](Self::write), then.
    ///
    /// # Errors
    ///
    /// As for `write`; [`Error::Read`] may also be the pipe's.
    pub fn splice_from(&mut self, pipe: BorrowedFd<'_>) -> Result<Option<usize>> {
        let room = self.room()?;
        let segment = self.segment()?;
        let name = names::data(segment.first);
        let at = segment.end - segment.first;
        let length = usize::try_from(room.min(1 << 20)).unwrap_or(usize::MAX);
        let taken = match segment.data.splice_from(pipe, length, at) {
            Ok(taken) => taken,
            Err(error) => {
                return match error.kind() {
                    io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => Ok(None),
                    _ => Err(Error::write(&name, error)),
                };
            }
        };
        let to = at + taken as u64;
        let sum = checksum(&segment.data, at, to, segment.checksum);
        let sum = sum.map_err(|error| Error::read(&name, error))?;
        segment.checksum =
            sum.ok_or_else(|| Error::read(&name, io::ErrorKind::UnexpectedEof.into()))?;
        self.took(taken as u64);
        Ok(Some(taken))
    }

    /// Tells how long bytes may still wait before they are committed; `None` if there are none.
    pub fn due(&self) -> Option<Duration> {
        if !self.pending {
            return None;
        }
        let left = self.last.map_or(Duration::ZERO, |last| {
            self.shared.options.delay.saturating_sub(last.elapsed())
        });
        let segment = self.segment.as_ref();
        let waiting = segment.map_or(0, |segment| segment.end - segment.committed);
        let is_wanted = self.shared.options.sync == Sync::None
            && waiting >= WORTHWHILE
            && self.shared.state().starving > 0;
        Some(if is_wanted { Duration::ZERO } else { left })
    }

    /// Gives readers what was written, once it is on the disk where that was asked for.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoom`], after which the same call may be made again; [`Error::Sync`], after which
    /// nothing more is written.
    pub fn commit(&mut self) -> Result<()> {
        self.usable()?;
        let Some(segment) = &mut self.segment else {
            return Ok(());
        };
        if segment.end == segment.committed {
            return Ok(());
        }
        let committed = segment.end;
        let entry = Entry {
            end: committed,
            time: now(),
            checksum: segment.checksum,
            durable: false,
            last: None,
        };
        let durable = Self::put(&self.shared, segment, entry)?;
        segment.checksum = 0;
        self.pending = false;
        self.last = Some(Instant::now());
        self.shared.change(|state| {
            state.committed = committed;
            if durable {
                state.durable = committed;
            }
        });
        Ok(())
    }

    /// Says that no more bytes come, before the end can be written: a producer's stream may end before
    /// its status is known. Readers get what is left, and [`Next::CutOff`](crate::Next::CutOff) behind it.
    ///
    /// # Errors
    ///
    /// As for [`commit`](Self::commit).
    pub fn no_more(&mut self) -> Result<()> {
        self.commit()?;
        self.shared.change(|state| state.writing = false);
        Ok(())
    }

    /// Ends the stream, with its producer's status where that is known.
    ///
    /// # Errors
    ///
    /// As for [`commit`](Self::commit).
    pub fn finish(&mut self, status: Option<i32>) -> Result<()> {
        self.commit()?;
        if self.segment.is_none() {
            self.next_segment()?;
        }
        let end = self.end;
        let Some(segment) = &mut self.segment else {
            unreachable!("it was made above");
        };
        // Gives back what was reserved and not needed.
        let _ = segment.data.set_length(end - segment.first);
        let entry = Entry {
            end,
            time: now(),
            checksum: 0,
            durable: false,
            last: Some(status),
        };
        let durable = Self::put(&self.shared, segment, entry)?;
        self.shared.change(|state| {
            state.complete = Some(status);
            if durable {
                state.durable = end;
            }
        });
        Ok(())
    }

    /// Writes an entry: the bytes reach the disk, then the entry that says so, then that.
    fn put(shared: &Shared<F>, segment: &mut Segment<F::File>, mut entry: Entry) -> Result<bool> {
        let durable = shared.options.sync == Sync::Disk;
        if durable {
            let name = names::data(segment.first);
            shared.or_poison(segment.sync(&segment.data, &name))?;
            entry.durable = true;
        }
        let end = entry.end;
        segment.write_entry(entry)?;
        if durable {
            let name = names::index(segment.first);
            shared.or_poison(segment.sync(&segment.index, &name))?;
        }
        segment.entries += 1;
        segment.committed = end;
        Ok(durable)
    }

    /// Tells how many bytes may be written at once, after making room for one at least.
    fn room(&mut self) -> Result<u64> {
        self.usable()?;
        let options = &self.shared.options;
        let (group, limit) = (options.group, options.limit);
        let held = self.end - self.shared.progress().first;
        let allowed = limit.map_or(u64::MAX, |limit| limit.saturating_sub(held));
        if allowed == 0 {
            // What readers do not have yet cannot be acknowledged; and the last segment is not removed,
            // which may be as large as all that is allowed: an earlier opening had another limit.
            self.commit()?;
            if self.segment.as_ref().is_some_and(Segment::is_full) {
                self.next_segment()?;
                self.shared.release_read()?;
            }
            return Err(Error::Full);
        }
        if self
            .segment
            .as_ref()
            .is_some_and(|segment| segment.end - segment.committed >= group || segment.is_full())
        {
            self.commit()?;
        }
        if self.segment.as_ref().is_none_or(Segment::is_full) {
            self.next_segment()?;
        }
        let segment = self.segment()?;
        let in_group = group - (segment.end - segment.committed);
        let in_segment = segment.most - (segment.end - segment.first);
        Ok(allowed.min(in_group).min(in_segment))
    }

    fn next_segment(&mut self) -> Result<()> {
        if let Some(segment) = &self.segment {
            // Gives back what was reserved and not needed; if it cannot, only space is lost.
            let _ = segment.data.set_length(segment.end - segment.first);
        }
        let files = &self.shared.files;
        let held = self.end - self.shared.progress().first;
        let most = self.shared.options.segment_bytes(held);
        let segment = Segment::open(files, self.end, 0, self.end, most)?;
        segment.data.reserve(most);
        if self.shared.options.sync == Sync::Disk {
            let (data, index) = (names::data(self.end), names::index(self.end));
            let synced = [(&segment.data, &data), (&segment.index, &index)]
                .into_iter()
                .try_for_each(|(file, name)| {
                    file.sync_all().map_err(|error| Error::sync(name, error))
                })
                .and_then(|()| files.sync().map_err(|error| Error::sync(".", error)));
            self.shared.or_poison(synced)?;
        }
        self.segment = Some(segment);
        let first = self.end;
        self.shared.change(|state| {
            state.firsts.insert(first);
        });
        Ok(())
    }

    fn usable(&self) -> Result<()> {
        let state = self.shared.state();
        if state.poisoned {
            return Err(Error::Poisoned);
        }
        match state.complete {
            Some(_) => Err(Error::Complete(state.committed)),
            None => Ok(()),
        }
    }

    fn segment(&mut self) -> Result<&mut Segment<F::File>> {
        // Every way here has made one.
        self.segment.as_mut().ok_or(Error::Full)
    }

    fn took(&mut self, bytes: u64) {
        self.end += bytes;
        if let Some(segment) = &mut self.segment {
            segment.end += bytes;
        }
        self.pending |= bytes > 0;
    }
}

impl<F: FileSystem> Drop for Writer<F> {
    fn drop(&mut self) {
        self.shared.change(|state| state.writing = false);
    }
}

fn now() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
