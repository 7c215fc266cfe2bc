//! The values of options of several subcommands, from the text that people type. Pure.

use std::path::PathBuf;

use clap::ValueEnum;
use clap::builder::{OsStringValueParser, TypedValueParser};

/// A path. clap says of an empty one that there is none.
pub(super) fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(|text| match text.is_empty() {
        true => Err("it is empty, and names nothing"),
        false => Ok(PathBuf::from(text)),
    })
}

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

/// A host that runs chunks, and how many at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostSlots {
    /// `None` is this host.
    pub(crate) host: Option<String>,
    pub(crate) slots: Option<usize>,
}

/// `HOST` or `HOST/4`; `:` is this host.
pub(super) fn host_slots(text: &str) -> Result<HostSlots, String> {
    // The slashes of ssh://HOST are no number's.
    let cut = text
        .rsplit_once('/')
        .filter(|(host, _)| !host.ends_with('/'));
    let (host, slots) = match cut {
        Some((host, number)) => match number.parse() {
            Ok(slots @ 1..=1024) => (host, Some(slots)),
            _ if host.starts_with("ssh:") => (text, None),
            _ => return Err("give HOST/N with N from 1 to 1024".to_owned()),
        },
        None => (text, None),
    };
    if host.is_empty() || host.starts_with('-') {
        return Err(
            "give hosts as ssh takes them: HOST, user@HOST, HOST/4, or : for this host".to_owned(),
        );
    }
    let host = (host != ":").then(|| host.to_owned());
    Ok(HostSlots { host, slots })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_its_number_of_runs_behind_the_last_slash() {
        let table = [
            ("far", Some((Some("far"), None))),
            ("far/4", Some((Some("far"), Some(4)))),
            (
                "me@far.example/16",
                Some((Some("me@far.example"), Some(16))),
            ),
            ("::1/2", Some((Some("::1"), Some(2)))),
            ("fe80::/2", Some((Some("fe80::"), Some(2)))),
            ("ssh://far", Some((Some("ssh://far"), None))),
            ("ssh://far:22", Some((Some("ssh://far:22"), None))),
            ("ssh://far:22/3", Some((Some("ssh://far:22"), Some(3)))),
            ("ssh://10", Some((Some("ssh://10"), None))),
            (":", Some((None, None))),
            (":/3", Some((None, Some(3)))),
            ("far/0", None),
            ("far/1025", None),
            ("far/x", None),
            ("far/", None),
            ("/4", None),
            ("", None),
            ("-oX/4", None),
        ];
        for (text, expected) in table {
            let found = host_slots(text).ok();
            let expected = expected.map(|(host, slots)| HostSlots {
                host: host.map(str::to_owned),
                slots,
            });
            assert_eq!(found, expected, "{text}");
        }
    }
}
