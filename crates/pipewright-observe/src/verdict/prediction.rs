//! The worth of a faster bottleneck: the time that the other stages would still take.

use serde::{Deserialize, Serialize};

use crate::sampler::Layout;
use crate::verdict::finding::HARDLY_WAITS;
use crate::verdict::reason::Bottleneck;
use crate::verdict::reason::{CROWDED, LONGEST, Reason, shortened};
use crate::verdict::shares::StageShares;
use crate::verdict::tally::Tally;

/// Less time than this is told as "less than".
const LEAST: f64 = 1.0 / 20.0;
/// A gain smaller than this is none: shares are known to a few points.
const WORTH_IT: f64 = 1.1;

/// The pipeline without its bottleneck: the time that it would take if that stage cost nothing.
///
/// Each stage has work of its own, and waits for the others during the rest of the time. As all run
/// side by side, the whole takes as long as the busiest stage. Without the bottleneck that is the
/// busiest of the others. The CPU time of the others, shared out over the cores, is the limit if it is
/// longer. Waiting costs CPU time too, where it is for a few pages again and again: that goes with the
/// bottleneck.
///
/// ```
/// use pipewright_observe::verdict::{Limit, Prediction};
///
/// let without = Prediction { time: 0.196, limit: Limit::Stage { stage: 0, command: "zcat x".into() }, cpus: 1.2, cpu: 0.98 };
/// assert_eq!(
///     without.sentence(),
///     "without it the pipeline would take at best 1/5.1 of the time; then stage 1 (zcat x) would limit it"
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Share of the time that the pipeline would take, from 0 to 1.
    pub time: f64,
    /// What would hold it up then.
    pub limit: Limit,
    /// CPUs that all stages together used on average, 1.0 being one core.
    pub cpus: f64,
    /// The part of `cpus` that the bottleneck used.
    pub cpu: f64,
}

/// What would hold the pipeline up next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Limit {
    /// Another stage.
    Stage {
        /// Its index.
        stage: usize,
        /// Its command line, safe to show.
        command: String,
    },
    /// All the others, which share too few cores.
    Cores,
}

/// The cores that the other stages will share: those that the pipeline had, where all were busy; else all that
/// there are.
fn cores(tally: &Tally, stages: &[StageShares], bottleneck: &Bottleneck, had: f64) -> f64 {
    let waiting: f64 = stages.iter().map(|it| it.waiting_for_cpu).sum();
    let on_cpu: f64 = stages.iter().map(|it| it.on_cpu).sum();
    let crowded =
        |waiting: f64, on_cpu: f64| waiting >= CROWDED * (waiting + on_cpu).max(f64::EPSILON);
    // The others may only have been woken on the core of the one that keeps one busy.
    let own = &stages[bottleneck.stage];
    if crowded(waiting, on_cpu) && crowded(own.waiting_for_cpu, own.on_cpu) {
        return had;
    }
    tally
        .cores
        .map_or(f64::INFINITY, |cores| cores as f64)
        .max(had)
}

impl Prediction {
    /// Predicts from what the stages did. `None` where removing the bottleneck means nothing (what is
    /// slow lies outside the pipeline, or is a person) or where the others could not be looked at.
    pub(super) fn of(
        layout: &Layout,
        tally: &Tally,
        stages: &[StageShares],
        bottleneck: &Bottleneck,
    ) -> Option<Self> {
        match bottleneck.reason {
            Reason::InputSlow | Reason::ConsumerSlow | Reason::Stopped | Reason::Person => {
                return None;
            }
            _ => {}
        }
        let others = || (0..stages.len()).filter(|&stage| stage != bottleneck.stage);
        if others().any(|stage| stages[stage].unknown > 1.0 - HARDLY_WAITS) {
            return None;
        }
        // What the others spend on waiting for their neighbours goes with the bottleneck. The kernel
        // counts CPU time in full, where samples catch it by chance.
        let waits = |stage: usize| tally.cpus_for_waits(layout, stage);
        let cpus = |stage: usize| {
            let counted = tally.cpus_counted(stage);
            counted.unwrap_or(stages[stage].on_cpu)
        };
        let work = |stage: usize| {
            let (has_input, has_output) = (layout.has_input(stage), layout.has_output(stage));
            let shares = &stages[stage];
            let own = shares.own(has_input, has_output);
            // Processes of one stage that compute at the same time count once.
            let on_cpu =
                (cpus(stage) - waits(stage)).min(1.0 - shares.waiting_for_something_else());
            (own - shares.waiting_for_cpu - shares.on_cpu + on_cpu.max(0.0)).clamp(0.0, 1.0)
        };
        let (next, mut time) = others()
            .map(|stage| (stage, work(stage)))
            .max_by(|(_, one), (_, other)| one.total_cmp(other))?;
        let mut limit = Limit::Stage {
            stage: next,
            command: layout.stages[next].command.clone(),
        };
        let cpu = cpus(bottleneck.stage);
        let all = (0..stages.len()).map(cpus).sum::<f64>();
        let left: f64 = others()
            .map(|stage| (cpus(stage) - waits(stage)).max(0.0))
            .sum();
        let together = left / cores(tally, stages, bottleneck, all).max(f64::EPSILON);
        if together > time {
            (time, limit) = (together, Limit::Cores);
        }
        Some(Self {
            time: time.min(1.0),
            limit,
            cpus: all,
            cpu,
        })
    }

    /// The prediction as a sentence, without a full stop. It goes on after one about the bottleneck.
    pub fn sentence(&self) -> String {
        let next = match &self.limit {
            Limit::Stage { stage, command } => {
                format!("stage {} ({})", stage + 1, shortened(command, LONGEST))
            }
            Limit::Cores => "the number of cores".to_owned(),
        };
        match self.time {
            time if time < LEAST => format!(
                "without it the pipeline would take at best less than 1/20 of the time; then {next} would limit it"
            ),
            time if time * WORTH_IT > 1.0 => {
                format!("without it the pipeline would be hardly faster: {next} would limit it")
            }
            time => format!(
                "without it the pipeline would take at best 1/{:.1} of the time; then {next} would limit it",
                1.0 / time
            ),
        }
    }

    /// How many times faster the pipeline could be if this many workers shared the bottleneck's work,
    /// on so many cores. `None` where the gain would not be worth a word.
    pub fn with_workers(&self, workers: usize, cores: usize) -> Option<f64> {
        let shared = 1.0 / workers.max(1) as f64;
        let on_cores = self.cpus / cores.max(1) as f64;
        let time = self.time.max(shared).max(on_cores);
        (time * WORTH_IT <= 1.0).then(|| 1.0 / time)
    }
}
