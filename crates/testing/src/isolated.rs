//! A process of its own for one test.

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
