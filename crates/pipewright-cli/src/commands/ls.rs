//! `pipewright ls`: the pipelines that run on this machine now.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use pipewright_observe::topology::{FoundPipe, FoundStage, Pipeline, Scan, Shape};
use pipewright_observe::workspace::{
    PipelineNow, SocketEnd, SocketId, StageNow, command_lines, look_at,
};
use pipewright_observe::{Activity, PipeLevel, ProcessId, SpoolState};
use serde::Serialize;

use crate::cli;
use crate::export::json::values::{Level, Spool, VERSION, Word, numbers, seconds};
use crate::view::spool;
use crate::view::style::Palette;
use crate::view::units::{self, size};
use crate::view::{self, terminal, text};

/// The whole list, in the form of `--json`: docs/json.md has every field.
#[derive(Debug, Serialize)]
struct List {
    version: u32,
    pipelines: Vec<ListedPipeline>,
    /// Of other users, which this one may not look at.
    skipped_processes: usize,
    /// `/proc` is mounted so that other users' processes are not even seen.
    others_hidden: bool,
    /// Stages that kept whoever looked at them waiting for too long.
    silent_stages: usize,
}

#[derive(Debug, Serialize)]
struct ListedPipeline {
    shape: Word<Shape>,
    /// A program and its own ancestor: a captured output, a co-process.
    with_ancestor: bool,
    /// Since its oldest stage was started.
    age_seconds: f64,
    stages: Vec<ListedStage>,
    pipes: Vec<ListedPipe>,
}

#[derive(Debug, Serialize)]
struct ListedStage {
    number: usize,
    pid: u32,
    command: String,
    activity: Word<Activity>,
    age_seconds: f64,
    /// Its standard streams that are sockets.
    sockets: Vec<Socket>,
    /// Null: it is no `pipewright spool`, and its input is not recorded.
    spool: Option<Spool>,
    #[serde(skip)]
    spool_state: Option<SpoolState>,
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
struct ListedPipe {
    /// Numbers of stages.
    writers: Vec<usize>,
    readers: Vec<usize>,
    inode: u64,
    /// Null without permission to look at it.
    level: Option<Level>,
}

type SocketsOf = HashMap<ProcessId, Vec<Socket>>;

pub(crate) fn ls(options: &cli::Ls) -> anyhow::Result<ExitCode> {
    let list = List::now(options.all)?;
    if options.json {
        view::print((serde_json::to_string_pretty(&list)? + "\n").as_bytes())?;
    } else if options.pids {
        view::print(list.processes().as_bytes())?;
    } else {
        // The width and the colours are those of the terminal that the list goes to.
        let stdout = std::io::stdout();
        let told = Told {
            list: &list,
            palette: Palette::new(cli::When::Auto, &stdout),
            width: terminal::columns(&stdout),
        };
        view::say(&told.to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

impl List {
    fn now(all: bool) -> anyhow::Result<Self> {
        let scan = Scan::now()?;
        let mut found = scan.pipelines();
        found.retain(|pipeline| all || !pipeline.with_ancestor);
        let stages = found.iter().flat_map(|pipeline| &pipeline.stages);
        let stages = stages.map(|stage| stage.process).collect();
        let sockets = sockets(&scan, &stages, all)?;
        let now = look_at(&found)?;
        let stages_now = now.iter().flat_map(|pipeline| &pipeline.stages);
        let silent_stages = stages_now.filter(|stage| stage.silent).count();
        let mut pipelines: Vec<ListedPipeline> = found
            .iter()
            .zip(&now)
            .map(|(pipeline, now)| ListedPipeline::of(pipeline, now, &sockets))
            .collect();
        // Oldest first: the order stays the same from one call to the next.
        pipelines.sort_by(|one, other| other.age_seconds.total_cmp(&one.age_seconds));
        Ok(Self {
            version: VERSION,
            pipelines,
            skipped_processes: scan.denied.len(),
            others_hidden: scan.others_hidden,
            silent_stages,
        })
    }
}

impl List {
    /// One line per process: its number, a tab, and its command line.
    fn processes(&self) -> String {
        let stages = self.pipelines.iter().flat_map(|it| &it.stages);
        stages
            .map(|stage| format!("{}\t{}\n", stage.pid, text::shortened(&stage.command, 60)))
            .collect()
    }
}

/// The standard streams of stages that are sockets, by process.
fn sockets(
    scan: &Scan,
    stages: &HashSet<ProcessId>,
    neighbours: bool,
) -> anyhow::Result<SocketsOf> {
    // Where the kernel does not tell, there is a socket without neighbours.
    let peers = if neighbours {
        SocketId::unix_peers().unwrap_or_default()
    } else {
        HashMap::new()
    };
    let mut holders: HashMap<SocketId, Vec<&SocketEnd>> = HashMap::new();
    if neighbours {
        for end in &scan.sockets {
            holders.entry(end.socket).or_default().push(end);
        }
    }
    let standard = |end: &&SocketEnd| end.descriptor <= 2 && stages.contains(&end.process);
    let behind = |end: &SocketEnd| {
        let others = peers.get(&end.socket).and_then(|peer| holders.get(peer));
        others.into_iter().flatten().copied()
    };
    let ends: Vec<&SocketEnd> = scan.sockets.iter().filter(standard).collect();
    let others: Vec<ProcessId> = ends
        .iter()
        .flat_map(|end| behind(end))
        .map(|other| other.process)
        .collect();
    let mut commands = command_lines(&others)?.into_iter();
    let mut sockets = SocketsOf::new();
    for end in ends {
        let neighbours = behind(end).map(|other| {
            let line = commands.next().and_then(Result::ok);
            let line = line.map(|line| line.shortened());
            Neighbour {
                pid: other.process.pid,
                descriptor: other.descriptor,
                command: line
                    .filter(|line| !line.is_empty())
                    .unwrap_or_else(|| "[unknown]".to_owned()),
            }
        });
        let neighbours = neighbours.collect();
        sockets.entry(end.process).or_default().push(Socket {
            descriptor: end.descriptor,
            inode: end.socket.0,
            neighbours,
        });
    }
    Ok(sockets)
}

impl ListedPipeline {
    fn of(pipeline: &Pipeline, now: &PipelineNow, sockets: &SocketsOf) -> Self {
        let stages: Vec<ListedStage> = pipeline
            .stages
            .iter()
            .zip(&now.stages)
            .zip(1..)
            .map(|((stage, now), number)| ListedStage::of(number, stage, now, sockets))
            .collect();
        let pipes = pipeline.pipes.iter().zip(&now.levels);
        let pipe = |(pipe, level): (&FoundPipe, &Option<PipeLevel>)| ListedPipe {
            writers: numbers(&pipe.writers),
            readers: numbers(&pipe.readers),
            inode: pipe.pipe.0,
            level: level.map(Level::from),
        };
        Self {
            shape: Word(pipeline.shape),
            with_ancestor: pipeline.with_ancestor,
            age_seconds: stages
                .iter()
                .map(|stage| stage.age_seconds)
                .fold(0.0, f64::max),
            pipes: pipes.map(pipe).collect(),
            stages,
        }
    }
}

impl ListedStage {
    fn of(number: usize, stage: &FoundStage, now: &StageNow, sockets: &SocketsOf) -> Self {
        let command = now.command.clone();
        Self {
            number,
            pid: stage.process.pid,
            command: command.unwrap_or_else(|| format!("[{}]", stage.name)),
            activity: Word(now.activity),
            age_seconds: seconds(stage.process.age()),
            sockets: sockets.get(&stage.process).cloned().unwrap_or_default(),
            spool: now.spool.as_ref().map(Spool::now),
            spool_state: now.spool,
        }
    }
}

/// The list as people read it.
struct Told<'a> {
    list: &'a List,
    palette: Palette,
    /// Columns of the terminal.
    width: usize,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let List {
            pipelines,
            skipped_processes,
            others_hidden,
            silent_stages,
            ..
        } = self.list;
        if pipelines.is_empty() {
            writeln!(f, "no pipeline is running that you may look at")?;
        }
        for (index, pipeline) in pipelines.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            self.pipeline(f, pipeline)?;
        }
        let mut note = |text: String| writeln!(f, "{}", self.palette.faint(text));
        match skipped_processes {
            0 => {}
            1 => note("1 process of another user was skipped; run as root to see it".into())?,
            count => note(format!(
                "{count} processes belong to other users and were skipped; run as root to see them"
            ))?,
        }
        if *others_hidden {
            note(
                "/proc hides the processes of other users (hidepid); run as root to see them"
                    .into(),
            )?;
        }
        match silent_stages {
            0 => {}
            1 => note("1 stage did not answer when it was looked at".into())?,
            count => note(format!(
                "{count} stages did not answer when they were looked at"
            ))?,
        }
        Ok(())
    }
}

impl Told<'_> {
    fn pipeline(&self, f: &mut fmt::Formatter<'_>, pipeline: &ListedPipeline) -> fmt::Result {
        let stages = &pipeline.stages;
        let age = units::seconds(Duration::from_secs_f64(pipeline.age_seconds));
        let ancestor = if pipeline.with_ancestor {
            ", with its own ancestor"
        } else {
            ""
        };
        let shape = self.palette.bold(pipeline.shape.0);
        writeln!(
            f,
            "{shape}, {} stages, started {age} ago{ancestor}",
            stages.len()
        )?;
        let digits = stages.iter().map(|stage| stage.pid.to_string().len());
        let digits = digits.max().unwrap_or(1);
        let longest = stages.iter().map(|stage| text::width(&stage.command));
        let longest = longest.max().unwrap_or(0);
        let room = longest.min(self.width.saturating_sub(digits + 30).max(12));
        for stage in stages {
            let command = text::padded(&text::shortened(&stage.command, room), room);
            write!(
                f,
                "  {:>digits$}  {command}  {}",
                stage.pid, stage.activity.0
            )?;
            // One socket is often stdin, stdout and stderr alike.
            let mut inodes = HashSet::new();
            for socket in &stage.sockets {
                if inodes.insert(socket.inode) {
                    write!(f, ", {socket}")?;
                }
            }
            if let Some(state) = &stage.spool_state {
                let recorded = if state.is_input {
                    "input recorded, "
                } else {
                    ""
                };
                write!(f, ", {recorded}{}", spool::state(state))?;
            }
            writeln!(f)?;
            let leaving = |pipe: &&ListedPipe| pipe.writers.iter().min() == Some(&stage.number);
            for pipe in pipeline.pipes.iter().filter(leaving) {
                let line = self.palette.faint(pipe.line(stages));
                writeln!(f, "  {:digits$}  {line}", "")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let streams = ["stdin", "stdout", "stderr"];
        let stream = streams.get(self.descriptor as usize).unwrap_or(&"a stream");
        write!(f, "{stream} is a socket")?;
        for (index, neighbour) in self.neighbours.iter().enumerate() {
            let word = if index == 0 { "to" } else { "and" };
            let command = text::shortened(&neighbour.command, 24);
            write!(f, " {word} {} {command}", neighbour.pid)?;
        }
        Ok(())
    }
}

impl ListedPipe {
    fn line(&self, stages: &[ListedStage]) -> String {
        let names = |numbers: &[usize]| {
            let pids = stages.iter().filter(|it| numbers.contains(&it.number));
            pids.map(|stage| stage.pid.to_string())
                .collect::<Vec<_>>()
                .join(",")
        };
        let level = self.level.map_or_else(
            || "no permission".to_owned(),
            |level| {
                let state = match (level.full, level.unread_bytes == 0) {
                    (true, _) => "full",
                    (_, true) => "empty",
                    _ => "partly full",
                };
                let unread = size(level.unread_bytes as f64);
                let capacity = size(level.capacity_bytes as f64);
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
