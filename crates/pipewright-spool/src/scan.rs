//! How far a stream goes, from the indexes of its segments. Pure.
//!
//! Entries are taken as long as each follows the one before. Where one is missing the stream stops; if
//! any behind it says that all before it was durable, that is damage, and else the tail that a crash
//! tore off.

use crate::entry::{Entry, SIZE, Slot};
use crate::error::Damage;
use crate::names;

/// The stream as far as the indexes that were looked at tell it.
#[derive(Debug)]
pub(crate) struct Scan {
    /// Where the stream ends, and the next segment has to begin.
    pub(crate) end: u64,
    /// Where the last durable entry ends.
    pub(crate) durable: u64,
    /// The stream is complete.
    pub(crate) last: Option<Option<i32>>,
    /// The last segment that belongs to the stream, and how many of its entries do.
    pub(crate) tail: Option<(u64, u64)>,
    /// Where something is missing.
    stopped: Option<Damage>,
}

impl Scan {
    /// Begins at the offset below which segments were removed.
    pub(crate) fn new(released: u64) -> Self {
        Self {
            end: released,
            durable: released,
            last: None,
            tail: None,
            stopped: None,
        }
    }

    /// Takes the index of the next segment, in the order of their first offsets.
    ///
    /// # Errors
    ///
    /// An entry is damaged, or missing though one behind it is durable.
    pub(crate) fn segment(&mut self, first: u64, index: &[u8]) -> Result<(), Damage> {
        let name = names::index(first);
        if self.stopped.is_none() {
            if first == self.end && self.last.is_none() {
                self.tail = Some((first, 0));
            } else {
                self.stopped = Some(Damage::new(&names::data(self.end), 0, "a segment"));
            }
        }
        let mut before = first;
        let mut missing = None;
        for (number, bytes) in (0..).zip(index.chunks(SIZE)) {
            let at = number * SIZE as u64;
            let entry = match Entry::decode(bytes, first, number) {
                Slot::Absent => {
                    missing.get_or_insert(at);
                    continue;
                }
                Slot::Damaged => return Err(Damage::new(&name, at, "an entry")),
                Slot::Valid(entry) => entry,
            };
            if let Some(at) = missing {
                self.stopped
                    .get_or_insert_with(|| Damage::new(&name, at, "an entry"));
            }
            if entry.end < before || (entry.end == before && entry.last.is_none()) {
                return Err(Damage::new(&name, at, "the order of entries"));
            }
            before = entry.end;
            if let Some(stopped) = &self.stopped {
                if entry.durable {
                    return Err(stopped.clone());
                }
                continue;
            }
            if self.last.is_some() {
                return Err(Damage::new(&name, at, "an entry behind the end of file"));
            }
            self.end = entry.end;
            if entry.durable {
                self.durable = entry.end;
            }
            self.last = entry.last;
            self.tail = Some((first, number + 1));
        }
        Ok(())
    }

    /// Tells whether all that was looked at belongs to the stream.
    pub(crate) fn is_whole(&self) -> bool {
        self.stopped.is_none()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(end: u64, durable: bool) -> Entry {
        Entry {
            end,
            time: 0,
            checksum: 0,
            durable,
            last: None,
        }
    }

    fn index(first: u64, entries: &[Option<Entry>]) -> Vec<u8> {
        let encode = |(number, entry): (u64, &Option<Entry>)| match entry {
            Some(entry) => entry.encode(first, number),
            None => [0; SIZE],
        };
        (0..).zip(entries).flat_map(encode).collect()
    }

    #[test]
    fn what_is_missing_before_a_durable_entry_is_damage_and_else_the_tail() {
        let hole = |durable| index(0, &[Some(entry(5, false)), None, Some(entry(9, durable))]);
        let mut scan = Scan::new(0);
        scan.segment(0, &hole(false)).unwrap();
        assert!(scan.end == 5 && scan.tail == Some((0, 1)) && !scan.is_whole());
        let damage = Scan::new(0).segment(0, &hole(true)).unwrap_err();
        assert_eq!((damage.file, damage.offset), (names::index(0), 32));

        let later = index(9, &[Some(entry(12, true))]);
        let mut scan = Scan::new(0);
        scan.segment(0, &index(0, &[Some(entry(5, true))])).unwrap();
        let damage = scan.segment(9, &later).unwrap_err();
        assert_eq!((damage.file, damage.offset), (names::data(5), 0));
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_an_index(indexes: Vec<(u64, Vec<u8>)>, released: u64) {
            let mut scan = Scan::new(released);
            for (first, bytes) in indexes {
                let _ = scan.segment(first, &bytes);
            }
        }
    }
}
