//! The options of `run`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::shared::{Talk, TimeLimits};
use super::spool::SpoolSync;
use super::values::{Restarting, When, Widening, path, restarting, stage_on, widening};
use crate::forgiveness::Forgiven;
use crate::quantity;

/// Run a pipeline and report how each stage ended
///
/// Kernel pipes connect the stages directly, as in a shell: no byte passes through pipewright, and
/// the pipeline goes on if pipewright is killed. stdout carries the pipeline's output and nothing
/// else; the summary goes to stderr.
#[derive(Debug, Args)]
#[command(after_long_help = RUN_NOTES, override_usage = RUN_USAGE)]
pub(crate) struct Run {
    /// The pipeline or script in bash syntax, as one argument
    ///
    /// With --file: the arguments for $1, $2, … After --: the stages word by word, without a shell, as
    /// in -- sort names '|' uniq -c. A text that refers to $1 or $@ takes arguments as bash -c does, the
    /// first being $0. It sees exported variables and functions, and no aliases. Options go before it:
    /// what follows it belongs to it.
    #[arg(value_name = "PIPELINE", trailing_var_arg = true)]
    pub(crate) rest: Vec<OsString>,

    /// The argument before these.
    #[arg(skip)]
    pub(crate) before: OsString,

    /// Run several pipelines in turn, each given as one argument: which is the fastest, by how much,
    /// whether their outputs are equal, and where the time went
    ///
    /// The report goes to stdout, and what the pipelines write there is counted and hashed instead.
    /// Their stdin is pipewright's if that is a regular file, read from the same place by each run, and
    /// else /dev/null. A run that fails is counted and told. Ctrl-C ends with what is known so far.
    #[arg(long, conflicts_with_all = [
        "file", "separator", "dry_run", "summary", "json", "samples", "trace", "report",
    ])]
    pub(crate) compare: bool,

    /// With --compare: how often each pipeline is run and measured
    #[arg(long, value_name = "N", default_value = "10", allow_negative_numbers = true, value_parser = quantity::runs, requires = "compare")]
    pub(crate) runs: usize,

    /// With --compare: how often each is run before that, without being measured
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true, value_parser = quantity::count::<usize>, requires = "compare")]
    pub(crate) warmup: usize,

    /// With --compare: save the results to FILE, in the form its name ends with: .json, .csv or .md
    ///
    /// Names and units are those of hyperfine's exports, with some more: docs/command.md has them all, and
    /// pipewright schema those in JSON. May be given several times.
    #[arg(long, value_name = "FILE", requires = "compare")]
    pub(crate) export: Vec<PathBuf>,

    /// Read the pipeline or script from a file; - is stdin
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// Capacity of the pipes between stages: 65536, 64K, 1M, max or default
    ///
    /// max is the largest the kernel grants, up to 1 MiB; default is the kernel's own, 64 KiB. All
    /// pipes of one pipeline together take at most half of your quota (see pipewright limits). A
    /// refusal by the kernel is not an error.
    #[arg(long, value_name = "SIZE", default_value = "max", allow_negative_numbers = true, value_parser = quantity::CapacityParser, hide_possible_values = true)]
    pub(crate) pipe_size: pipewright::Capacity,

    /// Which stages determine the exit status
    #[arg(long, value_enum, default_value_t)]
    pub(crate) status: Status,

    /// Failures to ignore: curl, curl=23 or 23, separated by commas
    ///
    /// A program alone is forgiven whatever it ends with, a status alone whichever stage ends with
    /// it; 128 + n is the end by signal n. Some programs report a failure of their own when their
    /// reader has gone, as head goes after ten lines: curl ends with 23 then, and the summary says
    /// "its reader had gone". A program that cannot be started is never forgiven.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) forgive: Vec<Forgiven>,

    /// The shell for stages that need one [default: bash, or sh where there is no bash]
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) shell: Option<PathBuf>,

    /// Let one shell run the text as a whole, and watch it from outside
    ///
    /// Lists, loops, scripts, and whatever cannot be cut into stages with certainty, are run so
    /// without it. Stages then share what they share in bash: $$, LINENO, functions, set -u.
    #[arg(long)]
    pub(crate) whole: bool,

    /// Start the other stages though a program is missing, as bash does
    ///
    /// Without it nothing is started then. --status last and any, which are bash's own rules, imply
    /// it.
    #[arg(long)]
    pub(crate) start_anyway: bool,

    /// The word between the stages after --, in place of |, which is then a word like any other
    #[arg(long, value_name = "WORD")]
    pub(crate) separator: Option<OsString>,

    #[command(flatten)]
    pub(crate) limits: TimeLimits,

    /// Run stages several times over their input, with the same bytes at the end: 2=4 is stage 2 by 4
    /// workers, 2=auto by one a core, several with commas; auto is each stage that is known to gain
    ///
    /// As `pipewright workers` does it, whose help has more. A stage whose command is not known to allow it
    /// is refused before anything is started; with auto it is left as it is.
    #[arg(long, value_name = "STAGE=N", value_parser = widening)]
    pub(crate) workers: Option<Widening>,

    /// Run a stage on another host: 2=HOST is stage 2 there, as pipewright on does it. May be given several
    /// times, or with commas
    ///
    /// HOST is as ssh takes it. A stage that needs a shell is run by the shell of that name there, and what
    /// it expands is expanded there.
    #[arg(long, value_name = "STAGE=HOST", value_delimiter = ',', value_parser = stage_on)]
    pub(crate) on: Vec<(usize, String)>,

    /// Record in DIR what goes from stage to stage, so that `pipewright resume DIR` can go on after a
    /// failure
    ///
    /// Each stage gets its bytes by way of the disk, in the same order; a stage ahead of a slow one is done
    /// as fast as the disk takes its output. A stdin that is a pipe is recorded, too. DIR must not hold a
    /// recording yet. See `pipewright resume`, `pipewright replay` and `pipewright diff`.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["compare", "whole"], value_hint = clap::ValueHint::DirPath, value_parser = path())]
    pub(crate) record: Option<PathBuf>,

    /// With --record: only these links, 1,2; link 1 leads from stage 1 to stage 2, and link 0 is stdin
    #[arg(long, value_name = "LIST", value_delimiter = ',', allow_negative_numbers = true, value_parser = quantity::count::<usize>, requires = "record")]
    pub(crate) record_links: Option<Vec<usize>>,

    /// With --record: when bytes are brought to the disk
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "WHEN",
        requires = "record"
    )]
    pub(crate) record_sync: SpoolSync,

    /// With --record: when a stage fails, take what the stages before it still give to its end, so that
    /// they need not be run again
    ///
    /// Without it they are told that nobody reads on, as in any pipeline.
    #[arg(short, long, requires = "record")]
    pub(crate) keep_going: bool,

    /// Start a stage again when it dies or fails: replay, chunk, or by stages, 2=replay,3=chunk
    ///
    /// replay gives it its input from the beginning, and compares what it gives with what it has given:
    /// the same bytes are left out, and others end the run, with the place. chunk has workers run it, as
    /// --workers does, and runs a part of the input again; a stage that does not allow that is refused
    /// before anything is started. The first stage is always replayed, unless it can be cut.
    #[arg(long, value_name = "HOW", value_parser = restarting, conflicts_with_all = ["compare", "whole"])]
    pub(crate) restart: Option<Restarting>,

    /// With --restart: how often a stage, or a part of its input, is started again at most
    #[arg(long, value_name = "N", default_value_t = 5, allow_negative_numbers = true, value_parser = quantity::count::<u32>, requires = "restart")]
    pub(crate) restart_max: u32,

    /// Print the stages and how each would be started, but run nothing
    #[arg(long, conflicts_with = "json")]
    pub(crate) dry_run: bool,

    /// When to show the summary; auto: on a terminal or after a failure
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    pub(crate) summary: When,

    /// Save the results as one JSON object to FILE (- is stdout), or print it instead of the summary
    ///
    /// pipewright schema prints what it has.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    pub(crate) json: Option<Option<PathBuf>>,

    /// How to show the pipeline while it runs; auto: live if stderr is a terminal
    ///
    /// Where the output goes to the same terminal, auto shows the pipeline only while nothing has come for
    /// a while, and makes way for what comes; always shows it below what comes. Where nobody can know
    /// whether something comes, a line says once how to see more.
    #[arg(long, value_enum, value_name = "HOW", default_value_t)]
    pub(crate) progress: Progress,

    /// Put the number and name of its stage in front of each line that a stage prints to stderr
    ///
    /// Lines come whole and one after the other; a last one without an end gets one. A process beside
    /// pipewright does it, so stderr is a pipe for the stages, and no terminal; and they can go on
    /// printing if pipewright is killed. Only if that process is killed too does a stage that prints more
    /// end by SIGPIPE.
    #[arg(long, conflicts_with = "compare")]
    pub(crate) tag: bool,

    /// The size of the input, where it cannot be known, for percent and time left: 700M, 1.5G
    ///
    /// Counted are the bytes that the first stage hands to the next; of a single stage, those that it
    /// reads. Without it the input is the files that the first stage reads, if those are all known
    /// from its arguments and redirections.
    #[arg(long, value_name = "SIZE", value_parser = quantity::total)]
    pub(crate) size: Option<u64>,

    /// Time between updates of CPU and rates, and between lines of --progress plain
    #[arg(short, long, value_name = "DURATION", default_value = "1s", allow_negative_numbers = true, value_parser = quantity::interval)]
    pub(crate) interval: Duration,

    /// Write the raw samples (one every 20 ms) to FILE as JSON lines, after one with the layout
    ///
    /// This file and that of --trace grow while the pipeline runs: for three stages by about 45 MB an
    /// hour, a trace by up to 150 MB. - is stdout, and comes after the pipeline's output. Two recordings to
    /// one file are refused. A file that cannot be written is reported with its name, and the pipeline goes
    /// on; the exit status is then 125, unless the pipeline failed itself.
    #[arg(long, value_name = "FILE")]
    pub(crate) samples: Option<PathBuf>,

    /// Save a trace for Perfetto (ui.perfetto.dev) or chrome://tracing to FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,

    /// Save an HTML report to FILE: one page that needs nothing else
    ///
    /// To stdout, for which - stands as with --trace and --samples, it comes after the pipeline's output.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) talk: Talk,
}

/// The ways to show a pipeline while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Progress {
    #[default]
    Auto,
    /// Live if stderr is a terminal, even if stdout is one too; otherwise plain
    Always,
    Never,
    /// One line per interval, for logs: date, time, time since the start, percent of the input and its
    /// size, bytes read, rate now and on average, time left; the slow stage and what it waits for. A
    /// dash is unknown
    Plain,
}

const RUN_USAGE: &str = "\
pipewright run [OPTIONS] PIPELINE
       pipewright run [OPTIONS] --compare PIPELINE PIPELINE...
       pipewright run [OPTIONS] --file FILE [ARGUMENT]...
       pipewright run [OPTIONS] -- WORD...";

const RUN_NOTES: &str = "\
Examples:
  pipewright run 'zcat log.gz | grep ERR | sort | uniq -c | sort -rn | head'
  pipewright run --timeout 10 --kill-after 1 'curl -s https://example.org | jq .'
  pipewright run -- sort 'two words.txt' '|' uniq -c
  pipewright run --json=run.json -q -f nightly.pipe
  pipewright run --compare 'sort names | uniq' 'sort -u names'
  pipewright run 'make -j2 2>&1 | tee log; tail log'

To make a file with a pipeline executable, begin it with '#!/usr/bin/env -S pipewright run -f'.

How it runs:
  a stage of plain words is executed directly, any other by bash -c 'STAGE'. What is not one
  pipeline (lists, loops, scripts), or cannot be cut into stages with certainty, is run whole by
  one bash and watched from outside; --dry-run and the summary say so, and why. A syntax error is
  told by bash, with its status, 2. Where a program is missing, nothing is started.

Exit status:
  that of the rightmost stage that failed (128+n for signal n). A stage that stopped because its
  reader had gone, as head goes, did not fail
  124  the pipeline timed out
  125  pipewright itself failed, or could not write a file about a pipeline that did not fail
  126  the program of a stage could not be executed
  127  the program of a stage was not found
pipewright passes SIGINT, SIGTERM, SIGHUP and SIGQUIT on to the stages, unless they have got them
with it, and waits for them to end. Then it ends by the same signal; by SIGINT or SIGQUIT only if a
stage did.";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Status {
    /// The rightmost failure; a stage that its reader closed early did not fail
    #[default]
    Pipefail,
    /// Only the last stage
    Last,
    /// The rightmost failure, closed early or not, as in bash with pipefail
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
