//! Stages that workers run: which, how they are started, and what they came to.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsString;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};

use pipewright::{PipeReader, PipeWriter};
use pipewright_observe::verdict::{Finding, Reason, Verdict};
use pipewright_workers::{Classified, classify_in};

use crate::cli::{Auto, Widening};
use crate::outcome::ByWorkers;
use crate::shell::{StageText, Start};

/// The stages that workers run, by their indices.
#[derive(Debug, Default)]
pub(super) struct Wide(BTreeMap<usize, Stage>);

#[derive(Debug)]
struct Stage {
    workers: Auto<usize>,
    /// How often a run that dies is made again, if not as usual.
    retries: Option<u32>,
    told: PipeReader,
    tells: PipeWriter,
}

impl Stage {
    fn new(workers: Auto<usize>) -> anyhow::Result<Self> {
        let (told, tells) = pipewright::pipe()?;
        Ok(Self {
            workers,
            retries: None,
            told,
            tells,
        })
    }
}

/// The option whose value is of this run alone.
pub(super) const TOLD_TO: &str = "--told-to";

impl Wide {
    /// Finds the stages. One that was asked for by its number, and whose command is not known to allow
    /// it, is an error.
    pub(super) fn of(stages: &[StageText], asked: &Widening) -> anyhow::Result<Self> {
        let wide: Vec<(usize, Auto<usize>)> = match asked {
            Widening::Auto => {
                let cores = cores();
                let gains = |stage: &StageText| {
                    classified(stage).is_ok_and(|known| known.may_be_cut() && known.is_costly)
                };
                let stages = stages.iter().enumerate();
                let wide = stages.filter(|(_, stage)| cores > 1 && gains(stage));
                wide.map(|(index, _)| (index, Auto::Auto)).collect()
            }
            Widening::Stages(asked) => asked
                .iter()
                .map(|&(number, workers)| Ok((asked_for(stages, number)?, workers)))
                .collect::<anyhow::Result<_>>()?,
        };
        let wide = wide
            .into_iter()
            .map(|(index, workers)| Ok((index, Stage::new(workers)?)));
        Ok(Self(wide.collect::<anyhow::Result<_>>()?))
    }

    /// Has workers run a stage so that a run that dies is made again, `retries` times at most. The error
    /// is why they cannot.
    pub(super) fn retry(
        &mut self,
        stages: &[StageText],
        index: usize,
        retries: u32,
    ) -> anyhow::Result<()> {
        let refused = match classified(&stages[index]) {
            Ok(known) if known.may_be_cut() => None,
            Ok(known) => Some(known.reason),
            Err(reason) => Some(reason.to_owned()),
        };
        if let Some(reason) = refused {
            anyhow::bail!(
                "stage {} ({}) cannot be started again chunk by chunk: {reason}; --restart replay starts \
                 it again from the beginning of its input",
                index + 1,
                super::work::name(&stages[index])
            );
        }
        let stage = match self.0.entry(index) {
            Entry::Occupied(stage) => stage.into_mut(),
            Entry::Vacant(place) => place.insert(Stage::new(Auto::Given(cores().max(2)))?),
        };
        stage.retries = Some(retries);
        Ok(())
    }

    /// Tells whether a stage can be cut into chunks.
    pub(super) fn can_run(stage: &StageText) -> bool {
        classified(stage).is_ok_and(|known| known.may_be_cut())
    }

    /// The program of a stage that workers run, and its arguments.
    pub(super) fn argv(&self, index: usize, words: &[OsString]) -> Option<Vec<OsString>> {
        let wide = self.0.get(&index)?;
        let jobs = match wide.workers {
            Auto::Auto => "auto".to_owned(),
            Auto::Given(workers) => workers.to_string(),
        };
        // By its path, for what a stage inherits its workers inherit, too, and one that stays behind would
        // hold the pipe open.
        let told_to = format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            wide.tells.as_fd().as_raw_fd()
        );
        let mut argv: Vec<OsString> = ["/proc/self/exe", "workers", "--jobs", &jobs]
            .map(OsString::from)
            .into();
        if let Some(retries) = wide.retries {
            argv.extend(["--retries".into(), retries.to_string().into()]);
        }
        argv.extend([TOLD_TO.into(), told_to.into(), "--".into()]);
        argv.extend(words.iter().cloned());
        Some(argv)
    }

    /// Counts the workers of a stage; `None` where it runs as it is.
    pub(super) fn count(&self, index: usize) -> Option<usize> {
        Some(match self.0.get(&index)?.workers {
            Auto::Auto => std::thread::available_parallelism().map_or(1, usize::from),
            Auto::Given(workers) => workers,
        })
    }

    /// Says for `--dry-run` by how many workers a stage is run.
    pub(super) fn of_stage(&self, index: usize) -> Option<String> {
        Some(match self.0.get(&index)?.workers {
            Auto::Auto => "  (one worker per core)".to_owned(),
            Auto::Given(workers) => format!("  ({workers} workers)"),
        })
    }

    /// Says what workers would gain at the bottleneck, or why they cannot run it. `None` where they
    /// would gain nothing.
    pub(super) fn advice(&self, stages: &[StageText], verdict: &Verdict) -> Option<String> {
        let Finding::Bottleneck(found) = &verdict.finding else {
            return None;
        };
        // One that uses several cores already beats any cutting from outside.
        let alone = found.reason == Reason::Cpu && found.cpus.is_some_and(|cpus| cpus < 1.2);
        if !alone || self.0.contains_key(&found.stage) {
            return None;
        }
        let cores = cores();
        let gain = verdict.prediction.as_ref()?.with_workers(cores, cores)?;
        let number = found.stage + 1;
        Some(match classified(stages.get(found.stage)?) {
            Ok(known) if known.may_be_cut() => {
                format!("--workers {number}={cores} would make it up to {gain:.1} times faster")
            }
            Ok(Classified { reason, .. }) => {
                format!("--workers cannot split stage {number}: {reason}")
            }
            Err(reason) => format!("--workers cannot split stage {number}: {reason}"),
        })
    }

    /// Reads what the workers of each stage have told, once they have ended.
    pub(super) fn told(&mut self) -> BTreeMap<usize, ByWorkers> {
        let wide = std::mem::take(&mut self.0).into_iter();
        let told = wide.filter_map(|(index, Stage { told, tells, .. })| {
            // The last writer but for those that have ended.
            drop(tells);
            let mut text = String::new();
            (&told).read_to_string(&mut text).ok()?;
            Some((index, serde_json::from_str(&text).ok()?))
        });
        told.collect()
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The index of a stage that was asked for.
fn asked_for(stages: &[StageText], number: usize) -> anyhow::Result<usize> {
    let index = number - 1;
    let Some(stage) = stages.get(index) else {
        anyhow::bail!(
            "--workers names stage {number}, and the pipeline has {} stages",
            stages.len()
        );
    };
    let refused = match classified(stage) {
        Ok(known) if known.may_be_cut() => return Ok(index),
        Ok(known) => known.reason,
        Err(reason) => reason.to_owned(),
    };
    anyhow::bail!(
        "stage {number} ({}) cannot be run by workers: {refused}; if you know that it looks at each \
         record by itself, write the stage as: pipewright workers --assume-local -- COMMAND",
        super::work::name(stage)
    )
}

/// What is known of a stage; the error is why nothing is.
fn classified(stage: &StageText) -> Result<Classified, &'static str> {
    match &stage.start {
        Start::Shell => Err("shell text is not looked into"),
        Start::Direct(_) if stage.stderr_too => Err("its stderr goes down the pipe, in no order"),
        Start::Direct(words) => {
            let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
            Ok(classify_in(&words, |name| std::env::var_os(name).is_some()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pipewright_observe::{
        Activity, Figures, Layout, PipeFigures, PipeId, PipeLayout, ProcessId, Sample,
        StageFigures, StageLayout,
    };

    use super::*;
    use crate::shell;

    /// Two seconds in which the second of two stages keeps one core busy.
    fn verdict() -> Verdict {
        let process = ProcessId {
            pid: 1,
            start_time: 1,
        };
        let stage = StageLayout {
            process,
            command: String::new(),
        };
        let layout = Layout {
            stages: vec![stage.clone(), stage],
            pipes: vec![PipeLayout {
                pipe: PipeId(1),
                writers: vec![0],
                readers: vec![1],
            }],
        };
        let interval = Duration::from_secs(2);
        let mut busy = StageFigures::default();
        busy.cpus = 1.0;
        let sample = |n: u32| Sample {
            at: Duration::from_millis(20) * n,
            stages: vec![Activity::BlockedOnOutput, Activity::Running],
            pipes: vec![None],
            figures: (n == 100).then(|| Figures {
                interval,
                stages: vec![StageFigures::default(), busy.clone()],
                pipes: vec![PipeFigures::default()],
                cores: None,
            }),
        };
        Verdict::of(&layout, &(0..=100).map(sample).collect::<Vec<_>>())
    }

    fn advice(text: &str) -> Option<String> {
        let script = shell::parse(text.as_ref(), |_, _| false);
        Wide::default().advice(&script.stages, &verdict())
    }

    #[test]
    fn the_gain_of_workers_is_told_where_the_stage_can_be_split() {
        let cores = cores();
        if cores < 2 {
            println!("skipped: workers gain nothing on one core");
            return;
        }
        assert_eq!(
            advice("cat x | sed s/a/b/").unwrap(),
            format!("--workers 2={cores} would make it up to {cores}.0 times faster")
        );
    }

    #[test]
    fn where_a_stage_cannot_be_split_the_reason_is_told() {
        if cores() < 2 {
            println!("skipped: workers gain nothing on one core");
            return;
        }
        for text in [
            "cat x | sed 1d",
            "cat x | my-own-program",
            "cat x | { cat; }",
        ] {
            let advice = advice(text).unwrap();
            assert!(
                advice.starts_with("--workers cannot split stage 2: "),
                "{text}: {advice}"
            );
        }
    }
}
