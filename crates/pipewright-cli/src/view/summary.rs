//! The summary at the end of a run: a line a stage, the verdict under it.

use std::fmt::Write;
use std::time::Duration;

use pipewright::{PipelineStatus, StageEnd, StageStatus};

use super::live::size;
use super::style::Palette;
use super::text;
use crate::commands::run::{Report, Seen};
use crate::shell::Start;

/// The whole summary. `width` is the terminal's, in columns.
pub(crate) fn summary(
    report: &Report<'_>,
    palette: Palette,
    width: usize,
    verbose: bool,
) -> String {
    let mut told = String::new();
    let stages = report.status.stages();
    let digits = stages.len().to_string().len();
    let names: Vec<String> = report
        .script
        .stages
        .iter()
        .map(|stage| text::line(stage.text.trim_end()))
        .collect();
    let ends: Vec<String> = stages.iter().map(|stage| end(&stage.end)).collect();
    let widest = |texts: &[String]| texts.iter().map(|it| text::width(it)).max().unwrap_or(0);
    let end_width = widest(&ends).max("ended".len());
    // Number, name, end; then what there is room for beside a name that can be recognised.
    let mut taken = 2 + digits + 2 + 2 + end_width;
    let mut columns = columns(report);
    columns.retain(|column| {
        let wide = text::width(&column.head);
        let fits = taken + wide + NAME_WIDTH <= width;
        taken += if fits { wide } else { 0 };
        fits
    });
    let name_width = widest(&names)
        .max("stage".len())
        .min(width.saturating_sub(taken).max("stage".len()));

    let heads: String = columns.iter().map(|column| &column.head[..]).collect();
    let head = format!(
        "  {:digits$}  {}  {:<end_width$}{heads}",
        "",
        text::padded("stage", name_width),
        "ended",
    );
    // Writing to a string does not fail.
    let _ = writeln!(told, "{}", palette.faint(head));
    for (index, ((stage, name), end)) in stages.iter().zip(&names).zip(&ends).enumerate() {
        let name = text::shortened(name, name_width);
        let end = format!("{end:<end_width$}");
        let end = match &stage.end {
            StageEnd::Exited(0) => palette.good(end),
            StageEnd::ClosedEarly => palette.faint(end),
            _ => palette.bad(end),
        };
        let _ = writeln!(
            told,
            "  {:>digits$}  {}  {end}{}",
            index + 1,
            palette.bold(text::padded(&name, name_width)),
            columns
                .iter()
                .map(|column| &column.cells[index][..])
                .collect::<String>(),
        );
        if verbose {
            let _ = writeln!(
                told,
                "  {:>digits$}  {}",
                "",
                palette.faint(details(report, index))
            );
        }
    }
    told + &verdict(report, palette) + &bottleneck(report, palette)
}

/// Columns that a stage's text gets before any figure is shown.
const NAME_WIDTH: usize = 12;

/// Figures of every stage, one below the other, each with the space to its left.
struct Column {
    head: String,
    cells: Vec<String>,
}

/// All that can be shown; what matters most comes first.
fn columns(report: &Report<'_>) -> Vec<Column> {
    let stages = report.status.stages();
    let time = |head: &str, of: fn(&StageStatus) -> Duration| Column {
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
    columns.extend(report.seen.as_ref().map(|seen| {
        Column {
            head: SEEN_HEAD.to_owned(),
            cells: (0..stages.len())
                .map(|index| seen_columns(seen, index))
                .collect(),
        }
    }));
    columns
}

/// Above [`seen_columns`].
const SEEN_HEAD: &str = "  wait in  wait out        bytes";

/// The shares of time in which a stage waited for its neighbours, and the bytes it handed on.
fn seen_columns(seen: &Seen, index: usize) -> String {
    let shares = seen.verdict.stages.get(index);
    let percent = |share: Option<f64>| {
        share.map_or_else(String::new, |share| format!("{:.0} %", share * 100.0))
    };
    let bytes = seen
        .bytes_after(index)
        .map_or_else(String::new, |bytes| format!("≈ {}", size(bytes as f64)));
    format!(
        "  {:>7}  {:>8}  {bytes:>11}",
        percent(shares.map(|shares| shares.waiting_for_input)),
        percent(shares.map(|shares| shares.blocked_on_output)),
    )
}

/// Which stage the others waited for, and what can be done.
fn bottleneck(report: &Report<'_>, palette: Palette) -> String {
    let Some(seen) = &report.seen else {
        return String::new();
    };
    if report.status.stages().len() < 2 {
        return String::new(); // nobody could have waited for it
    }
    let advice = seen.verdict.advice().map_or_else(String::new, |advice| {
        format!("  {}\n", palette.warning(text::line(&advice)))
    });
    format!("  {}\n{advice}", text::line(&seen.verdict.sentence()))
}

/// The summary of a pipeline that others have started: how it ended is theirs to know.
pub(crate) fn of_others(names: &[String], seen: &Seen, palette: Palette) -> String {
    let mut told = String::new();
    let names: Vec<String> = names
        .iter()
        .map(|name| text::shortened(&text::line(name), 44))
        .collect();
    let width = names
        .iter()
        .map(|name| text::width(name))
        .max()
        .unwrap_or(0)
        .max(5);
    let head = format!(
        "     {}  {:>9}{SEEN_HEAD}",
        text::padded("stage", width),
        "cpu"
    );
    // Writing to a string does not fail.
    let _ = writeln!(told, "{}", palette.faint(head));
    for (index, name) in names.iter().enumerate() {
        let figures = seen.figures.as_ref();
        let cpu = figures.and_then(|figures| Some(figures.stages.get(index)?.cpu_time));
        let _ = writeln!(
            told,
            "{:>3}  {}  {:>9}{}",
            index + 1,
            palette.bold(text::padded(name, width)),
            cpu.map_or_else(String::new, seconds),
            seen_columns(seen, index),
        );
    }
    let _ = writeln!(told, "  {}", text::line(&seen.verdict.sentence()));
    if let Some(advice) = seen.verdict.advice() {
        let _ = writeln!(told, "  {}", palette.warning(text::line(&advice)));
    }
    told
}

/// How a stage ended, in a few words.
pub(crate) fn end(end: &StageEnd) -> String {
    match end {
        StageEnd::NotStarted(error) => match error.exit_code() {
            127 => "not found".to_owned(),
            126 => "not executable".to_owned(),
            _ => "not started".to_owned(),
        },
        StageEnd::Exited(status) => format!("exit {status}"),
        other => other.to_string(),
    }
}

fn details(report: &Report<'_>, index: usize) -> String {
    let stage = &report.script.stages[index];
    let started = match &stage.start {
        Start::Direct(_) => "executed directly".to_owned(),
        Start::Shell => format!("run by {}", text::line(report.shell)),
    };
    let pipe = report
        .capacities
        .get(index)
        .map_or_else(String::new, |capacity| {
            let operator = if stage.stderr_too { "|&" } else { "|" };
            format!("; then {operator} of {capacity} bytes")
        });
    started + &pipe
}

/// One line, and advice where there is any.
fn verdict(report: &Report<'_>, palette: Palette) -> String {
    let status = report.status;
    let wall = seconds(status.wall());
    let told = match (report.timed_out, status.failed_stage()) {
        (Some(limit), _) => palette.bad(format!("timed out after {}", seconds(limit))),
        (None, None) => format!("{} in {}", palette.good("ok"), palette.bold(wall)),
        (None, Some(index)) => {
            let stage = &status.stages()[index];
            let number = index + 1;
            format!(
                "{} in {}",
                palette.bad(format!("stage {number} failed: {}", reason(stage))),
                wall
            )
        }
    };
    let negated = match report.script.negated {
        true => format!(", turned around by !: status {}", report.exit_code()),
        false => String::new(),
    };
    let advice = advice(status).map_or_else(String::new, |advice| {
        format!("  {}\n", palette.warning(advice))
    });
    format!("  {told}{negated}\n{advice}")
}

fn reason(stage: &StageStatus) -> String {
    text::line(&match &stage.end {
        StageEnd::NotStarted(error) => error.to_string(),
        other => other.to_string(),
    })
}

fn advice(status: &PipelineStatus) -> Option<&'static str> {
    let failed = &status.stages()[status.failed_stage()?].end;
    match failed {
        StageEnd::NotStarted(error) if error.exit_code() == 127 => {
            Some("is it installed, and its directory in PATH?")
        }
        StageEnd::Signaled { signal: 9, .. } => Some(
            "SIGKILL comes from kill -9, a supervisor, or the kernel short of memory (see dmesg)",
        ),
        StageEnd::Signaled { signal: 13, .. } => {
            Some("the last stage's own reader, to the right of pipewright, had finished")
        }
        _ => None,
    }
}

/// A time with as many digits as matter.
pub(crate) fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        0.0 => "0 ms".to_owned(),
        s if s < 0.1 => format!("{:.1} ms", s * 1e3),
        s if s < 60.0 => format!("{s:.2} s"),
        s if s < 3600.0 => format!("{}:{:04.1} min", s as u64 / 60, s % 60.0),
        s => format!("{}:{:02} h", s as u64 / 3600, s as u64 / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::seconds;
    use std::time::Duration;

    #[test]
    fn times_have_the_unit_that_reads_best() {
        let told = |millis| seconds(Duration::from_millis(millis));
        assert_eq!(told(0), "0 ms");
        assert_eq!(told(2), "2.0 ms");
        assert_eq!(told(1234), "1.23 s");
        assert_eq!(told(62_500), "1:02.5 min");
        assert_eq!(told(3_720_000), "1:02 h");
    }
}
