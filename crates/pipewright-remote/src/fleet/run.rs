//! One chunk on its way through the fleet: sent to a host, and to another one if that is lost or late.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pipewright_workers::{Chunk, End, Ended, Error, Result, Started, Stop, Store};

use super::crew::{Outcome, Sample, Sampled, Slot};
use super::shared::Shared;
use super::words::{Ask, PIECE};
use crate::messages;

/// How long nobody looks whether a run is late.
const LOOK: Duration = Duration::from_millis(100);

/// The most bytes by which hosts are compared with this one.
const SAMPLE: u64 = 64 << 10;

/// A run that has no place yet.
pub(super) struct Run {
    shared: Arc<Shared>,
    store: Store,
    stop: Arc<StopFlag>,
}

/// What ends the wait for a result.
struct StopFlag {
    set: AtomicBool,
    /// A run that is made here.
    here: Mutex<Option<Arc<dyn Stop>>>,
    shared: Arc<Shared>,
}

impl StopFlag {
    fn is_set(&self) -> bool {
        self.set.load(Relaxed)
    }
}

impl Stop for StopFlag {
    fn stop(&self) {
        let here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        self.set.store(true, Relaxed);
        if let Some(here) = &*here {
            here.stop();
        }
        // Whoever waits looks at the flag with the crew locked.
        drop(self.shared.crew());
        self.shared.changed.notify_all();
    }
}

/// A run on a host.
struct Attempt {
    place: usize,
    run: u64,
    began: Instant,
}

/// What an attempt came to.
enum Tried {
    Ended(Ended),
    /// All are lost.
    Lost,
    /// Another place has time for it.
    Late(Slot),
    Stopped,
}

impl Run {
    pub(super) fn new(shared: &Arc<Shared>, store: &Store) -> Self {
        let stop = Arc::new(StopFlag {
            set: AtomicBool::new(false),
            here: Mutex::new(None),
            shared: Arc::clone(shared),
        });
        Self {
            shared: Arc::clone(shared),
            store: store.clone(),
            stop,
        }
    }

    /// Waits for a place; `None` when it was stopped.
    fn take_slot(&self) -> Option<Slot> {
        let mut crew = self.shared.crew();
        crew.waiting += 1;
        let slot = loop {
            if self.stop.is_set() {
                break None;
            }
            if let Some(slot) = crew.take_slot(None) {
                break Some(slot);
            }
            crew = self.shared.wait(crew, Duration::from_secs(60));
        };
        crew.waiting -= 1;
        slot
    }

    fn run_here(&self, place: usize, parts: &[&Chunk]) -> Result<Ended> {
        let result = self.shared.here.start(0, &self.store).and_then(|started| {
            *self
                .stop
                .here
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(started.stop());
            if self.stop.is_set() {
                started.stop().stop();
            }
            started.finish(parts)
        });
        let ended = result.as_ref().ok();
        self.shared
            .keep(|crew| crew.left(place, length_of(parts), ended));
        result
    }

    /// Begins a run at a place, and sends it its input.
    fn attempt(&self, place: usize, parts: &[&Chunk]) -> Result<Attempt> {
        let began = Instant::now();
        let run = self.shared.crew().begin(place, self.store.clone());
        let attempt = Attempt { place, run, began };
        for part in parts {
            let mut from = 0;
            while from < part.len() {
                let to = part.len().min(from + PIECE as u64);
                let bytes = part.read(from, to).map_err(Error::Store)?;
                if !self.send(place, run, &bytes) {
                    return Ok(attempt);
                }
                from = to;
            }
        }
        let word = messages::write(&Ask::Run { run });
        self.shared.keep(|crew| crew.put(place, word));
        Ok(attempt)
    }

    /// Puts a piece on its way once there is room; false when that is of no use any more.
    fn send(&self, place: usize, run: u64, bytes: &[u8]) -> bool {
        let length = bytes.len() as u32;
        let word = messages::write(&Ask::Piece { run, length });
        let words = [&word[..], bytes].concat();
        let mut crew = self.shared.crew();
        while !crew.has_room(place) {
            if crew.is_lost(place) || self.stop.is_set() {
                return false;
            }
            crew = self.shared.wait(crew, Duration::from_secs(60));
        }
        crew.put(place, words);
        drop(crew);
        self.shared.changed.notify_all();
        true
    }

    /// Waits for the first result of these, or for a reason to begin another.
    fn wait(&self, attempts: &mut Vec<Attempt>, bytes: u64) -> Tried {
        let mut crew = self.shared.crew();
        loop {
            if self.stop.is_set() {
                return Tried::Stopped;
            }
            for index in (0..attempts.len()).rev() {
                let Attempt { place, run, began } = attempts[index];
                match crew.take_outcome(run) {
                    Some(Outcome::Ended(mut ended)) => {
                        crew.counts(place, bytes, &mut ended, began.elapsed());
                        attempts.remove(index);
                        return Tried::Ended(ended);
                    }
                    Some(Outcome::Lost) => drop(attempts.remove(index)),
                    None => {}
                }
            }
            let [first, ..] = &attempts[..] else {
                return Tried::Lost;
            };
            if attempts.len() == 1
                && crew.is_late(bytes, first.began.elapsed())
                && let Some(slot) = crew.take_slot(Some(first.place))
            {
                return Tried::Late(slot);
            }
            crew = self.shared.wait(crew, LOOK);
        }
    }

    /// Finds out what the command makes of the first bytes here, if nobody has.
    fn sample(&self, parts: &[&Chunk]) -> Result<()> {
        let mut crew = self.shared.crew();
        if !matches!(crew.sampled, Sampled::No) {
            return Ok(());
        }
        crew.sampled = Sampled::Soon;
        drop(crew);
        let mut bytes = Vec::new();
        for part in parts {
            let left = SAMPLE.saturating_sub(bytes.len() as u64);
            bytes.extend(part.read(0, part.len().min(left)).map_err(Error::Store)?);
        }
        if length_of(parts) > bytes.len() as u64
            && let Some(cut) = self.shared.setup.records.last_cut(&bytes)
        {
            bytes.truncate(cut);
        }
        let mut chunk = self.shared.store.chunk().map_err(Error::Store)?;
        chunk.append_bytes(&bytes).map_err(Error::Store)?;
        let started = self.shared.here.start(0, &self.shared.store)?;
        let ended = started.finish(&[&chunk])?;
        let output = ended.output.read(0, ended.output.len());
        let sample = Sample {
            bytes,
            end: ended.end,
            output: output.map_err(Error::Store)?,
        };
        self.shared
            .keep(|crew| crew.sampled = Sampled::There(Arc::new(sample)));
        Ok(())
    }

    fn stopped(&self) -> Result<Ended> {
        Ok(Ended {
            end: End::Signal(9),
            output: self.store.chunk().map_err(Error::Store)?,
            stderr: None,
            left_input: false,
            time: Duration::ZERO,
            on_core: Duration::ZERO,
            start: Duration::ZERO,
        })
    }
}

impl Started for Run {
    fn stop(&self) -> Arc<dyn Stop> {
        Arc::clone(&self.stop) as Arc<dyn Stop>
    }

    fn finish(self: Box<Self>, parts: &[&Chunk]) -> Result<Ended> {
        self.sample(parts)?;
        let bytes = length_of(parts);
        let mut attempts = Vec::new();
        let mut next = None;
        let result = loop {
            let slot = match next.take() {
                Some(slot) => slot,
                None => match self.take_slot() {
                    Some(slot) => slot,
                    None => break self.stopped(),
                },
            };
            match slot {
                Slot::Here(place) => break self.run_here(place, parts),
                Slot::There(place) => attempts.push(self.attempt(place, parts)?),
            }
            match self.wait(&mut attempts, bytes) {
                Tried::Ended(ended) => break Ok(ended),
                Tried::Lost => {}
                Tried::Late(slot) => next = Some(slot),
                Tried::Stopped => break self.stopped(),
            }
        };
        // The others are of no use any more.
        if !attempts.is_empty() {
            self.shared.keep(|crew| {
                for attempt in &attempts {
                    crew.abandon(attempt.run);
                }
            });
        }
        result
    }
}

fn length_of(parts: &[&Chunk]) -> u64 {
    parts.iter().map(|part| part.len()).sum()
}
