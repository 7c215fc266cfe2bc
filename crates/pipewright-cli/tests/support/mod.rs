//! The command under test.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file compiles this module and uses a part of it"
)]

pub mod foreign;
pub mod spools;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use testing::terminals::Setup;

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

/// The command under test in this directory, and in a process group of its own. Its stderr is a pipe.
pub fn start_in_a_group(place: &Path, arguments: &[&str]) -> Child {
    let mut command = pipewright();
    command.current_dir(place).args(arguments).process_group(0);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// A bash text, with nothing on stdin; `P` is the command under test.
pub fn in_bash(text: &str) -> Output {
    let text = format!(
        "P() {{ '{}' \"$@\"; }}; {text}",
        env!("CARGO_BIN_EXE_pipewright")
    );
    let mut bash = Command::new("bash");
    bash.args(["-c", &text]).stdin(Stdio::null());
    bash.output().unwrap()
}

/// The command under test in a terminal of 24 lines and 100 columns.
pub const USUAL: Setup = Setup {
    program: env!("CARGO_BIN_EXE_pipewright"),
    ..testing::terminals::USUAL
};
