//! Whether a later stage reads files of its own, so that the first one's are not the whole input.

use pipewright_observe::workspace::FilePosition;
use pipewright_observe::{Process, ProcessId};

use super::stage::{members, open_files};

/// So many later stages are looked at.
const MOST: usize = 16;

/// Programs whose input is names of what is to be read, and not the data.
const BY_NAMES: &[&str] = &["parallel", "xargs"];

/// The stages after the first one.
#[derive(Debug)]
pub(super) struct Elsewhere {
    stages: Vec<Later>,
}

#[derive(Debug)]
struct Later {
    root: Process,
    processes: Vec<Process>,
    before: Vec<FilePosition>,
}

impl Elsewhere {
    pub(super) fn new(later: &[ProcessId]) -> Self {
        let open = |stage: &ProcessId| {
            Some(Later {
                root: Process::open_same(*stage).ok()?,
                processes: Vec::new(),
                before: Vec::new(),
            })
        };
        Self {
            stages: later.iter().take(MOST).filter_map(open).collect(),
        }
    }

    /// Looks what they read, and returns the size of the largest file that is being read; all there
    /// can be where a program reads what it is given the names of.
    ///
    /// A file as large as the first stage's input is no table that is looked up, or a script.
    pub(super) fn largest(&mut self) -> u64 {
        let sizes = self.stages.iter_mut().map(Later::largest);
        sizes.max().unwrap_or(0)
    }
}

impl Later {
    fn largest(&mut self) -> u64 {
        members(&self.root, &mut self.processes);
        // parallel is a script: its name stands behind that of perl.
        let by_names = |process: &Process| {
            let line = process.command_line();
            line.is_ok_and(|line| line.arguments().take(2).any(is_by_names))
        };
        if self.processes.iter().any(by_names) {
            return u64::MAX;
        }
        let open: Vec<FilePosition> = self.processes.iter().flat_map(open_files).collect();
        let before = std::mem::replace(&mut self.before, open);
        let read = self.before.iter().filter(|now| advances(now, &before));
        read.map(|file| file.size).max().unwrap_or(0)
    }
}

/// Tells whether a word is one of these programs, with or without directories.
fn is_by_names(word: &[u8]) -> bool {
    let base = word.rsplit(|&byte| byte == b'/').next();
    BY_NAMES.iter().any(|name| base == Some(name.as_bytes()))
}

fn advances(now: &FilePosition, before: &[FilePosition]) -> bool {
    let same = before.iter().find(|it| it.path == now.path);
    !now.writable && same.is_some_and(|it| it.offset < now.offset)
}
