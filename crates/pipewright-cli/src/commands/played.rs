//! A recorded stream, opened to be read.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use pipewright_spool::{Directory, Error, Options, Spool};

use crate::recording::directory::{is_recording, link_path, read_manifest};

/// Finds the stream: that of a spool, or of a recording the input of a stage, counted from 1.
pub(super) fn found(path: &Path, stage: Option<usize>) -> anyhow::Result<PathBuf> {
    let shown = path.display();
    match (is_recording(path), stage) {
        (false, None) => Ok(path.to_owned()),
        (false, Some(_)) if path.join("lock").exists() => {
            anyhow::bail!("{shown} is the spool of one stream: leave the stage's number out")
        }
        (false, Some(_)) => read_manifest(path).map(|_| path.to_owned()),
        (true, None) => anyhow::bail!(
            "{shown} is the recording of a pipeline: say whose input to give, as in \
             `pipewright replay {shown} 2` for that of stage 2"
        ),
        (true, Some(stage)) => {
            let manifest = read_manifest(path)?;
            if !(1..=manifest.stages.len()).contains(&stage) {
                anyhow::bail!(
                    "the recording in {shown} has {} stages, and no stage {stage}",
                    manifest.stages.len()
                );
            }
            let link = stage - 1;
            if !manifest.links.contains(&link) {
                let recorded = manifest.links.iter().map(|link| (link + 1).to_string());
                anyhow::bail!(
                    "the input of stage {stage} was not recorded in {shown}; there is that of stage {}",
                    recorded.collect::<Vec<_>>().join(", ")
                );
            }
            Ok(link_path(path, link))
        }
    }
}

/// Opens it, in no time however much it holds. What a killed process left behind the last entry is taken
/// in first, where this user may write and nobody else reads.
pub(super) fn opened(path: &Path, verb: &str) -> anyhow::Result<Spool<Directory>> {
    let context = || format!("cannot {verb} {}", path.display());
    let view = match Directory::open_to_read(path) {
        Ok(directory) => Spool::skim(directory).with_context(context)?,
        Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            anyhow::bail!(
                "{} is no spool: give the DIR of a `pipewright spool DIR`, or that of a \
                 `pipewright run --record DIR`",
                path.display()
            );
        }
        Err(error) => return Err(error).with_context(context),
    };
    if view.left_over() == 0 {
        return Ok(view);
    }
    drop(view);
    let mended = Directory::open(path)
        .and_then(|directory| Spool::open(directory, Options::default()))
        .and_then(|(spool, mut writer)| writer.commit().map(|()| spool));
    match mended {
        Ok(spool) => Ok(spool),
        Err(error @ Error::Damaged(_)) => Err(error).with_context(context),
        Err(_) => Directory::open_to_read(path)
            .and_then(Spool::view)
            .with_context(context),
    }
}
