//! Collecting a program's output as a Rust program would: with us, with std, and with the crates
//! for the purpose.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// One that collects output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Collector {
    Pipewright,
    Std,
    Duct,
    Subprocess,
}

impl Collector {
    pub(crate) const ALL: [Self; 4] = [Self::Pipewright, Self::Std, Self::Duct, Self::Subprocess];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pipewright => "pipewright",
            Self::Std => "std",
            Self::Duct => "duct",
            Self::Subprocess => "subprocess",
        }
    }

    /// Runs the program, feeds it `input` if there is one, and gives its stdout. Its stderr is
    /// collected as well. Feeding and collecting at once takes a thread with std alone.
    ///
    /// # Errors
    ///
    /// If it cannot be started or ends with anything but status 0.
    pub(crate) fn stdout(
        self,
        program: &str,
        arguments: &[&str],
        input: Option<Vec<u8>>,
    ) -> anyhow::Result<Vec<u8>> {
        let (success, stdout) = match self {
            Self::Pipewright => {
                let capture = pipewright::Command::new(program).args(arguments).capture();
                let capture = match input {
                    Some(input) => capture.input(input),
                    None => capture,
                };
                let output = capture.output()?;
                (output.success(), output.stdout)
            }
            Self::Std => {
                let mut command = Command::new(program);
                command.args(arguments);
                let output = match input {
                    None => command.output()?,
                    Some(input) => fed_by_a_thread(&mut command, input)?,
                };
                (output.status.success(), output.stdout)
            }
            Self::Duct => {
                let mut expression = duct::cmd(program, arguments);
                expression = match input {
                    Some(input) => expression.stdin_bytes(input),
                    None => expression.stdin_null(),
                };
                let output = expression.stdout_capture().stderr_capture().run()?;
                (output.status.success(), output.stdout)
            }
            Self::Subprocess => {
                let command = subprocess::Exec::cmd(program).args(arguments);
                let command = match input {
                    Some(input) => command.stdin(input),
                    None => command.stdin(subprocess::Redirection::Null),
                };
                let output = command.capture()?;
                (output.success(), output.stdout)
            }
        };
        ensure!(success, "{program} failed");
        Ok(stdout)
    }
}

fn fed_by_a_thread(command: &mut Command, input: Vec<u8>) -> anyhow::Result<std::process::Output> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("stdin is a pipe")?;
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output()?;
    feeder.join().expect("the feeder does not panic")?;
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::Collector;

    #[test]
    fn every_collector_gives_the_same_bytes() {
        let input: Vec<u8> = (0..500_000).map(|index| (index % 251) as u8).collect();
        for collector in Collector::ALL {
            let through = collector.stdout("cat", &[], Some(input.clone())).unwrap();
            assert!(through == input, "{collector:?}");
            let said = collector.stdout("echo", &["x"], None).unwrap();
            assert_eq!(said, b"x\n", "{collector:?}");
        }
    }
}
