//! `run --tag`: the lines of each stage's stderr under the stage's name.

mod support;

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use pipewright::Signal;
use support::{USUAL, pipewright, run};
use testing::terminals::{Setup, Terminal};
use testing::{PATIENCE, stderr, wait_for_lines, watchdog};

/// Commands that wait until the file exists.
fn until(path: &Path) -> String {
    format!("until test -e '{}'; do sleep 0.02; done", path.display())
}

#[test]
fn each_line_has_its_stage_in_front_whatever_ends_it() {
    let _watchdog = watchdog();
    let text = "{ echo one >&2; printf 'half' >&2; echo data; } | { cat; echo >&2; printf 'a\\r\\n' >&2; } \
                | { cat; /bin/echo by a child >&2; } |& sed s/by/BY/ | ls /no/such/file";
    let output = run(&["--tag", "--summary", "never", text]);
    let told = stderr(&output);
    let mut lines: Vec<&str> = told.split_inclusive('\n').collect();
    lines.sort_unstable();
    // As wide as 24 columns of a name; what goes down the pipe is no line of stderr.
    assert_eq!(lines.len(), 5, "{told}");
    assert!(lines[0].starts_with("1 { echo one >&2; printf") && lines[0].ends_with("… | half\n"));
    assert!(lines[1].ends_with("… | one\n"), "{told}");
    assert!(
        lines[2].starts_with("2 { cat;") && lines[2].ends_with(" | \n"),
        "{told}"
    );
    assert!(lines[3].ends_with(" | a\r\n"), "{told}");
    assert!(
        lines[4].starts_with("5 ls /no/such/file  ") && lines[4].contains("  | ls: "),
        "{told}"
    );
    assert!(!output.status.success());
}

#[test]
fn lines_of_many_stages_come_whole_and_in_the_order_of_each() {
    let _watchdog = watchdog();
    // In pieces that end anywhere.
    let stage = "{ cat; for n in $(seq 300); do printf 'line ' >&2; printf \"$n of \" >&2; printf 'it\\n' >&2; done; }";
    let text = ["true", stage, stage, stage, stage].join(" | ");
    let output = run(&["--tag", "--summary", "never", &text]);
    assert!(output.status.success());
    let told = stderr(&output);
    assert_eq!(told.lines().count(), 1200);
    for stage in 2..=5 {
        let label = format!("{stage} {{ cat; for n in $(seq 3… | ");
        let own: Vec<&str> = told
            .lines()
            .filter_map(|it| it.strip_prefix(&label[..]))
            .collect();
        let expected: Vec<String> = (1..=300).map(|n| format!("line {n} of it")).collect();
        assert_eq!(own, expected, "{stage}");
    }
}

#[test]
fn names_have_colours_at_a_terminal_and_lines_do_not_steer_it() {
    let _watchdog = watchdog();
    let text = "printf 'a\\033[2Jb\\n' >&2 | printf 'c\\n' >&2";
    let told = |setup: Setup| {
        let terminal = Terminal::start(&setup, text);
        terminal.end();
        terminal.raw()
    };
    let options = &["--tag", "--summary", "never"];
    let coloured = told(Setup { options, ..USUAL });
    for wanted in [
        "\x1b[36m1 printf ",
        "\x1b[33m2 printf ",
        " | \x1b[0ma[2Jb\r\n",
        " | \x1b[0mc\r\n",
    ] {
        assert!(coloured.contains(wanted), "{coloured:?}");
    }
    let plain = told(Setup {
        options,
        no_color: true,
        ..USUAL
    });
    assert!(
        !plain.contains('\x1b') && plain.contains(" | a[2Jb\r\n"),
        "{plain:?}"
    );
    // A file gets the bytes.
    let file = stderr(&run(&["--tag", "--summary", "never", text]));
    assert!(file.contains(" | a\x1b[2Jb\n"), "{file:?}");
}

#[test]
fn last_words_are_told_and_come_before_the_summary() {
    let _watchdog = watchdog();
    let stage = "{ trap 'echo goodbye >&2; exit 3' TERM INT; echo ready >&2; while :; do sleep 0.01; done; }";
    let setup = Setup {
        options: &["--tag"],
        no_color: true,
        ..USUAL
    };
    for by_key in [true, false] {
        let terminal = Terminal::start(&setup, &format!("{stage} | {stage}"));
        terminal.wait_for("both stages", |screen| {
            screen.matches("| ready").count() == 2
        });
        if by_key {
            terminal.type_in("\x03");
        } else {
            terminal.signal(Signal::TERM);
        }
        terminal.end();
        let raw = terminal.raw();
        let last = raw.rfind("| goodbye\r\n").expect(&raw);
        assert_eq!(raw.matches("| goodbye\r\n").count(), 2, "{raw}");
        assert!(last < raw.find("exit 3").expect(&raw), "{raw}");
    }
}

#[test]
fn the_stages_go_on_printing_when_pipewright_is_killed() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let text = format!(
        "{{ echo first >&2; {}; echo second >&2; echo data; }} | cat",
        until(&at("go"))
    );
    let mut child = pipewright()
        .args(["run", "--tag", "--summary", "never", &text])
        .stdin(std::process::Stdio::null())
        .stdout(File::create(at("out")).unwrap())
        .stderr(File::create(at("err")).unwrap())
        .spawn()
        .unwrap();
    wait_for_lines(&at("err"), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::write(at("go"), "").unwrap();
    assert!(wait_for_lines(&at("err"), 2).ends_with(" | second\n"));
    assert_eq!(wait_for_lines(&at("out"), 1), "data\n");
}

#[test]
fn who_holds_stderr_beyond_the_end_holds_up_nobody() {
    let _watchdog = watchdog();
    let begin = Instant::now();
    let output = pipewright()
        .args(["run", "--tag", "--summary", "never"])
        .arg("{ sleep 100 >/dev/null & echo $! ; echo told >&2; } | cat")
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .output()
        .unwrap();
    let sleep = String::from_utf8(output.stdout).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(60).min(PATIENCE));
    let sleep = rustix::process::Pid::from_raw(sleep.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(sleep, Signal::TERM).unwrap();
}

#[test]
fn a_text_without_stages_is_refused_before_anything_starts() {
    let _watchdog = watchdog();
    for arguments in [
        &["--tag", "echo started; true | cat"][..],
        &["--tag", "--whole", "echo started | cat"],
        &["--tag", "--compare", "echo started", "true"],
    ] {
        let output = run(arguments);
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(125), "{arguments:?}");
        assert!(output.stdout.is_empty() && told.contains("--tag"), "{told}");
        if !arguments.contains(&"--compare") {
            // Why, and what to do.
            let reason = ["a list of commands", "--whole asks for it"];
            assert!(reason.iter().any(|it| told.contains(it)), "{told}");
            assert!(told.contains("give the pipeline alone"), "{told}");
        }
    }
}
