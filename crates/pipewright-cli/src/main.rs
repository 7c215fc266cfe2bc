//! The command `pipewright`.

mod cli;
mod commands;
mod export;
mod inherited;
mod observation;
mod outcome;
mod quantity;
mod shell;
mod view;

use std::process::ExitCode;

use cli::{Arguments, Subcommand};

fn main() -> ExitCode {
    inherited::keep_statuses();
    let arguments = match Arguments::read() {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    let result = match arguments.command {
        Subcommand::Run(options) => commands::run::run(*options),
        Subcommand::Ls(options) => looked(commands::ls::ls(&options)),
        Subcommand::Watch(options) => looked(commands::watch::watch(&options)),
        Subcommand::Resize(options) => looked(commands::resize::resize(&options)),
        Subcommand::Limits(options) => commands::limits::limits(&options),
        Subcommand::Completions { shell } => commands::manual::completions(shell),
        Subcommand::Man => commands::manual::man(),
    };
    result.unwrap_or_else(|error| {
        view::complain(&format!("{error:#}"));
        ExitCode::from(outcome::OWN_ERROR)
    })
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
