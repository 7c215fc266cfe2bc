//! The conclusion of watching a pipeline, in JSON.

use pipewright_observe::verdict::{Bottleneck, Finding, Limit, Phase, Prediction, Reason};
use serde::Serialize;

use super::values::{Word, rate, share};
use crate::outcome::Observed;

#[derive(Debug, Serialize)]
pub(super) struct Conclusion<'a> {
    sentence: String,
    advice: Option<String>,
    finding: Found<'a>,
    /// Null: nothing can be foretold.
    prediction: Option<Foretold>,
    /// Empty: the bottleneck stayed where it was.
    phases: Vec<Turn<'a>>,
    seconds: f64,
    samples: u64,
}

#[derive(Debug, Serialize)]
struct Found<'a> {
    kind: &'static str,
    bottleneck: Option<Slowest<'a>>,
}

/// The stage that the others waited for.
#[derive(Debug, Serialize)]
struct Slowest<'a> {
    stage: usize,
    command: &'a str,
    program: Option<&'a str>,
    reason: Word<Reason>,
    own_share: f64,
    cpus: Option<f64>,
}

/// The pipeline if its bottleneck cost nothing.
#[derive(Debug, Serialize)]
struct Foretold {
    sentence: String,
    /// Share of the time that it would take.
    time_share: f64,
    /// Number of the stage that would limit it then; null: the number of cores would.
    limiting_stage: Option<usize>,
}

/// A stretch of time with one bottleneck.
#[derive(Debug, Serialize)]
struct Turn<'a> {
    from_seconds: f64,
    until_seconds: f64,
    /// Null: no stage held the others up.
    stage: Option<usize>,
    command: Option<&'a str>,
    reason: Option<Word<Reason>>,
}

impl<'a> Conclusion<'a> {
    pub(super) fn of(observed: &'a Observed) -> Self {
        let verdict = &observed.verdict;
        Self {
            sentence: verdict.sentence(),
            advice: verdict.advice(),
            finding: Found::of(&verdict.finding),
            prediction: verdict.prediction.as_ref().map(Foretold::of),
            phases: verdict.phases.iter().map(Turn::of).collect(),
            seconds: rate(verdict.seconds),
            samples: verdict.samples,
        }
    }
}

impl<'a> Found<'a> {
    fn of(finding: &'a Finding) -> Self {
        let (kind, bottleneck) = match finding {
            Finding::Bottleneck(found) => ("bottleneck", Some(Slowest::of(found))),
            Finding::Balanced => ("balanced", None),
            Finding::TooShort => ("too_short", None),
            Finding::Ended => ("ended", None),
            _ => ("hidden", None),
        };
        Self { kind, bottleneck }
    }
}

impl<'a> Slowest<'a> {
    fn of(found: &'a Bottleneck) -> Self {
        Self {
            stage: found.stage + 1,
            command: &found.command,
            program: found.program.as_deref(),
            reason: Word(found.reason),
            own_share: share(found.own),
            cpus: found.cpus.map(rate),
        }
    }
}

impl Foretold {
    fn of(prediction: &Prediction) -> Self {
        let limiting_stage = match &prediction.limit {
            Limit::Stage { stage, .. } => Some(stage + 1),
            _ => None,
        };
        Self {
            sentence: prediction.sentence(),
            time_share: share(prediction.time),
            limiting_stage,
        }
    }
}

impl<'a> Turn<'a> {
    fn of(phase: &'a Phase) -> Self {
        let found = phase.bottleneck.as_ref();
        Self {
            from_seconds: rate(phase.from_seconds),
            until_seconds: rate(phase.until_seconds),
            stage: found.map(|found| found.stage + 1),
            command: found.map(|found| &*found.command),
            reason: found.map(|found| Word(found.reason)),
        }
    }
}
