//! What is not begun, because a program is missing.

use std::ffi::OsStr;
use std::sync::Arc;

use pipewright::{StageEnd, Stdio};

use super::super::programs::Program;
use super::{Work, name};
use crate::shell::{StageText, Start};

impl Work {
    /// All or nothing: where a program is missing, none of the others is started, and these are the
    /// stages' ends.
    pub(in super::super) fn held_back(&self) -> Option<Vec<StageEnd>> {
        if self.start_without {
            return None;
        }
        let is_missing = |name: &OsStr| Program::find(name) == Program::Missing;
        // What another host has, it tells itself.
        let missing = |index: usize, stage: &StageText| match &stage.start {
            _ if self.elsewhere.host(index).is_some() => false,
            Start::Direct(words) => is_missing(&words[0]),
            Start::Shell => is_missing(self.shell.as_os_str()),
        };
        let mut stages = self.script.stages.iter().enumerate();
        let (_, first) = stages.find(|(index, stage)| missing(*index, stage))?;
        let stages = self.script.stages.iter().enumerate();
        let ends = stages.map(|(index, stage)| {
            let error = if missing(index, stage) {
                // The error is the kernel's own. One that has come since finds nothing to read.
                let command = self.bare_command(index, stage).stdin(Stdio::Null);
                command.spawn().map(drop).err()?
            } else {
                pipewright::Error::HeldBack {
                    name: name(stage),
                    missing: name(first),
                }
            };
            Some(StageEnd::NotStarted(Arc::new(error)))
        });
        ends.collect()
    }
}
