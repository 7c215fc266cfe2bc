//! Which pipe: the number of its inode.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The identity of an anonymous pipe: its inode number, unique on this kernel while it lives.
///
/// It prints as the kernel writes it: `pipe:[4711]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PipeId(pub u64);

impl PipeId {
    /// Reads the target of a link `/proc/PID/fd/N`; `None` if it is no anonymous pipe.
    #[doc(hidden)]
    pub fn from_link(link: &[u8]) -> Option<Self> {
        let inode = link.strip_prefix(b"pipe:[")?.strip_suffix(b"]")?;
        std::str::from_utf8(inode).ok()?.parse().ok().map(Self)
    }
}

impl fmt::Display for PipeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pipe:[{}]", self.0)
    }
}
