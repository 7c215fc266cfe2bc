//! A locale without UTF-8 gets nothing but ASCII from pipewright itself; the data stays as it is.

mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use support::foreign::{Running, Watch, find, mark};
use support::{USUAL, pipewright};
use testing::terminals::{Setup, Terminal};
use testing::{watchdog, with_time_enough};

/// The locale variables, and whether that locale has UTF-8.
const LOCALES: &[(&[(&str, &str)], bool)] = &[
    (&[], false),
    (&[("LANG", "en_US.UTF-8")], true),
    (&[("LANG", "C")], false),
    (&[("LC_ALL", "C"), ("LANG", "en_US.UTF-8")], false),
    (&[("LC_CTYPE", "POSIX"), ("LANG", "en_US.UTF-8")], false),
    (&[("LC_CTYPE", "C.UTF-8"), ("LANG", "C")], true),
    (&[("LC_ALL", ""), ("LANG", "de_DE.ISO-8859-1")], false),
];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn in_locale(variables: &[(&str, &str)]) -> Command {
    let mut command = pipewright();
    for name in ["LC_ALL", "LC_CTYPE", "LANG"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied()).stdin(Stdio::null());
    command
}

#[test]
fn what_is_told_keeps_to_the_locale_and_the_data_stays_as_it_is() {
    let _watchdog = watchdog();
    let long = format!("printf 日本 | sleep TIME {:090}", 0);
    let compared = ["run", "--compare", "--runs", "2", "true", "printf ö"];
    for (variables, utf8) in LOCALES {
        let told = |arguments: &[&str]| {
            let output = in_locale(variables).args(arguments).output().unwrap();
            text(&output.stdout) + &text(&output.stderr)
        };
        // With a character beyond ASCII in each; some are told of what was looked at for long enough.
        for (arguments, sign, text) in [
            (
                &["--summary=always"][..],
                "≈",
                "head -c 9M /dev/zero | { sleep TIME; cat; } >/dev/null",
            ),
            (
                &["--progress=plain", "-i200ms", "--summary=never"],
                "…",
                &long,
            ),
        ] {
            let told = with_time_enough(|time| {
                let text = text.replace("TIME", &time.as_secs_f64().to_string());
                let told = told(&[&["run"], arguments, &[&text]].concat());
                let sign = if *utf8 { sign } else { "~" };
                told.contains(sign).then_some(told)
            });
            assert_eq!(told.is_ascii(), !utf8, "{variables:?}: {told}");
        }
        for (arguments, sign) in [
            (&["run", "wc", "größe"][..], "ö"),
            (&["run", "a | b", "--json"], "…"),
            (&compared, "±"),
        ] {
            let told = told(arguments);
            assert_eq!(told.contains(sign), *utf8, "{variables:?}: {told}");
            assert_eq!(told.is_ascii(), !utf8, "{variables:?}: {told}");
        }
        // stdout is the pipeline's, and JSON has a charset of its own.
        let mut run = in_locale(variables);
        run.args(["run", "--json", "printf größer | cat"]);
        let output = run.output().unwrap();
        assert_eq!(text(&output.stdout), "größer");
        assert!(
            text(&output.stderr).contains("printf größer"),
            "{variables:?}"
        );
    }
}

#[test]
fn the_live_view_has_signs_of_ascii() {
    let _watchdog = watchdog();
    for output in [">/dev/null 2>&0", ">&0 2>&0"] {
        let setup = Setup {
            locale: "C",
            output,
            ..USUAL
        };
        let directory = tempfile::tempdir().unwrap();
        let done = directory.path().join("done");
        let script = format!("{{ : größer; {}; }} | cat", until(&done));
        let terminal = Terminal::start(&setup, &script);
        terminal.wait_for("the view", |screen| {
            [
                "> 1  {",
                "     |",
                "..........  1.0 MiB",
                "< bottleneck",
                "gr??er",
            ]
            .iter()
            .all(|wanted| screen.contains(wanted))
        });
        std::fs::write(&done, "").unwrap();
        assert!(terminal.end().success());
        assert!(terminal.raw().is_ascii(), "{:?}", terminal.raw());
    }
}

/// Commands that wait until the file exists.
fn until(path: &Path) -> String {
    format!("until test -e '{}'; do sleep 0.05; done", path.display())
}

#[test]
fn watch_and_ls_have_signs_of_ascii() {
    let _watchdog = watchdog();
    let mark = mark(3_141);
    let _running = Running::start(&format!("sleep {mark} | cat | sed s/ö/o/"));
    let pid = find(&mark, 3)["stages"][0]["pid"].to_string();
    let mut command = in_locale(&[("LC_ALL", "C")]);
    command.args(["watch", &pid]);
    let mut watch = Watch::run(command);
    watch.wait_for(&["pipewright watch - q quit - ? help", "     |", "s/?/o/"]);
    watch.press("?");
    watch.wait_for(&["+keys", "|q  quit"]);
    assert!(watch.screen.screen().contents().is_ascii());
    watch.press("q");
    watch.child.wait().unwrap();
    let listed = in_locale(&[("LC_ALL", "C")]).arg("ls").output().unwrap();
    let listed = text(&listed.stdout);
    assert!(listed.is_ascii() && listed.contains("s/?/o/"), "{listed}");
    let resized = in_locale(&[])
        .args(["resize", &pid, "8K"])
        .output()
        .unwrap();
    let resized = text(&resized.stdout);
    assert!(resized.contains(" > ") && resized.is_ascii(), "{resized}");
}

#[test]
fn a_dumb_terminal_is_told_once_of_plain_progress() {
    let _watchdog = watchdog();
    let hint = "--progress plain";
    for output in [">/dev/null 2>&0", ">&0 2>&0"] {
        for term in ["dumb", ""] {
            let setup = Setup {
                term,
                output,
                ..USUAL
            };
            let directory = tempfile::tempdir().unwrap();
            let done = directory.path().join("done");
            let terminal = Terminal::start(&setup, &format!("{{ {}; }} | cat", until(&done)));
            terminal.wait_for("the hint", |screen| screen.contains(hint));
            std::fs::write(&done, "").unwrap();
            assert!(terminal.end().success());
            let raw = terminal.raw();
            assert_eq!(raw.matches(hint).count(), 1, "{raw}");
            assert!(!raw.contains('\x1b'), "{raw:?}");
        }
    }
    // The terminal sets another one.
    let mut inside = Command::new("env");
    inside.args(["TERM=dumb", env!("CARGO_BIN_EXE_pipewright"), "watch", "1"]);
    let mut refused = Watch::run(inside);
    refused.wait_for(&["TERM says"]);
    assert_eq!(refused.child.wait().unwrap().code(), Some(125));
}
