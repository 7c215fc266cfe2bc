//! Colours that a command would show on a terminal, asked for: a worker never has one. Pure.

use std::ffi::{OsStr, OsString};

use super::rows::GREP;
use super::table::is_assignment;

/// The command line that gives, whatever its output is, what this one gives on a terminal of the type
/// `term`.
///
/// `grep --color=auto` and `jq` look at their output. The other commands of the table do not.
///
/// ```
/// use pipewright_workers::for_terminal;
///
/// let argv = ["grep", "--color", "x"].map(Into::into);
/// let argv = for_terminal(argv.into(), Some("xterm".as_ref()));
/// assert_eq!(argv, ["grep", "--color=always", "x"]);
/// ```
#[must_use]
pub fn for_terminal(mut argv: Vec<OsString>, term: Option<&OsStr>) -> Vec<OsString> {
    let words: Vec<String> = argv
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let program = match words.iter().position(|word| word != "env") {
        Some(0) => 0,
        _ => words
            .iter()
            .skip(1)
            .take_while(|word| is_assignment(word))
            .count()
            .saturating_add(1),
    };
    let Some(name) = words.get(program) else {
        return argv;
    };
    match name.rsplit('/').next().unwrap_or_default() {
        // It shows none where the terminal has none.
        name if GREP.contains(&name) && term.is_some_and(|term| term != "dumb") => {
            for index in program + 1..words.len() {
                if words[index] == "--" {
                    break;
                }
                let is_pattern = matches!(words[index - 1].as_str(), "-e" | "--regexp");
                if AUTO.contains(&words[index].as_str()) && !is_pattern {
                    argv[index] = "--color=always".into();
                }
            }
        }
        // Behind it, what is given decides.
        "jq" => argv.insert(program + 1, "-C".into()),
        _ => {}
    }
    argv
}

const AUTO: [&str; 4] = ["--color", "--colour", "--color=auto", "--colour=auto"];

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str, term: Option<&str>) -> String {
        let argv = text.split(' ').map(OsString::from).collect();
        let argv = for_terminal(argv, term.map(OsStr::new));
        argv.join(OsStr::new(" ")).into_string().unwrap()
    }

    #[test]
    fn a_command_that_looks_at_its_output_is_told_what_it_would_see() {
        for (text, expected) in [
            ("grep --color x", "grep --color=always x"),
            ("grep x --colour=auto", "grep x --color=always"),
            (
                "env LC_ALL=C A=b /bin/egrep --color=auto x",
                "env LC_ALL=C A=b /bin/egrep --color=always x",
            ),
            ("jq -c .", "jq -C -c ."),
            ("jq -cM .", "jq -C -cM ."),
            ("env jq -c .", "env jq -C -c ."),
        ] {
            assert_eq!(asked(text, Some("xterm")), expected);
        }
    }

    #[test]
    fn all_else_stays_as_it_is() {
        for text in [
            "grep x",
            "grep --color=never x",
            "grep -e --color",
            "grep -- --color",
            "sed s/--color/x/",
            "env",
            "env A=b",
            "",
        ] {
            assert_eq!(asked(text, Some("xterm")), text);
        }
        assert_eq!(asked("grep --color x", Some("dumb")), "grep --color x");
        assert_eq!(asked("grep --color x", None), "grep --color x");
    }
}
