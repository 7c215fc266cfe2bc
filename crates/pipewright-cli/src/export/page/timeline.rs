//! Samples of any number summed up in columns of time. Pure.
//!
//! A sample stands for the time until the next one. A column tells the share of its time that was spent
//! in each shade, and so nothing that happened between two columns is left out. Once there are too many
//! columns, each two neighbours become one: so a run of hours takes no more memory than one of a minute.

use std::time::Duration;

use pipewright_observe::{Activity, Layout, PipeLevel, Sample};

use super::shade::Shade;

/// The width of a column at first: samples are not closer to one another by default.
const FINEST: f64 = 0.02;
/// A chart shows no more columns than this.
const MOST_COLUMNS: usize = 960;
/// Columns of all stages together; one is about 100 bytes.
const ALL_COLUMNS: usize = 100_000;

/// The doings of stages and the fill of pipes, in columns of equal width.
#[derive(Debug)]
pub(super) struct Timeline {
    /// The times of the first sample and of the newest one.
    first: Duration,
    latest: Option<Latest>,
    /// Seconds of a column.
    width: f64,
    /// So many columns become half as many.
    most: usize,
    stages: Vec<Series<{ Shade::ALL.len() }>>,
    /// Unread and full, each times the seconds for which it held, and these seconds.
    fills: Vec<Series<3>>,
    /// Bytes a second times seconds, and seconds.
    rates: Vec<Series<2>>,
}

/// The sample that holds until the next one comes.
#[derive(Debug)]
struct Latest {
    at: Duration,
    stages: Vec<Activity>,
    pipes: Vec<Option<PipeLevel>>,
}

/// Shares of a column's time, by the index of the shade.
pub(super) type Shares = [f64; Shade::ALL.len()];

/// The fill of a pipe during a column.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Fill {
    /// Unread bytes on average, 1.0 being the capacity.
    pub(super) unread: f64,
    /// The share of the time in which a writer would have had to wait.
    pub(super) full: f64,
}

impl Default for Timeline {
    /// Of nothing.
    fn default() -> Self {
        Self::new(&Layout::default())
    }
}

impl Timeline {
    pub(super) fn new(layout: &Layout) -> Self {
        let (stages, pipes) = (layout.stages.len(), layout.pipes.len());
        Self {
            first: Duration::ZERO,
            latest: None,
            width: FINEST,
            most: (ALL_COLUMNS / stages.max(1)).clamp(64, MOST_COLUMNS),
            stages: vec![Series::default(); stages],
            fills: vec![Series::default(); pipes],
            rates: vec![Series::default(); pipes],
        }
    }

    /// Takes note of one more sample.
    pub(super) fn record(&mut self, sample: &Sample) {
        match self.latest.take() {
            None => self.first = sample.at,
            Some(latest) => self.hold(&latest, sample.at),
        }
        if let Some(figures) = &sample.figures {
            let columns = self.columns(sample.at.saturating_sub(figures.interval), sample.at);
            for (series, pipe) in self.rates.iter_mut().zip(&figures.pipes) {
                if let Some(rate) = pipe.rate {
                    series.add([rate, 1.0], &columns);
                }
            }
        }
        self.latest = Some(Latest {
            at: sample.at,
            stages: sample.stages.clone(),
            pipes: sample.pipes.clone(),
        });
    }

    /// Adds a sample that held until `until`.
    fn hold(&mut self, sample: &Latest, until: Duration) {
        let columns = self.columns(sample.at, until);
        for (series, &activity) in self.stages.iter_mut().zip(&sample.stages) {
            let mut shade = [0.0; Shade::ALL.len()];
            shade[Shade::from(activity) as usize] = 1.0;
            series.add(shade, &columns);
        }
        for (series, level) in self.fills.iter_mut().zip(&sample.pipes) {
            if let Some(level) = level.filter(|level| level.capacity > 0) {
                let unread = (level.unread as f64 / level.capacity as f64).min(1.0);
                series.add([unread, f64::from(level.full), 1.0], &columns);
            }
        }
    }

    /// The columns that a stretch of time touches, with the seconds of it that each gets. Makes room
    /// for it.
    fn columns(&mut self, from: Duration, until: Duration) -> Vec<(usize, f64)> {
        let seconds = |time: Duration| time.saturating_sub(self.first).as_secs_f64();
        let (from, until) = (seconds(from), seconds(until));
        while until > self.width * self.most as f64 {
            self.width *= 2.0;
            self.stages.iter_mut().for_each(Series::halve);
            self.fills.iter_mut().for_each(Series::halve);
            self.rates.iter_mut().for_each(Series::halve);
        }
        pieces(from, until, self.width).collect()
    }

    /// Time from the first sample to the last.
    pub(super) fn span(&self) -> Duration {
        self.latest
            .as_ref()
            .map_or(Duration::ZERO, |latest| latest.at - self.first)
    }

    /// A stage, in so many columns.
    pub(super) fn shares(&self, stage: usize, columns: usize) -> Vec<Shares> {
        let seconds = self.span().as_secs_f64() / columns as f64;
        self.drawn(self.stages.get(stage), columns)
            .map(|sums| sums.map(|sum| if seconds > 0.0 { sum / seconds } else { 0.0 }))
            .collect()
    }

    /// The fill of a pipe; `None` where it was not known most of the time.
    pub(super) fn fills(&self, pipe: usize, columns: usize) -> Vec<Option<Fill>> {
        self.drawn(self.fills.get(pipe), columns)
            .map(|[unread, full, known]| {
                self.mostly(known, columns).then(|| Fill {
                    unread: unread / known,
                    full: full / known,
                })
            })
            .collect()
    }

    /// Bytes a second through a pipe; `None` where they were not known most of the time.
    pub(super) fn rates(&self, pipe: usize, columns: usize) -> Vec<Option<f64>> {
        self.drawn(self.rates.get(pipe), columns)
            .map(|[bytes, known]| self.mostly(known, columns).then(|| bytes / known))
            .collect()
    }

    /// So many seconds are half of a column or more.
    fn mostly(&self, seconds: f64, columns: usize) -> bool {
        let half = self.span().as_secs_f64() / columns as f64 / 2.0;
        // The sums are rounded.
        seconds > 0.0 && seconds >= half * (1.0 - 1e-6)
    }

    /// A series in so many columns over the whole span.
    fn drawn<const VALUES: usize>(
        &self,
        series: Option<&Series<VALUES>>,
        columns: usize,
    ) -> impl Iterator<Item = [f64; VALUES]> {
        let span = self.span().as_secs_f64();
        let mut drawn = vec![[0.0; VALUES]; columns];
        for (index, sums) in series.iter().flat_map(|series| series.0.iter().enumerate()) {
            let from = index as f64 * self.width;
            // The last column may be there in part.
            let until = (from + self.width).min(span);
            for (column, seconds) in pieces(from, until, span / columns as f64) {
                let drawn = &mut drawn[column.min(columns - 1)];
                for (drawn, sum) in drawn.iter_mut().zip(sums) {
                    *drawn += sum * seconds / (until - from);
                }
            }
        }
        drawn.into_iter()
    }
}

/// Sums of values, each times the seconds for which it held, by column.
#[derive(Debug, Clone)]
struct Series<const VALUES: usize>(Vec<[f64; VALUES]>);

impl<const VALUES: usize> Default for Series<VALUES> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<const VALUES: usize> Series<VALUES> {
    fn add(&mut self, values: [f64; VALUES], columns: &[(usize, f64)]) {
        for &(column, seconds) in columns {
            if self.0.len() <= column {
                self.0.resize(column + 1, [0.0; VALUES]);
            }
            for (sum, value) in self.0[column].iter_mut().zip(values) {
                *sum += value * seconds;
            }
        }
    }

    /// Makes one column of each two.
    fn halve(&mut self) {
        let pair = |pair: &[[f64; VALUES]]| {
            let mut sums = pair[0];
            for other in &pair[1..] {
                sums.iter_mut().zip(other).for_each(|(sum, it)| *sum += it);
            }
            sums
        };
        self.0 = self.0.chunks(2).map(pair).collect();
    }
}

/// The columns of this width that a stretch of time touches, and how much of it each gets.
fn pieces(from: f64, until: f64, width: f64) -> impl Iterator<Item = (usize, f64)> {
    let first = (from / width) as usize;
    let mut at = from;
    (first..)
        .map_while(move |column| {
            let next = ((column + 1) as f64 * width).min(until);
            let piece = (at < until).then_some((column, next - at));
            at = at.max(next);
            piece
        })
        .filter(|(_, seconds)| *seconds > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::recordings::{self, Recorded};
    use pipewright_observe::Activity::{BlockedOnOutput, Running, WaitingForInput};
    use proptest::prelude::*;

    fn timeline(recording: &Recorded) -> Timeline {
        let mut timeline = Timeline::new(&recording.layout);
        for sample in &recording.samples {
            timeline.record(sample);
        }
        timeline
    }

    #[test]
    fn a_column_tells_the_share_of_each_shade() {
        let recording = Recorded::new(1)
            .sample(0, &[Running])
            .sample(100, &[WaitingForInput])
            .sample(150, &[BlockedOnOutput])
            .sample(200, &[Running]);
        let columns = timeline(&recording).shares(0, 2);
        let share = |column: usize, shade: Shade| columns[column][shade as usize];
        assert!((share(0, Shade::Running) - 1.0).abs() < 1e-9);
        assert!((share(1, Shade::WaitingForInput) - 0.5).abs() < 1e-9);
        assert!((share(1, Shade::BlockedOnOutput) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_rate_belongs_to_the_interval_before_it_and_an_unknown_one_is_not_zero() {
        let both = [Running; 2];
        let recording = Recorded::new(2)
            .sample(0, &both)
            .sample(1000, &both)
            .rate(0, Some(100.0))
            .sample(2000, &both)
            .rate(0, None);
        let rates = timeline(&recording).rates(0, 4).into_iter();
        let rates: Vec<_> = rates.map(|rate| rate.map(f64::round)).collect();
        assert_eq!(rates, [Some(100.0), Some(100.0), None, None]);
    }

    #[test]
    fn a_pipe_that_is_gone_is_not_empty() {
        let both = [Running; 2];
        let recording = Recorded::new(2)
            .sample(0, &both)
            .level(0, 4096, 4096)
            .sample(100, &both)
            .sample(200, &both);
        let full = Fill {
            unread: 1.0,
            full: 1.0,
        };
        assert_eq!(timeline(&recording).fills(0, 2), [Some(full), None]);
    }

    #[test]
    fn a_run_of_hours_takes_no_more_columns_than_one_of_a_minute() {
        let running = [Running; 2];
        let mut timeline = Timeline::new(&Recorded::new(2).layout);
        for minute in 0..60 * 24 {
            let recording = Recorded::new(2)
                .sample(minute * 60_000, &running)
                .level(0, 2048, 4096)
                .rate(0, Some(5e6));
            timeline.record(&recording.samples[0]);
            assert!(timeline.stages[0].0.len() <= MOST_COLUMNS);
        }
        let shares = timeline.shares(1, 480);
        let running = |shares: &Shares| (shares[Shade::Running as usize] - 1.0).abs() < 1e-6;
        assert!(shares.iter().all(running), "{shares:?}");
        let fills = timeline.fills(0, 6);
        let half = |fill: &Option<Fill>| fill.is_some_and(|fill| (fill.unread - 0.5).abs() < 1e-6);
        assert!(fills.iter().all(half), "{fills:?}");
    }

    proptest! {
        #[test]
        fn each_column_is_shared_out_in_full(recording in recordings::any(3, 50), columns in 1..200_usize) {
            let timeline = timeline(&recording);
            for stage in 0..recording.layout.stages.len() {
                for shares in timeline.shares(stage, columns) {
                    let sum: f64 = shares.iter().sum();
                    let expected = if timeline.span().is_zero() { 0.0 } else { 1.0 };
                    prop_assert!((sum - expected).abs() < 1e-6, "{sum}");
                }
            }
        }
    }
}
