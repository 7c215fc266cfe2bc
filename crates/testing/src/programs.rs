//! Programs for tests: made, fed and waited for.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

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

/// Tells the status by the shell's convention, 128 + n where signal n ended it.
pub fn shell_status(output: &Output) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    let signal = || output.status.signal().map_or(0, |signal| 128 + signal);
    output.status.code().unwrap_or_else(signal)
}

/// Gives what was written to stderr.
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
        std::thread::sleep(std::time::Duration::from_millis(5));
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

/// Copies an executable file, likewise, so that any user may execute the copy whatever the umask is.
pub fn copy_program(from: &Path, to: &Path) {
    let mut copy = Command::new("sh");
    copy.args(["-c", "cp \"$1\" \"$2\" && chmod 755 \"$2\"", "sh"]);
    assert!(copy.args([from, to]).status().unwrap().success());
}
