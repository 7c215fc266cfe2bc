//! Which stage holds the others up: the finding from a tally.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sampler::Layout;
use crate::verdict::reason::{Bottleneck, CROWDED, Reason};
use crate::verdict::shares::{self, PipeShares, StageShares};
use crate::verdict::spool::SpoolShares;
use crate::verdict::tally::Tally;

/// Fewer samples than this prove nothing.
pub(super) const FEWEST_SAMPLES: u64 = 15;
/// Shorter than this, start-up is all there is to see.
const SHORTEST: Duration = Duration::from_millis(250);
/// By how much own time has to differ to be different.
const CLEAR_LEAD: f64 = 0.10;
/// By how much the pipes have to favour one of two equals.
const CLEAR_PIPES: f64 = 0.15;
/// A stage with less own time than this holds nobody up.
pub(super) const HARDLY_WAITS: f64 = 0.5;

/// The conclusion from the samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Finding {
    /// One stage holds the others up.
    Bottleneck(Bottleneck),
    /// No stage holds the others up: they are about equally fast.
    Balanced,
    /// There are too few samples, or they cover too short a time.
    TooShort,
    /// The stages that matter could not be looked at.
    Hidden,
    /// Every stage has ended throughout.
    Ended,
}

/// The finding alone, and the shares that it rests on.
pub(super) fn judge(
    layout: &Layout,
    tally: &Tally,
) -> (Finding, Vec<StageShares>, Vec<Option<PipeShares>>) {
    let stages = tally.stage_shares();
    let pipes = tally.pipe_shares();
    let finding = if tally.samples < FEWEST_SAMPLES || tally.span() < SHORTEST {
        Finding::TooShort
    } else {
        find(layout, tally, &stages, &pipes)
    };
    (finding, stages, pipes)
}

fn find(
    layout: &Layout,
    tally: &Tally,
    stages: &[StageShares],
    pipes: &[Option<PipeShares>],
) -> Finding {
    let own: Vec<f64> = (0..stages.len())
        .map(|stage| stages[stage].own(layout.has_input(stage), layout.has_output(stage)))
        .collect();
    // Where the backlog of a spool grows, those before it hold nobody up.
    let spools = tally.spool_shares(stages);
    let outruns = |stage: usize| {
        let mut later = spools.iter().filter(|spool| stage < spool.stage);
        later.any(SpoolShares::falls_behind)
    };
    let own: Vec<f64> = (0..stages.len())
        .map(|stage| if outruns(stage) { 0.0 } else { own[stage] })
        .collect();
    let best = own.iter().copied().fold(0.0, f64::max);
    if stages
        .iter()
        .all(|shares| shares.ended > 1.0 - f64::EPSILON)
    {
        return Finding::Ended;
    }
    // A hidden stage might have more own time than any that is seen.
    let hidden = stages
        .iter()
        .map(|shares| shares.unknown)
        .fold(0.0, f64::max);
    if hidden > HARDLY_WAITS && best < 1.0 - CLEAR_LEAD {
        return Finding::Hidden;
    }
    if best < HARDLY_WAITS {
        return Finding::Balanced;
    }
    let mut close: Vec<usize> = (0..stages.len())
        .filter(|&stage| best - own[stage] < CLEAR_LEAD)
        .collect();
    let evidence = |stage: usize| shares::evidence(layout, pipes, stage);
    close.sort_by(|&one, &other| evidence(other).total_cmp(&evidence(one)));
    let found = |stage: usize| {
        let reason = Reason::of(
            &stages[stage],
            layout.has_input(stage),
            layout.has_output(stage),
        );
        Finding::Bottleneck(Bottleneck {
            stage,
            command: layout.stages[stage].command.clone(),
            program: tally.program(stage),
            reason,
            own: own[stage],
            cpus: tally.cpus(stage),
        })
    };
    match close[..] {
        [only] => found(only),
        [first, second, ..] if evidence(first) - evidence(second) >= CLEAR_PIPES => found(first),
        // All of them want a CPU and have to share: the one that uses most of it counts.
        _ if close
            .iter()
            .any(|&stage| stages[stage].waiting_for_cpu >= CROWDED) =>
        {
            let on_cpu = |stage: &&usize| stages[**stage].on_cpu;
            let most = close
                .iter()
                .max_by(|one, other| on_cpu(one).total_cmp(&on_cpu(other)));
            most.map_or(Finding::Balanced, |&stage| found(stage))
        }
        _ => Finding::Balanced,
    }
}
