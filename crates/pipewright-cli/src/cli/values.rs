//! The values of options of several subcommands, from the text that people type. Pure.

use clap::ValueEnum;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum When {
    #[default]
    Auto,
    Always,
    Never,
}

/// A value that is given, or found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Auto<T> {
    Auto,
    Given(T),
}

/// A number of workers, or `auto`.
pub(super) fn jobs(text: &str) -> Result<Auto<usize>, String> {
    match (text, text.parse()) {
        ("auto", _) => Ok(Auto::Auto),
        (_, Ok(number @ 1..=1024)) => Ok(Auto::Given(number)),
        _ => Err("give a number from 1 to 1024, or auto".to_owned()),
    }
}

/// The stages that workers are to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Widening {
    /// Each that is known to gain.
    Auto,
    /// These, by their numbers from 1 up.
    Stages(Vec<(usize, Auto<usize>)>),
}

/// `2=HOST`.
pub(super) fn stage_on(text: &str) -> Result<(usize, String), String> {
    let stage = text.split_once('=').and_then(|(number, host)| {
        let number = number.parse().ok().filter(|number| *number > 0)?;
        Some((number, host.to_owned()))
    });
    let stage = stage.filter(|(_, host)| !host.is_empty() && !host.starts_with('-'));
    stage.ok_or_else(|| "give a stage with its host: 2=HOST".to_owned())
}

/// `auto`, or `2=4,3=auto`.
pub(super) fn widening(text: &str) -> Result<Widening, String> {
    if text == "auto" {
        return Ok(Widening::Auto);
    }
    let stage = |text: &str| {
        let (number, workers) = text.split_once('=')?;
        let number = number.parse().ok().filter(|number| *number > 0)?;
        Some((number, jobs(workers).ok()?))
    };
    let stages: Option<Vec<_>> = text.split(',').map(stage).collect();
    stages
        .map(Widening::Stages)
        .ok_or_else(|| "give auto, or stages with their workers: 2=4, or 2=4,3=auto".to_owned())
}

/// How a stage that dies is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restart {
    /// From the beginning of its input.
    Replay,
    /// A part of the input at a time.
    Chunk,
}

/// The stages that are started again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Restarting {
    Every(Restart),
    /// These, by their numbers from 1 up.
    Stages(Vec<(usize, Restart)>),
}

/// `replay`, or `2=replay,3=chunk`.
pub(super) fn restarting(text: &str) -> Result<Restarting, String> {
    let how = |text: &str| match text {
        "replay" => Some(Restart::Replay),
        "chunk" => Some(Restart::Chunk),
        _ => None,
    };
    if let Some(how) = how(text) {
        return Ok(Restarting::Every(how));
    }
    let stage = |text: &str| {
        let (number, text) = text.split_once('=')?;
        let number = number.parse().ok().filter(|number| *number > 0)?;
        Some((number, how(text)?))
    };
    let stages: Option<Vec<_>> = text.split(',').map(stage).collect();
    let stages = stages.map(Restarting::Stages);
    stages.ok_or_else(|| "give replay, chunk, or stages: 2=replay, or 2=replay,3=chunk".to_owned())
}
