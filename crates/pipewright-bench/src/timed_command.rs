//! A command line that is run again and again and measured from outside.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail};

use crate::peers::bare::{self, Ended, Memory, Program};

/// Runs with /dev/null as stdin and stdout. What it says on stderr is kept
/// apart, both for the error message and because a program may behave
/// otherwise where stderr is a terminal.
pub(crate) struct TimedCommand {
    program: Program,
    null: OwnedFd,
    messages: File,
}

impl TimedCommand {
    /// # Errors
    ///
    /// If there is no /dev/null, no room for a temporary file, or a NUL in an
    /// argument.
    pub(crate) fn new(
        path: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> anyhow::Result<Self> {
        let null = File::options().read(true).write(true).open("/dev/null");
        Ok(Self {
            program: Program::new(path, arguments)?,
            null: above_standard_streams(null.context("cannot open /dev/null")?)?,
            messages: above_standard_streams(
                tempfile::tempfile().context("cannot make a temporary file for messages")?,
            )?
            .into(),
        })
    }

    /// Runs it once; the seconds from its start until its end was known.
    ///
    /// # Errors
    ///
    /// If it cannot be started or ends with anything but status 0.
    pub(crate) fn wall_time(&mut self) -> anyhow::Result<f64> {
        let begin = Instant::now();
        self.run(Memory::Shared)?;
        Ok(begin.elapsed().as_secs_f64())
    }

    /// Runs it once; the peak memory, in bytes, of it or of its largest
    /// descendant.
    ///
    /// # Errors
    ///
    /// As for [`wall_time`](Self::wall_time).
    pub(crate) fn peak_memory(&mut self) -> anyhow::Result<f64> {
        Ok(self.run(Memory::Copied)?.peak_memory as f64)
    }

    fn run(&mut self, memory: Memory) -> anyhow::Result<Ended> {
        let null = self.null.as_fd();
        let streams = [(null, 0), (null, 1), (self.messages.as_fd(), 2)];
        let process = self.program.start(&streams, memory)?;
        let ended = bare::wait(process)?;
        if !ended.status.success() {
            let mut messages = String::new();
            self.messages.rewind()?;
            self.messages.read_to_string(&mut messages)?;
            bail!("ended with {}: {}", ended.status, messages.trim_end());
        }
        Ok(ended)
    }
}

/// The same file at a number that no standard stream is moved to.
fn above_standard_streams(file: File) -> anyhow::Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(&file, 10).context("cannot duplicate a descriptor")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> TimedCommand {
        TimedCommand::new(Path::new("/bin/sh"), ["-c", script]).unwrap()
    }

    #[test]
    fn time_and_memory_are_measured_again_and_again() {
        let mut command = shell("read nothing; echo unseen");
        for _ in 0..3 {
            assert!(command.wall_time().unwrap() > 0.0);
            assert!(command.peak_memory().unwrap() > 65536.0);
        }
    }

    #[test]
    fn a_failure_tells_status_and_message() {
        let error = shell("echo no such size >&2; exit 3")
            .wall_time()
            .unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("exit status: 3") && error.contains("no such size"),
            "{error}"
        );
    }
}
