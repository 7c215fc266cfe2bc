//! Peers in other languages: a program of their own that takes turns on call.
//!
//! The program holds its memory, says `ready`, and then answers each line
//! `run N` on its stdin with a line of N durations in nanoseconds. Between two
//! calls it sleeps in read, so its rounds interleave with everyone else's.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, bail, ensure};

pub(crate) struct Driven {
    child: Child,
    /// Closed to tell the program to end; `None` from then on.
    calls: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Driven {
    /// Starts `program` and waits until it is ready.
    ///
    /// # Errors
    ///
    /// If it cannot be started or ends before it is ready. What it had to say
    /// about that stands on stderr.
    pub(crate) fn start(program: &mut Command) -> anyhow::Result<Self> {
        let mut child = program
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {program:?}"))?;
        let calls = child.stdin.take();
        let stdout = child.stdout.take().context("its stdout is a pipe")?;
        let mut driven = Self {
            child,
            calls,
            answers: BufReader::new(stdout),
        };
        let answer = driven.answer()?;
        ensure!(answer == "ready", "expected `ready`, got `{answer}`");
        Ok(driven)
    }

    /// Has the program do its work `times` times; the durations in seconds.
    ///
    /// # Errors
    ///
    /// If the program has ended, or answers with something else.
    pub(crate) fn run(&mut self, times: usize) -> anyhow::Result<Vec<f64>> {
        let calls = self.calls.as_mut().context("its stdin is open")?;
        writeln!(calls, "run {times}").context("the measured program no longer listens")?;
        let answer = self.answer()?;
        let durations: Result<Vec<f64>, _> = answer.split(' ').map(str::parse).collect();
        let durations = durations.with_context(|| format!("expected durations, got `{answer}`"))?;
        ensure!(durations.len() == times, "{times} runs, but `{answer}`");
        Ok(durations.into_iter().map(|nanos| nanos / 1e9).collect())
    }

    fn answer(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        match line.strip_suffix('\n') {
            Some(line) => Ok(line.to_owned()),
            None => bail!("the measured program ended early: see its message above"),
        }
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        drop(self.calls.take());
        // It ends at end of file; an error here has been told by `run`.
        let _ = self.child.wait();
    }
}

/// Compiles the one-file Go program `source` into `directory`.
///
/// # Errors
///
/// If the compiler cannot be run or refuses the program; its messages stand
/// on stderr.
pub(crate) fn build_go(
    go: &Path,
    source: &str,
    directory: &Path,
) -> anyhow::Result<std::path::PathBuf> {
    let file = directory.join("main.go");
    let executable = directory.join("main");
    std::fs::write(&file, source).with_context(|| format!("cannot write {}", file.display()))?;
    let status = Command::new(go)
        .args(["build", "-o"])
        .args([&executable, &file])
        // Use the toolchain that is there; never fetch another.
        .env("GOTOOLCHAIN", "local")
        .current_dir(directory)
        .status()
        .with_context(|| format!("cannot run {}", go.display()))?;
    ensure!(status.success(), "`go build` ended with {status}");
    Ok(executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> anyhow::Result<Driven> {
        Driven::start(Command::new("sh").args(["-c", script]))
    }

    #[test]
    fn a_driven_program_answers_each_call() {
        let mut driven =
            shell("echo ready; while read run n; do echo 1000000000 500000000; done").unwrap();
        assert_eq!(driven.run(2).unwrap(), [1.0, 0.5]);
        assert_eq!(driven.run(2).unwrap(), [1.0, 0.5]);
        assert!(driven.run(3).is_err());
    }

    #[test]
    fn a_program_that_ends_early_is_an_error() {
        assert!(shell("exit 1").is_err());
        let mut driven = shell("echo ready; read line").unwrap();
        assert!(driven.run(1).is_err());
    }

    #[test]
    fn nonsense_is_an_error() {
        let mut driven = shell("echo ready; read line; echo soon").unwrap();
        let error = driven.run(1).unwrap_err();
        assert!(error.to_string().contains("`soon`"), "{error}");
    }
}
