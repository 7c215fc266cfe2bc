//! Which words need no shell.

use std::ffi::OsStr;

/// The words of a stage as the program would get them, if they are nothing but plain literals and
/// the first is a program's name. `None`: a shell must look at it.
///
/// Cautious on purpose. Anything that a shell might expand, split, or take as syntax is left to it.
pub(super) fn plain<'a>(words: impl Iterator<Item = &'a str>) -> Option<Vec<String>> {
    let words: Vec<String> = words.map(unquoted).collect::<Option<_>>()?;
    let name = words.first()?;
    // `A=1 program` is an assignment; `%1` a job.
    if name.contains(['=', '%']) || SHELL_WORDS.contains(&name.as_str()) {
        return None;
    }
    Some(words)
}

/// A word without its quotes, if nothing in it is expanded.
fn unquoted(word: &str) -> Option<String> {
    let mut plain = String::with_capacity(word.len());
    let mut characters = word.chars();
    while let Some(c) = characters.next() {
        match c {
            '\'' => loop {
                match characters.next()? {
                    '\'' => break,
                    c => plain.push(c),
                }
            },
            '"' => loop {
                match characters.next()? {
                    '"' => break,
                    '$' | '`' | '\\' => return None,
                    c => plain.push(c),
                }
            },
            c if c.is_alphanumeric() || "_-./:=,+@%".contains(c) => plain.push(c),
            _ => return None,
        }
    }
    Some(plain)
}

/// A word as it would be typed.
pub(super) fn quoted(word: &OsStr) -> String {
    pipewright::Command::new(word).to_string()
}

/// Bash's builtins and keywords. At a prompt each of these is the shell's own, even where a program
/// of the same name exists.
const SHELL_WORDS: &[&str] = &[
    "!",
    ".",
    ":",
    "[",
    "[[",
    "]]",
    "alias",
    "bg",
    "bind",
    "break",
    "builtin",
    "caller",
    "case",
    "cd",
    "command",
    "compgen",
    "complete",
    "compopt",
    "continue",
    "coproc",
    "declare",
    "dirs",
    "disown",
    "do",
    "done",
    "echo",
    "elif",
    "else",
    "enable",
    "esac",
    "eval",
    "exec",
    "exit",
    "export",
    "false",
    "fc",
    "fg",
    "fi",
    "for",
    "function",
    "getopts",
    "hash",
    "help",
    "history",
    "if",
    "in",
    "jobs",
    "kill",
    "let",
    "local",
    "logout",
    "mapfile",
    "popd",
    "printf",
    "pushd",
    "pwd",
    "read",
    "readarray",
    "readonly",
    "return",
    "select",
    "set",
    "shift",
    "shopt",
    "source",
    "suspend",
    "test",
    "then",
    "time",
    "times",
    "trap",
    "true",
    "type",
    "typeset",
    "ulimit",
    "umask",
    "unalias",
    "unset",
    "until",
    "wait",
    "while",
    "{",
    "}",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_taken_off_where_nothing_is_expanded() {
        assert_eq!(unquoted("a'b c'\"d e\"").as_deref(), Some("ab cd e"));
        assert_eq!(unquoted("''").as_deref(), Some(""));
        assert_eq!(unquoted("'$HOME | `x`'").as_deref(), Some("$HOME | `x`"));
        assert_eq!(unquoted("grün-1.5:a,b").as_deref(), Some("grün-1.5:a,b"));
    }

    #[test]
    fn what_a_shell_would_expand_is_left_to_it() {
        for word in [
            "$HOME",
            "\"$x\"",
            "`date`",
            "*.txt",
            "a?",
            "[ab]",
            "~",
            "{a,b}",
            "a\\ b",
            "\"a\\\"b\"",
            "$'a'",
            "!!",
            "#x",
            "a#b",
            "x~y",
            "^a",
        ] {
            assert_eq!(unquoted(word), None, "{word}");
        }
    }

    #[test]
    fn the_list_of_shell_words_is_the_shells_own() {
        let bash = std::process::Command::new("bash")
            .args(["-c", "compgen -b; compgen -k"])
            .output();
        let known = String::from_utf8(bash.unwrap().stdout).unwrap();
        let missing: Vec<&str> = known
            .lines()
            .filter(|word| !SHELL_WORDS.contains(word))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn the_list_is_in_order_and_has_nothing_twice() {
        assert!(SHELL_WORDS.is_sorted_by(|a, b| a < b));
    }
}
