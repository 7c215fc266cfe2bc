//! `pipewright run` at a terminal: what it shows there, and whose the terminal is.

mod support;

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use pipewright::Signal;
use support::USUAL;
use testing::terminals::{Setup, Terminal, start};
use testing::{PATIENCE, lives, wait_for_lines, watchdog};

/// Both stdout and stderr are the terminal, as at a prompt.
const PROMPT: Setup = Setup {
    output: ">&0 2>&0",
    ..USUAL
};

/// Runs it to its end; what came out of the terminal.
fn shown(setup: &Setup, pipeline: &str) -> String {
    let terminal = Terminal::start(setup, pipeline);
    terminal.end();
    terminal.raw()
}

fn is_coloured(raw: &str) -> bool {
    raw.contains("\x1b[")
}

#[test]
fn the_summary_is_shown_at_a_terminal_though_nothing_failed() {
    let _watchdog = watchdog();
    assert!(shown(&PROMPT, "true | true").contains("ok"));
    assert!(shown(&USUAL, "true | true").contains("stage"));
    for quiet in [
        &["--summary", "never"][..],
        &["-q"],
        &["--json=/dev/null", "-q"],
    ] {
        let setup = Setup {
            options: quiet,
            ..PROMPT
        };
        assert_eq!(shown(&setup, "echo data | cat"), "data\r\n");
    }
    // stderr is none, and all went well.
    let setup = Setup {
        output: ">&0 2>/dev/null",
        ..USUAL
    };
    assert_eq!(shown(&setup, "echo data | cat"), "data\r\n");
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let _watchdog = watchdog();
    let told = |setup: &Setup| {
        let raw = shown(setup, "true | sh -c 'exit 3'");
        assert!(raw.contains("stage 2 failed"), "{raw:?}");
        is_coloured(&raw)
    };
    let dumb = Setup {
        term: "dumb",
        ..PROMPT
    };
    let no_color = Setup {
        no_color: true,
        ..PROMPT
    };
    assert!(told(&PROMPT));
    assert!(!told(&dumb));
    assert!(!told(&no_color));
    let (always, never) = (&["--color", "always"], &["--color", "never"]);
    assert!(!told(&Setup {
        options: never,
        ..PROMPT
    }));
    assert!(told(&Setup {
        options: always,
        ..dumb
    }));
    assert!(told(&Setup {
        options: always,
        ..no_color
    }));
}

/// A stage that writes down which of the keyboard's signals it gets, until the file `go` is there. It
/// starts nobody meanwhile: a signal in the middle of a fork would be written down by both.
fn recorder(directory: &Path, file: &str) -> String {
    format!(
        "{{ cd '{}'; mkfifo {file}.wait; {{ \
         for s in INT QUIT; do trap \"echo $s >>{file}\" $s; done; echo ready >>ready; \
         until test -e go; do read -t 0.02 -u 7; done; true; }} 7<>{file}.wait; }}",
        directory.display()
    )
}

#[test]
fn a_key_reaches_every_stage_once_and_pipewright_ends_as_the_stages_do() {
    let _watchdog = watchdog();
    for setup in [PROMPT, USUAL] {
        let directory = tempfile::tempdir().unwrap();
        let at = |file: &str| directory.path().join(file);
        let text = ["first", "second"].map(|file| recorder(directory.path(), file));
        let terminal = Terminal::start(&setup, &text.join(" | "));
        wait_for_lines(&at("ready"), 2);
        terminal.wait_until_it_waits();
        terminal.type_in("\x03");
        wait_for_lines(&at("first"), 1);
        wait_for_lines(&at("second"), 1);
        // Ctrl-\ comes behind whatever came twice.
        terminal.type_in("\x1c");
        assert_eq!(wait_for_lines(&at("first"), 2), "INT\nQUIT\n");
        assert_eq!(wait_for_lines(&at("second"), 2), "INT\nQUIT\n");
        assert!(lives(terminal.pid), "it waits for its stages");
        std::fs::write(at("go"), "").unwrap();
        // None of them died of a key.
        assert!(terminal.end().success());
    }
}

#[test]
fn a_key_that_a_stage_takes_for_itself_does_not_end_pipewright() {
    let _watchdog = watchdog();
    if !Path::new("/usr/bin/less").exists() {
        println!("skipped: there is no less");
        return;
    }
    // The first stage has ended by then; the second reads Ctrl-C as "leave off what you do".
    let terminal = Terminal::start(&PROMPT, "seq 1000 | LESS= /usr/bin/less");
    terminal.wait_for("the first page", |screen| screen.contains("20"));
    terminal.type_in("\x03");
    terminal.type_in("/999\r");
    terminal.wait_for("what was searched", |screen| screen.contains("1000"));
    terminal.type_in("q");
    assert!(terminal.end().success());
}

#[test]
fn a_terminal_that_is_stopped_by_ctrl_s_does_not_hold_up_the_deadline() {
    let _watchdog = watchdog();
    // The limit counts from the start, and nobody knows how long the shell takes to set its trap.
    let held_up = |timeout: &'static [&'static str]| {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let text = format!(
            "{{ cd '{}'; trap 'echo >ended; exit 0' TERM; echo >armed; \
             while :; do sleep 0.1; done; }} 2>/dev/null | cat",
            directory.path().display()
        );
        let setup = Setup {
            options: timeout,
            ..USUAL
        };
        let terminal = Terminal::start(&setup, &text);
        // What a stage says there would wait, too; these say nothing.
        terminal.type_in("\x13");
        let limit = timeout[1].parse().unwrap();
        std::thread::sleep(Duration::from_secs_f64(limit));
        let in_time = at("armed").exists();
        if in_time {
            wait_for_lines(&at("ended"), 1);
            assert!(lives(terminal.pid), "it has more to say");
        }
        terminal.type_in("\x11");
        assert_eq!(terminal.end().code(), Some(124));
        in_time
    };
    let limits: [&[&str]; 3] = [
        &["--timeout", "2"],
        &["--timeout", "9"],
        &["--timeout", "40"],
    ];
    assert!(limits.into_iter().any(held_up));
}

#[test]
fn ctrl_z_is_ignored_where_no_shell_could_let_it_go_on() {
    let _watchdog = watchdog();
    // It leads the session, as under `ssh -t`: its process group is an orphan. With the live view,
    // which tidies up before a stop, and without.
    for setup in [PROMPT, USUAL] {
        let directory = tempfile::tempdir().unwrap();
        let ready = directory.path().join("ready");
        let text = format!(
            "tail -f /dev/null | {{ echo >'{}'; cat; }}",
            ready.display()
        );
        let (terminal, child) = start(&setup, &text);
        wait_for_lines(&ready, 1);
        (&terminal).write_all(b"\x1a\x03").unwrap();
        let ended = child.wait_timeout(PATIENCE).unwrap();
        assert_eq!(ended.expect("it ends").signal(), Some(Signal::INT.as_raw()));
    }
}

#[test]
fn ctrl_c_ends_what_does_not_mind_it() {
    let _watchdog = watchdog();
    let terminal = Terminal::start(&PROMPT, "{ echo ready >&2; sleep 1000; } | cat | cat");
    terminal.wait_for("the first stage", |screen| screen.contains("ready"));
    terminal.type_in("\x03");
    assert_eq!(terminal.end().signal(), Some(Signal::INT.as_raw()));
    assert!(
        terminal.raw().contains("killed by SIGINT"),
        "{}",
        terminal.raw()
    );
}

#[test]
fn ctrl_c_is_told_as_such_and_leaves_the_figures_at_80_columns() {
    let _watchdog = watchdog();
    let setup = Setup {
        columns: 80,
        no_color: true,
        options: &["--progress", "never"],
        ..PROMPT
    };
    let text = "{ echo ready >&2; yes; } | cat | sh -c 'sleep 2; echo late >&2; cat >/dev/null'";
    let terminal = Terminal::start(&setup, text);
    terminal.wait_for("the last stage", |screen| screen.contains("late"));
    terminal.type_in("\x03");
    assert_eq!(terminal.end().signal(), Some(Signal::INT.as_raw()));
    let raw = terminal.raw();
    let head = raw.lines().find(|line| line.contains("stage  "));
    assert!(
        head.is_some_and(|head| head.trim_start().starts_with("stage")),
        "the echo of the key stands in the way: {raw}"
    );
    for told in [
        "interrupted after ",
        "killed by SIGINT",
        "wait in",
        "wait out",
        "bytes",
    ] {
        assert!(raw.contains(told), "{told}: {raw}");
    }
    for not_told in ["failed", "bottleneck", "would"] {
        assert!(!raw.contains(not_told), "{not_told}: {raw}");
    }
}

#[test]
fn a_terminal_that_hangs_up_ends_every_stage() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let stage = format!(
        "sh -c 'echo $$ >>\"{}\"; exec tail -f /dev/null'",
        pids.display()
    );
    // Nothing but pipewright is told by the kernel: it leads the session.
    let (terminal, child) = start(&USUAL, &format!("{stage} | {stage}"));
    let pids = wait_for_lines(&pids, 2);
    drop(terminal);
    let ended = child.wait_timeout(PATIENCE).unwrap();
    assert_eq!(ended.expect("it ends").signal(), Some(Signal::HUP.as_raw()));
    for pid in pids.lines() {
        assert!(!lives(pid.parse().unwrap()), "stage {pid} lives on");
    }
}

#[test]
fn the_last_stage_may_talk_with_the_user() {
    let _watchdog = watchdog();
    for setup in [PROMPT, USUAL] {
        let terminal = Terminal::start(
            &setup,
            "seq 3 | bash -c 'read -rp \"name? \" name </dev/tty; echo \"got $name, $(wc -l)\" >/dev/tty'",
        );
        terminal.wait_for("the question", |screen| screen.contains("name?"));
        terminal.type_in("somebody\r");
        terminal.wait_for("the answer", |screen| screen.contains("got somebody, 3"));
        assert!(terminal.end().success());
    }
    // One that takes single keys, as a pager does.
    let terminal = Terminal::start(
        &PROMPT,
        "seq 3 | bash -c 'read -rsn1 -p \"key? \" key </dev/tty; echo \"key $key\"'",
    );
    terminal.wait_for("the question", |screen| screen.contains("key?"));
    terminal.type_in("q");
    assert!(terminal.end().success());
    assert!(terminal.raw().contains("key q\r\n"), "{}", terminal.raw());
}

#[test]
fn the_first_stage_may_read_the_terminal() {
    let _watchdog = watchdog();
    let terminal = Terminal::start(&PROMPT, "{ echo ready >&2; cat; } | tr a-z A-Z");
    terminal.wait_for("the first stage", |screen| screen.contains("ready"));
    terminal.type_in("typed by hand\r\x04");
    assert!(terminal.end().success());
    assert!(terminal.raw().contains("TYPED BY HAND\r\n"));
}

#[test]
fn the_summarys_table_is_no_wider_than_the_terminal() {
    let _watchdog = watchdog();
    for columns in [200, 80, 60, 50, 40, 30, 20] {
        let setup = Setup {
            columns,
            no_color: true,
            ..PROMPT
        };
        let text = format!(
            "printf '%s' '日本語の長い引数 {}' | sh -c 'cat >/dev/null; exit 7'",
            "x".repeat(70)
        );
        let raw = shown(&setup, &text);
        assert!(raw.contains("exit 7"), "{raw}");
        // The table; the sentences under it run over.
        for line in raw.lines().take_while(|line| !line.contains("failed")) {
            let wide = unicode_width::UnicodeWidthStr::width(line);
            assert!(
                wide <= columns.into(),
                "{wide} of {columns}: {line:?}\n{raw}"
            );
        }
    }
}

#[test]
fn an_end_is_whole_on_the_narrowest_terminal() {
    let _watchdog = watchdog();
    for (columns, told) in [(24, " SIGTERM"), (60, " killed by SIGTERM")] {
        let setup = Setup {
            columns,
            no_color: true,
            ..PROMPT
        };
        let raw = shown(&setup, "sh -c 'kill $$' | cat");
        let row = raw.lines().find(|row| row.contains(" 1 ")).expect(&raw);
        assert!(
            row.contains(told) && row.trim_end().chars().count() <= columns.into(),
            "{raw}"
        );
    }
}

#[test]
fn text_from_outside_does_not_steer_the_terminal() {
    let _watchdog = watchdog();
    let hostile = "'no-such\x1b]0;title\x07\x1b[2J\u{202e}' | cat";
    for options in [&[][..], &["-v"], &["-q"], &["--dry-run"]] {
        let raw = shown(&Setup { options, ..PROMPT }, hostile);
        assert!(raw.contains("no-such"), "{raw:?}");
        for forbidden in ["\x1b]", "\x1b[2J", "\x07", "\u{202e}"] {
            assert!(!raw.contains(forbidden), "{raw:?}");
        }
    }
}
