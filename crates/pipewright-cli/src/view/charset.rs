//! What a locale without UTF-8 gets in place of characters beyond ASCII.

use std::borrow::Cow;
use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};

use unicode_width::UnicodeWidthChar;

/// The user's locale has nothing but ASCII for sure.
static ASCII_ONLY: AtomicBool = AtomicBool::new(false);

/// Goes by the locale that the environment names from now on.
///
/// # References
///
/// `LC_ALL`, `LC_CTYPE`, `LANG` in [locale(7)](https://man7.org/linux/man-pages/man7/locale.7.html)
pub(crate) fn follow_locale() {
    let is_ascii = !is_utf8(std::env::var_os);
    ASCII_ONLY.store(is_ascii, Ordering::Relaxed);
}

pub(crate) fn is_ascii_only() -> bool {
    ASCII_ONLY.load(Ordering::Relaxed)
}

/// The text in characters that the user's locale has, each as wide as before.
pub(crate) fn in_locale(text: &str) -> Cow<'_, str> {
    if is_ascii_only() && !text.is_ascii() {
        Cow::Owned(ascii(text))
    } else {
        Cow::Borrowed(text)
    }
}

/// The first of the variables that is not empty names the locale; without one it is C.
fn is_utf8(variable: impl Fn(&'static str) -> Option<OsString>) -> bool {
    let variables = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter();
    let locale = variables.filter_map(variable).find(|it| !it.is_empty());
    let locale = locale.unwrap_or_default().to_string_lossy().into_owned();
    let charset = locale.split_once('.').map_or("", |(_, charset)| charset);
    let charset = charset.split('@').next().unwrap_or_default();
    charset.replace('-', "").eq_ignore_ascii_case("utf8")
}

/// A column stays a column, so that tables stay straight; but for an ellipsis in quotes, which stands
/// for a text in a sentence.
fn ascii(text: &str) -> String {
    let text = text.replace("'…'", "'...'");
    let mut told = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '…' | '≈' => told.push('~'),
            '·' | '–' | '─' => told.push('-'),
            '→' | '▶' => told.push('>'),
            '◀' => told.push('<'),
            '│' => told.push('|'),
            '█' => told.push('#'),
            '░' => told.push('.'),
            '×' => told.push('x'),
            '±' => told.push('+'),
            ascii if ascii.is_ascii() => told.push(ascii),
            other => told.extend((0..other.width().unwrap_or(0)).map(|_| '?')),
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_is_what_the_first_variable_names() {
        let is_utf8 = |all: &str, ctype: &str, lang: &str| {
            is_utf8(|name| {
                let value = match name {
                    "LC_ALL" => all,
                    "LC_CTYPE" => ctype,
                    _ => lang,
                };
                (value != "unset").then(|| value.into())
            })
        };
        for (all, ctype, lang, utf8) in [
            ("unset", "unset", "unset", false),
            ("unset", "unset", "en_US.UTF-8", true),
            ("unset", "unset", "de_DE.utf8@euro", true),
            ("", "", "C.UTF-8", true),
            ("C", "en_US.UTF-8", "en_US.UTF-8", false),
            ("POSIX", "unset", "en_US.UTF-8", false),
            ("unset", "C", "en_US.UTF-8", false),
            ("", "C.utf8", "C", true),
            ("C.UTF-8", "C", "C", true),
            ("unset", "unset", "en_US", false),
            ("unset", "unset", "de_DE.ISO-8859-1", false),
            ("unset", "unset", "ja_JP.eucJP", false),
        ] {
            assert_eq!(is_utf8(all, ctype, lang), utf8, "{all} {ctype} {lang}");
        }
    }

    #[test]
    fn a_column_stays_a_column() {
        use unicode_width::UnicodeWidthStr;
        let text =
            "▶ 1  日本 größer  ≈ 1.0 MiB │ ██░░ 2 → 3 · 1.00 ± 0.1 × 4 – e\u{301} sh -c 'cat…";
        let told = ascii(text);
        assert!(told.is_ascii(), "{told}");
        assert_eq!(told.width(), text.width(), "{told}");
        assert_eq!(ascii("run '…' again"), "run '...' again");
    }
}
