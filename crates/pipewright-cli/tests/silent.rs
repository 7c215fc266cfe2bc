//! `pipewright run` at a terminal that gets the output: it shows how it stands while nothing comes.

mod support;

use std::time::Duration;

use pipewright::Signal;
use support::USUAL;
use testing::terminals::{Setup, Terminal};
use testing::{PATIENCE, until_there, watchdog};

/// Both stdout and stderr are the terminal, as at a prompt.
const PROMPT: Setup = Setup {
    output: ">&0 2>&0",
    ..USUAL
};

/// What only the view shows.
const VIEW: &str = "% cpu";

/// What came out of the terminal, without the pieces that pipewright has painted; each of those must
/// be whole, and lie between two writes of the stages.
fn without_paint(raw: &str) -> String {
    let mut stages = String::new();
    let mut rest = raw;
    while let Some(at) = rest.find("\x1b7") {
        let (before, after) = rest.split_at(at);
        // Making room begins with steps down and one up, before the cursor is saved.
        let before = match before.rfind("\x1b[") {
            Some(up) if before.ends_with('A') && before[..up].ends_with('\x0b') => {
                before[..up].trim_end_matches('\x0b')
            }
            _ => before,
        };
        stages.push_str(before);
        let end = after.find("\x1b8").expect("each paint restores the cursor");
        rest = &after[end + 2..];
    }
    stages + rest
}

#[test]
fn the_view_shows_while_nothing_comes_and_makes_way_for_whatever_comes() {
    let _watchdog = watchdog();
    for (text, told) in [
        ("{ WAIT; echo told; REST; } | cat", "told"),
        ("{ WAIT; echo told >&2; REST; } | cat", "told"),
        ("{ WAIT; echo told; REST; } | { cat >&2; }", "told"),
        // By a process that is gone before anybody looks.
        ("{ WAIT; /bin/echo told >&2; REST; } | cat", "told"),
        ("{ REST; } | { WAIT; date +told; cat; }", "told"),
        // Not even a whole line.
        ("{ WAIT; printf told; REST; } | cat", "told"),
        ("{ WAIT; seq 300; REST; } | cat", "298\n299\n300"),
        ("{ WAIT; echo told; REST; } | tee /dev/stderr", "told"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let script = text
            .replace("WAIT", &until_there(&at("tell")))
            .replace("REST", &until_there(&at("end")));
        let terminal = Terminal::start(&PROMPT, &script);
        terminal.wait_for("the view", |screen| {
            [VIEW, "│", "bottleneck:"]
                .iter()
                .all(|wanted| screen.contains(wanted))
        });
        assert_eq!(without_paint(&terminal.raw()), "", "{text}");
        std::fs::write(at("tell"), "").unwrap();
        terminal.wait_for("the output, and nothing else", |screen| {
            screen.contains(told) && !screen.contains(VIEW) && !screen.contains("│")
        });
        assert!(terminal.region_is_whole(), "{text}");
        std::fs::write(at("end"), "").unwrap();
        assert!(terminal.end().success(), "{text}");
        let screen = terminal.screen();
        assert!(
            screen.contains("ok in") && !screen.contains('│'),
            "{screen}"
        );
        assert!(terminal.region_is_whole(), "{text}: {:?}", terminal.raw());
    }
}

#[test]
fn the_view_comes_back_when_the_terminal_has_been_silent_for_longer() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let script = format!(
        "{{ echo first; {}; printf 'half a'; {}; echo ' line'; }} | cat",
        until_there(&at("second")),
        until_there(&at("end"))
    );
    let terminal = Terminal::start(&PROMPT, &script);
    terminal.wait_for("the view", |screen| {
        screen.starts_with("first\n") && screen.contains(VIEW)
    });
    std::fs::write(at("second"), "").unwrap();
    terminal.wait_for("room for the output", |screen| {
        screen.contains("half a") && !screen.contains(VIEW)
    });
    terminal.wait_for("the view again", |screen| {
        screen.contains("half a\n") && screen.contains(VIEW)
    });
    std::fs::write(at("end"), "").unwrap();
    assert!(terminal.end().success());
    let screen = terminal.screen();
    assert!(screen.starts_with("first\nhalf a line\n"), "{screen}");
    assert!(!screen.contains(VIEW), "{screen}");
}

#[test]
fn a_flood_that_never_pauses_gets_the_whole_terminal() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    // A line every few milliseconds.
    let script = format!(
        "{{ mkfifo '{0}'; exec 3<>'{0}'; {1}; while :; do echo flood; read -t 0.004 -u 3; done; }} | cat",
        at("never").display(),
        until_there(&at("tell"))
    );
    let terminal = Terminal::start(&PROMPT, &script);
    terminal.wait_for("the view", |screen| screen.contains(VIEW));
    std::fs::write(at("tell"), "").unwrap();
    terminal.wait_for("the flood, and nothing else", |screen| {
        screen.lines().count() > 20 && screen.lines().all(|line| "flood".starts_with(line))
    });
    terminal.signal(Signal::INT);
    assert!(!terminal.end().success());
    assert!(terminal.region_is_whole());
}

#[test]
fn what_is_printed_at_random_moments_stays_whole_whatever_is_painted() {
    let _watchdog = watchdog();
    // Colours, wide characters and bursts, each line in one write; pauses about as long as those
    // after which the view comes and goes.
    let program = r#"
import os, random, time
random.seed(7)
short, long = [0, 0, 0.001, 0.01, 0.03, 0.05, 0.2], [1.1, 3.02, 3.05, 3.2, 3.4]
for number in range(60):
    time.sleep(random.choice(short if number % 10 else long))
    os.write(1, f"\x1b[3{number % 8}m{number} 日本 größer {'x' * random.randrange(150)}\x1b[m\n".encode())
"#;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("program.py");
    std::fs::write(&path, program).unwrap();
    let alone = std::process::Command::new("python3").arg(&path).output();
    let Ok(alone) = alone else {
        eprintln!("skipped: there is no python3");
        return;
    };
    let expected = String::from_utf8(alone.stdout).unwrap();
    let setup = Setup {
        options: &["--summary", "never"],
        ..PROMPT
    };
    let terminal = Terminal::start(&setup, &format!("true | python3 '{}'", path.display()));
    assert!(terminal.end().success());
    let raw = terminal.raw();
    assert!(raw.contains("\x1b7"), "there was no view: {raw:?}");
    assert_eq!(without_paint(&raw), expected.replace('\n', "\r\n"));
    // And on the screen: the last lines, one below the other, and nothing else.
    let mut plain = vt100::Parser::new(24, 100, 0);
    plain.process(expected.replace('\n', "\r\n").as_bytes());
    let (shown, wanted) = (terminal.screen(), plain.screen().contents());
    let last = |screen: &str| {
        let lines: Vec<_> = screen.lines().rev().take(8).map(str::to_owned).collect();
        lines
    };
    assert_eq!(last(&shown), last(&wanted), "{shown}");
}

#[test]
fn a_program_that_takes_the_terminal_gets_it() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let script = format!(
        "true | {{ {}; stty -icanon </dev/tty; {}; stty icanon </dev/tty; }}",
        until_there(&at("take")),
        until_there(&at("end"))
    );
    let terminal = Terminal::start(&PROMPT, &script);
    terminal.wait_for("the view", |screen| screen.contains("0:0"));
    std::fs::write(at("take"), "").unwrap();
    terminal.wait_for("an empty screen", |screen| screen.trim().is_empty());
    assert!(terminal.region_is_whole());
    std::fs::write(at("end"), "").unwrap();
    assert!(terminal.end().success());
}

#[test]
fn a_person_who_is_waited_for_sees_no_view() {
    let _watchdog = watchdog();
    let terminal = Terminal::start(&PROMPT, "cat | sort");
    // Past the time of the first picture.
    assert!(terminal.status(Duration::from_millis(2500)).is_none());
    assert_eq!(without_paint(&terminal.raw()), "");
    assert!(!terminal.raw().contains("cat"), "{}", terminal.raw());
    terminal.type_in("b\ra\r\x04");
    assert!(terminal.end().success());
    assert!(
        terminal.raw().contains("a\r\nb\r\n"),
        "{:?}",
        terminal.raw()
    );
}

#[test]
fn a_pipeline_goes_on_at_a_whole_terminal_when_pipewright_is_killed() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let script = format!("{{ {}; echo goes on; }} | cat", until_there(&at("tell")));
    let terminal = Terminal::start(&PROMPT, &script);
    terminal.wait_for("the view", |screen| screen.contains(VIEW));
    terminal.signal(Signal::KILL);
    assert!(terminal.status(PATIENCE).is_some());
    terminal.wait_for("a wiped screen", |screen| !screen.contains(VIEW));
    std::fs::write(at("tell"), "").unwrap();
    terminal.wait_for("the output", |screen| screen.contains("goes on"));
    assert!(terminal.region_is_whole(), "{:?}", terminal.raw());
}

#[test]
fn where_writes_cannot_be_heard_a_line_says_once_how_to_see_more() {
    let _watchdog = watchdog();
    let hint = "--progress always";
    // What the stages write through /dev/tty is heard by nobody.
    let unheard = Setup {
        output: ">/dev/tty 2>&0",
        ..PROMPT
    };
    let directory = tempfile::tempdir().unwrap();
    let done = directory.path().join("done");
    let text = format!("{{ {}; echo data; }} | sort", until_there(&done));
    let terminal = Terminal::start(&unheard, &text);
    terminal.wait_for("the hint", |screen| screen.contains(hint));
    std::fs::write(&done, "").unwrap();
    assert!(terminal.end().success());
    let raw = terminal.raw();
    assert_eq!(raw.matches(hint).count(), 1, "{raw}");
    assert!(
        raw.contains("data\r\n") && terminal.region_is_whole(),
        "{raw}"
    );
    // Not where there was output, or a person is asked, or nothing more is to be said.
    for (text, options) in [
        ("{ echo data; sleep 2; } | cat", &[][..]),
        ("{ echo data; sleep 2; } | sort", &["--summary", "never"]),
        ("{ echo data; sleep 2; } | sort", &["-q"]),
        ("{ echo data; sleep 2; } | sort", &["--json"]),
    ] {
        let terminal = Terminal::start(&Setup { options, ..unheard }, text);
        assert!(terminal.end().success());
        let raw = terminal.raw();
        assert!(raw.contains("data") && !raw.contains(hint), "{raw}");
    }
}
