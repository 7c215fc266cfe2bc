//! The half that stands in the pipeline: chunks go out to the server, results come back.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use pipewright_workers::{Chunk, Stop, Store};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use super::carried::{fetch, lock, read, shown, sums};
use super::connect::Login;
use super::error::{Error, Result};
use super::ledger::Ledger;
use super::messages::{Cut, Done, Job, Ticket};
use super::monitor::Durability;
use super::names::{JobName, Kind};
use super::pieces::Pieces;
use super::server::{Put, Server, UNDER_WAY};

/// How long a coordinator waits for another one of the same job to speak up.
const ANOTHER: Duration = Duration::from_millis(300);

/// A job without workers is told of after so long.
const ALONE: Duration = Duration::from_secs(5);

/// A chunk whose result is not there is offered again after so long: a server whose machine lost power may
/// have lost it.
const OFFER_AGAIN: Duration = Duration::from_secs(60);

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
    pub(super) runtime: Arc<Runtime>,
    pub(super) shared: Arc<Shared>,
    durability: Durability,
}

pub(super) struct Shared {
    pub(super) server: Server,
    pub(super) setup: Setup,
    pub(super) ledger: Mutex<Ledger>,
    /// One more chunk was compared with what an earlier run has cut.
    compared: Notify,
    /// Once no cut stands on the server, none behind it does.
    pub(super) first_fresh: AtomicU64,
    /// The chunk that the input has ended with.
    pub(super) last: AtomicU64,
    /// Who waits for the result of which chunk.
    pub(super) waiting: Mutex<BTreeMap<u64, Arc<Notify>>>,
    /// One chunk after the other is put on the server, so that one is whole whatever room there is.
    pub(super) offering: tokio::sync::Mutex<()>,
    /// A result has come.
    pub(super) has_worker: AtomicBool,
    /// Chunks that have ended their workers: no more are given to them.
    pub(super) lost: Mutex<BTreeMap<u64, Done>>,
    /// Runs whose results were there.
    pub(super) found: AtomicU64,
    /// What the user is to know.
    pub(super) tell: Box<dyn Fn(&str) + Send + Sync>,
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

    /// Says that the job is over, and deletes it. One that is kept leaves its results, for a coordinator
    /// that is to find them, and nothing that a worker would wait at.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub fn end(self, keep: bool) -> Result<()> {
        let server = &self.shared.server;
        self.runtime.block_on(async {
            let over: &[Kind] = if keep {
                &[Kind::Work, Kind::Input]
            } else {
                &Kind::ALL
            };
            server.delete_streams(over).await?;
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
            server.delete_streams(&Kind::ALL).await?;
        }
        server.make_streams(setup.in_flight, setup.replicas).await?;
        server.consumer(setup.lease).await?;
        let job = Job {
            argv: setup
                .argv
                .iter()
                .map(|word| word.as_bytes().to_vec())
                .collect(),
            environment: crate::environment::of_this_process(),
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
            compared: Notify::new(),
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
    pub(super) async fn known(&self, chunk: u64) -> Result<Option<u64>> {
        if chunk >= self.first_fresh.load(Relaxed) {
            return Ok(None);
        }
        match self
            .server
            .get_record::<Cut>(&self.server.job.cut(chunk))
            .await?
        {
            // What is longer was not cut with as much room as there is now, or is not ours.
            Some(cut) if cut.length > self.setup.in_flight => {
                Err(self.too_large(chunk, cut.length))
            }
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

    fn too_large(&self, chunk: u64, length: u64) -> Error {
        Error::TooLarge {
            chunk,
            length,
            most: self.setup.in_flight,
        }
    }

    /// Puts on the server what of a chunk is not there, and its ticket behind it.
    async fn offer(&self, ticket: &Ticket, parts: &[&Chunk], stop: &StopFlag) -> Result<()> {
        let _turn = self.offering.lock().await;
        let job = &self.server.job;
        // A message has its subject and more with it.
        let pieces = Pieces::of(ticket.length);
        if ticket.length + (pieces.count() << 10) > self.setup.in_flight {
            return Err(self.too_large(ticket.chunk, ticket.length));
        }
        let put = |(piece, range): (u64, Range<u64>)| async move {
            let bytes = Bytes::from(read(parts, range.start, range.end)?);
            let subject = job.input(ticket.chunk, Some(piece));
            // No room: workers make some.
            while !stop.is_set()
                && self.server.put_once(&subject, bytes.clone()).await? == Put::Full
            {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(20)) => {}
                    () = stop.notify.notified() => {}
                }
            }
            Ok::<_, Error>(())
        };
        let puts = stream::iter(pieces.ranges().map(put));
        puts.buffer_unordered(UNDER_WAY).try_collect::<()>().await?;
        if stop.is_set() {
            return Ok(());
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
    pub(super) async fn run(
        &self,
        chunk: u64,
        parts: &[&Chunk],
        stop: &StopFlag,
    ) -> Result<Option<Done>> {
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
        if is_fresh && !self.all_are_compared(stop).await {
            return Ok(None);
        }
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
        } else if !is_fresh {
            // The server has lost it.
            lock(&self.ledger).compare(chunk, &cut, &cut)?;
        }
        self.compared.notify_waiters();
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

    /// Waits until the input was found to have all that an earlier run has cut; `false` when that was
    /// stopped, as it is when one differs.
    async fn all_are_compared(&self, stop: &StopFlag) -> bool {
        loop {
            let compared = self.compared.notified();
            if stop.is_set() {
                return false;
            }
            if lock(&self.ledger).all_are_compared() {
                return true;
            }
            tokio::select! {
                () = compared => {}
                () = stop.notify.notified() => {}
            }
        }
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
    pub(super) async fn fetch(&self, done: &Done, stream: &str, store: &Store) -> Result<Chunk> {
        let (length, crc) = if stream == "stdout" {
            done.stdout
        } else {
            done.stderr
        };
        let subject = |piece| self.server.job.output(&done.run, stream, piece);
        fetch(&self.server, Kind::Results, length, crc, subject, store).await
    }
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

/// What ends the wait for a result.
#[derive(Default)]
pub(super) struct StopFlag {
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
