//! Text from outside made safe for a terminal. Pure.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// One line without control characters: a program's name must not move the cursor or set a title.
///
/// New lines and tabs become spaces. Characters that turn the direction of writing go too, since
/// they make a line read as something else.
pub(crate) fn line(text: &str) -> String {
    text.chars()
        .filter_map(|c| match c {
            '\n' | '\t' => Some(' '),
            c if is_unsafe(c) => None,
            c => Some(c),
        })
        .collect()
}

/// The same, but new lines stay.
pub(crate) fn lines(text: &str) -> String {
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// The columns that a text takes on a terminal.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// At most `columns` wide; what is cut off is told by an ellipsis.
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

/// Filled up with spaces to `columns`.
pub(crate) fn padded(text: &str, columns: usize) -> String {
    let fill = columns.saturating_sub(width(text));
    format!("{text}{:fill$}", "")
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_lose_what_makes_them_act() {
        assert_eq!(
            line("a\x1b[31mred\x1b]0;title\x07\u{9b}2J"),
            "a[31mred]0;title2J"
        );
        assert_eq!(line("one\ntwo\tthree\r"), "one two three");
        assert_eq!(line("a\u{202e}b"), "ab");
        assert_eq!(lines("a\x1b\nb"), "a\nb");
        assert_eq!(line("grün → 日本"), "grün → 日本");
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
