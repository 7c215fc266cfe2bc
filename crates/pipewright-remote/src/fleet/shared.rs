//! What the threads of a fleet share.

use std::os::unix::ffi::OsStrExt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pipewright_workers::{Runner, Store};

use super::crew::{Crew, Use};
use super::setup::FleetSetup;
use super::words::Ask;
use crate::environment;
use crate::shared::Bell;

/// What the threads share.
pub(super) struct Shared {
    pub(super) setup: FleetSetup,
    pub(super) crew: Mutex<Crew>,
    pub(super) changed: Condvar,
    /// For the first bytes, by which hosts are compared with this one.
    pub(super) store: Store,
    pub(super) here: Box<dyn Runner>,
    /// All is to end, at once.
    pub(super) quit: Bell,
    pub(super) tell: Box<dyn Fn(&str) + Send + Sync>,
}

impl Shared {
    pub(super) fn crew(&self) -> MutexGuard<'_, Crew> {
        self.crew.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change, for so long at most.
    pub(super) fn wait<'a>(
        &self,
        crew: MutexGuard<'a, Crew>,
        most: Duration,
    ) -> MutexGuard<'a, Crew> {
        let waited = self.changed.wait_timeout(crew, most);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Changes what is shared, and tells everybody.
    pub(super) fn keep<T>(&self, change: impl FnOnce(&mut Crew) -> T) -> T {
        let kept = change(&mut self.crew());
        self.changed.notify_all();
        kept
    }

    /// Takes a place out, and tells why.
    pub(super) fn lose(&self, place: usize, why: &str) {
        let name = self.setup.places[place].name();
        let (was_used, are_left) = self.keep(|crew| crew.lose(place));
        if was_used == Use::Over {
            return;
        }
        let then = match (was_used, are_left) {
            (Use::Never, _) => "",
            (_, true) => "; its chunks run elsewhere",
            (_, false) => "; no other is left, and the rest runs here",
        };
        (self.tell)(&format!("{name} is not used: {why}{then}"));
    }

    /// The first word to each host.
    pub(super) fn job(&self) -> Ask {
        Ask::Job {
            argv: self
                .setup
                .argv
                .iter()
                .map(|word| word.as_bytes().to_vec())
                .collect(),
            environment: environment::of_this_process(),
            memory: self.setup.memory,
        }
    }
}
