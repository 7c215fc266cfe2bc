//! One file a bench: its options, its contenders, its targets.
//!
//! A further bench is a file here, a variant of [`Bench`] and a line in
//! [`Bench::run`]; rounds, ratios, tables and JSON are in `measure` and
//! `report`, and who it is measured against in `peers`.

mod capture;
mod handoff;
mod observe;
mod spawn;
mod startup;
mod throughput;

use crate::report::Report;

/// The name of our own contender, which the others are divided by.
const OURS: &str = "pipewright";

#[derive(clap::Subcommand)]
pub(crate) enum Bench {
    /// Collect output: 1 GiB at once, through `cat` and back, and little of it often.
    Capture(capture::Options),
    /// Start and wait for a program, from parents of several sizes.
    Spawn(spawn::Options),
    /// Bytes through `head | cat`.
    Throughput(throughput::Options),
    /// The time and memory to run a pipeline that does nothing.
    Startup(startup::Options),
    /// What watching costs: the live view of a pipeline, and a list of all of them.
    Observe(observe::Options),
    /// A config, messages and streams between this program and its child.
    Handoff(handoff::Options),
}

impl Bench {
    pub(crate) fn run(&self) -> anyhow::Result<Report> {
        match self {
            Bench::Capture(options) => capture::run(options),
            Bench::Spawn(options) => spawn::run(options),
            Bench::Throughput(options) => throughput::run(options),
            Bench::Startup(options) => startup::run(options),
            Bench::Observe(options) => observe::run(options),
            Bench::Handoff(options) => handoff::run(options),
        }
    }
}

/// The work of a process that a bench started as its child; it ends there.
pub(crate) fn dispatch() {
    handoff::dispatch();
}
