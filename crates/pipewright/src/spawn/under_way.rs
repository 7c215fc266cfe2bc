//! The starts that are under way in this process: made, but not yet executing their program.
//!
//! Nobody waits for one without a limit: the kernel may keep an exec waiting for as long as it likes,
//! on a file system that does not answer.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior};

struct Starts {
    /// The process that this was counted in: after a fork elsewhere, nothing of it is under way.
    process: i32,
    next: u64,
    running: Vec<u64>,
    /// How many of them change credentials.
    changing: usize,
    /// This process's memory was dumpable before the first of those.
    dumpable: bool,
    waiting: usize,
}

static STARTS: Mutex<Starts> = Mutex::new(Starts {
    process: 0,
    next: 0,
    running: Vec::new(),
    changing: 0,
    dumpable: false,
    waiting: 0,
});

/// One has ended, while somebody waits for it.
static ENDED: Condvar = Condvar::new();

fn starts() -> MutexGuard<'static, Starts> {
    STARTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One start, from before its clone until its child has left this process's memory.
pub(super) struct UnderWay {
    number: u64,
    changes_credentials: bool,
}

impl UnderWay {
    /// Counts one more, in the process of this number.
    ///
    /// When a child changes credentials, the kernel marks the memory that it shares with this process
    /// as not dumpable; that is what keeps another process of the new user from tracing the child,
    /// and so from reaching into this process. The last such child to leave takes the mark back.
    pub(super) fn new(process: i32, changes_credentials: bool) -> Self {
        let mut starts = starts();
        if starts.process != process {
            starts.process = process;
            starts.running.clear();
            starts.changing = 0;
        }
        if changes_credentials {
            if starts.changing == 0 {
                starts.dumpable = matches!(dumpable_behavior(), Ok(DumpableBehavior::Dumpable));
            }
            starts.changing += 1;
        }
        let number = starts.next;
        starts.next += 1;
        starts.running.push(number);
        Self {
            number,
            changes_credentials,
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut starts = starts();
        starts.running.retain(|number| *number != self.number);
        if self.changes_credentials {
            starts.changing = starts.changing.saturating_sub(1);
            if starts.changing == 0 && starts.dumpable {
                // It cannot fail with a value that was in force before.
                let _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
            }
        }
        if starts.waiting > 0 {
            ENDED.notify_all();
        }
    }
}

/// The starts that were under way at some moment. Until it executes its program, the child of each
/// has a copy of every descriptor that was open here when it was made.
#[derive(Debug)]
pub(crate) struct Earlier {
    before: u64,
    until: Instant,
}

impl Earlier {
    /// Longer than any start takes that is not stuck in the kernel.
    const PATIENCE: Duration = Duration::from_secs(2);

    /// Those of this moment.
    pub(crate) fn now() -> Self {
        Self {
            before: starts().next,
            until: Instant::now() + Self::PATIENCE,
        }
    }

    fn is_running(&self, starts: &Starts) -> bool {
        starts.running.iter().any(|number| *number < self.before)
    }

    /// Tells whether all of them are over, or have taken so long that they must be stuck.
    pub(crate) fn is_over(&self) -> bool {
        self.until <= Instant::now() || !self.is_running(&starts())
    }

    /// Waits until that is so.
    pub(super) fn wait(&self) {
        let mut starts = starts();
        starts.waiting += 1;
        let left = self.until.saturating_duration_since(Instant::now());
        let waited = ENDED.wait_timeout_while(starts, left, |starts| self.is_running(starts));
        waited.unwrap_or_else(PoisonError::into_inner).0.waiting -= 1;
    }
}
