//! Samples of any number brought to the columns of a chart. Pure.
//!
//! A sample stands for the time until the next one. A column tells what was so for which share of its
//! time, and so nothing that happened between two columns is left out.

use std::time::Duration;

use pipewright_observe::{PipeLevel, Sample};

use super::state::State;

/// Samples, and the columns to show them in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeline<'a> {
    samples: &'a [Sample],
    columns: usize,
}

/// Shares of a column's time, by the index of the state.
pub(super) type Shares = [f64; State::ALL.len()];

/// What a pipe held during a column.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Fill {
    /// Unread bytes on average, 1.0 being the capacity.
    pub(super) unread: f64,
    /// The share of the time in which a writer would have had to wait.
    pub(super) full: f64,
}

impl<'a> Timeline<'a> {
    pub(super) fn new(samples: &'a [Sample], columns: usize) -> Self {
        Self { samples, columns }
    }

    fn start(&self) -> Duration {
        self.samples
            .first()
            .map_or(Duration::ZERO, |sample| sample.at)
    }

    /// Time from the first sample to the last.
    pub(super) fn span(&self) -> Duration {
        let end = self
            .samples
            .last()
            .map_or(Duration::ZERO, |sample| sample.at);
        end.saturating_sub(self.start())
    }

    /// What a stage did.
    pub(super) fn shares(&self, stage: usize) -> Vec<Shares> {
        let mut columns = vec![Shares::default(); self.columns];
        for (sample, until) in self.intervals() {
            let Some(&activity) = sample.stages.get(stage) else {
                continue;
            };
            let state = State::from(activity) as usize;
            self.spread(sample.at, until, |column, share| {
                columns[column][state] += share
            });
        }
        columns
    }

    /// What a pipe held; `None` where most of the time it was not to be known.
    pub(super) fn fills(&self, pipe: usize) -> Vec<Option<Fill>> {
        let mut columns = vec![Mean::<2>::default(); self.columns];
        for (sample, until) in self.intervals() {
            let level: Option<PipeLevel> = sample.pipes.get(pipe).copied().flatten();
            let Some(level) = level.filter(|level| level.capacity > 0) else {
                continue;
            };
            let unread = (level.unread as f64 / level.capacity as f64).min(1.0);
            let values = [unread, f64::from(level.full)];
            self.spread(sample.at, until, |column, share| {
                columns[column].add(values, share)
            });
        }
        let fill = |mean: Mean<2>| mean.get().map(|[unread, full]| Fill { unread, full });
        columns.into_iter().map(fill).collect()
    }

    /// Bytes a second through a pipe; `None` where most of the time they were not to be known.
    pub(super) fn rates(&self, pipe: usize) -> Vec<Option<f64>> {
        let mut columns = vec![Mean::<1>::default(); self.columns];
        for sample in self.samples {
            let Some(figures) = &sample.figures else {
                continue;
            };
            let Some(rate) = figures.pipes.get(pipe).and_then(|pipe| pipe.rate) else {
                continue;
            };
            let from = sample.at.saturating_sub(figures.interval);
            self.spread(from, sample.at, |column, share| {
                columns[column].add([rate], share)
            });
        }
        columns
            .into_iter()
            .map(|mean| mean.get().map(|[rate]| rate))
            .collect()
    }

    /// Each sample but the last, and the time at which it stops to hold.
    fn intervals(&self) -> impl Iterator<Item = (&'a Sample, Duration)> {
        self.samples.windows(2).map(|pair| (&pair[0], pair[1].at))
    }

    /// Calls `add` for each column that a stretch of time touches, with the share of the column that
    /// it takes.
    fn spread(&self, from: Duration, until: Duration, mut add: impl FnMut(usize, f64)) {
        let width = self.span().as_secs_f64() / self.columns as f64;
        if width <= 0.0 {
            return;
        }
        let column = |time: Duration| time.saturating_sub(self.start()).as_secs_f64() / width;
        let (from, until) = (column(from), column(until).min(self.columns as f64));
        let mut at = from;
        while at < until {
            let next = (at.floor() + 1.0).min(until);
            add(at as usize, next - at);
            at = next;
        }
    }
}

/// The mean of values that hold for different times.
#[derive(Debug, Clone, Copy)]
struct Mean<const VALUES: usize> {
    sums: [f64; VALUES],
    weight: f64,
}

impl<const VALUES: usize> Default for Mean<VALUES> {
    fn default() -> Self {
        Self {
            sums: [0.0; VALUES],
            weight: 0.0,
        }
    }
}

impl<const VALUES: usize> Mean<VALUES> {
    fn add(&mut self, values: [f64; VALUES], weight: f64) {
        for (sum, value) in self.sums.iter_mut().zip(values) {
            *sum += value * weight;
        }
        self.weight += weight;
    }

    /// `None` unless it stands for half of the column or more.
    fn get(self) -> Option<[f64; VALUES]> {
        (self.weight >= 0.5).then(|| self.sums.map(|sum| sum / self.weight))
    }
}

/// Where the marks of a time axis stand, as shares of the span, and what they say: at most ten.
pub(super) fn ticks(span: Duration) -> Vec<(f64, String)> {
    const STEPS: [f64; 28] = [
        0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0,
        60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 10800.0, 21600.0, 43200.0,
        86400.0, 604800.0,
    ];
    let span = span.as_secs_f64();
    let step = STEPS
        .into_iter()
        .find(|step| span / step < 10.0)
        .unwrap_or(span / 9.0);
    if span <= 0.0 {
        return vec![(0.0, "0".to_owned())];
    }
    let label = |time: f64| {
        let whole = time.round() as u64;
        match step {
            _ if time == 0.0 => "0".to_owned(),
            ..0.1 => format!("{:.0} ms", time * 1e3),
            ..1.0 => format!("{time:.1} s"),
            _ if span < 120.0 => format!("{whole} s"),
            _ if span < 3600.0 => format!("{}:{:02}", whole / 60, whole % 60),
            _ => format!("{}:{:02} h", whole / 3600, whole / 60 % 60),
        }
    };
    (0..10)
        .map(|index| f64::from(index) * step)
        .take_while(|&time| time <= span * (1.0 + 1e-9))
        .map(|time| (time / span, label(time)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::recordings::{self, Recorded};
    use pipewright_observe::Activity::{BlockedOnOutput, Running, WaitingForInput};
    use proptest::prelude::*;

    #[test]
    fn a_column_tells_the_share_of_each_state() {
        let recording = Recorded::new(1)
            .sample(0, &[Running])
            .sample(100, &[WaitingForInput])
            .sample(150, &[BlockedOnOutput])
            .sample(200, &[Running])
            .finish();
        let columns = Timeline::new(&recording.samples, 2).shares(0);
        let share = |column: usize, state: State| columns[column][state as usize];
        assert!((share(0, State::Running) - 1.0).abs() < 1e-9);
        assert!((share(1, State::WaitingForInput) - 0.5).abs() < 1e-9);
        assert!((share(1, State::BlockedOnOutput) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_rate_belongs_to_the_interval_before_it_and_an_unknown_one_is_not_zero() {
        let both = [Running; 2];
        let recording = Recorded::new(2)
            .sample(0, &both)
            .sample(1000, &both)
            .rate(0, Some(100.0))
            .sample(2000, &both)
            .rate(0, None)
            .finish();
        let rates = Timeline::new(&recording.samples, 4).rates(0);
        assert_eq!(rates, [Some(100.0), Some(100.0), None, None]);
    }

    #[test]
    fn a_pipe_that_is_gone_is_not_empty() {
        let both = [Running; 2];
        let recording = Recorded::new(2)
            .sample(0, &both)
            .level(0, 4096, 4096)
            .sample(100, &both)
            .sample(200, &both)
            .finish();
        let full = Fill {
            unread: 1.0,
            full: 1.0,
        };
        assert_eq!(
            Timeline::new(&recording.samples, 2).fills(0),
            [Some(full), None]
        );
    }

    #[test]
    fn an_axis_has_few_round_marks() {
        let labels = |millis: u64| -> Vec<String> {
            ticks(Duration::from_millis(millis))
                .into_iter()
                .map(|(_, label)| label)
                .collect()
        };
        assert_eq!(labels(0), ["0"]);
        assert_eq!(
            labels(45),
            [
                "0", "5 ms", "10 ms", "15 ms", "20 ms", "25 ms", "30 ms", "35 ms", "40 ms", "45 ms"
            ]
        );
        assert_eq!(
            labels(700),
            [
                "0", "0.1 s", "0.2 s", "0.3 s", "0.4 s", "0.5 s", "0.6 s", "0.7 s"
            ]
        );
        assert_eq!(
            labels(6100),
            ["0", "1 s", "2 s", "3 s", "4 s", "5 s", "6 s"]
        );
        assert_eq!(
            labels(300_000),
            ["0", "1:00", "2:00", "3:00", "4:00", "5:00"]
        );
        assert_eq!(
            labels(7_200_000),
            [
                "0", "0:20 h", "0:40 h", "1:00 h", "1:20 h", "1:40 h", "2:00 h"
            ]
        );
    }

    proptest! {
        #[test]
        fn each_column_is_shared_out_in_full(recording in recordings::any(3, 50), columns in 1..200_usize) {
            let timeline = Timeline::new(&recording.samples, columns);
            for stage in 0..recording.layout.stages.len() {
                for shares in timeline.shares(stage) {
                    let sum: f64 = shares.iter().sum();
                    let expected = if timeline.span().is_zero() { 0.0 } else { 1.0 };
                    prop_assert!((sum - expected).abs() < 1e-6, "{sum}");
                }
            }
        }
    }
}
