//! The files that a run writes about itself.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::export;
use crate::outcome::{Observed, Outcome};

/// Where to write; `-` is stdout.
#[derive(Debug)]
pub(super) struct Paths {
    pub(super) json: Option<PathBuf>,
    pub(super) samples: Option<PathBuf>,
    pub(super) trace: Option<PathBuf>,
    pub(super) page: Option<PathBuf>,
}

/// Open from before the start, so that one that cannot be written keeps the pipeline from running.
#[derive(Debug)]
pub(super) struct Files {
    json: Option<File>,
    samples: Option<File>,
    trace: Option<File>,
    page: Option<File>,
}

impl Files {
    pub(super) fn create(paths: &Paths) -> anyhow::Result<Self> {
        Ok(Self {
            json: create(paths.json.as_deref())?,
            samples: create(paths.samples.as_deref())?,
            trace: create(paths.trace.as_deref())?,
            page: create(paths.page.as_deref())?,
        })
    }

    /// Writes what was asked for. A pipeline that was over before it could be watched has no
    /// samples.
    pub(super) fn write(self, outcome: &Outcome) -> anyhow::Result<()> {
        let write = |mut file: File, text: &str, what: &str| {
            file.write_all(text.as_bytes())
                .with_context(|| format!("cannot write the {what}"))
        };
        let nothing = Observed::nothing();
        let observed = outcome.observed.as_ref().unwrap_or(&nothing);
        if let Some(file) = self.json {
            write(file, &export::json::json(outcome)?, "JSON")?;
        }
        if let Some(file) = self.trace {
            write(file, &export::trace::trace(observed)?, "trace")?;
        }
        if let Some(file) = self.page {
            let page = export::report::report(observed, outcome);
            write(file, &page, "report")?;
        }
        if let Some(file) = self.samples {
            export::samples(file, observed).context("cannot write the samples")?;
        }
        Ok(())
    }
}

fn create(path: Option<&Path>) -> anyhow::Result<Option<File>> {
    let open = |path: &Path| {
        let file = if path == Path::new("-") {
            let stdout = std::io::stdout().as_fd().try_clone_to_owned();
            stdout.map(File::from)
        } else {
            File::create(path)
        };
        file.with_context(|| format!("cannot write to {}", path.display()))
    };
    path.map(open).transpose()
}
