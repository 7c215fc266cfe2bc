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
    /// The bytes of a segment. A quarter of the limit, if that is less; and a 32nd of what is held, if that
    /// is more, so that there are never many.
    pub segment: u64,
    /// The most bytes that are made durable, and given to readers, at a time.
    pub group: u64,
    /// The time between two such groups where fewer bytes come; what comes later than that after the last
    /// group waits for nothing.
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
    /// The bytes of the next segment, where so many are held.
    pub(crate) fn segment_bytes(&self, held: u64) -> u64 {
        let quarter = self.limit.map_or(u64::MAX, |limit| limit / 4);
        self.segment.max(held / 32).min(quarter).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those of a spool without a name are open all the time, and few may be.
    #[test]
    fn segments_stay_few_however_much_is_held() {
        let options = Options::default();
        let (mut held, mut segments) = (0, 0);
        while held < 1 << 40 {
            held += options.segment_bytes(held);
            segments += 1;
        }
        assert!(segments < 250, "{segments} segments hold {held} bytes");
    }

    #[test]
    fn a_segment_is_a_quarter_of_a_small_limit_and_never_nothing() {
        let bytes = |limit| {
            let limit = Some(limit);
            Options {
                limit,
                ..Options::default()
            }
            .segment_bytes(u64::MAX)
        };
        assert_eq!([bytes(1 << 20), bytes(3), bytes(0)], [1 << 18, 1, 1]);
    }
}
