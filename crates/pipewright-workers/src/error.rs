//! What can go wrong with the workers themselves.

use std::io;

/// Why a stage could not be run by workers, or not to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command cannot be started; nothing was given.
    #[error(transparent)]
    Start(pipewright::Error),
    /// The input cannot be read.
    #[error("cannot read the input of the workers")]
    Read(#[source] io::Error),
    /// The output cannot be written.
    #[error("cannot write the output of the workers")]
    Write(#[source] io::Error),
    /// There is no room for the chunks that are in flight.
    #[error("cannot keep a chunk in memory or in {}: give TMPDIR a file system with room, or fewer workers (-j) or smaller chunks (--block)", std::env::temp_dir().display())]
    Store(#[source] io::Error),
    /// The outputs cannot be merged.
    #[error("cannot merge the outputs of the workers: {0}")]
    Merge(String),
}

/// The result of running workers.
pub type Result<T> = std::result::Result<T, Error>;
