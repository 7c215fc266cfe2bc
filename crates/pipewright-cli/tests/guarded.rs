//! The terminal under the live view: one view at a time, and given back after kill -9.

mod support;

use std::os::unix::process::ExitStatusExt;

use pipewright::Signal;
use support::USUAL;
use testing::terminals::{Setup, Terminal};
use testing::{descriptors_of, lives, until_there, watchdog};

/// The guard that this pipewright has started.
fn guard_of(pid: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let mut children = children.split_whitespace().map(|it| it.parse().unwrap());
    children.find(|child| {
        let line = std::fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
        line.starts_with("pipewright-guard")
    })
}

#[test]
fn after_kill_9_the_terminal_is_given_back_and_the_stages_go_on() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let (half, done) = (directory.path().join("half"), directory.path().join("done"));
    let text = format!(
        "{{ {}; echo going on >&2; {}; }} | cat",
        until_there(&half),
        until_there(&done)
    );
    let terminal = Terminal::start(&USUAL, &text);
    terminal.wait_for("the view", |screen| screen.contains("waiting for input"));
    assert!(!terminal.region_is_whole());
    terminal.signal(Signal::KILL);
    assert_eq!(terminal.end().signal(), Some(Signal::KILL.as_raw()));
    terminal.wait_for("the wiped screen", |screen| !screen.contains("│"));
    assert!(terminal.region_is_whole(), "{:?}", terminal.raw());
    std::fs::write(&half, "").unwrap();
    terminal.wait_for("a stage", |screen| screen.contains("going on"));
    std::fs::write(&done, "").unwrap();
}

#[test]
fn the_guard_holds_nothing_of_the_terminal_and_ends_with_the_view() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let done = directory.path().join("done");
    let terminal = Terminal::start(&USUAL, &format!("{{ {}; }} | cat", until_there(&done)));
    // It is started before the first row is painted.
    terminal.wait_for("the view", |screen| screen.contains("waiting for input"));
    let guard = guard_of(terminal.pid).expect("there is a guard");
    let held = descriptors_of(guard);
    assert_eq!(held.len(), 3, "{held:?}");
    assert!(held[&0].starts_with("pipe:"), "{held:?}");
    assert_eq!([&held[&1], &held[&2]], ["/dev/null"; 2], "{held:?}");
    // No key of the terminal reaches it.
    let process = |pid| rustix::process::Pid::from_raw(pid as i32);
    let group = rustix::process::getpgid(process(guard)).unwrap();
    assert_eq!(Some(group), process(guard));
    std::fs::write(&done, "").unwrap();
    assert!(terminal.end().success());
    assert!(!lives(guard));
}

#[test]
fn without_a_live_view_there_is_no_guard() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let done = directory.path().join("done");
    let setup = Setup {
        options: &["--progress", "plain", "--interval", "200ms"],
        ..USUAL
    };
    let terminal = Terminal::start(&setup, &format!("{{ {}; }} | cat", until_there(&done)));
    terminal.wait_for("some lines", |screen| screen.contains("0:01"));
    assert_eq!(guard_of(terminal.pid), None);
    std::fs::write(&done, "").unwrap();
    assert!(terminal.end().success());
}

#[test]
fn a_terminal_has_one_live_view_at_a_time() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    // Both are in the foreground, as in a script.
    let script = format!(
        "cd '{}'; run() {{ '{}' run \"$1\" >/dev/null; }}; \
         run 'until test -e one; do sleep 0.05; done | cat' & \
         run 'until test -e two; do sleep 0.05; done | cat' & wait",
        directory.path().display(),
        env!("CARGO_BIN_EXE_pipewright"),
    );
    let setup = Setup {
        options: &["--progress", "never", "--summary", "never"],
        output: ">&0 2>&0",
        ..USUAL
    };
    let inner = format!("bash -c '{}'", script.replace('\'', "'\\''"));
    let terminal = Terminal::start(&setup, &inner);
    // By then the other one would have painted several times.
    terminal.wait_for("a view", |screen| screen.contains("0:02"));
    let screen = terminal.screen();
    assert_eq!(screen.matches('│').count(), 1, "{screen}");
    let first = if screen.contains("-e one") {
        "one"
    } else {
        "two"
    };
    let second = if first == "one" { "two" } else { "one" };
    assert!(!screen.contains(&format!("-e {second}")), "{screen}");
    // When the first has ended, the second has the terminal.
    std::fs::write(at(first), "").unwrap();
    terminal.wait_for("the other view", |screen| {
        let view = screen.rfind('│').map_or("", |row| &screen[..row]);
        view.contains("ok in") && view.contains(&format!("-e {second}"))
    });
    std::fs::write(at(second), "").unwrap();
    assert!(terminal.end().success());
    let screen = terminal.screen();
    assert_eq!(screen.matches("ok in").count(), 2, "{screen}");
    assert!(!screen.contains('│'), "{screen}");
    assert!(terminal.region_is_whole(), "{:?}", terminal.raw());
}
