//! The files that a run writes about itself.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::Context;

use super::Report;
use crate::cli;
use crate::export::{self, report::Facts, report::StageFacts};
use crate::observation::{Observation, Recording};
use crate::view::{json, summary};

/// Open from before the start, so that one that cannot be written keeps the pipeline from running.
#[derive(Debug)]
pub(super) struct Files {
    json: Option<File>,
    samples: Option<File>,
    trace: Option<File>,
    report: Option<File>,
    started: std::time::SystemTime,
}

impl Files {
    pub(super) fn create(options: &cli::Run) -> anyhow::Result<Self> {
        let create = |path: Option<&Path>| -> anyhow::Result<Option<File>> {
            let open = |path: &Path| {
                let file = if path == Path::new("-") {
                    std::io::stdout()
                        .as_fd()
                        .try_clone_to_owned()
                        .map(File::from)
                } else {
                    File::create(path)
                };
                file.with_context(|| format!("cannot write to {}", path.display()))
            };
            path.map(open).transpose()
        };
        Ok(Self {
            json: create(options.json.as_ref().and_then(Option::as_deref))?,
            samples: create(options.samples.as_deref())?,
            trace: create(options.trace.as_deref())?,
            report: create(options.report.as_deref())?,
            started: std::time::SystemTime::now(),
        })
    }

    /// Writes what was asked for. A pipeline that was over before it could be watched has a
    /// recording without a sample.
    pub(super) fn write(
        self,
        report: &Report<'_>,
        names: &[String],
        observation: Option<Observation>,
    ) -> anyhow::Result<()> {
        let write = |file: Option<File>, text: &str, what: &str| match file {
            Some(mut file) => file
                .write_all(text.as_bytes())
                .with_context(|| format!("cannot write the {what}")),
            None => Ok(()),
        };
        if self.json.is_some() {
            write(self.json, &json::run(report)?, "JSON")?;
        }
        let recording = observation.map_or_else(Recording::empty, Observation::into_recording);
        if self.trace.is_some() {
            write(
                self.trace,
                &export::trace::trace(&recording, names)?,
                "trace",
            )?;
        }
        if self.report.is_some() {
            let facts = facts(report, self.started);
            write(
                self.report,
                &export::report::report(&recording, &facts),
                "report",
            )?;
        }
        if let Some(file) = self.samples {
            export::samples(file, &recording).context("cannot write the samples")?;
        }
        Ok(())
    }
}

/// What the page tells of the run itself.
fn facts(report: &Report<'_>, started: std::time::SystemTime) -> Facts {
    let texts: Vec<&str> = report
        .script
        .stages
        .iter()
        .map(|stage| stage.text.trim_end())
        .collect();
    let failed = report.status.failed_stage();
    let stages = report
        .status
        .stages()
        .iter()
        .enumerate()
        .map(|(index, stage)| StageFacts {
            text: texts[index].to_owned(),
            ended: summary::end(&stage.end),
            failed: failed == Some(index),
            wall: stage.wall,
            cpu: stage.usage.cpu(),
        });
    Facts {
        pipeline: texts.join(" | "),
        stages: stages.collect(),
        exit_code: report.exit_code(),
        wall: report.status.wall(),
        started: jiff::Zoned::try_from(started).map_or_else(
            |_| String::new(),
            |time| time.strftime("%Y-%m-%d %H:%M:%S %Z").to_string(),
        ),
    }
}
