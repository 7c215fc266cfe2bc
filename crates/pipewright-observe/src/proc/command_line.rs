//! A process's command line: any bytes at all, and what may be shown of it.

use std::fmt;

use crate::text::displayable;

/// The arguments a process was started with, as it shows them now.
///
/// A process can write anything there: escape sequences that would move the reader's cursor,
/// newlines, megabytes. [`Display`](fmt::Display) gives text that is safe on a terminal.
///
/// ```
/// use pipewright_observe::workspace::CommandLine;
///
/// let line = CommandLine::from_bytes(b"grep\0-e\0a b\0\x1b[2J\0".to_vec());
/// assert_eq!(line.to_string(), "grep -e 'a b' [2J");
/// assert_eq!(line.arguments().count(), 4);
/// assert_eq!(line.program(), "grep");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandLine {
    bytes: Vec<u8>,
}

impl CommandLine {
    /// Takes the contents of `/proc/PID/cmdline`: each argument is followed by a zero byte.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// The bytes, exactly as `/proc/PID/cmdline` gives them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The arguments, raw; the first names the program.
    pub fn arguments(&self) -> impl Iterator<Item = &[u8]> {
        let all = self.bytes.strip_suffix(b"\0").unwrap_or(&self.bytes);
        all.split(|&byte| byte == 0)
            .take(if self.bytes.is_empty() { 0 } else { usize::MAX })
    }

    /// The program's name without directories, safe to show.
    pub fn program(&self) -> String {
        let first = self.arguments().next().unwrap_or_default();
        // A login shell calls itself "-bash".
        let first = first.strip_prefix(b"-").unwrap_or(first);
        let base = first
            .rsplit(|&byte| byte == b'/')
            .next()
            .unwrap_or_default();
        displayable(base)
    }
}

impl CommandLine {
    /// The text to show, cut off after 4096 characters. For a keeper of `pipewright run --record` that is
    /// the command of its stage.
    pub fn shortened(&self) -> String {
        let mut text = self.kept().as_ref().unwrap_or(self).to_string();
        if let Some((end, _)) = text.char_indices().nth(4096) {
            text.truncate(end);
            text.push('…');
        }
        text
    }

    /// The command that a keeper was started with.
    fn kept(&self) -> Option<Self> {
        let rest = self.bytes.strip_prefix(b"/proc/self/exe\0keep\0")?;
        let dashes = b"\0--\0";
        let at = rest.windows(dashes.len()).position(|it| it == dashes)?;
        Some(Self::from_bytes(rest[at + dashes.len()..].to_vec()))
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, argument) in self.arguments().enumerate() {
            let blank = if index == 0 { "" } else { " " };
            let text = displayable(argument);
            let plain = !text.is_empty()
                && !text.contains(|c: char| c.is_whitespace() || "'\"\\|&;<>()$`*?".contains(c));
            if plain {
                write!(f, "{blank}{text}")?;
            } else {
                write!(f, "{blank}'{}'", text.replace('\'', r"'\''"))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_command_line_has_no_arguments() {
        let line = CommandLine::from_bytes(Vec::new());
        assert_eq!(line.arguments().count(), 0);
        assert_eq!(line.to_string(), "");
        assert_eq!(line.program(), "");
    }

    #[test]
    fn a_keeper_is_shown_as_the_command_that_it_keeps() {
        let shown = |text: &str| CommandLine::from_bytes(text.as_bytes().to_vec()).shortened();
        let keeper = "/proc/self/exe\0keep\0--stage\x002\0--name\0sort -r\0--\0sort\0-r\0--\0-x\0";
        assert_eq!(shown(keeper), "sort -r -- -x");
        assert_eq!(
            shown("pipewright\0keep\0--\0sort\0"),
            "pipewright keep -- sort"
        );
        assert_eq!(
            shown("/proc/self/exe\0keep\0sort\0"),
            "/proc/self/exe keep sort"
        );
    }

    #[test]
    fn an_empty_argument_is_kept() {
        let line = CommandLine::from_bytes(b"grep\0\0file\0".to_vec());
        assert_eq!(line.to_string(), "grep '' file");
    }

    #[test]
    fn a_process_that_overwrote_its_arguments_is_shown_without_the_last_zero() {
        let line = CommandLine::from_bytes(b"nginx: master".to_vec());
        assert_eq!(line.to_string(), "'nginx: master'");
    }

    proptest! {
        #[test]
        fn no_control_character_survives(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let line = CommandLine::from_bytes(bytes);
            for text in [line.to_string(), line.program()] {
                prop_assert!(!text.contains(char::is_control), "{text:?}");
            }
        }
    }
}
