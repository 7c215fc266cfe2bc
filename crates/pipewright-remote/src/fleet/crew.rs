//! The places as their threads share them: who is there, who runs what, what has come back. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use pipewright_workers::{Ended, Store};

use super::choice::{Load, Pace, idlest};
use super::setup::{Place, Told};
use super::words::{Ask, PIECE};
use crate::messages;

/// So many bytes wait for a host's link before whoever has more waits, too.
const QUEUE: usize = 4 * PIECE;

/// Where a place is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stand {
    /// It was not heard of yet, or not yet compared with this host.
    Coming,
    There,
    /// This very host.
    Here,
    Lost,
}

/// Whether a place was ever used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Use {
    Never,
    Used,
    /// All is over.
    Over,
}

/// One place.
#[derive(Debug)]
pub(super) struct Member {
    stand: Stand,
    /// It has answered.
    answered: bool,
    asked: Option<usize>,
    slots: usize,
    running: usize,
    pace: Pace,
    chunks: u64,
    on_core: Duration,
    /// The start of a run there, and the way there and back.
    start: Duration,
    queue: VecDeque<Vec<u8>>,
    queued: usize,
}

impl Member {
    fn new(stand: Stand, asked: Option<usize>, slots: usize) -> Self {
        Self {
            stand,
            answered: stand == Stand::Here,
            asked,
            slots,
            running: 0,
            pace: Pace::default(),
            chunks: 0,
            on_core: Duration::ZERO,
            start: Duration::ZERO,
            queue: VecDeque::new(),
            queued: 0,
        }
    }

    /// A host that is being connected to.
    pub(super) fn coming(asked: Option<usize>) -> Self {
        Self::new(Stand::Coming, asked, 0)
    }

    /// This host.
    pub(super) fn here(slots: usize) -> Self {
        Self::new(Stand::Here, None, slots)
    }

    fn load(&self) -> Load {
        Load {
            slots: if self.stand == Stand::Coming {
                0
            } else {
                self.slots
            },
            running: self.running,
            pace: self.pace.per_byte(),
        }
    }
}

/// What came back of a run.
pub(super) enum Outcome {
    Ended(Ended),
    /// The place is lost, or was short of something.
    Lost,
}

/// A run on a host, whose answer has not come.
struct Pending {
    place: usize,
    store: Store,
    /// Somebody waits for the answer.
    wanted: bool,
}

/// Where a run is to be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Slot {
    Here(usize),
    There(usize),
}

/// The first bytes of the input, and what the command makes of them here.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) bytes: Vec<u8>,
    pub(super) end: pipewright_workers::End,
    pub(super) output: Vec<u8>,
}

/// Whether it is known.
#[derive(Clone, Debug)]
pub(super) enum Sampled {
    No,
    /// Somebody runs the command.
    Soon,
    There(Arc<Sample>),
}

/// All places, and all runs on them.
pub(super) struct Crew {
    members: Vec<Member>,
    /// How many runs at once this host has, where it has to do everything.
    cores: usize,
    pending: BTreeMap<u64, Pending>,
    outcomes: BTreeMap<u64, Outcome>,
    next_run: u64,
    pace: Pace,
    /// So many wait for a place.
    pub(super) waiting: usize,
    pub(super) sampled: Sampled,
    is_over: bool,
    was_stopped: bool,
}

impl Crew {
    pub(super) fn new(members: Vec<Member>, cores: usize) -> Self {
        Self {
            members,
            cores,
            pending: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            next_run: 0,
            pace: Pace::default(),
            waiting: 0,
            sampled: Sampled::No,
            is_over: false,
            was_stopped: false,
        }
    }

    fn is_with(&self, member: &Member) -> bool {
        member.stand != Stand::Lost && member.answered
    }

    /// Tells whether some place can be used, as far as is known.
    pub(super) fn has_any(&self) -> bool {
        self.members.iter().any(|member| self.is_with(member))
    }

    /// Tells whether some other host may still have something to do with this.
    pub(super) fn is_any_host_left(&self) -> bool {
        let mut members = self.members.iter();
        members.any(|member| matches!(member.stand, Stand::Coming | Stand::There))
    }

    /// Tells whether some host has not answered yet.
    pub(super) fn is_any_coming(&self) -> bool {
        let mut members = self.members.iter();
        members.any(|member| member.stand == Stand::Coming && !member.answered)
    }

    /// How many runs there may be at once; a host that nobody has heard of counts as one of so many.
    pub(super) fn slots(&self, unheard: usize) -> usize {
        let slots = |member: &Member| match member.stand {
            Stand::Lost => 0,
            Stand::Coming if !member.answered => member.asked.unwrap_or(unheard),
            _ => member.slots,
        };
        self.members.iter().map(slots).sum()
    }

    /// A host has answered, and has so many cores.
    pub(super) fn answered(&mut self, place: usize, cores: usize) {
        let member = &mut self.members[place];
        member.answered = true;
        member.slots = member.asked.unwrap_or(cores.max(1));
    }

    /// A host does what this one does; a run there takes so long before it reads.
    pub(super) fn proven(&mut self, place: usize, start: Duration) {
        let member = &mut self.members[place];
        if member.stand == Stand::Coming {
            member.stand = Stand::There;
            member.start = start;
        }
    }

    /// A place is lost, and so is what it had. Tells whether it was used, and whether others are left.
    pub(super) fn lose(&mut self, place: usize) -> (Use, bool) {
        let member = &mut self.members[place];
        let was_used = match member.stand {
            _ if self.is_over => Use::Over,
            Stand::Lost => Use::Over,
            Stand::Coming => Use::Never,
            Stand::There | Stand::Here => Use::Used,
        };
        member.stand = Stand::Lost;
        member.queue.clear();
        member.queued = 0;
        member.running = 0;
        let lost: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, run)| run.place == place)
            .map(|(run, _)| *run)
            .collect();
        for run in lost {
            if self.pending.remove(&run).is_some_and(|run| run.wanted) {
                self.outcomes.insert(run, Outcome::Lost);
            }
        }
        let are_left = self.members.iter().any(|it| it.stand != Stand::Lost);
        (was_used, are_left)
    }

    /// Tells whether a place is lost.
    pub(super) fn is_lost(&self, place: usize) -> bool {
        self.members[place].stand == Stand::Lost
    }

    /// Takes a slot of the idlest place, but for this one; `None` while there is none.
    pub(super) fn take_slot(&mut self, but: Option<usize>) -> Option<Slot> {
        if self.members.iter().all(|it| it.stand == Stand::Lost) {
            // This host does it all.
            self.members.push(Member::here(self.cores));
        }
        let loads = self.members.iter().map(Member::load).enumerate();
        let loads = loads
            .filter(|(place, _)| self.members[*place].stand != Stand::Lost && Some(*place) != but);
        let place = idlest(loads)?;
        self.members[place].running += 1;
        Some(match self.members[place].stand {
            Stand::Here => Slot::Here(place),
            _ => Slot::There(place),
        })
    }

    /// Gives a slot of this host back.
    pub(super) fn left(&mut self, place: usize, bytes: u64, ended: Option<&Ended>) {
        let member = &mut self.members[place];
        member.running -= 1;
        if let Some(ended) = ended {
            self.count(place, bytes, ended.time, ended.on_core);
        }
    }

    fn count(&mut self, place: usize, bytes: u64, time: Duration, on_core: Duration) {
        let member = &mut self.members[place];
        member.chunks += 1;
        member.on_core += on_core;
        member.pace.add(bytes, time);
        self.pace.add(bytes, time);
    }

    /// Begins a run at a place whose slot was taken.
    pub(super) fn begin(&mut self, place: usize, store: Store) -> u64 {
        let run = self.next_run;
        self.next_run += 1;
        if self.is_lost(place) {
            self.outcomes.insert(run, Outcome::Lost);
        } else {
            let wanted = true;
            self.pending.insert(
                run,
                Pending {
                    place,
                    store,
                    wanted,
                },
            );
        }
        run
    }

    /// Begins the run on the sample, which has no slot.
    pub(super) fn begin_sample(&mut self, place: usize, store: Store) -> u64 {
        self.members[place].running += 1;
        self.begin(place, store)
    }

    /// Where the output of a run is to be kept; `None` for one that nobody knows.
    pub(super) fn store_of(&self, run: u64) -> Option<Store> {
        let pending = self.pending.get(&run).filter(|run| run.wanted)?;
        Some(pending.store.clone())
    }

    /// An answer has come.
    pub(super) fn came(&mut self, run: u64, outcome: Outcome) {
        let Some(pending) = self.pending.remove(&run) else {
            return;
        };
        let running = &mut self.members[pending.place].running;
        *running = running.saturating_sub(1);
        if pending.wanted {
            self.outcomes.insert(run, outcome);
        }
    }

    /// A host was short of something: it gets less from now on. Tells whether anything is left of it.
    pub(super) fn was_short(&mut self, place: usize) -> bool {
        let slots = &mut self.members[place].slots;
        *slots = slots.saturating_sub(1);
        *slots > 0
    }

    /// Takes what came of a run.
    pub(super) fn take_outcome(&mut self, run: u64) -> Option<Outcome> {
        self.outcomes.remove(&run)
    }

    /// The result of a run counts.
    pub(super) fn counts(&mut self, place: usize, bytes: u64, ended: &mut Ended, took: Duration) {
        self.count(place, bytes, took, ended.on_core);
        ended.time = took;
        ended.start = ended.start.max(self.members[place].start);
    }

    /// Nobody waits for a run any more. Its slot is free when the host has said so.
    pub(super) fn abandon(&mut self, run: u64) {
        self.outcomes.remove(&run);
        if let Some(pending) = self.pending.get_mut(&run) {
            pending.wanted = false;
            let place = pending.place;
            self.was_stopped = true;
            self.put(place, messages::write(&Ask::Stop { run }));
        }
    }

    /// Tells whether a run is so late that another place may try as well: nobody else needs one.
    pub(super) fn is_late(&self, bytes: u64, elapsed: Duration) -> bool {
        self.waiting == 0 && self.pace.is_late(bytes, elapsed)
    }

    /// Tells whether there is room for more words to a host.
    pub(super) fn has_room(&self, place: usize) -> bool {
        self.members[place].queued < QUEUE
    }

    /// Puts bytes on their way to a host.
    pub(super) fn put(&mut self, place: usize, bytes: Vec<u8>) {
        let member = &mut self.members[place];
        if member.stand != Stand::Lost {
            member.queued += bytes.len();
            member.queue.push_back(bytes);
        }
    }

    /// Takes the next bytes for a host.
    pub(super) fn next_bytes(&mut self, place: usize) -> Option<Vec<u8>> {
        let member = &mut self.members[place];
        let bytes = member.queue.pop_front()?;
        member.queued -= bytes.len();
        Some(bytes)
    }

    /// All is over; tells whether something was called off.
    pub(super) fn end(&mut self) -> bool {
        self.is_over = true;
        self.was_stopped
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// What each place has done; this host may have come to help.
    pub(super) fn told(&self, places: &[Place]) -> Vec<Told> {
        let names = places.iter().map(Place::name);
        let names = names.chain(std::iter::repeat("this host"));
        let told = self.members.iter().zip(names).map(|(member, name)| Told {
            place: name.to_owned(),
            slots: member.slots,
            chunks: member.chunks,
            on_core: member.on_core,
        });
        told.collect()
    }
}
