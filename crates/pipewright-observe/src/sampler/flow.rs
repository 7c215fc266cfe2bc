//! How many bytes went through a pipe, from counters that may not count them: pure.
//!
//! A process's counters are an upper bound of what it moved through one pipe, as long as it reads
//! and writes: they add up all its descriptors. So of the two sides the smaller figure is nearer to
//! the truth. A process that splices moves bytes past its counters, and then the smaller figure is
//! wrong. Three things give it away: it was seen in `splice`; the pipe was seen to take or give more
//! bytes than were counted; it ran and counted nothing at all while the other side counted plenty.

use crate::pipe::PipeLevel;

/// Bytes that a process reads before its own program begins, mostly the loader's.
const LOADER_NOISE: u64 = 64 * 1024;

/// The counters of the processes at one end of a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Bytes counted; `None` where this user may not know.
    pub(crate) bytes: Option<u64>,
    /// Seen in `splice` or `tee`.
    pub(crate) splices: bool,
    /// Some process of that side was seen running.
    pub(crate) ran: bool,
}

/// Bytes that must have gone in and out, from the changes of a pipe's level: a lower bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    last: Option<u64>,
    pub(crate) into: u64,
    pub(crate) out_of: u64,
}

impl Passed {
    /// Takes note of one more look at the pipe.
    pub(crate) fn look(&mut self, level: Option<PipeLevel>) {
        // With its reader gone a pipe's bytes may vanish rather than be read.
        let now = level
            .filter(|level| !level.reader_gone)
            .map(|level| level.unread);
        if let (Some(before), Some(now)) = (self.last, now) {
            self.into += now.saturating_sub(before);
            self.out_of += before.saturating_sub(now);
        }
        self.last = now;
    }

    /// Starts a new interval. The next look is its first: what happened between the last look and
    /// the reading of the counters belongs to neither.
    pub(crate) fn restart(&mut self) {
        *self = Self::default();
    }
}

/// The worth of one side's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worth {
    /// An upper bound of the bytes.
    Bound(u64),
    /// Zero, from a side that ran: idle, or splicing all the time.
    Doubtful,
    Nothing,
}

impl Counted {
    fn worth(self, seen: u64) -> Worth {
        match self.bytes {
            None => Worth::Nothing,
            Some(_) if self.splices => Worth::Nothing,
            Some(bytes) if bytes < seen => Worth::Nothing,
            Some(0) if self.ran => Worth::Doubtful,
            Some(bytes) => Worth::Bound(bytes),
        }
    }
}

/// Bytes that went through the pipe, or `None` where nobody can tell.
pub(crate) fn through(writers: Counted, readers: Counted, passed: Passed) -> Option<u64> {
    match (writers.worth(passed.into), readers.worth(passed.out_of)) {
        (Worth::Bound(written), Worth::Bound(read)) => Some(written.min(read)),
        (Worth::Bound(bytes), Worth::Nothing) | (Worth::Nothing, Worth::Bound(bytes)) => {
            Some(bytes)
        }
        // The other side counted next to nothing too: then zero is plausible.
        (Worth::Bound(bytes), Worth::Doubtful) | (Worth::Doubtful, Worth::Bound(bytes)) => {
            (bytes <= LOADER_NOISE).then_some(0)
        }
        (Worth::Doubtful | Worth::Nothing, Worth::Doubtful | Worth::Nothing) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(bytes: u64) -> Counted {
        Counted {
            bytes: Some(bytes),
            splices: false,
            ran: true,
        }
    }

    fn level(unread: u64) -> Option<PipeLevel> {
        Some(PipeLevel {
            unread,
            capacity: 65536,
            full: false,
            reader_gone: false,
        })
    }

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_smaller_counter_is_nearer_to_the_truth() {
        assert_eq!(
            through(counted(5 * MIB), counted(7 * MIB), Passed::default()),
            Some(5 * MIB)
        );
        assert_eq!(
            through(counted(9 * MIB), counted(7 * MIB), Passed::default()),
            Some(7 * MIB)
        );
    }

    #[test]
    fn a_side_that_splices_is_left_to_the_other_side() {
        let splicing = Counted {
            splices: true,
            ..counted(12)
        };
        assert_eq!(
            through(splicing, counted(7 * MIB), Passed::default()),
            Some(7 * MIB)
        );
        assert_eq!(through(splicing, splicing, Passed::default()), None);
    }

    #[test]
    fn a_counter_below_what_the_pipe_took_is_not_believed() {
        let mut passed = Passed::default();
        for unread in [0, 4096, 0, 8192] {
            passed.look(level(unread));
        }
        assert_eq!((passed.into, passed.out_of), (12288, 4096));
        let idle = Counted {
            ran: false,
            ..counted(0)
        };
        assert_eq!(through(idle, idle, passed), None);
        assert_eq!(through(counted(20_000), idle, passed), Some(20_000));
    }

    #[test]
    fn two_idle_sides_mean_zero_and_not_unknown() {
        let idle = Counted {
            ran: false,
            ..counted(0)
        };
        assert_eq!(through(idle, idle, Passed::default()), Some(0));
        assert_eq!(through(counted(0), idle, Passed::default()), Some(0));
    }

    #[test]
    fn two_sides_that_run_and_count_nothing_are_unknown() {
        assert_eq!(through(counted(0), counted(0), Passed::default()), None);
        assert_eq!(through(counted(0), counted(MIB), Passed::default()), None);
    }

    #[test]
    fn counters_that_may_not_be_read_are_unknown_and_not_zero() {
        let hidden = Counted {
            bytes: None,
            splices: false,
            ran: false,
        };
        assert_eq!(through(hidden, hidden, Passed::default()), None);
        assert_eq!(through(hidden, counted(5), Passed::default()), Some(5));
    }

    #[test]
    fn bytes_that_vanish_with_the_last_reader_were_not_read() {
        let mut passed = Passed::default();
        passed.look(level(4096));
        passed.look(Some(PipeLevel {
            unread: 0,
            capacity: 65536,
            full: false,
            reader_gone: true,
        }));
        assert_eq!(passed.out_of, 0);
    }
}
