//! The command `pipewright`.

mod cli;
mod commands;
mod export;
mod observation;
mod quantity;
mod shell;
mod view;

use std::process::ExitCode;

use cli::{Arguments, Subcommand};

fn main() -> ExitCode {
    let arguments = match Arguments::read() {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    let result = match arguments.command {
        Subcommand::Run(options) => commands::run::run(&options),
        Subcommand::Limits(options) => commands::limits::limits(&options),
        Subcommand::Completions { shell } => commands::manual::completions(shell),
        Subcommand::Man => commands::manual::man(),
    };
    result.unwrap_or_else(|error| {
        view::complain(&format!("{error:#}"));
        ExitCode::from(cli::OWN_ERROR)
    })
}
