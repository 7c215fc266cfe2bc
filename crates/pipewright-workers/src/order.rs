//! Numbered chunks in flight: which may be read, run, run again and given, and when it is over. Pure.
//!
//! A chunk goes from *waiting* to *running* to *done*, and its output is given when every earlier
//! chunk's has been. A worker that a signal killed has its chunk run again. A chunk that fails is
//! never given: the output of all chunks before it is, and from it on the input has to go through
//! **one** process, in sequence, for what a program does behind a failure only the program knows (some
//! stop, some go on).

use std::collections::VecDeque;
use std::ops::Range;

/// How one run of the command on a chunk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With an exit status.
    Status(u8),
    /// By a signal.
    Signal(i32),
}

/// Which exit statuses are no failure, and what they come to together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StatusRule {
    /// Only 0 is success.
    #[default]
    Zero,
    /// As xargs has it: 123, where a run of its own failed, is no end. Together they are the larger.
    Xargs,
    /// As grep has it: 0 with a match and 1 without are both success; together they are 0 if there was
    /// a match in any chunk.
    Grep,
}

impl StatusRule {
    pub(crate) fn is_success(self, status: u8) -> bool {
        match self {
            Self::Zero => status == 0,
            Self::Xargs => matches!(status, 0 | 123),
            Self::Grep => status <= 1,
        }
    }

    /// Gives what two statuses that are no failures come to.
    #[must_use]
    pub fn together(self, one: u8, other: u8) -> u8 {
        match self {
            Self::Zero | Self::Xargs => one.max(other),
            Self::Grep => one.min(other),
        }
    }
}

/// How often a chunk may be run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// After a death by signal.
    pub signal: u32,
    /// After an exit status that is a failure.
    pub status: u32,
}

impl Retries {
    /// Never.
    pub const NONE: Self = Self {
        signal: 0,
        status: 0,
    };
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            signal: 2,
            status: 0,
        }
    }
}

/// Bounds and rules of an [`Order`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How many chunks may run at once; at least 1.
    pub workers: usize,
    /// How many chunks may be held at once, run or not, so that memory is bounded.
    pub held: usize,
    /// How often a chunk is run again.
    pub retries: Retries,
    /// Which statuses are no failure.
    pub status: StatusRule,
    /// Outputs are given as they come, whatever their chunk's number.
    pub unordered: bool,
}

impl Rules {
    /// Lets `workers` chunks run and holds two more: one being filled, one being given.
    #[must_use]
    pub fn of_workers(workers: usize) -> Self {
        Self {
            workers: workers.max(1),
            held: workers.max(1) + 2,
            retries: Retries::default(),
            status: StatusRule::default(),
            unordered: false,
        }
    }
}

/// What becomes of a chunk whose run has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Its output waits to be given.
    Done,
    /// It waits to be run again.
    Again,
    /// It failed. The runs of the chunks in this range are of no use any more and may be ended.
    Failed(Range<u64>),
    /// Its output is not wanted: an earlier chunk failed, or the reader has gone.
    Unwanted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Waiting,
    Running,
    Done(u8),
    Given,
    Failed,
}

#[derive(Debug, Clone, Copy)]
struct Chunk {
    slot: Slot,
    killed: u32,
    failed: u32,
}

/// What the whole has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// More input may come.
    Open,
    /// All input was taken.
    Ended,
    /// This chunk failed.
    Failed(u64),
    /// Nobody reads the output.
    ReaderGone,
}

/// The chunks of one run.
#[derive(Debug)]
pub struct Order {
    rules: Rules,
    chunks: VecDeque<Chunk>,
    /// The number of the front chunk; all before were given.
    first: u64,
    flow: Flow,
    status: Option<u8>,
    again: u64,
}

impl Order {
    /// Begins with no chunk.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            chunks: VecDeque::new(),
            first: 0,
            flow: Flow::Open,
            status: None,
            again: 0,
        }
    }

    /// Tells whether another chunk may be read from the input now.
    #[must_use]
    pub fn may_take(&self) -> bool {
        self.flow == Flow::Open && self.chunks.len() < self.rules.held
    }

    /// Tells whether the input is of interest at all; once not, never again.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        self.flow == Flow::Open
    }

    /// Takes a chunk that was read in; the answer is its number, from 0 up.
    ///
    /// # Panics
    ///
    /// When [`Self::may_take`] is false for the bound's sake.
    pub fn take(&mut self) -> u64 {
        assert!(
            self.chunks.len() < self.rules.held,
            "more chunks than may be held"
        );
        self.chunks.push_back(Chunk {
            slot: Slot::Waiting,
            killed: 0,
            failed: 0,
        });
        self.first + self.chunks.len() as u64 - 1
    }

    /// Says that no chunk will follow.
    pub fn end_input(&mut self) {
        if self.flow == Flow::Open {
            self.flow = Flow::Ended;
        }
    }

    /// Says that nobody reads the output any more. The answer is the range of chunks whose runs may be
    /// ended.
    pub fn reader_gone(&mut self) -> Range<u64> {
        self.flow = Flow::ReaderGone;
        self.first..self.first + self.chunks.len() as u64
    }

    /// Gives the lowest chunk that waits for a worker, and counts it as running; `None` when there is
    /// none, or as many run as may.
    pub fn next_to_run(&mut self) -> Option<u64> {
        let running = self
            .chunks
            .iter()
            .filter(|chunk| chunk.slot == Slot::Running);
        if running.count() >= self.rules.workers {
            return None;
        }
        let wanted = self.wanted();
        let (number, chunk) = (self.first..)
            .zip(&mut self.chunks)
            .find(|(number, chunk)| chunk.slot == Slot::Waiting && *number < wanted)?;
        chunk.slot = Slot::Running;
        Some(number)
    }

    /// Says that a chunk which was to run could not be started: it waits again.
    ///
    /// # Panics
    ///
    /// When there is no such chunk.
    pub fn postpone(&mut self, number: u64) {
        self.chunk(number).slot = Slot::Waiting;
    }

    /// Says how the run of a chunk ended.
    ///
    /// # Panics
    ///
    /// When the chunk was not running.
    pub fn ended(&mut self, number: u64, end: End) -> Next {
        let wanted = self.wanted();
        let (retries, status_rule) = (self.rules.retries, self.rules.status);
        let chunk = self.chunk(number);
        assert_eq!(chunk.slot, Slot::Running, "chunk {number} was not running");
        if number >= wanted {
            chunk.slot = Slot::Failed;
            return Next::Unwanted;
        }
        let may_again = match end {
            End::Status(status) if status_rule.is_success(status) => {
                chunk.slot = Slot::Done(status);
                return Next::Done;
            }
            End::Status(_) => {
                chunk.failed += 1;
                chunk.failed <= retries.status
            }
            End::Signal(_) => {
                chunk.killed += 1;
                chunk.killed <= retries.signal
            }
        };
        if may_again {
            chunk.slot = Slot::Waiting;
            self.again += 1;
            return Next::Again;
        }
        chunk.slot = Slot::Failed;
        self.flow = Flow::Failed(number);
        Next::Failed(number + 1..self.first + self.chunks.len() as u64)
    }

    /// Says that a chunk is not to be run by a worker: it counts as one that failed.
    pub fn refuse(&mut self, number: u64) {
        self.chunk(number).slot = Slot::Failed;
        if self.wanted() > number {
            self.flow = Flow::Failed(number);
        }
    }

    /// Says that workers are not to run the command at all, before anything was given: all of the input
    /// goes through one process.
    ///
    /// # Panics
    ///
    /// When an output was given.
    pub fn give_up(&mut self) {
        assert_eq!(self.given_count(), 0, "an output was given");
        for chunk in &mut self.chunks {
            if let Slot::Done(_) = chunk.slot {
                chunk.slot = Slot::Failed;
            }
        }
        if self.flow != Flow::ReaderGone {
            self.flow = Flow::Failed(0);
        }
    }

    /// Gives the chunk whose output is to be given next; `None` while there is none.
    #[must_use]
    pub fn next_to_give(&self) -> Option<u64> {
        if self.flow == Flow::ReaderGone {
            return None;
        }
        let mut chunks = (self.first..).zip(&self.chunks);
        let done = |(_, chunk): &(u64, &Chunk)| matches!(chunk.slot, Slot::Done(_));
        if self.rules.unordered {
            return chunks.find(done).map(|(number, _)| number);
        }
        chunks.next().filter(done).map(|(number, _)| number)
    }

    /// Says that the output of a chunk was given.
    ///
    /// # Panics
    ///
    /// When it was not the chunk that [`Self::next_to_give`] names.
    pub fn given(&mut self, number: u64) {
        let rule = self.rules.status;
        let chunk = self.chunk(number);
        let Slot::Done(status) = chunk.slot else {
            panic!("chunk {number} was not done");
        };
        chunk.slot = Slot::Given;
        self.status = Some(
            self.status
                .map_or(status, |so_far| rule.together(so_far, status)),
        );
        while self
            .chunks
            .front()
            .is_some_and(|chunk| chunk.slot == Slot::Given)
        {
            self.chunks.pop_front();
            self.first += 1;
        }
    }

    /// Lists the chunks that have to go through one process, and the rest of the input behind them:
    /// those that were not given, once one has failed, all others that may be given were, and none is
    /// running.
    #[must_use]
    pub fn in_sequence(&self) -> Option<Vec<u64>> {
        let Flow::Failed(number) = self.flow else {
            return None;
        };
        let reached = self.rules.unordered || self.first == number;
        if !reached || self.is_running() || self.next_to_give().is_some() {
            return None;
        }
        let numbered = (self.first..).zip(&self.chunks);
        let left = numbered.filter(|(_, chunk)| chunk.slot != Slot::Given);
        Some(left.map(|(number, _)| number).collect())
    }

    /// Tells whether all is done: every chunk given and no input left, or nobody reads and nothing runs.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self.flow {
            Flow::Ended => self.chunks.is_empty(),
            Flow::ReaderGone => !self.is_running(),
            Flow::Open | Flow::Failed(_) => false,
        }
    }

    /// Gives what the statuses of the chunks given so far come to; `None` when there are none.
    #[must_use]
    pub fn status(&self) -> Option<u8> {
        self.status
    }

    /// Tells whether a run of this chunk is of any use.
    #[must_use]
    pub fn wants(&self, number: u64) -> bool {
        number < self.wanted()
    }

    /// Counts the chunks whose output was given.
    #[must_use]
    pub fn given_count(&self) -> u64 {
        let behind = self.chunks.iter().filter(|chunk| chunk.slot == Slot::Given);
        self.first + behind.count() as u64
    }

    /// Counts the runs that were made again.
    #[must_use]
    pub fn again(&self) -> u64 {
        self.again
    }

    /// Tells whether nobody reads the output any more.
    #[must_use]
    pub fn is_reader_gone(&self) -> bool {
        self.flow == Flow::ReaderGone
    }

    fn is_running(&self) -> bool {
        self.chunks.iter().any(|chunk| chunk.slot == Slot::Running)
    }

    /// Runs of the chunks from this number on are of no use.
    fn wanted(&self) -> u64 {
        match self.flow {
            Flow::Open | Flow::Ended => u64::MAX,
            Flow::Failed(_) if self.rules.unordered => 0,
            Flow::Failed(number) => number,
            Flow::ReaderGone => 0,
        }
    }

    fn chunk(&mut self, number: u64) -> &mut Chunk {
        let index = number
            .checked_sub(self.first)
            .and_then(|index| usize::try_from(index).ok());
        index
            .and_then(|index| self.chunks.get_mut(index))
            .unwrap_or_else(|| panic!("there is no chunk {number}"))
    }
}
