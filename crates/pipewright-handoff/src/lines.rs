//! Cutting a stream of bytes into whole lines. Pure.

/// The longest line in bytes that is kept whole; a longer one is cut there.
pub(super) const LONGEST: usize = 1 << 20;

/// The part of a line that has come so far.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    /// Takes bytes and hands out each line that they complete, without its line feed.
    pub(super) fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(&[u8])) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, whole) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            if whole && self.begun.is_empty() {
                emit(text);
                continue;
            }
            self.begun.extend_from_slice(text);
            if whole || self.begun.len() >= LONGEST {
                emit(&std::mem::take(&mut self.begun));
            }
        }
    }

    /// At the end of the stream: what is left is a line.
    pub(super) fn finish(self, mut emit: impl FnMut(&[u8])) {
        if !self.begun.is_empty() {
            emit(&self.begun);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(pieces: &[&[u8]]) -> Vec<String> {
        let mut cut = Vec::new();
        let mut lines = Lines::default();
        let mut keep = |line: &[u8]| cut.push(String::from_utf8_lossy(line).into_owned());
        for piece in pieces {
            lines.push(piece, &mut keep);
        }
        lines.finish(keep);
        cut
    }

    #[test]
    fn a_line_in_several_pieces_comes_out_whole() {
        assert_eq!(
            cut(&[b"one\ntw", b"o", b"\n\nthree"]),
            ["one", "two", "", "three"]
        );
    }

    #[test]
    fn a_line_without_end_does_not_fill_memory() {
        let long = vec![b'x'; LONGEST];
        let lines = cut(&[&long, b"rest\n"]);
        assert_eq!(
            lines.iter().map(String::len).collect::<Vec<_>>(),
            [LONGEST, 4]
        );
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_up_does_not_matter(text in "[a-z\n]{0,80}", at in 0..80_usize) {
            let bytes = text.as_bytes();
            let (head, tail) = bytes.split_at(at.min(bytes.len()));
            prop_assert_eq!(cut(&[head, tail]), cut(&[bytes]));
        }
    }
}
