//! Whether a later stage reads files of its own, so that the first one's are not the whole input.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use pipewright_observe::workspace::{CommandLine, FilePosition};
use pipewright_observe::{Process, ProcessId};

use super::stage::{OTHERWISE, members, open_files};

/// So many later stages are looked at.
const MOST: usize = 16;

/// Programs whose input is names of what is to be read, and not the data.
const BY_NAMES: &[&str] = &["parallel", "xargs"];

/// Programs whose arguments name what they write.
const WRITERS: &[&str] = &["sponge", "tee"];

/// So many looks show what a shell's loop opens.
const LOOKS: u32 = 5;

/// What the later stages read besides what they are handed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Beside {
    /// No file is larger than so many bytes.
    Files(u64),
    /// A shell may still open what it names in its variables.
    NotYetKnown,
}

/// The stages after the one whose input is followed.
#[derive(Debug)]
pub(super) struct Elsewhere {
    stages: Vec<Later>,
}

#[derive(Debug)]
struct Later {
    root: Process,
    processes: Vec<Process>,
    lines: Vec<CommandLine>,
    /// The largest file that they name.
    named: u64,
    before: Vec<FilePosition>,
    looks: u32,
}

impl Elsewhere {
    pub(super) fn new(later: &[ProcessId]) -> Self {
        let open = |stage: &ProcessId| {
            Some(Later {
                root: Process::open_same(*stage).ok()?,
                processes: Vec::new(),
                lines: Vec::new(),
                named: 0,
                before: Vec::new(),
                looks: 0,
            })
        };
        Self {
            stages: later.iter().take(MOST).filter_map(open).collect(),
        }
    }

    /// Looks what they read: the size of the largest file that they name or have open; all there can
    /// be where a program reads what it is given the names of. `inherited`: files that are open in
    /// the stage before too, and need not be theirs.
    ///
    /// A file as large as the first stage's input is no table that is looked up, or a script.
    pub(super) fn largest(&mut self, inherited: &[FilePosition]) -> Beside {
        let sizes = self.stages.iter_mut().map(|it| it.largest(inherited));
        sizes.max().unwrap_or(Beside::Files(0))
    }
}

impl Later {
    fn largest(&mut self, inherited: &[FilePosition]) -> Beside {
        members(&self.root, &mut self.processes);
        let lines = self.processes.iter();
        let lines: Vec<CommandLine> = lines
            .map(|it| it.command_line().unwrap_or_default())
            .collect();
        // parallel is a script: its name stands behind that of perl.
        let by_names = |line: &CommandLine| line.arguments().take(2).any(is_by_names);
        if lines.iter().any(by_names) {
            return Beside::Files(u64::MAX);
        }
        if lines != self.lines {
            let named = self.processes.iter().zip(&lines).map(largest_named);
            self.named = named.max().unwrap_or(0);
            self.lines = lines;
        }
        let open: Vec<FilePosition> = self.processes.iter().flat_map(open_files).collect();
        let before = std::mem::replace(&mut self.before, open);
        let own = |now: &&FilePosition| {
            let is_inherited = inherited.iter().any(|it| it.path == now.path);
            !now.writable && (!is_inherited || advances(now, &before))
        };
        let read = self.before.iter().filter(own).map(|file| file.size);
        let largest = read.max().unwrap_or(0).max(self.named);
        self.looks += 1;
        if self.looks < LOOKS && self.lines.first().is_none_or(is_shell_with_variables) {
            return Beside::NotYetKnown;
        }
        Beside::Files(largest)
    }
}

/// Tells whether a word is one of these programs, with or without directories.
fn is_by_names(word: &[u8]) -> bool {
    let base = word.rsplit(|&byte| byte == b'/').next();
    BY_NAMES.iter().any(|name| base == Some(name.as_bytes()))
}

fn advances(now: &FilePosition, before: &[FilePosition]) -> bool {
    let same = before.iter().find(|it| it.path == now.path);
    same.is_some_and(|it| it.offset < now.offset)
}

/// Its files may have names that stand nowhere.
fn is_shell_with_variables(line: &CommandLine) -> bool {
    let expands = |argument: &[u8]| argument.iter().any(|byte| b"$*?[`".contains(byte));
    OTHERWISE.contains(&line.program().as_str()) && line.arguments().skip(1).any(expands)
}

/// A shell that another one has forked for a part of its text: it has the words of the whole.
fn is_part_of_a_shell(process: &Process, line: &CommandLine) -> bool {
    let parent = process.stat().and_then(|it| Process::open(it.parent));
    parent
        .and_then(|it| it.command_line())
        .is_ok_and(|it| it == *line)
}

/// The size of the largest file among all words of a process's arguments, a shell's text too.
fn largest_named((process, line): (&Process, &CommandLine)) -> u64 {
    if WRITERS.contains(&line.program().as_str()) || is_part_of_a_shell(process, line) {
        return 0;
    }
    let directory = PathBuf::from(format!("/proc/{}/cwd", process.id().pid));
    let size = |word: &[u8]| {
        let metadata = std::fs::metadata(directory.join(OsStr::from_bytes(word))).ok()?;
        let is_program = metadata.permissions().mode() & 0o111 != 0;
        (metadata.is_file() && !is_program).then_some(metadata.len())
    };
    let arguments = line.arguments().skip(1).flat_map(words);
    arguments.filter_map(size).max().unwrap_or(0)
}

/// The words of an argument that may be a text for a shell, and the argument itself; but for what
/// stands behind `>`.
fn words(argument: &[u8]) -> Vec<&[u8]> {
    const BETWEEN: &[u8] = b" \t\n;()&|<>{}'\"`";
    let mut words = vec![argument];
    let mut is_output = false;
    for piece in argument.split_inclusive(|byte| BETWEEN.contains(byte)) {
        let end = piece.last().filter(|byte| BETWEEN.contains(byte));
        let word = &piece[..piece.len() - usize::from(end.is_some())];
        if !word.is_empty() && !std::mem::take(&mut is_output) {
            words.push(word);
        }
        is_output |= end == Some(&b'>');
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_shells_text_are_found_but_for_its_outputs() {
        let text = b"(cat; cat 'big file' b)>out 2>>log; sort <c";
        let found: Vec<_> = words(text)
            .iter()
            .map(|it| String::from_utf8_lossy(it))
            .collect();
        assert_eq!(found[0].as_bytes(), text);
        for word in ["cat", "b", "c", "sort"] {
            assert!(found.iter().any(|it| it == word), "{word}: {found:?}");
        }
        for output in ["out", "log"] {
            assert!(!found.iter().any(|it| it == output), "{output}: {found:?}");
        }
    }

    #[test]
    fn a_shell_that_expands_is_not_known_at_once() {
        let line = |words: &[&str]| CommandLine::from_bytes((words.join("\0") + "\0").into_bytes());
        assert!(is_shell_with_variables(&line(&[
            "bash",
            "-c",
            "while read f; do zcat $f; done"
        ])));
        assert!(!is_shell_with_variables(&line(&[
            "bash",
            "-c",
            "cat; cat b"
        ])));
        assert!(!is_shell_with_variables(&line(&["awk", "{ print $1 }"])));
    }
}
