//! The bytes that commands wrote, as far as they were collected.

use std::fmt;
use std::process::ExitStatus;

/// The output of a command or pipeline, as far as it was collected before the capture was given up.
///
/// It comes with [`Error::TimedOut`](crate::Error::TimedOut) and its like, so that nothing that
/// arrived is lost.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Collected {
    /// The bytes of the last stage's stdout.
    pub stdout: Vec<u8>,
    /// The bytes of each stage's stderr, in the order of the stages.
    pub stderr: Vec<Vec<u8>>,
    /// The status of each stage, in the same order. `None`: it had not ended, or was never started.
    pub statuses: Vec<Option<ExitStatus>>,
}

/// Bytes as text, and of many only the beginning: an error must be readable, however much had been
/// collected.
pub(crate) struct Excerpt<'a>(pub(crate) &'a [u8]);

impl fmt::Debug for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 200;
        let shown = &self.0[..self.0.len().min(MOST)];
        write!(f, "\"{}\"", shown.escape_ascii())?;
        if shown.len() < self.0.len() {
            write!(f, "… ({} bytes)", self.0.len())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stderr: Vec<_> = self.stderr.iter().map(|bytes| Excerpt(bytes)).collect();
        f.debug_struct("Collected")
            .field("stdout", &Excerpt(&self.stdout))
            .field("stderr", &stderr)
            .field("statuses", &self.statuses)
            .finish()
    }
}

impl Collected {
    /// The number of bytes, of all streams together.
    pub fn bytes(&self) -> usize {
        self.stdout.len() + self.stderr.iter().map(Vec::len).sum::<usize>()
    }
}

/// The end of what a stage wrote to its stderr, for an error message: whole lines where there are
/// some, at most 1 KiB, and nothing that a terminal would obey.
pub(crate) fn tail(stderr: &[u8]) -> String {
    const MOST: usize = 1024;
    let mut end = stderr.trim_ascii_end();
    if end.len() > MOST {
        end = &end[end.len() - MOST..];
        if let Some(newline) = end.iter().position(|&byte| byte == b'\n') {
            end = &end[newline + 1..];
        }
    }
    let text = String::from_utf8_lossy(end);
    text.chars()
        .filter(|&c| c == '\n' || c == '\t' || !c.is_control())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Collected, tail};

    #[test]
    fn much_output_is_shown_in_part() {
        let collected = Collected {
            stdout: b"short\n".to_vec(),
            stderr: vec![vec![b'x'; 1 << 20]],
            ..Collected::default()
        };
        let shown = format!("{collected:?}");
        assert!(shown.contains(r#"stdout: "short\n""#), "{shown}");
        assert!(
            shown.contains("xx\"… (1048576 bytes)") && shown.len() < 500,
            "{shown}"
        );
    }

    #[test]
    fn the_tail_is_whole_lines_of_plain_text() {
        assert_eq!(
            tail(b"cat: nope: No such file\n"),
            "cat: nope: No such file"
        );
        assert_eq!(tail(b"\x1b[31mred\x07\r\n"), "[31mred");
        let long = "a line of some length\n".repeat(200);
        let kept = tail(long.as_bytes());
        assert!(kept.len() <= 1024 && kept.starts_with("a line") && kept.ends_with("length"));
        assert_eq!(tail(&[b'x'; 5000]).len(), 1024);
    }
}
