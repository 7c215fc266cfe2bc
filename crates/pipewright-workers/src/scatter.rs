//! Scatter, run, gather: the threads of a run by workers.
//!
//! The calling thread reads the input and takes chunks from it; each worker has a thread that runs the
//! command on one chunk after the other; one more gives the outputs in order. What they share is an
//! [`Order`] and the chunks it counts, under one lock.

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

use crate::chunk::{Chunk, Store};
use crate::error::{Error, Result};
use crate::gather::{Gather, Reader};
use crate::input::{Input, Size, Taken};
use crate::order::{End, Next, Order, Rules};
use crate::runner::{Ended, Runner, Stop};
use crate::size::ChunkSize;
use crate::worker::LAST_PAUSE;

/// Wakes the thread that reads the input.
pub(crate) struct Call(OwnedFd);

impl Call {
    pub(crate) fn new() -> Result<Self> {
        let call = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        call.map(Self).map_err(|error| Error::Read(error.into()))
    }

    fn ring(&self) {
        // It is full only when it was rung before.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Takes note of it: the next call is another one.
    fn hear(&self) {
        // It does not wait.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Call {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// How the chunks have ended.
pub(crate) enum Ending {
    /// All outputs were taken; this is what their statuses come to.
    All(u8),
    ReaderGone,
    /// Workers may not run the command. Nothing was given.
    Refused {
        /// All inputs so far, in order.
        left: Vec<Arc<Chunk>>,
    },
    /// One has failed, and all before it were taken.
    Failed {
        number: u64,
        end: End,
        /// What it had written.
        output: Option<Chunk>,
        /// Likewise to its stderr, if that was kept.
        stderr: Option<Chunk>,
        /// Whether it was run: if not, it is no text.
        text: bool,
        /// The inputs that were not done, in order.
        left: Vec<Arc<Chunk>>,
    },
}

/// What took how long.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Times {
    /// All runs together, and how long they had a core.
    pub(crate) run: Duration,
    pub(crate) on_core: Duration,
    /// Waiting for the input while there is room for more.
    pub(crate) reading: Duration,
    pub(crate) giving: Duration,
}

/// What is left when the threads have ended.
pub(crate) struct Done {
    pub(crate) ending: Ending,
    pub(crate) chunks: u64,
    pub(crate) again: u64,
    pub(crate) times: Times,
    pub(crate) status: Option<u8>,
    /// There is one as soon as the command was found to allow it.
    pub(crate) gather: Option<Gather>,
    pub(crate) input: Input,
}

/// What a run wrote to its stdout, and to its stderr if that was kept.
struct Outputs(Chunk, Option<Chunk>);

/// What the threads share.
struct Shared {
    /// The threads that run the command, and how many there may be.
    workers: usize,
    most_workers: usize,
    order: Order,
    inputs: BTreeMap<u64, Arc<Chunk>>,
    outputs: BTreeMap<u64, Outputs>,
    running: BTreeMap<u64, Arc<dyn Stop>>,
    size: ChunkSize,
    times: Times,
    failed: Option<(u64, End, bool)>,
    is_refused: bool,
    began: Instant,
    error: Option<Error>,
}

impl Shared {
    /// Tells whether the threads have nothing more to do.
    fn is_over(&self) -> bool {
        self.error.is_some() || self.order.is_over() || self.order.in_sequence().is_some()
    }

    fn reader_gone(&mut self) {
        let unwanted = self.order.reader_gone();
        self.kill(unwanted);
    }

    fn kill(&self, unwanted: Range<u64>) {
        for (_, run) in self.running.range(unwanted) {
            run.stop();
        }
    }
}

/// Writes what a run elsewhere has said to the stderr of this process. One that nobody reads, or that is
/// closed, is no reason to fail, as it would be none for the command.
pub(crate) fn say(stderr: Option<&Chunk>) {
    if let Some(stderr) = stderr {
        let _ = stderr.give(0, std::io::stderr().as_fd());
    }
}

/// What the threads go by.
pub(crate) struct Setting {
    pub(crate) rules: Rules,
    pub(crate) size: ChunkSize,
    /// A chunk goes off when the input has been silent for so long.
    pub(crate) idle: Duration,
    /// A chunk that is no text is not given to a worker.
    pub(crate) only_text: bool,
    /// A run that leaves some of its input unread has failed.
    pub(crate) reads_all: bool,
    /// What each run but that of the first chunk reads before its chunk.
    pub(crate) header: Option<Chunk>,
    /// How long the command takes to start and end.
    pub(crate) start: Duration,
}

/// The threads of one run.
pub(crate) struct Scatter<'a> {
    setting: Setting,
    shared: Mutex<Shared>,
    changed: Condvar,
    call: Call,
    runner: &'a dyn Runner,
    store: Store,
    /// To look at, for whether it still has a reader.
    next: OnceLock<OwnedFd>,
}

impl<'a> Scatter<'a> {
    pub(crate) fn new(setting: Setting, runner: &'a dyn Runner, store: Store, call: Call) -> Self {
        let shared = Shared {
            workers: 0,
            most_workers: setting.rules.workers,
            order: Order::new(setting.rules),
            inputs: BTreeMap::new(),
            outputs: BTreeMap::new(),
            running: BTreeMap::new(),
            size: setting.size.clone(),
            times: Times::default(),
            failed: None,
            is_refused: false,
            began: Instant::now(),
            error: None,
        };
        Self {
            setting,
            shared: Mutex::new(shared),
            changed: Condvar::new(),
            call,
            runner,
            store,
            next: OnceLock::new(),
        }
    }

    /// Runs until the input has ended and all is given, nobody reads, or a chunk has failed.
    ///
    /// Of the first chunk there may be a run already. Meanwhile `gather` makes the one that takes the
    /// outputs, or `None` where workers may not run the command.
    pub(crate) fn run(
        self,
        (first, ended): (Chunk, Option<Ended>),
        mut input: Input,
        gather: impl FnOnce() -> Result<Option<Gather>> + Send,
    ) -> Result<Done> {
        let mut gathered = None;
        std::thread::scope(|scope| {
            self.keep(|shared| {
                let length = first.len();
                self.push(shared, first);
                if let Some(ended) = ended
                    && let Some(number) = shared.order.next_to_run()
                {
                    self.ended(shared, number, length, ended);
                }
            });
            let gathered = &mut gathered;
            let give = || match gather() {
                Ok(Some(gather)) => self.give(gathered.insert(gather)),
                Ok(None) => self.refuse(),
                Err(error) => self.fail(error),
            };
            if let Err(error) = std::thread::Builder::new().spawn_scoped(scope, give) {
                return self.fail(Error::Threads(error));
            }
            // A worker is made when there is a chunk for it.
            let one_more = |this: &Self| {
                let mut shared = this.lock();
                if shared.workers >= shared.most_workers {
                    return;
                }
                match std::thread::Builder::new().spawn_scoped(scope, || self.work()) {
                    Ok(_) => shared.workers += 1,
                    Err(error) if shared.workers == 0 => {
                        drop(shared);
                        this.fail(Error::Threads(error));
                    }
                    // Those that are there do it.
                    Err(_) => shared.most_workers = shared.workers,
                }
            };
            if let Err(error) = self.read(&mut input, one_more) {
                self.fail(error);
            }
        });
        let mut shared = self
            .shared
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = shared.error {
            return Err(error);
        }
        let status = shared.order.status();
        let inputs = |left: Vec<u64>, inputs: &mut BTreeMap<_, _>| {
            let left = left.iter().filter_map(|number| inputs.remove(number));
            left.collect()
        };
        let ending = match (shared.order.in_sequence(), shared.failed) {
            (Some(left), _) if shared.is_refused => Ending::Refused {
                left: inputs(left, &mut shared.inputs),
            },
            (Some(left), Some((number, end, text))) => {
                let written = shared.outputs.remove(&number);
                let (output, stderr) = written
                    .map(|Outputs(output, stderr)| (output, stderr))
                    .unzip();
                Ending::Failed {
                    number,
                    end,
                    text,
                    output,
                    stderr: stderr.flatten(),
                    left: inputs(left, &mut shared.inputs),
                }
            }
            _ if shared.order.is_reader_gone() => Ending::ReaderGone,
            _ => Ending::All(status.unwrap_or(0)),
        };
        Ok(Done {
            ending,
            chunks: shared.order.given_count(),
            again: shared.order.again(),
            times: shared.times,
            status,
            gather: gathered,
            input,
        })
    }

    /// Reads the input and takes chunks from it.
    fn read(&self, input: &mut Input, mut one_more: impl FnMut(&Self)) -> Result<()> {
        // The first was taken before.
        let mut count = 1;
        loop {
            one_more(self);
            let mut shared = self.lock();
            while !shared.order.may_take() && shared.order.wants_input() && shared.error.is_none() {
                shared = self.wait(shared);
            }
            if !shared.order.wants_input() || shared.error.is_some() {
                return Ok(());
            }
            let about = Size::About(shared.size.bytes() as u64);
            drop(shared);
            let known = self.runner.known_length(count)?;
            let size = known.map_or(about, Size::Exactly);
            let began = Instant::now();
            let taken = input.take(
                size,
                self.setting.idle,
                self.call.as_fd(),
                self.next.get().map(AsFd::as_fd),
            )?;
            self.lock().times.reading += began.elapsed();
            match taken {
                Taken::Chunk(chunk) => {
                    count += 1;
                    self.keep(|shared| self.push(shared, chunk));
                }
                Taken::Last(chunk) => {
                    count += u64::from(chunk.len() > 0);
                    self.runner.input_ended(count)?;
                    self.keep(|shared| {
                        if chunk.len() > 0 {
                            self.push(shared, chunk);
                        }
                        shared.order.end_input();
                    });
                    one_more(self);
                    return Ok(());
                }
                Taken::ReaderGone => {
                    self.keep(Shared::reader_gone);
                    return Ok(());
                }
                // Whatever it is, it is seen at the top.
                Taken::Called => self.call.hear(),
            }
        }
    }

    fn push(&self, shared: &mut Shared, chunk: Chunk) {
        let is_text = !self.setting.only_text || chunk.is_text().unwrap_or(false);
        let number = shared.order.take();
        shared.inputs.insert(number, Arc::new(chunk));
        if !is_text {
            shared.order.refuse(number);
            shared.failed = Some((number, End::Status(0), false));
        }
    }

    /// A worker: runs the command on one chunk after the other.
    fn work(&self) {
        let mut pause = Duration::from_millis(1);
        let mut shared = self.lock();
        while !shared.is_over() {
            let Some(number) = shared.order.next_to_run() else {
                shared = self.wait(shared);
                continue;
            };
            let chunk = Arc::clone(&shared.inputs[&number]);
            drop(shared);
            let ended = self.run_one(number, &chunk);
            shared = self.lock();
            shared.running.remove(&number);
            match ended {
                // It was ended with all the others, and says nothing about its chunk.
                _ if shared.error.is_some() => {}
                Ok(ended) => {
                    let end = ended.end;
                    if self.ended(&mut shared, number, chunk.len(), ended) {
                        drop(shared);
                        self.runner.failed(number, &self.parts(number, &chunk), end);
                        shared = self.lock();
                    }
                }
                Err(error) if error.may_pass() && (shared.workers > 1 || pause < LAST_PAUSE) => {
                    shared.order.postpone(number);
                    if shared.workers > 1 {
                        // This thread may be what there was one too many of.
                        shared.workers -= 1;
                        shared.most_workers = shared.workers;
                        self.changed.notify_all();
                        return;
                    }
                    drop(shared);
                    std::thread::sleep(pause);
                    pause *= 2;
                    shared = self.lock();
                }
                Err(error) => {
                    shared.error.get_or_insert(error);
                    shared.kill(0..u64::MAX);
                    self.call.ring();
                }
            }
            self.changed.notify_all();
        }
    }

    fn run_one(&self, number: u64, chunk: &Chunk) -> Result<Ended> {
        let run = self.runner.start(number, &self.store)?;
        let stop = run.stop();
        self.keep(|shared| {
            if shared.order.wants(number) && shared.error.is_none() {
                shared.running.insert(number, stop);
            } else {
                // It became useless while it started.
                stop.stop();
            }
        });
        run.finish(&self.parts(number, chunk))
    }

    /// What a run on this chunk reads.
    fn parts<'b>(&'b self, number: u64, chunk: &'b Chunk) -> Vec<&'b Chunk> {
        match &self.setting.header {
            Some(header) if number > 0 => vec![header, chunk],
            _ => vec![chunk],
        }
    }

    /// Takes note of the end of a run; the answer is whether the chunk has failed for good.
    fn ended(&self, shared: &mut Shared, number: u64, length: u64, ended: Ended) -> bool {
        shared.times.run += ended.time;
        shared.times.on_core += ended.on_core;
        let next = if ended.left_input && self.setting.reads_all && self.is_success(ended.end) {
            // It ended by itself although there was more: one that does so ends the stage.
            shared.order.refuse(number);
            Next::Failed(number + 1..u64::MAX)
        } else {
            shared.order.ended(number, ended.end)
        };
        match next {
            Next::Done => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let start = ended.start.max(self.setting.start);
                let so_far = shared.began.elapsed();
                shared.size.learn(length, ended.time, start, so_far);
                let outputs = Outputs(ended.output, ended.stderr);
                shared.outputs.insert(number, outputs);
                false
            }
            Next::Failed(unwanted) => {
                shared.failed = Some((number, ended.end, true));
                let outputs = Outputs(ended.output, ended.stderr);
                shared.outputs.insert(number, outputs);
                shared.kill(unwanted);
                self.call.ring();
                !self.is_success(ended.end)
            }
            Next::Again | Next::Unwanted => false,
        }
    }

    fn is_success(&self, end: End) -> bool {
        matches!(end, End::Status(status) if self.setting.rules.status.is_success(status))
    }

    /// Has one process do it all.
    fn refuse(&self) {
        self.keep(|shared| {
            shared.order.give_up();
            shared.is_refused = true;
            shared.kill(0..u64::MAX);
        });
        self.call.ring();
    }

    /// Gives the outputs in order.
    fn give(&self, gather: &mut Gather) {
        match gather.watched() {
            Ok(Some(next)) => {
                self.next.get_or_init(|| next);
                self.call.ring();
            }
            Ok(None) => {}
            Err(error) => return self.fail(error),
        }
        let mut shared = self.lock();
        while !shared.is_over() {
            let Some(number) = shared.order.next_to_give() else {
                shared = self.wait(shared);
                continue;
            };
            let Some(Outputs(output, stderr)) = shared.outputs.remove(&number) else {
                unreachable!("chunk {number} is done and has an output");
            };
            drop(shared);
            let began = Instant::now();
            say(stderr.as_ref());
            let taken = gather.take(output);
            shared = self.lock();
            shared.times.giving += began.elapsed();
            match taken {
                Ok(Reader::Here) => {
                    shared.order.given(number);
                    shared.inputs.remove(&number);
                }
                Ok(Reader::Gone) => {
                    shared.reader_gone();
                    self.call.ring();
                }
                Err(error) => {
                    shared.error.get_or_insert(error);
                    shared.kill(0..u64::MAX);
                    self.call.ring();
                }
            }
            self.changed.notify_all();
        }
    }

    fn fail(&self, error: Error) {
        self.keep(|shared| {
            shared.error.get_or_insert(error);
            shared.kill(0..u64::MAX);
        });
        self.call.ring();
    }

    /// Changes what is shared, and tells everybody.
    fn keep(&self, change: impl FnOnce(&mut Shared)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'b>(&self, shared: MutexGuard<'b, Shared>) -> MutexGuard<'b, Shared> {
        self.changed
            .wait(shared)
            .unwrap_or_else(PoisonError::into_inner)
    }
}
