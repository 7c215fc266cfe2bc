//! Pipelines out of a small grammar, put together at random, against bash.

mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use support::pipewright;
use testing::{shell_status, watchdog};

/// A stage that reads its stdin to the end, so that no chance is in the outcome. The second part
/// is the body of a here-document that has to follow the line.
type Stage = (String, String);

/// A stage without a here-document.
fn simple() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("cat".to_owned()),
        Just("cat -n".to_owned()),
        Just("sort -r".to_owned()),
        Just("tr a-m A-M".to_owned()),
        Just("sed 's/e/|/g'".to_owned()),
        Just("sed -n \"\\$p;1p\"".to_owned()),
        Just("rev".to_owned()),
        Just("tail -n 3".to_owned()),
        Just("\"ca\"t | 'cat'".to_owned()),
        Just("c\\at".to_owned()),
        Just("A=1 B='x | y' cat".to_owned()),
        Just("tr -d \"$(printf '%s' '|')\"".to_owned()),
        Just("grep -v -e '^#' -e \\|\\|".to_owned()),
        Just("{ cat; echo 'end |'; }".to_owned()),
        Just("while IFS= read -r line; do echo \"<$line>\"; done".to_owned()),
        Just("if true; then cat; else echo no; fi".to_owned()),
        Just("case $HOME in a | b) cat;; *) tr a b;; esac".to_owned()),
        Just("for i in 1 2; do cat; echo $i; done".to_owned()),
        Just("(cat; exit 3)".to_owned()),
        Just("sh -c 'cat; exit 5'".to_owned()),
        Just("sh -c 'cat; kill -9 $$'".to_owned()),
    ]
}

/// Words that only quoting keeps whole.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,4}",
        "'[a-z |&;<>(){}#$\"*]{0,6}'",
        "\"[a-z |&;<>(){}#'*]{0,6}\"",
        Just("\\|".to_owned()),
        Just("größe→".to_owned()),
        Just("$((1 | 2))".to_owned()),
        Just("$(echo a | cat)".to_owned()),
        Just("`echo b | cat`".to_owned()),
        Just("{x,y}z".to_owned()),
        Just("a#b".to_owned()),
    ]
}

fn redirection() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        4 => Just(""),
        1 => Just(" 2>/dev/null"),
        1 => Just(" 2>&1"),
        1 => Just(" 3</dev/null"),
        1 => Just(" 2>>errors"),
    ]
}

fn stage(index: usize) -> impl Strategy<Value = Stage> {
    let lines = proptest::collection::vec("[a-z |&'\"()<#]{0,8}", 0..3);
    let tag = format!("E{index}");
    let document = (any::<bool>(), any::<bool>(), lines).prop_map(move |(quoted, tabs, lines)| {
        let operator = if tabs { "<<-" } else { "<<" };
        let name = if quoted {
            format!("'{tag}'")
        } else {
            tag.clone()
        };
        let indent = if tabs { "\t" } else { "" };
        let body: String = lines
            .iter()
            .map(|line| format!("{indent}{line}\n"))
            .collect();
        (
            format!("cat - /dev/fd/4 4{operator}{name}"),
            format!("{body}{indent}{tag}\n"),
        )
    });
    let echo = proptest::collection::vec(word(), 1..4)
        .prop_map(|words| format!("{{ cat; echo {}; }}", words.join(" ")));
    let plain = prop_oneof![4 => simple(), 2 => echo].prop_map(|text| (text, String::new()));
    (prop_oneof![4 => plain, 1 => document], redirection())
        .prop_map(|((text, body), redirection)| (text + redirection, body))
}

/// What may stand between two stages, where the line does not end.
fn gap() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just(" "), Just(""), Just("\t "), Just(" \\\n ")]
}

fn operator() -> impl Strategy<Value = (&'static str, &'static str)> {
    prop_oneof![
        4 => Just(("|", "")),
        1 => Just(("|&", "")),
        1 => Just(("|", "\n")),
        1 => Just(("|", "  # comment | with 'a quote\n\n  ")),
        1 => Just(("|&", "\n\t")),
    ]
}

prop_compose! {
    fn pipeline()(
        count in 1_usize..6
    )(
        stages in (0..count).map(stage).collect::<Vec<_>>(),
        joints in proptest::collection::vec((gap(), operator(), gap()), count - 1),
        negated in proptest::bool::weighted(0.1),
        end in prop_oneof![Just(""), Just("\n"), Just(" # end | of it"), Just(" ;"), Just("\n\n")],
    ) -> String {
        let mut text = if negated { "! ".to_owned() } else { String::new() };
        // Bodies follow the line that their operators are in.
        let mut waiting = String::new();
        for (index, (stage, body)) in stages.iter().enumerate() {
            text += stage;
            waiting += body;
            let Some((before, (operator, behind), after)) = joints.get(index) else {
                break;
            };
            text += before;
            text += operator;
            match behind.find('\n') {
                Some(line) => {
                    text += &behind[..=line];
                    text += &std::mem::take(&mut waiting);
                    text += &behind[line + 1..];
                }
                // A continued line is one line to a shell, but not one to a reader of this.
                None if waiting.is_empty() => text += after,
                None => text.push(' '),
            }
        }
        if waiting.is_empty() {
            text + end
        } else {
            let comment = if end.contains('#') { end } else { "" };
            format!("{text}{comment}\n{waiting}")
        }
    }
}

/// The bytes on stdout, and the status.
fn outcome(command: &mut Command, directory: &Path) -> (String, i32) {
    let input = std::fs::File::open(directory.join("input")).unwrap();
    let output = command
        .current_dir(directory)
        .stdin(Stdio::from(input))
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    (
        output.stdout.escape_ascii().to_string(),
        shell_status(&output),
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 150,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_pipeline_gives_bashs_bytes_and_status(text in pipeline()) {
        let _watchdog = watchdog();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(
            directory.path().join("input"),
            "one | two\n# three\nvier größe\n\nlast line without an end",
        )
        .unwrap();
        let checked = Command::new("bash").args(["-n", "-c", &text]).status().unwrap();
        prop_assert!(checked.success(), "not bash: {}", text);
        let bash = outcome(
            Command::new("bash").args(["-o", "pipefail", "-c", &text]),
            directory.path(),
        );
        let ours = outcome(
            pipewright().args(["run", "-q", "--status", "any", &text]),
            directory.path(),
        );
        prop_assert_eq!(ours, bash, "{}", text);
    }
}
