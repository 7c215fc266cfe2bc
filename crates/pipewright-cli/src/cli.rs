//! The command line, parsed once into one struct.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, ValueEnum};

use crate::quantity;

/// Run a pipeline, tell how each stage ended
#[derive(Debug, Parser)]
#[command(name = "pipewright", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Subcommand,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Subcommand {
    Run(Box<Run>),
    Ls(Ls),
    Watch(Watch),
    Resize(Resize),
    Limits(Limits),
    /// Print completions for a shell
    ///
    /// For bash: pipewright completions bash > ~/.local/share/bash-completion/completions/pipewright
    Completions {
        /// bash, zsh, fish, elvish or powershell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    ///
    /// To read it: pipewright man | man -l -
    Man,
}

/// Run one pipeline and tell how each stage ended
///
/// The stages are connected by direct kernel pipes, as a shell does it: no byte passes through
/// pipewright, and if pipewright is killed the pipeline goes on. stdout carries the pipeline's
/// output and nothing else; the summary goes to stderr.
#[derive(Debug, Args)]
#[command(after_long_help = RUN_NOTES)]
pub(crate) struct Run {
    /// The pipeline, in bash syntax, as one argument; with --file, arguments for $1, $2, …
    #[arg(value_name = "PIPELINE")]
    pub(crate) text: Vec<OsString>,

    /// The stages word by word, without any shell: -- sort names '|' uniq -c
    #[arg(last = true, value_name = "WORD", conflicts_with_all = ["text", "file"])]
    pub(crate) words: Vec<OsString>,

    /// Read the pipeline from a file; - is stdin. The file may have several lines and comments
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// Capacity of the pipes between stages: bytes, 64K, 1M; or max, or default
    ///
    /// max is the largest the kernel grants, up to 1 MiB; default is the kernel's, 64 KiB. All pipes
    /// of one pipeline together take at most half of your quota (see pipewright limits); what the
    /// kernel refuses is no error.
    #[arg(long, value_name = "SIZE", default_value = "max", allow_negative_numbers = true, value_parser = quantity::capacity)]
    pub(crate) pipe_size: pipewright::Capacity,

    /// Which stages decide about the status
    #[arg(long, value_enum, default_value_t)]
    pub(crate) status: Status,

    /// The shell for stages that need one [default: bash, or sh where there is no bash]
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) shell: Option<String>,

    /// End the stages with SIGTERM after this time: 10, 1.5s, 2m, 1h; the status is 124. 0 is no limit
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true, value_parser = quantity::limit)]
    pub(crate) timeout: Option<Duration>,

    /// With --timeout: SIGKILL for what is left this time after the SIGTERM
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true, value_parser = quantity::limit, requires = "timeout")]
    pub(crate) kill_after: Option<Duration>,

    /// Print the stages and how each would be started, and run nothing
    #[arg(long, conflicts_with = "json")]
    pub(crate) dry_run: bool,

    /// When to show the summary; auto: on a terminal, or when something failed
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    pub(crate) summary: When,

    /// Write one JSON object about the run to FILE (- is stdout), or to stderr in place of the summary
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    pub(crate) json: Option<Option<PathBuf>>,

    /// How to show the pipeline while it runs; auto: live, where stderr is a terminal and stdout is not
    #[arg(long, value_enum, value_name = "HOW", default_value_t)]
    pub(crate) progress: Progress,

    /// Between two sets of figures (CPU, rates), and between two lines of --progress plain
    #[arg(short, long, value_name = "DURATION", default_value = "1s", allow_negative_numbers = true, value_parser = quantity::interval)]
    pub(crate) interval: Duration,

    /// Write what was seen, every 20 ms, to FILE (- is stdout) as JSON lines: first the layout, then the samples
    #[arg(long, value_name = "FILE")]
    pub(crate) samples: Option<PathBuf>,

    /// Write the run to FILE as a trace for Perfetto (ui.perfetto.dev) or chrome://tracing
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,

    /// Write the run to FILE as one self-contained HTML page
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,

    /// Say nothing but errors
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// Say also how each stage was started, and the capacity of each pipe
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// When to colour; auto: on a terminal, unless NO_COLOR is set
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    pub(crate) color: When,
}

/// How a pipeline is shown while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Progress {
    #[default]
    Auto,
    /// Live where stderr is a terminal, even if stdout is one too; elsewhere plain
    Always,
    Never,
    /// One line an interval, for logs
    Plain,
}

const RUN_NOTES: &str = "\
Examples:
  pipewright run 'zcat log.gz | grep ERR | sort | uniq -c | sort -rn | head'
  pipewright run --timeout 10 --kill-after 1 'curl -s https://example.org | jq .'
  pipewright run -- sort 'two words.txt' '|' uniq -c
  pipewright run --json=run.json -q -f nightly.pipe

A file can be executable, with '#!/usr/bin/env -S pipewright run -f' as its first line.

Exit status:
  the rightmost failed stage's (128+n for signal n); a stage that its reader told to stop,
  as head does, did not fail
  124  the time of --timeout was over
  125  an error of pipewright itself
  126  a stage's program could not be executed
  127  a stage's program was not found
When SIGINT, SIGTERM, SIGHUP or SIGQUIT reaches pipewright, the stages get it, and pipewright ends
by the same signal once they have ended.";

/// List the pipelines that run now, and who is blocked in them
///
/// They are found from /proc alone: which processes hold which ends of which pipes. Looking adds
/// neither a reader nor a writer to any of them.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Also single pipes between a program and its own ancestor, such as a captured output, and who
    /// is behind a Unix socket that a stage has as a standard stream
    #[arg(short, long)]
    pub(crate) all: bool,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Watch the running pipeline that a process is part of
///
/// Full-screen: q quits, f freezes, j and k move, e expands a command line, ? helps. The pipeline is
/// left as it was; at the end its summary is printed.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// A process of the pipeline, or the shell that waits for it
    pub(crate) pid: u32,

    /// Between two sets of figures (CPU, rates)
    #[arg(short, long, value_name = "DURATION", default_value = "1s", value_parser = quantity::interval)]
    pub(crate) interval: Duration,

    /// When to colour; auto: unless NO_COLOR is set
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    pub(crate) color: When,
}

/// Set the capacity of the pipes of a running pipeline
///
/// It takes effect at once, with bytes in the pipes, and says old and new for each.
#[derive(Debug, Args)]
pub(crate) struct Resize {
    /// A process of the pipeline, or the shell that waits for it
    pub(crate) pid: u32,

    /// Bytes, 64K, 1M; max (1 MiB) or default (64 KiB)
    #[arg(value_parser = quantity::capacity)]
    pub(crate) size: pipewright::Capacity,
}

/// Show what the kernel grants here: capacities of pipes, and your quota
#[derive(Debug, Args)]
pub(crate) struct Limits {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum When {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Status {
    /// The rightmost failure; a stage closed early by its reader is none
    #[default]
    Pipefail,
    /// The last stage alone
    Last,
    /// The rightmost failure; a stage closed early counts too, as in bash with pipefail
    Any,
}

impl From<Status> for pipewright::Policy {
    fn from(status: Status) -> Self {
        match status {
            Status::Pipefail => Self::Pipefail,
            Status::Last => Self::Last,
            Status::Any => Self::Any,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        super::Arguments::command().debug_assert();
    }
}
