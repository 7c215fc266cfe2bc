//! One pipeline being watched: the sampler, what it has seen so far, and what can be told of it at
//! any moment.

use std::time::Duration;

use pipewright_observe::verdict::{History, Verdict};
use pipewright_observe::{Figures, Layout, Sample, Sampler};

/// What counts as the recent past, for the live view's verdict.
const RECENT: Duration = Duration::from_secs(5);

/// A pipeline under observation.
#[derive(Debug)]
pub(crate) struct Observation {
    sampler: Sampler,
    history: History,
    latest: Option<Sample>,
    figures: Option<Figures>,
    /// Every sample, where somebody wants them all at the end.
    samples: Option<Vec<Sample>>,
}

/// All that was seen of a run.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) layout: Layout,
    pub(crate) samples: Vec<Sample>,
    pub(crate) verdict: Verdict,
}

impl Recording {
    /// Of a run that was over before it could be watched.
    pub(crate) fn empty() -> Self {
        let layout = Layout::default();
        Self {
            verdict: Verdict::of(&layout, []),
            layout,
            samples: Vec::new(),
        }
    }
}

impl Observation {
    /// Watches what the sampler watches. `keep`: every sample is kept for the end.
    pub(crate) fn new(sampler: Sampler, keep: bool) -> Self {
        let history = History::new(sampler.layout().clone(), RECENT);
        Self {
            sampler,
            history,
            latest: None,
            figures: None,
            samples: keep.then(Vec::new),
        }
    }

    /// When the next look is due; zero: now.
    pub(crate) fn due_in(&self) -> Duration {
        self.sampler.due_in()
    }

    /// Looks, if it is time. Returns whether it did.
    pub(crate) fn tick(&mut self) -> bool {
        if !self.sampler.due_in().is_zero() {
            return false;
        }
        let sample = self.sampler.tick();
        self.record(sample);
        true
    }

    /// Looks once more, with figures: when a stage has ended and has not been waited for, its zombie
    /// still has them.
    pub(crate) fn look_at_end(&mut self) {
        let sample = self.sampler.finish();
        self.record(sample);
    }

    fn record(&mut self, sample: Sample) {
        self.history.record(&sample);
        if sample.figures.is_some() {
            self.figures.clone_from(&sample.figures);
        }
        if let Some(samples) = &mut self.samples {
            samples.push(sample.clone());
        }
        self.latest = Some(sample);
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

    /// What was seen, if it was kept.
    pub(crate) fn into_recording(self) -> Recording {
        Recording {
            verdict: self.history.overall(),
            layout: self.sampler.layout().clone(),
            samples: self.samples.unwrap_or_default(),
        }
    }
}
