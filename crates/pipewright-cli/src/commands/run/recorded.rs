//! A run that is recorded, or whose stages are started again: which stages have keepers, and what the
//! manifest says.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use pipewright::Command;
use rustix::fs::{FileType, fstat, tell};

use super::kept::{self, Kept, KeptStage, stdin_is_pipe};
use super::programs::{Program, read_program};
use super::wide::{TOLD_TO, Wide};
use super::work::{self, Work};
use crate::cli::{Restart, Restarting, SpoolSync};
use crate::forgiveness::Forgiven;
use crate::inherited;
use crate::outcome::Outcome;
use crate::recording::directory::Recording;
use crate::recording::manifest::{self, Input, Manifest, Words};
use crate::recording::plan::Intake;
use crate::shell::{StageText, Start};
use crate::view;

/// What of a run is to be kept, as it was asked for.
#[derive(Debug)]
pub(super) struct Keeping {
    pub(super) record: Option<PathBuf>,
    /// `None`: all of them.
    pub(super) links: Option<Vec<usize>>,
    pub(super) sync: SpoolSync,
    pub(super) keep_going: bool,
    pub(super) restart: Option<Restarting>,
    pub(super) restart_max: u32,
    /// The rule for the status, as the command line calls it.
    pub(super) status: String,
}

/// What that comes to for one pipeline.
#[derive(Debug)]
pub(super) struct Decided {
    /// How often each stage is started again.
    again: Vec<Option<u32>>,
    /// The inputs that are kept, by the index of the stage.
    inputs: BTreeSet<usize>,
}

impl Keeping {
    /// Decides; what cannot be done is an error. Stages that are started again chunk by chunk get their
    /// workers.
    pub(super) fn decide(&self, work: &mut Work) -> anyhow::Result<Option<Decided>> {
        if self.record.is_none() && self.restart.is_none() {
            return Ok(None);
        }
        let option = match self.record {
            Some(_) => "--record",
            None => "--restart",
        };
        if let Some(reason) = work.reason_for_whole() {
            anyhow::bail!(
                "{option} needs a pipeline that can be cut into stages, and one shell runs this text as \
                 a whole ({reason}): there is nothing to record"
            );
        }
        kept::can_start_itself(option)?;
        let again = self.restarts(work)?;
        let stages = again.len();
        let of_stdin = stdin_is_pipe().then_some(0);
        let mut inputs: BTreeSet<usize> = match (&self.record, &self.links) {
            (None, _) => BTreeSet::new(),
            (Some(_), None) => of_stdin.into_iter().chain(1..stages).collect(),
            (Some(_), Some(asked)) => {
                if let Some(wrong) = asked.iter().find(|link| **link >= stages) {
                    anyhow::bail!(
                        "--record-links names link {wrong}, and a pipeline of {stages} stages has {} \
                         (link 1 leads from stage 1 to stage 2)",
                        match stages - 1 {
                            0 => "none".to_owned(),
                            1 => "link 1 only".to_owned(),
                            last => format!("links 1 to {last}"),
                        }
                    );
                }
                if asked.contains(&0) && inherited::was_closed(0) {
                    anyhow::bail!(
                        "--record-links names link 0, and stdin is closed: leave it out, or give the \
                         pipeline a stdin"
                    );
                }
                asked.iter().copied().collect()
            }
        };
        // Whoever is started again needs its input once more.
        let restarted = again
            .iter()
            .enumerate()
            .filter(|(_, again)| again.is_some());
        let restarted = restarted.map(|(index, _)| index);
        inputs.extend(restarted.filter(|&index| index > 0 || of_stdin.is_some()));
        if self.record.is_some() && inputs.is_empty() {
            anyhow::bail!(
                "there is nothing to record: the pipeline has one stage, and its stdin is no pipe"
            );
        }
        Ok(Some(Decided { again, inputs }))
    }

    /// How often each stage is started again by its keeper.
    fn restarts(&self, work: &mut Work) -> anyhow::Result<Vec<Option<u32>>> {
        let (wide, stages) = work.wide();
        let mut again = vec![None; stages.len()];
        let asked: Vec<(usize, Restart)> = match &self.restart {
            None => Vec::new(),
            Some(Restarting::Every(Restart::Chunk)) => {
                let how = |(index, stage): (usize, &StageText)| match index {
                    // What gives the first bytes takes none that could be cut.
                    0 if !Wide::can_run(stage) => (index, Restart::Replay),
                    _ => (index, Restart::Chunk),
                };
                stages.iter().enumerate().map(how).collect()
            }
            Some(Restarting::Every(how)) => (0..stages.len()).map(|index| (index, *how)).collect(),
            Some(Restarting::Stages(asked)) => {
                if let Some((number, _)) = asked.iter().find(|(number, _)| *number > stages.len()) {
                    anyhow::bail!(
                        "--restart names stage {number}, and the pipeline has {} stages",
                        stages.len()
                    );
                }
                let asked = asked.iter();
                asked.map(|(number, how)| (number - 1, *how)).collect()
            }
        };
        for (index, how) in asked {
            match how {
                Restart::Replay => again[index] = Some(self.restart_max),
                Restart::Chunk => wide.retry(stages, index, self.restart_max)?,
            }
        }
        Ok(again)
    }

    /// Makes the recording, if there is to be one, and gives the stages their keepers.
    pub(super) fn begin(
        &self,
        decided: &Decided,
        work: &mut Work,
        forgiven: &[Forgiven],
    ) -> anyhow::Result<Option<Recording>> {
        let recording = match &self.record {
            Some(path) => {
                let manifest = self.manifest(decided, work, forgiven);
                Some(Recording::create(path, manifest)?)
            }
            None => None,
        };
        let stages = work.stages().iter().zip(&decided.again).enumerate();
        let stages = stages.map(|(index, (stage, &again))| {
            if recording.is_none() && again.is_none() {
                return Ok(None);
            }
            Ok(Some(KeptStage {
                told: kept::to_be_told(again)?,
                number: index + 1,
                name: work::name(stage),
                intake: match decided.inputs.contains(&index) {
                    true => Intake::Anew,
                    false => Intake::Direct,
                },
                again,
                well: well(stage, forgiven),
                stderr_too: stage.start != Start::Shell && stage.stderr_too,
                environment: Vec::new(),
            }))
        });
        let stages = stages.collect::<anyhow::Result<_>>();
        let stages = match (stages, recording.as_ref()) {
            (Err(error), Some(recording)) => {
                recording.discard();
                return Err(error);
            }
            (stages, _) => stages?,
        };
        let kept = Kept {
            recording: recording.as_ref().map(|it| it.path.clone()),
            attempt: 1,
            sync: self.sync,
            keep_going: self.keep_going,
            stages,
        };
        work.keep(kept);
        Ok(recording)
    }

    fn manifest(&self, decided: &Decided, work: &Work, forgiven: &[Forgiven]) -> Manifest {
        let stages = work.stages();
        let text = work.text();
        let variables = std::env::vars_os();
        let shell = stages.iter().find_map(|stage| work.shell_of(stage));
        let entry = |(index, stage): (usize, &StageText)| manifest::Stage {
            text: Words::from(&stage.text),
            program: Program::path_of(&work.argv(index, stage)[0])
                .and_then(|path| read_program(&path)),
            command: portable(work.argv(index, stage)),
            stderr_too: stage.start != Start::Shell && stage.stderr_too,
            environment: work
                .environment(index, stage)
                .iter()
                .map(|(name, value)| (name.clone(), Words::from(value)))
                .collect(),
            forgive: well(stage, forgiven),
            restart_max: decided.again[index],
        };
        Manifest {
            version: manifest::VERSION,
            attempt: 1,
            started: manifest::now(),
            environment: manifest::environment(variables, &text),
            text: Words::from(&text),
            directory: Words::from(&std::env::current_dir().unwrap_or_default()),
            pipewright_version: env!("CARGO_PKG_VERSION").to_owned(),
            shell_version: shell.and_then(version_of),
            input: input(),
            inverted: work.inverted(),
            status: self.status.clone(),
            sync: self.sync == SpoolSync::Disk,
            keep_going: self.keep_going,
            stages: stages.iter().enumerate().map(entry).collect(),
            links: decided.inputs.iter().copied().collect(),
            result: None,
        }
    }
}

/// Writes down how an attempt ended, whose first stage is this one of the recording, from 0.
///
/// The recording knows how long each link is, also where nobody has looked.
pub(super) fn end(
    recording: &mut Recording,
    outcome: &mut Outcome,
    first: usize,
    output: Option<Words>,
) {
    let write = || {
        let ends = recording.ends()?;
        let stages = 1..=recording.manifest.stages.len();
        let links = recording.contents()?;
        for (link, contents) in &links {
            let stage = link.checked_sub(first + 1);
            if let Some((stage, observed)) = stage.zip(outcome.observed.as_mut()) {
                observed.count_after(stage, contents.bytes);
            }
        }
        let result = manifest::Outcome {
            status: outcome.exit_code(),
            ended: manifest::now(),
            stages: stages
                .map(|stage| ends.get(&stage).map(|ended| ended.end))
                .collect(),
            links,
            output,
        };
        recording.manifest.result = Some(result);
        anyhow::Ok(recording.write()?)
    };
    if let Err(error) = write() {
        let path = recording.path.display();
        view::complain(&format!(
            "cannot write down in {path} how the run ended: {error:#}"
        ));
    }
}

/// Statuses of a stage that are no failure.
fn well(stage: &StageText, forgiven: &[Forgiven]) -> Vec<u8> {
    let text = stage.text.to_string_lossy();
    let statuses = forgiven.iter().filter_map(|it| it.statuses(&text));
    statuses.flatten().collect()
}

/// A command without what is of this run alone.
fn portable(argv: Vec<OsString>) -> Vec<Words> {
    let end = argv.iter().position(|word| word == "--");
    let option = argv.iter().position(|word| word == TOLD_TO);
    let option =
        option.filter(|at| end.is_some_and(|end| *at < end) && argv[0] == "/proc/self/exe");
    let words = argv.iter().enumerate();
    let kept =
        words.filter(|(at, _)| option.is_none_or(|option| *at != option && *at != option + 1));
    kept.map(|(_, word)| Words::from(word)).collect()
}

/// What this process has as stdin.
fn input() -> Input {
    let stdin = rustix::stdio::stdin();
    let kind = fstat(stdin).map(|it| FileType::from_raw_mode(it.st_mode));
    match (kind, tell(stdin), std::fs::read_link("/proc/self/fd/0")) {
        (Ok(FileType::RegularFile), Ok(offset), Ok(path)) => Input::File {
            path: Words::from(&path),
            offset,
        },
        _ if stdin_is_pipe() => Input::Pipe,
        _ => Input::Other,
    }
}

/// What a shell says of itself.
fn version_of(shell: String) -> Option<String> {
    let told = Command::new(shell).arg("--version").capture().read().ok()?;
    told.lines().next().map(str::to_owned)
}
