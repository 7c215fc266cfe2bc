//! Command lines as people first type them. Pure, but for reading its own.

use std::ffi::{OsStr, OsString};

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::cli::Arguments;

/// This process's arguments. A pipeline where a subcommand should be is meant to be run.
pub(crate) fn arguments() -> Vec<OsString> {
    let mut typed: Vec<OsString> = std::env::args_os().collect();
    if typed.get(1).is_some_and(|first| is_text(first)) {
        typed.insert(1, "run".into());
    }
    typed
}

/// The argument before `rest`, which is the end of `typed`.
pub(crate) fn before(typed: &[OsString], rest: &[OsString]) -> OsString {
    let index = (typed.len() - rest.len()).checked_sub(1);
    index.map_or_else(OsString::new, |index| typed[index].clone())
}

/// Tells whether an argument was given in quotes, as a pipeline is: no name and no option looks so.
fn is_text(argument: &OsStr) -> bool {
    let bytes = argument.as_encoded_bytes();
    let shell = |byte: &u8| byte.is_ascii_whitespace() || b"|;&<>$".contains(byte);
    !bytes.starts_with(b"-") && bytes.iter().any(shell)
}

/// Tells whether a text refers to arguments of its own: `$1`, `"$@"`.
pub(crate) fn takes_arguments(text: &OsStr) -> bool {
    let bytes = text.as_encoded_bytes();
    let refers = |rest: &[u8]| {
        let name = rest.strip_prefix(b"{").unwrap_or(rest);
        let is_length = rest.starts_with(b"{#") && rest.get(2) != Some(&b'}');
        let first = name.first();
        !is_length && first.is_some_and(|byte| byte.is_ascii_digit() || b"@*#".contains(byte))
    };
    let mut dollars = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'$');
    dollars.any(|(index, _)| refers(&bytes[index + 1..]))
}

/// The error of a pipeline that came as several arguments, `before` being the one before them.
pub(crate) fn several(before: &OsStr, rest: &[OsString]) -> String {
    let first = rest[0].to_string_lossy();
    if before == "--json" && rest.len() == 2 && !is_text(&rest[0]) && is_text(&rest[1]) {
        return format!(
            "--json takes its file after an equals sign, --json={first}; without one, --json prints to \
             stderr, and {first} counts as the pipeline"
        );
    }
    let second = rest[1].to_string_lossy();
    if is_text(&rest[0]) && second.starts_with('-') {
        return format!(
            "{second} comes after the pipeline, and options go before it: pipewright run {second} '…'"
        );
    }
    let words: Vec<_> = rest.iter().map(|word| word.to_string_lossy()).collect();
    let words = words.join(" ");
    // What was quoted once would have to be quoted anew.
    let plain = |word: &OsString| !is_text(word) && !word.as_encoded_bytes().contains(&b'\'');
    let example = if rest.iter().all(plain) && words.len() < 60 {
        format!("pipewright run '{words}', or pipewright run -- {words}")
    } else {
        "pipewright run '…', or give its words after --".to_owned()
    };
    format!(
        "the pipeline was given as {} arguments, so your shell has taken away its quotes and |: put it \
         into quotes: {example}",
        rest.len()
    )
}

/// A parser's error, with a tip that leads somewhere in place of one that does not.
pub(crate) fn mended(mut error: clap::Error, typed: &[OsString]) -> clap::Error {
    let known = |error: &clap::Error, kind| match error.get(kind) {
        Some(ContextValue::String(it)) => Some(it.clone()),
        _ => None,
    };
    let command = typed.get(1).and_then(|it| it.to_str()).unwrap_or_default();
    let tip = match error.kind() {
        ErrorKind::InvalidSubcommand if error.get(ContextKind::SuggestedSubcommand).is_none() => {
            "to run a pipeline, put it into quotes: pipewright run 'sort names | uniq -c'"
                .to_owned()
        }
        ErrorKind::UnknownArgument => {
            let Some(option) = known(&error, ContextKind::InvalidArg) else {
                return error;
            };
            match command {
                // It proposes an option of that name, or nothing of use: "-- -l".
                "run" if error.get(ContextKind::SuggestedArg).is_some() => return error,
                "run" => format!(
                    "if {option} belongs to a program, put the whole pipeline into quotes: \
                     pipewright run 'ls -l | wc -l'"
                ),
                "ls" => "pipewright ls lists pipelines; to run the program ls: pipewright run 'ls -l | wc -l'"
                    .to_owned(),
                _ if command.starts_with('-') && is_of_run(&option) => {
                    format!("{option} is an option of run: pipewright run {option} 'sort names | uniq -c'")
                }
                _ => return error,
            }
        }
        _ => return error,
    };
    error.remove(ContextKind::SuggestedArg);
    let tips = ContextValue::StyledStrs(vec![tip.into()]);
    error.insert(ContextKind::Suggested, tips);
    error
}

/// Tells whether `run` has an option of this name, written with its dashes.
fn is_of_run(option: &str) -> bool {
    let command = Arguments::command();
    let run = command.find_subcommand("run");
    run.is_some_and(|run| {
        run.get_arguments().any(|it| {
            let long = it.get_long().map(|long| format!("--{long}"));
            let short = it.get_short().map(|short| format!("-{short}"));
            [long, short].iter().flatten().any(|name| name == option)
        })
    })
}
