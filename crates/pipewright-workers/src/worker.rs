//! One run of the command.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipewright::{Child, Command, PipeExt, PipeWriter};

use crate::chunk::{Chunk, Store};
use crate::error::{Error, Result};
use crate::order::End;

/// Pipes to workers are as large as a user may make them without privilege.
const PIPE: usize = 1 << 20;

/// The command that all workers run.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) argv: Vec<OsString>,
}

/// A run that was started.
pub(crate) struct Run {
    pub(crate) child: Arc<Child>,
    input: PipeWriter,
    output: Chunk,
    began: Instant,
    start: Duration,
}

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) end: End,
    pub(crate) output: Chunk,
    /// It left some of its input unread.
    pub(crate) left_input: bool,
    /// From the start to the end, and the start alone.
    pub(crate) time: Duration,
    pub(crate) start: Duration,
}

impl Program {
    /// The command for another start, connected to nothing yet.
    pub(crate) fn command(&self) -> Command {
        Command::new(&self.argv[0]).args(&self.argv[1..])
    }

    /// Starts the command with a pipe as its stdin. What it writes is kept.
    pub(crate) fn start(&self, store: &Store) -> Result<Run> {
        let began = Instant::now();
        let output = store.chunk().map_err(Error::Store)?;
        let (reader, input) = pipewright::pipe().map_err(Error::Start)?;
        // A refusal leaves a smaller pipe.
        let _ = reader.set_capacity(PIPE);
        let child = self
            .command()
            .stdin(reader)
            .stdout(output.for_writing().map_err(Error::Store)?)
            .spawn()
            .map_err(Error::Start)?;
        Ok(Run {
            child: Arc::new(child),
            input,
            output,
            start: began.elapsed(),
            began,
        })
    }

    /// Runs the command on these bytes.
    pub(crate) fn run_on(&self, bytes: &[u8], store: &Store) -> Result<Ended> {
        let mut chunk = store.chunk().map_err(Error::Store)?;
        chunk.append_bytes(bytes).map_err(Error::Store)?;
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
        drop(self.input);
        let status = self.child.wait().map_err(Error::Start)?;
        let mut output = self.output;
        output.measure().map_err(Error::Store)?;
        Ok(Ended {
            end: end_of(status),
            output,
            left_input,
            time: self.began.elapsed(),
            start: self.start,
        })
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

pub(crate) fn end_of(status: ExitStatus) -> End {
    match status.code() {
        // An exit status is one byte.
        Some(code) => End::Status(code as u8),
        None => End::Signal(status.signal().unwrap_or(0)),
    }
}
