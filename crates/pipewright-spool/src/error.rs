//! What can go wrong with a spool, and what to do about it.

use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// A spool that does not work, or is not what it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something that had been durable is no longer there as it was written. Nothing was changed.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// Another process has the spool open.
    #[error("another process is using {0}: wait until it has ended, or use another directory")]
    InUse(String),
    /// The directory cannot be locked, and two processes that write to one spool would destroy it.
    #[error("cannot lock {name}: use a directory on a local disk, where there is flock(2)")]
    Lock {
        /// The directory.
        name: String,
        #[source]
        /// What the kernel said.
        source: io::Error,
    },
    /// The directory holds files, and none of a spool.
    #[error(
        "{0} holds files that are no spool's: give an empty directory, or one that does not exist"
    )]
    NotASpool(String),
    /// The file system has no room. Nothing is lost: the same call may be made again.
    #[error("no room left to write {name}")]
    NoRoom {
        /// The file that could not grow.
        name: String,
        #[source]
        /// What the kernel said.
        source: io::Error,
    },
    /// The spool holds as much as its limit allows. Nothing is lost: the same call may be made again
    /// once a reader has acknowledged more.
    #[error("the spool is full: its readers are behind by its limit")]
    Full,
    /// The stream has been ended; nothing can be written behind its end.
    #[error("the stream in this spool is complete: it ends at byte {0}")]
    Complete(u64),
    /// The kernel could not bring bytes to the disk. Nobody knows which are there, so nothing more is
    /// written; what lies below the durable offset is safe.
    #[error(
        "cannot sync {name}: nothing more is written, for nobody knows what reached the disk; \
         dmesg may tell what is wrong with it"
    )]
    Sync {
        /// The file.
        name: String,
        #[source]
        /// What the kernel said.
        source: io::Error,
    },
    /// A sync failed before.
    #[error("a sync of this spool has failed: nothing more is written")]
    Poisoned,
    /// One file more would be too many.
    #[error("cannot open {name}: {}", too_many(*.limit))]
    TooManyFiles {
        /// The file.
        name: String,
        /// How many this process may have open; `None` where it is the machine that has too many.
        limit: Option<u64>,
        #[source]
        /// What the kernel said.
        source: io::Error,
    },
    /// A file of the spool cannot be read or opened.
    #[error("cannot read {name}")]
    Read {
        /// The file.
        name: String,
        #[source]
        /// What the kernel said.
        source: io::Error,
    },
    /// A file of the spool cannot be written or made.
    #[error("cannot write {name}")]
    Write {
        /// The file.
        name: String,
        #[source]
        /// What the kernel said.
        source: io::Error,
    },
    /// A name for a reader that cannot be part of a file name.
    #[error("{0:?} cannot name a reader: give letters, digits and -")]
    ReaderName(String),
}

impl Error {
    pub(crate) fn read(name: &str, source: io::Error) -> Self {
        let name = name.to_owned();
        match Errno::from_io_error(&source) {
            Some(Errno::MFILE | Errno::NFILE) => Self::too_many_files(name, source),
            _ => Self::Read { name, source },
        }
    }

    pub(crate) fn write(name: &str, source: io::Error) -> Self {
        let name = name.to_owned();
        match Errno::from_io_error(&source) {
            Some(Errno::MFILE | Errno::NFILE) => Self::too_many_files(name, source),
            _ if is_full(source.kind()) => Self::NoRoom { name, source },
            _ => Self::Write { name, source },
        }
    }

    fn too_many_files(name: String, source: io::Error) -> Self {
        let is_own = Errno::from_io_error(&source) == Some(Errno::MFILE);
        let limit = is_own.then(|| getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX));
        Self::TooManyFiles {
            name,
            limit,
            source,
        }
    }

    pub(crate) fn sync(name: &str, source: io::Error) -> Self {
        let name = name.to_owned();
        Self::Sync { name, source }
    }
}

fn is_full(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn too_many(limit: Option<u64>) -> String {
    match limit {
        Some(limit) => format!("this process may have {limit} files open: allow more (ulimit -n)"),
        None => "the machine has as many files open as it may: close some, or raise fs.file-max"
            .to_owned(),
    }
}

/// Where a spool is damaged.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{file} is damaged at byte {offset}: {what} there is not as it was written; restore the file from a copy"
)]
pub struct Damage {
    /// The file's name in the spool.
    pub file: String,
    /// The offset in the file, in bytes.
    pub offset: u64,
    /// What is not as it was.
    pub what: &'static str,
}

impl Damage {
    pub(crate) fn new(file: &str, offset: u64, what: &'static str) -> Self {
        let file = file.to_owned();
        Self { file, offset, what }
    }
}

/// The result of using a spool.
pub type Result<T> = std::result::Result<T, Error>;
