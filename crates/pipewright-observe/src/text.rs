//! Text from outside made safe for a terminal: the one filter for all of it. Pure.

/// Text of foreign bytes that can neither move a terminal's cursor nor make a line look like
/// another.
///
/// Tabs and line ends become blanks. Other control characters are dropped, and so are characters
/// that nobody sees: those that turn the direction of writing, those of no width that join, split or
/// tag others, and the blank letters. Bytes that are no UTF-8 become U+FFFD.
pub fn displayable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .filter_map(|character| match character {
            '\t' | '\n' | '\u{2028}' | '\u{2029}' => Some(' '),
            character if is_invisible(character) => None,
            character => Some(character),
        })
        .collect()
}

/// Control characters; what Unicode calls "default ignorable", which has no picture of its own, with
/// all that changes the direction of writing among it; and format controls beside those.
///
/// # References
///
/// [Unicode, DerivedCoreProperties](https://www.unicode.org/Public/UCD/latest/ucd/DerivedCoreProperties.txt),
/// `Default_Ignorable_Code_Point`; [UAX #9](https://www.unicode.org/reports/tr9/)
fn is_invisible(character: char) -> bool {
    // U+0080 to U+009F are control characters too: U+009B is an 8-bit "escape [".
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{13430}'..='\u{13455}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escape_sequences_lose_what_makes_them_act() {
        assert_eq!(
            displayable(b"a\x1b[31mred\x1b]0;title\x07\xc2\x9b2J"),
            "a[31mred]0;title2J"
        );
        assert_eq!(displayable(b"one\ntwo\tthree\r"), "one two three");
        assert_eq!(displayable(b"\xff\xfe"), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn characters_that_nobody_sees_are_dropped() {
        for hidden in [
            "\u{61c}",
            "\u{ad}",
            "\u{202e}",
            "\u{2066}",
            "\u{200b}",
            "\u{200d}",
            "\u{feff}",
            "\u{e0001}",
            "\u{e0041}",
            "\u{e007f}",
            "\u{e0100}",
            "\u{fe0f}",
            "\u{3164}",
            "\u{2064}",
            "\u{180e}",
            "\u{fff9}",
            "\u{34f}",
        ] {
            assert_eq!(
                displayable(format!("a{hidden}b").as_bytes()),
                "ab",
                "{hidden:?}"
            );
        }
        assert_eq!(displayable("a\u{2028}b".as_bytes()), "a b");
    }

    #[test]
    fn what_can_be_read_stays() {
        let text = "grün → 日本 שלום ✓ e\u{301} 👍 <b>&amp;";
        assert_eq!(displayable(text.as_bytes()), text);
    }

    proptest! {
        #[test]
        fn filtered_text_is_filtered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let once = displayable(&bytes);
            prop_assert!(!once.contains(char::is_control));
            prop_assert_eq!(displayable(once.as_bytes()), once);
        }
    }
}
