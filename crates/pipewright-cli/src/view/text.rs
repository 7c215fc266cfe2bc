//! Text from outside made safe for a terminal. Pure.

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

/// At most `width` characters; what is cut off is told by an ellipsis.
pub(crate) fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept + "…"
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
    }
}
