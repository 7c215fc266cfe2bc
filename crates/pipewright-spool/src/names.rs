//! The names of a spool's files. Pure.

/// The boot in which the spool was last written to; the real file is the lock, too.
pub(crate) const LOCK: &str = "lock";
/// The offset below which segments were removed.
pub(crate) const RELEASED: &str = "released.cursor";

/// The bytes of a segment, by its first offset; names sort as the offsets do.
pub(crate) fn data(first: u64) -> String {
    format!("{first:020}.data")
}

/// The index beside it.
pub(crate) fn index(first: u64) -> String {
    format!("{first:020}.index")
}

/// The cursor of a reader.
pub(crate) fn reader(reader: &str) -> String {
    format!("reader-{reader}.cursor")
}

/// The first offset of the segment that a file belongs to.
pub(crate) fn segment(name: &str) -> Option<u64> {
    let first = name
        .strip_suffix(".data")
        .or_else(|| name.strip_suffix(".index"))?;
    let first = first.parse().ok()?;
    (name == data(first) || name == index(first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_what_they_name() {
        assert_eq!(segment(&data(7)), Some(7));
        assert_eq!(segment(&index(u64::MAX)), Some(u64::MAX));
        assert_eq!(segment("7.data"), None);
        assert_eq!(segment("lock"), None);
        assert_eq!(segment(&reader("stdout")), None);
    }
}
