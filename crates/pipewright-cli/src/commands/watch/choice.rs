//! The pipeline to watch where none is named: the only one that this user has.

use std::os::unix::fs::MetadataExt;

use pipewright_observe::topology::{Pipeline, Scan};
use pipewright_observe::workspace::look_at;
use rustix::process::getuid;

use crate::view::text;

/// What there is to choose from.
pub(super) enum Choice {
    /// A process of the only one.
    Only(u32),
    /// Each in a line, by a process of it.
    Several(Vec<String>),
    None,
}

/// Looks for pipelines whose stages are all this user's.
pub(super) fn choose() -> anyhow::Result<Choice> {
    let own = |pipeline: &Pipeline| {
        let mut stages = pipeline.stages.iter();
        !pipeline.with_ancestor && stages.all(|stage| is_own(stage.process.pid))
    };
    let mut found = Scan::now()?.pipelines();
    found.retain(own);
    // Here, nobody watches himself.
    found.retain(|pipeline| !pipeline.contains(std::process::id()));
    match &found[..] {
        [] => Ok(Choice::None),
        [only] => Ok(Choice::Only(only.stages[0].process.pid)),
        _ => {
            let now = look_at(&found)?;
            let told = found.iter().zip(&now).map(|(pipeline, now)| {
                let stages = pipeline.stages.iter().zip(&now.stages);
                let commands = stages.map(|(stage, now)| {
                    let command = now.command.clone();
                    text::shortened(&command.unwrap_or_else(|| format!("[{}]", stage.name)), 40)
                });
                let commands: Vec<String> = commands.collect();
                let pid = pipeline.stages[0].process.pid;
                format!("{pid:>9}  {}", commands.join(" | "))
            });
            Ok(Choice::Several(told.collect()))
        }
    }
}

/// Tells whether a process is this user's.
fn is_own(pid: u32) -> bool {
    let metadata = std::fs::metadata(format!("/proc/{pid}"));
    metadata.is_ok_and(|it| it.uid() == getuid().as_raw())
}
