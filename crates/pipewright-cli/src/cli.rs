//! The command line, parsed once into one struct.

mod hosts;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, ValueEnum};
use pipewright_workers::Records;

use crate::forgiveness::Forgiven;
use crate::quantity;
use crate::recording::plan::Intake;
pub(crate) use hosts::{On, Reach, Remote};

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
    Workers(Workers),
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
    #[arg(long, value_name = "N", default_value = "10", value_parser = quantity::runs, requires = "compare")]
    pub(crate) runs: usize,

    /// With --compare: how often each is run before that, without being measured
    #[arg(long, value_name = "N", default_value_t = 1, requires = "compare")]
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

    /// Send SIGTERM to the stages after this time: 10, 1.5s, 2m, 1h. The status is then 124
    ///
    /// 0 means no limit.
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true, value_parser = quantity::limit)]
    pub(crate) timeout: Option<Duration>,

    /// With --timeout: send SIGKILL to what is left this long after the SIGTERM
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true, value_parser = quantity::limit, requires = "timeout")]
    pub(crate) kill_after: Option<Duration>,

    /// Run stages several times over their input, with the same bytes at the end: 2=4 is stage 2 by 4
    /// workers, 2=auto by one a core, several with commas; auto is each stage that is known to gain
    ///
    /// As `pipewright workers` does it, whose help has more. A stage whose command is not known to allow it
    /// is refused before anything is started; with auto it is left as it is.
    #[arg(long, value_name = "STAGE=N", value_parser = widening)]
    pub(crate) workers: Option<Widening>,

    /// Record in DIR what goes from stage to stage, so that `pipewright resume DIR` can go on after a
    /// failure
    ///
    /// Each stage gets its bytes by way of the disk, in the same order; a stage ahead of a slow one is done
    /// as fast as the disk takes its output. A stdin that is a pipe is recorded, too. DIR must not hold a
    /// recording yet. See `pipewright resume`, `pipewright replay` and `pipewright diff`.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["compare", "whole"], value_hint = clap::ValueHint::DirPath)]
    pub(crate) record: Option<PathBuf>,

    /// With --record: only these links, 1,2; link 1 leads from stage 1 to stage 2, and link 0 is stdin
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "record")]
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
    #[arg(long, value_name = "N", default_value_t = 5, requires = "restart")]
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

    /// Print only errors
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// Also show how each stage was started and the capacity of each pipe
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// When to use colours; auto: on a terminal, unless NO_COLOR is set
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    pub(crate) color: When,
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
  pipeline (lists, loops, scripts), or cannot be cut into stages with certainty, is run whole by one
  bash and watched from outside; --dry-run and the summary say so, and why. A syntax error is told
  by bash, with its status, 2. Where a program is missing, nothing is started.

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
    pub(crate) pid: u32,

    /// 65536, 64K, 1M; max (1 MiB) or default (64 KiB)
    #[arg(value_parser = quantity::CapacityParser, hide_possible_values = true)]
    pub(crate) size: pipewright::Capacity,
}

/// Run one stage several times over one stream: A | pipewright workers -j 4 -- B | C
///
/// The input is cut behind the ends of records; each chunk goes to a run of the command of its own;
/// the outputs are given in the order of the chunks. The bytes and the status are those of one run.
/// Which commands allow that stands in a table; a command that it does not know is run once, as it is,
/// unless you say that it looks at each record by itself (--assume-local). Either way the beginning of
/// the input is run as a whole and in parts first, and where the two differ the stage runs as one
/// process, before a byte of output was given.
#[derive(Debug, Args)]
#[command(after_long_help = WORKERS_NOTES)]
pub(crate) struct Workers {
    /// How many runs at once: a number, or auto, one for each core
    #[arg(short, long, value_name = "N", default_value = "auto", value_parser = jobs)]
    pub(crate) jobs: Auto<usize>,

    /// How large chunks are: bytes, 64K, 1M; or auto, until a chunk takes 50 times as long as a start
    #[arg(long, value_name = "SIZE", default_value = "auto", value_parser = block)]
    pub(crate) block: Auto<usize>,

    /// What a record is: line, nul, lines:4 (FASTQ), before:'>' (FASTA), or regex:EXPRESSION for lines
    /// with which a record begins
    #[arg(long, value_name = "KIND", default_value = "line")]
    pub(crate) records: Records,

    /// Give each run the first N records of the input, and leave them out of all outputs but the first
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) header: usize,

    /// Run a chunk again so often when its run fails [default: 2 after a death by signal, else 0]
    #[arg(long, value_name = "K")]
    pub(crate) retries: Option<u32>,

    /// Give outputs as they come, not in the order of the input
    #[arg(long)]
    pub(crate) unordered: bool,

    /// Merge the outputs by this command, in shell syntax; it gets them as files behind its arguments
    #[arg(long, value_name = "COMMAND")]
    pub(crate) merge: Option<String>,

    /// Keep so much of the chunks in memory, and what comes then in unlinked files in $TMPDIR
    /// [default: 1G]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub(crate) memory: Option<usize>,

    /// Take the command for one that looks at each record by itself, whatever the table says
    #[arg(long)]
    pub(crate) assume_local: bool,

    /// The stage as shell text, in place of a command behind --
    #[arg(long, value_name = "TEXT", conflicts_with = "command")]
    pub(crate) shell: Option<String>,

    /// Say what would be done and why, and run nothing
    #[arg(long)]
    pub(crate) explain: bool,

    /// Say on stderr how it went
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// Write one JSON object on how it went to this file, in place of what is said on stderr
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) told_to: Option<PathBuf>,

    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND", required_unless_present = "shell")]
    pub(crate) command: Vec<OsString>,
}

const WORKERS_NOTES: &str = "\
Examples:
  zcat log.gz | pipewright workers -- grep -E 'time(out|d out)' | wc -l
  pipewright workers -j 8 -- jq -c 'select(.level == \"error\")' < events.jsonl
  cat reads.fastq | pipewright workers --records lines:4 --assume-local -- ./trim
  sort big runs wide by itself: sort --parallel, pigz, zstd -T0 and samtools -@ need no workers

Exit status:
  the command's, as of one run
  125  an error of pipewright itself
  126  the command could not be executed
  127  the command was not found";

/// Keep a stream on disk between two stages: A | pipewright spool DIR | B
///
/// A is done as fast as the disk takes it, B goes at its own pace. DIR keeps the stream as files of raw
/// bytes, with checksums beside them, and knows whether it is complete; `pipewright replay DIR` gives it
/// again. Without DIR the stream lies in unnamed files in $TMPDIR, and nothing is left behind.
#[derive(Debug, Args)]
#[command(after_long_help = SPOOL_NOTES)]
pub(crate) struct Spool {
    /// The directory for the stream; it is made where there is none
    #[arg(value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,

    /// Hold this much at most: 512M, 100G, 2T; A waits while it is full
    ///
    /// Nothing is dropped. What B has taken is then removed from DIR.
    #[arg(long, value_name = "SIZE", value_parser = quantity::spool_limit)]
    pub(crate) limit: Option<u64>,

    /// When bytes are brought to the disk
    #[arg(long, value_enum, default_value_t)]
    pub(crate) sync: SpoolSync,

    /// Go on behind a stream in DIR that was cut off; B gets first what it had not taken
    #[arg(long, requires = "directory")]
    pub(crate) append: bool,

    /// Say on stderr each second how fast both sides go, what B still has to take, and what is durable
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// When a spool brings bytes to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum SpoolSync {
    /// When the kernel likes: what was read survives the death of any process
    #[default]
    None,
    /// Before B gets them: what lies below the durable offset survives a power cut
    Disk,
}

const SPOOL_NOTES: &str = "\
Examples:
  pg_dump db | pipewright spool | ssh backup 'cat > db.sql'
  zfs send tank@monday | pipewright spool --sync disk /spool/monday | ssh backup zfs receive tank
  cat /spool/monday/*.data | sha256sum

Exit status:
  0    the stream is complete, and all of it was given
  125  an error of pipewright itself: the disk, or damage
  141  the reader went away, as after head";

/// Go on with a recorded pipeline that failed or was killed
///
/// Only what did not finish is run again. A stage that failed gets its input from the recording, and stages
/// before it that finished are not run. One before it that did not finish is run again, and the beginning
/// of its output compared with the recording: a difference is an error that names the byte. Stages run in
/// the directory and with the variables that were recorded.
#[derive(Debug, Args)]
#[command(after_long_help = RESUME_NOTES)]
pub(crate) struct Resume {
    /// The directory of the recording, as given to `pipewright run --record`
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) directory: PathBuf,

    /// Write the output to FILE, all of it or nothing
    ///
    /// It is written to a file beside, brought to the disk, and renamed when the pipeline has succeeded.
    /// If everything has finished but the output is not in FILE, the last stage is run again.
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,

    /// Send SIGTERM to the stages after this time: 10, 1.5s, 2m, 1h. The status is then 124
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true, value_parser = quantity::limit)]
    pub(crate) timeout: Option<Duration>,

    /// With --timeout: send SIGKILL to what is left this long after the SIGTERM
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true, value_parser = quantity::limit, requires = "timeout")]
    pub(crate) kill_after: Option<Duration>,

    /// Print only errors
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// Also show how each stage was started and the capacity of each pipe
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// When to use colours; auto: on a terminal, unless NO_COLOR is set
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    pub(crate) color: When,
}

const RESUME_NOTES: &str = "\
Examples:
  pipewright run --record dump 'pg_dump db | zstd | ssh backup \"cat > db.zst\"'
  pipewright resume dump
  pipewright resume dump -o result

Exit status:
  that of the stages that are run, as with `pipewright run`; where nothing is left to do, that of the
  recorded run
  125  an error of pipewright itself: no recording, damage, a stage that gave other bytes than before, or
       somebody else is running the recording";

/// Give a stream that `pipewright spool` has kept, or the input of a recorded stage, from its beginning
///
/// Each byte is checked before it is given. Damage is an error that names file and offset, and a stream
/// that was cut off ends with status 1.
#[derive(Debug, Args)]
#[command(after_long_help = REPLAY_NOTES)]
pub(crate) struct Replay {
    /// The directory of the stream, or of a recording
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) directory: PathBuf,

    /// Of a recording: the stage, from 1, whose input is given
    #[arg(value_name = "STAGE")]
    pub(crate) stage: Option<usize>,

    /// Give it to this command, in shell syntax, in place of stdout
    #[arg(long, value_name = "COMMAND")]
    pub(crate) into: Option<OsString>,

    /// Give it as it came, in time: 1x as fast as then, 10x, 0.5x [default: as fast as it is taken]
    ///
    /// Bytes that came within 50 ms come together.
    #[arg(long, value_name = "FACTOR", value_parser = quantity::speed)]
    pub(crate) speed: Option<f64>,
}

const REPLAY_NOTES: &str = "\
Examples:
  pipewright replay /spool/monday | ssh backup zfs receive tank
  pipewright replay recording 2 | head
  pipewright replay recording 2 --speed 1x --into './parse --debug'

Exit status:
  0    the stream is complete, and all of it was given; with --into, the command's status
  1    the stream was cut off, or its beginning was removed: what there is was given
  125  an error of pipewright itself: the disk, or damage
  141  the reader went away, as after head";

/// Run one stage of a recorded pipeline
#[derive(Debug, Args)]
pub(crate) struct Keep {
    /// The recording that the stage belongs to; without it, its input is kept in unnamed files
    #[arg(long, value_name = "DIR")]
    pub(crate) recording: Option<PathBuf>,

    /// Its number in the pipeline
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) stage: usize,

    /// The text of the stage
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: Option<OsString>,

    /// The attempt that it belongs to
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) attempt: u32,

    /// Where its input comes from
    #[arg(long, value_enum, default_value_t = Intake::Direct)]
    pub(crate) intake: Intake,

    /// When its input is brought to the disk
    #[arg(long, value_enum, default_value_t)]
    pub(crate) sync: SpoolSync,

    /// Take its input to the end even if it has failed
    #[arg(long)]
    pub(crate) keep_going: bool,

    /// Start it again so often when it dies
    #[arg(long, value_name = "N")]
    pub(crate) again: Option<u32>,

    /// The statuses that are no failure
    #[arg(long, value_name = "STATUS", value_delimiter = ',', requires = "again")]
    pub(crate) well: Vec<u8>,

    /// Its stderr goes where its stdout goes
    #[arg(long)]
    pub(crate) stderr_too: bool,

    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND", required = true)]
    pub(crate) command: Vec<OsString>,
}

/// Show where two recordings differ first
///
/// Compared is what went from stage to stage, in the order of the stages, for the links that both have. The
/// first stage and byte that differ are printed, with the bytes around on both sides. Of two spools the
/// streams are compared.
#[derive(Debug, Args)]
#[command(after_long_help = DIFF_NOTES)]
pub(crate) struct Diff {
    /// A recording, or a spool
    #[arg(value_name = "DIR1", value_hint = clap::ValueHint::DirPath)]
    pub(crate) one: PathBuf,

    /// Another of the same kind
    #[arg(value_name = "DIR2", value_hint = clap::ValueHint::DirPath)]
    pub(crate) other: PathBuf,
}

const DIFF_NOTES: &str = "\
Examples:
  pipewright diff monday tuesday

Exit status:
  0    they are equal
  1    they differ
  2    they could not be compared";

/// A value that is given, or found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Auto<T> {
    Auto,
    Given(T),
}

/// A number of workers, or `auto`.
fn jobs(text: &str) -> Result<Auto<usize>, String> {
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
fn restarting(text: &str) -> Result<Restarting, String> {
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

/// `auto`, or `2=4,3=auto`.
fn widening(text: &str) -> Result<Widening, String> {
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

/// The size of a chunk, or `auto`.
fn memory(text: &str) -> Result<usize, String> {
    match text {
        "0" => Ok(0),
        size => quantity::bytes(size),
    }
}

fn block(text: &str) -> Result<Auto<usize>, String> {
    match text {
        "auto" => Ok(Auto::Auto),
        size => quantity::bytes(size).map(Auto::Given),
    }
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

For bash, the package bash-completion must be installed. For zsh, DIRECTORY is one of those in $fpath
when compinit runs, such as ~/.zfunc after fpath+=~/.zfunc in ~/.zshrc. For elvish, add
'use pipewright' to ~/.config/elvish/rc.elv. For all users: /usr/share/bash-completion/completions,
/usr/share/zsh/vendor-completions, /usr/share/fish/vendor_completions.d.";

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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum When {
    #[default]
    Auto,
    Always,
    Never,
}

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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        super::Arguments::command().debug_assert();
    }
}
