//! The options of a run, decided once: what to run, how to watch it, where to tell of it.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;

use pipewright::{Capacity, Policy};

use super::recorder::Paths;
use super::telling::{Summarize, Telling};
use super::wait::Limit;
use super::watching::{Face, Watch};
use super::work::{Manner, Source};
use crate::cli::{self, Progress, Status, When, Widening};
use crate::forgiveness::Forgiven;
use crate::view::inline::Inline;
use crate::view::style::Palette;
use crate::view::terminal;

/// All that a run is to do.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) source: Source,
    pub(super) manner: Manner,
    pub(super) capacity: Capacity,
    pub(super) policy: Policy,
    pub(super) forgiven: Vec<Forgiven>,
    pub(super) workers: Option<Widening>,
    pub(super) dry_run: bool,
    pub(super) limit: Limit,
    pub(super) watch: Watch,
    pub(super) telling: Telling,
    pub(super) paths: Paths,
}

impl Plan {
    pub(super) fn of(options: cli::Run) -> anyhow::Result<Self> {
        let face = face(&options);
        let telling = telling(&options);
        let told = telling.summarize != Summarize::Never
            || options.json.is_some()
            || options.samples.is_some()
            || options.trace.is_some()
            || options.report.is_some();
        Ok(Self {
            manner: Manner {
                shell: options.shell,
                whole: options.whole,
                pipefail: options.status == Status::Any,
                // These two rules are bash's own, and bash starts the others.
                start_without: options.start_anyway || options.status != Status::Pipefail,
            },
            source: source(options.text, options.words, options.separator, options.file)?,
            capacity: options.pipe_size,
            policy: options.status.into(),
            forgiven: options.forgive,
            workers: options.workers,
            dry_run: options.dry_run,
            limit: Limit {
                timeout: options.timeout,
                kill_after: options.kill_after,
            },
            watch: Watch {
                wanted: told || !matches!(face, Face::Nowhere),
                face,
                interval: options.interval,
            },
            telling,
            paths: Paths {
                json: options.json.flatten(),
                samples: options.samples,
                trace: options.trace,
                page: options.report,
            },
        })
    }
}

fn source(
    mut text: Vec<OsString>,
    words: Vec<OsString>,
    separator: OsString,
    file: Option<PathBuf>,
) -> anyhow::Result<Source> {
    if !words.is_empty() {
        return Ok(Source::Words { words, separator });
    }
    if let Some(path) = file {
        return Ok(Source::File {
            path,
            arguments: text,
        });
    }
    if text.len() > 1 {
        anyhow::bail!(
            "the pipeline was given as {} arguments, so your shell has taken away its quotes and |: \
             put it into quotes, '…', or its words after --",
            text.len()
        );
    }
    text.pop().map(Source::Text).ok_or_else(|| {
        anyhow::anyhow!(
            "there is no pipeline: give it as one argument, 'sort names | uniq -c', or with -f FILE"
        )
    })
}

/// The live view needs a terminal that the pipeline's data does not go to.
fn face(options: &cli::Run) -> Face {
    let able = std::io::stderr().is_terminal() && !terminal::is_dumb();
    let live = || {
        Face::Live(Box::new(Inline::new(Palette::new(
            options.color,
            &std::io::stderr(),
        ))))
    };
    match options.progress {
        Progress::Never => Face::Nowhere,
        _ if options.quiet => Face::Nowhere,
        Progress::Plain => Face::Plain,
        Progress::Auto if able && !std::io::stdout().is_terminal() => live(),
        Progress::Auto => Face::Nowhere,
        Progress::Always if able => live(),
        Progress::Always => Face::Plain,
    }
}

fn telling(options: &cli::Run) -> Telling {
    let json_to_stderr = matches!(options.json, Some(None));
    let summarize = match options.summary {
        _ if options.quiet || json_to_stderr => Summarize::Never,
        When::Never => Summarize::Never,
        When::Always => Summarize::Always,
        When::Auto if options.verbose || std::io::stderr().is_terminal() => Summarize::Always,
        When::Auto => Summarize::Failures,
    };
    Telling {
        summarize,
        json_to_stderr,
        verbose: options.verbose,
        palette: Palette::new(options.color, &std::io::stderr()),
    }
}
