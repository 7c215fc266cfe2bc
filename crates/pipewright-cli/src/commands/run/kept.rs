//! Stages that have keepers: which, where their input comes from, how they are started.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use anyhow::Context;
use pipewright::Command;
use rustix::fs::{FileType, fstat};

use crate::cli::SpoolSync;
use crate::recording::plan::Intake;

/// How the stages of a pipeline are kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// `None`: what is kept is forgotten in the end.
    pub(super) recording: Option<PathBuf>,
    pub(super) attempt: u32,
    pub(super) sync: SpoolSync,
    pub(super) keep_going: bool,
    /// Each stage of the pipeline that has a keeper.
    pub(super) stages: Vec<Option<KeptStage>>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct KeptStage {
    /// In the pipeline as it was recorded, from 1.
    pub(super) number: usize,
    pub(super) name: String,
    pub(super) intake: Intake,
    /// How often it is started again.
    pub(super) again: Option<u32>,
    /// Statuses that are no failure.
    pub(super) well: Vec<u8>,
    pub(super) stderr_too: bool,
    /// Variables of its own.
    pub(super) environment: Vec<(String, OsString)>,
}

impl Kept {
    /// The command of a stage, by its keeper. `None` where it has none.
    pub(super) fn command(&self, index: usize, argv: &[OsString]) -> Option<Command> {
        let stage = self.stages.get(index)?.as_ref()?;
        let mut options: Vec<OsString> = vec!["keep".into()];
        let mut option = |name: &str, value: &dyn AsRef<OsStr>| {
            options.push(name.into());
            options.push(value.as_ref().to_owned());
        };
        if let Some(recording) = &self.recording {
            option("--recording", recording);
        }
        option("--stage", &stage.number.to_string());
        option("--name", &stage.name);
        option("--attempt", &self.attempt.to_string());
        option("--intake", &name_of(&stage.intake));
        option("--sync", &name_of(&self.sync));
        if let Some(again) = stage.again {
            option("--again", &again.to_string());
            let well: Vec<String> = stage.well.iter().map(u8::to_string).collect();
            if !well.is_empty() {
                option("--well", &well.join(","));
            }
        }
        if self.keep_going {
            options.push("--keep-going".into());
        }
        if stage.stderr_too {
            options.push("--stderr-too".into());
        }
        options.push("--".into());
        let command = Command::new("/proc/self/exe").args(options).args(argv);
        let environment = stage.environment.iter();
        Some(environment.fold(command, |command, (name, value)| command.env(name, value)))
    }

    /// Tells whether a stage has a keeper, which sees to its stderr.
    pub(super) fn has(&self, index: usize) -> bool {
        self.stages.get(index).is_some_and(Option::is_some)
    }

    /// The statuses of a stage that are no failure.
    pub(super) fn well(&self, index: usize) -> &[u8] {
        let stage = self.stages.get(index).and_then(Option::as_ref);
        stage.map_or(&[], |stage| &stage.well)
    }
}

/// What the command line calls a value.
fn name_of(value: &impl clap::ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

/// Refuses what needs this program beside the stages where it cannot be found.
///
/// # Errors
///
/// There is no /proc.
pub(super) fn can_start_itself(option: &str) -> anyhow::Result<()> {
    std::fs::symlink_metadata("/proc/self/exe").with_context(|| {
        format!(
            "{option} needs pipewright beside the stages, and /proc does not say where it is: mount it, \
             `mount -t proc proc /proc`"
        )
    })?;
    Ok(())
}

/// Tells whether stdin is what can be read only once.
pub(super) fn stdin_is_pipe() -> bool {
    let kind = |mode| FileType::from_raw_mode(mode);
    fstat(rustix::stdio::stdin())
        .is_ok_and(|it| matches!(kind(it.st_mode), FileType::Fifo | FileType::Socket))
}
