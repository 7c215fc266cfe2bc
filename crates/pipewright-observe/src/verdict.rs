//! Which stage the others wait for, and why: pure.
//!
//! A pipeline is as fast as the stage that hardly ever waits for its neighbours. Every other stage
//! waits in its pipes for part of the time; that one is always occupied with something of its own: a
//! CPU, a disk, the clock, or the world outside the pipeline. That share of time is called the
//! stage's *own* time here. The stage with clearly the most own time is the bottleneck; where two are
//! close, the pipes between them decide: full before the bottleneck, empty after it.
//!
//! ```
//! use pipewright_observe::verdict::StageShares;
//!
//! // In `cat log | gzip`: cat waits for gzip most of the time, gzip for nobody.
//! let cat = StageShares { blocked_on_output: 0.9, on_cpu: 0.1, ..StageShares::default() };
//! let gzip = StageShares { on_cpu: 1.0, ..StageShares::default() };
//! assert!(gzip.own(true, false) > cat.own(false, true));
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::finding::Finding;
pub use self::phases::Phase;
use self::phases::Windows;
pub use self::prediction::{Limit, Prediction};
pub use self::reason::{Bottleneck, Reason};
pub use self::shares::{PipeShares, StageShares};
pub use self::spool::SpoolShares;
use self::tally::Tally;
use crate::sampler::{Layout, Sample};

mod advice;
mod finding;
mod phases;
mod prediction;
mod reason;
mod shares;
mod spool;
mod tally;
mod waits;

/// Shares of time, and what follows from them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Verdict {
    /// Time from the first sample to the last, in seconds.
    pub seconds: f64,
    /// Number of samples.
    pub samples: u64,
    /// One for each stage.
    pub stages: Vec<StageShares>,
    /// One for each pipe; `None` where it may not be looked at.
    pub pipes: Vec<Option<PipeShares>>,
    /// The conclusion.
    pub finding: Finding,
    /// The pipeline without its bottleneck; `None` where there is none, or nothing to be foretold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction: Option<Prediction>,
    /// The bottlenecks in turn; empty where it did not move, and in a verdict on the recent past.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Phase>,
    /// The stages that are spools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spools: Vec<SpoolShares>,
}

impl Verdict {
    /// Judges a series of samples of one pipeline.
    ///
    /// ```
    /// use std::time::Duration;
    /// use pipewright_observe::verdict::{Finding, Reason, Verdict};
    /// use pipewright_observe::{Activity, Layout, PipeId, PipeLayout, ProcessId, Sample, StageLayout};
    ///
    /// let stage = |pid, command: &str| StageLayout {
    ///     process: ProcessId { pid, start_time: 1 },
    ///     command: command.into(),
    /// };
    /// let layout = Layout {
    ///     stages: vec![stage(10, "cat access.log"), stage(11, "gzip -9")],
    ///     pipes: vec![PipeLayout { pipe: PipeId(1), writers: vec![0], readers: vec![1] }],
    /// };
    /// let samples: Vec<Sample> = (0..100)
    ///     .map(|n| Sample {
    ///         at: Duration::from_millis(20 * n),
    ///         stages: vec![Activity::BlockedOnOutput, Activity::Running],
    ///         pipes: vec![None],
    ///         figures: None,
    ///     })
    ///     .collect();
    ///
    /// let verdict = Verdict::of(&layout, &samples);
    /// let Finding::Bottleneck(bottleneck) = &verdict.finding else { panic!("a bottleneck") };
    /// assert_eq!(bottleneck.stage, 1);
    /// assert_eq!(bottleneck.reason, Reason::Cpu);
    /// assert!(bottleneck.advice().unwrap().contains("pigz"));
    /// ```
    pub fn of<'a>(layout: &Layout, samples: impl IntoIterator<Item = &'a Sample>) -> Self {
        let mut tally = Tally::new(layout);
        let mut windows = Windows::new(layout);
        for sample in samples {
            tally.add(sample);
            windows.add(layout, sample);
        }
        Self {
            phases: windows.phases(layout),
            ..Self::from_tally(layout, &tally)
        }
    }

    fn from_tally(layout: &Layout, tally: &Tally) -> Self {
        let (finding, stages, pipes) = finding::judge(layout, tally);
        let prediction = match &finding {
            Finding::Bottleneck(found) => Prediction::of(layout, tally, &stages, found),
            _ => None,
        };
        Self {
            prediction,
            phases: Vec::new(),
            spools: tally.spool_shares(&stages),
            seconds: tally.span().as_secs_f64(),
            samples: tally.samples,
            stages,
            pipes,
            finding,
        }
    }

    /// The conclusion as a sentence, without a full stop.
    pub fn sentence(&self) -> String {
        match &self.finding {
            Finding::Bottleneck(bottleneck) => bottleneck.sentence(),
            Finding::Balanced if !self.phases.is_empty() => {
                "no single bottleneck: the stages held each other up in turn".into()
            }
            Finding::Balanced => "no bottleneck: the stages are about equally fast".into(),
            Finding::TooShort => format!(
                "too short to tell: {:.2} s, {} samples",
                self.seconds, self.samples
            ),
            Finding::Hidden => {
                "cannot tell: the stages that matter may not be looked at (another user's), or do not answer".into()
            }
            Finding::Ended => "every stage has ended".into(),
        }
    }

    /// Advice on what could be done, where there is some.
    pub fn advice(&self) -> Option<String> {
        match &self.finding {
            Finding::Bottleneck(bottleneck) => bottleneck.advice(),
            Finding::Balanced if self.pipes.iter().flatten().any(PipeShares::swings) => Some(
                "a pipe keeps filling up and running empty: a larger one would let its two stages run side by \
                 side for longer (pipewright resize)"
                    .into(),
            ),
            _ => None,
        }
    }
}

/// The samples of a run, kept as sums, and the latest of them one by one: the verdict on the whole
/// run and on the recent past, which may differ. `sort` waits for its input, then computes, then
/// waits for its reader.
///
/// ```
/// use std::time::Duration;
/// use pipewright_observe::verdict::History;
/// use pipewright_observe::{Activity, Sample};
/// # use pipewright_observe::{Layout, ProcessId, StageLayout};
///
/// # let process = ProcessId { pid: 10, start_time: 1 };
/// # let stages = vec![StageLayout { process, command: "gzip -9".into() }];
/// # let layout = Layout { stages, pipes: vec![] };
/// # let sample = |n: u64, activity: Activity| Sample {
/// #     at: Duration::from_millis(20 * n),
/// #     stages: vec![activity],
/// #     pipes: vec![],
/// #     figures: None,
/// # };
/// let mut history = History::new(layout, Duration::from_secs(1));
/// for n in 0..200 {
///     history.record(&sample(n, if n < 100 { Activity::Disk } else { Activity::Running }));
/// }
/// assert_eq!(history.overall().stages[0].disk, 0.5);
/// assert_eq!(history.recent().stages[0].disk, 0.0); // the last 51 samples
/// ```
#[derive(Debug, Clone)]
pub struct History {
    layout: Layout,
    whole: Tally,
    windows: Windows,
    recent: VecDeque<Sample>,
    window: Duration,
}

impl History {
    /// Starts an empty history. `window` is what counts as the recent past.
    pub fn new(layout: Layout, window: Duration) -> Self {
        Self {
            whole: Tally::new(&layout),
            windows: Windows::new(&layout),
            layout,
            recent: VecDeque::new(),
            window,
        }
    }

    /// Takes note of one more sample.
    pub fn record(&mut self, sample: &Sample) {
        self.whole.add(sample);
        self.windows.add(&self.layout, sample);
        self.recent.push_back(sample.clone());
        while self
            .recent
            .front()
            .is_some_and(|oldest| sample.at.saturating_sub(oldest.at) > self.window)
        {
            self.recent.pop_front();
        }
    }

    /// The verdict on the whole run so far.
    pub fn overall(&self) -> Verdict {
        Verdict {
            phases: self.windows.phases(&self.layout),
            ..Verdict::from_tally(&self.layout, &self.whole)
        }
    }

    /// The verdict on the recent past.
    pub fn recent(&self) -> Verdict {
        let mut tally = Tally::new(&self.layout);
        self.recent.iter().for_each(|sample| tally.add(sample));
        Verdict::from_tally(&self.layout, &tally)
    }

    /// The shape of the pipeline.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }
}
