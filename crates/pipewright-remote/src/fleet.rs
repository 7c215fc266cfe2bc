//! Chunks of one stage, run on several hosts. What a lost host had is run elsewhere, and the first result of
//! a chunk counts.
//!
//! On each host one stage stands for the fleet, the `server` of chunks, so that what holds of any
//! stage there holds of it: the link may break, and nothing is left after the lease.

mod choice;
mod crew;
mod host;
mod run;
mod server;
mod setup;
mod shared;
mod words;

use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pipewright_workers::{Runner, Started, Store, on_behalf};

use crate::shared::Bell;
use crew::{Crew, Member};
use shared::Shared;

pub use host::Quit;
pub use server::run_chunks;
pub use setup::{FleetSetup, Place, Told, UnusableHosts};

/// Hosts that have not answered are waited for so long, once another one has.
const STRAGGLERS: Duration = Duration::from_secs(2);

/// A host is taken to have so many cores before it has said.
const CORES: usize = 4;

/// Hosts that run the chunks of one stage.
pub struct Fleet {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Fleet {
    /// Begins to connect to all hosts.
    ///
    /// `tell` gets sentences for the user.
    ///
    /// # Errors
    ///
    /// When this process may open no more files.
    pub fn begin(
        setup: FleetSetup,
        tell: impl Fn(&str) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let member = |place: &Place| match place.host {
            Some(_) => Member::coming(place.slots),
            None => Member::here(place.slots.unwrap_or(cores)),
        };
        let crew = Crew::new(setup.places.iter().map(member).collect(), cores);
        let shared = Arc::new(Shared {
            crew: Mutex::new(crew),
            changed: Condvar::new(),
            store: Store::new(setup.memory),
            here: Box::new(on_behalf(setup.argv.clone(), Vec::new())),
            quit: Bell::new()?,
            tell: Box::new(tell),
            setup,
        });
        let mut fleet = Self {
            shared: Arc::clone(&shared),
            threads: Vec::new(),
        };
        for (place, _) in (0..)
            .zip(&shared.setup.places)
            .filter(|(_, place)| place.host.is_some())
        {
            let own = Arc::clone(&shared);
            match std::thread::Builder::new().spawn(move || host::attend(&own, place)) {
                Ok(thread) => fleet.threads.push(thread),
                Err(error) => shared.lose(place, &format!("cannot make a thread: {error}")),
            }
        }
        Ok(fleet)
    }

    /// Waits for the hosts. Some may come later, and some never: why is told.
    ///
    /// # Errors
    ///
    /// [`UnusableHosts`] when no host has answered well. Nothing was run then.
    pub fn gather(&self) -> Result<(), UnusableHosts> {
        let shared = &self.shared;
        let mut until = None;
        let mut crew = shared.crew();
        while crew.is_any_coming() && until.is_none_or(|until| Instant::now() < until) {
            if crew.has_any() {
                until.get_or_insert_with(|| Instant::now() + STRAGGLERS);
            }
            crew = shared.wait(crew, Duration::from_millis(100));
        }
        crew.has_any().then_some(()).ok_or(UnusableHosts)
    }

    /// Gives how many runs there may be at once, on all hosts together.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.shared.crew().slots(CORES)
    }

    /// What ends everything on all hosts at once.
    #[must_use]
    pub fn quit(&self) -> Quit {
        Quit(Arc::clone(&self.shared))
    }

    /// Lets go of all hosts, and says what each has done. Nothing runs there any more then, or ends with the
    /// lease where a host cannot be reached.
    pub fn end(mut self) -> Vec<Told> {
        let told = self.shared.crew().told(&self.shared.setup.places);
        self.finish();
        told
    }

    fn finish(&mut self) {
        if self.threads.is_empty() {
            return;
        }
        const PATIENCE: Duration = Duration::from_secs(2);
        let are_done = |threads: &[JoinHandle<()>]| {
            let until = Instant::now() + PATIENCE;
            while threads.iter().any(|thread| !thread.is_finished()) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
            threads.iter().all(JoinHandle::is_finished)
        };
        // What was called off may have left something there.
        if self.shared.keep(Crew::end) || !are_done(&self.threads) {
            self.shared.quit.ring();
            // Who still waits for a link does so in vain, and this process is not held up by it.
            are_done(&self.threads);
        }
        self.threads.clear();
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Runner for Fleet {
    fn start(&self, _: u64, store: &Store) -> pipewright_workers::Result<Box<dyn Started>> {
        Ok(Box::new(run::Run::new(&self.shared, store)))
    }
}
