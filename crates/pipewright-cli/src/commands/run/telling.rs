//! The last words about a run, on stderr.

use std::io;

use pipewright::{Error, StageEnd};
use signal_hook::consts::SIGINT;

use crate::export::Export;
use crate::export::json::Json;
use crate::outcome::Outcome;
use crate::output::Output;
use crate::view::style::Palette;
use crate::view::summary::Summary;
use crate::view::{self, terminal};

/// The runs that get a summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Summarize {
    Never,
    Failures,
    Always,
}

/// The way to tell of a run.
#[derive(Debug)]
pub(super) struct Telling {
    pub(super) summarize: Summarize,
    /// JSON takes the place of the summary.
    pub(super) json_to_stderr: bool,
    pub(super) verbose: bool,
    pub(super) palette: Palette,
}

impl Telling {
    /// # Errors
    ///
    /// The JSON could not be written. A summary that could not is no error: it was nobody's file.
    pub(super) fn tell(&self, outcome: &Outcome) -> io::Result<()> {
        let failed = outcome.failed.is_some() || outcome.timed_out.is_some();
        let summarize = match self.summarize {
            Summarize::Never => false,
            Summarize::Failures => failed,
            Summarize::Always => true,
        };
        if outcome.signal == Some(SIGINT) && (self.json_to_stderr || summarize) {
            view::step_behind_key();
        }
        if self.json_to_stderr {
            Json.finish(outcome, &mut Output::stderr()?)?;
        } else if summarize {
            let summary = Summary {
                outcome,
                palette: self.palette,
                // A log is as wide as it has to be.
                width: terminal::size(std::io::stderr()).map_or(usize::MAX, |(columns, _)| columns),
                verbose: self.verbose,
            };
            view::tell(&summary.to_string());
        } else {
            // A stage that could not start would fail in silence: nobody else tells.
            let not_started = |end: &StageEnd| match end {
                StageEnd::NotStarted(error) => !matches!(**error, Error::HeldBack { .. }),
                _ => false,
            };
            for stage in outcome.stages.iter().filter(|it| not_started(&it.end)) {
                view::complain(&stage.reason());
            }
        }
        Ok(())
    }
}
