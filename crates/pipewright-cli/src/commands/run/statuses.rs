//! The statuses of the stages of a pipeline that bash runs as a whole.
//!
//! Behind the text stand a few words more, which write `PIPESTATUS` to a file of ours and end with
//! the text's own status. bash reaches the file by its path below `/proc`, so that no descriptor is
//! handed to the stages. It is only done behind one pipeline of several stages: each of these runs
//! in a subshell, so that nothing in the text can change what the words do.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::AsRawFd;

use pipewright::Policy;
use rustix::fs::{MemfdFlags, memfd_create};

use crate::shell::WholePipeline;

/// Where bash writes the statuses.
#[derive(Debug)]
pub(super) struct Statuses {
    file: File,
    pipeline: WholePipeline,
}

/// What bash found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Of each stage, from the first to the last: the status, or 128+n for signal n.
    pub(super) stages: Vec<u8>,
    inverted: bool,
}

impl Found {
    /// The status by this rule.
    pub(super) fn status(&self, policy: Policy, forgiven: &[u8]) -> u8 {
        let (last, upstream) = self.stages.split_last().unwrap_or((&0, &[]));
        // Why a stage got its SIGPIPE cannot be seen from outside; mostly its reader had gone.
        let counts = |status: &&u8| match policy {
            Policy::Last => false,
            Policy::Pipefail => **status != SIGPIPE,
            _ => true,
        };
        let mut failures = upstream.iter().filter(counts).chain([last]);
        let failed = failures.rfind(|status| **status != 0 && !forgiven.contains(status));
        let status = failed.copied().unwrap_or(0);
        if self.inverted {
            u8::from(status == 0)
        } else {
            status
        }
    }
}

/// 128 + SIGPIPE.
const SIGPIPE: u8 = 141;

impl Statuses {
    /// For a text that is this pipeline. `None` where there is no such file.
    pub(super) fn new(pipeline: WholePipeline) -> Option<Self> {
        let file = memfd_create("statuses", MemfdFlags::CLOEXEC).ok()?;
        Some(Self {
            file: file.into(),
            pipeline,
        })
    }

    /// The text with the words behind it.
    pub(super) fn behind(&self, text: &OsStr) -> OsString {
        let (pid, descriptor) = (std::process::id(), self.file.as_raw_fd());
        let words = format!(
            "\n__=(\"$?\" \"${{PIPESTATUS[@]}}\")\n\
             {{ printf '%s ' \"${{__[@]:1}}\" >/proc/{pid}/fd/{descriptor}; }} 2>/dev/null\n\
             exit \"$__\"\n"
        );
        [text, words.as_ref()].join(OsStr::new(""))
    }

    /// What was written, once bash has ended. `None`: it did not come to that.
    pub(super) fn found(mut self) -> Option<Found> {
        let mut written = String::new();
        self.file.rewind().ok()?;
        self.file.read_to_string(&mut written).ok()?;
        let numbers = written.split_whitespace().map(str::parse::<u8>);
        let stages: Vec<u8> = numbers.collect::<Result<_, _>>().ok()?;
        (stages.len() == self.pipeline.stages).then_some(Found {
            stages,
            inverted: self.pipeline.inverted,
        })
    }
}
