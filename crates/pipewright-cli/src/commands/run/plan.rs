//! The options of a run, decided once: what to run, how to watch it, where to tell of it.

use std::io::IsTerminal;

use pipewright::{Capacity, Policy};

use super::compare::Contest;
use super::recorder::Paths;
use super::telling::{Summarize, Telling};
use super::wait::Limit;
use super::watching::{Face, Watch};
use super::work::{Manner, Source};
use crate::cli::{self, Progress, Status, When, Widening};
use crate::first_try;
use crate::forgiveness::Forgiven;
use crate::view::inline::Inline;
use crate::view::style::Palette;
use crate::view::yielding::Yielding;
use crate::view::{silence, terminal};

/// All that a run is to do.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) task: Task,
    pub(super) manner: Manner,
    pub(super) rules: Rules,
    pub(super) workers: Option<Widening>,
    pub(super) dry_run: bool,
    pub(super) watch: Watch,
    pub(super) telling: Telling,
    pub(super) paths: Paths,
}

/// What to run.
#[derive(Debug)]
pub(super) enum Task {
    /// One pipeline, once.
    Run(Source),
    /// Several in turn.
    Compare(Contest),
}

/// The pipes of a run, its end, and what counts as a failure.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) capacity: Capacity,
    pub(super) policy: Policy,
    pub(super) forgiven: Vec<Forgiven>,
    pub(super) limit: Limit,
}

impl Plan {
    pub(super) fn of(mut options: cli::Run) -> anyhow::Result<Self> {
        let task = if options.compare {
            Task::Compare(contest(&mut options)?)
        } else {
            Task::Run(source(&mut options)?)
        };
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
            task,
            rules: Rules {
                capacity: options.pipe_size,
                policy: options.status.into(),
                forgiven: options.forgive,
                limit: Limit {
                    timeout: options.timeout,
                    kill_after: options.kill_after,
                },
            },
            workers: options.workers,
            dry_run: options.dry_run,
            watch: Watch {
                wanted: told || !matches!(face, Face::Nowhere),
                input: options.json.is_some()
                    || options.samples.is_some()
                    || !matches!(face, Face::Nowhere),
                face,
                interval: options.interval,
                size: options.size,
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

fn contest(options: &mut cli::Run) -> anyhow::Result<Contest> {
    let texts = std::mem::take(&mut options.rest);
    if texts.len() < 2 {
        anyhow::bail!(
            "--compare takes two pipelines or more, each as one argument: \
             pipewright run --compare 'sort names | uniq' 'sort -u names'"
        );
    }
    let tell_rounds = match options.progress {
        Progress::Never => false,
        Progress::Plain => true,
        Progress::Auto | Progress::Always => std::io::stderr().is_terminal(),
    };
    Ok(Contest {
        texts,
        rounds: options.runs,
        warm_ups: options.warmup,
        tell_rounds: tell_rounds && !options.quiet,
        report: !options.quiet,
        palette: Palette::new(options.color, &std::io::stdout()),
        exports: std::mem::take(&mut options.export),
    })
}

fn source(options: &mut cli::Run) -> anyhow::Result<Source> {
    let mut rest = std::mem::take(&mut options.rest);
    let after_dashes = options.before == "--";
    if let Some(path) = options.file.take() {
        return Ok(Source::File {
            path,
            arguments: rest,
        });
    }
    if after_dashes && !rest.is_empty() {
        if options.whole {
            anyhow::bail!(
                "--whole lets a shell run a text, and words after -- see no shell: give the text as \
                 one argument, '…'"
            );
        }
        let separator = options.separator.take();
        return Ok(Source::Words {
            words: rest,
            separator: separator.unwrap_or_else(|| "|".into()),
        });
    }
    if options.separator.is_some() {
        anyhow::bail!(
            "--separator is for words after --: pipewright run --separator : -- sort names : uniq"
        );
    }
    if rest.is_empty() {
        anyhow::bail!(
            "there is no pipeline: give it as one argument, 'sort names | uniq -c', or with -f FILE"
        );
    }
    if rest.len() > 1 && !first_try::takes_arguments(&rest[0]) {
        anyhow::bail!(first_try::several(&options.before, &rest));
    }
    let arguments = rest.split_off(1);
    let text = rest.remove(0);
    Ok(Source::Text { text, arguments })
}

/// The live view needs a terminal; one that the output goes to as well it has only while nothing
/// comes.
fn face(options: &cli::Run) -> Face {
    let able = std::io::stderr().is_terminal() && !terminal::is_dumb();
    let inline = || Inline::new(Palette::new(options.color, &std::io::stderr()));
    match options.progress {
        Progress::Never => Face::Nowhere,
        _ if options.quiet => Face::Nowhere,
        Progress::Plain => Face::Plain,
        Progress::Auto if able && silence::output_goes_to_it() => Face::WhileSilent {
            view: Box::new(Yielding::new(inline())),
            or_hint: options.summary == When::Auto && !matches!(options.json, Some(None)),
        },
        Progress::Auto | Progress::Always if able => Face::Live(Box::new(inline())),
        Progress::Auto => Face::Nowhere,
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
