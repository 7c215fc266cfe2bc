//! A run that writes to where everybody sees it, while it is fed.

use pipewright::{Child, Command, Guardian, PipeExt, PipeWriter, Signal, Stdio};

use crate::chunk::Chunk;
use crate::error::{Error, Result};
use crate::order::End;
use crate::worker::{PIPE, end_of, feed};

/// A command that is being fed. It does not go on alone: when this process is gone, or has failed, the end
/// of its input is not the end of what it should read.
pub(crate) struct Fed {
    // Before its input: if this is dropped the command is killed first.
    child: Child,
    input: PipeWriter,
}

impl Fed {
    /// Starts the command, which writes to `stdout`.
    pub(crate) fn start(command: Command, stdout: impl Into<Stdio>) -> Result<Self> {
        let (reader, input) = pipewright::pipe().map_err(Error::Start)?;
        // A refusal leaves a smaller pipe.
        let _ = reader.set_capacity(PIPE);
        let child = ended_with_this_process(command)
            .stdin(reader)
            .stdout(stdout)
            .kill_on_drop()
            .spawn()
            .map_err(Error::Start)?;
        Ok(Self { child, input })
    }

    /// The end of the pipe to write to.
    pub(crate) fn input(&self) -> &PipeWriter {
        &self.input
    }

    /// Writes a chunk; `false` when the command reads no more.
    pub(crate) fn feed(&self, chunk: &Chunk) -> Result<bool> {
        feed(chunk, &self.input)
    }

    /// Says that this was all of the input, and waits for the command's end.
    pub(crate) fn end(self) -> Result<End> {
        drop(self.input);
        self.child.wait().map(end_of).map_err(Error::Start)
    }
}

/// Has the command ended when this process is killed. A guardian does so before the command can see the end
/// of its input, and with all that it has started: to be found, that needs its parent. The kernel's signal
/// may come later than that end.
pub(crate) fn ended_with_this_process(command: Command) -> Command {
    match Guardian::watching() {
        Some(_) => command,
        None => command.parent_death_signal(Signal::KILL),
    }
}
