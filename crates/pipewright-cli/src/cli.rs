//! The command line, parsed once into one struct.

mod hosts;
mod run;
mod shared;
mod spool;
mod values;
#[cfg(feature = "nats")]
mod via;
mod workers;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser};

use crate::quantity;
pub(crate) use hosts::{On, OnHosts, Reach, Remote};
pub(crate) use run::{Progress, Run, Status};
pub(crate) use spool::{Diff, Keep, Replay, Resume, Spool, SpoolSync};
pub(crate) use values::{Auto, HostSlots, Restart, Restarting, When, Widening};
#[cfg(feature = "nats")]
pub(crate) use via::{Login, Via, Worker};
pub(crate) use workers::Workers;

/// Run pipelines, see how each stage ends and which one is slow
#[derive(Debug, Parser)]
#[command(
    name = "pipewright",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = EXAMPLES
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Subcommand,
}

const EXAMPLES: &str = "\
Examples:
  pipewright run 'zcat log.gz | grep ERR | sort | uniq -c'    run a pipeline, find its slow stage
  pipewright 'zcat log.gz | wc -l'                            the same, in short
  pipewright ls                                               the pipelines that are running
  pipewright watch 4711                                       one of them, full-screen
  pipewright run --help                                       more examples, and the exit status";

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Subcommand {
    Run(Box<Run>),
    Ls(Ls),
    Watch(Watch),
    Resize(Resize),
    Workers(Box<Workers>),
    #[cfg(feature = "nats")]
    Worker(Worker),
    On(On),
    #[command(hide = true)]
    Remote(Remote),
    Spool(Spool),
    Resume(Resume),
    Replay(Replay),
    Diff(Diff),
    #[command(hide = true)]
    Keep(Keep),
    Limits(Limits),
    Schema(Schema),
    Completions(Completions),
    Man(Man),
}

/// List the running pipelines, and what each process is waiting for
///
/// They are found from /proc alone: which processes hold which ends of which pipes. Looking adds
/// no reader and no writer to any of them.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Also list pipes between a program and its own ancestor, such as a captured output, and show
    /// who is behind a Unix socket that a stage has as a standard stream
    #[arg(short, long)]
    pub(crate) all: bool,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    /// Print one line per process, its number, a tab and its command line, for a shell's completion
    #[arg(long, hide = true, conflicts_with_all = ["all", "json"])]
    pub(crate) pids: bool,
}

/// Watch a running pipeline
///
/// Full-screen: q quits, f freezes, j and k move, e expands a command line, ? helps. Watching does
/// not disturb the pipeline. At the end a summary is printed. Without PID it watches the only pipeline of
/// yours; where there are several it lists them, with status 2.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// A process of the pipeline, or the shell that waits for it; without it, your only pipeline
    #[arg(allow_negative_numbers = true, value_parser = quantity::process)]
    pub(crate) pid: Option<u32>,

    /// Time between updates of CPU and rates
    #[arg(short, long, value_name = "DURATION", default_value = "1s", value_parser = quantity::interval)]
    pub(crate) interval: Duration,

    /// When to use colours; auto: unless NO_COLOR is set
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    pub(crate) color: When,
}

/// Set the capacity of the pipes of a running pipeline
///
/// It takes effect at once, even with bytes in the pipes. The old and the new capacity of each pipe
/// are printed.
#[derive(Debug, Args)]
pub(crate) struct Resize {
    /// A process of the pipeline, or the shell that waits for it
    #[arg(allow_negative_numbers = true, value_parser = quantity::process)]
    pub(crate) pid: u32,

    /// 65536, 64K, 1M; max (1 MiB) or default (64 KiB)
    #[arg(value_parser = quantity::CapacityParser, hide_possible_values = true)]
    pub(crate) size: pipewright::Capacity,
}

/// Show what the kernel allows here: the capacities of pipes and your quota
#[derive(Debug, Args)]
pub(crate) struct Limits {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print the JSON Schema of all that pipewright writes as JSON
///
/// It has every field of --json, --samples and --compare --export FILE.json, with its type, its unit
/// and when it is null. Its version is that of the fields.
#[derive(Debug, Args)]
#[command(after_long_help = SCHEMA_NOTES)]
pub(crate) struct Schema {}

const SCHEMA_NOTES: &str = "\
Examples:
  pipewright schema > pipewright.schema.json
  check-jsonschema --schemafile pipewright.schema.json run.json";

/// Print completions for a shell
///
/// watch and resize complete the processes of the pipelines that are running.
#[derive(Debug, Args)]
#[command(after_long_help = COMPLETIONS_NOTES)]
pub(crate) struct Completions {
    /// bash, zsh, fish, elvish or powershell
    pub(crate) shell: clap_complete::Shell,
}

const COMPLETIONS_NOTES: &str = "\
Examples:
  pipewright completions bash > ~/.local/share/bash-completion/completions/pipewright
  pipewright completions fish > ~/.config/fish/completions/pipewright.fish
  pipewright completions zsh > DIRECTORY/_pipewright
  pipewright completions elvish > ~/.config/elvish/lib/pipewright.elv
  pipewright completions powershell >> $PROFILE

For bash, the package bash-completion must be installed. For zsh, DIRECTORY is one of those
in $fpath when compinit runs, such as ~/.zfunc after fpath+=~/.zfunc in ~/.zshrc. For elvish,
add 'use pipewright' to ~/.config/elvish/rc.elv. For all users:
/usr/share/bash-completion/completions, /usr/share/zsh/vendor-completions,
/usr/share/fish/vendor_completions.d.";

/// Print a manual page, or save them all
#[derive(Debug, Args)]
#[command(after_long_help = MAN_NOTES)]
pub(crate) struct Man {
    /// The subcommand whose page to print; without it, the main page
    #[arg(value_name = "SUBCOMMAND")]
    pub(crate) subcommand: Option<String>,

    /// Save every page in DIR: pipewright.1, pipewright-run.1, …
    #[arg(long, value_name = "DIR", conflicts_with = "subcommand", value_hint = clap::ValueHint::DirPath)]
    pub(crate) all: Option<PathBuf>,
}

const MAN_NOTES: &str = "\
Examples:
  pipewright man | man -l -
  pipewright man run | man -l -
  pipewright man --all ~/.local/share/man/man1";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        super::Arguments::command().debug_assert();
    }

    #[test]
    fn notes_fit_the_width_that_help_has() {
        for command in super::Arguments::command().get_subcommands() {
            let notes = command.get_after_long_help().map(ToString::to_string);
            for line in notes.iter().flat_map(|notes| notes.lines()) {
                assert!(
                    line.chars().count() <= 100,
                    "{}: {line}",
                    command.get_name()
                );
            }
        }
    }
}
