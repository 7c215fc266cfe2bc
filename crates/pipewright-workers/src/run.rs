//! One stage run by workers, or as one process where that is right: small inputs, and commands that do
//! not do on parts what they do on the whole.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use pipewright::Stdio;
use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size};

use crate::alone::{self, Ahead, Begun};
use crate::chunk::{Chunk, Store};
use crate::classes::Class;
use crate::error::{Error, Result};
use crate::fed::{Fed, FedEnd};
use crate::gather::{Gather, Reader};
use crate::input::{Input, Size, Taken};
use crate::order::{End, Retries, Rules};
use crate::runner::{Ended, Runner};
use crate::scatter::{Call, Ending, Scatter, Setting, say};
use crate::size::ChunkSize;
use crate::stage::{InSequence, Outcome, Stage};
use crate::verify::{Check, SAMPLE, Verify};
use crate::worker::{PIPE, Program};

/// The first chunk is at most so large: while it is read no worker has anything to do.
const FIRST: u64 = 1 << 20;

/// Bytes a second from which on a command gains too little by workers: chunks are copied twice on their
/// way, and its neighbours need the cores, too. On two cores a command of 300 MB/s gained nothing.
const FAST: f64 = 100e6;

const SIGPIPE: i32 = 13;

/// Runs a stage: reads `input` to its end and writes to `output` what one run of the command would.
///
/// SIGPIPE must be ignored in this process, as it is in every Rust program by default.
///
/// While a [`Guardian`](pipewright::Guardian) watches, the command never takes the death of this process
/// for the end of its input.
///
/// # Errors
///
/// [`Error::Start`] when the command cannot be started; the others when the input, the output or the
/// room for chunks fails. What was given before is a beginning of the right output.
pub fn run(stage: &Stage, input: OwnedFd, output: OwnedFd) -> Result<Outcome> {
    let may_begin_alone = alone::is_possible(stage);
    begin(stage, &stage.program(), may_begin_alone, input, output)
}

/// Runs a stage whose chunks this runner runs. What has to be one process runs here, and so do the checks
/// on the beginning of the input, so the command must be here as well.
///
/// # Errors
///
/// As [`run`]; and [`Error::Elsewhere`] when the runner fails.
pub fn run_by(
    stage: &Stage,
    runner: &dyn Runner,
    input: OwnedFd,
    output: OwnedFd,
) -> Result<Outcome> {
    // Whether cores are idle here says nothing of those elsewhere.
    begin(stage, runner, false, input, output)
}

fn begin(
    stage: &Stage,
    runner: &dyn Runner,
    may_begin_alone: bool,
    input: OwnedFd,
    output: OwnedFd,
) -> Result<Outcome> {
    widen(input.as_fd());
    widen(output.as_fd());
    let store = Store::new(stage.memory);
    let program = stage.program();
    let mut input = Input::new(input, stage.records.clone(), &store)?;
    let call = Call::new()?;
    let at_work = AtWork {
        program: &program,
        runner,
        store: &store,
    };
    if may_begin_alone {
        let stdout = output.try_clone().map_err(Error::Write)?;
        let begun = alone::begin(stage, &program, &store, input, stdout, call.as_fd())?;
        return match begun {
            Begun::Over(ended, reason) => Ok(Outcome::alone(ended.end, reason)),
            Begun::Ahead(ahead) => {
                let Ahead {
                    process,
                    began,
                    first,
                    input,
                    size,
                    start,
                } = *ahead;
                let beginning = Beginning {
                    start,
                    size,
                    ahead: Some((process, began)),
                    ..Beginning::of(stage)
                };
                by_workers(stage, &at_work, call, (first, beginning), input, output)
            }
        };
    }
    let about = Size::About((stage.size.bytes() as u64).min(FIRST));
    let first_size = runner.known_length(0)?.map_or(about, Size::Exactly);
    let first = match input.take(first_size, stage.idle, call.as_fd(), None)? {
        Taken::Chunk(chunk) => chunk,
        Taken::Last(rest) => {
            runner.input_ended(0)?;
            let end = in_sequence(&program, &[&rest], None, output)?;
            return Ok(Outcome::alone(end, InSequence::Small));
        }
        // Nobody knows of it yet who could.
        Taken::Called | Taken::ReaderGone => {
            let (kept, rest) = input.into_rest();
            let end = in_sequence(&program, &[&kept], Some(rest), output)?;
            return Ok(Outcome::alone(end, InSequence::Small));
        }
    };
    let beginning = look(stage, &program, &first, &store)?;
    if let Some(reason) = beginning.in_sequence {
        let (kept, rest) = input.into_rest();
        let end = in_sequence(&program, &[&first, &kept], Some(rest), output)?;
        return Ok(Outcome::alone(end, reason));
    }
    by_workers(stage, &at_work, call, (first, beginning), input, output)
}

/// Makes a pipe as large as a user may make it: in one of 64 KiB both sides wait for each other all the
/// time.
fn widen(end: BorrowedFd<'_>) {
    // Only a pipe has a size, and a refusal leaves it as it was.
    if fcntl_getpipe_size(end).is_ok_and(|size| size < PIPE) {
        let _ = fcntl_setpipe_size(end, PIPE);
    }
}

/// What runs the command, and keeps what it writes.
struct AtWork<'a> {
    program: &'a Program,
    runner: &'a dyn Runner,
    store: &'a Store,
}

/// Runs the command on chunks, and the rest as one process if one of them fails.
fn by_workers(
    stage: &Stage,
    at_work: &AtWork<'_>,
    call: Call,
    (first, beginning): (Chunk, Beginning),
    input: Input,
    output: OwnedFd,
) -> Result<Outcome> {
    let AtWork {
        program,
        runner,
        store,
    } = *at_work;
    let is_local = stage.merge.is_none() && !matches!(stage.classified.class, Class::Mergeable(_));
    let direct = output.try_clone().map_err(Error::Write)?;
    let verify = verify(stage, program, store, &first, beginning.nothing)?;
    let header = header(stage, &first, store)?;
    let mut given_by_header = Vec::new();
    if let Some(header) = &header {
        let ended = program.start(store)?.finish(&[header])?;
        given_by_header = ended.output.bytes().map_err(Error::store)?;
    }
    // Not before the command was found to allow it: a command that merges may write without an input.
    let mut refused = None;
    let mut ahead = None;
    let gather = || {
        if let Some((process, began)) = beginning.ahead {
            let ended = process.end()?;
            ahead = Some((ended, began.elapsed()));
            if !goes_on(stage, ended) {
                return Ok(None);
            }
        }
        if let Some((verify, sample)) = &verify {
            refused = match verify.check(sample)? {
                Check::Same => None,
                Check::Differs(difference) => Some(InSequence::Differs(difference)),
                Check::Fails => Some(InSequence::Fails),
            };
            if refused.is_some() {
                return Ok(None);
            }
        }
        Ok(Some(match (&stage.merge, &stage.classified.class) {
            (Some(argv), _) => Gather::by(output, Program::new(argv.clone()), store),
            (None, Class::Mergeable(merge)) => Gather::merged(output, program, merge, store)?,
            _ => Gather::joined(output, given_by_header),
        }))
    };
    let repeatable = stage.classified.repeatable;
    let rules = Rules {
        retries: if repeatable {
            stage.retries
        } else {
            Retries::NONE
        },
        status: stage.classified.status,
        unordered: stage.unordered && is_local,
        ..Rules::of_workers(stage.workers)
    };
    let setting = Setting {
        rules,
        size: beginning.size,
        idle: stage.idle,
        only_text: stage.classified.only_text,
        reads_all: is_local && repeatable,
        header,
        start: beginning.start,
    };
    let scatter = Scatter::new(setting, runner, store.clone(), call);
    let ended = scatter.run((first, beginning.ended), input, gather)?;
    let (before, on_core) =
        ahead.map_or_else(Default::default, |(ended, time)| (time, ended.on_core));
    let rule = stage.classified.status;
    let with_first = |status: u8| match ahead {
        Some((
            FedEnd {
                end: End::Status(first),
                ..
            },
            _,
        )) => rule.together(first, status),
        _ => status,
    };
    let outcome = |end: End, in_sequence: Option<InSequence>| Outcome {
        end,
        chunks: ended.chunks,
        again: ended.again,
        run_time: before + ended.times.run,
        on_core: on_core + ended.times.on_core,
        reading: ended.times.reading,
        giving: ended.times.giving,
        in_sequence,
    };
    if let (Some((process, _)), Ending::Refused { .. }) = (ahead, &ended.ending)
        && refused.is_none()
    {
        return Ok(outcome(process.end, Some(InSequence::FailedAt(0))));
    }
    if let (Some(reason), Ending::Refused { left }) = (refused, &ended.ending) {
        let left: Vec<&Chunk> = left.iter().map(|chunk| &**chunk).collect();
        let (kept, rest) = ended.input.into_rest();
        let chunks = [&left[..], &[&kept]].concat();
        let end = in_sequence(program, &chunks, Some(rest), direct)?;
        return Ok(Outcome::alone(end, reason));
    }
    let Some(mut gather) = ended.gather else {
        unreachable!("what was given or has failed was to be gathered");
    };
    match ended.ending {
        Ending::Refused { .. } => unreachable!("it was seen to"),
        Ending::ReaderGone => {
            let (_, merged) = gather.end()?;
            Ok(outcome(merged.unwrap_or(End::Signal(SIGPIPE)), None))
        }
        Ending::All(status) => {
            let (reader, merged) = gather.end()?;
            let end = match merged {
                Some(End::Status(0)) | None => End::Status(with_first(status)),
                Some(failure) => failure,
            };
            let end = if reader == Reader::Gone {
                End::Signal(SIGPIPE)
            } else {
                end
            };
            Ok(outcome(end, None))
        }
        // What it did to the chunk cannot be done again: what it wrote is the last of the output.
        Ending::Failed {
            number,
            end,
            output: Some(output),
            stderr,
            ..
        } if !repeatable => {
            say(stderr.as_ref());
            gather.take(output)?;
            gather.end()?;
            Ok(outcome(end, Some(InSequence::FailedAt(number))))
        }
        Ending::Failed {
            number, text, left, ..
        } => {
            let left: Vec<&Chunk> = left.iter().map(|chunk| &**chunk).collect();
            let (kept, rest) = ended.input.into_rest();
            let chunks = [&left[..], &[&kept]].concat();
            let end = if is_local {
                in_sequence(program, &chunks, Some(rest), direct)?
            } else {
                // The rest is one more part.
                let part = store.chunk().map_err(Error::store)?;
                let (stdout, part) = part.for_program()?;
                let end = in_sequence(program, &chunks, Some(rest), stdout)?;
                gather.take(part.end()?)?;
                gather.end()?;
                end
            };
            let end = match (end, ended.status) {
                (End::Status(status), before) if rule.is_success(status) => {
                    let status = before.map_or(status, |before| rule.together(before, status));
                    End::Status(with_first(status))
                }
                (end, _) => end,
            };
            let reason = if text {
                InSequence::FailedAt(number)
            } else {
                InSequence::NoTextAt(number)
            };
            Ok(outcome(end, Some(reason)))
        }
    }
}

/// Tells whether workers go on behind a process that was the first: it read all that it was given, and did
/// not fail.
fn goes_on(stage: &Stage, ended: FedEnd) -> bool {
    let is_success =
        matches!(ended.end, End::Status(status) if stage.classified.status.is_success(status));
    is_success && !ended.left_input
}

/// Copies the first records that go to each run.
fn header(stage: &Stage, first: &Chunk, store: &Store) -> Result<Option<Chunk>> {
    if stage.header == 0 {
        return Ok(None);
    }
    let bytes = first.bytes().map_err(Error::store)?;
    let length = stage.records.length_of_first(stage.header, &bytes);
    let mut header = store.chunk().map_err(Error::store)?;
    header
        .append_bytes(&bytes[..length.unwrap_or(bytes.len())])
        .map_err(Error::store)?;
    Ok(Some(header))
}

/// What a look at the beginning of the input has shown.
struct Beginning {
    /// The reason against workers, if there is one.
    in_sequence: Option<InSequence>,
    /// How long the command takes to start and end: all of an empty input.
    start: Duration,
    nothing: Option<Ended>,
    /// A run on the first chunk.
    ended: Option<Ended>,
    /// How large chunks are at first.
    size: ChunkSize,
    /// A process that has read what comes before the first chunk, and when it was started.
    ahead: Option<(Fed, Instant)>,
}

impl Beginning {
    fn of(stage: &Stage) -> Self {
        Self {
            in_sequence: None,
            start: Duration::ZERO,
            nothing: None,
            ended: None,
            size: stage.size.clone(),
            ahead: None,
        }
    }
}

/// Looks at the beginning of the input and at the command.
fn look(stage: &Stage, program: &Program, first: &Chunk, store: &Store) -> Result<Beginning> {
    let mut beginning = Beginning::of(stage);
    let is_merged = stage.merge.is_none() && matches!(stage.classified.class, Class::Mergeable(_));
    if stage.header > 0 && is_merged {
        beginning.in_sequence = Some(InSequence::MergedHeader);
    } else if stage.classified.only_text && !first.is_text().map_err(Error::store)? {
        beginning.in_sequence = Some(InSequence::NoTextAt(0));
    } else if stage.classified.repeatable && (stage.only_if_slow || stage.is_verified()) {
        let nothing = program.run_on(b"", store)?;
        if stage.only_if_slow {
            let (is_fast, ended) = is_fast(program, first, &nothing, store)?;
            beginning.in_sequence = is_fast.then_some(InSequence::Fast);
            beginning.ended = Some(ended);
        }
        beginning.start = nothing.time;
        beginning.nothing = Some(nothing);
    }
    Ok(beginning)
}

/// The check of the command, and the beginning of the input for it; `None` where there is none to be made.
fn verify<'a>(
    stage: &'a Stage,
    program: &'a Program,
    store: &'a Store,
    first: &Chunk,
    nothing: Option<Ended>,
) -> Result<Option<(Verify<'a>, Vec<u8>)>> {
    let Some(nothing) = nothing else {
        return Ok(None);
    };
    if !stage.is_verified() {
        return Ok(None);
    }
    let length = first.len().min(SAMPLE as u64);
    let mut bytes = first.read(0, length).map_err(Error::store)?;
    let Some(cut) = stage.records.last_cut(&bytes) else {
        return Ok(None);
    };
    bytes.truncate(cut);
    let verify = Verify {
        program,
        class: &stage.classified.class,
        records: &stage.records,
        status: stage.classified.status,
        store,
        nothing,
        at_once: stage.workers,
    };
    Ok(Some((verify, bytes)))
}

/// Looks of [`is_fast`], at most.
const LOOKS: usize = 4;

/// Tells whether the command takes its input about as fast as chunks can be handed on: a look at the first
/// chunk, less what a start takes. On a busy machine it may have waited for a core; where the time that
/// it had one for says otherwise than the clock, it is looked at again.
///
/// The answer has the last look, too.
fn is_fast(
    program: &Program,
    first: &Chunk,
    nothing: &Ended,
    store: &Store,
) -> Result<(bool, Ended)> {
    let is_fast = |time: Duration| first.len() as f64 > FAST * time.as_secs_f64();
    let mut looks = 1;
    loop {
        let whole = program.start(store)?.finish(&[first])?;
        if is_fast(whole.time.saturating_sub(nothing.time)) {
            return Ok((true, whole));
        }
        if !is_fast(whole.on_core.saturating_sub(nothing.on_core)) || looks == LOOKS {
            return Ok((false, whole));
        }
        looks += 1;
    }
}

/// Runs the command as one process on these chunks and the rest of the input behind them.
fn in_sequence(
    program: &Program,
    chunks: &[&Chunk],
    rest: Option<OwnedFd>,
    output: impl Into<Stdio>,
) -> Result<End> {
    let fed = Fed::start(program.command(), output)?;
    let mut reads = true;
    for chunk in chunks {
        reads = reads && fed.feed(chunk)?;
    }
    if let (true, Some(rest)) = (reads, rest) {
        fed.pour(rest.as_fd()).map_err(Error::Read)?;
    }
    Ok(fed.end()?.end)
}
