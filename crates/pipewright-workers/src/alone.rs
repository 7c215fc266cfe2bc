//! One process first, and workers from where they would make it faster.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pipewright::Stdio;

use crate::chunk::{Chunk, Store};
use crate::classes::Class;
use crate::error::{Error, Result};
use crate::fed::{Fed, FedEnd, Moved};
use crate::gain::{Watch, Worth};
use crate::input::{Input, Size, Taken};
use crate::records::Records;
use crate::size::ChunkSize;
use crate::stage::{InSequence, Stage};
use crate::verify::{Check, SAMPLE, Verify};
use crate::worker::Program;

/// So much is moved on at a time; and where the input has to be looked at, so much.
const MOST: u64 = 1 << 20;
const PIECE: u64 = 256 << 10;

/// Commands that end where they fail, if they fail. After a failure nobody could tell of another one
/// whether it would have gone on with what follows, as factor and jq do, and its output is given already.
const END_WHERE_THEY_FAIL: &[&str] = &[
    "awk", "cat", "cut", "egrep", "expand", "fgrep", "fold", "gawk", "grep", "mawk", "nawk", "nl",
    "paste", "perl", "rev", "sed", "tr", "unexpand",
];

/// How a stage went on that began as one process.
pub(crate) enum Begun {
    /// It ended as that.
    Over(FedEnd, InSequence),
    /// Workers go on.
    Ahead(Box<Ahead>),
}

/// A process that has got all of its input, and what comes behind that.
pub(crate) struct Ahead {
    pub(crate) process: Fed,
    /// When it was started.
    pub(crate) began: Instant,
    /// The first chunk for the workers.
    pub(crate) first: Chunk,
    pub(crate) input: Input,
    /// How large chunks should be, by what the process took.
    pub(crate) size: ChunkSize,
    /// How long the command takes to start and end.
    pub(crate) start: Duration,
}

/// Tells whether a stage may begin as one process, and workers go on from any record: what the process
/// writes is the first part of the output then.
pub(crate) fn is_possible(stage: &Stage) -> bool {
    let name = stage.argv.first().and_then(|it| Path::new(it).file_name());
    let ends_where_it_fails = name.is_some_and(|name| {
        let mut known = END_WHERE_THEY_FAIL.iter();
        known.any(|it| name == *it)
    });
    stage.only_if_slow
        && ends_where_it_fails
        && stage.classified.class == Class::Local
        && stage.classified.repeatable
        && stage.merge.is_none()
        && stage.header == 0
        && matches!(stage.records, Records::Line | Records::Nul)
}

/// Runs the stage as one process, and looks from time to time whether workers would make it faster.
///
/// Nothing of that stands in its way: the input is moved on by reference, the command is checked on a core
/// that is idle, and nothing is run again.
pub(crate) fn begin(
    stage: &Stage,
    program: &Program,
    store: &Store,
    input: Input,
    output: impl Into<Stdio>,
    call: BorrowedFd<'_>,
) -> Result<Begun> {
    let process = Fed::start(program.command(), output)?;
    let mut alone = Alone {
        stage,
        watch: Watch::begin(process.id()),
        process,
        began: Instant::now(),
        input,
        call,
        last: None,
        total: 0,
        rate: 0.0,
    };
    let start = match alone.until_it_gains(program, store)? {
        Found::Gain(start) => start,
        Found::Over(reason) => return Ok(Begun::Over(alone.process.end()?, reason)),
        Found::Never(reason) => {
            let (kept, rest) = alone.input.into_rest();
            if alone.process.feed(&kept)? {
                alone.process.pour(rest.as_fd()).map_err(Error::Read)?;
            }
            return Ok(Begun::Over(alone.process.end()?, reason));
        }
    };
    let size = alone.size(start);
    match alone.next_record(size.bytes() as u64, store)? {
        None => Ok(Begun::Over(alone.process.end()?, InSequence::Small)),
        Some(first) => Ok(Begun::Ahead(Box::new(Ahead {
            process: alone.process,
            began: alone.began,
            first,
            input: alone.input,
            size,
            start,
        }))),
    }
}

/// What came of waiting for a gain.
enum Found {
    /// Workers would make it faster, and so long takes a start.
    Gain(Duration),
    /// The input has ended, or the process has.
    Over(InSequence),
    /// Workers may not run the command.
    Never(InSequence),
}

/// The process, while it is the only one.
struct Alone<'a> {
    stage: &'a Stage,
    process: Fed,
    watch: Watch,
    began: Instant,
    input: Input,
    call: BorrowedFd<'a>,
    /// What it was given last, where that was looked at.
    last: Option<Chunk>,
    /// Bytes that it was given.
    total: u64,
    /// Likewise, a second, when last looked at.
    rate: f64,
}

impl Alone<'_> {
    fn until_it_gains(&mut self, program: &Program, store: &Store) -> Result<Found> {
        let mut reason = InSequence::Small;
        let mut checking: Option<JoinHandle<Result<(Check, Duration)>>> = None;
        let mut is_wanted = false;
        loop {
            match self.step()? {
                Step::Moved(Moved::Bytes(bytes)) => {
                    self.total += bytes;
                    if let Some(figures) = self.watch.moved(bytes) {
                        self.rate = figures.rate;
                        let worth = figures.worth();
                        is_wanted = worth == Worth::Gain;
                        reason = match worth {
                            Worth::Gain => InSequence::Small,
                            Worth::Waits => InSequence::Waits,
                            Worth::NoIdleCore => InSequence::NoIdleCore,
                            Worth::Fast => InSequence::Fast,
                        };
                    }
                }
                Step::Moved(Moved::All | Moved::NobodyReads) => return Ok(Found::Over(reason)),
                Step::NoText => return Ok(Found::Never(InSequence::NoTextAt(0))),
            }
            if let Some(bytes) = self.stage.alone_for {
                is_wanted = self.total >= bytes;
            }
            if checking.as_ref().is_some_and(JoinHandle::is_finished)
                && let Some(checked) = checking.take()
            {
                match checked.join() {
                    Ok(Ok((Check::Same, start))) => return Ok(Found::Gain(start)),
                    Ok(Ok((Check::Fails, _))) => return Ok(Found::Never(InSequence::Fails)),
                    Ok(Ok((Check::Differs(difference), _))) => {
                        return Ok(Found::Never(InSequence::Differs(difference)));
                    }
                    // There may be too little of something now that the process has already.
                    Ok(Err(error)) if error.may_pass() => {}
                    Ok(Err(error)) => return Err(error),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            if is_wanted && checking.is_none() {
                let sample = match self.sample()? {
                    Sample::NotNow => continue,
                    Sample::None => return Ok(Found::Never(InSequence::Small)),
                    Sample::Bytes(sample) => sample,
                };
                checking = Some(check(self.stage, program, store, sample)?);
                if self.stage.alone_for.is_some() {
                    // Just there.
                    while !checking.as_ref().is_some_and(JoinHandle::is_finished) {
                        std::thread::sleep(Duration::from_micros(100));
                    }
                }
            }
        }
    }

    /// Moves some of the input on.
    fn step(&mut self) -> Result<Step> {
        if !self.stage.classified.only_text {
            let left = self
                .stage
                .alone_for
                .map(|bytes| bytes.saturating_sub(self.total));
            let most = left.map_or(MOST, |left| left.clamp(1, MOST));
            let moved = self.process.hand_on(self.input.descriptor(), most);
            return moved.map(Step::Moved).map_err(Error::Read);
        }
        let process = self.process.input().as_fd();
        let size = Size::About(
            self.stage
                .alone_for
                .map_or(PIECE, |bytes| bytes.clamp(1, PIECE)),
        );
        let (piece, is_last) =
            match self
                .input
                .take(size, self.stage.idle, self.call, Some(process))?
            {
                Taken::Chunk(piece) => (piece, false),
                Taken::Last(piece) => (piece, true),
                Taken::Called | Taken::ReaderGone => return Ok(Step::Moved(Moved::NobodyReads)),
            };
        let is_text = piece.is_text().map_err(Error::store)?;
        let is_read = self.process.feed(&piece)?;
        let bytes = self.last.insert(piece).len();
        Ok(match is_read {
            false => Step::Moved(Moved::NobodyReads),
            true if !is_text => Step::NoText,
            true if is_last && bytes == 0 => Step::Moved(Moved::All),
            true => Step::Moved(Moved::Bytes(bytes)),
        })
    }

    /// Takes a few records for the check. The process gets them, too.
    fn sample(&mut self) -> Result<Sample> {
        if !self.stage.is_verified() {
            return Ok(Sample::Bytes(Vec::new()));
        }
        let records = &self.stage.records;
        let (bytes, begin) = if let Some(last) = &self.last {
            (last.bytes().map_err(Error::store)?, 0)
        } else {
            let Some(piece) = self.input.piece(MOST)? else {
                return Ok(Sample::NotNow);
            };
            self.process.feed(&piece)?;
            let bytes = piece.bytes().map_err(Error::store)?;
            // The process may be in the midst of a record.
            let begin = records.length_of_first(1, &bytes).unwrap_or(bytes.len());
            (bytes, begin)
        };
        let bytes = &bytes[begin..];
        let few = records.last_cut(&bytes[..bytes.len().min(SAMPLE)]);
        Ok(match few.or_else(|| records.length_of_first(1, bytes)) {
            Some(cut) => Sample::Bytes(bytes[..cut].to_vec()),
            None => Sample::None,
        })
    }

    /// How large chunks should be by what the process took.
    fn size(&self, start: Duration) -> ChunkSize {
        let mut size = self.stage.size.clone();
        if self.rate > 0.0 {
            // It changes only so much at a time.
            for _ in 0..4 {
                let time = Duration::from_secs_f64(size.bytes() as f64 / self.rate);
                size.learn(size.bytes(), start + time, start, self.began.elapsed());
            }
        }
        size
    }

    /// Lets the process have the rest of the record that it is in, and takes the first chunk for workers;
    /// `None` when there is no more.
    fn next_record(&mut self, size: u64, store: &Store) -> Result<Option<Chunk>> {
        loop {
            let process = self.process.input().as_fd();
            let taken =
                self.input
                    .take(Size::About(size), self.stage.idle, self.call, Some(process))?;
            let chunk = match taken {
                Taken::Chunk(chunk) => chunk,
                Taken::Last(chunk) => {
                    self.process.feed(&chunk)?;
                    return Ok(None);
                }
                Taken::Called | Taken::ReaderGone => return Ok(None),
            };
            // What was looked at ended with a record.
            if self.stage.classified.only_text {
                return Ok(Some(chunk));
            }
            let bytes = chunk.bytes().map_err(Error::store)?;
            let Some(end) = self.stage.records.length_of_first(1, &bytes) else {
                unreachable!("a chunk ends with a record");
            };
            let part = |from, to| {
                let mut part = store.chunk()?;
                part.append(&chunk, from, to)?;
                Ok(part)
            };
            let rest: Chunk = part(0, end as u64).map_err(Error::store)?;
            if !self.process.feed(&rest)? {
                return Ok(None);
            }
            if (end as u64) < chunk.len() {
                return part(end as u64, chunk.len())
                    .map(Some)
                    .map_err(Error::store);
            }
        }
    }
}

enum Step {
    Moved(Moved),
    /// What was moved is no text, and the command goes by that.
    NoText,
}

enum Sample {
    Bytes(Vec<u8>),
    /// The input has nothing just now.
    NotNow,
    /// Its records are too long.
    None,
}

/// Checks the command beside the process, and finds how long a start takes.
///
/// Nobody waits for the answer when the stage is over before.
fn check(
    stage: &Stage,
    program: &Program,
    store: &Store,
    sample: Vec<u8>,
) -> Result<JoinHandle<Result<(Check, Duration)>>> {
    let (stage, program, store) = (stage.clone(), program.clone(), store.clone());
    let check = move || {
        let nothing = program.run_on(b"", &store)?;
        let start = nothing.time;
        if !stage.is_verified() {
            return Ok((Check::Same, start));
        }
        let verify = Verify {
            program: &program,
            class: &stage.classified.class,
            records: &stage.records,
            status: stage.classified.status,
            store: &store,
            nothing,
            // The process has a core.
            at_once: (stage.workers - 1).max(1),
        };
        Ok((verify.check(&sample)?, start))
    };
    std::thread::Builder::new()
        .spawn(check)
        .map_err(Error::Threads)
}
