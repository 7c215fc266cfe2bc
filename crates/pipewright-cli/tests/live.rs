//! The live view in a real pseudo-terminal, read back by a terminal emulator.

mod support;

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use pipewright::Signal;
use support::terminal::{Setup, Terminal, USUAL, resize};

/// A stage that waits until the file exists.
fn until(path: &std::path::Path) -> String {
    format!("until test -e {}; do sleep 0.05; done", path.display())
}

#[test]
fn rows_are_shown_while_it_runs_and_wiped_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let done = directory.path().join("done");
    let terminal = Terminal::start(&USUAL, &format!("{{ {}; }} | cat", until(&done)));
    terminal.wait_for("the view", |screen| screen.contains("waiting for input"));
    let screen = terminal.screen();
    assert!(
        screen.contains("│") && screen.contains("1.0 MiB"),
        "{screen}"
    );
    assert!(!terminal.region_is_whole());
    std::fs::write(&done, "").unwrap();
    assert!(terminal.end().success());
    let screen = terminal.screen();
    assert!(
        screen.contains("ok in") && !screen.contains("│"),
        "{screen}"
    );
    assert!(terminal.region_is_whole(), "{:?}", terminal.raw());
}

#[test]
fn what_stages_write_to_stderr_scrolls_above_unharmed() {
    let directory = tempfile::tempdir().unwrap();
    let (half, done) = (directory.path().join("half"), directory.path().join("done"));
    let script = format!(
        "{{ for n in 1 2 3 4 5 6 7 8 9; do echo before $n >&2; done; printf 'half a' >&2; {}; \
         echo ' line' >&2; {}; for n in 11 12 13; do echo after $n >&2; done; {}; }} | cat",
        until(&half),
        "sleep 0.1",
        until(&done)
    );
    let terminal = Terminal::start(&Setup { lines: 14, ..USUAL }, &script);
    terminal.wait_for("the view", |screen| {
        screen.contains("half a") && screen.contains("bottleneck")
    });
    std::fs::write(&half, "").unwrap();
    terminal.wait_for("the rest", |screen| screen.contains("after 13"));
    let screen = terminal.screen();
    assert!(screen.contains("half a line\n"), "{screen}");
    assert!(screen.contains("after 11\nafter 12\nafter 13"), "{screen}");
    terminal.wait_for("the view below", |screen| {
        screen
            .find("bottleneck")
            .is_some_and(|at| at > screen.find("after 13").unwrap_or(usize::MAX))
    });
    std::fs::write(&done, "").unwrap();
    assert!(terminal.end().success());
}

#[test]
fn the_view_follows_the_size_of_the_terminal() {
    let terminal = Terminal::start(&USUAL, "sleep 60 | cat");
    terminal.wait_for("the view", |screen| screen.contains("waiting for input"));
    for (lines, columns) in [(24, 60), (10, 30), (6, 20), (30, 120)] {
        let (lock, _) = &*terminal.seen;
        lock.lock()
            .unwrap()
            .screen
            .screen_mut()
            .set_size(lines, columns);
        resize(&terminal.master, lines, columns);
        terminal.wait_for("the view at its new size", |screen| {
            let rows: Vec<&str> = screen.lines().collect();
            rows.last().is_some_and(|row| row.contains("0:"))
                || rows.iter().any(|row| row.contains("▶"))
        });
        assert!(
            terminal
                .screen()
                .lines()
                .all(|row| row.chars().count() <= columns.into())
        );
    }
    terminal.signal(Signal::TERM);
    terminal.end();
    assert!(terminal.region_is_whole(), "{:?}", terminal.raw());
}

#[test]
fn ctrl_c_ends_the_stages_and_gives_the_terminal_back() {
    let terminal = Terminal::start(&USUAL, "sleep 60 | cat");
    terminal.wait_for("the view", |screen| screen.contains("waiting for input"));
    terminal.type_in("\x03");
    assert_eq!(terminal.end().signal(), Some(Signal::INT.as_raw()));
    assert!(terminal.region_is_whole(), "{:?}", terminal.raw());
    assert!(
        terminal.screen().contains("killed by SIGINT"),
        "{}",
        terminal.screen()
    );
}

#[test]
fn ctrl_z_gives_the_terminal_back_until_it_goes_on() {
    // A job can stop only where somebody is there to let it go on: the leader of its session.
    let job = "set -m; \"$PIPEWRIGHT\" run 'sleep 60 | cat' >/dev/null; echo stopped with $?; read line; \
               fg >/dev/null; echo ended";
    let terminal = Terminal::start(
        &Setup {
            options: &["--progress", "never", "--summary", "never"],
            output: ">&0 2>&0",
            ..USUAL
        },
        &format!(
            "PIPEWRIGHT={} bash -c '{}'",
            env!("CARGO_BIN_EXE_pipewright"),
            job.replace('\'', "'\\''")
        ),
    );
    terminal.wait_for("the view", |screen| screen.contains("waiting for input"));
    terminal.type_in("\x1a");
    terminal.wait_for("the shell", |screen| screen.contains("stopped with"));
    assert!(terminal.region_is_whole(), "{:?}", terminal.raw());
    terminal.type_in("\n");
    terminal.wait_for("the view again", |screen| {
        screen.contains("waiting for input")
    });
    terminal.type_in("\x03");
    terminal.wait_for("the end", |screen| {
        screen.contains("ended") || screen.contains("SIGINT")
    });
    terminal.signal(Signal::TERM);
    terminal.end();
}

#[test]
fn no_color_means_no_escape_for_looks() {
    let terminal = Terminal::start(
        &Setup {
            no_color: true,
            ..USUAL
        },
        "sleep 0.8 | cat",
    );
    assert!(terminal.end().success());
    let raw = terminal.raw();
    assert!(
        raw.contains("bottleneck"),
        "the mark is a word, too: {raw:?}"
    );
    let looks = raw.match_indices("\x1b[").any(|(at, _)| {
        let end = raw[at + 2..].find(|c: char| !(c.is_ascii_digit() || c == ';'));
        end.is_some_and(|end| raw[at + 2 + end..].starts_with('m'))
    });
    assert!(!looks, "{raw:?}");
}

#[test]
fn a_dumb_terminal_or_one_that_gets_the_output_is_left_alone() {
    for setup in [
        Setup {
            term: "dumb",
            ..USUAL
        },
        Setup {
            output: ">&0 2>&0",
            no_color: true,
            ..USUAL
        },
        Setup {
            options: &["--progress", "never"],
            no_color: true,
            ..USUAL
        },
        Setup {
            options: &["-q"],
            ..USUAL
        },
    ] {
        let terminal = Terminal::start(&setup, "sleep 0.8 | cat");
        assert!(terminal.end().success());
        let raw = terminal.raw();
        assert!(!raw.contains('\x1b'), "{raw:?}");
        assert!(!raw.contains('│'), "{raw:?}");
    }
}

#[test]
fn a_terminal_in_the_hands_of_another_program_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let done = directory.path().join("done");
    let script = format!(
        "{{ stty -icanon </dev/tty; {}; stty icanon </dev/tty; }} | cat",
        until(&done)
    );
    let terminal = Terminal::start(&USUAL, &script);
    // Past the time of the first picture.
    assert!(terminal.status(Duration::from_millis(1200)).is_none());
    assert_eq!(terminal.raw(), "");
    std::fs::write(&done, "").unwrap();
    assert!(terminal.end().success());
}

#[test]
fn escape_sequences_in_a_command_do_not_reach_the_terminal() {
    let hostile = "sleep 0.9 '\x1b]0;stolen title\x07\x1b[2J' 2>/dev/null; sleep 0.9";
    let terminal = Terminal::start(&USUAL, &format!("{{ {hostile}; }} | cat"));
    terminal.end();
    let raw = terminal.raw();
    assert!(raw.contains("stolen title"), "{raw:?}");
    assert!(
        !raw.contains("\x1b]") && !raw.contains("\x1b[2J") && !raw.contains('\x07'),
        "{raw:?}"
    );
}

#[test]
fn a_thousand_stages_fit_into_what_room_there_is() {
    let directory = tempfile::tempdir().unwrap();
    let done = directory.path().join("done");
    let cats = " | cat".repeat(999);
    let terminal = Terminal::start(&USUAL, &format!("{{ {}; }}{cats}", until(&done)));
    terminal.wait_for("the note", |screen| screen.contains("more stages"));
    let screen = terminal.screen();
    assert!(screen.contains("until test"), "{screen}");
    std::fs::write(&done, "").unwrap();
    assert!(terminal.end().success());
    assert!(terminal.region_is_whole(), "{:?}", terminal.raw());
}

#[test]
fn plain_progress_is_a_line_an_interval_and_needs_no_terminal() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_pipewright"))
        .args([
            "run",
            "--progress",
            "plain",
            "-i",
            "200ms",
            "--summary",
            "never",
            "sleep 1 | cat",
        ])
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!((2..=6).contains(&text.lines().count()), "{text}");
    assert!(
        text.lines()
            .all(|line| line.contains("1 sleep 1 ") && line.contains("2 cat")),
        "{text}"
    );
    assert!(!text.contains('\x1b'));
}

#[test]
fn a_stage_that_splices_has_a_rate_that_is_not_known() {
    // dd moves bytes through itself; a splicing program does not. python3 has os.splice since 3.10.
    let splice = "import os, sys\nwhile os.splice(0, 1, 1 << 20): pass";
    let probe = std::process::Command::new("python3")
        .args(["-c", "import os; os.splice"])
        .output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        eprintln!("skipped: there is no python3 with os.splice");
        return;
    }
    let script = format!(
        "{{ yes | head -c 200M; sleep 2; }} | python3 -c '{splice}' | python3 -c '{splice}' | cat >/dev/null"
    );
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_pipewright"))
        .args(["run", "-q", "--json", &script])
        .output()
        .unwrap();
    let run: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(
        run["pipes"][1]["estimated_bytes"],
        serde_json::Value::Null,
        "{run:#}"
    );
    assert_ne!(run["pipes"][0]["estimated_bytes"], 0, "{run:#}");
}
