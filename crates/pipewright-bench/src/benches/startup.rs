//! `startup`: what it costs to run a pipeline that does nothing.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::executable;
use crate::measure::{Contender, Series, Spread, interleave};
use crate::peers::OURS;
use crate::peers::find_program;
use crate::report::{Group, Limit, Report, Target, Unit};
use crate::timed_command::TimedCommand;

const BASH: &str = "bash -c";
const PIPELINE: &str = "/bin/true | /bin/true";

/// Runs a turn; the turn's value is their median.
const RUNS: usize = 20;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds to run.
    #[arg(long, default_value = "25")]
    rounds: NonZeroUsize,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Report> {
    let mut report = Report::new("startup");
    let mut programs = vec![(OURS, "run", executable::pipewright()?)];
    for (name, shell) in [(BASH, "bash"), ("sh -c", "sh")] {
        match find_program(shell) {
            Some(path) => programs.push((name, "-c", path)),
            None => report.missing(format!("{name}: there is no `{shell}` on PATH")),
        }
    }
    eprintln!("measuring {PIPELINE}");

    let time = measure(options, &programs, |command| {
        let durations: Result<Vec<f64>, _> = (0..RUNS).map(|_| command.wall_time()).collect();
        Ok(Spread::of(&durations?).median)
    })?;
    let time = Group::new(format!("{PIPELINE}, a run"), Unit::Seconds, OURS, time);
    report.target(Target::new(
        "times bash -c",
        Limit::AtMost(1.0),
        time.ratio(OURS, BASH).map(|ratio| ratio.median),
    ));
    report.group(time);

    let memory = measure(options, &programs, TimedCommand::peak_memory)?;
    let memory = Group::new(
        format!("{PIPELINE}, peak memory"),
        Unit::Bytes,
        OURS,
        memory,
    );
    report.target(Target::new(
        "peak memory of pipewright in MiB",
        Limit::AtMost(8.0),
        memory
            .spread(OURS)
            .map(|peak| peak.maximum / f64::from(1 << 20)),
    ));
    report.group(memory);
    Ok(report)
}

fn measure(
    options: &Options,
    programs: &[(&str, &str, PathBuf)],
    value: impl Fn(&mut TimedCommand) -> anyhow::Result<f64> + Copy,
) -> anyhow::Result<Vec<Series>> {
    let mut contenders = Vec::new();
    for (name, option, program) in programs {
        let mut command = TimedCommand::new(program, [option, PIPELINE])?;
        contenders.push(Contender::new(*name, move || value(&mut command)));
    }
    interleave(&mut contenders, options.rounds)
}
