//! Texts out of fragments of shell syntax at random places, against bash: the same bytes, files and
//! status, and nothing refused. PROPTEST_CASES makes a campaign of it.

mod support;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use support::pipewright;
use testing::{shell_status, watchdog};

/// What ends by itself, wherever it stands; no fragment can begin an endless loop.
const FRAGMENTS: &[&str] = &[
    "echo a",
    "cat",
    "tr a b",
    "sed s/a/b/",
    "sort",
    "true",
    "false",
    "exit 3",
    "(exit 4)",
    "nosuch",
    "echo $LINENO",
    "echo $#",
    "x=1 ",
    "A=2 env echo ",
    "'x|y'",
    "\"p|q\"",
    "$'t\\'|'",
    "\"$(echo b | cat)\"",
    "| cat",
    "|",
    " | ",
    " | ",
    "|& ",
    " || ",
    " && ",
    "; ",
    "\n",
    "\n",
    " ",
    " ",
    "\t",
    "& wait; ",
    "cat <<E",
    "<<E",
    "<<-E ",
    "<<'E' ",
    "<<\"E F\"",
    "\nE\n",
    "\n\tE\n",
    "\nE F\n",
    "body\n",
    "a\\\n",
    "<<<'a|b' ",
    "< in ",
    "> f",
    ">> g ",
    "2>&1 ",
    ">|f ",
    "<>in ",
    "&>f ",
    "&>>g ",
    "{fd}<in ",
    "3<&0 ",
    "# c\n",
    " # 'c",
    "\\\n",
    "\\",
    "\r",
    "é→",
    "(",
    ")",
    "{ ",
    "; }",
    "\n}",
    "$(",
    "$((",
    "))",
    "((",
    "1<<2",
    "`",
    "`echo a | cat`",
    "${x:1<<1}",
    "${x#'|'}",
    "${x:-a}",
    "a[1<<2]=3",
    "x=(",
    "[[ a ",
    " ]]",
    "[[ ab =~ a|b ]]",
    "case a in a|b) ",
    "case a in (a) ",
    " ;; esac",
    " ;& b) ",
    " ;;& *) ",
    "$(case a in a) echo x;; esac)",
    "if true; then ",
    "; else ",
    "; fi",
    "for i in 1 2; do ",
    "for ((i=0;i<1<<1;i++)); do ",
    "; done",
    "f() { cat; }; ",
    "f() ",
    "function g { cat; }\n",
    "! ",
    "time -p ",
    "coproc ",
    "<(echo a) ",
    ">(cat) ",
    "!(a) ",
    "@(a|b)",
    "shopt -s extglob\n",
    "alias e=echo\n",
    "eval 'echo a | cat' ",
    "trap 'echo t' EXIT\n",
    "set -e\n",
    "'",
    "\"",
    "$'",
    "*",
    "?",
    "~",
    "-",
    "\u{feff}",
];

fn text() -> impl Strategy<Value = String> {
    let fragment = proptest::sample::select(FRAGMENTS);
    proptest::collection::vec(fragment, 1..12).prop_map(|fragments| fragments.concat())
}

/// The status, the bytes, and the files that were made.
type Outcome = (i32, String, BTreeMap<String, String>);

/// `None`: it waits for something that does not come.
fn outcome(words: &[&str], text: &str) -> Option<Outcome> {
    let directory = tempfile::tempdir().unwrap();
    let input = directory.path().join("in");
    std::fs::write(&input, "one a\ntwo | b\n").unwrap();
    let mut command = Command::new("timeout");
    command.args(["-k", "1", "20"]).args(words).arg(text);
    command
        .current_dir(&directory)
        .stdin(Stdio::from(std::fs::File::open(&input).unwrap()))
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LC_ALL", "C.UTF-8");
    let output = command.output().unwrap();
    let files = std::fs::read_dir(&directory).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        (
            entry.file_name().to_string_lossy().into_owned(),
            bytes.escape_ascii().to_string(),
        )
    });
    let status = shell_status(&output);
    (status != 124).then(|| {
        let stdout = output.stdout.escape_ascii().to_string();
        (status, stdout, files.collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.min(100).max(
            std::env::var("PROPTEST_CASES").map_or(0, |cases| cases.parse().unwrap_or(0)),
        ),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_text_does_what_bash_does_with_it(text in text()) {
        let _watchdog = watchdog();
        let pipewright = pipewright().get_program().to_str().unwrap().to_owned();
        let ours = [&pipewright, "run", "-q", "--status", "last"];
        // So that neither takes it for an option.
        let guarded = format!(" {text}");
        // What a stage reads or says before its neighbour ends is luck: one of several must agree.
        let mut last = None;
        for _ in 0..4 {
            let Some(bash) = outcome(&["bash", "-c"], &guarded) else {
                return Ok(());
            };
            let ours = outcome(&ours, &guarded);
            if ours.as_ref() == Some(&bash) {
                return Ok(());
            }
            last = Some((ours, bash));
        }
        prop_assert!(false, "{:?}: ours and bash's: {:?}", guarded, last);
    }
}
