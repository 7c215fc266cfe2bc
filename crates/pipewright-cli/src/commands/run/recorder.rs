//! The files that a run writes about itself, as they grow.

use std::io::{self, Write};
use std::path::PathBuf;

use pipewright_observe::{Layout, Sample};

use crate::export::Export;
use crate::export::json::Json;
use crate::export::page::Page;
use crate::export::samples::Samples;
use crate::export::trace::Trace;
use crate::outcome::Outcome;
use crate::output::Recording;
use crate::progress::Progress;

/// The files to write; `-` is stdout.
#[derive(Debug, Default)]
pub(super) struct Paths {
    pub(super) json: Option<PathBuf>,
    pub(super) samples: Option<PathBuf>,
    pub(super) trace: Option<PathBuf>,
    pub(super) page: Option<PathBuf>,
}

/// Hands what is seen to every export. One whose file cannot be written is given up; the others and
/// the pipeline go on.
#[derive(Debug)]
pub(super) struct Recorder {
    recordings: Vec<(Box<dyn Export>, Recording)>,
    failures: Vec<io::Error>,
}

impl Recorder {
    /// Opens the files before anything runs: one that cannot be opened is an error now, not at the
    /// end.
    pub(super) fn open(paths: Paths) -> anyhow::Result<Self> {
        let wanted: [(&'static str, Option<PathBuf>, Box<dyn Export>); 4] = [
            ("--json", paths.json, Box::new(Json)),
            ("--samples", paths.samples, Box::new(Samples::default())),
            ("--trace", paths.trace, Box::new(Trace::default())),
            ("--report", paths.page, Box::new(Page::default())),
        ];
        let wanted = wanted.into_iter();
        let wanted = wanted.filter_map(|(option, path, export)| Some((option, path?, export)));
        let (options, exports): (Vec<_>, Vec<_>) = wanted
            .map(|(option, path, export)| ((option, path), export))
            .unzip();
        let recordings = Recording::open_all(&options)?;
        Ok(Self {
            recordings: exports.into_iter().zip(recordings).collect(),
            failures: Vec::new(),
        })
    }

    pub(super) fn begin(&mut self, layout: &Layout) {
        self.each(|export, recording| export.begin(layout, recording));
    }

    pub(super) fn sample(&mut self, sample: &Sample, input: Option<Progress>) {
        self.each(|export, recording| {
            if sample.figures.is_some() {
                export.progress(input);
            }
            export.sample(sample, recording)?;
            // Once a second, so that somebody can follow it.
            if sample.figures.is_some() {
                recording.flush()?;
            }
            Ok(())
        });
    }

    /// Completes the files, and returns why some of them could not be written.
    pub(super) fn finish(mut self, outcome: &Outcome) -> Vec<io::Error> {
        self.each(|export, recording| export.finish(outcome, recording));
        let finished = self.recordings.into_iter();
        let finished = finished.filter_map(|(_, recording)| recording.finish().err());
        self.failures.extend(finished);
        // A reader that has gone wanted no more.
        let wanted = |failure: &io::Error| failure.kind() != io::ErrorKind::BrokenPipe;
        self.failures.retain(wanted);
        self.failures
    }

    fn each(&mut self, mut tell: impl FnMut(&mut dyn Export, &mut Recording) -> io::Result<()>) {
        self.recordings.retain_mut(|(export, recording)| {
            let told = tell(&mut **export, recording);
            told.map_err(|error| self.failures.push(error)).is_ok()
        });
    }
}
