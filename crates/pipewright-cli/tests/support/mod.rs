//! What the tests of the command share.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file compiles this module and uses a part of it"
)]

pub mod terminal;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Ends the whole test process if it is not dropped in time, so that a hang is a failure.
pub struct Watchdog {
    _alive: mpsc::Sender<()>,
}

/// Five minutes, many times what any of these tests takes.
pub fn watchdog() -> Watchdog {
    let (alive, expired) = mpsc::channel::<()>();
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    std::thread::spawn(move || {
        if expired.recv_timeout(Duration::from_secs(300)) == Err(mpsc::RecvTimeoutError::Timeout) {
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

/// `pipewright run` with these arguments, and nothing on stdin.
pub fn run(arguments: &[&str]) -> Output {
    let mut command = pipewright();
    command.arg("run").args(arguments).stdin(Stdio::null());
    command.output().unwrap()
}

/// Runs a program to its end, with these bytes on a pipe as its stdin.
pub fn feed(command: &mut Command, bytes: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // One that does not read may end before everything is written.
        scope.spawn(move || stdin.write_all(bytes).ok());
        child.wait_with_output().unwrap()
    })
}

/// The status by the shell's convention, 128 + n where signal n ended it.
pub fn shell_status(output: &Output) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    let signal = || output.status.signal().map_or(0, |signal| 128 + signal);
    output.status.code().unwrap_or_else(signal)
}

/// What was written to stderr.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits until a file is there and holds at least this many whole lines.
pub fn wait_for_lines(path: &Path, lines: usize) -> String {
    loop {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if text.matches('\n').count() >= lines {
            return text;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Makes an executable file with this text. A process of its own writes it: what is open here for
/// writing is open in every process that another test is starting, too, and then cannot be executed.
pub fn write_script(path: &Path, text: &str) {
    let mut write = Command::new("sh");
    write.args(["-c", "cat >\"$1\" && chmod 755 \"$1\"", "sh"]);
    let output = feed(write.arg(path), text.as_bytes());
    assert!(output.status.success(), "{}", stderr(&output));
}

/// Copies an executable file, likewise.
pub fn copy_program(from: &Path, to: &Path) {
    let copied = Command::new("cp").args([from, to]).status().unwrap();
    assert!(copied.success());
}

/// The letter of a process's state, as the kernel tells it; `None` if there is no such process.
pub fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Whether a process is there and no zombie.
pub fn lives(pid: u32) -> bool {
    state(pid).is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// What is started from here on has the signals that a terminal sends at their default, also where
/// these tests run in the background or under nohup and ignore some of them.
pub fn signals_at_their_default() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = u64::from_str_radix(ignored.unwrap().trim(), 16).unwrap();
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
        if ignored & (1 << (signal - 1)) != 0 {
            // A handler, unlike SIG_IGN, does not pass through exec. Here it changes nothing.
            signal_hook::flag::register(signal, std::sync::Arc::default()).unwrap();
        }
    }
}
