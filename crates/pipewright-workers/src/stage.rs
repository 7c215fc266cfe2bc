//! A stage, how it is to be run, and what that came to.

use std::ffi::OsString;
use std::time::Duration;

use crate::classes::Classified;
use crate::order::{End, Retries};
use crate::records::Records;
use crate::size::ChunkSize;
use crate::verify::Difference;
use crate::worker::Program;

/// A stage and how it is to be run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Stage {
    /// The program and its arguments.
    pub argv: Vec<OsString>,
    /// What is known of the command.
    pub classified: Classified,
    /// How many runs at once, at least 1.
    pub workers: usize,
    /// How large chunks are.
    pub size: ChunkSize,
    /// What a record is.
    pub records: Records,
    /// So many first records of the input go to each run. What the command makes of them alone is left out
    /// of all outputs but the first. A command whose outputs are merged is run as one process, then.
    pub header: usize,
    /// How often a chunk is run again.
    pub retries: Retries,
    /// Gives outputs as they come.
    pub unordered: bool,
    /// A command that merges the outputs; it gets them as files behind its arguments.
    pub merge: Option<Vec<OsString>>,
    /// So many bytes of chunks are kept in memory; what comes then lies in unlinked files.
    pub memory: u64,
    /// Runs the command as one process for as long as workers would gain nothing. A local command begins
    /// so, and workers go on when it keeps a core busy while others are idle.
    pub only_if_slow: bool,
    /// Such a command has workers go on after so many bytes instead, whatever they would gain.
    pub alone_for: Option<u64>,
    /// Runs the command on the beginning of the input as a whole and in parts first, and compares.
    pub verify: bool,
    /// A chunk goes off when the input has been silent for so long.
    pub idle: Duration,
}

impl Stage {
    /// A stage with the defaults: one worker a core, chunks that adapt, lines.
    #[must_use]
    pub fn new(argv: Vec<OsString>, classified: Classified) -> Self {
        Self {
            records: Records::Line,
            argv,
            classified,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            size: ChunkSize::adapting(),
            header: 0,
            retries: Retries::default(),
            unordered: false,
            merge: None,
            memory: 1 << 30,
            only_if_slow: true,
            alone_for: None,
            verify: true,
            idle: Duration::from_millis(100),
        }
    }

    pub(crate) fn is_verified(&self) -> bool {
        self.verify && self.merge.is_none() && self.header == 0
    }

    pub(crate) fn program(&self) -> Program {
        Program::new(self.argv.clone())
    }
}

/// Why a stage was run as one process after all.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InSequence {
    /// The whole input is less than one chunk, or was over before workers could gain anything.
    Small,
    /// It waited for its neighbours.
    Waits,
    /// Other programs had the other cores.
    NoIdleCore,
    /// The command is so fast that handing out chunks would take longer.
    Fast,
    /// Each part would have the header, and merged they would have it more than once.
    MergedHeader,
    /// The command does not do on parts what it does on the whole.
    Differs(Difference),
    /// The command fails on the first records.
    Fails,
    /// It failed on this chunk: from there on it ran in sequence.
    FailedAt(u64),
    /// From this chunk on the input is no text, and the command treats such input as a whole.
    NoTextAt(u64),
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// How the stage ended, as one process would have.
    pub end: End,
    /// Chunks whose output was given.
    pub chunks: u64,
    /// Runs that were made again.
    pub again: u64,
    /// What all runs on chunks took together.
    pub run_time: Duration,
    /// How long all runs on chunks had a core, together.
    pub on_core: Duration,
    /// How long the input was waited for, with room for more of it.
    pub reading: Duration,
    /// How long it took to give outputs: their reader is slow where this is most of the time.
    pub giving: Duration,
    /// Why it ran in sequence, if it did.
    pub in_sequence: Option<InSequence>,
}

impl Outcome {
    pub(crate) fn alone(end: End, reason: InSequence) -> Self {
        Self {
            end,
            chunks: 0,
            again: 0,
            run_time: Duration::ZERO,
            on_core: Duration::ZERO,
            reading: Duration::ZERO,
            giving: Duration::ZERO,
            in_sequence: Some(reason),
        }
    }
}
