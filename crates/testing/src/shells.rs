//! Shells for tests, as commands of the crate under test and as text.

use std::io::Read;
use std::path::Path;

use pipewright::{Child, Command, PipeReader, PipeWriter, Stdio, pipe};

/// A shell that runs a script.
pub fn sh(script: &str) -> Command {
    Command::new("sh").args(["-c", script])
}

/// A shell with a pipe on its stdout, which everything that it starts holds as well: the pipe ends
/// when all of them have.
pub fn sh_on_a_pipe(script: &str) -> (Command, PipeReader) {
    let (reader, writer) = pipe().unwrap();
    let shell = Command::new("bash").args(["-c", script]);
    let shell = shell.stdin(Stdio::Null).stdout(writer);
    (shell.stderr(Stdio::Null), reader)
}

/// A child that ignores SIGTERM, and ends with status 5 when the writer is dropped.
pub fn deaf_to_sigterm() -> (Child, PipeWriter) {
    let (stdin, hold) = pipe().unwrap();
    let (mut said, writer) = pipe().unwrap();
    let shell = sh("trap '' TERM; echo; read line; exit 5");
    let child = shell.stdin(stdin).stdout(writer).spawn().unwrap();
    said.read_exact(&mut [0]).unwrap();
    (child, hold)
}

/// Shell text that waits until a file is there.
pub fn until_there(path: &Path) -> String {
    format!("until test -e '{}'; do sleep 0.02; done", path.display())
}
