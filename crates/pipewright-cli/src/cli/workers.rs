//! The options of `workers`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use pipewright_workers::Records;

use super::values::{Auto, jobs};
use crate::quantity;

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
    #[arg(short, long, value_name = "N", default_value = "auto", allow_negative_numbers = true, value_parser = jobs)]
    pub(crate) jobs: Auto<usize>,

    /// How large chunks are: bytes, 64K, 1M; or auto, until a chunk takes 50 times as long as a start
    #[arg(long, value_name = "SIZE", default_value = "auto", value_parser = block)]
    pub(crate) block: Auto<usize>,

    /// What a record is: line, nul, lines:4 (FASTQ), before:'>' (FASTA), or regex:EXPRESSION for lines
    /// with which a record begins
    #[arg(long, value_name = "KIND", default_value = "line")]
    pub(crate) records: Records,

    /// Give each run the first N records of the input, and leave them out of all outputs but the first
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true, value_parser = quantity::count::<usize>)]
    pub(crate) header: usize,

    /// Run a chunk again so often when its run fails [default: 2 after a death by signal, else 0]
    #[arg(long, value_name = "K", allow_negative_numbers = true, value_parser = quantity::count::<u32>)]
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

    #[command(flatten)]
    pub(crate) on_hosts: super::OnHosts,

    #[cfg(feature = "nats")]
    #[command(flatten)]
    pub(crate) via: super::Via,

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
  zcat log.gz | pipewright workers --on big/8,small,: -- grep -E 'time(out|d out)' | wc -l
  cat reads.fastq | pipewright workers --records lines:4 --assume-local -- ./trim
  sort big runs wide by itself: sort --parallel, pigz, zstd -T0 and samtools -@ need no workers

Exit status:
  the command's, as of one run
  125  an error of pipewright itself
  126  the command could not be executed
  127  the command was not found";

/// The memory for chunks; 0 is none.
fn memory(text: &str) -> Result<usize, String> {
    match text {
        "0" => Ok(0),
        size => quantity::bytes(size),
    }
}

/// The size of a chunk, or `auto`.
fn block(text: &str) -> Result<Auto<usize>, String> {
    match text {
        "auto" => Ok(Auto::Auto),
        size => quantity::bytes(size).map(Auto::Given),
    }
}
