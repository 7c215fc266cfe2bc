//! What can go wrong with the workers themselves.

use std::io;

use rustix::io::Errno;

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
    /// A thread cannot be made.
    #[error("cannot make a thread for the workers: allow more processes (ulimit -u)")]
    Threads(#[source] io::Error),
    /// More chunks are open at once than this process may open files.
    #[error(
        "too many chunks are open at once: make them larger (--block), use fewer workers (-j), or allow more open files (ulimit -n)"
    )]
    Descriptors(#[source] io::Error),
    /// There is no room for the chunks that are in flight.
    #[error("cannot keep a chunk in memory or in {}: give TMPDIR a file system with room, or fewer workers (-j) or smaller chunks (--block)", std::env::temp_dir().display())]
    Store(#[source] io::Error),
    /// What runs the chunks elsewhere has failed.
    #[error(transparent)]
    Elsewhere(Box<dyn std::error::Error + Send + Sync>),
    /// The outputs cannot be merged.
    #[error("cannot merge the outputs of the workers: {0}")]
    Merge(String),
}

impl Error {
    /// A chunk cannot be kept.
    pub(crate) fn store(error: io::Error) -> Self {
        if is_out_of_descriptors(&error) {
            Self::Descriptors(error)
        } else {
            Self::Store(error)
        }
    }

    /// Tells whether there was no more of something that others, which run now, will give back.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Start(error) => error
                .raw_os_error()
                .is_some_and(|errno| PASSING.contains(&Errno::from_raw_os_error(errno))),
            Self::Descriptors(_) | Self::Threads(_) => true,
            _ => false,
        }
    }
}

const PASSING: [Errno; 4] = [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE];

fn is_out_of_descriptors(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE))
}

/// The result of running workers.
pub type Result<T> = std::result::Result<T, Error>;
