//! `verdict`: what a pipeline would take without its bottleneck, foretold and tried.

use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use rustix::pipe::{SpliceFlags, splice};

use super::part::{Part, part};
use crate::executable;
use crate::measure::Spread;
use crate::report::{Limit, Report, Target};

/// A prediction is right if it lies this close to the truth.
const CLOSE: f64 = 0.2;

/// Pipelines with one slow stage each, at their start, middle and end. `$T` is a text of `$N` lines, `$Z` the same
/// packed by gzip.
const PIPELINES: [&[&str]; 16] = [
    &["cat $T", "gzip -6", "wc -c"],
    &["zcat $Z", "gzip -9", "wc -c"],
    &["zcat $Z", "xz -1", "wc -c"],
    &["cat $T", "sed -E 's/[0-9]+9/x/g'", "wc -c"],
    &["zcat $Z", "sed -E 's/[0-9]+9/x/g'", "gzip -1", "wc -c"],
    &["cat $T", "awk '{ s += $1 * 3; print s % 7 }'", "wc -l"],
    &["cat $T", "grep -E '([0-9])\\1\\1\\1'", "wc -l"],
    &["seq $N", "gzip -6", "wc -c"],
    &["zcat $Z", "bzip2 -1", "md5sum"],
    &["zcat $Z", "sed -E 's/[0-9]+9/x/g'", "sha256sum"],
    &[
        "zcat $Z",
        "awk '{ print $1 * 3, length }'",
        "gzip -1",
        "wc -c",
    ],
    &["cat $T", "tr 0-9 a-j", "bzip2 -1", "wc -c"],
    &["zcat $Z", "rev", "md5sum"],
    &["gzip -9 <$T", "sha256sum"],
    &["cat $T", "cut -c 2-", "xz -0"],
    &[
        "zcat $Z",
        "tr -d 5",
        "awk '{ n[$1 % 1000]++ } END { print n[7] }'",
    ],
];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Runs of each pipeline, with its bottleneck and without.
    #[arg(long, default_value = "5")]
    rounds: NonZeroUsize,
    /// Lines of the text.
    #[arg(long, default_value = "10000000")]
    lines: NonZeroUsize,
    /// Only a part of the pipelines: 2/4 is every fourth from the second on.
    #[arg(long, default_value = "1/1", value_parser = part)]
    part: Part,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Report> {
    let mut report = Report::new("verdict");
    let pipewright = executable::pipewright()?;
    let directory = tempfile::tempdir()?;
    let directory = directory.path();
    let make = format!("seq {} >text; gzip -k text", options.lines);
    finish(directory, Path::new("bash"), &["-c", &make])?;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    report.note(format!("load of the machine at the start: {}", load.trim()));

    let (mut told, mut right) = (0, 0);
    for stages in options.part.of(PIPELINES) {
        let stages: Vec<String> = stages
            .iter()
            .map(|stage| {
                let stage = stage.replace("$N", &options.lines.to_string());
                stage.replace("$T", "text").replace("$Z", "text.gz")
            })
            .collect();
        eprintln!("measuring {}", stages.join(" | "));
        match trial(directory, &pipewright, &stages, options.rounds)? {
            Trial::Nothing(sentence) => {
                report.note(format!("{}: {sentence}", stages.join(" | ")));
            }
            Trial::Foretold {
                stage,
                foretold,
                truth,
                limit,
            } => {
                told += 1;
                let off = foretold / truth - 1.0;
                right += u32::from(off.abs() <= CLOSE);
                eprintln!(
                    "  {foretold:.3} foretold, {truth:.3} in truth: {:+.0} %",
                    off * 100.0
                );
                report.note(format!(
                    "{}: without stage {stage} {:.3} of the time foretold, {truth:.3} in truth ({:+.0} %); {limit}",
                    stages.join(" | "),
                    foretold,
                    off * 100.0
                ));
            }
        }
    }
    report.note(format!(
        "{right} of {told} predictions within 20 % of the truth"
    ));
    report.target(Target::new(
        "predictions within 20 % of the truth",
        Limit::AtLeast(10.0),
        Some(f64::from(right)),
    ));
    Ok(report)
}

enum Trial {
    /// There was no prediction, and what was said instead.
    Nothing(String),
    /// Shares of the time, without the stage of this number.
    Foretold {
        stage: usize,
        foretold: f64,
        truth: f64,
        /// What was told last.
        limit: String,
    },
}

fn trial(
    directory: &Path,
    pipewright: &Path,
    stages: &[String],
    rounds: NonZeroUsize,
) -> anyhow::Result<Trial> {
    let run = |stages: &[String]| {
        let text = stages.join(" | ");
        let options = ["--json=run.json", "--summary=never", "--progress=never"];
        let arguments = [&["run"], &options[..], &[&text]].concat();
        finish(directory, pipewright, &arguments)?;
        let json = std::fs::read_to_string(directory.join("run.json"))?;
        let json: serde_json::Value = serde_json::from_str(&json)?;
        // The pipeline's own time, without that of the command around it.
        let seconds = json["wall_seconds"].as_f64().context("no wall_seconds")?;
        anyhow::Ok((seconds, json["verdict"].clone()))
    };
    let (_, verdict) = run(stages)?;
    let sentence = verdict["sentence"].as_str().unwrap_or("it was not watched");
    // "stage 2 (gzip -6) is the bottleneck: …"
    let number = |sentence: &str| {
        let rest = sentence.strip_prefix("stage ")?;
        rest.split(' ').next()?.parse::<usize>().ok()
    };
    let (Some(stage), true) = (number(sentence), verdict["prediction"].is_object()) else {
        return Ok(Trial::Nothing(sentence.to_owned()));
    };
    // The bytes that the stage wrote.
    let made = format!("{} >made", stages[..stage].join(" | "));
    finish(directory, Path::new("bash"), &["-c", &made])?;
    let mut without = stages.to_vec();
    let this = std::env::current_exe()?;
    without[stage - 1] = format!("{} {NO_WORK} {}", this.display(), u8::from(stage > 1));
    let (mut foretold, mut truth) = (Vec::new(), Vec::new());
    let mut limit = String::new();
    for _ in 0..rounds.get() {
        let (with, verdict) = run(stages)?;
        if let Some(share) = verdict["prediction"]["time_share"].as_f64()
            && number(verdict["sentence"].as_str().unwrap_or_default()) == Some(stage)
        {
            foretold.push(share);
            limit = verdict["prediction"]["sentence"].to_string();
        }
        let (without, _) = run(&without)?;
        truth.push(without / with);
    }
    ensure!(
        !foretold.is_empty(),
        "the bottleneck of {stages:?} is another each time"
    );
    Ok(Trial::Foretold {
        stage,
        foretold: Spread::of(&foretold).median,
        truth: Spread::of(&truth).median,
        limit,
    })
}

/// The first argument of a process that stands in for a stage.
const NO_WORK: &str = "stage-without-work";

/// Stands in for the stage that is left out: drops what it should read, where there is a stage before it,
/// and gives what that stage wrote, without a copy.
pub(super) fn dispatch() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, name, has_input] = arguments.as_slice()
        && name == NO_WORK
    {
        let done = stand_in(has_input == "1");
        std::process::exit(done.map_or(1, |()| 0));
    }
}

fn stand_in(has_input: bool) -> anyhow::Result<()> {
    const MOST: usize = 1 << 20;
    let null = std::fs::File::options().write(true).open("/dev/null")?;
    std::thread::scope(|scope| {
        if has_input {
            scope.spawn(|| {
                let splice = |()| {
                    splice(
                        std::io::stdin(),
                        None,
                        &null,
                        None,
                        MOST,
                        SpliceFlags::empty(),
                    )
                };
                while splice(()).is_ok_and(|moved| moved > 0) {}
            });
        }
        let made = std::fs::File::open("made")?;
        while rustix::fs::sendfile(std::io::stdout(), &made, None, MOST)? > 0 {}
        // The end of its output is seen at once.
        let _ = rustix::stdio::dup2_stdout(&null);
        anyhow::Ok(())
    })
}

/// Runs a program in the directory.
fn finish(directory: &Path, program: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(status.success(), "{arguments:?} ended with {status}");
    Ok(())
}
