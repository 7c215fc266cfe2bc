//! `handoff`: what it costs to hand a config over, to exchange small messages,
//! and to stream them.
//!
//! Every contender starts this program again as its child. The two processes
//! share a clock, so that the time a config takes ends when the child holds
//! it, not when the parent has heard of it.

mod bare;
mod exchanged;
mod ipc;
mod ours;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use tempfile::TempDir;

use exchanged::{CHILD, Config};

use crate::measure::{Contender, Spread, interleave};
use crate::peers::OURS;
use crate::peers::driven::{Driven, build_go};
use crate::peers::find_program;
use crate::report::{Group, Limit, Report, Target, Unit};

const OURS_ENCODING: &str = "pipewright, with encoding";
const OURS_LARGE_PIPE: &str = "pipewright, pipe of 1 MiB";
const BARE: &str = "bare re-exec, pipe";
const BARE_MEMORY: &str = "bare re-exec, memfd";
const BARE_SOCKETS: &str = "bare socketpair";
const BARE_PIPE: &str = "bare write/read";
const IPC: &str = "ipc-channel";
const GO_JSON: &str = "Go JSON";
const GO_GOB: &str = "Go gob, two pipes";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds of each comparison.
    #[arg(long, default_value = "25")]
    rounds: NonZeroUsize,
    /// Starts a turn with a config of 4 KiB; an eighth of them with 8 MiB.
    #[arg(long, default_value = "16")]
    starts: NonZeroUsize,
    /// Round trips a turn.
    #[arg(long, default_value = "2000")]
    trips: NonZeroUsize,
    /// Messages of 100 bytes a turn; a hundredth of them at 64 KiB.
    #[arg(long, default_value = "200000")]
    messages: NonZeroUsize,
}

/// Runs the child's half, in a process that was started as a child, and ends
/// it. To be called first in `main`.
pub(crate) fn dispatch() {
    ours::dispatch();
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some(CHILD) {
        return;
    }
    let arguments: Vec<String> = arguments.collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["bare", rest @ ..] => bare::child(rest),
        ["ipc", rest @ ..] => ipc::child(rest),
        _ => Err(anyhow::anyhow!("no such child: {arguments:?}")),
    };
    if let Err(error) = result {
        eprintln!("child {arguments:?}: {error:#}");
        std::process::exit(1);
    }
    std::process::exit(0);
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Report> {
    let mut report = Report::new("handoff");
    let go = Go::find(&mut report)?;
    for (name, bytes, starts) in [
        ("4 KiB", 4 << 10, options.starts.get()),
        ("8 MiB", 8 << 20, (options.starts.get() / 8).max(1)),
    ] {
        eprintln!("measuring a config of {name}");
        let group = configs(options, name, bytes, starts, &go)?;
        let ratio = group.ratio(OURS, BARE).map(|ratio| ratio.median);
        let promise = format!("config of {name}: times {BARE}");
        report.target(Target::new(promise, Limit::AtMost(1.15), ratio));
        report.group(group);
    }

    eprintln!("measuring round trips");
    let group = round_trips(options, &go)?;
    let ratio = group.ratio(OURS, BARE_SOCKETS).map(|ratio| ratio.median);
    let promise = format!("round trip of 64 bytes: times {BARE_SOCKETS}");
    report.target(Target::new(promise, Limit::AtMost(1.2), ratio));
    report.group(group);

    for (name, bytes, count) in [
        ("100 bytes", 100, options.messages.get()),
        ("64 KiB", 64 << 10, (options.messages.get() / 100).max(2)),
    ] {
        eprintln!("measuring a stream of {name}");
        let mut contenders = [
            Contender::new(OURS, || ours::stream(bytes, count, 64 << 10)),
            Contender::new(OURS_LARGE_PIPE, || ours::stream(bytes, count, 1 << 20)),
            Contender::new(BARE_PIPE, || bare::stream(bytes, count)),
            Contender::new(IPC, || ipc::stream(bytes, count)),
        ];
        let series = interleave(&mut contenders, options.rounds)?;
        let unit = Unit::Messages { bytes };
        report.group(Group::new(
            format!("a stream of {name}"),
            unit,
            OURS,
            series,
        ));
    }
    Ok(report)
}

/// A contender whose value is the median of `starts` values.
fn median_of<'a>(
    name: &str,
    starts: usize,
    mut start: impl FnMut() -> anyhow::Result<f64> + 'a,
) -> Contender<'a> {
    Contender::new(name, move || {
        let values: Result<Vec<f64>, _> = (0..starts).map(|_| start()).collect();
        Ok(Spread::of(&values?).median)
    })
}

fn configs(
    options: &Options,
    name: &str,
    bytes: usize,
    starts: usize,
    go: &Go,
) -> anyhow::Result<Group> {
    let config = Config::of_size(bytes);
    let encoded = postcard::to_allocvec(&config).context("a config can be encoded")?;
    let mut contenders = vec![
        median_of(OURS, starts, || ours::config(&config)),
        median_of(OURS_ENCODING, starts, || ours::config_and_encoding(&config)),
        median_of(BARE, starts, || bare::config_by_pipe(&encoded)),
        median_of(BARE_MEMORY, starts, || bare::config_by_memory(&encoded)),
        median_of(IPC, starts, || ipc::config(&config)),
    ];
    if let Some(mut go) = go.start(&["config", &bytes.to_string()])? {
        contenders.push(Contender::new(GO_JSON, move || {
            Ok(Spread::of(&go.run(starts)?).median)
        }));
    }
    let series = interleave(&mut contenders, options.rounds)?;
    let title = format!("a config of {name}, from the start to the child that holds it");
    Ok(Group::new(title, Unit::Seconds, OURS, series))
}

/// Both sides of every contender on one core. On two, most of the time is that of waking a core that
/// sleeps, up to twenty times the rest, and whether it is spent is the scheduler's throw of a coin.
fn round_trips(options: &Options, go: &Go) -> anyhow::Result<Group> {
    let trips = options.trips.get();
    let all_cores = sched_getaffinity(None).context("cannot tell this thread's cores")?;
    let mut one_core = CpuSet::new();
    one_core.set(sched_getcpu());
    // The children inherit it.
    sched_setaffinity(None, &one_core).context("cannot stay on one core")?;
    let (mut ours, mut bare) = (ours::Echo::start()?, bare::Echo::start()?);
    let mut ipc = ipc::Echo::start()?;
    let mut contenders = vec![
        Contender::new(OURS, || ours.trips(trips)),
        Contender::new(BARE_SOCKETS, || bare.trips(trips)),
        Contender::new(IPC, || ipc.trips(trips)),
    ];
    if let Some(mut go) = go.start(&["echo"])? {
        contenders.push(Contender::new(GO_GOB, move || {
            Ok(Spread::of(&go.run(trips)?).median)
        }));
    }
    let series = interleave(&mut contenders, options.rounds)?;
    drop(contenders);
    sched_setaffinity(None, &all_cores).context("cannot go back to all cores")?;
    let title = "a round trip of 64 bytes between parent and child, on one core";
    Ok(Group::new(title, Unit::Seconds, OURS, series))
}

/// The Go peer, if there is a compiler.
struct Go {
    program: Option<PathBuf>,
    /// Where it was compiled to.
    _directory: TempDir,
}

impl Go {
    fn find(report: &mut Report) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let program = match find_program("go") {
            Some(go) => {
                let source = include_str!("../peers/handoff.go");
                Some(build_go(&go, source, directory.path()).context(GO_JSON)?)
            }
            None => {
                report.missing(format!("{GO_JSON}, {GO_GOB}: there is no `go` on PATH"));
                None
            }
        };
        Ok(Self {
            program,
            _directory: directory,
        })
    }

    fn start(&self, arguments: &[&str]) -> anyhow::Result<Option<Driven>> {
        let start = |program: &PathBuf| Driven::start(Command::new(program).args(arguments));
        self.program.as_ref().map(start).transpose()
    }
}
