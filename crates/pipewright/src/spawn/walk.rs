//! Marking open descriptors close-on-exec one by one, for kernels and sandboxes without
//! `close_range(CLOSE_RANGE_CLOEXEC)`.

use libc::c_int;

use super::image::Text;
use super::in_child::InChild;

/// Where a directory entry, as getdents64(2) lays it out, has its length and its name.
const LENGTH: usize = 16;
const NAME: usize = 19;

/// Marks every open descriptor in the ranges, as `/proc/self/fd` lists them.
///
/// Without `/proc` it fails: a start that would leak is refused.
pub(super) fn mark_open_descriptors(child: InChild, ranges: &[(u32, u32)]) -> Result<(), i32> {
    let path = Text::constant(c"/proc/self/fd");
    let directory = child.open(path, libc::O_DIRECTORY)? as c_int;
    let mut buffer = [0; 2048];
    loop {
        let filled = child.entries(directory, &mut buffer)? as usize;
        if filled == 0 {
            break;
        }
        let mut entries = buffer.get(..filled).unwrap_or(&[]);
        while let Some((entry, rest)) = first_entry(entries) {
            entries = rest;
            let Some(number) = entry.get(NAME..).and_then(number) else {
                continue;
            };
            let mut ranges = ranges.iter();
            if ranges.any(|&(first, last)| (first..=last).contains(&number)) {
                let _ = child.set_flags(number as c_int, libc::FD_CLOEXEC);
            }
        }
    }
    let _ = child.close(directory);
    Ok(())
}

/// Cuts the first entry off.
fn first_entry(entries: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = entries.get(LENGTH..)?.first_chunk::<2>()?;
    let length = usize::from(u16::from_ne_bytes(*length));
    entries.split_at_checked(length).filter(|_| length > 0)
}

/// The decimal number that a name is, up to its zero byte; `.` and `..` are none.
fn number(name: &[u8]) -> Option<u32> {
    let mut number = 0_u32;
    for &byte in name {
        match byte {
            0 => return Some(number),
            b'0'..=b'9' => {
                let digit = u32::from(byte.wrapping_sub(b'0'));
                number = number.wrapping_mul(10).wrapping_add(digit);
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_descriptors_are_numbers_and_dots_are_not() {
        assert_eq!(number(b"0\0"), Some(0));
        assert_eq!(number(b"1048575\0\0"), Some(1_048_575));
        assert_eq!(number(b".\0"), None);
        assert_eq!(number(b"..\0"), None);
        assert_eq!(number(b"7"), None, "the zero byte belongs to it");
    }

    #[test]
    fn entries_are_cut_where_their_length_says() {
        let mut two = [0; 48];
        for start in [0, 24] {
            two[start + LENGTH] = 24;
        }
        let (first, rest) = first_entry(&two).unwrap();
        assert_eq!((first.len(), rest.len()), (24, 24));
        assert!(first_entry(&rest[..20]).is_none());
        assert!(first_entry(&[0; 48]).is_none(), "it would not end");
    }
}
