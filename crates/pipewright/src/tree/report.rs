//! What became of a tree: who was reached, and who was not.

use std::io;

use rustix::io::Errno;

#[cfg(doc)]
use crate::command::Command;

/// What became of a signal to a whole tree, or of the wait for its end.
///
/// ```
/// use std::time::Duration;
///
/// let child = pipewright::Command::new("sleep").arg("60").own_tree().spawn()?;
/// let report = child.kill_tree(Duration::from_secs(10))?;
/// assert_eq!(report.signalled, 1);
/// assert!(report.is_complete() && report.daemons_known);
/// for unreached in &report.unreached {
///     eprintln!("{unreached}");
/// }
/// # child.wait()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
#[must_use = "it tells which processes were not reached"]
#[non_exhaustive]
pub struct TreeReport {
    /// How many processes were found and signalled (or waited for), the children themselves too.
    pub signalled: usize,
    /// Those that were found and could not be signalled, or had not ended in the time given.
    pub unreached: Vec<Unreached>,
    /// Why the processes could not be listed, or not all of them; `None` if they were. The children
    /// themselves and the groups that they lead were signalled all the same, their other
    /// descendants perhaps not.
    pub unlisted: Option<io::Error>,
    /// Whether daemons were looked for as well: every child was started with
    /// [`Command::own_tree`]. If not, a process whose parent had ended may be left, unless it is in
    /// the process group that the child leads.
    pub daemons_known: bool,
}

impl TreeReport {
    /// Tells whether everything that can be known of the tree was listed and reached.
    pub fn is_complete(&self) -> bool {
        self.unreached.is_empty() && self.unlisted.is_none()
    }
}

/// A process of a tree that a signal did not reach or did not end: see [`TreeReport`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Unreached {
    /// Its number.
    pub pid: u32,
    /// Its name, at most 15 bytes, as the kernel has it.
    pub name: String,
    /// Why it could not be signalled. ETIMEDOUT: it had not ended in time. EACCES or EBUSY: it was
    /// adopted by this process, and whether it belongs to the tree cannot be told, because it runs
    /// as another user or keeps its memory from being read.
    pub source: io::Error,
}

impl Unreached {
    pub(super) fn new(pid: u32, name: &str, errno: Errno) -> Self {
        Self {
            pid,
            name: name.to_owned(),
            source: errno.into(),
        }
    }
}

impl std::fmt::Display for Unreached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { pid, name, source } = self;
        match Errno::from_io_error(source) {
            Some(Errno::TIMEDOUT) => write!(f, "{name} ({pid}) has not ended in time"),
            Some(Errno::ACCESS | Errno::BUSY) => {
                write!(
                    f,
                    "whether {name} ({pid}) belongs to the tree cannot be told: {source}"
                )
            }
            _ => write!(f, "{name} ({pid}) could not be signalled: {source}"),
        }
    }
}
