//! A comparison as JSON, CSV and Markdown: fields and columns of hyperfine under the names that it gives
//! them, in seconds, and some of our own, named as in the JSON of a run. Pure.

use std::path::Path;

use serde::Serialize;

use super::json::values::{VERSION, share};
use crate::comparison::{Comparison, Contender, Outputs, Run};
use crate::view::comparison::{conclusions, failures, relative};

/// A form, chosen by the end of a file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Csv,
    Markdown,
}

impl Format {
    /// # Errors
    ///
    /// The name has another end, or none.
    pub(crate) fn of(path: &Path) -> anyhow::Result<Self> {
        match path.extension().and_then(|it| it.to_str()) {
            Some("json") => Ok(Self::Json),
            Some("csv") => Ok(Self::Csv),
            Some("md") => Ok(Self::Markdown),
            _ => anyhow::bail!(
                "--export takes the form from the file's name, which has to end in .json, .csv or .md: {}",
                path.display()
            ),
        }
    }

    /// # Errors
    ///
    /// JSON could not be made.
    pub(crate) fn text(self, comparison: &Comparison) -> serde_json::Result<String> {
        Ok(match self {
            Self::Json => json(comparison)? + "\n",
            Self::Csv => csv(comparison),
            Self::Markdown => markdown(comparison),
        })
    }
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    version: u32,
    rounds: usize,
    results: Vec<Item<'a>>,
    /// The number of the fastest pipeline.
    fastest: Option<usize>,
    outputs: &'static str,
    conclusions: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Item<'a> {
    number: usize,
    command: &'a str,
    /// These are in seconds, and null where no run was completed.
    mean: Option<f64>,
    /// Null of a single run, too.
    stddev: Option<f64>,
    median: Option<f64>,
    user: Option<f64>,
    system: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
    times: Vec<f64>,
    exit_codes: Vec<u8>,
    failed_runs: usize,
    /// Its time over that of the fastest, pair by pair; null of the fastest itself.
    relative: Option<Relative>,
    /// Of each run.
    output_bytes: Vec<u64>,
    output_deterministic: bool,
    /// Why a run failed, warm-ups among them.
    failures: Option<String>,
    stages: Vec<Stage<'a>>,
    /// Null: no run was long enough to be judged, or there is but one stage.
    bottleneck: Option<Bottleneck>,
}

#[derive(Debug, Serialize)]
struct Relative {
    factor: f64,
    stddev: Option<f64>,
    /// It hardly is 1.
    clear: bool,
}

#[derive(Debug, Serialize)]
struct Stage<'a> {
    number: usize,
    text: &'a str,
    cpu_seconds: f64,
    /// Null: no run was long enough to be judged.
    shares: Option<Shares>,
}

/// Of the time, on average.
#[derive(Debug, Serialize)]
struct Shares {
    waiting_for_input: f64,
    blocked_on_output: f64,
}

#[derive(Debug, Serialize)]
struct Bottleneck {
    /// Null: the stages are about equally fast, or nobody can tell.
    stage: Option<usize>,
    sentence: String,
    advice: Option<String>,
    runs: usize,
    judged_runs: usize,
}

fn json(comparison: &Comparison) -> serde_json::Result<String> {
    let fastest = comparison.fastest();
    let contenders = comparison.contenders.iter().enumerate();
    let results = contenders.map(|(index, it)| item(comparison, index, it));
    serde_json::to_string_pretty(&Document {
        version: VERSION,
        rounds: comparison.rounds,
        results: results.collect(),
        fastest: fastest.map(|index| index + 1),
        outputs: match comparison.outputs() {
            Outputs::Equal(_) => "equal",
            Outputs::Differ => "differ",
            Outputs::NotDeterministic(_) => "not_deterministic",
            Outputs::Unknown => "unknown",
        },
        conclusions: conclusions(comparison)
            .into_iter()
            .map(|(_, sentence)| sentence)
            .collect(),
    })
}

fn item<'a>(comparison: &Comparison, index: usize, contender: &'a Contender) -> Item<'a> {
    let summary = contender.summary();
    let cpu = contender.cpu();
    let is_fastest = comparison.fastest() == Some(index);
    let ratio = comparison.ratio(index).filter(|_| !is_fastest);
    let digests = contender.digests();
    let first = contender.runs.first();
    let texts = first.map_or(&[][..], |run| &run.outcome.stages);
    let means = contender.stages();
    let stages = texts.iter().zip(means).zip(1..);
    Item {
        number: index + 1,
        command: &contender.text,
        mean: summary.map(|it| it.mean),
        stddev: summary.and_then(|it| it.deviation),
        median: summary.map(|it| it.median),
        user: cpu.map(|(user, _)| user),
        system: cpu.map(|(_, system)| system),
        min: summary.map(|it| it.min),
        max: summary.map(|it| it.max),
        times: contender.times(),
        exit_codes: contender
            .runs
            .iter()
            .map(|run| run.outcome.exit_code())
            .collect(),
        failed_runs: failed_runs(contender),
        relative: ratio.map(|ratio| Relative {
            factor: ratio.factor,
            stddev: ratio.deviation,
            clear: ratio.clear,
        }),
        output_bytes: contender.runs.iter().map(|run| run.output.bytes).collect(),
        output_deterministic: digests.windows(2).all(|pair| pair[0] == pair[1]),
        failures: failures(contender),
        stages: stages
            .map(|((stage, means), number)| Stage {
                number,
                text: &stage.text,
                cpu_seconds: means.cpu,
                shares: means.waiting_for_input.zip(means.blocked_on_output).map(
                    |(input, output)| Shares {
                        waiting_for_input: share(input),
                        blocked_on_output: share(output),
                    },
                ),
            })
            .collect(),
        bottleneck: contender.conclusion().map(|it| Bottleneck {
            stage: it.bottleneck.map(|index| index + 1),
            sentence: it.sentence,
            advice: it.advice,
            runs: it.runs,
            judged_runs: it.judged,
        }),
    }
}

/// Runs that were measured, and failed.
fn failed_runs(contender: &Contender) -> usize {
    let failed = |run: &&Run| run.outcome.exit_code() != 0;
    contender.runs.iter().filter(failed).count()
}

/// The columns of hyperfine, and some more.
fn csv(comparison: &Comparison) -> String {
    let mut text = "command,mean,stddev,median,user,system,min,max,number,failed_runs,\
                    relative_factor,relative_stddev,bottleneck_stage\n"
        .to_owned();
    for (index, contender) in comparison.contenders.iter().enumerate() {
        let summary = contender.summary();
        let cpu = contender.cpu();
        let figures = [
            summary.map(|it| it.mean),
            summary.and_then(|it| it.deviation),
            summary.map(|it| it.median),
            cpu.map(|(user, _)| user),
            cpu.map(|(_, system)| system),
            summary.map(|it| it.min),
            summary.map(|it| it.max),
        ];
        let is_fastest = comparison.fastest() == Some(index);
        let ratio = comparison.ratio(index).filter(|_| !is_fastest);
        let bottleneck = contender.conclusion().and_then(|it| it.bottleneck);
        let figure = |figure: Option<f64>| figure.map_or_else(String::new, |it| it.to_string());
        text += &quoted(&contender.text);
        for value in figures {
            text += ",";
            text += &figure(value);
        }
        text += &format!(
            ",{},{},{},{},{}\n",
            index + 1,
            failed_runs(contender),
            figure(ratio.map(|it| it.factor)),
            figure(ratio.and_then(|it| it.deviation)),
            bottleneck.map_or_else(String::new, |index| (index + 1).to_string()),
        );
    }
    text
}

/// A field as RFC 4180 has it.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

/// The table of hyperfine, and the conclusions below it.
fn markdown(comparison: &Comparison) -> String {
    let summaries: Vec<_> = comparison
        .contenders
        .iter()
        .map(Contender::summary)
        .collect();
    let longest = summaries.iter().flatten().map(|it| it.mean);
    let (unit, factor) = if longest.fold(0.0, f64::max) < 1.0 {
        ("ms", 1e3)
    } else {
        ("s", 1.0)
    };
    let mut text = format!(
        "| Command | Mean [{unit}] | Min [{unit}] | Max [{unit}] | Relative |\n\
         |:---|---:|---:|---:|---:|\n"
    );
    let digits = if unit == "ms" { 1 } else { 3 };
    let figure = |value: f64| format!("{:.digits$}", value * factor);
    for (index, (contender, summary)) in comparison.contenders.iter().zip(summaries).enumerate() {
        let command = contender.name.replace('|', "\\|");
        let Some(summary) = summary else {
            text += &format!("| `{command}` | | | | |\n");
            continue;
        };
        let deviation = summary.deviation.map(|it| format!(" ± {}", figure(it)));
        text += &format!(
            "| `{command}` | {}{} | {} | {} | {} |\n",
            figure(summary.mean),
            deviation.unwrap_or_default(),
            figure(summary.min),
            figure(summary.max),
            relative(comparison, index).unwrap_or_default(),
        );
    }
    text += "\n";
    for (contender, number) in comparison.contenders.iter().zip(1..) {
        if let Some(told) = failures(contender) {
            text += &format!("- pipeline {number} {told}\n");
        }
        if let Some(it) = contender.conclusion() {
            text += &format!("- pipeline {number}: {}\n", it.sentence);
        }
    }
    for (_, sentence) in conclusions(comparison) {
        text += &format!("- {sentence}\n");
    }
    text
}
