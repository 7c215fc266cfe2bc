//! The server, as a place where things are put once, and found again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{
    Config, DirectGetErrorKind, DiscardPolicy, RetentionPolicy, Stream,
};
use async_nats::jetstream::{Context, ErrorCode};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::error::{Error, Result};
use super::messages::{decode, encode};
use super::names::{JobName, Kind};

/// Publishes under way at once. A server that syncs each message does so one after the other: more make
/// it slower.
pub(crate) const UNDER_WAY: usize = 2;

/// How a put ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// It is there, by this put.
    Stored,
    /// Something was there.
    Taken,
    /// There is no room now.
    Full,
}

/// What the server says to a put.
enum Answer {
    Put(Put),
    /// Try again.
    Later(String),
    /// It will not.
    Never(String),
}

/// One job on a server.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) client: async_nats::Client,
    context: Context,
    pub(crate) job: JobName,
    patience: Duration,
    under_way: Arc<Semaphore>,
    /// How often the connection was made.
    pub(crate) connected: Arc<AtomicU64>,
}

/// Pauses between attempts, longer each time, as long as there is patience.
struct Attempts {
    began: Instant,
    pause: Duration,
    patience: Duration,
    what: &'static str,
}

impl Attempts {
    async fn again(&mut self, why: String) -> Result<()> {
        if self.began.elapsed() >= self.patience {
            return Err(Error::Lost {
                what: self.what,
                seconds: self.began.elapsed().as_secs(),
                why,
            });
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(Duration::from_secs(1));
        Ok(())
    }
}

impl Server {
    pub(crate) fn new(
        client: async_nats::Client,
        connected: Arc<AtomicU64>,
        job: JobName,
        patience: Duration,
    ) -> Self {
        Self {
            context: async_nats::jetstream::ContextBuilder::new()
                .timeout(Duration::from_secs(5))
                .ack_timeout(Duration::from_secs(10))
                .build(client.clone()),
            client,
            job,
            patience,
            under_way: Arc::new(Semaphore::new(UNDER_WAY)),
            connected,
        }
    }

    /// How often the connection was made so far.
    pub(crate) fn connections(&self) -> u64 {
        self.connected.load(Relaxed)
    }

    fn attempts(&self, what: &'static str) -> Attempts {
        Attempts {
            began: Instant::now(),
            pause: Duration::from_millis(10),
            patience: self.patience,
            what,
        }
    }

    /// Makes the streams of the job, where they are not there.
    pub(crate) async fn make_streams(&self, in_flight: u64, replicas: usize) -> Result<()> {
        for kind in [Kind::Results, Kind::Input, Kind::Work] {
            let config = Config {
                name: self.job.stream(kind),
                subjects: self.job.subjects(kind),
                retention: match kind {
                    Kind::Work => RetentionPolicy::WorkQueue,
                    Kind::Input | Kind::Results => RetentionPolicy::Limits,
                },
                discard: DiscardPolicy::New,
                max_bytes: match kind {
                    Kind::Input => i64::try_from(in_flight).unwrap_or(i64::MAX),
                    Kind::Work | Kind::Results => -1,
                },
                num_replicas: replicas,
                allow_direct: true,
                description: Some("a job of pipewright".to_owned()),
                ..Config::default()
            };
            let mut attempts = self.attempts("make the job's streams");
            loop {
                match self.context.get_or_create_stream(config.clone()).await {
                    Ok(_) => break,
                    Err(error) => match error.kind() {
                        CreateStreamErrorKind::TimedOut | CreateStreamErrorKind::Response => {
                            attempts.again(error.to_string()).await?;
                        }
                        _ => {
                            return Err(Error::Refused {
                                what: "make the job's streams",
                                why: error.to_string(),
                            });
                        }
                    },
                }
            }
        }
        Ok(())
    }

    /// Deletes streams of the job, in this order; those that are not there are no fault.
    pub(crate) async fn delete_streams(&self, kinds: &[Kind]) -> Result<()> {
        for &kind in kinds {
            let mut attempts = self.attempts("delete the job's streams");
            while self.stream_is_there(kind).await? {
                if let Err(error) = self.context.delete_stream(self.job.stream(kind)).await {
                    attempts.again(error.to_string()).await?;
                }
            }
        }
        Ok(())
    }

    pub(crate) async fn stream_is_there(&self, kind: Kind) -> Result<bool> {
        let mut attempts = self.attempts("find the job's streams");
        loop {
            let error = match self.context.get_stream(self.job.stream(kind)).await {
                Ok(_) => return Ok(true),
                Err(error) => error,
            };
            match error.kind() {
                GetStreamErrorKind::JetStream(problem)
                    if problem.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    return Ok(false);
                }
                GetStreamErrorKind::JetStream(problem) if problem.code() < 500 => {
                    return Err(Error::Refused {
                        what: "find the job's streams",
                        why: error.to_string(),
                    });
                }
                _ => attempts.again(error.to_string()).await?,
            }
        }
    }

    async fn stream(&self, kind: Kind) -> Result<Stream<()>> {
        let name = self.job.stream(kind);
        let stream = self.context.get_stream_no_info(name).await;
        stream.map_err(|error| Error::Refused {
            what: "find the job's streams",
            why: error.to_string(),
        })
    }

    /// Puts bytes where nothing is. It is tried until there is an answer: an answer that was lost is seen
    /// as [`Put::Taken`] the next time.
    pub(crate) async fn put_once(&self, subject: &str, payload: Bytes) -> Result<Put> {
        let mut attempts = self.attempts("put something on the server");
        loop {
            let answer = {
                let _turn = self.under_way.acquire().await;
                self.try_put(subject, payload.clone()).await
            };
            match answer {
                Answer::Put(put) => return Ok(put),
                Answer::Never(why) => {
                    return Err(Error::Refused {
                        what: "take a message",
                        why,
                    });
                }
                Answer::Later(why) => {
                    if why == NO_STREAM && !self.stream_is_there(Kind::Results).await? {
                        return Err(Error::Gone(self.job.clone()));
                    }
                    attempts.again(why).await?;
                }
            }
        }
    }

    async fn try_put(&self, subject: &str, payload: Bytes) -> Answer {
        let message = PublishMessage::build()
            .payload(payload)
            .expected_last_subject_sequence(0);
        let sent = match self.context.send_publish(subject.to_owned(), message).await {
            Ok(acknowledged) => acknowledged.await,
            Err(error) => Err(error),
        };
        let Err(error) = sent else {
            return Answer::Put(Put::Stored);
        };
        match error.kind() {
            PublishErrorKind::WrongLastSequence => Answer::Put(Put::Taken),
            PublishErrorKind::StreamNotFound => Answer::Later(NO_STREAM.to_owned()),
            PublishErrorKind::MaxPayloadExceeded => Answer::Never(error.to_string()),
            PublishErrorKind::Other => {
                let source = std::error::Error::source(&error);
                let problem =
                    source.and_then(|source| source.downcast_ref::<async_nats::jetstream::Error>());
                match problem.map(async_nats::jetstream::Error::error_code) {
                    Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT) => Answer::Put(Put::Taken),
                    Some(
                        ErrorCode::STREAM_STORE_FAILED
                        | ErrorCode::INSUFFICIENT_RESOURCES
                        | ErrorCode::STORAGE_RESOURCES_EXCEEDED
                        | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
                        | ErrorCode::STREAM_MAX_STREAM_BYTES_EXCEEDED,
                    ) => Answer::Put(Put::Full),
                    Some(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM) => {
                        Answer::Never(error.to_string())
                    }
                    _ => Answer::Later(error.to_string()),
                }
            }
            _ => Answer::Later(error.to_string()),
        }
    }

    /// Puts bytes where nothing is, and waits while there is no room, as long as there is patience.
    pub(crate) async fn put(&self, subject: &str, payload: Bytes) -> Result<Put> {
        let mut attempts = self.attempts("find room on the server (its store is full)");
        loop {
            match self.put_once(subject, payload.clone()).await? {
                Put::Full => attempts.again("there is no room".to_owned()).await?,
                put => return Ok(put),
            }
        }
    }

    /// Puts a record where nothing is.
    pub(crate) async fn put_record<T: Serialize>(&self, subject: &str, record: &T) -> Result<Put> {
        self.put(subject, encode(record).into()).await
    }

    /// Gets what lies under a subject.
    pub(crate) async fn get(&self, kind: Kind, subject: &str) -> Result<Option<Bytes>> {
        let stream = self.stream(kind).await?;
        let mut attempts = self.attempts("get something from the server");
        loop {
            match stream.direct_get_last_for_subject(subject).await {
                Ok(message) => return Ok(Some(message.payload)),
                Err(error) => match error.kind() {
                    DirectGetErrorKind::NotFound => return Ok(None),
                    _ => {
                        if !self.stream_is_there(kind).await? {
                            return Err(Error::Gone(self.job.clone()));
                        }
                        attempts.again(error.to_string()).await?;
                    }
                },
            }
        }
    }

    /// Gets a record.
    pub(crate) async fn get_record<T: DeserializeOwned>(&self, subject: &str) -> Result<Option<T>> {
        let Some(bytes) = self.get(Kind::Results, subject).await? else {
            return Ok(None);
        };
        decode(&bytes).map(Some).map_err(|why| Error::NotOurs {
            subject: subject.to_owned(),
            why,
        })
    }

    /// Removes all messages under a subject. What stays when the server does not answer goes with the
    /// stream.
    pub(crate) async fn remove(&self, kind: Kind, subject: &str) -> Result<()> {
        let stream = self.stream(kind).await?;
        let _ = stream.purge().filter(subject).await;
        Ok(())
    }

    /// The consumer that all workers share.
    pub(crate) async fn consumer(&self, lease: Duration) -> Result<PullConsumer> {
        let config = pull::Config {
            durable_name: Some("workers".to_owned()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: lease,
            max_deliver: -1,
            max_ack_pending: 100_000,
            ..pull::Config::default()
        };
        let stream = self.stream(Kind::Work).await?;
        let mut attempts = self.attempts("find the job's work");
        loop {
            match stream
                .get_or_create_consumer("workers", config.clone())
                .await
            {
                Ok(consumer) => return Ok(consumer),
                Err(error) => {
                    if !self.stream_is_there(Kind::Work).await? {
                        return Err(Error::Gone(self.job.clone()));
                    }
                    attempts.again(error.to_string()).await?;
                }
            }
        }
    }
}

/// Nobody takes what is put under the subject: no stream, or a server that is only just starting.
const NO_STREAM: &str = "no stream takes it";
