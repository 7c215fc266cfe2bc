//! Words of a file in memory that is written in place: whoever reads halves of two states sees that.

/// In the place of what there is not.
pub(crate) const NOTHING: u64 = u64::MAX;

/// The words as bytes, little-endian; in the place of the last comes what shows that they belong together.
/// `SIZE` is eight times their number.
pub(crate) fn seal<const WORDS: usize, const SIZE: usize>(mut words: [u64; WORDS]) -> [u8; SIZE] {
    words[WORDS - 1] = check(&words[..WORDS - 1]);
    let mut bytes = [0; SIZE];
    for (bytes, word) in bytes.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Reads words back; `None` if the bytes are none that were sealed, or of two.
pub(crate) fn unseal<const WORDS: usize>(bytes: &[u8]) -> Option<[u64; WORDS]> {
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().ok()?);
    }
    (words[WORDS - 1] == check(&words[..WORDS - 1])).then_some(words)
}

/// FNV-1a over words: enough to tell one state from halves of two.
fn check(words: &[u64]) -> u64 {
    words.iter().fold(0xcbf2_9ce4_8422_2325, |sum, word| {
        (sum ^ word).wrapping_mul(0x100_0000_01b3).rotate_left(29)
    })
}
