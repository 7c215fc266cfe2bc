//! What can go wrong between a job and its server.

use std::io;

use super::connect::LoginError;
use super::ledger::Mismatch;
use super::messages::NotOurs;
use super::names::JobName;

/// Why a job could not be done, or not to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server cannot be reached, or does not let us in.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// The server did not answer for too long. The job stays where it is.
    #[error(
        "no answer from the NATS server for {seconds} s, while pipewright was to {what}: {why}; start the same command again to go on with what is done"
    )]
    Lost {
        /// What was tried.
        what: &'static str,
        /// How long it was tried.
        seconds: u64,
        /// The last answer.
        why: String,
    },
    /// The server refuses.
    #[error("the NATS server refuses to {what}: {why}")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// What the server says.
        why: String,
    },
    /// Another coordinator is at work.
    #[error(
        "the job {0} is being done: {1} has begun it; give another --name, or end that one first"
    )]
    Busy(JobName, String),
    /// The job has another command.
    #[error(
        "the job {job} on this server runs {theirs}, not {ours}: give the same command, or another --name, or begin anew (--anew)"
    )]
    OtherCommand {
        /// The job.
        job: JobName,
        /// Its command.
        theirs: String,
        /// The command here.
        ours: String,
    },
    /// The input is another.
    #[error(transparent)]
    Input(#[from] Mismatch),
    /// The job is gone: somebody has deleted its streams.
    #[error("the job {0} is gone from the server: somebody has deleted its streams")]
    Gone(JobName),
    /// A chunk is larger than all that may lie on the server.
    #[error(
        "chunk {} has {length} bytes, and no more than {most} may lie on the server: make chunks smaller (--block) or allow more (--memory)", .chunk + 1
    )]
    TooLarge {
        /// The chunk, from 0 up.
        chunk: u64,
        /// Its length, in bytes.
        length: u64,
        /// What may lie on the server.
        most: u64,
    },
    /// A message that nobody of us wrote, or that was damaged.
    #[error("the message {subject} on the server cannot be right: {why}")]
    NotOurs {
        /// Its subject.
        subject: String,
        /// Why.
        why: NotOurs,
    },
    /// Some bytes are not those that were written.
    #[error("the bytes of {subject} on the server are not those that were written there")]
    Damaged {
        /// Whose bytes.
        subject: String,
    },
    /// Some bytes are not there.
    #[error("{subject} is not on the server: it was lost there, or somebody has removed it")]
    Missing {
        /// Whose bytes.
        subject: String,
    },
    /// There is no room here for a chunk.
    #[error("cannot keep a chunk here")]
    Store(#[source] io::Error),
    /// The command cannot be run here.
    #[error(transparent)]
    Run(pipewright_workers::Error),
    /// No runtime for the connection.
    #[error("cannot make a thread for the connection to NATS")]
    Threads(#[source] io::Error),
}

/// The result of what a job does.
pub type Result<T> = std::result::Result<T, Error>;
