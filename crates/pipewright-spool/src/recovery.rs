//! What a spool holds after whatever happened to it, and mending what a crash tore.

use std::collections::BTreeSet;
use std::collections::btree_set::Range;
use std::io;

use crate::cursor::Cursor;
use crate::entry::{Entry, SIZE, Slot};
use crate::error::{Damage, Error, Result};
use crate::files::{FileSystem, StoredFile, checksum, read_exactly, write_all};
use crate::names;
use crate::scan::Scan;

/// What was found.
#[derive(Debug)]
pub(crate) struct Found<F> {
    /// The segments of the stream.
    pub(crate) firsts: BTreeSet<u64>,
    /// Files that do not belong to it.
    stray: Vec<u64>,
    pub(crate) released: u64,
    pub(crate) released_cursor: Option<Cursor<F>>,
    /// Where its last entry ends.
    pub(crate) end: u64,
    /// Bytes behind it that no entry covers yet, which only the death of a process left.
    pub(crate) loose: u64,
    pub(crate) durable: u64,
    pub(crate) last: Option<Option<i32>>,
    /// The last segment, and the number of its entries.
    pub(crate) tail: Option<(u64, u64)>,
    /// Something was written behind the end and does not count.
    pub(crate) torn: bool,
    /// Bytes behind the durable offset that a crash of the machine may have cost were not looked at.
    pub(crate) unchecked: bool,
}

/// What is done about bytes that a crash of the machine may have cost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Doubt {
    /// All of them are read, and where the first is wrong the stream ends.
    Check,
    /// Readers will see.
    Leave,
}

impl<F> Found<F> {
    /// Leaves the entry out that is the end of the stream.
    pub(crate) fn take_back_the_end(&mut self) {
        if let (Some(_), Some((_, entries))) = (self.last.take(), &mut self.tail) {
            *entries -= 1;
            self.torn = true;
        }
    }
}

/// Looks, and changes nothing.
pub(crate) fn look<F: FileSystem>(files: &F, doubt: Doubt) -> Result<Found<F::File>> {
    let listed = files.list().map_err(|error| Error::read(".", error))?;
    let released_cursor = match opened(files, names::RELEASED)? {
        Some(file) => Cursor::read(file, names::RELEASED)?,
        None => None,
    };
    let released = released_cursor.as_ref().map_or(0, Cursor::offset);
    let all: BTreeSet<_> = listed
        .iter()
        .filter_map(|name| names::segment(name))
        .collect();
    let mut scan = Scan::new(released);
    for &first in all.range(released..) {
        scan.segment(first, &index_of(files, first)?)?;
    }
    // Whatever a process wrote is there as long as the machine has run on.
    let intact = same_boot(files)?;
    let checks = !intact && doubt == Doubt::Check;
    let cut = check(files, all.range(released..), &scan, checks)?;
    let mut found = Found {
        firsts: BTreeSet::new(),
        stray: Vec::new(),
        released,
        released_cursor,
        end: scan.end,
        loose: 0,
        durable: scan.durable,
        last: scan.last,
        tail: scan.tail,
        torn: cut.is_some() || !scan.is_whole(),
        unchecked: !intact && !checks,
    };
    if let Some(cut) = cut {
        (found.end, found.tail, found.last) = (cut.end, Some((cut.first, cut.entries)), None);
    }
    let belongs =
        |first: &u64| *first >= released && found.tail.is_some_and(|tail| *first <= tail.0);
    (found.firsts, _) = all.iter().partition(|first| belongs(first));
    found.stray = all.difference(&found.firsts).copied().collect();
    if let Some((first, _)) = found.tail {
        let length = length_of(files, first)?;
        let behind = length.saturating_sub(found.end - first);
        if intact && !found.torn && found.last.is_none() {
            found.loose = behind;
        } else {
            found.torn |= behind > 0;
        }
    }
    Ok(found)
}

/// Cuts off what does not belong to the stream, for good: what is written next may lie where it lay.
pub(crate) fn mend<F: FileSystem>(files: &F, found: &Found<F::File>) -> Result<()> {
    // It may be that only this machine's memory knows what was released.
    if let Some(cursor) = &found.released_cursor {
        cursor.sync()?;
        files.sync().map_err(|error| Error::sync(".", error))?;
    }
    // The last first: what is left is a stream at each moment.
    for &first in found.stray.iter().rev() {
        for name in [names::index(first), names::data(first)] {
            match files.remove(&name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::write(&name, error));
                }
                _ => {}
            }
        }
    }
    if !found.torn && found.stray.is_empty() {
        return Ok(());
    }
    if let Some((first, entries)) = found.tail {
        let length = found.end - first + found.loose;
        for (name, length) in [
            (names::index(first), entries * SIZE as u64),
            (names::data(first), length),
        ] {
            let file = files
                .create(&name)
                .map_err(|error| Error::write(&name, error))?;
            file.set_length(length)
                .map_err(|error| Error::write(&name, error))?;
            file.sync_all().map_err(|error| Error::sync(&name, error))?;
        }
    }
    files.sync().map_err(|error| Error::sync(".", error))
}

/// Notes that what is here was written, or mended, since the machine started.
pub(crate) fn note_boot<F: FileSystem>(files: &F) -> Result<()> {
    let write = || {
        let file = files.create(names::LOCK)?;
        file.set_length(0)?;
        write_all(&file, files.boot().as_bytes(), 0)
    };
    write().map_err(|error| Error::write(names::LOCK, error))
}

/// Brings to the disk what may not be there, before anything is called durable.
pub(crate) fn sync_all<F: FileSystem>(files: &F, found: &Found<F::File>) -> Result<()> {
    let ends = found.firsts.iter().skip(1).copied().chain([u64::MAX]);
    for (&first, end) in found.firsts.iter().zip(ends) {
        if end <= found.durable {
            continue;
        }
        for name in [names::data(first), names::index(first)] {
            let file = files
                .create(&name)
                .map_err(|error| Error::write(&name, error))?;
            file.sync_all().map_err(|error| Error::sync(&name, error))?;
        }
    }
    files.sync().map_err(|error| Error::sync(".", error))
}

fn same_boot<F: FileSystem>(files: &F) -> Result<bool> {
    let boot = files.boot();
    let Some(file) = opened(files, names::LOCK)? else {
        return Ok(false);
    };
    let mut noted = vec![0; boot.len() + 1];
    let length =
        read_exactly(&file, &mut noted, 0).map_err(|error| Error::read(names::LOCK, error))?;
    Ok(!boot.is_empty() && noted[..length] == *boot.as_bytes())
}

/// Where the stream is shorter than its entries say.
struct Cut {
    end: u64,
    first: u64,
    entries: u64,
}

/// Compares the entries that were accepted with the bytes: up to the durable offset only that they are
/// there, for readers check them; behind it, after a crash of the machine, all of them if `checks`.
fn check<F: FileSystem>(
    files: &F,
    firsts: Range<'_, u64>,
    scan: &Scan,
    checks: bool,
) -> Result<Option<Cut>> {
    let Some((tail, tail_entries)) = scan.tail else {
        return Ok(None);
    };
    for &first in firsts.take_while(|first| **first <= tail) {
        let length = length_of(files, first)?;
        let mut file = None;
        let index = index_of(files, first)?;
        let mut start = first;
        for (number, bytes) in (0..).zip(index.chunks(SIZE)) {
            let Slot::Valid(entry) = Entry::decode(bytes, first, number) else {
                break;
            };
            if first == tail && number == tail_entries {
                break;
            }
            let (from, to) = (start - first, entry.end - first);
            start = entry.end;
            if entry.end <= scan.durable {
                if length < to {
                    return Err(Damage::new(&names::data(first), length, "a missing byte").into());
                }
                continue;
            }
            let is_there = length >= to
                && (!checks || from == to || {
                    let name = names::data(first);
                    if file.is_none() {
                        file = Some(
                            files
                                .open(&name)
                                .map_err(|error| Error::read(&name, error))?,
                        );
                    }
                    let sum = file.as_ref().map(|file| checksum(file, from, to, 0));
                    let sum = sum.transpose().map_err(|error| Error::read(&name, error))?;
                    sum.flatten() == Some(entry.checksum)
                });
            if !is_there {
                let entries = number;
                let end = first + from;
                return Ok(Some(Cut {
                    end,
                    first,
                    entries,
                }));
            }
        }
    }
    Ok(None)
}

fn opened<F: FileSystem>(files: &F, name: &str) -> Result<Option<F::File>> {
    match files.open(name) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::read(name, error)),
    }
}

fn index_of<F: FileSystem>(files: &F, first: u64) -> Result<Vec<u8>> {
    let name = names::index(first);
    let Some(file) = opened(files, &name)? else {
        return Ok(Vec::new());
    };
    let read = || {
        let length = file.length()?;
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        let read = read_exactly(&file, &mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    };
    read().map_err(|error| Error::read(&name, error))
}

fn length_of<F: FileSystem>(files: &F, first: u64) -> Result<u64> {
    let name = names::data(first);
    match opened(files, &name)? {
        Some(file) => file.length().map_err(|error| Error::read(&name, error)),
        None => Ok(0),
    }
}
