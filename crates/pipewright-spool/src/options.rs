//! How a spool is kept.

use std::time::Duration;

/// When bytes are brought to the disk.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Sync {
    /// When the kernel likes: they survive the death of any process.
    #[default]
    None,
    /// Before readers get them: what lies below [`Progress::durable`](crate::Progress::durable) survives a power cut.
    Disk,
}

/// What happens to segments that all readers have acknowledged.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Retain {
    /// They stay: the spool is a recording.
    #[default]
    Everything,
    /// They are removed: the spool is a buffer.
    Unread,
}

/// How a spool is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// When bytes are brought to the disk.
    pub sync: Sync,
    /// What happens to segments that were read.
    pub retain: Retain,
    /// The most bytes that segments may hold; the writer waits for readers then.
    pub limit: Option<u64>,
    /// The bytes of a segment. A quarter of the limit, if that is less.
    pub segment: u64,
    /// The most bytes that are made durable, and given to readers, at a time.
    pub group: u64,
    /// The longest that bytes wait for more before that.
    pub delay: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sync: Sync::default(),
            retain: Retain::default(),
            limit: None,
            segment: 64 << 20,
            group: 8 << 20,
            delay: Duration::from_millis(50),
        }
    }
}

impl Options {
    pub(crate) fn segment_bytes(&self) -> u64 {
        let quarter = self.limit.map_or(u64::MAX, |limit| limit / 4);
        self.segment.min(quarter).max(1)
    }
}
