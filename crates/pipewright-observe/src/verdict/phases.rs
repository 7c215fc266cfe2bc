//! A bottleneck that moves: the stretches of time in which one stage after another held the others up.
//!
//! Samples are added up in windows of equal length. Once there are too many, each two become one, so
//! that a run of days takes no more memory than one of a minute.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sampler::{Layout, Sample};
use crate::verdict::finding::{FEWEST_SAMPLES, Finding, judge};
use crate::verdict::reason::{Bottleneck, Reason, shortened};
use crate::verdict::tally::Tally;

/// The length of a window at first.
const FINEST: Duration = Duration::from_millis(300);
/// Windows at most, and stages in all windows together.
const MOST_WINDOWS: usize = 128;
const MOST_STAGES: usize = 20_000;
/// A phase is at least this part of the whole time, and longer than so many windows: a hiccup can
/// touch one more than it fills.
const SHORTEST_SHARE: f64 = 0.05;
const SHORTEST_WINDOWS: f64 = 2.5;

/// A stretch of time with one finding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// Its start, in seconds since the first look.
    pub from_seconds: f64,
    /// Its end, in seconds since the first look.
    pub until_seconds: f64,
    /// The stage that held the others up; `None` if none did, or if it is not known.
    pub bottleneck: Option<Bottleneck>,
}

/// The samples of a run in windows of time.
#[derive(Debug, Clone)]
pub(super) struct Windows {
    width: Duration,
    most: usize,
    windows: Vec<Tally>,
}

/// Neighbouring windows with one finding.
struct Run {
    tally: Tally,
    finding: Option<Bottleneck>,
}

impl Windows {
    pub(super) fn new(layout: &Layout) -> Self {
        let most = MOST_STAGES / layout.stages.len().max(1);
        Self {
            width: FINEST,
            most: most.clamp(8, MOST_WINDOWS),
            windows: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, layout: &Layout, sample: &Sample) {
        // One with too few samples could not be judged.
        let ended = |window: &Tally| {
            window.samples >= FEWEST_SAMPLES
                && sample.at.saturating_sub(window.first()) >= self.width
        };
        if self.windows.last().is_none_or(ended) {
            if self.windows.len() == self.most {
                self.halve();
            }
            self.windows.push(Tally::new(layout));
        }
        if let Some(window) = self.windows.last_mut() {
            window.add(sample);
        }
    }

    /// Makes one window of each two.
    fn halve(&mut self) {
        self.width *= 2;
        let pairs = self.windows.chunks(2).map(|pair| {
            let mut sum = pair[0].clone();
            pair[1..].iter().for_each(|later| sum.append(later));
            sum
        });
        self.windows = pairs.collect();
    }

    /// The phases, if the bottleneck has moved; else none.
    pub(super) fn phases(&self, layout: &Layout) -> Vec<Phase> {
        let mut runs: Vec<Run> = self
            .windows
            .iter()
            .map(|window| Run::new(layout, window.clone()))
            .collect();
        let (Some(first), Some(last)) = (runs.first(), runs.last()) else {
            return Vec::new();
        };
        let start = first.tally.first();
        let whole = last.tally.last().saturating_sub(start);
        let shortest = whole
            .mul_f64(SHORTEST_SHARE)
            .max(self.width.mul_f64(SHORTEST_WINDOWS));
        join_equal(layout, &mut runs);
        // The shortest gives way to the longer one beside it until all are long enough.
        while runs.len() > 1 {
            let lengths: Vec<Duration> = (0..runs.len()).map(|it| length(&runs, it)).collect();
            let Some((index, _)) = lengths
                .iter()
                .enumerate()
                .min_by_key(|(_, length)| **length)
                .filter(|(_, length)| **length < shortest)
            else {
                break;
            };
            let before = index.checked_sub(1);
            let after = (index + 1 < runs.len()).then_some(index + 1);
            let first = match (before, after) {
                (Some(before), Some(after)) if lengths[before] < lengths[after] => index,
                (Some(before), _) => before,
                (None, _) => index,
            };
            join(layout, &mut runs, first);
            join_equal(layout, &mut runs);
        }
        let stages = || {
            runs.iter()
                .filter_map(|run| Some(run.finding.as_ref()?.stage))
        };
        let Some(one) = stages().next() else {
            return Vec::new();
        };
        if stages().all(|stage| stage == one) {
            return Vec::new();
        }
        let since = |time: Duration| time.saturating_sub(start).as_secs_f64();
        let mut ends = runs.iter().skip(1).map(|run| run.tally.first());
        let ends: Vec<Duration> = (0..runs.len())
            .map(|_| ends.next().unwrap_or(start + whole))
            .collect();
        runs.into_iter()
            .zip(ends)
            .map(|(run, end)| Phase {
                from_seconds: since(run.tally.first()),
                until_seconds: since(end),
                bottleneck: run.finding,
            })
            .collect()
    }
}

impl Run {
    fn new(layout: &Layout, tally: Tally) -> Self {
        let finding = match judge(layout, &tally).0 {
            Finding::Bottleneck(bottleneck) => Some(bottleneck),
            _ => None,
        };
        Self { tally, finding }
    }

    fn stage(&self) -> Option<usize> {
        self.finding.as_ref().map(|found| found.stage)
    }
}

/// From the start of a run to that of the next one.
fn length(runs: &[Run], index: usize) -> Duration {
    let end = runs
        .get(index + 1)
        .map_or_else(|| runs[index].tally.last(), |next| next.tally.first());
    end.saturating_sub(runs[index].tally.first())
}

/// Makes one run of the one at `first` and the next.
fn join(layout: &Layout, runs: &mut Vec<Run>, first: usize) {
    let next = runs.remove(first + 1);
    let mut tally = runs[first].tally.clone();
    tally.append(&next.tally);
    runs[first] = Run::new(layout, tally);
}

/// Makes one run of neighbours that name the same stage.
fn join_equal(layout: &Layout, runs: &mut Vec<Run>) {
    let mut index = 0;
    while index + 1 < runs.len() {
        if runs[index].stage() == runs[index + 1].stage() {
            join(layout, runs, index);
            index = index.saturating_sub(1);
        } else {
            index += 1;
        }
    }
}

/// Columns of a command in a list of phases.
const LONGEST_NAME: usize = 24;

/// A stage in a list: by its program where that is what was typed, else by its command.
fn name(found: &Bottleneck) -> String {
    let first = found.command.split_whitespace().next().unwrap_or_default();
    let typed = first.rsplit('/').next().unwrap_or_default();
    let program = found.program_name();
    // The kernel keeps 15 bytes of a program's name.
    if found.command.is_empty() || typed.starts_with(program) {
        program.to_owned()
    } else {
        shortened(&found.command, LONGEST_NAME)
    }
}

impl Phase {
    /// What held the others up: `gzip`, or `gzip (stage 4)` where that is not clear.
    fn held_up_by(&self, numbered: bool) -> String {
        let Some(found) = &self.bottleneck else {
            return "no bottleneck".to_owned();
        };
        let number = found.stage + 1;
        let name = match name(found) {
            name if name.is_empty() => format!("stage {number}"),
            name if numbered => format!("{name} (stage {number})"),
            name => name,
        };
        match found.reason {
            Reason::InputSlow => format!("the input of {name}"),
            Reason::ConsumerSlow => format!("the reader of {name}"),
            Reason::Person => format!("a person at {name}"),
            _ => name,
        }
    }

    /// Says where the bottleneck was in each phase: "0–3.9 s rev; 3.9–6.7 s gzip".
    pub fn sentence(phases: &[Self]) -> String {
        let found = || phases.iter().filter_map(|phase| phase.bottleneck.as_ref());
        let numbered = found()
            .any(|one| found().any(|other| one.stage != other.stage && name(one) == name(other)));
        let last = phases.last().map_or(0.0, |phase| phase.until_seconds);
        let told: Vec<String> = phases
            .iter()
            .map(|phase| {
                let name = phase.held_up_by(numbered);
                let (from, until) = (phase.from_seconds, phase.until_seconds);
                if last < 100.0 {
                    format!("{}–{until:.1} s {name}", tenths(from))
                } else {
                    format!("{}–{} {name}", clock(from), clock(until))
                }
            })
            .collect();
        told.join("; ")
    }
}

/// `3.9`, and `0` for the start.
fn tenths(seconds: f64) -> String {
    if seconds < 0.05 {
        return "0".to_owned();
    }
    format!("{seconds:.1}")
}

/// `2:05`, `1:02:05`.
fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}
