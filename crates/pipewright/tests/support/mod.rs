//! What the tests of several subjects share.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file compiles this module and uses a part of it"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
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

const ISOLATED: &str = "PIPEWRIGHT_ISOLATED_TEST";

/// Runs `body` in a process of its own: this test executable, started again for the one test. For
/// tests that count this process's descriptors or children, or change what belongs to all threads.
///
/// `name` is the calling test's name.
pub fn isolated(name: &str, body: impl FnOnce()) {
    let _watchdog = watchdog();
    if std::env::var_os(ISOLATED).is_some_and(|value| value == name) {
        body();
        return;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
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

/// The open descriptors of a process: number → what it refers to.
pub fn descriptors_of(pid: u32) -> BTreeMap<i32, String> {
    let mut table = BTreeMap::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let entry = entry.unwrap();
        let number = entry.file_name().to_str().unwrap().parse().unwrap();
        // The descriptor that lists our own is gone by now.
        if let Ok(target) = std::fs::read_link(entry.path()) {
            table.insert(number, target.to_string_lossy().into_owned());
        }
    }
    table
}

/// How many descriptors this process has open.
pub fn open_descriptors() -> usize {
    descriptors_of(std::process::id()).len()
}

/// The children of this process, zombies too.
pub fn children() -> Vec<String> {
    let me = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue; // no process, or gone meanwhile
        };
        // The name, in parentheses, may contain anything; the fields follow the last one.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        if fields.split_whitespace().nth(1) == Some(&me) {
            found.push(stat);
        }
    }
    found
}

/// Waits until no child is left. What was killed may take its time to end, and its zombie is taken by
/// the next start.
pub fn await_no_children() {
    while !children().is_empty() {
        let next = pipewright::Command::new("true").spawn().unwrap();
        next.wait().unwrap();
    }
}

/// Tries `attempt` with longer and longer times, from half a second to a minute, until it gives
/// something: how long a program takes to be loaded, nobody knows.
pub fn with_time_enough<T>(attempt: impl FnMut(Duration) -> Option<T>) -> T {
    let times = (0..8).map(|doubled| Duration::from_millis(500 << doubled));
    let given = times.into_iter().find_map(attempt);
    given.expect("something is given within a minute")
}

/// Measures `attempt` until it took less than a second, five times at most: the machine may have had
/// something else to do. What hangs hangs each time.
pub fn within_a_second(mut attempt: impl FnMut() -> Duration) {
    let took: Vec<Duration> = (0..5)
        .map(|_| attempt())
        .take_while(|took| *took >= Duration::from_secs(1))
        .collect();
    assert!(took.len() < 5, "{took:?}");
}

/// Copies a program. A process of its own does it: what is open here for writing is open in every
/// process that another test is starting, too, and then cannot be executed.
pub fn copy_program(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").args([from, to]).status();
    assert!(copied.unwrap().success());
}

/// An example of this package. `cargo test` builds them all; when only one test file was asked for
/// it does not, and the example is built here.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let path = profile.join("examples").join(name);
    if !path.exists() {
        let mut cargo = std::process::Command::new(env!("CARGO"));
        cargo.args([
            "build",
            "--quiet",
            "--package",
            env!("CARGO_PKG_NAME"),
            "--example",
            name,
        ]);
        if cfg!(feature = "tokio") {
            cargo.args(["--features", "tokio"]);
        }
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(
            cargo.status().unwrap().success(),
            "cannot build the example {name}"
        );
    }
    path
}

/// A program for a child that says when it runs, and then stays until its stdin ends.
pub const READY_THEN_WAIT: &str = "echo ready; read line";

/// Whether this is root; tests that need it say so and end.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
