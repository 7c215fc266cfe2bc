//! The half that runs chunks, on any host, as long as it likes.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{AckKind, Message};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use pipewright_workers::{Chunk, End, Ended, Runner, Stop, Store, on_behalf};
use tokio::sync::{Notify, Semaphore};

use super::carried::{fetch, lock, os, shown};
use super::connect::Login;
use super::coordinator::{runtime, subscribe};
use super::error::{Error, Result};
use super::messages::{Done, How, Job, Ticket, decode};
use super::names::{JobName, Kind};
use super::pieces::Pieces;
use super::server::{Put, Server, UNDER_WAY};

/// How long the server keeps a worker's question for a ticket.
const ASKING: Duration = Duration::from_secs(1);

/// How long the coordinator is given to put again what the server has lost.
const PUT_AGAIN: Duration = Duration::from_secs(1);

/// How much later its answer may come.
const LATE: Duration = Duration::from_secs(5);

/// How a worker is asked to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quit {
    /// It finishes the chunks that it has.
    Finish,
    /// It gives them back.
    GiveBack,
}

/// Where a worker works.
#[derive(Clone)]
#[non_exhaustive]
pub struct Post {
    /// The server.
    pub login: Login,
    /// The job.
    pub job: JobName,
    /// The program and its arguments, which must be those of the job.
    pub argv: Vec<std::ffi::OsString>,
    /// How many chunks at once.
    pub at_once: usize,
    /// So many bytes of chunks are kept in memory.
    pub memory: u64,
    /// How long the server may be away.
    pub patience: Duration,
}

impl Post {
    /// One with the defaults: one chunk at once.
    #[must_use]
    pub fn new(login: Login, job: JobName, argv: Vec<std::ffi::OsString>) -> Self {
        Self {
            login,
            job,
            argv,
            at_once: 1,
            memory: 1 << 30,
            patience: Duration::from_secs(600),
        }
    }
}

/// What a worker has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Worked {
    /// Results that counted.
    pub chunks: u64,
    /// Results that others had before.
    pub late: u64,
    /// Chunks that were given back.
    pub given_back: u64,
}

/// Works until the job is over, or somebody asks the worker to go: `quit` is called again and again, waits
/// for that, and may be called from any thread.
///
/// A job that is not there yet is waited for.
///
/// # Errors
///
/// When the server cannot be reached or is away for too long, the job has another command, or the command
/// cannot be started here.
pub fn work(post: &Post, quit: impl FnMut() -> Quit + Send + 'static) -> Result<Worked> {
    let runtime = runtime()?;
    let orders = Arc::new(Orders::default());
    listen(quit, &orders)?;
    let worked = runtime.block_on(work_on(post, &orders));
    runtime.shutdown_background();
    worked
}

/// What the worker was told.
#[derive(Default)]
struct Orders {
    /// 0 to work, 1 to finish, 2 to give back.
    quit: AtomicU32,
    changed: Notify,
}

impl Orders {
    fn quits(&self) -> Option<Quit> {
        match self.quit.load(Relaxed) {
            0 => None,
            1 => Some(Quit::Finish),
            _ => Some(Quit::GiveBack),
        }
    }

    fn raise(&self, quit: Quit) {
        self.quit
            .fetch_max(if quit == Quit::Finish { 1 } else { 2 }, Relaxed);
        self.changed.notify_waiters();
    }

    /// Waits for an order that is at least this one.
    async fn until(&self, least: Quit) {
        loop {
            let changed = self.changed.notified();
            match (self.quits(), least) {
                (Some(Quit::GiveBack), _) | (Some(_), Quit::Finish) => return,
                // What comes between the look and the wait is seen the next time.
                _ => drop(tokio::time::timeout(Duration::from_millis(200), changed).await),
            }
        }
    }
}

fn listen(mut quit: impl FnMut() -> Quit + Send + 'static, orders: &Arc<Orders>) -> Result<()> {
    let orders = Arc::downgrade(orders);
    let listens = move || {
        loop {
            let order = quit();
            let Some(orders) = orders.upgrade() else {
                return;
            };
            orders.raise(order);
        }
    };
    let thread = std::thread::Builder::new()
        .name("pipewright quit".to_owned())
        .spawn(listens);
    thread.map(drop).map_err(Error::Threads)
}

/// A worker and its job.
struct Worker {
    server: Server,
    consumer: PullConsumer,
    job: Job,
    runner: Arc<dyn Runner>,
    store: Store,
    orders: Arc<Orders>,
    name: String,
    runs: AtomicU64,
    chunks: AtomicU64,
    late: AtomicU64,
    given_back: AtomicU64,
}

async fn work_on(post: &Post, orders: &Arc<Orders>) -> Result<Worked> {
    let (client, connected) = post
        .login
        .connect(format!("pipewright worker {}", post.job))
        .await?;
    let server = Server::new(client, connected, post.job.clone(), post.patience);
    let mut over = subscribe(&server, post.job.over()).await?;
    let found = tokio::select! {
        found = find(&server) => found?,
        _ = over.next() => None,
        () = orders.until(Quit::Finish) => None,
    };
    let Some(job) = found else {
        return Ok(Worked::default());
    };
    let ours: Vec<Vec<u8>> = post
        .argv
        .iter()
        .map(|word| word.as_encoded_bytes().to_vec())
        .collect();
    if job.argv != ours {
        return Err(Error::OtherCommand {
            job: post.job.clone(),
            theirs: shown(&job.argv),
            ours: shown(&ours),
        });
    }
    let variable =
        |(name, value): &(Vec<u8>, Option<Vec<u8>>)| (os(name), value.as_deref().map(os));
    let environment = job.environment.iter().map(variable).collect();
    let consumer = match server.consumer(Duration::from_millis(job.lease)).await {
        Ok(consumer) => consumer,
        Err(Error::Gone(_)) => return Ok(Worked::default()),
        Err(error) => return Err(error),
    };
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let worker = Arc::new(Worker {
        consumer,
        name: name(&server, seconds.unwrap_or_default()),
        server,
        job,
        runner: Arc::new(on_behalf(post.argv.clone(), environment)),
        store: Store::new(post.memory),
        orders: Arc::clone(orders),
        runs: AtomicU64::new(0),
        chunks: AtomicU64::new(0),
        late: AtomicU64::new(0),
        given_back: AtomicU64::new(0),
    });
    let is_over = Arc::new(Semaphore::new(0));
    let mut hands = tokio::task::JoinSet::new();
    for _ in 0..post.at_once.max(1) {
        let worker = Arc::clone(&worker);
        let is_over = Arc::clone(&is_over);
        hands.spawn(async move { worker.take_turns(&is_over).await });
    }
    let mut first_error = None;
    loop {
        tokio::select! {
            hand = hands.join_next() => match hand {
                None => break,
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(Error::Gone(_)))) => is_over.close(),
                Some(Ok(Err(error))) => {
                    first_error.get_or_insert(error);
                    // The others give back what they have.
                    orders.raise(Quit::GiveBack);
                }
                Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
            },
            _ = over.next(), if !is_over.is_closed() => is_over.close(),
        }
    }
    match first_error {
        Some(error) => Err(error),
        None => Ok(Worked {
            chunks: worker.chunks.load(Relaxed),
            late: worker.late.load(Relaxed),
            given_back: worker.given_back.load(Relaxed),
        }),
    }
}

/// A name that no other run has: the server's word for us, this process and this moment.
fn name(server: &Server, now: Duration) -> String {
    let client = server.client.server_info().client_id;
    format!("{client:x}p{:x}t{:x}", std::process::id(), now.as_nanos())
}

/// Waits for the job.
async fn find(server: &Server) -> Result<Option<Job>> {
    loop {
        if server.stream_is_there(Kind::Results).await? {
            match server.get_record::<Job>(&server.job.job()).await {
                Ok(Some(job)) if server.stream_is_there(Kind::Work).await? => return Ok(Some(job)),
                Ok(_) | Err(Error::Gone(_)) => {}
                Err(error) => return Err(error),
            }
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

impl Worker {
    /// One chunk after the other, until there is nothing more to do.
    async fn take_turns(&self, is_over: &Semaphore) -> Result<()> {
        loop {
            if self.orders.quits().is_some() || is_over.is_closed() {
                return Ok(());
            }
            let next = tokio::select! {
                next = self.next() => next?,
                () = self.given_up() => continue,
                _ = is_over.acquire() => continue,
            };
            if let Some(message) = next {
                if self.orders.quits().is_some() {
                    return self.give_back(&message, &ticket(&message)?).await;
                }
                tokio::select! {
                    done = self.serve(&message) => done?,
                    _ = is_over.acquire() => return Ok(()),
                }
            }
        }
    }

    /// Waits until the worker was asked to go and whatever it has asked the server for has come. A ticket
    /// that comes when nobody waits for it any more would be held up for the whole lease.
    async fn given_up(&self) {
        self.orders.until(Quit::Finish).await;
        tokio::time::sleep(ASKING + LATE).await;
    }

    /// The next ticket; `None` when there was none for a while.
    async fn next(&self) -> Result<Option<Message>> {
        let fetched = self
            .consumer
            .fetch()
            .max_messages(1)
            .expires(ASKING)
            .messages()
            .await;
        if let Ok(mut messages) = fetched
            && let Ok(Some(Ok(message))) =
                tokio::time::timeout(ASKING + LATE, messages.next()).await
        {
            return Ok(Some(message));
        }
        // Nothing to do, no server, or no job.
        if !self.server.stream_is_there(Kind::Work).await? {
            return Err(Error::Gone(self.server.job.clone()));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(None)
    }

    /// Runs the chunk of a ticket, and sees to it that there is a result.
    async fn serve(&self, message: &Message) -> Result<()> {
        let ticket = ticket(message)?;
        let lease = Duration::from_millis(self.job.lease);
        tokio::select! {
            served = self.serve_ticket(&ticket, message) => served,
            never = in_progress(message, lease / 3) => never,
        }
    }

    async fn serve_ticket(&self, ticket: &Ticket, message: &Message) -> Result<()> {
        let result = self.server.job.done(ticket.chunk, ticket.attempt);
        if self.server.get_record::<Done>(&result).await?.is_some() {
            self.late.fetch_add(1, Relaxed);
            return acknowledge(message).await;
        }
        let deliveries = message.info().map_or(1, |info| info.delivered);
        let run = format!("{}r{:x}", self.name, self.runs.fetch_add(1, Relaxed));
        if deliveries > i64::from(self.job.losses) {
            let lost = How::Lost(u32::try_from(deliveries - 1).unwrap_or(u32::MAX));
            let done = done(run, lost, (0, 0), (0, 0));
            self.server.put_record(&result, &done).await?;
            return acknowledge(message).await;
        }
        let began = Instant::now();
        let job = &self.server.job;
        let subject = |piece| job.input(ticket.chunk, Some(piece));
        let input = fetch(
            &self.server,
            Kind::Input,
            ticket.length,
            ticket.crc,
            subject,
            &self.store,
        );
        let input = match input.await {
            Ok(input) => input,
            Err(Error::Missing { .. }) => {
                // It is removed when its result is there.
                if self.server.get_record::<Done>(&result).await?.is_some() {
                    self.late.fetch_add(1, Relaxed);
                    return acknowledge(message).await;
                }
                // A server whose machine lost power may have lost it: the coordinator puts it there again.
                tokio::time::sleep(PUT_AGAIN).await;
                return self.give_back(message, ticket).await;
            }
            Err(error) => return Err(error),
        };
        let fetched = began.elapsed();
        let Some(ended) = self.run(input, message, ticket).await? else {
            return Ok(());
        };
        let sending = Instant::now();
        let how = match ended.end {
            End::Status(status) => How::Status(status),
            End::Signal(signal) => How::Signal(signal),
        };
        let stdout = self.send(&run, "stdout", &ended.output).await?;
        let stderr = match &ended.stderr {
            Some(stderr) => self.send(&run, "stderr", stderr).await?,
            None => (0, 0),
        };
        let fixed = ended.start + (fetched + sending.elapsed()) / 4;
        let time = began.elapsed();
        let mut done = done(run, how, stdout, stderr);
        done.left_input = ended.left_input;
        done.microseconds = [time, ended.on_core, fixed].map(|time| time.as_micros() as u64);
        if self.server.put_record(&result, &done).await? == Put::Taken
            && self
                .server
                .get_record::<Done>(&result)
                .await?
                .is_none_or(|first| first.run != done.run)
        {
            self.late.fetch_add(1, Relaxed);
            self.server
                .remove(Kind::Results, &job.outputs(&done.run))
                .await?;
        } else {
            self.chunks.fetch_add(1, Relaxed);
        }
        acknowledge(message).await
    }

    /// Runs the command; `None` when the chunk was given back.
    async fn run(&self, input: Chunk, message: &Message, ticket: &Ticket) -> Result<Option<Ended>> {
        let started = Arc::new(std::sync::Mutex::new(None::<Arc<dyn Stop>>));
        let (runner, store) = (Arc::clone(&self.runner), self.store.clone());
        let (number, place) = (ticket.chunk, Arc::clone(&started));
        let mut run = tokio::task::spawn_blocking(move || {
            let run = runner.start(number, &store)?;
            *lock(&place) = Some(run.stop());
            run.finish(&[&input])
        });
        // Dropped with the job over: the run has no use any more.
        let stop = StopOnDrop(started);
        let ended = tokio::select! {
            ended = &mut run => ended,
            () = self.orders.until(Quit::GiveBack) => {
                stop.now();
                let _ = run.await;
                self.give_back(message, ticket).await?;
                return Ok(None);
            }
        };
        match ended {
            Ok(Ok(ended)) => Ok(Some(ended)),
            Ok(Err(error)) => {
                self.give_back(message, ticket).await?;
                Err(Error::Run(error))
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// Puts a fresh ticket in the place of this one: it does not count as lost.
    async fn give_back(&self, message: &Message, ticket: &Ticket) -> Result<()> {
        let given_back = ticket.given_back.saturating_add(1);
        let fresh = Ticket {
            given_back,
            ..ticket.clone()
        };
        let subject = self
            .server
            .job
            .ticket(ticket.chunk, ticket.attempt, given_back);
        self.server.put_record(&subject, &fresh).await?;
        self.given_back.fetch_add(1, Relaxed);
        acknowledge(message).await
    }

    /// Puts what a run wrote on the server.
    async fn send(&self, run: &str, which: &str, written: &Chunk) -> Result<(u64, u32)> {
        let mut crc = 0;
        let read = |(piece, range): (u64, Range<u64>)| {
            let bytes = written.read(range.start, range.end).map_err(Error::Store)?;
            crc = crc32c::crc32c_append(crc, &bytes);
            Ok((self.server.job.output(run, which, piece), bytes))
        };
        let put = |(subject, bytes): (String, Vec<u8>)| async move {
            self.server
                .put(&subject, Bytes::from(bytes))
                .await
                .map(drop)
        };
        stream::iter(Pieces::of(written.len()).ranges().map(read))
            .map_ok(put)
            .try_buffer_unordered(UNDER_WAY)
            .try_collect::<()>()
            .await?;
        Ok((written.len(), crc))
    }
}

fn ticket(message: &Message) -> Result<Ticket> {
    decode(&message.payload).map_err(|why| Error::NotOurs {
        subject: message.subject.to_string(),
        why,
    })
}

fn done(run: String, how: How, stdout: (u64, u32), stderr: (u64, u32)) -> Done {
    Done {
        run,
        how,
        left_input: false,
        stdout,
        stderr,
        microseconds: [0; 3],
    }
}

/// Ends a run when nobody waits for it any more.
struct StopOnDrop(Arc<std::sync::Mutex<Option<Arc<dyn Stop>>>>);

impl StopOnDrop {
    fn now(&self) {
        if let Some(run) = lock(&self.0).as_ref() {
            run.stop();
        }
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.now();
    }
}

/// Says again and again that the chunk is in progress.
async fn in_progress(message: &Message, every: Duration) -> Result<()> {
    loop {
        tokio::time::sleep(every.max(Duration::from_millis(10))).await;
        // One that is lost is followed by others.
        let _ = message.ack_with(AckKind::Progress).await;
    }
}

/// Says that the ticket needs nobody any more. An answer that does not come is no fault: whoever gets the
/// ticket next finds the result.
async fn acknowledge(message: &Message) -> Result<()> {
    let _ = tokio::time::timeout(Duration::from_secs(2), message.double_ack()).await;
    Ok(())
}
