//! One run of the command.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipewright::{Child, Command, PipeExt, PipeWriter, Signal};
use std::fs::File;
use std::os::fd::AsRawFd;

use crate::chunk::{Chunk, Store, Written};
use crate::error::{Error, Result};
use crate::order::End;
use crate::runner::{Ended, Runner, Started, Stop};

/// Pipes to workers are as large as a user may make them without privilege.
pub(crate) const PIPE: usize = 1 << 20;

/// A start that fails for want of something that others may give back is tried again, after pauses that
/// double up to this one.
pub(crate) const LAST_PAUSE: Duration = Duration::from_secs(1);

/// The command that all workers run.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) argv: Vec<OsString>,
    /// It runs for another host, with these variables set or taken away.
    pub(crate) on_behalf: Option<Vec<(OsString, Option<OsString>)>>,
}

/// A run that was started.
pub(crate) struct Run {
    child: Arc<Child>,
    input: PipeWriter,
    output: Written,
    stderr: Option<Written>,
    began: Instant,
    start: Duration,
}

impl Program {
    pub(crate) fn new(argv: Vec<OsString>) -> Self {
        Self {
            argv,
            on_behalf: None,
        }
    }

    /// The command for another start, connected to nothing yet. What this process was started with
    /// besides the first three descriptors, the command has as well: a shell may have opened it for it.
    pub(crate) fn command(&self) -> Command {
        Command::new(&self.argv[0])
            .args(&self.argv[1..])
            .inherit_all()
    }

    /// Starts the command with a pipe as its stdin. What it writes is kept.
    pub(crate) fn start(&self, store: &Store) -> Result<Run> {
        let began = Instant::now();
        let output = store.chunk().map_err(Error::store)?;
        let (reader, input) = pipewright::pipe().map_err(Error::Start)?;
        // A refusal leaves a smaller pipe.
        let _ = reader.set_capacity(PIPE);
        let (stdout, output) = output.for_program()?;
        let mut command = self.command().stdin(reader).stdout(stdout);
        let mut stderr = None;
        if let Some(environment) = &self.on_behalf {
            for (name, value) in environment {
                command = match value {
                    Some(value) => command.env(name, value),
                    None => command.env_remove(name),
                };
            }
            let kept = store.chunk().map_err(Error::store)?;
            let (to, written) = kept.for_program()?;
            stderr = Some(written);
            command = command
                .stderr(to)
                .process_group(0)
                .parent_death_signal(Signal::KILL)
                .kill_on_drop();
        }
        let child = command.spawn().map_err(Error::Start)?;
        Ok(Run {
            child: Arc::new(child),
            input,
            output,
            stderr,
            start: began.elapsed(),
            began,
        })
    }

    /// Runs the command on these bytes.
    pub(crate) fn run_on(&self, bytes: &[u8], store: &Store) -> Result<Ended> {
        let mut chunk = store.chunk().map_err(Error::store)?;
        chunk.append_bytes(bytes).map_err(Error::store)?;
        self.start(store)?.finish(&[&chunk])
    }
}

impl Run {
    /// Feeds the run and waits for its end.
    pub(crate) fn finish(self, chunks: &[&Chunk]) -> Result<Ended> {
        let mut left_input = false;
        for chunk in chunks {
            left_input = left_input || !feed(chunk, &self.input)?;
        }
        // A second reader, from now on only: a program that has ended must break the pipe until all is
        // in it. What is left in it then was not read.
        let left = reader_of(&self.input).map_err(Error::Write)?;
        drop(self.input);
        let status = self.child.wait().map_err(Error::Start)?;
        let output = self.output.end()?;
        left_input = left_input || rustix::io::ioctl_fionread(&left).is_ok_and(|bytes| bytes > 0);
        Ok(Ended {
            end: end_of(status),
            output,
            stderr: self.stderr.map(Written::end).transpose()?,
            left_input,
            time: self.began.elapsed(),
            on_core: self
                .child
                .usage()
                .map_or(Duration::ZERO, |usage| usage.cpu()),
            start: self.start,
        })
    }
}

/// Runs chunks as processes here that somebody elsewhere has cut: what the command writes to its stderr is
/// kept as well, these variables are set or taken away, and the command ends when this process does. It has
/// a process group of its own, so that Ctrl-C is for this process to act on.
#[must_use]
pub fn on_behalf(
    argv: Vec<OsString>,
    environment: Vec<(OsString, Option<OsString>)>,
) -> impl Runner {
    Program {
        argv,
        on_behalf: Some(environment),
    }
}

impl Runner for Program {
    fn start(&self, _: u64, store: &Store) -> Result<Box<dyn Started>> {
        Ok(Box::new(self.start(store)?))
    }
}

impl Started for Run {
    fn stop(&self) -> Arc<dyn Stop> {
        Arc::clone(&self.child) as Arc<dyn Stop>
    }

    fn finish(self: Box<Self>, parts: &[&Chunk]) -> Result<Ended> {
        (*self).finish(parts)
    }
}

/// Writes a chunk to a program's stdin; `false` when the program reads no more.
pub(crate) fn feed(chunk: &Chunk, input: &PipeWriter) -> Result<bool> {
    match chunk.give(0, input.as_fd()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::Write(error)),
    }
}

/// A reading end of the pipe of which this is the writing end.
pub(crate) fn reader_of(input: &PipeWriter) -> io::Result<File> {
    File::open(format!("/proc/self/fd/{}", input.as_fd().as_raw_fd()))
}

pub(crate) fn end_of(status: ExitStatus) -> End {
    match status.code() {
        // An exit status is one byte.
        Some(code) => End::Status(code as u8),
        None => End::Signal(status.signal().unwrap_or(0)),
    }
}
