//! Where a stream may be cut: behind the end of a record, never inside one. Pure.

use std::fmt;
use std::str::FromStr;

use memchr::{memchr, memrchr};
use regex::bytes::Regex;

/// What one record of a stream is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Records {
    /// A line, with its new line.
    Line,
    /// Text that ends with a NUL, as `find -print0` writes it.
    Nul,
    /// A fixed number of lines: 4 for FASTQ.
    Lines(usize),
    /// A record begins at each line that starts with this text: `>` for FASTA.
    Before(Vec<u8>),
    /// A record begins at each line in which the expression matches.
    Matching(Regex),
}

impl PartialEq for Records {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Line, Self::Line) | (Self::Nul, Self::Nul) => true,
            (Self::Lines(one), Self::Lines(other)) => one == other,
            (Self::Before(one), Self::Before(other)) => one == other,
            (Self::Matching(one), Self::Matching(other)) => one.as_str() == other.as_str(),
            _ => false,
        }
    }
}

impl Eq for Records {}

impl Records {
    /// Finds the last place in `bytes` where the stream may be cut, as an offset behind a record's
    /// end; `None` while no record is whole. `bytes` begin where a record begins.
    ///
    /// A cut before the last byte that was read is always safe: what follows belongs to the next
    /// chunk. For records that are known by how the *next* one begins, the last record is never
    /// whole before more has been read.
    ///
    /// ```
    /// use pipewright_workers::Records;
    ///
    /// assert_eq!(Records::Line.last_cut(b"one\ntwo\nthr"), Some(8));
    /// assert_eq!(Records::Lines(2).last_cut(b"one\ntwo\nthree\n"), Some(8));
    /// assert_eq!(Records::Line.last_cut(b"one"), None);
    /// ```
    #[must_use]
    pub fn last_cut(&self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Line => memrchr(b'\n', bytes).map(|at| at + 1),
            Self::Nul => memrchr(b'\0', bytes).map(|at| at + 1),
            Self::Lines(lines) => {
                let ends = memchr::memchr_iter(b'\n', bytes);
                let whole = memchr::memchr_iter(b'\n', bytes).count() / lines * lines;
                ends.take(whole).last().map(|at| at + 1)
            }
            Self::Before(_) | Self::Matching(_) => line_starts_backwards(bytes)
                .find(|&at| self.begins(&bytes[at..]))
                .filter(|&at| at > 0),
        }
    }

    /// Lists every place in `bytes` where the stream may be cut, in order. `bytes` begin where a
    /// record begins; their end is no cut.
    pub fn cuts<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
        let mut at = 0;
        let mut whole_lines = 0;
        std::iter::from_fn(move || {
            loop {
                let terminator = if *self == Self::Nul { b'\0' } else { b'\n' };
                at += memchr(terminator, &bytes[at..])? + 1;
                whole_lines += 1;
                if at == bytes.len() {
                    return None;
                }
                let is_cut = match self {
                    Self::Line | Self::Nul => true,
                    Self::Lines(lines) => whole_lines % lines == 0,
                    Self::Before(_) | Self::Matching(_) => self.begins(&bytes[at..]),
                };
                if is_cut {
                    return Some(at);
                }
            }
        })
    }

    /// Tells how long the first `count` records are together, in bytes; `None` while they are not
    /// whole.
    #[must_use]
    pub fn length_of_first(&self, count: usize, bytes: &[u8]) -> Option<usize> {
        match count.checked_sub(1) {
            None => Some(0),
            Some(before) => {
                let followed = self.cuts(bytes).nth(before);
                followed.or_else(|| {
                    let ended = matches!(self, Self::Line | Self::Nul | Self::Lines(_))
                        && self.last_cut(bytes) == Some(bytes.len());
                    (ended && self.cuts(bytes).count() == before).then_some(bytes.len())
                })
            }
        }
    }

    /// Tells whether a record begins with this line; for the two kinds that are known by it.
    fn begins(&self, from: &[u8]) -> bool {
        let line = &from[..memchr(b'\n', from).unwrap_or(from.len())];
        match self {
            Self::Before(text) => line.starts_with(text),
            Self::Matching(expression) => expression.is_match(line),
            Self::Line | Self::Nul | Self::Lines(_) => false,
        }
    }
}

/// Where whole lines begin, from the last one back. A line that has not ended is left out: more of
/// it may come, and an expression may match it then.
fn line_starts_backwards(bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let mut end = memrchr(b'\n', bytes);
    std::iter::from_fn(move || {
        let before = end?;
        let start = memrchr(b'\n', &bytes[..before]).map_or(0, |at| at + 1);
        end = start.checked_sub(1);
        Some(start)
    })
}

/// A text that names no kind of record.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "{text:?} is no kind of record{}: give line, nul, lines:4, before:'>' or regex:EXPRESSION",
    self.because()
)]
pub struct UnknownRecords {
    text: String,
    reason: Option<String>,
}

impl UnknownRecords {
    fn because(&self) -> String {
        let reason = self.reason.as_ref();
        reason.map_or_else(String::new, |reason| format!(" ({reason})"))
    }
}

impl FromStr for Records {
    type Err = UnknownRecords;

    fn from_str(text: &str) -> Result<Self, UnknownRecords> {
        let unknown = |reason: Option<String>| UnknownRecords {
            text: text.to_owned(),
            reason,
        };
        match text.split_once(':') {
            None if text == "line" => Ok(Self::Line),
            None if text == "nul" => Ok(Self::Nul),
            Some(("lines", count)) => match count.parse() {
                Ok(1) => Ok(Self::Line),
                Ok(count @ 2..) => Ok(Self::Lines(count)),
                _ => Err(unknown(Some("a number from 1 up".to_owned()))),
            },
            Some(("before", start)) if !start.is_empty() && !start.contains('\n') => {
                Ok(Self::Before(start.as_bytes().to_vec()))
            }
            Some(("regex", expression)) => Regex::new(expression)
                .map(Self::Matching)
                .map_err(|error| unknown(Some(error.to_string()))),
            _ => Err(unknown(None)),
        }
    }
}

impl fmt::Display for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line => f.write_str("line"),
            Self::Nul => f.write_str("nul"),
            Self::Lines(lines) => write!(f, "lines:{lines}"),
            Self::Before(start) => write!(f, "before:{}", String::from_utf8_lossy(start)),
            Self::Matching(expression) => write!(f, "regex:{expression}"),
        }
    }
}
