//! A pipeline at one moment, as the live view shows it. Pure.

pub(crate) mod brief;
mod fold;
mod foot;
pub(crate) mod line;
mod rows;

use std::time::Duration;

use pipewright_observe::verdict::SpoolShares;
use pipewright_observe::{Activity, PipeLevel};

use self::brief::Brief;
use super::text;
use super::units::percent;
use crate::observation::Observation;
use crate::outcome;
use crate::progress::Progress;

/// A pipeline at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) elapsed: Duration,
    pub(crate) stages: Vec<StageRow>,
    pub(crate) pipes: Vec<PipeRow>,
    pub(crate) finding: String,
    pub(crate) brief: Brief,
    pub(crate) advice: Option<String>,
    /// The pipeline without its bottleneck.
    pub(crate) worth: Option<String>,
    /// Those of the stages that keep the stream on disk.
    pub(crate) spools: Vec<SpoolShares>,
    pub(crate) progress: Option<Progress>,
    /// Stages of the pipeline that come before these.
    pub(crate) before: usize,
    /// The pipeline is as old as `elapsed`: not only the time that somebody watches it.
    pub(crate) since_start: bool,
}

/// One stage.
#[derive(Debug, Clone)]
pub(crate) struct StageRow {
    /// The command, safe for a terminal.
    pub(crate) command: String,
    /// Cores used over the last interval.
    pub(crate) cpus: Option<f64>,
    pub(crate) activity: Option<Activity>,
    pub(crate) bottleneck: bool,
    pub(crate) selected: bool,
}

/// One pipe, from and to stages by index.
#[derive(Debug, Clone)]
pub(crate) struct PipeRow {
    pub(crate) writers: Vec<usize>,
    pub(crate) readers: Vec<usize>,
    /// Bytes a second, estimated; unknown is not zero.
    pub(crate) rate: Option<f64>,
    /// Bytes so far, estimated.
    pub(crate) bytes: Option<u64>,
    pub(crate) level: Option<PipeLevel>,
    /// Shares of the recent past.
    pub(crate) full: f64,
    pub(crate) empty: f64,
}

impl Frame {
    /// The newest of an observation.
    pub(crate) fn of(
        observation: &Observation,
        elapsed: Duration,
        progress: Option<Progress>,
    ) -> Self {
        let verdict = observation.recent();
        let layout = observation.layout();
        let figures = observation.figures();
        let latest = observation.latest();
        let bottleneck = outcome::bottleneck(&verdict);
        let stages = layout
            .stages
            .iter()
            .enumerate()
            .map(|(index, stage)| StageRow {
                command: text::line(&stage.command),
                cpus: figures.and_then(|figures| Some(figures.stages.get(index)?.cpus)),
                activity: latest.and_then(|sample| sample.stages.get(index).copied()),
                bottleneck: bottleneck == Some(index),
                selected: false,
            });
        let before = observation.before();
        let verdict = outcome::behind(verdict, before);
        let pipes = layout.pipes.iter().enumerate().map(|(index, pipe)| {
            let shares = verdict.pipes.get(index).and_then(Option::as_ref);
            let figures = figures.and_then(|figures| figures.pipes.get(index));
            PipeRow {
                writers: pipe.writers.clone(),
                readers: pipe.readers.clone(),
                rate: figures.and_then(|figures| figures.rate),
                bytes: figures.and_then(|figures| figures.bytes),
                level: latest.and_then(|sample| *sample.pipes.get(index)?),
                full: shares.map_or(0.0, |shares| shares.full),
                empty: shares.map_or(0.0, |shares| shares.empty),
            }
        });
        Self {
            elapsed,
            stages: stages.collect(),
            pipes: pipes.collect(),
            finding: text::line(&verdict.sentence()),
            brief: Brief::of(&verdict.finding),
            advice: verdict.advice(),
            worth: verdict.prediction.map(|it| text::line(&it.sentence())),
            spools: verdict.spools,
            progress,
            before,
            since_start: false,
        }
    }

    /// The frame with one stage marked as the one that keys act on.
    pub(crate) fn selected(&self, stage: usize) -> Self {
        let mut marked = self.clone();
        if let Some(stage) = marked.stages.get_mut(stage) {
            stage.selected = true;
        }
        marked
    }
}

impl PipeRow {
    /// The neighbour that it holds up, if it does so for a noteworthy time.
    fn pressure(&self) -> Option<String> {
        if self.full >= 0.1 && self.full >= self.empty {
            Some(format!("writer blocked {}", percent(self.full)))
        } else if self.empty >= 0.1 {
            Some(format!("reader waiting {}", percent(self.empty)))
        } else {
            None
        }
    }
}

impl StageRow {
    /// `93 % cpu`; empty before there are figures.
    fn cpu(&self) -> String {
        self.cpus
            .map_or_else(String::new, |cpus| format!("{} cpu", percent(cpus)))
    }

    /// Its doing in words; empty before the first sample.
    fn state(&self) -> String {
        self.activity
            .map_or_else(String::new, |activity| activity.to_string())
    }
}
