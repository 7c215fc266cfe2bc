//! The word by which the descendants of one child are known, wherever they go.

use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{getpid, set_child_subreaper};

/// By what the descendants of one child can be known, besides their parents.
#[derive(Debug, Clone, Default)]
pub(crate) struct Descent {
    /// A word in the environment of the child, and so of its descendants.
    pub(crate) marker: Option<String>,
    /// It leads a process group.
    pub(crate) leads_group: bool,
}

/// Makes this process a subreaper and gives the word for one more tree.
pub(crate) fn new_marker() -> rustix::io::Result<String> {
    static TREES: AtomicU64 = AtomicU64::new(0);
    static SALT: OnceLock<u64> = OnceLock::new();
    // Random, since numbers of processes come again and environments outlive their process.
    let salt = SALT.get_or_init(|| RandomState::new().hash_one(()));
    set_child_subreaper(Some(getpid()))?;
    let tree = TREES.fetch_add(1, Ordering::Relaxed);
    Ok(format!("{}-{salt:016x}-{tree}", getpid().as_raw_pid()))
}

/// The variable for a child whose tree has this word. It keeps the words of the trees that this
/// process is in.
pub(crate) fn variable(marker: &str) -> (OsString, OsString) {
    let mut words = std::env::var_os(VARIABLE).unwrap_or_default();
    if !words.is_empty() {
        words.push(" ");
    }
    words.push(marker);
    (VARIABLE.into(), words)
}

/// The variable that marks a tree. Its value is a list of words, one for each tree that the process
/// belongs to.
pub(super) const VARIABLE: &str = "PIPEWRIGHT_TREE";
