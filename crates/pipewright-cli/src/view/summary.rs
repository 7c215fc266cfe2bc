//! The summary at the end of a run: one line per stage, the verdict below.

use std::fmt;
use std::time::Duration;

use pipewright::StageEnd;
use pipewright_observe::verdict::{Finding, Phase};
use signal_hook::consts::SIGINT;

use super::spool;
use super::style::Palette;
use super::text;
use super::units::{self, percent, seconds, size};
use crate::by_ssh;
use crate::missing;
use crate::outcome::{Observed, Outcome, Stage, Whole, behind};

/// The summary of a run, for a terminal of so many columns.
#[derive(Debug)]
pub(crate) struct Summary<'a> {
    pub(crate) outcome: &'a Outcome,
    pub(crate) palette: Palette,
    pub(crate) width: usize,
    pub(crate) verbose: bool,
}

/// The summary of a pipeline that others have started: how it ended is theirs to know.
#[derive(Debug)]
pub(crate) struct OfOthers<'a> {
    pub(crate) observed: &'a Observed,
    pub(crate) palette: Palette,
    pub(crate) width: usize,
}

/// Columns that a stage's text gets before any figure is shown.
const NAME_WIDTH: usize = 12;

/// The same of a stage in somebody else's pipeline, at most.
const LONGEST_NAME: usize = 44;

/// A figure of every stage, with the space to its left.
struct Column {
    head: String,
    cells: Vec<String>,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stages = &self.outcome.stages;
        let digits = self
            .outcome
            .number(stages.len().max(1) - 1)
            .to_string()
            .len();
        let mut ends: Vec<String> = stages.iter().map(Stage::ended).collect();
        if 2 + digits + 2 + NAME_WIDTH + 2 + widest(ends.iter(), "ended") > self.width {
            // Whole in one word, before the terminal breaks it anywhere.
            ends.iter_mut().for_each(|end| *end = in_a_word(end));
        }
        let end_width = widest(ends.iter(), "ended");
        // Number, name, end; then what there is room for beside a name that can be recognised.
        let mut taken = 2 + digits + 2 + 2 + end_width;
        let mut columns = self.columns();
        columns.reverse();
        columns.retain(|column| {
            let wide = text::width(&column.head);
            let fits = taken + wide + NAME_WIDTH <= self.width;
            taken += if fits { wide } else { 0 };
            fits
        });
        columns.reverse();
        let room = self.width.saturating_sub(taken).max("stage".len());
        let name_width = widest(stages.iter().map(|stage| &stage.name), "stage").min(room);

        let heads: String = columns.iter().map(|column| &column.head[..]).collect();
        let head = format!(
            "  {:digits$}  {}  {:<end_width$}{heads}",
            "",
            text::padded("stage", name_width),
            "ended",
        );
        writeln!(f, "{}", self.palette.faint(head))?;
        for (index, (stage, end)) in stages.iter().zip(ends).enumerate() {
            let name = text::shortened(&stage.name, name_width);
            let name = self.palette.bold(text::padded(&name, name_width));
            let end = format!("{end:<end_width$}");
            let end = match &stage.end {
                StageEnd::Exited(0) => self.palette.good(end),
                StageEnd::ClosedEarly => self.palette.faint(end),
                _ if stage.forgiven => self.palette.faint(end),
                _ => self.palette.bad(end),
            };
            let cells = columns.iter().map(|column| &column.cells[index][..]);
            let cells: String = cells.collect();
            let number = self.outcome.number(index);
            writeln!(f, "  {number:>digits$}  {name}  {end}{cells}")?;
            if self.verbose {
                let details = self.palette.faint(self.details(index));
                writeln!(f, "  {:digits$}  {details}", "")?;
            }
        }
        self.write_end(f)?;
        self.write_finding(f)
    }
}

impl Summary<'_> {
    /// All that can be shown; what matters most comes last.
    fn columns(&self) -> Vec<Column> {
        let stages = &self.outcome.stages;
        let time = |head: &str, of: fn(&Stage) -> Duration| Column {
            head: format!("  {head:>9}"),
            cells: stages
                .iter()
                .map(|stage| format!("  {:>9}", seconds(of(stage))))
                .collect(),
        };
        let mut columns = vec![
            time("wall", |stage| stage.wall),
            time("cpu", |stage| stage.usage.cpu()),
        ];
        let observed = self.outcome.observed.as_ref();
        columns.extend(observed.map(|observed| {
            Column {
                head: OBSERVED_HEAD.to_owned(),
                cells: (0..stages.len())
                    .map(|index| observed_cells(observed, index))
                    .collect(),
            }
        }));
        columns
    }

    /// The start of a stage, and the pipe behind it.
    fn details(&self, index: usize) -> String {
        let stage = &self.outcome.stages[index];
        let start = stage.shell.as_ref().map_or_else(
            || "run directly".to_owned(),
            |shell| format!("run by {}", text::line(shell)),
        );
        let pipe = self.outcome.pipes.get(index).map(|pipe| {
            let too = if pipe.stderr_too { ", stderr too" } else { "" };
            let capacity = size(pipe.capacity as f64);
            format!("; {capacity} pipe to the next stage{too}")
        });
        let error = match &stage.end {
            StageEnd::NotStarted(error) => Some(format!("; {}", text::line(&error.to_string()))),
            _ => None,
        };
        start + &pipe.unwrap_or_default() + &error.unwrap_or_default()
    }

    /// Somebody at the keyboard has ended it: that is no failure of a stage.
    fn is_interrupted(&self) -> bool {
        self.outcome.signal == Some(SIGINT)
    }

    /// Writes the end of the run, and advice where there is any.
    fn write_end(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = self.outcome;
        let wall = seconds(outcome.wall);
        let failed = outcome.failed.map(|index| (index, &outcome.stages[index]));
        match (outcome.timed_out, failed) {
            _ if self.is_interrupted() => {
                write!(f, "  interrupted after {}", self.palette.bold(wall))?;
            }
            (Some(limit), _) => {
                let limit = seconds(limit);
                write!(
                    f,
                    "  {}",
                    self.palette.bad(format!("timed out after {limit}"))
                )?;
            }
            (None, None) => {
                write!(
                    f,
                    "  {} in {}",
                    self.palette.good("ok"),
                    self.palette.bold(wall)
                )?;
            }
            (None, Some((index, stage))) => {
                let reason = text::line(&stage.reason());
                let failed = match &outcome.whole {
                    Some(Whole {
                        status: Some(status),
                        ..
                    }) => format!("failed: status {status}"),
                    Some(_) => format!("failed: {reason}"),
                    None => format!("stage {} failed: {reason}", outcome.number(index)),
                };
                write!(f, "  {} in {wall}", self.palette.bad(failed))?;
            }
        }
        if outcome.inverted {
            write!(f, ", inverted by !: status {}", outcome.exit_code())?;
        }
        writeln!(f)?;
        self.write_whole(f)?;
        for (stage, number) in outcome.stages.iter().zip(outcome.number(0)..) {
            if let Some(restarts) = stage.restarts.filter(|restarts| *restarts > 0) {
                let times = match restarts {
                    1 => "once".to_owned(),
                    restarts => format!("{restarts} times"),
                };
                let told = format!("stage {number} was started again {times}");
                writeln!(f, "  {}", self.palette.faint(told))?;
            }
            if let Some(workers) = &stage.workers {
                let told = format!("stage {number} ran {}", text::line(&workers.to_string()));
                writeln!(f, "  {}", self.palette.faint(told))?;
            }
            if let Some(host) = &stage.on_host {
                let told = format!("stage {number} ran {}", text::line(&host.to_string()));
                writeln!(f, "  {}", self.palette.faint(told))?;
            }
            if let Some(host) = by_ssh::host(&stage.text) {
                let told = format!(
                    "stage {number} ran by ssh: `pipewright on {host} -- COMMAND` would go on after a broken link"
                );
                writeln!(f, "  {}", self.palette.faint(told))?;
            }
        }
        let failed = failed.filter(|_| !self.is_interrupted());
        match failed.and_then(|(_, stage)| advice(stage)) {
            Some(advice) => {
                let advice = text::wrapped(&advice, self.width);
                writeln!(f, "{}", self.palette.warning(advice))
            }
            None => Ok(()),
        }
    }

    /// Writes that the text was not cut, and what is known of its stages.
    fn write_whole(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(whole) = &self.outcome.whole else {
            return Ok(());
        };
        if !whole.statuses.is_empty() {
            let statuses: Vec<String> = whole.statuses.iter().map(u8::to_string).collect();
            writeln!(f, "  statuses of its stages: {}", statuses.join(" "))?;
        }
        let shell = self.outcome.stages[0].shell.as_deref().unwrap_or("a shell");
        let told = format!("run as a whole by {}: {}", text::line(shell), whole.reason);
        writeln!(f, "  {}", self.palette.faint(told))?;
        for (observed, number) in whole.pipelines.iter().zip(1..) {
            let stages = &observed.layout.stages;
            let names = stages.iter().map(|stage| text::line(&stage.command));
            let names = names.collect::<Vec<_>>().join(" | ");
            let seconds = units::seconds(Duration::from_secs_f64(observed.verdict.seconds));
            let head = format!("pipeline {number}, watched for {seconds}: ");
            let room = self
                .width
                .saturating_sub(text::width(&head) + 2)
                .max(NAME_WIDTH);
            writeln!(
                f,
                "  {}{}",
                self.palette.faint(head),
                text::shortened(&names, room)
            )?;
            let of_others = OfOthers {
                observed,
                palette: self.palette,
                width: self.width,
            };
            write!(f, "{of_others}")?;
        }
        match whole.hint {
            Some(hint) => writeln!(f, "  {}", self.palette.warning(hint)),
            None => Ok(()),
        }
    }

    /// Writes the stage that the others waited for, and what can be done.
    fn write_finding(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = self.outcome;
        match &outcome.observed {
            // Who leaves off wants no advice.
            _ if self.is_interrupted() => Ok(()),
            // Nobody could have waited for the only stage; and after a failure it is no news that
            // there was little to see.
            Some(observed)
                if outcome.stages.len() > 1
                    && (outcome.failed.is_none()
                        || observed.verdict.finding != Finding::TooShort) =>
            {
                write_finding(f, observed, self.palette, self.width)?;
                match &outcome.workers_advice {
                    Some(advice) => {
                        let advice = text::wrapped(&text::line(advice), self.width);
                        writeln!(f, "{}", self.palette.warning(advice))
                    }
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for OfOthers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stages = &self.observed.layout.stages;
        let names = stages.iter().map(|stage| text::line(&stage.command));
        // Number and CPU time, and what was observed.
        let (always, observed) = (16, text::width(OBSERVED_HEAD));
        let is_wide = self.width >= always + NAME_WIDTH + observed;
        let taken = always + if is_wide { observed } else { 0 };
        let room = self
            .width
            .saturating_sub(taken)
            .clamp(NAME_WIDTH, LONGEST_NAME);
        let names: Vec<String> = names.map(|name| text::shortened(&name, room)).collect();
        let width = widest(names.iter(), "stage");
        let head = format!(
            "     {}  {:>9}{}",
            text::padded("stage", width),
            "cpu",
            if is_wide { OBSERVED_HEAD } else { "" },
        );
        writeln!(f, "{}", self.palette.faint(head))?;
        for (index, name) in names.iter().enumerate() {
            let figures = self.observed.figures.as_ref();
            let cpu = figures.and_then(|figures| Some(figures.stages.get(index)?.cpu_time));
            writeln!(
                f,
                "{:>3}  {}  {:>9}{}",
                index + 1,
                self.palette.bold(text::padded(name, width)),
                cpu.map_or_else(String::new, seconds),
                Some(observed_cells(self.observed, index))
                    .filter(|_| is_wide)
                    .unwrap_or_default(),
            )?;
        }
        write_finding(f, self.observed, self.palette, self.width)
    }
}

/// An end where there is hardly any room.
fn in_a_word(end: &str) -> String {
    let word = end.strip_prefix("killed by ").unwrap_or(end);
    let word = word.strip_suffix(", forgiven").unwrap_or(word);
    match word {
        "killed for memory" => "memory",
        "closed early" => "closed",
        word => word,
    }
    .to_owned()
}

/// Columns of the widest of these texts and the head above them.
fn widest<'a>(texts: impl Iterator<Item = &'a String>, head: &str) -> usize {
    texts
        .map(|it| text::width(it))
        .max()
        .unwrap_or(0)
        .max(head.len())
}

/// Above [`observed_cells`].
const OBSERVED_HEAD: &str = "  wait in  wait out        bytes";

/// The shares of time in which a stage waited for its neighbours, and the bytes it handed on.
fn observed_cells(observed: &Observed, index: usize) -> String {
    let shares = observed.verdict.stages.get(index);
    let share = |share: Option<f64>| share.map_or_else(String::new, percent);
    let bytes = observed
        .bytes_after(index)
        .map_or_else(String::new, |bytes| format!("≈ {}", size(bytes as f64)));
    format!(
        "  {:>7}  {:>8}  {bytes:>11}",
        share(shares.map(|shares| shares.waiting_for_input)),
        share(shares.map(|shares| shares.blocked_on_output)),
    )
}

/// Writes the verdict's sentence, what it is worth, and its advice.
fn write_finding(
    f: &mut fmt::Formatter<'_>,
    observed: &Observed,
    palette: Palette,
    width: usize,
) -> fmt::Result {
    let verdict = &behind(observed.verdict.clone(), observed.before);
    let wrapped = |sentence: &str| text::wrapped(&text::line(sentence), width);
    writeln!(f, "{}", wrapped(&verdict.sentence()))?;
    if let Some(prediction) = &verdict.prediction {
        writeln!(f, "{}", wrapped(&prediction.sentence()))?;
    }
    if !verdict.phases.is_empty() {
        let phases = Phase::sentence(&verdict.phases);
        let sentence = format!("the bottleneck moved: {phases}");
        writeln!(f, "{}", wrapped(&sentence))?;
    }
    for spool in &verdict.spools {
        writeln!(f, "{}", palette.faint(wrapped(&spool::told(spool))))?;
        if let Some(sentence) = spool.sentence() {
            writeln!(f, "{}", wrapped(&sentence))?;
        }
    }
    match verdict.advice() {
        Some(advice) => writeln!(f, "{}", palette.warning(wrapped(&advice))),
        None => Ok(()),
    }
}

/// Advice about a stage that failed.
fn advice(stage: &Stage) -> Option<String> {
    let advice = match &stage.end {
        _ if stage.missing_command().is_some() => {
            return stage.missing_command().map(missing::advice);
        }
        _ if stage.reader_gone => Some(
            "some programs call it a failure that their reader has gone; --forgive ignores that",
        ),
        _ if stage.killed_for_memory => {
            Some("its memory limit was reached (its cgroup's, or the machine's); see dmesg")
        }
        StageEnd::Signaled { signal: 9, .. } => Some(
            "SIGKILL came from kill -9, a supervisor, or the kernel when memory ran out (see dmesg)",
        ),
        StageEnd::Signaled { signal: 13, .. } => {
            Some("the last stage's own reader, to the right of pipewright, had finished")
        }
        _ => None,
    };
    advice.map(str::to_owned)
}
