//! Words for a login shell that nobody knows: sh and its kin, csh and its kin, fish. Pure.
//!
//! What all of them read alike: single quotes around anything but `'`, `\`, `!` and line ends; a backslash
//! outside of quotes before the first three. A line end is read alike by no means, so a list with one goes
//! to `sh` as octal numbers.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// One text for ssh, of which the login shell on the other host makes exactly these words, and runs them in
/// its own place.
pub fn for_login_shell<S: AsRef<OsStr>>(words: &[S]) -> OsString {
    let words = || words.iter().map(|word| word.as_ref().as_bytes());
    let mut text = b"exec".to_vec();
    if words().any(|word| word.iter().any(|byte| matches!(byte, b'\n' | b'\r'))) {
        // $0 and what follows become words again, one printf for each. The x keeps line ends at the end.
        text.extend_from_slice(b" sh -c 'for word do word=$(printf %b \"$word\"; echo x); ");
        text.extend_from_slice(b"set -- \"$@\" \"${word%x}\"; shift; done; exec \"$@\"' sh");
        for word in words() {
            text.push(b' ');
            octal(word, &mut text);
        }
    } else {
        for word in words() {
            text.push(b' ');
            quote(word, &mut text);
        }
    }
    OsString::from_vec(text)
}

fn quote(word: &[u8], into: &mut Vec<u8>) {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-./,:+@".contains(byte);
    if !word.is_empty() && word.iter().all(is_plain) {
        into.extend_from_slice(word);
        return;
    }
    into.push(b'\'');
    for &byte in word {
        match byte {
            b'\'' | b'\\' | b'!' => into.extend_from_slice(&[b'\'', b'\\', byte, b'\'']),
            _ => into.push(byte),
        }
    }
    into.push(b'\'');
}

/// A word for `printf %b`, whose backslashes a shell has to see outside of quotes.
fn octal(word: &[u8], into: &mut Vec<u8>) {
    if word.is_empty() {
        into.extend_from_slice(b"''");
    }
    for byte in word {
        into.extend_from_slice(format!("\\\\0{byte:03o}").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    /// What the shell makes of the words, by a program that prints each between two zero bytes.
    fn through(shell: &str, words: &[OsString]) -> Vec<OsString> {
        let command = [&["printf".into(), "%s\\0".into()], words].concat();
        let output = Command::new(shell)
            .arg("-c")
            .arg(for_login_shell(&command))
            .output()
            .unwrap();
        assert!(output.status.success(), "{shell}: {output:?}");
        let printed = output.stdout.split(|byte| *byte == 0);
        let mut printed: Vec<_> = printed
            .map(|word| OsString::from_vec(word.to_vec()))
            .collect();
        assert_eq!(printed.pop().unwrap(), "");
        printed
    }

    fn shells() -> Vec<&'static str> {
        let all = ["sh", "bash", "zsh", "tcsh", "csh", "fish", "ksh"];
        let is_there = |shell: &&str| Command::new(shell).args(["-c", "exit 0"]).status().is_ok();
        all.into_iter().filter(is_there).collect()
    }

    #[test]
    fn words_that_shells_like_to_change_pass_unchanged_through_each_of_them() {
        let words = [
            "",
            " ",
            "a b",
            "'",
            "''",
            "\"",
            "\\",
            "\\\\",
            "a\\",
            "\\'",
            "!",
            "!!",
            "!a",
            "a!b!",
            "$HOME",
            "$(date)",
            "`date`",
            "*",
            "?",
            "[a]",
            "{a,b}",
            "~",
            "~root",
            "#",
            "a#b",
            ";",
            "&",
            "|",
            "<",
            ">",
            "(",
            ")",
            "=",
            "%",
            "%s",
            "^",
            "-n",
            "--",
            "\t",
            "ä",
            "\u{1f600}",
            "a\nb",
            "\n",
            "a\n",
            "\r",
            "\\n\n",
            "\\0101\n",
            "'\n!\\",
            "%%\n",
            "x\n\n",
        ];
        for shell in shells() {
            for word in words {
                let word = [OsString::from(word)];
                assert_eq!(through(shell, &word), word, "{shell}");
            }
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            assert_eq!(through(shell, &words), words, "{shell}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
        #[test]
        fn any_bytes_pass_unchanged_through_sh_and_fish_and_csh(
            words in prop::collection::vec(prop::collection::vec(1..=255_u8, 0..12), 1..5),
        ) {
            let words: Vec<OsString> = words.into_iter().map(OsString::from_vec).collect();
            for shell in shells() {
                // csh and fish read bytes that are no text in ways of their own.
                if matches!(shell, "sh" | "bash") || words.iter().all(|word| word.to_str().is_some()) {
                    prop_assert_eq!(through(shell, &words), words.clone(), "{}", shell);
                }
            }
        }
    }
}
