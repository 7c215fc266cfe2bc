//! The outcome of a run: commands make it, views and exports read it.

use std::fmt;
use std::time::{Duration, SystemTime};

use pipewright::{Error, ResourceUsage, StageEnd};
use pipewright_observe::verdict::{Finding, Limit, PipeShares, Verdict};
use pipewright_observe::{Figures, Layout};
use serde::{Deserialize, Serialize};

use crate::progress::Progress;

/// The status of an error of pipewright's own, as env(1), nice(1) and timeout(1) have it.
pub(crate) const OWN_ERROR: u8 = 125;

/// The status of a pipeline that ran out of time, as timeout(1) has it.
const TIMED_OUT: u8 = 124;

/// The status of a stage whose link to its host is lost for good: EREMOTEIO.
pub(crate) const LINK_LOST: u8 = 121;

/// One run of one pipeline, from its start to the end of its last stage.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Stages of the pipeline that come before these, and were not run: they are in a recording.
    pub(crate) before: usize,
    /// The text as it was given.
    pub(crate) text: String,
    /// From the first to the last.
    pub(crate) stages: Vec<Stage>,
    /// From each stage to the next.
    pub(crate) pipes: Vec<Pipe>,
    /// A leading `!` inverts the status.
    pub(crate) inverted: bool,
    /// The stage whose failure is the pipeline's.
    pub(crate) failed: Option<usize>,
    pub(crate) started: SystemTime,
    pub(crate) wall: Duration,
    /// The limit that was reached.
    pub(crate) timed_out: Option<Duration>,
    /// The signal that reached pipewright, and that it dies of in the end.
    pub(crate) signal: Option<i32>,
    /// `None`: it was over too soon to be watched, or nobody wanted to know.
    pub(crate) observed: Option<Observed>,
    /// What workers would gain at the bottleneck, or why they cannot run it.
    pub(crate) workers_advice: Option<String>,
    /// One shell ran the text as a whole; it is the only stage.
    pub(crate) whole: Option<Whole>,
}

/// What is known of a text that one shell ran.
#[derive(Debug)]
pub(crate) struct Whole {
    /// Why it was not cut. Completes "run as a whole: …".
    pub(crate) reason: String,
    /// The statuses of its stages, where it is one pipeline.
    pub(crate) statuses: Vec<u8>,
    /// The status by the rule that was asked for, where that is not the shell's own.
    pub(crate) status: Option<u8>,
    /// What was seen of its pipelines that lived long enough to be judged, in the order of their
    /// ends.
    pub(crate) pipelines: Vec<Observed>,
    /// What may be wrong with the text.
    pub(crate) hint: Option<&'static str>,
}

/// One stage, and its end.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The text in one line, safe to show.
    pub(crate) name: String,
    /// The text as it was run.
    pub(crate) text: String,
    /// The shell that ran it; `None` where it was run directly.
    pub(crate) shell: Option<String>,
    pub(crate) pid: Option<u32>,
    pub(crate) end: StageEnd,
    pub(crate) wall: Duration,
    pub(crate) usage: ResourceUsage,
    /// The kernel killed it because memory ran out.
    pub(crate) killed_for_memory: bool,
    /// Its reader was gone before it had ended.
    pub(crate) reader_gone: bool,
    /// Its end would be a failure, but was forgiven.
    pub(crate) forgiven: bool,
    /// How often it was started again; `None` where that was not asked for.
    pub(crate) restarts: Option<u32>,
    /// Workers ran it.
    pub(crate) workers: Option<ByWorkers>,
    /// It ran on another host.
    pub(crate) on_host: Option<OnHost>,
}

/// What the workers of a stage came to, as they tell it themselves.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ByWorkers {
    /// How many might run at once.
    pub(crate) workers: usize,
    /// Chunks whose output was given.
    pub(crate) chunks: u64,
    /// Runs that were made again.
    pub(crate) again: u64,
    /// From the start to the end.
    pub(crate) wall_seconds: f64,
    /// Of all runs together.
    pub(crate) run_seconds: f64,
    /// How many times as fast as one worker.
    pub(crate) speed_up: f64,
    /// What kept it from being faster.
    pub(crate) limit: WorkersLimit,
    /// Why it ran as one process after all.
    pub(crate) in_sequence: Option<String>,
}

impl fmt::Display for OnHost {
    /// Completes "stage 2 ran …".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpu = self.user_seconds + self.system_seconds;
        write!(
            f,
            "on {} for {:.1} s, with {cpu:.1} s of CPU time",
            self.host, self.wall_seconds
        )?;
        match self.reconnected {
            0 => Ok(()),
            1 => f.write_str("; the link broke once"),
            times => write!(f, "; the link broke {times} times"),
        }
    }
}

/// What keeps a stage that workers run from being faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WorkersLimit {
    /// All are busy.
    Workers,
    /// They wait for their input.
    Input,
    /// They wait until their outputs are read.
    Output,
    /// They are ready, and have no core.
    Cores,
}

impl WorkersLimit {
    /// Judges by how many workers were at work on average, how many cores they had, and the shares of time
    /// that reading and giving took.
    pub(crate) fn of(
        workers: usize,
        at_work: f64,
        on_cores: f64,
        reading: f64,
        giving: f64,
    ) -> Self {
        /// A worker that is busy for so much of the time waits for nobody.
        const BUSY: f64 = 0.8;
        if giving >= 0.5 && giving > reading {
            Self::Output
        } else if at_work < BUSY * workers as f64 {
            Self::Input
        // A run is mostly on a core, or it waits for something of its own.
        } else if (0.3..BUSY).contains(&(on_cores / at_work)) {
            Self::Cores
        } else {
            Self::Workers
        }
    }
}

impl fmt::Display for WorkersLimit {
    /// Completes "… times as fast as one, and".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Workers => "all of them were busy",
            Self::Input => "they waited for their input",
            Self::Output => "they waited for their reader",
            Self::Cores => "they waited for a core",
        })
    }
}

impl fmt::Display for ByWorkers {
    /// Completes "stage 2 ran …".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            workers, chunks, ..
        } = self;
        match &self.in_sequence {
            Some(why) if *chunks == 0 => return write!(f, "as one process: {why}"),
            Some(why) => return write!(f, "as one process after {chunks} chunks: {why}"),
            None => write!(f, "by {workers} workers: {chunks} chunks")?,
        }
        if self.again > 0 {
            write!(f, ", {} of them run again", self.again)?;
        }
        let Self {
            speed_up, limit, ..
        } = self;
        write!(f, ", {speed_up:.1} times as fast as one, and {limit}")
    }
}

/// What a stage on another host came to, as `pipewright on` tells it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OnHost {
    pub(crate) host: String,
    /// From its start there to its end there.
    pub(crate) wall_seconds: f64,
    /// CPU time in user mode, there.
    pub(crate) user_seconds: f64,
    /// CPU time in the kernel, there.
    pub(crate) system_seconds: f64,
    /// Where it is known.
    pub(crate) peak_memory_bytes: Option<u64>,
    /// How often the link was lost and made again.
    pub(crate) reconnected: u32,
}

/// The pipe between two stages.
#[derive(Debug)]
pub(crate) struct Pipe {
    /// In bytes.
    pub(crate) capacity: usize,
    /// `|&`: it takes the stage's stderr too.
    pub(crate) stderr_too: bool,
}

/// The results of watching a pipeline. Indices are those of the layout.
#[derive(Debug)]
pub(crate) struct Observed {
    /// Names the stages.
    pub(crate) layout: Layout,
    pub(crate) verdict: Verdict,
    /// The totals at the end.
    pub(crate) figures: Option<Figures>,
    /// How far it was in its input, where that is known.
    pub(crate) input: Option<Progress>,
    /// Stages of the pipeline that come before these.
    pub(crate) before: usize,
}

impl Outcome {
    /// The number of a stage in its pipeline, from 1.
    pub(crate) fn number(&self, index: usize) -> usize {
        self.before + index + 1
    }

    /// The status of pipewright, unless a signal ends it.
    pub(crate) fn exit_code(&self) -> u8 {
        if self.timed_out.is_some() {
            return TIMED_OUT;
        }
        let whole = self.whole.as_ref();
        if let Some(status) = whole.and_then(|whole| whole.status) {
            return status;
        }
        let code = self
            .failed
            .map_or(0, |index| self.stages[index].end.exit_code());
        if self.inverted {
            u8::from(code == 0)
        } else {
            code
        }
    }

    /// A shell that was killed has not waited for its children, and the kernel does not add their time
    /// to its own: what was seen of it counts then.
    pub(crate) fn count_the_unwaited(&mut self) {
        let observed = self.observed.as_ref();
        let Some(figures) = observed.and_then(|observed| observed.figures.as_ref()) else {
            return;
        };
        for (stage, seen) in self.stages.iter_mut().zip(&figures.stages) {
            stage.usage.user += seen.cpu_time.saturating_sub(stage.usage.cpu());
        }
    }

    /// The whole pipeline in one line, safe to show.
    pub(crate) fn pipeline(&self) -> String {
        let names: Vec<&str> = self.stages.iter().map(|stage| &*stage.name).collect();
        names.join(" | ")
    }
}

impl Stage {
    /// Takes what it used on its host for what it used: here was only what it was reached by.
    pub(crate) fn ran_on(&mut self, host: OnHost) {
        self.usage.user = Duration::from_secs_f64(host.user_seconds);
        self.usage.system = Duration::from_secs_f64(host.system_seconds);
        self.usage.peak_memory = host.peak_memory_bytes;
        self.on_host = Some(host);
    }

    /// The reason of its failure.
    pub(crate) fn reason(&self) -> String {
        match (&self.end, self.missing_command()) {
            (_, Some(program)) => format!("{program}: command not found"),
            (StageEnd::NotStarted(error), None) => error.to_string(),
            (end, None) if self.killed_for_memory => format!("{end}: killed for memory"),
            (end, None) if self.reader_gone => format!("{end}; its reader had gone"),
            (end, None) => end.to_string(),
        }
    }

    /// Its end in a few words.
    pub(crate) fn ended(&self) -> String {
        let end = match &self.end {
            StageEnd::NotStarted(error) => match error.exit_code() {
                127 => "not found".to_owned(),
                126 => "not executable".to_owned(),
                _ => "not started".to_owned(),
            },
            _ if self.killed_for_memory => "killed for memory".to_owned(),
            StageEnd::Exited(status) => format!("exit {status}"),
            StageEnd::StatusLost(_) => "status lost".to_owned(),
            other => other.to_string(),
        };
        let forgiven = if self.forgiven { ", forgiven" } else { "" };
        end + forgiven
    }

    /// Its program, if that was looked for along `PATH` and is not there.
    pub(crate) fn missing_command(&self) -> Option<&str> {
        match &self.end {
            StageEnd::NotStarted(error) => match &**error {
                Error::Start(failure)
                    if error.exit_code() == 127
                        && failure.advice.is_none()
                        && !failure.program.contains('/') =>
                {
                    Some(&failure.program)
                }
                _ => None,
            },
            // A shell's word for it, where the text begins with a name.
            StageEnd::Exited(127) if self.shell.is_some() => {
                let word = self.text.split_whitespace().next()?;
                let is_name = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
                word.chars().all(is_name).then_some(word)
            }
            _ => None,
        }
    }
}

impl Observed {
    /// Of a run that was not watched.
    pub(crate) fn nothing() -> Self {
        let layout = Layout::default();
        Self {
            verdict: Verdict::of(&layout, []),
            layout,
            figures: None,
            input: None,
            before: 0,
        }
    }

    /// Takes note of how far its input was at the last look. Where the first stage has read as much as
    /// there is, the rest came after that.
    pub(crate) fn note_input(&mut self, seen: Option<Progress>) {
        let first = self.figures.as_ref().and_then(|it| it.stages.first());
        let counted = first.and_then(|it| it.read);
        self.input = seen.map(|seen| match counted {
            Some(counted) if counted >= seen.total => Progress {
                read: seen.total,
                ..seen
            },
            _ => seen,
        });
    }

    /// The bytes that a stage handed to the next one, estimated; `None` is unknown.
    pub(crate) fn bytes_after(&self, stage: usize) -> Option<u64> {
        let pipe = self.index_after(stage)?;
        self.figures.as_ref()?.pipes.get(pipe)?.bytes
    }

    /// Puts what was counted behind a stage in place of what was seen until the last look.
    pub(crate) fn count_after(&mut self, stage: usize, bytes: u64) {
        let pipe = self.index_after(stage);
        let figures = self.figures.as_mut().zip(pipe);
        if let Some(pipe) = figures.and_then(|(figures, pipe)| figures.pipes.get_mut(pipe)) {
            pipe.bytes = Some(bytes);
        }
    }

    /// The pipe behind a stage; `None` where it could not be looked at.
    pub(crate) fn pipe_after(&self, stage: usize) -> Option<&PipeShares> {
        self.verdict.pipes.get(self.index_after(stage)?)?.as_ref()
    }

    fn index_after(&self, stage: usize) -> Option<usize> {
        self.layout
            .pipes
            .iter()
            .position(|pipe| pipe.writers == [stage])
    }

    /// The stage that the others wait for.
    pub(crate) fn bottleneck(&self) -> Option<usize> {
        bottleneck(&self.verdict)
    }
}

/// A verdict to be told, of stages that come behind so many others: its sentences count all of them.
pub(crate) fn behind(mut verdict: Verdict, before: usize) -> Verdict {
    let phases = verdict.phases.iter_mut();
    let moved = phases.filter_map(|phase| phase.bottleneck.as_mut());
    moved.for_each(|bottleneck| bottleneck.stage += before);
    verdict
        .spools
        .iter_mut()
        .for_each(|spool| spool.stage += before);
    if let Finding::Bottleneck(bottleneck) = &mut verdict.finding {
        bottleneck.stage += before;
    }
    if let Some(prediction) = &mut verdict.prediction
        && let Limit::Stage { stage, .. } = &mut prediction.limit
    {
        *stage += before;
    }
    verdict
}

/// The stage that the others wait for.
pub(crate) fn bottleneck(verdict: &Verdict) -> Option<usize> {
    match &verdict.finding {
        Finding::Bottleneck(bottleneck) => Some(bottleneck.stage),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_limits_workers_is_told_from_their_times() {
        let limit = |at_work, on_cores, reading, giving| {
            WorkersLimit::of(4, at_work, on_cores, reading, giving)
        };
        assert_eq!(limit(3.9, 3.8, 0.1, 0.1), WorkersLimit::Workers);
        assert_eq!(limit(1.5, 1.5, 0.9, 0.1), WorkersLimit::Input);
        assert_eq!(limit(1.5, 1.5, 0.1, 0.9), WorkersLimit::Output);
        assert_eq!(limit(3.9, 2.0, 0.1, 0.1), WorkersLimit::Cores);
        // They sleep, or wait for others: no core would help.
        assert_eq!(limit(3.9, 0.1, 0.1, 0.1), WorkersLimit::Workers);
    }
}
