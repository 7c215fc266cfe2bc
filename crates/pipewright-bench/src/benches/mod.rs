//! One file a bench: its options, its contenders, its targets.
//!
//! A further bench is a file here, a variant of [`Bench`] and a line in
//! [`Bench::run`]; rounds, ratios, tables and JSON are in `measure` and
//! `report`, and who it is measured against in `peers`.

mod capture;
mod handoff;
mod hosts;
#[cfg(feature = "nats")]
mod jetstream;
mod observe;
mod part;
mod scaling;
mod spawn;
mod spool;
mod startup;
mod throughput;
mod verdict;
mod workers;

use crate::report::Report;

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
    /// What a pipeline would take without its bottleneck, foretold and tried.
    Verdict(verdict::Options),
    /// One stage run several times, beside one run and GNU parallel.
    Workers(workers::Options),
    /// A stream kept on disk, beside `tee`, mbuffer and dd.
    Spool(spool::Options),
    /// Workers that come and go, by a NATS server on this machine.
    #[cfg(feature = "nats")]
    Jetstream(jetstream::Options),
    /// Stages and chunks on other hosts, beside plain ssh, workers here and GNU parallel.
    Hosts(hosts::Options),
    /// A config, messages and streams between this program and its child.
    Handoff(handoff::Options),
}

impl Bench {
    pub(crate) fn run(&self) -> anyhow::Result<Report> {
        match self {
            Self::Capture(options) => capture::run(options),
            Self::Spawn(options) => spawn::run(options),
            Self::Throughput(options) => throughput::run(options),
            Self::Startup(options) => startup::run(options),
            Self::Observe(options) => observe::run(options),
            Self::Verdict(options) => verdict::run(options),
            Self::Workers(options) => workers::run(options),
            Self::Spool(options) => spool::run(options),
            #[cfg(feature = "nats")]
            Self::Jetstream(options) => jetstream::run(options),
            Self::Hosts(options) => hosts::run(options),
            Self::Handoff(options) => handoff::run(options),
        }
    }
}

/// The work of a process that a bench started; it ends there.
pub(crate) fn dispatch() {
    handoff::dispatch();
    verdict::dispatch();
}
