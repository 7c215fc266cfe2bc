//! Bytes cut into lines, as they come. Pure. The one splitter of this workspace: other crates use it, too.

/// The part of a buffer that was given out as lines.
#[derive(Debug, Default, Clone)]
pub struct Splitter {
    /// The first byte that was not.
    start: usize,
    /// Up to here there is no newline after `start`.
    scanned: usize,
    /// The position of the buffer's first byte in the whole stream.
    offset: u64,
}

/// One line, and where it began.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    /// Without its newline, and without the carriage return before it.
    pub bytes: Vec<u8>,
    /// Its position in the whole stream.
    pub offset: u64,
}

impl Splitter {
    /// The next whole line of the buffer. At the `end` of the stream what is left is a line, too.
    ///
    /// When there is none, what was given out leaves the buffer: once for each read, not for each
    /// line.
    pub fn next(&mut self, buffer: &mut Vec<u8>, end: bool) -> Option<Piece> {
        let newline = buffer[self.scanned..]
            .iter()
            .position(|&byte| byte == b'\n');
        let (line, next) = match newline.map(|position| self.scanned + position) {
            Some(newline) => {
                let line = &buffer[self.start..newline];
                (line.strip_suffix(b"\r").unwrap_or(line), newline + 1)
            }
            None if end && self.start < buffer.len() => (&buffer[self.start..], buffer.len()),
            None => {
                buffer.drain(..self.start);
                self.offset += self.start as u64;
                self.start = 0;
                self.scanned = buffer.len();
                return None;
            }
        };
        let piece = Piece {
            bytes: line.to_vec(),
            offset: self.offset + self.start as u64,
        };
        (self.start, self.scanned) = (next, next);
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_a_stream_is_cut_its_lines_are_the_same() {
        let stream = b"one\r\n\ntwo\xff\nlast\r";
        let expected: [(&[u8], u64); 4] = [(b"one", 0), (b"", 5), (b"two\xff", 6), (b"last\r", 11)];
        for size in 1..=stream.len() {
            let (mut splitter, mut buffer, mut lines) = (Splitter::default(), vec![], vec![]);
            for chunk in stream.chunks(size) {
                buffer.extend_from_slice(chunk);
                lines.extend(std::iter::from_fn(|| splitter.next(&mut buffer, false)));
                assert!(
                    buffer.len() < 8,
                    "no more than the beginning of a line is held"
                );
            }
            lines.extend(std::iter::from_fn(|| splitter.next(&mut buffer, true)));
            let lines: Vec<_> = lines.iter().map(|it| (&*it.bytes, it.offset)).collect();
            assert_eq!(lines, expected);
        }
    }

    #[test]
    fn a_stream_that_ends_with_a_newline_has_no_empty_line_after_it() {
        let mut splitter = Splitter::default();
        let mut buffer = b"a\n".to_vec();
        assert_eq!(
            splitter.next(&mut buffer, true).map(|it| it.bytes),
            Some(b"a".to_vec())
        );
        assert_eq!(splitter.next(&mut buffer, true), None);
    }
}
