//! The build of the program that this process runs.
//!
//! Messages and the config are encoded without their structure: a reader from another build would
//! take them for something else. So the child compares its build with the parent's before it reads
//! anything.
//!
//! The identity is the build id that the linker writes into the program, a hash of its content. It
//! is read from this process's own memory: so it is that of the program that runs, not of a file at
//! some path, costs next to nothing, and needs no `/proc`. Some linkers write none. Then the
//! identity is a hash of the read-only segments (code and constants), made once in the life of a
//! process, at about a millisecond for each 4 MiB.
#![allow(
    unsafe_code,
    reason = "reads this program's own ELF headers where they are mapped"
)]

use std::sync::OnceLock;

/// Bytes of a build's identity.
pub(crate) const LENGTH: usize = 20;

/// A build's identity.
pub(crate) type BuildId = [u8; LENGTH];

/// This process's identity.
pub(crate) fn own() -> BuildId {
    static OWN: OnceLock<BuildId> = OnceLock::new();
    *OWN.get_or_init(|| {
        let segments = own_segments();
        let note = segments
            .iter()
            .filter(|segment| segment.kind == NOTE)
            .find_map(|segment| build_id_note(segment.bytes));
        note.map_or_else(|| hash(&segments), fit)
    })
}

/// A part of this program in memory.
struct Segment {
    kind: u32,
    bytes: &'static [u8],
}

/// The program's file header: 64 bytes, of which three fields are read.
type FileHeader = [u8; 64];
/// One entry of the table that it names.
type SegmentHeader = [u8; 56];

const LOAD: u32 = 1;
const NOTE: u32 = 4;
const WRITABLE: u32 = 2;
const READABLE: u32 = 4;

unsafe extern "C" {
    /// The program's file header, as it is mapped. Every linker for this system defines it.
    static __ehdr_start: FileHeader;
}

/// The address of the table of segments of the object that this library is linked into.
pub(crate) fn program_headers() -> usize {
    // SAFETY: the linker defines the symbol as the start of this object's mapped file header, which
    // stays as long as the object, and so as long as this code runs.
    let header = unsafe { &__ehdr_start };
    header.as_ptr().addr().wrapping_add(number(header, 32, 8))
}

/// The notes and the read-only segments of this program.
fn own_segments() -> Vec<Segment> {
    // SAFETY: the linker defines the symbol as the start of the program's mapped file header, which
    // is mapped read-only and stays as long as the process.
    let header = unsafe { &__ehdr_start };
    let start = header.as_ptr();
    let table = start.wrapping_add(number(header, 32, 8));
    let count = number(header, 56, 2);
    // SAFETY: the table lies in the same read-only segment as the file header, which names its
    // place and its length; an array of bytes needs no alignment.
    let table = unsafe { std::slice::from_raw_parts(table.cast::<SegmentHeader>(), count) };
    let kind = |segment: &SegmentHeader| number(segment, 0, 4) as u32;
    let flags = |segment: &SegmentHeader| number(segment, 4, 4) as u32;
    // Addresses count from where the file's first byte is mapped, which is the header.
    let first = table.iter().find(|segment| kind(segment) == LOAD);
    let base = first.map_or(0, |first| {
        number(first, 16, 8).wrapping_sub(number(first, 8, 8))
    });
    let wanted = table.iter().filter(|segment| {
        matches!(kind(segment), LOAD | NOTE) && flags(segment) & (READABLE | WRITABLE) == READABLE
    });
    wanted
        .map(|segment| {
            let place = start.wrapping_add(number(segment, 16, 8).wrapping_sub(base));
            // SAFETY: that many bytes of the file are mapped at the segment's address relative to
            // the base. They are readable and not writable, so nobody changes them.
            let bytes = unsafe { std::slice::from_raw_parts(place, number(segment, 32, 8)) };
            Segment {
                kind: kind(segment),
                bytes,
            }
        })
        .collect()
}

/// Reads the number of `length` bytes at `offset`. The supported machines are little-endian.
fn number(bytes: &[u8], offset: usize, length: usize) -> usize {
    let digits = bytes.iter().skip(offset).take(length).rev();
    digits.fold(0, |number, &byte| number << 8 | usize::from(byte))
}

/// Finds the build id among the notes. Each is three lengths, a name and a description.
fn build_id_note(mut notes: &[u8]) -> Option<&[u8]> {
    const BUILD_ID: u32 = 3;
    let padded = |length: u32| (length as usize).next_multiple_of(4);
    loop {
        let (head, rest) = notes.split_first_chunk::<12>()?;
        let word = |index: usize| {
            let bytes = head.get(index..index + 4)?;
            Some(u32::from_ne_bytes(bytes.try_into().ok()?))
        };
        let (name_length, length, kind) = (word(0)?, word(4)?, word(8)?);
        let name = rest.get(..name_length as usize)?;
        let rest = rest.get(padded(name_length)..)?;
        let description = rest.get(..length as usize)?;
        if kind == BUILD_ID && name == b"GNU\0" && !description.is_empty() {
            return Some(description);
        }
        notes = rest.get(padded(length)..)?;
    }
}

/// Folds a build id of any length into the length used here.
fn fit(id: &[u8]) -> BuildId {
    let mut fitted = [0; LENGTH];
    for (index, byte) in id.iter().enumerate() {
        fitted[index % LENGTH] ^= byte;
    }
    fitted
}

fn hash(segments: &[Segment]) -> BuildId {
    use std::hash::Hasher;
    let mut fitted: BuildId = [0; LENGTH];
    for segment in segments {
        if segment.kind != LOAD {
            continue;
        }
        // The keys of std's default hasher are the same in every process.
        #[expect(deprecated, reason = "the hasher with fixed keys")]
        let mut hasher = std::hash::SipHasher::new();
        hasher.write(segment.bytes);
        for (byte, of_hash) in fitted.iter_mut().zip(hasher.finish().to_ne_bytes()) {
            *byte = byte.rotate_left(1) ^ of_hash;
        }
    }
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_has_an_identity_that_stays() {
        assert_ne!(own(), [0; LENGTH]);
        assert_eq!(own(), own());
    }

    #[test]
    fn without_a_build_id_the_code_is_hashed() {
        let segments = own_segments();
        assert!(segments.iter().any(|segment| segment.bytes.len() > 4096));
        assert_ne!(hash(&segments), [0; LENGTH]);
        assert_eq!(hash(&segments), hash(&own_segments()));
    }

    #[test]
    fn the_build_id_is_found_among_other_notes() {
        let note = |kind: u32, name: &[u8], description: &[u8]| {
            let mut bytes = Vec::new();
            for word in [name.len() as u32, description.len() as u32, kind] {
                bytes.extend(word.to_ne_bytes());
            }
            for part in [name, description] {
                bytes.extend(part);
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
            bytes
        };
        let notes = [note(1, b"GNU\0", b"abi"), note(3, b"GNU\0", b"identity")].concat();
        assert_eq!(build_id_note(&notes), Some(&b"identity"[..]));
        assert_eq!(build_id_note(&notes[..20]), None);
        assert_eq!(build_id_note(b""), None);
    }
}
