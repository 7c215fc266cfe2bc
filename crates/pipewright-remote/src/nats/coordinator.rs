//! The half that stands in the pipeline: chunks go out to the server, results come back.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use pipewright_workers::{Chunk, End, Ended, Runner, Started, Stop, Store};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use super::connect::Login;
use super::error::{Error, Result};
use super::ledger::{Ledger, Mismatch};
use super::messages::{Cut, Done, How, Job, Ticket};
use super::monitor::Durability;
use super::names::{JobName, Kind};
use super::pieces::Pieces;
use super::server::{Put, Server};

/// Variables that decide what programs make of bytes, so that all workers have those of the coordinator.
const ENVIRONMENT: [&str; 16] = [
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_ADDRESS",
    "LC_COLLATE",
    "LC_CTYPE",
    "LC_IDENTIFICATION",
    "LC_MEASUREMENT",
    "LC_MESSAGES",
    "LC_MONETARY",
    "LC_NAME",
    "LC_NUMERIC",
    "LC_PAPER",
    "LC_TELEPHONE",
    "LC_TIME",
    "TZ",
];

/// How long a coordinator waits for another one of the same job to speak up.
const ANOTHER: Duration = Duration::from_millis(300);

/// A job without workers is told of after so long.
const ALONE: Duration = Duration::from_secs(5);

/// A chunk whose result is not there is offered again after so long: a server whose machine lost power may
/// have lost it.
const OFFER_AGAIN: Duration = Duration::from_secs(60);

/// Pieces that are fetched at once.
pub(crate) const FETCHES: usize = 4;

/// What a job is, and where.
#[derive(Clone)]
#[non_exhaustive]
pub struct Setup {
    /// The server.
    pub login: Login,
    /// The job's name on it.
    pub job: JobName,
    /// The program and its arguments.
    pub argv: Vec<OsString>,
    /// So many bytes of chunks may lie on the server at once.
    pub in_flight: u64,
    /// So many servers of a cluster keep each message.
    pub replicas: usize,
    /// A worker that is silent for so long has its chunk given to another.
    pub lease: Duration,
    /// How long the server may be away.
    pub patience: Duration,
    /// So often a chunk may be taken and not come back, before it counts as one that ends its workers.
    pub losses: u32,
    /// The server's monitoring port, as `http://HOST:8222`; else that port of the server's host is asked.
    pub monitor: Option<String>,
    /// Forgets what an earlier run of the job has left.
    pub anew: bool,
    /// Where the bytes of a chunk that fails are kept; the directory for temporary files where that cannot
    /// be written to.
    pub failed_to: PathBuf,
}

impl Setup {
    /// A job with the defaults.
    #[must_use]
    pub fn new(login: Login, job: JobName, argv: Vec<OsString>) -> Self {
        Self {
            login,
            job,
            argv,
            in_flight: 1 << 30,
            replicas: 1,
            lease: Duration::from_secs(30),
            patience: Duration::from_secs(600),
            losses: 5,
            monitor: None,
            anew: false,
            failed_to: PathBuf::from("."),
        }
    }
}

/// A job as its coordinator has it.
pub struct Coordinator {
    runtime: Arc<Runtime>,
    shared: Arc<Shared>,
    durability: Durability,
}

struct Shared {
    server: Server,
    setup: Setup,
    ledger: Mutex<Ledger>,
    /// Once no cut stands on the server, none behind it does.
    first_fresh: AtomicU64,
    /// The chunk that the input has ended with.
    last: AtomicU64,
    /// Who waits for the result of which chunk.
    waiting: Mutex<BTreeMap<u64, Arc<Notify>>>,
    /// One chunk after the other is put on the server, so that one is whole whatever room there is.
    offering: tokio::sync::Mutex<()>,
    /// A result has come.
    has_worker: AtomicBool,
    /// Chunks that have ended their workers: no more are given to them.
    lost: Mutex<BTreeMap<u64, Done>>,
    /// Runs whose results were there.
    found: AtomicU64,
    /// What the user is to know.
    tell: Box<dyn Fn(&str) + Send + Sync>,
}

impl Coordinator {
    /// Connects, makes the job or takes it over.
    ///
    /// `tell` gets sentences for the user.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached or refuses, and when another coordinator has the job, or the job
    /// another command.
    pub fn begin(setup: Setup, tell: impl Fn(&str) + Send + Sync + 'static) -> Result<Self> {
        let runtime = runtime()?;
        let shared = runtime.block_on(Shared::begin(setup, Box::new(tell)))?;
        let Setup {
            login,
            monitor,
            replicas,
            ..
        } = &shared.setup;
        let durability = Durability::ask(&login.hosts(), monitor.as_deref(), *replicas);
        if durability.is_less() {
            (shared.tell)(&durability.to_string());
        }
        Ok(Self {
            runtime: Arc::new(runtime),
            shared,
            durability,
        })
    }

    /// What becomes of an acknowledged message when the power goes.
    #[must_use]
    pub fn durability(&self) -> &Durability {
        &self.durability
    }

    /// Counts the results that were there before they were asked for.
    #[must_use]
    pub fn found(&self) -> u64 {
        self.shared.found.load(Relaxed)
    }

    /// Says that the job is over, and deletes it unless it is to be kept.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub fn end(self, keep: bool) -> Result<()> {
        let server = &self.shared.server;
        self.runtime.block_on(async {
            if !keep {
                server.delete_streams().await?;
            }
            let _ = server.client.publish(server.job.over(), Bytes::new()).await;
            let _ = server.client.flush().await;
            Ok(())
        })
    }
}

/// Two threads: one to move bytes, one for all that waits meanwhile.
pub(crate) fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("pipewright nats")
        .enable_all()
        .build()
        .map_err(Error::Threads)
}

impl Shared {
    async fn begin(setup: Setup, tell: Box<dyn Fn(&str) + Send + Sync>) -> Result<Arc<Self>> {
        let (client, connected) = setup
            .login
            .connect(format!("pipewright {}", setup.job))
            .await?;
        let server = Server::new(client, connected, setup.job.clone(), setup.patience);
        alone(&server).await?;
        if setup.anew {
            server.delete_streams().await?;
        }
        server.make_streams(setup.in_flight, setup.replicas).await?;
        server.consumer(setup.lease).await?;
        let job = Job {
            argv: setup
                .argv
                .iter()
                .map(|word| word.as_bytes().to_vec())
                .collect(),
            environment: ENVIRONMENT
                .iter()
                .map(|name| {
                    let value = std::env::var_os(name);
                    (
                        name.as_bytes().to_vec(),
                        value.map(|value| value.as_bytes().to_vec()),
                    )
                })
                .collect(),
            lease: setup.lease.as_millis() as u64,
            losses: setup.losses,
        };
        if server.put_record(&server.job.job(), &job).await? == Put::Taken {
            let there: Job = server
                .get_record(&server.job.job())
                .await?
                .ok_or_else(|| Error::Gone(server.job.clone()))?;
            if there.argv != job.argv {
                return Err(Error::OtherCommand {
                    job: server.job.clone(),
                    theirs: shown(&there.argv),
                    ours: shown(&job.argv),
                });
            }
        }
        let shared = Arc::new(Self {
            server,
            setup,
            ledger: Mutex::default(),
            first_fresh: AtomicU64::new(u64::MAX),
            last: AtomicU64::new(u64::MAX),
            waiting: Mutex::default(),
            offering: tokio::sync::Mutex::default(),
            has_worker: AtomicBool::new(false),
            lost: Mutex::default(),
            found: AtomicU64::new(0),
            tell,
        });
        let mut results = subscribe(&shared.server, shared.server.job.all_done()).await?;
        let bell = Arc::downgrade(&shared);
        tokio::spawn(async move {
            while let Some(message) = results.next().await {
                let Some(shared) = bell.upgrade() else { return };
                shared.has_worker.store(true, Relaxed);
                if let Some(chunk) = shared.server.job.chunk_of(&message.subject)
                    && let Some(waits) = lock(&shared.waiting).get(&chunk)
                {
                    waits.notify_one();
                }
            }
        });
        Ok(shared)
    }

    /// The cut that an earlier run has made, if it has.
    async fn known(&self, chunk: u64) -> Result<Option<u64>> {
        if chunk >= self.first_fresh.load(Relaxed) {
            return Ok(None);
        }
        match self
            .server
            .get_record::<Cut>(&self.server.job.cut(chunk))
            .await?
        {
            Some(cut) => {
                let length = cut.length;
                lock(&self.ledger).learn(chunk, cut);
                Ok(Some(length))
            }
            None => {
                self.first_fresh.fetch_min(chunk, Relaxed);
                Ok(None)
            }
        }
    }

    /// Puts on the server what of a chunk is not there, and its ticket behind it.
    async fn offer(&self, ticket: &Ticket, parts: &[&Chunk], stop: &StopFlag) -> Result<()> {
        let _turn = self.offering.lock().await;
        let job = &self.server.job;
        // A message has its subject and more with it.
        let pieces = Pieces::of(ticket.length);
        if ticket.length + (pieces.count() << 10) > self.setup.in_flight {
            return Err(Error::TooLarge {
                chunk: ticket.chunk,
                length: ticket.length,
                most: self.setup.in_flight,
            });
        }
        for (piece, range) in pieces.ranges() {
            let bytes = Bytes::from(read(parts, range.start, range.end)?);
            let subject = job.input(ticket.chunk, Some(piece));
            // No room: workers make some.
            while self.server.put_once(&subject, bytes.clone()).await? == Put::Full {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(20)) => {}
                    () = stop.notify.notified() => {}
                }
                if stop.is_set() {
                    return Ok(());
                }
            }
        }
        let subject = job.ticket(ticket.chunk, ticket.attempt, ticket.given_back);
        self.server.put_record(&subject, ticket).await?;
        Ok(())
    }

    async fn result(&self, chunk: u64, attempt: u32) -> Result<Option<Done>> {
        let subject = self.server.job.done(chunk, attempt);
        let done: Option<Done> = self.server.get_record(&subject).await?;
        match done {
            Some(done) if !done.is_sound() => Err(Error::NotOurs {
                subject,
                why: super::messages::NotOurs::Damaged,
            }),
            done => Ok(done),
        }
    }

    /// Has a chunk run; `None` when it was stopped.
    async fn run(&self, chunk: u64, parts: &[&Chunk], stop: &StopFlag) -> Result<Option<Done>> {
        if let Some(lost) = lock(&self.lost).get(&chunk) {
            return Ok(Some(lost.clone()));
        }
        let length = parts.iter().map(|part| part.len()).sum();
        // What comes before the chunk is of the first chunk, and is compared there.
        let own = parts.last().map_or(0, |part| part.len());
        let (sha256, crc) = sums(parts)?;
        let cut = Cut {
            length: own,
            sha256,
            last: self.last.load(Relaxed) == chunk,
        };
        let is_fresh = chunk >= self.first_fresh.load(Relaxed);
        if is_fresh && let Some(before) = chunk.checked_sub(1) {
            // The cut before this one may have been the end of another input.
            lock(&self.ledger).compare_end(before)?;
        }
        let subject = self.server.job.cut(chunk);
        if self.server.put_record(&subject, &cut).await? == Put::Taken {
            let there: Cut = self
                .server
                .get_record(&subject)
                .await?
                .ok_or_else(|| Error::Gone(self.server.job.clone()))?;
            lock(&self.ledger).compare(chunk, &cut, &there)?;
        }
        let attempt = lock(&self.ledger).next_attempt(chunk);
        if !is_fresh && let Some(done) = self.result(chunk, attempt).await? {
            self.found.fetch_add(1, Relaxed);
            return Ok(Some(done));
        }
        let ticket = Ticket {
            chunk,
            attempt,
            given_back: 0,
            length,
            crc,
        };
        let bell = Arc::new(Notify::new());
        lock(&self.waiting).insert(chunk, Arc::clone(&bell));
        let done = self.wait_for(&ticket, parts, &bell, stop).await;
        lock(&self.waiting).remove(&chunk);
        done
    }

    async fn wait_for(
        &self,
        ticket: &Ticket,
        parts: &[&Chunk],
        bell: &Notify,
        stop: &StopFlag,
    ) -> Result<Option<Done>> {
        const SHORT: Duration = Duration::from_millis(2);
        let began = Instant::now();
        let mut alone_is_told = false;
        let mut offered = None;
        let mut pause = SHORT;
        loop {
            if stop.is_set() {
                return Ok(None);
            }
            let connections = self.server.connections();
            let is_old =
                |(with, at): (u64, Instant)| with != connections || at.elapsed() > OFFER_AGAIN;
            if offered.is_none_or(is_old) {
                self.offer(ticket, parts, stop).await?;
                offered = Some((connections, Instant::now()));
            } else if let Some(done) = self.result(ticket.chunk, ticket.attempt).await? {
                return Ok(Some(done));
            }
            tokio::select! {
                // What rings may be a moment early: it is sent when it is stored.
                () = bell.notified() => pause = SHORT,
                () = stop.notify.notified() => {}
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(2)),
            }
            if !alone_is_told && began.elapsed() > ALONE {
                alone_is_told = true;
                self.tell_if_alone().await;
            }
        }
    }

    /// Says so if nobody has taken a chunk.
    async fn tell_if_alone(&self) {
        if self.has_worker.swap(true, Relaxed) {
            return;
        }
        let Ok(mut consumer) = self.server.consumer(self.setup.lease).await else {
            return;
        };
        if let Ok(info) = consumer.info().await
            && info.num_waiting == 0
            && info.num_ack_pending == 0
        {
            (self.tell)(&format!(
                "no worker has come for the job {job} yet; start some, here or on other hosts: pipewright worker {url} --name {job} -- COMMAND",
                job = self.server.job,
                url = super::connect::without_secrets(&self.setup.login.url),
            ));
        }
    }

    /// Fetches what a run wrote.
    async fn fetch(&self, done: &Done, stream: &str, store: &Store) -> Result<Chunk> {
        let (length, crc) = if stream == "stdout" {
            done.stdout
        } else {
            done.stderr
        };
        let subject = |piece| self.server.job.output(&done.run, stream, piece);
        fetch(&self.server, Kind::Results, length, crc, subject, store).await
    }
}

/// Fetches pieces and makes them one. Whatever the record says, there is never more here than the pieces
/// that were found.
pub(crate) async fn fetch(
    server: &Server,
    kind: Kind,
    length: u64,
    crc: u32,
    subject: impl Fn(u64) -> String,
    store: &Store,
) -> Result<Chunk> {
    let damaged = || Error::Damaged {
        subject: subject(0),
    };
    let mut chunk = store.chunk().map_err(Error::Store)?;
    let mut pieces = stream::iter(Pieces::of(length).ranges().map(|(piece, range)| {
        let subject = subject(piece);
        async move {
            let bytes = server.get(kind, &subject).await?;
            Ok::<_, Error>(bytes.filter(|bytes| bytes.len() as u64 == range.end - range.start))
        }
    }))
    .buffered(FETCHES);
    let mut sum = 0;
    while let Some(piece) = pieces.try_next().await? {
        let piece = piece.ok_or_else(damaged)?;
        sum = crc32c::crc32c_append(sum, &piece);
        chunk.append_bytes(&piece).map_err(Error::Store)?;
    }
    if sum != crc {
        return Err(damaged());
    }
    Ok(chunk)
}

/// Speaks up as this job's coordinator, and finds out whether another one does.
async fn alone(server: &Server) -> Result<()> {
    let mut asked = subscribe(server, server.job.coordinator()).await?;
    let inbox = server.client.new_inbox();
    let mut answers = subscribe(server, inbox.clone()).await?;
    let host = rustix::system::uname();
    let me = format!(
        "process {} on {}",
        std::process::id(),
        host.nodename().to_string_lossy()
    );
    let client = server.client.clone();
    let text = Bytes::from(me.clone());
    tokio::spawn(async move {
        while let Some(message) = asked.next().await {
            if let Some(reply) = message.reply {
                let _ = client.publish(reply, text.clone()).await;
            }
        }
    });
    let refused = |why: String| Error::Refused {
        what: "take a message",
        why,
    };
    let ask = server
        .client
        .publish_with_reply(server.job.coordinator(), inbox, Bytes::new());
    ask.await.map_err(|error| refused(error.to_string()))?;
    server
        .client
        .flush()
        .await
        .map_err(|error| refused(error.to_string()))?;
    let until = tokio::time::Instant::now() + ANOTHER;
    while let Ok(Some(answer)) = tokio::time::timeout_at(until, answers.next()).await {
        if answer.payload != me.as_bytes() {
            let who = String::from_utf8_lossy(&answer.payload[..answer.payload.len().min(200)]);
            return Err(Error::Busy(server.job.clone(), who.into_owned()));
        }
    }
    Ok(())
}

pub(crate) async fn subscribe(server: &Server, subject: String) -> Result<async_nats::Subscriber> {
    server
        .client
        .subscribe(subject)
        .await
        .map_err(|error| Error::Refused {
            what: "send us messages",
            why: error.to_string(),
        })
}

/// A command line, for people.
pub(crate) fn shown(argv: &[Vec<u8>]) -> String {
    let words: Vec<_> = argv
        .iter()
        .map(|word| String::from_utf8_lossy(word))
        .collect();
    words.join(" ").chars().take(200).collect()
}

/// Reads a range of parts that stand one behind the other.
fn read(parts: &[&Chunk], from: u64, to: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut start = 0;
    for part in parts {
        let end = start + part.len();
        let (first, last) = (from.max(start), to.min(end));
        if first < last {
            let more = part
                .read(first - start, last - start)
                .map_err(Error::Store)?;
            if bytes.is_empty() {
                bytes = more;
            } else {
                bytes.extend(more);
            }
        }
        start = end;
    }
    Ok(bytes)
}

/// The SHA-256 of a chunk, and the CRC-32C of it with what comes before.
fn sums(parts: &[&Chunk]) -> Result<([u8; 32], u32)> {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    let mut crc = 0;
    for (number, part) in parts.iter().enumerate() {
        for (_, range) in Pieces::of(part.len()).ranges() {
            let bytes = part.read(range.start, range.end).map_err(Error::Store)?;
            crc = crc32c::crc32c_append(crc, &bytes);
            if number + 1 == parts.len() {
                hash.update(&bytes);
            }
        }
    }
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(hash.finish().as_ref());
    Ok((sha256, crc))
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What ends the wait for a result.
#[derive(Default)]
struct StopFlag {
    set: AtomicBool,
    notify: Notify,
}

impl StopFlag {
    fn is_set(&self) -> bool {
        self.set.load(Relaxed)
    }
}

impl Stop for StopFlag {
    fn stop(&self) {
        self.set.store(true, Relaxed);
        self.notify.notify_one();
    }
}

/// A chunk that is run by whoever takes it.
struct Away {
    runtime: Arc<Runtime>,
    shared: Arc<Shared>,
    chunk: u64,
    store: Store,
    stop: Arc<StopFlag>,
    began: Instant,
}

impl Started for Away {
    fn stop(&self) -> Arc<dyn Stop> {
        Arc::clone(&self.stop) as Arc<dyn Stop>
    }

    fn finish(self: Box<Self>, parts: &[&Chunk]) -> pipewright_workers::Result<Ended> {
        let Self {
            shared,
            chunk,
            store,
            stop,
            ..
        } = &*self;
        let ended = self.runtime.block_on(async {
            let Some(done) = shared.run(*chunk, parts, stop).await? else {
                return Ok(None);
            };
            let output = shared.fetch(&done, "stdout", store).await?;
            let stderr = shared.fetch(&done, "stderr", store).await?;
            if matches!(done.how, How::Status(_)) {
                let input = shared.server.job.input(*chunk, None);
                shared.server.remove(Kind::Input, &input).await?;
            }
            if let How::Lost(times) = done.how
                && lock(&shared.lost).insert(*chunk, done.clone()).is_none()
            {
                (shared.tell)(&format!(
                    "chunk {} was taken {times} times, and no worker came back",
                    chunk + 1
                ));
            }
            Ok::<_, Error>(Some((done, output, stderr)))
        });
        let Some((done, output, stderr)) = ended.map_err(elsewhere)? else {
            return Ok(Ended {
                end: End::Signal(9),
                output: store.chunk().map_err(pipewright_workers::Error::Store)?,
                stderr: None,
                left_input: false,
                time: Duration::ZERO,
                on_core: Duration::ZERO,
                start: Duration::ZERO,
            });
        };
        let [time, on_core, fixed] = done.microseconds.map(Duration::from_micros);
        Ok(Ended {
            end: done.how.end(),
            output,
            stderr: Some(stderr),
            left_input: done.left_input,
            time: time.min(self.began.elapsed()),
            on_core,
            start: fixed,
        })
    }
}

fn elsewhere(error: Error) -> pipewright_workers::Error {
    pipewright_workers::Error::Elsewhere(Box::new(error))
}

impl Runner for Coordinator {
    fn known_length(&self, number: u64) -> pipewright_workers::Result<Option<u64>> {
        let known = self.shared.known(number);
        self.runtime.block_on(known).map_err(elsewhere)
    }

    fn input_ended(&self, chunks: u64) -> pipewright_workers::Result<()> {
        if let Some(last) = chunks.checked_sub(1) {
            self.shared.last.store(last, Relaxed);
        }
        let known = self.shared.known(chunks);
        match self.runtime.block_on(known).map_err(elsewhere)? {
            Some(_) => Err(elsewhere(Mismatch::Shorter { chunk: chunks }.into())),
            None => Ok(()),
        }
    }

    fn start(&self, number: u64, store: &Store) -> pipewright_workers::Result<Box<dyn Started>> {
        Ok(Box::new(Away {
            runtime: Arc::clone(&self.runtime),
            shared: Arc::clone(&self.shared),
            chunk: number,
            store: store.clone(),
            stop: Arc::default(),
            began: Instant::now(),
        }))
    }

    fn failed(&self, number: u64, parts: &[&Chunk], end: End) {
        let Setup { job, failed_to, .. } = &self.shared.setup;
        let name = format!("{job}-chunk-{}", number + 1);
        let how = match end {
            End::Status(status) => format!("with status {status}"),
            End::Signal(signal) => format!("by signal {signal}"),
        };
        let kept = keep(&failed_to.join(&name), parts)
            .or_else(|_| keep(&std::env::temp_dir().join(&name), parts));
        let kept = match kept {
            Ok(path) => format!("its input is kept in {}", path.display()),
            Err(error) => format!("its input could not be kept: {error}"),
        };
        (self.shared.tell)(&format!(
            "chunk {} failed on its workers {how}; {kept}",
            number + 1
        ));
    }
}

/// Writes what a run has read to a file.
fn keep(path: &Path, parts: &[&Chunk]) -> Result<PathBuf> {
    let mut file = std::fs::File::create(path).map_err(Error::Store)?;
    let length = parts.iter().map(|part| part.len()).sum();
    for (_, range) in Pieces::of(length).ranges() {
        let bytes = read(parts, range.start, range.end)?;
        file.write_all(&bytes).map_err(Error::Store)?;
    }
    Ok(path.to_owned())
}

/// Bytes as a word or a variable.
pub(crate) fn os(bytes: &[u8]) -> OsString {
    OsStr::from_bytes(bytes).to_owned()
}
