//! `pipewright ls`: the pipelines that run on this machine now.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use pipewright_observe::topology::{FoundStage, Pipeline, Scan, SocketEnd, SocketId};
use pipewright_observe::{BlockedOn, PipeHandle, PipeLevel, Process, ProcessId, in_parallel};
use serde::Serialize;

use crate::cli;
use crate::view::style::Palette;
use crate::view::units::{seconds, size};
use crate::view::{self, terminal, text};

/// All that is told, in the form of `--json`.
#[derive(Debug, Serialize)]
struct Found {
    version: u32,
    pipelines: Vec<Line>,
    /// Processes that belong to others and may not be looked at.
    not_looked_at: usize,
}

/// One pipeline.
#[derive(Debug, Serialize)]
struct Line {
    shape: String,
    /// A program and its own ancestor: a captured output, a co-process.
    with_ancestor: bool,
    /// Since its oldest stage was started.
    age_seconds: f64,
    stages: Vec<Stage>,
    pipes: Vec<Pipe>,
}

#[derive(Debug, Serialize)]
struct Stage {
    pid: u32,
    command: String,
    doing: String,
    age_seconds: f64,
    /// Its standard streams that are sockets.
    sockets: Vec<Socket>,
}

/// A standard stream that is a socket.
#[derive(Debug, Clone, Serialize)]
struct Socket {
    descriptor: u32,
    inode: u64,
    /// Who holds the other end: known with `--all`, for Unix sockets of this machine.
    neighbours: Vec<Neighbour>,
}

#[derive(Debug, Clone, Serialize)]
struct Neighbour {
    pid: u32,
    descriptor: u32,
    command: String,
}

#[derive(Debug, Serialize)]
struct Pipe {
    /// Indices of stages, from 0.
    writers: Vec<usize>,
    readers: Vec<usize>,
    inode: u64,
    /// Null where it may not be looked at.
    level: Option<PipeLevel>,
}

pub(crate) fn ls(options: &cli::Ls) -> anyhow::Result<ExitCode> {
    let scan = Scan::now()?;
    let mut pipelines = scan.pipelines();
    pipelines.retain(|pipeline| options.all || !pipeline.with_ancestor);
    let stages = pipelines.iter().flat_map(|pipeline| &pipeline.stages);
    let stages = stages.map(|stage| stage.process).collect();
    let sockets = sockets(&scan, &stages, options.all);
    let mut lines = in_parallel(&pipelines, |pipeline| Line::of(pipeline, &sockets));
    // Oldest first: the order stays the same from one call to the next.
    lines.sort_by(|one, other| other.age_seconds.total_cmp(&one.age_seconds));
    let found = Found {
        version: 1,
        pipelines: lines,
        not_looked_at: scan.denied.len(),
    };
    let text = match options.json {
        true => serde_json::to_string_pretty(&found)? + "\n",
        false => found.told(),
    };
    view::print(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The standard streams of stages that are sockets, by process.
fn sockets(
    scan: &Scan,
    stages: &HashSet<ProcessId>,
    neighbours: bool,
) -> HashMap<ProcessId, Vec<Socket>> {
    // Where the kernel does not tell, there is a socket without neighbours.
    let peers = match neighbours {
        true => SocketId::unix_peers().unwrap_or_default(),
        false => HashMap::new(),
    };
    let mut holders: HashMap<SocketId, Vec<&SocketEnd>> = HashMap::new();
    if neighbours {
        for end in &scan.sockets {
            holders.entry(end.socket).or_default().push(end);
        }
    }
    let mut sockets: HashMap<ProcessId, Vec<Socket>> = HashMap::new();
    let standard = |end: &&SocketEnd| end.descriptor <= 2 && stages.contains(&end.process);
    for end in scan.sockets.iter().filter(standard) {
        let others = peers.get(&end.socket).and_then(|peer| holders.get(peer));
        let neighbours = others.into_iter().flatten().map(|other| Neighbour {
            pid: other.process.pid,
            descriptor: other.descriptor,
            command: command_of(Process::open_same(other.process).ok().as_ref(), "ended"),
        });
        sockets.entry(end.process).or_default().push(Socket {
            descriptor: end.descriptor,
            inode: end.socket.0,
            neighbours: neighbours.collect(),
        });
    }
    sockets
}

/// The command line as it may be shown; where there is none, the name.
fn command_of(process: Option<&Process>, name: &str) -> String {
    let command = process.and_then(|process| process.command_line().ok());
    let command = command
        .map(|command| command.to_string())
        .filter(|it| !it.is_empty());
    text::line(&command.unwrap_or_else(|| format!("[{name}]")))
}

impl Line {
    fn of(pipeline: &Pipeline, sockets: &HashMap<ProcessId, Vec<Socket>>) -> Self {
        let stages: Vec<Stage> = pipeline
            .stages
            .iter()
            .map(|stage| Stage::of(stage, sockets))
            .collect();
        let pipes = pipeline.pipes.iter().map(|pipe| {
            let (process, descriptor) = pipe.through;
            let handle = PipeHandle::of_process(process.pid, descriptor);
            let level = handle.ok().filter(|handle| handle.id() == pipe.pipe);
            Pipe {
                writers: pipe.writers.clone(),
                readers: pipe.readers.clone(),
                inode: pipe.pipe.0,
                level: level.and_then(|handle| handle.level().ok()),
            }
        });
        Self {
            shape: pipeline.shape.to_string(),
            with_ancestor: pipeline.with_ancestor,
            age_seconds: stages
                .iter()
                .map(|stage| stage.age_seconds)
                .fold(0.0, f64::max),
            pipes: pipes.collect(),
            stages,
        }
    }
}

impl Stage {
    fn of(stage: &FoundStage, sockets: &HashMap<ProcessId, Vec<Socket>>) -> Self {
        let process = Process::open_same(stage.process).ok();
        Self {
            pid: stage.process.pid,
            command: command_of(process.as_ref(), &stage.name),
            doing: process
                .as_ref()
                .map_or("ended", |process| doing(process.blocked_on()))
                .to_owned(),
            age_seconds: stage.process.age().as_secs_f64(),
            sockets: sockets.get(&stage.process).cloned().unwrap_or_default(),
        }
    }
}

impl Socket {
    fn told(&self) -> String {
        let stream = ["stdin", "stdout", "stderr"]
            .get(self.descriptor as usize)
            .copied()
            .unwrap_or_default();
        let names: Vec<String> = self
            .neighbours
            .iter()
            .map(|it| format!("{} {}", it.pid, text::shortened(&it.command, 24)))
            .collect();
        match names.is_empty() {
            true => format!(", {stream} is a socket"),
            false => format!(", {stream} is a socket to {}", names.join(" and ")),
        }
    }
}

/// What a process waits for, in a few words.
fn doing(blocked: BlockedOn) -> &'static str {
    match blocked {
        BlockedOn::Nothing => "running",
        BlockedOn::Read(Some(0)) => "waiting for input",
        BlockedOn::Read(_) => "reading",
        BlockedOn::Write(Some(1)) => "blocked on output",
        BlockedOn::Write(_) => "blocked on writing",
        BlockedOn::Timer => "asleep",
        BlockedOn::Child => "waiting for a child",
        BlockedOn::Splice { .. } => "splicing",
        BlockedOn::Poll => "polling",
        BlockedOn::Network => "waiting for the network",
        BlockedOn::Unknown => "not to be known",
        _ => "waiting",
    }
}

impl Found {
    fn told(&self) -> String {
        let palette = Palette::new(match std::io::stdout().is_terminal() {
            true => cli::When::Auto,
            false => cli::When::Never,
        });
        let mut told = String::new();
        // Writing to a string does not fail.
        if self.pipelines.is_empty() {
            let _ = writeln!(told, "no pipeline runs here that you may look at");
        }
        for (index, line) in self.pipelines.iter().enumerate() {
            if index > 0 {
                told.push('\n');
            }
            line.tell(&mut told, palette);
        }
        if self.not_looked_at > 0 {
            let _ = writeln!(
                told,
                "{}",
                palette.faint(format!(
                    "{} processes belong to others and were not looked at; root sees all",
                    self.not_looked_at
                ))
            );
        }
        told
    }
}

impl Line {
    fn tell(&self, told: &mut String, palette: Palette) {
        let since = seconds(Duration::from_secs_f64(self.age_seconds));
        let ancestor = if self.with_ancestor {
            ", with its own ancestor"
        } else {
            ""
        };
        let _ = writeln!(
            told,
            "{}, {} stages, since {since}{ancestor}",
            palette.bold(&self.shape),
            self.stages.len()
        );
        let digits = self
            .stages
            .iter()
            .map(|stage| stage.pid.to_string().len())
            .max()
            .unwrap_or(1);
        let width = terminal::columns(std::io::stdout());
        let longest = self
            .stages
            .iter()
            .map(|stage| text::width(&stage.command))
            .max()
            .unwrap_or(0);
        let room = longest.min(width.saturating_sub(digits + 30).max(12));
        for (index, stage) in self.stages.iter().enumerate() {
            let command = text::padded(&text::shortened(&stage.command, room), room);
            // One socket is often stdin, stdout and stderr alike.
            let mut told_of = HashSet::new();
            let sockets = stage.sockets.iter();
            let socket: String = sockets
                .filter(|socket| told_of.insert(socket.inode))
                .map(Socket::told)
                .collect();
            let _ = writeln!(
                told,
                "  {:>digits$}  {command}  {}{socket}",
                stage.pid, stage.doing
            );
            for pipe in self
                .pipes
                .iter()
                .filter(|pipe| pipe.writers.iter().min() == Some(&index))
            {
                let _ = writeln!(
                    told,
                    "  {:digits$}  {}",
                    "",
                    palette.faint(pipe.told(&self.stages))
                );
            }
        }
    }
}

impl Pipe {
    fn told(&self, stages: &[Stage]) -> String {
        let names = |indices: &[usize]| {
            let pids = indices.iter().filter_map(|&index| stages.get(index));
            pids.map(|stage| stage.pid.to_string())
                .collect::<Vec<_>>()
                .join(",")
        };
        let level = self.level.map_or_else(
            || "may not be looked at".to_owned(),
            |level| {
                let state = match (level.full, level.empty()) {
                    (true, _) => "full",
                    (_, true) => "empty",
                    _ => "partly full",
                };
                let (unread, capacity) = (size(level.unread as f64), size(level.capacity as f64));
                format!("{state}: {unread} of {capacity}")
            },
        );
        format!(
            "│ {} → {}  {level}",
            names(&self.writers),
            names(&self.readers)
        )
    }
}
