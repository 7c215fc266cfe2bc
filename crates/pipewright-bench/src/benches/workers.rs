//! `workers`: one stage run several times, beside one run, beside GNU parallel
//! and beside PaSh's own blocks.
//!
//! Every contender is a command line that bash runs on the same file of lines.
//! The whole takes half an hour; `--only` and `--part` measure a slice of it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::TempDir;

use super::part::{Part, part};
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
const PASH: &str = "PaSh: r_split, r_wrap, r_merge";
const MOVED: &str = "lines through two cat, in order";

/// Stages that take a core's time, with the program that each needs.
const COMPUTE: [(&str, &str); 7] = [
    ("grep", "grep -E '([0-9])\\1\\1\\1'"),
    ("grep", "grep -P '(.*7.*){4}4$'"),
    ("sed", "sed -E 's/([0-9]+)7/\\1x/g'"),
    ("awk", "awk '{print $2, length($0), toupper($3)}'"),
    ("jq", "jq -cR 'length'"),
    ("perl", "perl -ne 'print if /(.*7.*){4}4$/'"),
    (
        "python3",
        // By its path: version managers put a script of their own before it, which starts slowly.
        "/usr/bin/python3 -c 'import sys\nfor line in sys.stdin: print(line.rstrip()[::-1])'",
    ),
];

/// Stages whose outputs are merged.
///
/// `sort` uses all cores by itself, unless it is told not to. Of the others these are forms that take
/// longer than a stream through a pipe.
const MERGED: [&str; 6] = [
    "sort --parallel=1",
    "sort --parallel=1 -k2,2nr",
    "grep -cP '(.*7.*){4}4$'",
    "uniq -c -i -f 1",
    "env LC_ALL=C.UTF-8 wc -w",
    "grep -cP '(7.*){3}4$'",
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
    /// Only comparisons whose stage or pipeline contains this text.
    #[arg(long)]
    only: Option<String>,
    /// Only a part of them: 2/4 is every fourth from the second on.
    #[arg(long, default_value = "1/1", value_parser = part)]
    part: Part,
    /// Only comparisons of these kinds.
    #[arg(long, value_delimiter = ',', default_value = "move,compute,merge,auto")]
    kinds: Vec<Kind>,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Lines through two `cat`.
    Move,
    /// Stages that take a core's time.
    Compute,
    /// Stages whose outputs are merged.
    Merge,
    /// `run --workers auto` beside `run`.
    Auto,
}

impl Options {
    /// Those of a list that are to be measured.
    fn chosen<'a, T>(
        &self,
        kind: Kind,
        all: impl IntoIterator<Item = T> + 'a,
        name: impl Fn(&T) -> &str + 'a,
    ) -> Vec<T> {
        let only = self.only.as_deref().unwrap_or_default();
        let named = all.into_iter().filter(|it| name(it).contains(only));
        let part = self.part.of(named);
        part.filter(|_| self.kinds.contains(&kind)).collect()
    }
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
    if !options.chosen(Kind::Move, [MOVED], |it| it).is_empty() {
        let large = lines(directory.path(), "large", options.size)?;
        bench.moved(&mut report, &large)?;
        std::fs::remove_file(&large)?;
    }
    let compute = COMPUTE.map(|(program, stage)| (program, stage, 1.8));
    let compute = options.chosen(Kind::Compute, compute, |it| it.1);
    let merged = MERGED.map(|stage| (stage.split(' ').next().unwrap_or(stage), stage, 1.6));
    let merged = options.chosen(Kind::Merge, merged, |it| it.1);
    let pipelines = options.chosen(Kind::Auto, PIPELINES, |it| it);
    if compute.is_empty() && merged.is_empty() && pipelines.is_empty() {
        return Ok(report);
    }
    let small = lines(directory.path(), "small", options.computed)?;
    if !compute.is_empty() || !merged.is_empty() {
        let copy = bench.copy(&small)?;
        for (program, stage, limit) in compute {
            bench.computed(
                &mut report,
                &small,
                "--assume-local",
                (program, stage, limit),
                copy,
            )?;
        }
        // A merge is known by the class, which --assume-local would put aside.
        for (program, stage, limit) in merged {
            bench.computed(&mut report, &small, "", (program, stage, limit), copy)?;
        }
    }
    if !pipelines.is_empty() {
        bench.chosen(&mut report, &small, &pipelines)?;
    }
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
    fn moved(&self, report: &mut Report, file: &Path) -> anyhow::Result<()> {
        let directory = file.parent().context("the file lies in a directory")?;
        let (file, ours) = (file.display(), &self.pipewright);
        let mut texts = vec![
            (ONE, format!("cat {file} | cat >/dev/null")),
            (
                OURS,
                format!("cat {file} | {ours} workers -j 2 -- cat >/dev/null"),
            ),
        ];
        match gnu_parallel() {
            Ok(()) => {
                let parallel = |block: &str| {
                    format!("cat {file} | parallel --pipe -k -j2 {block} cat >/dev/null")
                };
                texts.push((PARALLEL, parallel("")));
                texts.push((PARALLEL_LARGE, parallel("--block 10M")));
            }
            Err(why) => report.missing(why),
        }
        let tools = ["r_split", "r_wrap", "r_merge"];
        if tools.iter().all(|tool| find_program(tool).is_some()) {
            let directory = directory.display();
            texts.push((
                PASH,
                format!(
                    "cd {directory}; rm -f a b c d; mkfifo a b c d; \
                     cat {file} | r_split /dev/stdin 1000000 a b & \
                     r_wrap bash -c cat <a >c & r_wrap bash -c cat <b >d & \
                     r_merge c d >/dev/null"
                ),
            ));
        } else {
            report.missing(
                "PaSh: there are no r_split, r_wrap and r_merge on PATH; their C files are in the \
                 source package `pash` of PyPI, under src/pash/runtime",
            );
        }
        eprintln!("measuring {MOVED}");
        let group = Group::new(MOVED, Unit::Seconds, OURS, self.series(&texts)?);
        for (other, limit) in [(PARALLEL, 10.0), (PARALLEL_LARGE, 2.0), (ONE, 0.8)] {
            report.target(Target::new(
                format!("times as fast as {other}"),
                Limit::AtLeast(limit),
                group.ratio(other, OURS).map(|ratio| ratio.median),
            ));
        }
        report.group(group);
        Ok(())
    }

    /// Seconds a byte to hand on chunks.
    fn copy(&self, file: &Path) -> anyhow::Result<f64> {
        let size = file.metadata()?.len();
        let text = format!(
            "cat {} | {} workers -j 2 -- cat >/dev/null",
            file.display(),
            self.pipewright
        );
        Ok(self.series(&[(OURS, text)])?[0].spread().median / size as f64)
    }

    /// A stage that takes a core's time, by one run and by workers.
    fn computed(
        &self,
        report: &mut Report,
        file: &Path,
        option: &str,
        (program, stage, limit): (&str, &str, f64),
        copy: f64,
    ) -> anyhow::Result<()> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        if find_program(program).is_none() {
            report.missing(format!("{stage}: there is no `{program}` on PATH"));
            return Ok(());
        }
        eprintln!("measuring {stage}");
        let size = file.metadata()?.len();
        let (file, ours) = (file.display(), &self.pipewright);
        // grep ends at the first match where it sees that its output goes to /dev/null.
        let texts = [
            (ONE, format!("cat {file} | {stage} | cat >/dev/null")),
            (
                OURS,
                format!(
                    "cat {file} | {ours} workers -j {cores} {option} -- {stage} | cat >/dev/null"
                ),
            ),
        ];
        let started = format!("for i in {{1..20}}; do {stage} </dev/null >/dev/null; done; true");
        let start = TimedCommand::new(&self.bash, ["-c", &started])?.wall_time()? / 20.0;
        let group = Group::new(stage, Unit::Seconds, OURS, self.series(&texts)?);
        let faster = group.ratio(ONE, OURS).map(|ratio| ratio.median);
        eprintln!("  {:.2} times as fast", faster.unwrap_or(f64::NAN));
        report.target(Target::new(
            format!("{stage}: times as fast on {cores} cores"),
            Limit::AtLeast(limit * cores as f64 / 2.0),
            faster,
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
        Ok(())
    }

    /// `run --workers auto` beside `run`, on pipelines of many kinds.
    fn chosen(&self, report: &mut Report, file: &Path, pipelines: &[&str]) -> anyhow::Result<()> {
        let mut ratios = Vec::new();
        for pipeline in pipelines {
            let text = pipeline
                .replace('F', &file.display().to_string())
                .replace('\'', "'\\''");
            let run =
                |options: &str| format!("{} run {options} '{text}' >/dev/null", self.pipewright);
            eprintln!("measuring {pipeline}");
            let texts = [(OURS, run("")), ("--workers auto", run("--workers auto"))];
            let group = Group::new(*pipeline, Unit::Seconds, OURS, self.series(&texts)?);
            let ratio = group.ratio(OURS, "--workers auto");
            let ratio = ratio.map_or(f64::NAN, |ratio| ratio.median);
            eprintln!("  {ratio:.3} times as fast");
            ratios.push(ratio);
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

/// Tells whether `parallel` is GNU parallel; moreutils has one of the same name that does other things.
pub(super) fn gnu_parallel() -> Result<(), String> {
    let path = find_program("parallel").ok_or("GNU parallel: there is no `parallel` on PATH")?;
    let output = std::process::Command::new(&path).arg("--version").output();
    let version = output.map(|output| output.stdout).unwrap_or_default();
    if version.starts_with(b"GNU parallel") {
        return Ok(());
    }
    Err(format!(
        "GNU parallel: {} is another program of this name, that of moreutils perhaps",
        path.display()
    ))
}

/// Writes a file of lines that differ.
pub(crate) fn lines(directory: &Path, name: &str, size: u64) -> anyhow::Result<PathBuf> {
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
