//! Pipelines run in turn: a warm-up, then round after round, and the report at the end.

mod drain;

use std::ffi::OsString;
use std::hash::RandomState;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use pipewright::Stdio;
use rustix::fs::FileType;

use super::signals::Signals;
use super::work::{Streams, Work};
use crate::comparison::{Comparison, Contender, Run};
use crate::disposition;
use crate::export::comparison::Format;
use crate::inherited;
use crate::outcome::{OWN_ERROR, Outcome};
use crate::output::Recording;
use crate::view::comparison::Report;
use crate::view::style::Palette;
use crate::view::units::seconds;
use crate::view::{self, terminal, text};
use drain::Drain;

/// A comparison that was asked for.
#[derive(Debug)]
pub(super) struct Contest {
    /// Two at least.
    pub(super) texts: Vec<OsString>,
    pub(super) rounds: usize,
    pub(super) warm_ups: usize,
    /// Each is told of on stderr.
    pub(super) tell_rounds: bool,
    /// The report goes to stdout.
    pub(super) report: bool,
    pub(super) palette: Palette,
    /// Each one's form is told by the end of its name.
    pub(super) exports: Vec<PathBuf>,
}

/// What each run gets as its input.
enum Input {
    /// The caller's regular file, from this offset on.
    File(u64),
    /// The caller closed it.
    Closed,
    /// Anything else could be read only once, and so nobody reads it.
    Nothing,
}

/// Runs the pipelines in turn. `prepare` makes a text ready to be run, `refused` tells how one would
/// end that cannot be begun, `once` runs one.
pub(super) fn compare(
    asked: &Contest,
    prepare: impl Fn(&OsString) -> anyhow::Result<Work>,
    refused: impl Fn(&Work) -> Option<Outcome>,
    mut once: impl FnMut(Work, Streams, &mut Signals) -> anyhow::Result<Outcome>,
) -> anyhow::Result<ExitCode> {
    let formats = asked.exports.iter().map(|path| Format::of(path));
    let formats = formats.collect::<anyhow::Result<Vec<_>>>()?;
    let files = asked.exports.iter().map(|path| ("--export", path.clone()));
    let recordings = Recording::open_all(&files.collect::<Vec<_>>())?;
    for (text, number) in asked.texts.iter().zip(1..) {
        let outcome = refused(&prepare(text)?);
        if let Some((outcome, failed)) = outcome.and_then(|it| it.failed.map(|at| (it, at))) {
            let reason = outcome.stages[failed].reason();
            view::complain(&format!("pipeline {number}: {reason}; nothing was run"));
            return Ok(ExitCode::from(outcome.exit_code()));
        }
    }

    let mut signals = Signals::catch(false).context("cannot catch signals")?;
    let input = Input::of_caller();
    let keys = RandomState::new();
    let mut comparison = Comparison {
        contenders: asked.texts.iter().map(contender).collect(),
        rounds: asked.rounds,
    };
    let mut stopped_by = None;
    'rounds: for round in 0..asked.warm_ups + asked.rounds {
        for index in in_turn(asked.texts.len(), round) {
            let work = prepare(&asked.texts[index])?;
            let (reader, output) = pipewright::pipe()?;
            let drain = Drain::start(reader, &keys).context("cannot read the output")?;
            let input = input.again()?;
            let outcome = once(
                work,
                Streams {
                    input: Some(input),
                    output: Some(output.into()),
                    ..Streams::default()
                },
                &mut signals,
            );
            let digest = drain.finish();
            stopped_by = signals.first();
            // What a signal has cut short is no run.
            if stopped_by.is_some() {
                break 'rounds;
            }
            let run = Run {
                outcome: outcome?,
                output: digest.context("cannot read the output")?,
            };
            let contender = &mut comparison.contenders[index];
            if round < asked.warm_ups {
                contender.warm_ups.push(run);
            } else {
                contender.runs.push(run);
            }
        }
        if asked.tell_rounds {
            tell(&comparison, round, asked.warm_ups);
        }
    }
    signals.release();

    let mut failures = Vec::new();
    if asked.report {
        let report = Report {
            comparison: &comparison,
            palette: asked.palette,
            width: terminal::columns(std::io::stdout()),
        };
        failures.extend(view::say(&report.to_string()).err());
    }
    for (format, mut recording) in formats.into_iter().zip(recordings) {
        let written = recording.write_all(format.text(&comparison)?.as_bytes());
        failures.extend(written.and_then(|()| recording.finish()).err());
    }
    for failure in &failures {
        view::complain(&failure.to_string());
    }
    if let Some(signal) = stopped_by {
        disposition::die_of(signal);
    }
    Ok(ExitCode::from(match comparison.exit_code() {
        0 if !failures.is_empty() => OWN_ERROR,
        code => code,
    }))
}

impl Input {
    fn of_caller() -> Self {
        if inherited::was_closed(0) {
            return Self::Closed;
        }
        let stdin = rustix::stdio::stdin();
        let is_file = rustix::fs::fstat(stdin)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file());
        match rustix::fs::tell(stdin) {
            Ok(offset) if is_file => Self::File(offset),
            _ => Self::Nothing,
        }
    }

    /// The input of one more run.
    fn again(&self) -> anyhow::Result<Stdio> {
        Ok(match self {
            Self::File(offset) => {
                rustix::fs::seek(rustix::stdio::stdin(), rustix::fs::SeekFrom::Start(*offset))
                    .context("cannot go back to the beginning of stdin")?;
                Stdio::Inherit
            }
            Self::Closed => Stdio::Closed,
            Self::Nothing => Stdio::Null,
        })
    }
}

fn contender(text: &OsString) -> Contender {
    let text = text.to_string_lossy().into_owned();
    Contender {
        name: text::line(text.trim()),
        text,
        warm_ups: Vec::new(),
        runs: Vec::new(),
    }
}

/// The order of a round: each second one runs backwards, so that none always comes first.
fn in_turn(contenders: usize, round: usize) -> impl Iterator<Item = usize> {
    let backwards = round % 2 == 1;
    (0..contenders).map(move |index| {
        if backwards {
            contenders - 1 - index
        } else {
            index
        }
    })
}

/// Tells how long the runs of a round took.
fn tell(comparison: &Comparison, round: usize, warm_ups: usize) {
    let head = if round < warm_ups {
        "warm-up".to_owned()
    } else {
        format!("round {} of {}", round + 1 - warm_ups, comparison.rounds)
    };
    let latest = comparison.contenders.iter().filter_map(|contender| {
        let run = contender.all().last()?;
        let failed = run.outcome.exit_code() != 0;
        let failed = if failed { " (failed)" } else { "" };
        Some(seconds(run.outcome.wall) + failed)
    });
    let latest: Vec<String> = latest.collect();
    view::tell(&format!("{head}: {}\n", latest.join(", ")));
}
