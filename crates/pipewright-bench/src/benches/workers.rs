//! `workers`: one stage run several times, beside one run, and beside GNU
//! parallel.
//!
//! Every contender is a command line that bash runs on the same file of lines.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::TempDir;

use super::scaling::{Costs, curve};
use super::throughput::bytes;
use crate::executable;
use crate::measure::{Contender, Series, interleave};
use crate::peers::{OURS, find_program};
use crate::report::{Group, Limit, Report, Target, Unit};
use crate::timed_command::TimedCommand;

const ONE: &str = "one run";
const PARALLEL: &str = "parallel --pipe -k";
const PARALLEL_LARGE: &str = "parallel --pipe -k --block 10M";

/// Stages that take a core's time, with the program that each needs.
const COMPUTE: [(&str, &str); 6] = [
    ("grep", "grep -P '(7.*){3}4$'"),
    ("sed", "sed -E 's/([0-9]+)7/\\1x/g'"),
    ("awk", "awk '{print $2, length($0), toupper($3)}'"),
    ("jq", "jq -cR 'length'"),
    ("perl", "perl -ne 'print if /(7.*){3}4$/'"),
    (
        "python3",
        "python3 -c 'import sys\nfor line in sys.stdin: print(line.rstrip()[::-1])'",
    ),
];

/// Stages whose outputs are merged.
const MERGED: [&str; 5] = [
    "sort",
    "sort -k2,2nr",
    "uniq -c",
    "wc -w",
    "grep -cP '7.*7'",
];

/// Pipelines of many kinds for `run --workers auto`; `F` is the file.
const PIPELINES: [&str; 40] = [
    "cat F | wc -l",
    "cat F | grep 7 | wc -l",
    "cat F | sed s/7/x/ | wc -l",
    "cat F | sort | tail -n 1",
    "cat F | tr a-z A-Z | wc -c",
    "cat F | cut -d' ' -f2 | sort -n | uniq | wc -l",
    "cat F | awk '{print $2}' | wc -l",
    "cat F | perl -ne 'print if /9$/' | wc -l",
    "cat F | gzip -1 | wc -c",
    "cat F | head -n 100 | sort",
    "head -n 1000 F | sed s/1/2/ | wc -l",
    "cat F | rev | wc -c",
    "cat F | fold -w 20 | wc -l",
    "cat F | grep -v 7 | sed s/1/2/ | wc -l",
    "cat F | sha256sum",
    "cat F | sed 1d | wc -l",
    "cat F | awk '{s += $2} END {print s}'",
    "cat F | paste -s | wc -c",
    "cat F | nl | tail -n 1",
    "cat F | tac | head -n 1",
    "cat F | sort -u | wc -l",
    "cat F | uniq -c | wc -l",
    "cat F | grep -c 7",
    "cat F | grep -P '(7.*){2}' | wc -l",
    "seq 100000 | factor | wc -l",
    "seq 10 | sed s/1/2/",
    "cat F | sed -n '/77/p' | wc -l",
    "cat F | awk 'length($0) > 20' | sort -r | head -n 5",
    "cat F | tr -d 0-9 | wc -c",
    "cat F | cat | cat | wc -c",
    "cat F | expand | wc -c",
    "cat F | sed s/1/2/ | sed s/3/4/ | wc -c",
    "cat F | perl -pe 's/1/2/' | wc -c",
    "cat F | xz -0 | wc -c",
    "cat F | base64 | wc -c",
    "cat F | awk '{print length($0)}' | sort -n | uniq -c",
    "cat F | sort -k2,2n | wc -l",
    "cat F | grep 77 | awk '{print $1}' | wc -l",
    "sleep 0.1 | sed s/1/2/",
    "seq 300000 | sort -n | wc -l",
];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds of each comparison.
    #[arg(long, default_value = "5")]
    rounds: NonZeroUsize,
    /// Bytes of lines that go through `cat`; K, M and G count in powers of 1024.
    #[arg(long, default_value = "1G", value_parser = bytes)]
    size: u64,
    /// Bytes of lines that are computed on.
    #[arg(long, default_value = "100M", value_parser = bytes)]
    computed: u64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Report> {
    let mut report = Report::new("workers");
    let bash = find_program("bash").context("there is no `bash` on PATH")?;
    let directory = TempDir::new()?;
    let bench = Bench {
        bash,
        pipewright: executable::pipewright()?.display().to_string(),
        rounds: options.rounds,
    };
    let large = lines(directory.path(), "large", options.size)?;
    let copy = bench.moved(&mut report, &large)? / options.size as f64;
    std::fs::remove_file(&large)?;
    let small = lines(directory.path(), "small", options.computed)?;
    bench.computed(&mut report, &small, options.computed, copy)?;
    bench.chosen(&mut report, &small)?;
    Ok(report)
}

struct Bench {
    bash: PathBuf,
    pipewright: String,
    rounds: NonZeroUsize,
}

impl Bench {
    fn series(&self, texts: &[(&str, String)]) -> anyhow::Result<Vec<Series>> {
        let contender = |(name, text): &(&str, String)| {
            let mut command = TimedCommand::new(&self.bash, ["-c", text])?;
            Ok(Contender::new(*name, move || command.wall_time()))
        };
        let contenders: anyhow::Result<Vec<_>> = texts.iter().map(contender).collect();
        interleave(&mut contenders?, self.rounds)
    }

    /// Lines through two `cat`, in order.
    ///
    /// The answer is the seconds that the workers take for it.
    fn moved(&self, report: &mut Report, file: &Path) -> anyhow::Result<f64> {
        let (file, ours) = (file.display(), &self.pipewright);
        let mut texts = vec![
            (ONE, format!("cat {file} | cat >/dev/null")),
            (
                OURS,
                format!("cat {file} | {ours} workers -j 2 -- cat >/dev/null"),
            ),
        ];
        if find_program("parallel").is_some() {
            let parallel =
                |block: &str| format!("cat {file} | parallel --pipe -k -j2 {block} cat >/dev/null");
            texts.push((PARALLEL, parallel("")));
            texts.push((PARALLEL_LARGE, parallel("--block 10M")));
        } else {
            report.missing("GNU parallel: there is no `parallel` on PATH");
        }
        eprintln!("measuring lines through two cat");
        let group = Group::new(
            "lines through two cat, in order",
            Unit::Seconds,
            OURS,
            self.series(&texts)?,
        );
        for (other, limit) in [(PARALLEL, 10.0), (PARALLEL_LARGE, 2.0), (ONE, 0.8)] {
            report.target(Target::new(
                format!("times as fast as {other}"),
                Limit::AtLeast(limit),
                group.ratio(other, OURS).map(|ratio| ratio.median),
            ));
        }
        let ours = group.spread(OURS).context("there is no round")?.median;
        report.group(group);
        Ok(ours)
    }

    /// Seconds that the start and the end of a program take.
    fn start(&self) -> anyhow::Result<f64> {
        let mut command =
            TimedCommand::new(&self.bash, ["-c", "for i in {1..100}; do /bin/true; done"])?;
        Ok(command.wall_time()? / 100.0)
    }

    /// Stages that take a core's time, and those whose outputs are merged.
    fn computed(
        &self,
        report: &mut Report,
        file: &Path,
        size: u64,
        copy: f64,
    ) -> anyhow::Result<()> {
        let start = self.start()?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let compute = COMPUTE
            .iter()
            .map(|(program, stage)| (*program, *stage, 1.8));
        let merged = MERGED
            .iter()
            .map(|stage| (stage.split(' ').next().unwrap_or(stage), *stage, 1.6));
        for (program, stage, limit) in compute.chain(merged) {
            if find_program(program).is_none() {
                report.missing(format!("{stage}: there is no `{program}` on PATH"));
                continue;
            }
            eprintln!("measuring {stage}");
            let (file, ours) = (file.display(), &self.pipewright);
            let texts = [
                (ONE, format!("cat {file} | {stage} >/dev/null")),
                (
                    OURS,
                    format!(
                        "cat {file} | {ours} workers -j {cores} --assume-local -- {stage} >/dev/null"
                    ),
                ),
            ];
            // A merge is known by the class, which --assume-local would put aside.
            let texts = texts.map(|(name, text)| {
                let merged = MERGED.contains(&stage);
                (
                    name,
                    if merged {
                        text.replace(" --assume-local", "")
                    } else {
                        text
                    },
                )
            });
            let group = Group::new(stage, Unit::Seconds, OURS, self.series(&texts)?);
            report.target(Target::new(
                format!("{stage}: times as fast on {cores} cores"),
                Limit::AtLeast(limit * cores as f64 / 2.0),
                group.ratio(ONE, OURS).map(|ratio| ratio.median),
            ));
            if let Some(one) = group.spread(ONE) {
                let compute = one.median / size as f64;
                report.note(curve(
                    stage,
                    Costs {
                        start,
                        copy,
                        compute,
                    },
                ));
            }
            report.group(group);
        }
        Ok(())
    }

    /// `run --workers auto` beside `run`, on pipelines of many kinds.
    fn chosen(&self, report: &mut Report, file: &Path) -> anyhow::Result<()> {
        let mut ratios = Vec::new();
        for pipeline in PIPELINES {
            let text = pipeline
                .replace('F', &file.display().to_string())
                .replace('\'', "'\\''");
            let run =
                |options: &str| format!("{} run {options} '{text}' >/dev/null", self.pipewright);
            eprintln!("measuring {pipeline}");
            let texts = [(OURS, run("")), ("--workers auto", run("--workers auto"))];
            let group = Group::new(pipeline, Unit::Seconds, OURS, self.series(&texts)?);
            ratios.extend(
                group
                    .ratio(OURS, "--workers auto")
                    .map(|ratio| ratio.median),
            );
            report.group(group);
        }
        let least = ratios.iter().copied().reduce(f64::min);
        let mean = ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64;
        report.target(Target::new(
            format!(
                "--workers auto, the slowest of {}: times as fast",
                ratios.len()
            ),
            Limit::AtLeast(0.98),
            least,
        ));
        report.target(Target::new(
            "--workers auto, geometric mean: times as fast",
            Limit::AtLeast(1.0),
            Some(mean.exp()),
        ));
        Ok(())
    }
}

/// Writes a file of lines that differ.
fn lines(directory: &Path, name: &str, size: u64) -> anyhow::Result<PathBuf> {
    let path = directory.join(name);
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
    let (mut written, mut number) = (0, 1_u64);
    while written < size {
        let scattered = number.wrapping_mul(6_364_136_223_846_793_005) >> 32;
        let line = format!(
            "{number} {scattered} some words of line {}\n",
            scattered % 1000
        );
        file.write_all(line.as_bytes())?;
        written += line.len() as u64;
        number += 1;
    }
    file.into_inner()
        .map_err(|error| error.into_error())?
        .sync_data()?;
    Ok(path)
}
