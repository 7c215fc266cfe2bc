//! The report of a comparison: times, stage by stage, and which is faster. Pure.

use std::fmt;
use std::time::Duration;

use super::style::Palette;
use super::text;
use super::units::{percent, seconds, size};
use crate::comparison::statistics::{Ratio, Summary};
use crate::comparison::{Comparison, Contender, Outputs};

/// The report for a terminal of so many columns.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    pub(crate) comparison: &'a Comparison,
    pub(crate) palette: Palette,
    pub(crate) width: usize,
}

/// Columns that a pipeline's text gets before any figure is shown.
const NAME_WIDTH: usize = 12;

/// A figure of every pipeline.
struct Column {
    head: &'static str,
    cells: Vec<String>,
    /// The column with the lowest number is kept longest.
    rank: u8,
}

impl Column {
    /// With two blanks to its left.
    fn width(&self) -> usize {
        let cells = self.cells.iter().map(|cell| text::width(cell));
        cells.max().unwrap_or(0).max(self.head.len()) + 2
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_table(f)?;
        for (contender, number) in self.comparison.contenders.iter().zip(1..) {
            self.write_stages(f, contender, number)?;
        }
        writeln!(f)?;
        for (contender, number) in self.comparison.contenders.iter().zip(1..) {
            if let Some(told) = failures(contender) {
                let told = format!("pipeline {number} {told}");
                writeln!(f, "  {}", self.palette.bad(told))?;
            }
        }
        for (good, told) in conclusions(self.comparison) {
            let told = if good {
                self.palette.bold(told)
            } else {
                self.palette.warning(told)
            };
            writeln!(f, "  {told}")?;
        }
        Ok(())
    }
}

impl Report<'_> {
    fn write_table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let contenders = &self.comparison.contenders;
        let digits = contenders.len().to_string().len();
        let mut columns = self.columns();
        let before = 2 + digits + 2;
        loop {
            let taken: usize = columns.iter().map(Column::width).sum();
            if before + NAME_WIDTH + taken <= self.width || columns.is_empty() {
                break;
            }
            let ranks = columns.iter().enumerate();
            let least = ranks.max_by_key(|(_, column)| column.rank);
            columns.remove(least.map_or(0, |(index, _)| index));
        }
        let taken: usize = columns.iter().map(Column::width).sum();
        let room = self
            .width
            .saturating_sub(before + taken)
            .max("command".len());
        let names = contenders.iter().map(|it| text::width(&it.name));
        let name_width = names.max().unwrap_or(0).max("command".len()).min(room);

        let right = |cell: &str, width: usize| {
            let fill = width.saturating_sub(text::width(cell));
            format!("{:fill$}{cell}", "")
        };
        let heads: String = columns
            .iter()
            .map(|column| right(column.head, column.width()))
            .collect();
        let head = format!(
            "  {:digits$}  {}{heads}",
            "",
            text::padded("command", name_width)
        );
        writeln!(f, "{}", self.palette.faint(head.trim_end()))?;
        for (index, contender) in contenders.iter().enumerate() {
            let name = text::shortened(&contender.name, name_width);
            let name = self.palette.bold(text::padded(&name, name_width));
            let cells: String = columns
                .iter()
                .map(|column| right(&column.cells[index], column.width()))
                .collect();
            writeln!(f, "  {:>digits$}  {name}{cells}", index + 1)?;
        }
        Ok(())
    }

    fn columns(&self) -> Vec<Column> {
        let contenders = &self.comparison.contenders;
        let summaries: Vec<_> = contenders.iter().map(Contender::summary).collect();
        let of = |head, rank, cell: fn(&Summary) -> String| {
            let cells = summaries.iter();
            Column {
                head,
                rank,
                cells: cells
                    .map(|it| it.as_ref().map_or_else(|| "–".to_owned(), cell))
                    .collect(),
            }
        };
        let relative = (0..contenders.len()).map(|index| relative(self.comparison, index));
        vec![
            of("mean ± dev", 0, |it| {
                let deviation = it.deviation.map(|it| format!(" ± {}", time(it)));
                time(it.mean) + &deviation.unwrap_or_default()
            }),
            of("median", 2, |it| time(it.median)),
            of("min", 3, |it| time(it.min)),
            of("max", 4, |it| time(it.max)),
            Column {
                head: "relative",
                rank: 1,
                cells: relative.map(Option::unwrap_or_default).collect(),
            },
        ]
    }

    /// Writes where the time of one pipeline went.
    fn write_stages(
        &self,
        f: &mut fmt::Formatter<'_>,
        contender: &Contender,
        number: usize,
    ) -> fmt::Result {
        let Some(run) = contender.runs.first() else {
            return Ok(());
        };
        const HEAD: &str = "        cpu  wait in  wait out";
        let stages = &run.outcome.stages;
        let digits = stages.len().to_string().len();
        let room = self
            .width
            .saturating_sub(2 + 3 + digits + 2 + HEAD.len())
            .max("stage".len());
        let names = stages.iter().map(|stage| text::width(&stage.name));
        let name_width = names.max().unwrap_or(0).max("stage".len()).min(room);
        let title = text::shortened(&contender.name, self.width.saturating_sub(5).max(1));
        writeln!(f, "\n  {number}  {}", self.palette.bold(title))?;
        let head = format!(
            "     {:digits$}  {}{HEAD}",
            "",
            text::padded("stage", name_width)
        );
        writeln!(f, "{}", self.palette.faint(head))?;
        for (index, means) in contender.stages().iter().enumerate() {
            let name = text::shortened(&stages[index].name, name_width);
            let share = |share: Option<f64>| share.map_or_else(String::new, percent);
            let row = format!(
                "     {:>digits$}  {}  {:>9}  {:>7}  {:>8}",
                index + 1,
                text::padded(&name, name_width),
                time(means.cpu),
                share(means.waiting_for_input),
                share(means.blocked_on_output),
            );
            writeln!(f, "{}", row.trim_end())?;
        }
        if let Some(whole) = &run.outcome.whole {
            let told = format!("one shell runs it as a whole: {}", whole.reason);
            writeln!(f, "     {}", self.palette.faint(told))?;
        }
        if let Some(it) = contender.conclusion() {
            let share = if it.runs < it.judged {
                format!(" (in {} of {} runs)", it.runs, it.judged)
            } else {
                String::new()
            };
            writeln!(f, "     {}{share}", text::line(&it.sentence))?;
            if let Some(advice) = it.advice {
                writeln!(f, "     {}", self.palette.warning(text::line(&advice)))?;
            }
        } else if run.outcome.whole.is_none() && stages.len() > 1 {
            let told = "its runs are too short to tell which stage the others wait for";
            writeln!(f, "     {}", self.palette.faint(told))?;
        }
        Ok(())
    }
}

/// The sentences at the end; true: nothing is amiss.
pub(crate) fn conclusions(comparison: &Comparison) -> Vec<(bool, String)> {
    let mut told = Vec::new();
    let ran = comparison.contenders.iter().map(|it| it.runs.len()).min();
    let ran = ran.unwrap_or(0);
    if ran < comparison.rounds {
        told.push((
            false,
            format!("stopped after {ran} of {} rounds", comparison.rounds),
        ));
    }
    if let Some(fastest) = comparison.fastest() {
        for other in (0..comparison.contenders.len()).filter(|it| *it != fastest) {
            if let Some(ratio) = comparison.ratio(other) {
                told.push(faster(fastest + 1, other + 1, ratio));
            }
        }
    }
    told.extend(outputs(comparison));
    told
}

fn faster(fastest: usize, other: usize, ratio: Ratio) -> (bool, String) {
    let Ratio {
        factor, deviation, ..
    } = ratio;
    let Some(deviation) = deviation else {
        let told = format!(
            "pipeline {fastest} was {factor:.2} times faster than pipeline {other}, but one run each \
             proves nothing"
        );
        return (false, told);
    };
    if ratio.clear && factor > 1.0 {
        let told = format!(
            "pipeline {fastest} is {factor:.2} ± {deviation:.2} times faster than pipeline {other}"
        );
        return (true, told);
    }
    let told = format!(
        "pipelines {fastest} and {other} do not clearly differ: the ratio is {factor:.2} ± {deviation:.2}"
    );
    (false, told)
}

fn outputs(comparison: &Comparison) -> Option<(bool, String)> {
    Some(match comparison.outputs() {
        Outputs::Equal(digest) => {
            let told = format!("their outputs are equal ({})", size(digest.bytes as f64));
            (true, told)
        }
        Outputs::Differ => {
            let wrote = comparison.contenders.iter().zip(1..).map(|(it, number)| {
                let bytes = it.digests().first().map_or(0, |it| it.bytes);
                format!("{number} writes {bytes} bytes")
            });
            let wrote: Vec<String> = wrote.collect();
            (false, format!("their outputs differ: {}", wrote.join(", ")))
        }
        Outputs::NotDeterministic(changing) => {
            let numbers = changing.iter().map(|index| (index + 1).to_string());
            let numbers = numbers.collect::<Vec<_>>().join(" and ");
            let told = format!(
                "outputs cannot be compared: that of pipeline {numbers} changes from run to run"
            );
            (false, told)
        }
        Outputs::Unknown => return None,
    })
}

/// Completes "pipeline 1 …"; `None` where no run failed.
pub(crate) fn failures(contender: &Contender) -> Option<String> {
    let failed = contender.failures().count();
    let outcome = &contender.failures().next()?.outcome;
    let of = contender.all().count();
    let stage = outcome.failed.map(|index| (index, &outcome.stages[index]));
    let why = match (outcome.timed_out, stage) {
        (Some(limit), _) => format!("it timed out after {}", seconds(limit)),
        (None, Some((index, stage))) if outcome.whole.is_none() => {
            let reason = text::line(&stage.reason());
            format!("stage {} ({}): {reason}", index + 1, stage.name)
        }
        _ => format!("status {}", outcome.exit_code()),
    };
    Some(format!("failed in {failed} of {of} runs: {why}"))
}

/// Its time over that of the fastest, as a table shows it.
pub(crate) fn relative(comparison: &Comparison, index: usize) -> Option<String> {
    if comparison.fastest()? == index {
        return Some("1.00".to_owned());
    }
    let ratio = comparison.ratio(index)?;
    let deviation = ratio.deviation.map(|it| format!(" ± {it:.2}"));
    Some(format!(
        "{:.2}{}",
        ratio.factor,
        deviation.unwrap_or_default()
    ))
}

fn time(time: f64) -> String {
    seconds(Duration::from_secs_f64(time))
}
