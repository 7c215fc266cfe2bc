//! `capture`: collecting output, much of it at once and little of it often.

use std::num::NonZeroUsize;
use std::time::Instant;

use anyhow::{Context, ensure};

use super::throughput::bytes;
use crate::measure::{Contender, Series, interleave};
use crate::peers::OURS;
use crate::peers::captures::Collector;
use crate::report::{Group, Limit, Report, Target, Unit};
use crate::timed_command::TimedCommand;

const STD: &str = "std";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds to run.
    #[arg(long, default_value = "5")]
    rounds: NonZeroUsize,
    /// Bytes to collect at once; K, M and G count in powers of 1024.
    #[arg(long, default_value = "1G", value_parser = bytes)]
    size: u64,
    /// Short captures of each contender, over all rounds together.
    #[arg(long, default_value = "10000")]
    short: NonZeroUsize,
    /// Collects the bytes once with this contender and tells nothing: a process
    /// of its own, whose peak memory is measured from outside.
    #[arg(long, hide = true)]
    alone: Option<Collector>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Report> {
    let mut report = Report::new("capture");
    if let Some(collector) = options.alone {
        collect(collector, options.size)?;
        return Ok(report);
    }
    let size = options.size;
    let mebibytes = size >> 20;

    eprintln!("measuring {mebibytes} MiB into memory");
    let out = turns(options.rounds, |collector| {
        let begin = Instant::now();
        let output = collect(collector, size)?;
        let seconds = begin.elapsed().as_secs_f64();
        // Its memory is given back outside of the time.
        drop(output);
        Ok(seconds)
    })?;
    large(
        &mut report,
        format!("{mebibytes} MiB from a child into memory"),
        out,
    );

    eprintln!("measuring {mebibytes} MiB through cat and back");
    let length = usize::try_from(size).context("so many bytes do not fit into memory")?;
    let through = turns(options.rounds, |collector| {
        let input = vec![b'x'; length];
        let begin = Instant::now();
        let output = collector.stdout("cat", &[], Some(input))?;
        let seconds = begin.elapsed().as_secs_f64();
        ensure!(output.len() == length, "{} bytes came back", output.len());
        Ok(seconds)
    })?;
    large(
        &mut report,
        format!("{mebibytes} MiB through cat and back"),
        through,
    );

    eprintln!("measuring short captures");
    // More and shorter turns than for the large ones: a start takes far less than a disturbance.
    let rounds = options
        .rounds
        .saturating_mul(NonZeroUsize::new(5).unwrap_or(NonZeroUsize::MIN));
    let each = options.short.get().div_ceil(rounds.get());
    let short = turns(rounds, |collector| {
        let begin = Instant::now();
        for _ in 0..each {
            let output = collector.stdout("/bin/echo", &["x"], None)?;
            ensure!(output == b"x\n", "echo said {output:?}");
        }
        Ok(begin.elapsed().as_secs_f64() / each as f64)
    })?;
    let short = Group::new("/bin/echo x, a capture", Unit::Seconds, OURS, short);
    report.target(Target::new(
        "a short capture, times std",
        Limit::AtMost(1.1),
        short.ratio(OURS, STD).map(|ratio| ratio.median),
    ));
    report.group(short);

    let memory = peak_memory(options)?;
    let title = format!("{mebibytes} MiB from a child into memory, peak memory");
    let memory = Group::new(title, Unit::Bytes, OURS, memory);
    report.target(Target::new(
        "peak memory beyond the output in MiB",
        Limit::AtMost(4.0),
        memory
            .spread(OURS)
            .map(|peak| (peak.maximum - size as f64) / f64::from(1 << 20)),
    ));
    report.group(memory);
    Ok(report)
}

/// Lets every collector take its turns.
fn turns(
    rounds: NonZeroUsize,
    turn: impl Fn(Collector) -> anyhow::Result<f64> + Copy,
) -> anyhow::Result<Vec<Series>> {
    let mut contenders =
        Collector::ALL.map(|collector| Contender::new(collector.name(), move || turn(collector)));
    interleave(&mut contenders, rounds)
}

fn large(report: &mut Report, title: String, series: Vec<Series>) {
    let group = Group::new(title.clone(), Unit::Seconds, OURS, series);
    for peer in Collector::ALL.map(Collector::name) {
        // 1.3 is aimed at; being no slower is what is promised.
        let limits: &[f64] = match peer {
            OURS => &[],
            STD => &[1.0, 1.3],
            _ => &[1.0],
        };
        for &limit in limits {
            report.target(Target::new(
                format!("{title}: times as fast as {peer}"),
                Limit::AtLeast(limit),
                group.ratio(peer, OURS).map(|ratio| ratio.median),
            ));
        }
    }
    report.group(group);
}

fn collect(collector: Collector, size: u64) -> anyhow::Result<Vec<u8>> {
    let output = collector.stdout("head", &["-c", &size.to_string(), "/dev/zero"], None)?;
    ensure!(output.len() as u64 == size, "{} bytes came", output.len());
    Ok(output)
}

fn peak_memory(options: &Options) -> anyhow::Result<Vec<Series>> {
    let this = std::env::current_exe().context("cannot find this program's own file")?;
    let size = options.size.to_string();
    let mut contenders = Vec::new();
    for name in Collector::ALL.map(Collector::name) {
        let arguments = ["capture", "--size", &size, "--alone", name];
        let mut command = TimedCommand::new(&this, arguments)?;
        contenders.push(Contender::new(name, move || command.peak_memory()));
    }
    interleave(&mut contenders, NonZeroUsize::MIN)
}
