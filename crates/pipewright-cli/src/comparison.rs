//! Pipelines run in turn, and what came of it: `run --compare` makes it, views and exports read it.
//! Pure.

pub(crate) mod statistics;

use std::collections::BTreeMap;

use pipewright_observe::verdict::Finding;

use crate::outcome::{Observed, Outcome, Stage};
use statistics::{Ratio, Summary, mean};

/// What is known of pipelines that were run in turn.
#[derive(Debug)]
pub(crate) struct Comparison {
    /// In the order in which they were given; two at least.
    pub(crate) contenders: Vec<Contender>,
    /// The rounds that were asked for.
    pub(crate) rounds: usize,
}

/// One of the pipelines, and its runs.
#[derive(Debug)]
pub(crate) struct Contender {
    /// Its text in one line, safe to show.
    pub(crate) name: String,
    /// Its text as it was given.
    pub(crate) text: String,
    /// The runs before these, which are not measured.
    pub(crate) warm_ups: Vec<Run>,
    pub(crate) runs: Vec<Run>,
}

/// One run of one of them.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) outcome: Outcome,
    pub(crate) output: Digest,
}

/// An output by its length and its hash. Those of one comparison can be compared, no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) bytes: u64,
    pub(crate) hash: u64,
}

/// What the outputs are to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outputs {
    Equal(Digest),
    /// Each pipeline's is the same from run to run.
    Differ,
    /// Those of these pipelines, by their indices, change from run to run.
    NotDeterministic(Vec<usize>),
    /// A pipeline has not been run yet.
    Unknown,
}

/// The average of a stage over the runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct StageMeans {
    /// In seconds.
    pub(crate) cpu: f64,
    /// Shares of time; `None` where no run was long enough to be judged.
    pub(crate) waiting_for_input: Option<f64>,
    pub(crate) blocked_on_output: Option<f64>,
}

/// The conclusion that most runs came to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Conclusion {
    /// The index of the stage that the others waited for.
    pub(crate) bottleneck: Option<usize>,
    pub(crate) sentence: String,
    pub(crate) advice: Option<String>,
    /// So many runs came to it.
    pub(crate) runs: usize,
    /// Of so many that were judged.
    pub(crate) judged: usize,
}

impl Comparison {
    /// The index of the fastest pipeline: by the geometric mean, as ratios are taken, so that none is
    /// below 1.
    pub(crate) fn fastest(&self) -> Option<usize> {
        let contenders = self.contenders.iter().enumerate();
        contenders
            .filter(|(_, it)| !it.runs.is_empty())
            .map(|(index, it)| {
                let logarithms: Vec<f64> = it.times().iter().map(|time| time.ln()).collect();
                (index, mean(&logarithms))
            })
            .min_by(|one, other| one.1.total_cmp(&other.1))
            .map(|(index, _)| index)
    }

    /// The time of a pipeline over that of the fastest, from the rounds that both ran in.
    pub(crate) fn ratio(&self, contender: usize) -> Option<Ratio> {
        let fastest = &self.contenders[self.fastest()?];
        Ratio::of(&self.contenders[contender].times(), &fastest.times())
    }

    pub(crate) fn outputs(&self) -> Outputs {
        let digests: Vec<Vec<Digest>> = self.contenders.iter().map(Contender::digests).collect();
        if digests.iter().any(Vec::is_empty) {
            return Outputs::Unknown;
        }
        let changes = |index: &usize| digests[*index].iter().any(|it| *it != digests[*index][0]);
        let changing: Vec<usize> = (0..digests.len()).filter(changes).collect();
        let first = digests[0][0];
        if !changing.is_empty() {
            Outputs::NotDeterministic(changing)
        } else if digests.iter().all(|it| it[0] == first) {
            Outputs::Equal(first)
        } else {
            Outputs::Differ
        }
    }

    /// Zero, or the status of the first run that failed.
    pub(crate) fn exit_code(&self) -> u8 {
        let runs = self.contenders.iter().flat_map(Contender::all);
        let mut codes = runs.map(|run| run.outcome.exit_code());
        codes.find(|code| *code != 0).unwrap_or(0)
    }
}

impl Contender {
    /// The wall times of its runs, in seconds.
    pub(crate) fn times(&self) -> Vec<f64> {
        let runs = self.runs.iter();
        runs.map(|run| run.outcome.wall.as_secs_f64()).collect()
    }

    pub(crate) fn summary(&self) -> Option<Summary> {
        Summary::of(&self.times())
    }

    /// Its warm-ups, and then its runs.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Run> {
        self.warm_ups.iter().chain(&self.runs)
    }

    /// Of all its outputs.
    pub(crate) fn digests(&self) -> Vec<Digest> {
        self.all().map(|run| run.output).collect()
    }

    /// The runs that failed, warm-ups among them.
    pub(crate) fn failures(&self) -> impl Iterator<Item = &Run> {
        self.all().filter(|run| run.outcome.exit_code() != 0)
    }

    /// The CPU time of all stages, in seconds: the average in user mode, and in the kernel.
    pub(crate) fn cpu(&self) -> Option<(f64, f64)> {
        let of = |part: fn(&Stage) -> f64| -> Vec<f64> {
            let runs = self.runs.iter();
            runs.map(|run| run.outcome.stages.iter().map(part).sum())
                .collect()
        };
        let user = of(|stage| stage.usage.user.as_secs_f64());
        let system = of(|stage| stage.usage.system.as_secs_f64());
        (!self.runs.is_empty()).then(|| (mean(&user), mean(&system)))
    }

    /// The averages of its stages, from the first to the last. Empty where there was no run.
    pub(crate) fn stages(&self) -> Vec<StageMeans> {
        let stages = self.runs.first().map_or(0, |run| run.outcome.stages.len());
        let averages = (0..stages).map(|index| {
            let cpu: Vec<f64> = self
                .runs
                .iter()
                .filter_map(|run| run.outcome.stages.get(index))
                .map(|stage| stage.usage.cpu().as_secs_f64())
                .collect();
            let (waiting, blocked): (Vec<f64>, Vec<f64>) = self
                .judged()
                .filter_map(|it| it.verdict.stages.get(index))
                .map(|shares| (shares.waiting_for_input, shares.blocked_on_output))
                .unzip();
            let known = |shares: &[f64]| (!shares.is_empty()).then(|| mean(shares));
            StageMeans {
                cpu: mean(&cpu),
                waiting_for_input: known(&waiting),
                blocked_on_output: known(&blocked),
            }
        });
        averages.collect()
    }

    /// What was seen of the runs that were long enough to be judged.
    fn judged(&self) -> impl Iterator<Item = &Observed> {
        let runs = self.runs.iter();
        let observed = runs.filter_map(|run| run.outcome.observed.as_ref());
        observed.filter(|it| it.verdict.finding != Finding::TooShort)
    }

    /// What most of the runs came to that were judged. `None`: none was, or there is but one stage, for
    /// which nobody could have waited.
    pub(crate) fn conclusion(&self) -> Option<Conclusion> {
        let outcome = &self.runs.first()?.outcome;
        if outcome.whole.is_some() || outcome.stages.len() < 2 {
            return None;
        }
        let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for it in self.judged() {
            found.entry(it.bottleneck()).or_default().push(it);
        }
        let (bottleneck, most) = found.into_iter().max_by_key(|(_, runs)| runs.len())?;
        let verdict = &most[most.len() / 2].verdict;
        Some(Conclusion {
            bottleneck,
            sentence: verdict.sentence(),
            advice: verdict.advice(),
            runs: most.len(),
            judged: self.judged().count(),
        })
    }
}
