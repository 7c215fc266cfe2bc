//! `spawn`: what a start costs, by the size of the parent.
//!
//! Starts `/bin/true` with one further descriptor at 3 and waits for it, while
//! the parent holds memory it has written to. fork copies the page tables of
//! that memory; a start that shares it does not.

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use tempfile::TempDir;

use crate::measure::{Contender, Spread, interleave};
use crate::memory::{self, ResidentMemory};
use crate::peers::OURS;
use crate::peers::bare::{self, Memory, Program};
use crate::peers::driven::{Driven, build_go};
use crate::peers::{crates, find_program};
use crate::report::{Group, Limit, Report, Target, Unit};

const BARE: &str = "bare vfork + exec";
const COMMAND_FDS: &str = "std + command-fds";
const GO: &str = "Go ExtraFiles";
const PYTHON: &str = "Python pass_fds";

/// No turn takes much longer, however slow its starts are.
const LONGEST_TURN: Duration = Duration::from_millis(500);

/// Left free beside what the contenders hold, in bytes.
const HEADROOM: usize = 1 << 30;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds at each size.
    #[arg(long, default_value = "25")]
    rounds: NonZeroUsize,
    /// Starts a turn; the turn's value is their median.
    #[arg(long, default_value = "20")]
    starts: NonZeroUsize,
    /// Sizes of the parent's resident memory, in GiB.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 1, 4])]
    resident: Vec<u16>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Report> {
    let mut report = Report::new("spawn");
    let others = OtherLanguages::find(&mut report)?;
    for &gibibytes in &options.resident {
        let group = match lack_of_memory(gibibytes, 1 + others.count())? {
            Some(sentence) => {
                report.missing(sentence);
                None
            }
            None => {
                eprintln!("measuring starts with {gibibytes} GiB resident");
                Some(measure(options, gibibytes, &others)?)
            }
        };
        let ratio = |over, under| {
            let ratio = group.as_ref()?.ratio(over, under)?;
            Some(ratio.median)
        };
        report.target(Target::new(
            format!("{gibibytes} GiB: times bare vfork + exec"),
            Limit::AtMost(1.1),
            ratio(OURS, BARE),
        ));
        report.target(Target::new(
            format!("{gibibytes} GiB: times Go"),
            Limit::AtMost(1.0),
            ratio(OURS, GO),
        ));
        if gibibytes == 1 {
            report.target(Target::new(
                "1 GiB: times faster than std + command-fds",
                Limit::AtLeast(40.0),
                ratio(COMMAND_FDS, OURS),
            ));
        }
        if let Some(group) = group {
            report.group(group);
        }
    }
    Ok(report)
}

/// Why this many processes cannot hold this much memory each, if they cannot.
fn lack_of_memory(gibibytes: u16, processes: usize) -> anyhow::Result<Option<String>> {
    let needed = bytes(gibibytes) * processes + HEADROOM;
    let available = memory::available()?;
    if gibibytes == 0 || needed <= available {
        return Ok(None);
    }
    Ok(Some(format!(
        "{gibibytes} GiB resident: skipped, because {processes} processes that hold as much, and \
         {} GiB of headroom, are more than the {:.1} GiB that are available",
        HEADROOM >> 30,
        available as f64 / bytes(1) as f64,
    )))
}

fn bytes(gibibytes: u16) -> usize {
    usize::from(gibibytes) << 30
}

fn measure(options: &Options, gibibytes: u16, others: &OtherLanguages) -> anyhow::Result<Group> {
    let bytes = bytes(gibibytes);
    let _resident = ResidentMemory::hold(bytes)
        .with_context(|| format!("cannot hold {gibibytes} GiB of memory"))?;
    let null = File::open("/dev/null").context("cannot open /dev/null")?;
    let mut program = Program::new(Path::new("/bin/true"), [""; 0])?;
    let bare_start = |descriptor: OwnedFd| {
        let process = program.start(&[(descriptor.as_fd(), 3)], Memory::Shared)?;
        let ended = bare::wait(process)?;
        crates::succeeded(ended.status)
    };
    let starts = options.starts.get();
    // Those that fork come last and one without a target comes first, because the turn after a
    // fork of a large process is a few per cent slower, whoever's it is.
    let mut contenders = vec![
        contender("duct (no fd 3)", starts, &null, crates::duct_plain),
        contender("std (no fd 3)", starts, &null, crates::std_plain),
        contender(OURS, starts, &null, our_start),
        contender(BARE, starts, &null, bare_start),
    ];
    for (name, mut driven) in others.start(bytes)? {
        contenders.push(Contender::new(name, move || {
            // One untimed start, as for the others.
            let durations = driven.run(starts + 1)?;
            Ok(Spread::of(&durations[1..]).median)
        }));
    }
    contenders.extend([
        contender(
            "subprocess (no fd 3)",
            starts,
            &null,
            crates::subprocess_plain,
        ),
        contender(COMMAND_FDS, starts, &null, crates::std_with_command_fds),
    ]);
    let series = interleave(&mut contenders, options.rounds)?;
    let title = format!("{gibibytes} GiB resident, a start");
    Ok(Group::new(title, Unit::Seconds, OURS, series))
}

fn our_start(descriptor: OwnedFd) -> anyhow::Result<()> {
    let child = pipewright::Command::new("/bin/true")
        .fd(3, descriptor)
        .spawn()?;
    crates::succeeded(child.wait()?)
}

/// A contender in this process: its value is the median of `starts` starts.
fn contender<'a>(
    name: &str,
    starts: usize,
    further: &'a File,
    mut start: impl FnMut(OwnedFd) -> anyhow::Result<()> + 'a,
) -> Contender<'a> {
    Contender::new(name, move || {
        // Not counted: it meets the pages that the turn before it, if it
        // forked, left to be copied on the next write.
        start(source(further)?)?;
        let turn = Instant::now();
        let mut durations = Vec::with_capacity(starts);
        while durations.is_empty() || (durations.len() < starts && turn.elapsed() < LONGEST_TURN) {
            let descriptor = source(further)?;
            let begin = Instant::now();
            start(descriptor)?;
            durations.push(begin.elapsed().as_secs_f64());
        }
        Ok(Spread::of(&durations).median)
    })
}

/// A fresh descriptor, well above the number it will have in the child.
fn source(further: &File) -> anyhow::Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(further, 10).context("cannot duplicate a descriptor")
}

/// The peers that are programs of their own, as far as they are installed.
struct OtherLanguages {
    go: Option<PathBuf>,
    python: Option<PathBuf>,
    /// Where the Go program was compiled to.
    _directory: TempDir,
}

impl OtherLanguages {
    fn find(report: &mut Report) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let mut find = |name: &str, program: &str| {
            let found = find_program(program);
            if found.is_none() {
                report.missing(format!("{name}: there is no `{program}` on PATH"));
            }
            found
        };
        let (compiler, python) = (find(GO, "go"), find(PYTHON, "python3"));
        let go = compiler
            .map(|go| build_go(&go, include_str!("../peers/spawn.go"), directory.path()))
            .transpose()
            .context(GO)?;
        Ok(Self {
            go,
            python,
            _directory: directory,
        })
    }

    fn count(&self) -> usize {
        [&self.go, &self.python].into_iter().flatten().count()
    }

    /// Starts them, each holding `bytes` of memory.
    fn start(&self, bytes: usize) -> anyhow::Result<Vec<(&'static str, Driven)>> {
        let mut started = Vec::new();
        if let Some(go) = &self.go {
            let mut command = Command::new(go);
            command.arg(bytes.to_string());
            started.push((GO, Driven::start(&mut command).context(GO)?));
        }
        if let Some(python) = &self.python {
            let mut command = Command::new(python);
            command.args(["-c", include_str!("../peers/spawn.py")]);
            command.arg(bytes.to_string());
            started.push((PYTHON, Driven::start(&mut command).context(PYTHON)?));
        }
        Ok(started)
    }
}
