//! The options of a run, decided once: what to run, how to watch it, where to tell of it.

use std::io::IsTerminal;
use std::time::Duration;

use clap::ValueEnum;
use pipewright::{Capacity, Policy};

use super::compare::Contest;
use super::recorded::Keeping;
use super::recorder::Paths;
use super::telling::{Summarize, Telling};
use super::wait::Limit;
use super::watching::{DUMB_HINT, Face, Watch};
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
    pub(super) keeping: Keeping,
    pub(super) workers: Option<Widening>,
    pub(super) on: Vec<(usize, String)>,
    pub(super) dry_run: bool,
    /// Lines of the stages' stderr get names.
    pub(super) tag: bool,
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
        let shown = Shown {
            progress: options.progress,
            quiet: options.talk.quiet,
            verbose: options.talk.verbose,
            summary: options.summary,
            json_to_stderr: matches!(options.json, Some(None)),
            color: options.talk.color,
        };
        let telling = shown.telling();
        let told = telling.summarize != Summarize::Never
            || options.json.is_some()
            || options.samples.is_some()
            || options.trace.is_some()
            || options.report.is_some();
        let watch = shown.watch(told);
        Ok(Self {
            manner: Manner {
                shell: options.shell,
                whole: options.whole,
                pipefail: options.status == Status::Any,
                // These two rules are bash's own, and bash starts the others.
                start_without: options.start_anyway || options.status != Status::Pipefail,
            },
            task,
            keeping: Keeping {
                record: options.record,
                links: options.record_links,
                sync: options.record_sync,
                keep_going: options.keep_going,
                restart: options.restart,
                restart_max: options.restart_max,
                status: options
                    .status
                    .to_possible_value()
                    .map_or_else(String::new, |value| value.get_name().to_owned()),
            },
            rules: Rules {
                capacity: options.pipe_size,
                policy: options.status.into(),
                forgiven: options.forgive,
                limit: Limit {
                    timeout: options.limits.timeout,
                    kill_after: options.limits.kill_after,
                },
            },
            workers: options.workers,
            on: options.on,
            dry_run: options.dry_run,
            tag: options.tag,
            watch: Watch {
                input: options.json.is_some() || options.samples.is_some() || watch.input,
                interval: options.interval,
                size: options.size,
                ..watch
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
        tell_rounds: tell_rounds && !options.talk.quiet,
        report: !options.talk.quiet,
        palette: Palette::new(options.talk.color, &std::io::stdout()),
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

/// How a run is shown and told of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown {
    pub(super) progress: Progress,
    pub(super) quiet: bool,
    pub(super) verbose: bool,
    pub(super) summary: When,
    pub(super) json_to_stderr: bool,
    pub(super) color: When,
}

impl Shown {
    /// How the pipeline is watched. `told`: somebody is told of it in the end.
    pub(super) fn watch(self, told: bool) -> Watch {
        let face = self.face();
        Watch {
            wanted: told || !matches!(face, Face::Nowhere),
            input: !matches!(face, Face::Nowhere),
            face,
            interval: Duration::from_secs(1),
            size: None,
        }
    }

    /// The live view needs a terminal; one that the output goes to as well it has only while nothing
    /// comes.
    fn face(self) -> Face {
        let is_terminal = std::io::stderr().is_terminal();
        let able = is_terminal && !terminal::is_dumb();
        let inline = || Inline::new(Palette::new(self.color, &std::io::stderr()));
        let may_hint = self.summary == When::Auto && !self.json_to_stderr;
        match self.progress {
            Progress::Never => Face::Nowhere,
            _ if self.quiet => Face::Nowhere,
            Progress::Plain => Face::Plain,
            Progress::Auto if able && silence::output_goes_to_it() => Face::WhileSilent {
                view: Box::new(Yielding::new(inline())),
                or_hint: may_hint,
            },
            Progress::Auto | Progress::Always if able => Face::Live(Box::new(inline())),
            Progress::Auto if is_terminal && may_hint => Face::Hint(Box::new(inline()), DUMB_HINT),
            Progress::Auto => Face::Nowhere,
            Progress::Always => Face::Plain,
        }
    }

    pub(super) fn telling(self) -> Telling {
        let summarize = match self.summary {
            _ if self.quiet || self.json_to_stderr => Summarize::Never,
            When::Never => Summarize::Never,
            When::Always => Summarize::Always,
            When::Auto if self.verbose || std::io::stderr().is_terminal() => Summarize::Always,
            When::Auto => Summarize::Failures,
        };
        Telling {
            summarize,
            json_to_stderr: self.json_to_stderr,
            verbose: self.verbose,
            palette: Palette::new(self.color, &std::io::stderr()),
        }
    }
}
