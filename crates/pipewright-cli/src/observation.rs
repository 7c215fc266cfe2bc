//! One pipeline being watched: the sampler, what it has seen so far, and what can be told of it at
//! any moment.

use std::time::Duration;

use pipewright_observe::verdict::{History, Verdict};
use pipewright_observe::{Figures, Layout, Sample, Sampler};

use crate::outcome::Observed;

/// The recent past, for the live view's verdict.
const RECENT: Duration = Duration::from_secs(5);

/// A pipeline under observation.
#[derive(Debug)]
pub(crate) struct Observation {
    sampler: Sampler,
    history: History,
    latest: Option<Sample>,
    figures: Option<Figures>,
    before: usize,
}

impl Observation {
    /// Watches what the sampler watches.
    pub(crate) fn new(sampler: Sampler) -> Self {
        let history = History::new(sampler.layout().clone(), RECENT);
        Self {
            sampler,
            history,
            latest: None,
            figures: None,
            before: 0,
        }
    }

    /// So many stages of the pipeline come before those that are watched.
    pub(crate) fn behind(self, before: usize) -> Self {
        Self { before, ..self }
    }

    /// The number of stages that come before those that are watched.
    pub(crate) fn before(&self) -> usize {
        self.before
    }

    /// The time until the next look; zero: it is due.
    pub(crate) fn due_in(&self) -> Duration {
        self.sampler.due_in()
    }

    /// Looks, if it is time.
    pub(crate) fn tick(&mut self) -> Option<&Sample> {
        if !self.sampler.due_in().is_zero() {
            return None;
        }
        let sample = self.sampler.tick();
        Some(self.record(sample))
    }

    /// Looks once more, with figures: when a stage has ended and has not been waited for, its zombie
    /// still has them.
    pub(crate) fn look_at_end(&mut self) -> &Sample {
        let sample = self.sampler.finish();
        self.record(sample)
    }

    fn record(&mut self, sample: Sample) -> &Sample {
        self.history.record(&sample);
        if sample.figures.is_some() {
            self.figures.clone_from(&sample.figures);
        }
        self.latest.insert(sample)
    }

    pub(crate) fn layout(&self) -> &Layout {
        self.sampler.layout()
    }

    /// The newest sample.
    pub(crate) fn latest(&self) -> Option<&Sample> {
        self.latest.as_ref()
    }

    /// The newest figures: CPU, bytes, rates.
    pub(crate) fn figures(&self) -> Option<&Figures> {
        self.figures.as_ref()
    }

    /// The verdict on the last seconds.
    pub(crate) fn recent(&self) -> Verdict {
        self.history.recent()
    }

    /// The verdict on the whole run.
    pub(crate) fn overall(&self) -> Verdict {
        self.history.overall()
    }

    /// All that was seen.
    pub(crate) fn into_observed(self) -> Observed {
        Observed {
            verdict: self.overall(),
            layout: self.layout().clone(),
            figures: self.figures,
            input: None,
            before: self.before,
        }
    }
}
