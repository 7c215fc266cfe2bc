//! One spool: opened to write, or to read.

use std::sync::Arc;
use std::time::Duration;

use crate::cursor::Cursor;
use crate::error::{Error, Result};
use crate::files::{FileSystem, checksum};
use crate::options::{Options, Sync};
use crate::reader::Reader;
use crate::recovery::{Doubt, Found};
use crate::shared::{Progress, Shared};
use crate::writer::{Segment, Writer};
use crate::{names, recovery};

/// A stream on a file system, for one writer and readers by name.
#[derive(Debug)]
pub struct Spool<F: FileSystem>(Arc<Shared<F>>);

impl<F: FileSystem> Spool<F> {
    /// Opens what is there, empty or not: the stream goes on where it ended. What a crash tore off is
    /// cut off.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if anything that had been durable is no longer as it was; nothing was changed
    /// then. Otherwise what the file system said.
    pub fn open(files: F, options: Options) -> Result<(Self, Writer<F>)> {
        let found = recovery::look(&files, Doubt::Check)?;
        Self::write_behind(files, found, options)
    }

    /// Likewise, and takes the end of a complete stream back, so that the stream goes on behind its last
    /// byte: its producer had failed, and is run again.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn reopen(files: F, options: Options) -> Result<(Self, Writer<F>)> {
        let mut found = recovery::look(&files, Doubt::Check)?;
        found.take_back_the_end();
        Self::write_behind(files, found, options)
    }

    fn write_behind(
        files: F,
        mut found: Found<F::File>,
        mut options: Options,
    ) -> Result<(Self, Writer<F>)> {
        if !files.lasts() {
            options.sync = Sync::None;
        }
        recovery::mend(&files, &found)?;
        if found.released_cursor.is_some() {
            // Whoever only looks has opened it to read.
            let file = files.create(names::RELEASED);
            let file = file.map_err(|error| Error::write(names::RELEASED, error))?;
            found.released_cursor = Cursor::read(file, names::RELEASED)?;
        }
        if options.sync == Sync::Disk {
            recovery::sync_all(&files, &found)?;
        }
        recovery::note_boot(&files)?;
        let segment = match found.tail {
            Some((first, entries)) => {
                let most = options.segment_bytes(0);
                let mut segment = Segment::open(&files, first, entries, found.end, most)?;
                let (from, to) = (found.end - first, found.end - first + found.loose);
                let sum = checksum(&segment.data, from, to, 0);
                let sum = sum.map_err(|error| Error::read(&names::data(first), error))?;
                segment.adopt(found.loose, sum.unwrap_or(0));
                Some(segment)
            }
            None => None,
        };
        let end = found.end + found.loose;
        let shared = Arc::new(Shared::new(files, options, found, true));
        let writer = Writer::new(Arc::clone(&shared), segment, end);
        Ok((Self(shared), writer))
    }

    /// Opens what is there to read it, and changes nothing, not even what a crash tore.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn view(files: F) -> Result<Self> {
        Self::look(files, Doubt::Check)
    }

    /// Likewise, and at once, however much there is: after a crash of the machine what was not durable is
    /// checked only as it is read. Where a byte of it is wrong, [`progress`](Self::progress) and the readers
    /// see from then on that the stream was cut off there.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn skim(files: F) -> Result<Self> {
        Self::look(files, Doubt::Leave)
    }

    fn look(files: F, doubt: Doubt) -> Result<Self> {
        let found = recovery::look(&files, doubt)?;
        let shared = Shared::new(files, Options::default(), found, false);
        Ok(Self(Arc::new(shared)))
    }

    /// Gives the reader of this name: it goes on behind what it acknowledged last.
    ///
    /// # Errors
    ///
    /// [`Error::ReaderName`], [`Error::Damaged`] if its cursor is, or what the file system said.
    pub fn reader(&self, name: &str) -> Result<Reader<F>> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if name.is_empty() || name.len() > 100 || !name.chars().all(is_plain) {
            return Err(Error::ReaderName(name.to_owned()));
        }
        let offset = self.0.reader(name)?;
        Ok(Reader::new(
            Arc::clone(&self.0),
            Some(name.to_owned()),
            offset,
        ))
    }

    /// Gives a reader of all that is held, which leaves no mark.
    pub fn passer_by(&self) -> Reader<F> {
        Reader::new(Arc::clone(&self.0), None, self.progress().first)
    }

    /// Gives the CRC-32C of all that readers may have, from the index: the bytes are not read.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if the index is, or what the file system said.
    pub fn checksum(&self) -> Result<u32> {
        self.passer_by().checksum()
    }

    /// Tells how many bytes the death of a process has left behind the last that readers may have:
    /// [`open`](Self::open) takes them in.
    pub fn left_over(&self) -> u64 {
        self.0.left_over
    }

    /// Tells how far the spool is.
    pub fn progress(&self) -> Progress {
        self.0.progress()
    }

    /// Waits until `enough` is true of the progress, or the time is over.
    pub fn wait(&self, enough: impl Fn(&Progress) -> bool, longest: Option<Duration>) -> Progress {
        self.0.wait(enough, longest)
    }
}
