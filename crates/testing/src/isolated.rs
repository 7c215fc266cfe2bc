//! A process of its own for one test.

use std::process::Command;

use crate::watchdog;

const ISOLATED: &str = "PIPEWRIGHT_ISOLATED_TEST";

/// Runs `body` in a process of its own: this test executable, started again for the one test. Use it
/// for tests that count this process's descriptors or children, or change what belongs to all threads.
///
/// `name` is the calling test's name, with its modules.
///
/// # Panics
///
/// When the test fails there, or no test has this name.
pub fn isolated(name: &str, body: impl FnOnce()) {
    run(name, &[], body);
}

/// Likewise, started by another program: `["unshare", "-pf"]`. Where that program cannot do it, the test
/// is skipped, and says why.
///
/// # Panics
///
/// When the test fails there, or no test has this name.
pub fn isolated_by(starter: &[&str], name: &str, body: impl FnOnce()) {
    if !is_isolated(name) && !can_run(starter) {
        println!("skipped: this user may not do {starter:?} here");
        return;
    }
    run(name, starter, body);
}

/// Tells whether a program that starts others by its last arguments does so here.
fn can_run(starter: &[&str]) -> bool {
    let run = Command::new(starter[0])
        .args(&starter[1..])
        .arg("true")
        .output();
    run.is_ok_and(|output| output.status.success())
}

fn is_isolated(name: &str) -> bool {
    std::env::var_os(ISOLATED).is_some_and(|value| value == name)
}

fn run(name: &str, starter: &[&str], body: impl FnOnce()) {
    let _watchdog = watchdog();
    if is_isolated(name) {
        body();
        return;
    }
    let this = std::env::current_exe().unwrap();
    let mut command = match starter {
        [] => Command::new(this),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(this);
            command
        }
    };
    let output = command
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(ISOLATED, name)
        .output()
        .unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "in its own process: {}\n{stdout}\n{stderr}",
        output.status
    );
    print!("{stdout}{stderr}");
}
