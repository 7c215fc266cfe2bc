//! Pipelines of real processes, to look at.

use std::io::{PipeReader, PipeWriter};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pipewright_observe::{Intervals, PipeHandle, Process, Sampler};
use rustix::process::{WaitId, WaitIdOptions, waitid};

/// A line of shell commands, each with its own bash, connected by pipes. Ended when dropped.
pub(crate) struct Stages {
    pub(crate) children: Vec<Child>,
    pub(crate) pipes: Vec<PipeHandle>,
}

impl Stages {
    /// Starts `stages`, upstream first, with standard input and output from and to nowhere.
    pub(crate) fn start(stages: &[&str]) -> Stages {
        let commands = stages.iter().map(|stage| shell(stage)).collect();
        Stages::connect(commands, Stdio::null(), Stdio::null())
    }

    /// Like `start`; the first stage reads what is written to the writer.
    pub(crate) fn fed(stages: &[&str]) -> (Stages, PipeWriter) {
        let (reader, writer) = std::io::pipe().unwrap();
        let commands = stages.iter().map(|stage| shell(stage)).collect();
        (
            Stages::connect(commands, reader.into(), Stdio::null()),
            writer,
        )
    }

    /// Like `start`; what the last stage writes waits for somebody to read it.
    pub(crate) fn unread(stages: &[&str]) -> (Stages, PipeReader) {
        let (reader, writer) = std::io::pipe().unwrap();
        let commands = stages.iter().map(|stage| shell(stage)).collect();
        (
            Stages::connect(commands, Stdio::null(), writer.into()),
            reader,
        )
    }

    pub(crate) fn connect(commands: Vec<Command>, first: Stdio, last: Stdio) -> Stages {
        let mut line = Stages {
            children: Vec::new(),
            pipes: Vec::new(),
        };
        let count = commands.len();
        let (mut input, mut last) = (Some(first), Some(last));
        for (index, mut command) in commands.into_iter().enumerate() {
            command.stdin(input.take().unwrap());
            let output = if index + 1 == count {
                last.take().unwrap()
            } else {
                let (reader, writer) = std::io::pipe().unwrap();
                line.pipes.push(PipeHandle::of_end(&reader).unwrap());
                input = Some(reader.into());
                writer.into()
            };
            line.children.push(command.stdout(output).spawn().unwrap());
        }
        line
    }

    pub(crate) fn pid(&self, stage: usize) -> u32 {
        self.children[stage].id()
    }

    /// Watches the line; its pipe handles go to the sampler.
    pub(crate) fn sampler(&mut self, intervals: Intervals) -> Sampler {
        let stages = self
            .children
            .iter()
            .map(|child| Process::open(child.id()).unwrap())
            .collect();
        Sampler::linear(stages, std::mem::take(&mut self.pipes), intervals).unwrap()
    }
}

impl Drop for Stages {
    fn drop(&mut self) {
        for child in &mut self.children {
            // The whole group: a subshell would run on. The number of a child that was waited for
            // may be another group's by now.
            let group = rustix::process::Pid::from_child(child);
            let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            if waitid(WaitId::Pid(group), look).is_ok() {
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A command that is one stage: `exec` in front of a plain program keeps the shell out of it.
pub(crate) fn shell(text: &str) -> Command {
    let mut command = Command::new("bash");
    command
        .args(["-c", text])
        .stderr(Stdio::null())
        .process_group(0);
    command
}

/// Intervals for tests that want many samples in little time.
pub(crate) fn quick() -> Intervals {
    Intervals {
        states: Duration::from_millis(4),
        figures: Duration::from_millis(200),
    }
}

pub(crate) fn until(what: impl Fn() -> bool) {
    while !what() {
        std::thread::sleep(Duration::from_millis(2));
    }
}
