//! The command `pipewright`.

mod by_ssh;
mod cli;
mod commands;
mod comparison;
mod disposition;
mod export;
mod first_try;
mod forgiveness;
mod inherited;
mod missing;
mod observation;
mod outcome;
mod output;
mod progress;
mod quantity;
mod recording;
mod shell;
mod view;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use cli::{Arguments, Subcommand, When};
use view::style::Palette;

fn main() -> ExitCode {
    if view::guard::is_wanted() {
        return view::guard::run();
    }
    if view::tags::is_wanted() {
        return view::tags::run();
    }
    if let Err(errno) = inherited::give_up_others_ids() {
        view::complain(&format!(
            "cannot give up the rights of another user: {errno}"
        ));
        return ExitCode::from(outcome::OWN_ERROR);
    }
    view::charset::follow_locale();
    inherited::keep_statuses();
    output::survive_size_limit();
    let typed = first_try::arguments();
    let result = match Arguments::try_parse_from(&typed) {
        Ok(arguments) => execute(arguments.command, &typed),
        Err(error) => explain(first_try::mended(error, &typed)),
    };
    result.unwrap_or_else(|error| {
        view::complain(&format!("{error:#}"));
        ExitCode::from(outcome::OWN_ERROR)
    })
}

fn execute(command: Subcommand, typed: &[OsString]) -> anyhow::Result<ExitCode> {
    match command {
        Subcommand::Run(mut options) => {
            options.before = first_try::before(typed, &options.rest);
            commands::run::run(*options)
        }
        Subcommand::Ls(options) => looked(commands::ls::ls(&options)),
        Subcommand::Watch(options) => looked(commands::watch::watch(&options)),
        Subcommand::Resize(options) => looked(commands::resize::resize(&options)),
        Subcommand::Workers(options) => commands::workers::workers(*options),
        #[cfg(feature = "nats")]
        Subcommand::Worker(options) => commands::via::worker(options),
        Subcommand::On(options) => commands::on::on(options),
        Subcommand::Remote(options) => commands::remote::remote(&options),
        Subcommand::Spool(options) => commands::spool::spool(&options),
        Subcommand::Keep(options) => commands::keep::keep(&options),
        Subcommand::Resume(options) => commands::run::resume::resume(&options),
        Subcommand::Diff(options) => Ok(commands::diff::diff(&options)),
        Subcommand::Replay(options) => commands::replay::replay(&options),
        Subcommand::Limits(options) => commands::limits::limits(&options),
        Subcommand::Schema(_) => commands::schema::schema(),
        Subcommand::Completions(options) => commands::completions::completions(options.shell),
        Subcommand::Man(options) => commands::manual::man(&options),
    }
}

/// Prints what there is instead of arguments: an error, the help, or the version.
fn explain(error: clap::Error) -> anyhow::Result<ExitCode> {
    let text = error.render();
    if error.use_stderr() {
        view::tell(&Palette::new(When::Auto, &std::io::stderr()).parsed(&text));
        return Ok(ExitCode::from(outcome::OWN_ERROR));
    }
    let text = Palette::new(When::Auto, &std::io::stdout()).parsed(&text);
    view::say(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Somebody else's pipeline that cannot be looked at is an answer, and no fault of pipewright's: the
/// sentence, and status 1.
fn looked(result: anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    match result {
        Err(error) if error.is::<pipewright_observe::Error>() => {
            view::complain(&error.to_string());
            Ok(ExitCode::FAILURE)
        }
        result => result,
    }
}
