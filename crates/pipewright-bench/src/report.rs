//! What a bench tells: groups of series, who is missing, the targets.
//!
//! A [`Report`] is printed as tables for people or as one JSON object.

use std::fmt;

use serde::Serialize;

use crate::measure::{Series, Spread};

/// The result of one bench.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The layout of the JSON object; raised when a field changes its meaning.
    version: u32,
    bench: &'static str,
    machine: String,
    groups: Vec<Group>,
    /// Peers that could not take part, and sizes left out, each a sentence.
    missing: Vec<String>,
    targets: Vec<Target>,
    /// What follows from the figures, each a sentence.
    notes: Vec<String>,
}

impl Report {
    pub(crate) fn new(bench: &'static str) -> Self {
        Self {
            version: 1,
            bench,
            machine: machine(),
            groups: Vec::new(),
            missing: Vec::new(),
            targets: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(crate) fn group(&mut self, group: Group) {
        self.groups.push(group);
    }

    pub(crate) fn missing(&mut self, sentence: impl Into<String>) {
        self.missing.push(sentence.into());
    }

    pub(crate) fn note(&mut self, sentence: impl Into<String>) {
        self.notes.push(sentence.into());
    }

    pub(crate) fn target(&mut self, target: Target) {
        self.targets.push(target);
    }
}

/// The kernel, the architecture, the processor and the number of cores in one line.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = rustix::system::uname();
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    // Some architectures give it no name.
    let model = processors.lines().find_map(|line| {
        let (key, name) = line.split_once(':')?;
        (key.trim() == "model name").then(|| format!(" ({})", name.trim()))
    });
    format!(
        "{} {} on {}{}, {cores} cores",
        kernel.sysname().to_string_lossy(),
        kernel.release().to_string_lossy(),
        kernel.machine().to_string_lossy(),
        model.unwrap_or_default(),
    )
}

/// What a series counts, and how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    Seconds,
    Bytes,
    /// How many messages of this size in a second.
    Messages {
        bytes: usize,
    },
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Unit::Seconds if value >= 1.0 => format!("{value:.3} s"),
            Unit::Seconds if value >= 1e-3 => format!("{:.3} ms", value * 1e3),
            Unit::Seconds => format!("{:.1} µs", value * 1e6),
            Unit::Bytes => format!("{:.2} MiB", value / f64::from(1 << 20)),
            Unit::Messages { bytes } => {
                let rate = value * bytes as f64 / f64::from(1 << 30);
                format!("{value:.0}/s {rate:.2} GiB/s")
            }
        }
    }
}

/// Series that were measured in the same rounds.
#[derive(Debug)]
pub(crate) struct Group {
    title: String,
    unit: Unit,
    /// The name of the series that the others are divided by.
    base: String,
    series: Vec<Series>,
}

impl Group {
    /// The base is told first, the others in the order in which they took turns.
    pub(crate) fn new(
        title: impl Into<String>,
        unit: Unit,
        base: impl Into<String>,
        mut series: Vec<Series>,
    ) -> Self {
        let base = base.into();
        series.sort_by_key(|series| series.name != base);
        Self {
            title: title.into(),
            unit,
            base,
            series,
        }
    }

    fn find(&self, name: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.name == name)
    }

    /// `over` divided by `under`, or `None` where one of them is missing.
    pub(crate) fn ratio(&self, over: &str, under: &str) -> Option<Spread> {
        Some(self.find(over)?.ratio_to(self.find(under)?))
    }

    /// The spread of the series called `name`, if it was measured.
    pub(crate) fn spread(&self, name: &str) -> Option<Spread> {
        Some(self.find(name)?.spread())
    }
}

impl Serialize for Group {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Row<'a> {
            #[serde(flatten)]
            series: &'a Series,
            #[serde(flatten)]
            spread: Spread,
            ratio_to_base: Option<Spread>,
        }
        #[derive(Serialize)]
        struct Rows<'a> {
            title: &'a str,
            unit: Unit,
            base: &'a str,
            contenders: Vec<Row<'a>>,
        }
        let contenders = self.series.iter().map(|series| Row {
            series,
            spread: series.spread(),
            ratio_to_base: self.ratio(&series.name, &self.base),
        });
        Rows {
            title: &self.title,
            unit: self.unit,
            base: &self.base,
            contenders: contenders.collect(),
        }
        .serialize(serializer)
    }
}

/// A figure that is to stay on one side of a limit.
#[derive(Debug, Serialize)]
pub(crate) struct Target {
    promise: String,
    limit: Limit,
    /// `None` where a contender it needs is missing.
    figure: Option<f64>,
    outcome: Outcome,
}

/// On which side of a number a figure is to stay, the number included.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Met,
    NotMet,
    NotMeasured,
}

impl Target {
    /// `promise` says what the figure is and in which unit the limit counts.
    pub(crate) fn new(promise: impl Into<String>, limit: Limit, figure: Option<f64>) -> Self {
        let outcome = match (figure, limit) {
            (None, _) => Outcome::NotMeasured,
            (Some(figure), Limit::AtMost(limit)) if figure <= limit => Outcome::Met,
            (Some(figure), Limit::AtLeast(limit)) if figure >= limit => Outcome::Met,
            _ => Outcome::NotMet,
        };
        Self {
            promise: promise.into(),
            limit,
            figure,
            outcome,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match self.outcome {
            Outcome::Met => "met",
            Outcome::NotMet => "not met",
            Outcome::NotMeasured => "not measured",
        };
        let (side, limit) = match self.limit {
            Limit::AtMost(limit) => ("at most", limit),
            Limit::AtLeast(limit) => ("at least", limit),
        };
        write!(out, "{outcome:<12}  {}: ", self.promise)?;
        match self.figure {
            // Three places, so that 1.004 against a limit of 1 does not read
            // as "1.00, not met".
            Some(figure) => write!(out, "{figure:.3}, {side} {limit}"),
            None => write!(out, "{side} {limit}, but a contender is missing"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}: {}", self.bench, self.machine)?;
        for group in &self.groups {
            write!(out, "\n{group}")?;
        }
        if !self.missing.is_empty() {
            writeln!(out, "\nMissing")?;
            for sentence in &self.missing {
                writeln!(out, "  {sentence}")?;
            }
        }
        if !self.targets.is_empty() {
            writeln!(out, "\nTargets")?;
            for target in &self.targets {
                writeln!(out, "  {target}")?;
            }
        }
        for sentence in &self.notes {
            writeln!(out, "\n{sentence}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Group {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.series.first().map_or(0, |series| series.values.len());
        writeln!(out, "{} ({rounds} rounds)", self.title)?;
        let mut rows = vec![[
            String::new(),
            "median".to_owned(),
            "quartiles".to_owned(),
            "min".to_owned(),
            "max".to_owned(),
            format!("× {}", self.base),
            "quartiles".to_owned(),
        ]];
        for series in &self.series {
            let spread = series.spread();
            let (ratio, ratio_quartiles) = match self.ratio(&series.name, &self.base) {
                Some(ratio) => (
                    format!("{:.2}", ratio.median),
                    format!("{:.2} – {:.2}", ratio.lower_quartile, ratio.upper_quartile),
                ),
                None => (String::new(), String::new()),
            };
            rows.push([
                series.name.clone(),
                self.unit.show(spread.median),
                format!(
                    "{} – {}",
                    self.unit.show(spread.lower_quartile),
                    self.unit.show(spread.upper_quartile)
                ),
                self.unit.show(spread.minimum),
                self.unit.show(spread.maximum),
                ratio,
                ratio_quartiles,
            ]);
        }
        write_aligned(out, &rows)
    }
}

/// Writes rows as columns: the first to the left, all others to the right.
fn write_aligned<const COLUMNS: usize>(
    out: &mut fmt::Formatter<'_>,
    rows: &[[String; COLUMNS]],
) -> fmt::Result {
    let widths: [usize; COLUMNS] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    });
    for row in rows {
        write!(out, "  {:<width$}", row[0], width = widths[0])?;
        for (cell, width) in row.iter().zip(widths).skip(1) {
            write!(out, "  {cell:>width$}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> Group {
        let series = |name: &str, values: &[f64]| Series {
            name: name.to_owned(),
            values: values.to_vec(),
        };
        Group::new(
            "1 GiB resident",
            Unit::Seconds,
            "pipewright",
            vec![
                series("fork", &[0.050, 0.100, 0.050]),
                series("pipewright", &[0.001, 0.002, 0.001]),
            ],
        )
    }

    #[test]
    fn a_figure_on_its_limit_meets_the_target() {
        let at_most = |figure| Target::new("r", Limit::AtMost(1.1), figure).outcome;
        assert_eq!(at_most(Some(1.1)), Outcome::Met);
        assert_eq!(at_most(Some(1.101)), Outcome::NotMet);
        assert_eq!(at_most(None), Outcome::NotMeasured);
        let at_least = |figure| Target::new("r", Limit::AtLeast(40.0), figure).outcome;
        assert_eq!(at_least(Some(40.0)), Outcome::Met);
        assert_eq!(at_least(Some(39.9)), Outcome::NotMet);
    }

    #[test]
    fn a_figure_that_is_no_number_meets_no_target() {
        let target = Target::new("r", Limit::AtMost(1.0), Some(f64::NAN));
        assert_eq!(target.outcome, Outcome::NotMet);
    }

    #[test]
    fn a_missing_contender_has_no_ratio() {
        assert!(group().ratio("fork", "Go").is_none());
        assert_eq!(group().ratio("fork", "pipewright").unwrap().median, 50.0);
    }

    #[test]
    fn values_are_shown_in_a_unit_of_their_size() {
        assert_eq!(Unit::Seconds.show(2.5), "2.500 s");
        assert_eq!(Unit::Seconds.show(0.0007), "700.0 µs");
        assert_eq!(Unit::Seconds.show(0.049), "49.000 ms");
        assert_eq!(Unit::Bytes.show(8.0 * 1048576.0), "8.00 MiB");
    }

    #[test]
    fn the_table_tells_medians_ratios_and_what_is_missing() {
        let mut report = Report::new("spawn");
        let group = group();
        let faster = group.ratio("fork", "pipewright").map(|r| r.median);
        report.group(group);
        report.missing("Go: there is no `go` on PATH");
        report.target(Target::new("times faster", Limit::AtLeast(40.0), faster));
        let text = report.to_string();
        let row = text.lines().find(|line| line.contains("fork")).unwrap();
        assert!(row.contains("50.000 ms") && row.contains("50.00"), "{row}");
        assert!(text.contains("Go: there is no `go` on PATH"), "{text}");
        assert!(
            text.contains("met           times faster: 50.000, at least 40"),
            "{text}"
        );
    }

    #[test]
    fn the_json_object_carries_values_spreads_ratios_and_targets() {
        let mut report = Report::new("spawn");
        report.group(group());
        report.target(Target::new("no slower than Go", Limit::AtMost(1.0), None));
        let json = serde_json::to_value(&report).unwrap();
        let contenders = &json["groups"][0]["contenders"];
        assert_eq!(contenders[0]["name"], "pipewright");
        let fork = &contenders[1];
        assert_eq!(fork["name"], "fork");
        assert_eq!(fork["values"][1], 0.1);
        assert_eq!(fork["median"], 0.05);
        assert_eq!(fork["ratio_to_base"]["median"], 50.0);
        assert_eq!(json["groups"][0]["unit"], "seconds");
        assert_eq!(json["targets"][0]["limit"]["at_most"], 1.0);
        assert_eq!(json["targets"][0]["outcome"], "not_measured");
    }
}
