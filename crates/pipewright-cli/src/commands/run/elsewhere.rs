//! Stages that run on other hosts: where, how they are started, and what they came to.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use pipewright::{PipeReader, PipeWriter};

use super::wide::TOLD_TO;
use crate::outcome::OnHost;
use crate::shell::{StageText, Start};

/// The stages on other hosts, by their indices.
#[derive(Debug, Default)]
pub(super) struct Elsewhere(BTreeMap<usize, Stage>);

#[derive(Debug)]
struct Stage {
    host: String,
    told: PipeReader,
    tells: PipeWriter,
}

impl Elsewhere {
    /// Finds the stages, which are asked for by their numbers.
    pub(super) fn of(stages: &[StageText], asked: &[(usize, String)]) -> anyhow::Result<Self> {
        let mut elsewhere = BTreeMap::new();
        for (number, host) in asked {
            if *number > stages.len() {
                anyhow::bail!(
                    "--on names stage {number}, and the pipeline has {} stages",
                    stages.len()
                );
            }
            let (told, tells) = pipewright::pipe()?;
            let host = host.clone();
            let stage = Stage { host, told, tells };
            if elsewhere.insert(number - 1, stage).is_some() {
                anyhow::bail!("--on names stage {number} twice");
            }
        }
        Ok(Self(elsewhere))
    }

    /// The host of a stage that does not run here.
    pub(super) fn host(&self, index: usize) -> Option<&str> {
        self.0.get(&index).map(|stage| &*stage.host)
    }

    /// The words that run a stage where it is to run.
    pub(super) fn argv(
        &self,
        index: usize,
        stage: &StageText,
        mut argv: Vec<OsString>,
    ) -> Vec<OsString> {
        let Some(elsewhere) = self.0.get(&index) else {
            return argv;
        };
        if stage.start == Start::Shell
            && let Some(name) = Path::new(&argv[0]).file_name()
        {
            // The shell may lie in another directory there.
            argv[0] = name.to_owned();
        }
        // By its path: see the workers.
        let told_to = format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            elsewhere.tells.as_fd().as_raw_fd()
        );
        let words = [
            "/proc/self/exe",
            "on",
            &elsewhere.host,
            TOLD_TO,
            &told_to,
            "--",
        ];
        words.into_iter().map(OsString::from).chain(argv).collect()
    }

    /// Reads what each has told, once they have ended.
    pub(super) fn told(&mut self) -> BTreeMap<usize, OnHost> {
        let stages = std::mem::take(&mut self.0).into_iter();
        let told = stages.filter_map(|(index, Stage { told, tells, .. })| {
            // The last writer but for those that have ended.
            drop(tells);
            let mut text = String::new();
            (&told).read_to_string(&mut text).ok()?;
            Some((index, serde_json::from_str(&text).ok()?))
        });
        told.collect()
    }
}
