//! Looking at the files that the first stage of a pipeline reads, in a thread of its own.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use pipewright_observe::workspace::{CommandLine, FilePosition};
use pipewright_observe::{Process, ProcessId};

use super::elsewhere::{Beside, Elsewhere};
use super::source;
use super::stage::{OTHERWISE, members, open_files};
use super::words::Named;
use super::{Files, Pace, Progress};

/// Between two looks.
const AGAIN: Duration = Duration::from_millis(200);

/// Follows the input of one pipeline. Only this thread may wait for a file system that does not
/// answer.
#[derive(Debug)]
pub(crate) struct Follower {
    latest: Arc<Mutex<Option<Progress>>>,
}

impl Follower {
    /// Follows what the first of the stages reads, unless others read more; or a later one, if it
    /// takes nothing from those before it. `named` is what is known of the first. `started`: when it
    /// had read nothing, if that is known.
    pub(crate) fn start(
        stages: impl Iterator<Item = ProcessId>,
        named: Named,
        started: Option<Instant>,
    ) -> Self {
        let stages: Vec<ProcessId> = stages.collect();
        let latest = Arc::default();
        let shared = Arc::downgrade(&latest);
        if named != Named::Unknown || stages.len() > 1 {
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

/// The stage whose input is that of the pipeline, and what was seen of it.
#[derive(Debug)]
struct Followed {
    root: Process,
    named: Named,
    later: Elsewhere,
    processes: Vec<Process>,
    input: Files,
    told: Vec<CommandLine>,
    stdin: Option<FilePosition>,
    before: Vec<FilePosition>,
    beside: u64,
}

/// What one look says.
enum Seen {
    /// How far it is, and the whole; `None`: that is not known.
    At(Option<(u64, u64)>),
    /// It can never be known.
    Never,
}

/// Looks until nobody wants to know any more, or the stage has ended.
fn follow(
    stages: &[ProcessId],
    named: &Named,
    mut pace: Pace,
    shared: &Weak<Mutex<Option<Progress>>>,
) {
    let mut first = 0;
    let mut followed = Followed::new(stages, first, named.clone());
    let is_believed =
        |followed: &Option<Followed>| followed.as_ref().is_some_and(|it| it.input.is_believed());
    while let Some(latest) = shared.upgrade() {
        // A process may have been seen before it became the program that it is.
        if !is_believed(&followed)
            && let Some((source, named)) = source::after(stages, first)
        {
            first = source;
            followed = Followed::new(stages, source, named);
        }
        let Some(followed) = followed.as_mut().filter(|it| it.root.stat().is_ok()) else {
            if is_believed(&followed) {
                return;
            }
            // A later stage may still turn out to take nothing from the one that has ended.
            drop(latest);
            std::thread::sleep(AGAIN);
            continue;
        };
        let seen = followed.look();
        let set = |progress| {
            *latest.lock().unwrap_or_else(PoisonError::into_inner) = progress;
        };
        match seen {
            Seen::Never => return set(None),
            Seen::At(seen) => {
                set(seen.map(|(read, total)| pace.progress(Instant::now(), read, total)));
            }
        }
        drop(latest);
        std::thread::sleep(AGAIN);
    }
}

impl Followed {
    /// `None` if the stage has ended.
    fn new(stages: &[ProcessId], first: usize, named: Named) -> Option<Self> {
        Some(Self {
            root: Process::open_same(*stages.get(first)?).ok()?,
            named,
            later: Elsewhere::new(&stages[first + 1..]),
            processes: Vec::new(),
            input: Files::unknown(),
            told: Vec::new(),
            stdin: None,
            before: Vec::new(),
            beside: 0,
        })
    }

    fn look(&mut self) -> Seen {
        if self.named == Named::Unknown {
            return Seen::At(None);
        }
        members(&self.root, &mut self.processes);
        let open: Vec<FilePosition> = self.processes.iter().flat_map(open_files).collect();
        if !self.input.is_believed() && !open.is_empty() {
            let lines = self.processes.iter().map(|it| it.command_line().ok());
            let lines = lines.collect::<Option<Vec<_>>>().unwrap_or_default();
            if lines != self.told {
                self.input = named_files(&self.named, &self.processes, &lines);
                self.told = lines;
            }
        }
        // A shell that becomes its last command has read what nobody counted.
        let advanced = |now: &FilePosition| {
            let same = self.before.iter().find(|it| it.path == now.path);
            same.is_some_and(|it| it.offset < now.offset)
        };
        if self.input.is_unknown() && open.iter().any(|file| !file.writable && advanced(file)) {
            return Seen::Never;
        }
        let innermost = self.processes.last().unwrap_or(&self.root);
        join_stdin(&mut self.input, &mut self.stdin, innermost);
        let counters = self.processes.iter().map(|it| Some(it.io().ok()?.read));
        self.input.count(counters.sum());
        let seen = self.input.see(&open);
        let beside = self.later.largest(&open);
        self.before = open;
        let Beside::Files(beside) = beside else {
            return Seen::At(None);
        };
        self.beside = self.beside.max(beside);
        match seen {
            Some((_, total)) if self.beside >= total => Seen::Never,
            seen => Seen::At(seen),
        }
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
