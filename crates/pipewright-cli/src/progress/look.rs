//! Looking at the files that the first stage of a pipeline reads, in a thread of its own.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use pipewright_observe::workspace::{CommandLine, FilePosition};
use pipewright_observe::{Process, ProcessId};

use super::elsewhere::Elsewhere;
use super::stage::{members, open_files};
use super::words::Named;
use super::{Files, Pace, Progress};

/// Between two looks.
const AGAIN: Duration = Duration::from_millis(200);

/// Programs that choose what they read, or run others: their arguments name a part of the input.
const OTHERWISE: &[&str] = &[
    "bash", "busybox", "dash", "docker", "env", "find", "fish", "head", "ksh", "make", "parallel",
    "sh", "ssh", "sudo", "xargs", "zsh",
];

/// Follows the input of one pipeline. Only this thread may wait for a file system that does not
/// answer.
#[derive(Debug)]
pub(crate) struct Follower {
    latest: Arc<Mutex<Option<Progress>>>,
}

impl Follower {
    /// Follows what the first of the stages reads, unless others read more. `started`: when it had
    /// read nothing, if that is known.
    pub(crate) fn start(
        stages: impl Iterator<Item = ProcessId>,
        named: Named,
        started: Option<Instant>,
    ) -> Self {
        let stages: Vec<ProcessId> = stages.collect();
        let latest = Arc::default();
        let shared = Arc::downgrade(&latest);
        if named != Named::Unknown {
            // Without a thread there is no percentage, and that is all.
            let _ = std::thread::Builder::new()
                .name("pipewright-input".into())
                .spawn(move || follow(&stages, &named, Pace::new(started), &shared));
        }
        Self { latest }
    }

    /// How far it was at the last look.
    pub(crate) fn progress(&self) -> Option<Progress> {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks until nobody wants to know any more, or the stage has ended.
fn follow(
    stages: &[ProcessId],
    named: &Named,
    mut pace: Pace,
    shared: &Weak<Mutex<Option<Progress>>>,
) {
    let Some((first, later)) = stages.split_first() else {
        return;
    };
    let Ok(root) = Process::open_same(*first) else {
        return;
    };
    let mut elsewhere = Elsewhere::new(later);
    let mut beside = 0;
    let mut input = Files::unknown();
    let mut told: Vec<CommandLine> = Vec::new();
    let mut stdin = None;
    let mut before: Vec<FilePosition> = Vec::new();
    let mut processes: Vec<Process> = Vec::new();
    while let Some(latest) = shared.upgrade() {
        if root.stat().is_err() {
            return;
        }
        members(&root, &mut processes);
        let open: Vec<FilePosition> = processes.iter().flat_map(open_files).collect();
        // A process may have been seen before it became the program that it is.
        if !input.is_believed() && !open.is_empty() {
            let lines: Option<Vec<_>> = processes.iter().map(|it| it.command_line().ok()).collect();
            let lines = lines.unwrap_or_default();
            if lines != told {
                input = named_files(named, &processes, &lines);
                told = lines;
            }
        }
        // A shell that becomes its last command has read what nobody counted.
        let advanced = |now: &FilePosition| {
            let same = |it: &&FilePosition| it.path == now.path;
            before
                .iter()
                .find(same)
                .is_some_and(|it| it.offset < now.offset)
        };
        if input.is_unknown() && open.iter().any(|file| !file.writable && advanced(file)) {
            return;
        }
        join_stdin(&mut input, &mut stdin, processes.last().unwrap_or(&root));
        let counters = processes.iter().map(|it| Some(it.io().ok()?.read));
        input.count(counters.sum());
        let seen = input.see(&open);
        before = open;
        beside = beside.max(elsewhere.largest());
        if seen.is_some_and(|(_, total)| beside >= total) {
            *latest.lock().unwrap_or_else(PoisonError::into_inner) = None;
            return;
        }
        let progress = seen.map(|(read, total)| pace.progress(Instant::now(), read, total));
        *latest.lock().unwrap_or_else(PoisonError::into_inner) = progress;
        drop(latest);
        std::thread::sleep(AGAIN);
    }
}

/// Adds the stdin of the stage's innermost process once it moves: some programs do not read theirs.
fn join_stdin(input: &mut Files, before: &mut Option<FilePosition>, innermost: &Process) {
    let Some(now) = innermost.file_position(0).ok().flatten() else {
        return;
    };
    if now.writable || input.name(&now.path) {
        return;
    }
    match before {
        Some(before) if before.path == now.path => {
            if before.offset < now.offset {
                input.add(now.path, now.size);
            }
        }
        _ => *before = Some(now),
    }
}

/// The files that a stage's processes were told to read, the root's first.
fn named_files(named: &Named, processes: &[Process], lines: &[CommandLine]) -> Files {
    let mut found: Vec<(PathBuf, u64)> = Vec::new();
    if let Named::Here(words) = named {
        let words = words.iter().map(|word| OsStr::new(word.as_str()));
        let root = processes.first();
        let known = root.is_some_and(|root| regular(root, words, &mut found));
        return if known {
            Files::new(found)
        } else {
            Files::unknown()
        };
    }
    for ((process, line), index) in processes.iter().zip(lines).zip(0..) {
        if OTHERWISE.contains(&line.program().as_str()) {
            let waits = index == 0 && *named == Named::OneCommand && processes.len() > 1;
            if waits {
                continue;
            }
            return Files::unknown();
        }
        let mut own = Vec::new();
        let words = line.arguments().skip(1).map(OsStr::from_bytes);
        if !regular(process, words, &mut own) {
            return Files::unknown();
        }
        // A helper may have the words of the one that started it.
        own.retain(|(path, _)| !found.iter().any(|(known, _)| known == path));
        found.extend(own);
    }
    Files::new(found)
}

/// Collects the regular files among words, as the process would find them, with their sizes;
/// `false` where a word names something whose size is not known: a directory, a device, a pipe.
fn regular<'a>(
    process: &Process,
    words: impl Iterator<Item = &'a OsStr>,
    found: &mut Vec<(PathBuf, u64)>,
) -> bool {
    let directory = PathBuf::from(format!("/proc/{}/cwd", process.id().pid));
    let mut is_output = false;
    for word in words {
        let bytes = word.as_bytes();
        let skipped = std::mem::replace(
            &mut is_output,
            matches!(bytes, b"-o" | b"-O" | b"--output" | b"--out"),
        );
        if skipped || bytes.starts_with(b"-") || bytes.is_empty() {
            continue;
        }
        // dd's way.
        let name = bytes.strip_prefix(b"if=").unwrap_or(bytes);
        let path = directory.join(Path::new(OsStr::from_bytes(name)));
        let Ok(metadata) = std::fs::metadata(&path) else {
            continue;
        };
        if metadata.is_file() {
            let Ok(path) = std::fs::canonicalize(&path) else {
                return false;
            };
            found.push((path, metadata.len()));
        } else if name != b"/dev/null" {
            return false;
        }
    }
    true
}
