//! What the tests of the command share.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file compiles this module and uses a part of it"
)]

use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc;
use std::time::Duration;

/// Ends the whole test process if it is not dropped in time, so that a hang is a failure.
pub struct Watchdog {
    _alive: mpsc::Sender<()>,
}

/// Two minutes, many times what any of these tests takes.
pub fn watchdog() -> Watchdog {
    let (alive, expired) = mpsc::channel::<()>();
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    std::thread::spawn(move || {
        if expired.recv_timeout(Duration::from_secs(120)) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("watchdog: {test} hangs");
            std::process::abort();
        }
    });
    Watchdog { _alive: alive }
}

/// The command under test.
pub fn pipewright() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pipewright"));
    command.env_remove("NO_COLOR").env("LC_ALL", "C.UTF-8");
    command
}

/// `pipewright run` with these arguments.
pub fn run(arguments: &[&str]) -> Output {
    pipewright().arg("run").args(arguments).output().unwrap()
}

/// What was written to stderr.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits until a file is there and holds at least this many lines.
pub fn wait_for_lines(path: &Path, lines: usize) -> String {
    loop {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if text.lines().count() >= lines {
            return text;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
