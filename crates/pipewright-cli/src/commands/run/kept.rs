//! Stages that have keepers: which, where their input comes from, how they are started.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use anyhow::Context;
use pipewright::Command;
use rustix::fs::{FileType, MemfdFlags, fstat, memfd_create};

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
    /// Where its keeper tells how often it has done so.
    pub(super) told: Option<File>,
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
            if let Some(told) = &stage.told {
                // By its path: what a stage inherits, what it starts inherits, too.
                let (pid, descriptor) = (std::process::id(), told.as_raw_fd());
                option("--told-to", &format!("/proc/{pid}/fd/{descriptor}"));
            }
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

    /// How often a stage was started again, once it has ended; `None` where that was not asked for.
    pub(super) fn restarts(&self, index: usize) -> Option<u32> {
        let mut told = self.stages.get(index)?.as_ref()?.told.as_ref()?;
        let mut text = String::new();
        told.seek(SeekFrom::Start(0)).ok()?;
        told.read_to_string(&mut text).ok()?;
        // Nothing is told of none.
        Some(text.parse().unwrap_or(0))
    }

    /// The number of the stages before the first that runs: they are in the recording alone.
    pub(super) fn before(&self) -> usize {
        let first = self.stages.first().and_then(Option::as_ref);
        first.map_or(0, |stage| stage.number - 1)
    }

    /// The statuses of a stage that are no failure.
    pub(super) fn well(&self, index: usize) -> &[u8] {
        let stage = self.stages.get(index).and_then(Option::as_ref);
        stage.map_or(&[], |stage| &stage.well)
    }
}

/// A file in memory, for a keeper to tell how often its stage was started again.
pub(super) fn to_be_told(again: Option<u32>) -> anyhow::Result<Option<File>> {
    let file = again.map(|_| memfd_create("pipewright-restarts", MemfdFlags::CLOEXEC));
    let file = file.transpose().context("cannot make a file in memory")?;
    Ok(file.map(File::from))
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
