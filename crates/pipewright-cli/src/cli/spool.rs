//! The options of what is kept on a disk: `spool`, `replay`, `resume`, `diff`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::shared::{Talk, TimeLimits};
use super::values::path;
use crate::quantity;
use crate::recording::plan::Intake;

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
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, value_parser = quantity::spool_limit)]
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
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath, value_parser = path())]
    pub(crate) directory: PathBuf,

    /// Write the output to FILE, all of it or nothing
    ///
    /// It is written to a file beside, brought to the disk, and renamed when the pipeline has succeeded.
    /// If everything has finished but the output is not in FILE, the last stage is run again.
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, value_parser = path())]
    pub(crate) output: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) limits: TimeLimits,

    #[command(flatten)]
    pub(crate) talk: Talk,
}

const RESUME_NOTES: &str = "\
Examples:
  pipewright run --record dump 'pg_dump db | zstd | ssh backup \"cat > db.zst\"'
  pipewright resume dump
  pipewright resume dump -o result

Exit status:
  that of the stages that are run, as with `pipewright run`; where nothing is left to do,
  that of the recorded run
  125  an error of pipewright itself: no recording, damage, a stage that gave other bytes
       than before, or somebody else is running the recording";

/// Give a stream that `pipewright spool` has kept, or the input of a recorded stage, from its beginning
///
/// Each byte is checked before it is given. Damage is an error that names file and offset, and a stream
/// that was cut off ends with status 1.
#[derive(Debug, Args)]
#[command(after_long_help = REPLAY_NOTES)]
pub(crate) struct Replay {
    /// The directory of the stream, or of a recording
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath, value_parser = path())]
    pub(crate) directory: PathBuf,

    /// Of a recording: the stage, from 1, whose input is given
    #[arg(value_name = "STAGE", allow_negative_numbers = true, value_parser = quantity::count::<usize>)]
    pub(crate) stage: Option<usize>,

    /// Give it to this command, in shell syntax, in place of stdout
    #[arg(long, value_name = "COMMAND")]
    pub(crate) into: Option<OsString>,

    /// Give it as it came, in time: 1x as fast as then, 10x, 0.5x [default: as fast as it is taken]
    ///
    /// Bytes that came within 50 ms come together.
    #[arg(long, value_name = "FACTOR", allow_hyphen_values = true, value_parser = quantity::speed)]
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

    /// The file that is told how often it was started again
    #[arg(long, value_name = "FILE", requires = "again")]
    pub(crate) told_to: Option<PathBuf>,

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
    #[arg(value_name = "DIR1", value_hint = clap::ValueHint::DirPath, value_parser = path())]
    pub(crate) one: PathBuf,

    /// Another of the same kind
    #[arg(value_name = "DIR2", value_hint = clap::ValueHint::DirPath, value_parser = path())]
    pub(crate) other: PathBuf,
}

const DIFF_NOTES: &str = "\
Examples:
  pipewright diff monday tuesday

Exit status:
  0    they are equal
  1    they differ
  2    they could not be compared";
