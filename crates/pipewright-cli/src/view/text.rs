//! Text fitted to a terminal. Pure.

use pipewright_observe::workspace::displayable;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// One line of text from outside, made safe for a terminal: it can neither move the cursor nor look
/// like another. New lines and tabs become spaces.
pub(crate) fn line(text: &str) -> String {
    displayable(text.as_bytes())
}

/// The same, but new lines stay.
pub(crate) fn lines(text: &str) -> String {
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// The columns that a text takes on a terminal.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// At most `columns` wide; an ellipsis stands for what was cut off.
pub(crate) fn shortened(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut taken = 0;
    for c in text.chars() {
        taken += c.width().unwrap_or(0);
        if taken > columns.saturating_sub(1) {
            break;
        }
        kept.push(c);
    }
    if columns > 0 {
        kept.push('…');
    }
    kept
}

/// Lines of at most `columns`, each two columns in, broken between words; only a word that is wider
/// itself runs over.
pub(crate) fn wrapped(text: &str, columns: usize) -> String {
    let mut lines = vec![String::from(" ")];
    for word in text.split(' ') {
        let last = lines.last().map_or(0, |line| width(line));
        if last > 1 && last + 1 + width(word) > columns {
            lines.push(String::from(" "));
        }
        if let Some(line) = lines.last_mut() {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines.join("\n")
}

/// Filled up with spaces to `columns`.
pub(crate) fn padded(text: &str, columns: usize) -> String {
    let fill = columns.saturating_sub(width(text));
    format!("{text}{:fill$}", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_broken_between_words() {
        assert_eq!(
            wrapped("zstd does better", usize::MAX),
            "  zstd does better"
        );
        assert_eq!(wrapped("zstd does better", 12), "  zstd does\n  better");
        assert_eq!(wrapped("unbreakable a", 5), "  unbreakable\n  a");
    }

    #[test]
    fn only_lines_keep_their_line_ends() {
        assert_eq!(lines("a\x1b\nb\u{61c}"), "a\nb");
        assert_eq!(line("a\x1b\nb\u{e0041}"), "a b");
    }

    #[test]
    fn a_text_that_is_too_long_says_so() {
        assert_eq!(shortened("abcdef", 6), "abcdef");
        assert_eq!(shortened("abcdefg", 6), "abcde…");
        assert_eq!(shortened("日本語", 5), "日本…"); // two columns each
        assert_eq!(shortened("日本語", 4), "日…");
        assert_eq!(shortened("abc", 0), "");
        assert_eq!(padded("日本", 6), "日本  ");
    }
}
