//! Finding the processes of a tree, and signalling them as they are found.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpgid, getpid};

use super::report::{TreeReport, Unreached};
use crate::child::Child;
use crate::descent::proc::{Handle, Key, Proc, Process, wait_any};
use crate::descent::words::{self, Answer};
use crate::descent::{Roots, contains, members};
use crate::error::Result;
use crate::poll::Deadline;

/// How long processes that were adopted are asked whether they belong.
const PATIENCE: Duration = Duration::from_secs(1);
const A_MOMENT: Duration = Duration::from_millis(20);

/// A child at which the tree begins. It is held by its pidfd from the start, so that it is reached
/// whatever `/proc` shows.
struct Root<'a> {
    child: &'a Child,
    /// As the kernel has it, once it was seen in `/proc`.
    name: String,
    reached: bool,
    refused: Option<Errno>,
}

/// A process of the tree that was found.
struct Member {
    /// `None` once it has ended.
    handle: Option<Handle>,
    name: String,
    /// Its status is nobody's but the one's who adopts it. A child that was started here, and is in
    /// another child's process group, has somebody who waits for it.
    orphan: bool,
}

/// One look after another at a tree.
pub(super) struct Search<'a> {
    roots: Vec<Root<'a>>,
    found: BTreeMap<Key, Member>,
    /// Everybody who was seen to belong. Their children belong, even if their parents have ended.
    known: BTreeSet<Key>,
    /// What this process has adopted, or started elsewhere, and does not belong.
    strangers: BTreeSet<Key>,
    /// Those that had ended before they were found, and whose parent, a member, had not taken their
    /// status. When that parent is killed they are this process's to reap.
    ended: BTreeMap<Key, Handle>,
    /// Of the latest look: those that could not be signalled, and why not all could be listed.
    refused: BTreeMap<Key, Unreached>,
    unlisted: Option<io::Error>,
}

impl<'a> Search<'a> {
    pub(super) fn new(children: &[&'a Child]) -> Self {
        let root = |child: &&'a Child| Root {
            child,
            name: short_name(child.program()),
            reached: false,
            refused: None,
        };
        Self {
            roots: children.iter().map(root).collect(),
            found: BTreeMap::new(),
            known: BTreeSet::new(),
            strangers: BTreeSet::new(),
            ended: BTreeMap::new(),
            refused: BTreeMap::new(),
            unlisted: None,
        }
    }

    /// For the tree of processes that somebody else has started.
    pub(super) fn for_orphans(known: BTreeSet<Key>) -> Self {
        Self {
            known,
            ..Self::new(&[])
        }
    }

    /// Finds the members that were not found before, signals each, and tells how many there were.
    /// Without a signal it only takes hold of them.
    pub(super) fn look(&mut self, signal: Option<Signal>, deadline: Deadline) -> usize {
        self.refused.clear();
        self.unlisted = None;
        let proc = Proc::own();
        let mut new = self.reach_roots(signal, proc.is_ok());
        match proc {
            Ok(proc) => new += self.reach_descendants(&Arc::new(proc), signal, deadline),
            Err(error) => self.unlisted = Some(error),
        }
        new
    }

    fn reach_roots(&mut self, signal: Option<Signal>, descendants_follow: bool) -> usize {
        let mut new = 0;
        for root in self.roots.iter_mut().filter(|root| !root.reached) {
            let child = root.child;
            // Where it cannot be asked, the signal finds out.
            if child.has_ended().unwrap_or(false) {
                continue;
            }
            let result = match signal {
                None => Ok(()),
                // Its group is all that can be reached besides. Each gets the signal once: the child
                // as one of the group, unless it has left it.
                Some(signal) if !descendants_follow && child.descent().leads_group => {
                    let is_in_it = is_in_own_group(child);
                    let group = child.send_to_group(signal);
                    if is_in_it && group.is_ok() {
                        group
                    } else {
                        child.send(signal)
                    }
                }
                Some(signal) => child.send(signal),
            };
            root.refused = result.err();
            root.reached = result.is_ok();
            new += usize::from(root.reached);
        }
        new
    }

    fn reach_descendants(
        &mut self,
        proc: &Arc<Proc>,
        signal: Option<Signal>,
        deadline: Deadline,
    ) -> usize {
        let (all, unlisted) = proc.processes();
        self.unlisted = unlisted;
        for root in &mut self.roots {
            if let Some(process) = all.iter().find(|it| it.pid as u32 == root.child.id()) {
                root.name.clone_from(&process.name);
            }
        }
        let mut new = self.reach_members(proc, &all, signal);
        // Now that everybody is stopped who is known without being asked.
        if self.ask_adopted(proc, &all, deadline) {
            new += self.reach_members(proc, &all, signal);
        }
        self.hold_ended(proc, &all);
        new
    }

    /// Signals the members among the processes that were not found before.
    fn reach_members(&mut self, proc: &Proc, all: &[Process], signal: Option<Signal>) -> usize {
        let numbers = self.numbers();
        let this = getpid().as_raw_pid();
        let mut new = 0;
        for process in members(all, &numbers, &self.known, this) {
            let key = process.key();
            if numbers.pids.contains(&process.pid) || self.found.contains_key(&key) {
                continue;
            }
            // What was known before its parent had ended is an orphan by now.
            let orphan = process.parent != this || self.known.contains(&key);
            if orphan {
                self.known.insert(key);
            }
            let reached = proc.open(process).and_then(|handle| {
                signal.map_or(Ok(()), |signal| handle.signal(signal, orphan))?;
                Ok(handle)
            });
            match reached {
                Ok(handle) => {
                    new += 1;
                    self.refused.remove(&key);
                    let member = Member {
                        handle: Some(handle),
                        name: process.name.clone(),
                        orphan,
                    };
                    self.found.insert(key, member);
                }
                Err(Errno::SRCH) => {}
                Err(errno) => self.refuse(process, errno),
            }
        }
        new
    }

    /// Asks those that this process has adopted whether they belong. True if one does.
    fn ask_adopted(&mut self, proc: &Arc<Proc>, all: &[Process], deadline: Deadline) -> bool {
        let markers: Vec<&str> = self.markers().collect();
        if markers.is_empty() {
            return false;
        }
        let this = getpid().as_raw_pid();
        let pids = self.numbers().pids;
        let is_open = |it: &&Process| {
            let key = it.key();
            it.parent == this
                && !it.zombie
                && !pids.contains(&it.pid)
                && !self.known.contains(&key)
                && !self.strangers.contains(&key)
        };
        let asked: Vec<&Process> = all.iter().filter(is_open).collect();
        if asked.is_empty() {
            return false;
        }
        let keys: Vec<Key> = asked.iter().map(|it| it.key()).collect();
        let (mut belong, mut strangers, mut hidden) = (Vec::new(), Vec::new(), Vec::new());
        let patience = Deadline::after(PATIENCE).or_before(deadline);
        // Without any time at all they are still asked.
        let patience = patience.or_after(Deadline::after(A_MOMENT));
        let stuck = words::ask(proc, &keys, patience, |key, answer| match answer {
            Answer::Words(words) if markers.iter().any(|it| contains(&words, it)) => {
                belong.push(key);
            }
            Answer::Words(_) => strangers.push(key),
            // Of another user: it may or may not belong.
            Answer::Hidden => hidden.push(key),
            Answer::Empty => {}
        });
        let found = !belong.is_empty();
        self.known.extend(belong);
        self.strangers.extend(strangers);
        for process in asked {
            if hidden.contains(&process.key()) {
                self.refuse(process, Errno::ACCESS);
            } else if stuck.contains(&process.key()) {
                self.refuse(process, Errno::BUSY);
            }
        }
        found
    }

    fn hold_ended(&mut self, proc: &Proc, all: &[Process]) {
        let parents: BTreeSet<i32> = self.found.keys().map(|(pid, _)| *pid).collect();
        let roots = self.numbers().pids;
        for process in all.iter().filter(|it| it.zombie) {
            let of_member = parents.contains(&process.parent) || roots.contains(&process.parent);
            if of_member && !self.found.contains_key(&process.key()) {
                let handle = proc.open(process).ok();
                self.ended
                    .extend(handle.map(|handle| (process.key(), handle)));
            }
        }
    }

    /// The children as they are now. A number counts only until its zombie was taken.
    fn numbers(&self) -> Roots {
        let mut numbers = Roots::default();
        for child in self.roots.iter().map(|root| root.child) {
            if child.holds_number() {
                let pid = child.id() as i32;
                numbers.pids.insert(pid);
                if child.descent().leads_group {
                    numbers.groups.insert(pid);
                }
            }
        }
        numbers
    }

    fn markers(&self) -> impl Iterator<Item = &'a str> + use<'a, '_> {
        let markers = self
            .roots
            .iter()
            .map(|it| it.child.descent().marker.as_deref());
        markers.flatten()
    }

    fn refuse(&mut self, process: &Process, errno: Errno) {
        let unreached = Unreached::new(process.pid as u32, &process.name, errno);
        self.refused.insert(process.key(), unreached);
    }

    /// Tells whether nobody who was signalled runs any more, or waits for something that could let
    /// it run.
    pub(super) fn all_stopped(&self) -> bool {
        let Ok(proc) = Proc::own() else { return true };
        let runs = |process: &Process| matches!(process.state, b'R' | b'S');
        let root_runs = |root: &Root<'_>| {
            let process = proc.process(root.child.id() as i32);
            // In this order: it had the number still when it was looked at.
            root.reached && process.as_ref().is_ok_and(runs) && root.child.holds_number()
        };
        let member_runs = |&(pid, started): &Key| {
            let process = proc.process(pid);
            process.is_ok_and(|process| process.started == started && runs(&process))
        };
        !self.roots.iter().any(root_runs) && !self.found.keys().any(member_runs)
    }

    /// Sends a signal to everybody who was reached.
    pub(super) fn signal_reached(&self, signal: Signal) {
        for child in self.roots.iter().map(|root| root.child) {
            if child.descent().leads_group {
                // A member of another user is found, and told of, by its own number.
                let _ = child.send_to_group(signal);
            }
        }
        // Each was signalled before, so it may be; or it has ended.
        for root in self.roots.iter().filter(|root| root.reached) {
            let _ = root.child.send(signal);
        }
        for member in self.found.values() {
            if let Some(handle) = &member.handle {
                let _ = handle.signal(signal, member.orphan);
            }
        }
    }

    /// Waits until one of those that were reached ends. Returns how many run still; at once where
    /// nobody does, or when the deadline has passed.
    pub(super) fn await_one(&mut self, deadline: Deadline) -> Result<usize> {
        let roots = self.roots.iter().filter(|root| root.reached);
        let roots: Vec<&Child> = roots.map(|root| root.child).collect();
        let mut pidfds = Vec::with_capacity(roots.len());
        for child in roots {
            if !child.has_ended()? {
                pidfds.push(child.as_fd());
            }
        }
        let (keys, handles): (Vec<Key>, Vec<&Handle>) = self.held().unzip();
        let running = pidfds.len() + handles.len();
        if running == 0 {
            return Ok(0);
        }
        let (ended, ended_roots) = wait_any(&handles, &pidfds, deadline)?;
        let ended_members: Vec<Key> = ended.into_iter().map(|index| keys[index]).collect();
        let left = running - ended_members.len() - ended_roots.len();
        for key in ended_members {
            if let Some(member) = self.found.get_mut(&key) {
                let handle = member.handle.take();
                // An orphan becomes this process's when its parent has ended: at the end.
                let orphan = handle.filter(|_| member.orphan);
                self.ended.extend(orphan.map(|handle| (key, handle)));
            }
        }
        Ok(left)
    }

    fn held(&self) -> impl Iterator<Item = (Key, &Handle)> {
        let held = self.found.iter();
        held.filter_map(|(key, member)| Some((*key, member.handle.as_ref()?)))
    }

    /// Takes the zombies that are nobody else's.
    pub(super) fn reap(&mut self) {
        for handle in std::mem::take(&mut self.ended).into_values() {
            handle.reap();
        }
    }

    /// Tells what came of it. Who was reached and runs is late, if `ends` says that it was to end.
    pub(super) fn report(mut self, ends: bool) -> TreeReport {
        let mut unreached = Vec::new();
        for root in &self.roots {
            let late = ends && root.reached && !root.child.has_ended().unwrap_or(false);
            let errno = root.refused.or(late.then_some(Errno::TIMEDOUT));
            unreached.extend(errno.map(|errno| Unreached::new(root.child.id(), &root.name, errno)));
        }
        if ends {
            for ((pid, _), member) in self.found.iter().filter(|(_, it)| it.handle.is_some()) {
                unreached.push(Unreached::new(*pid as u32, &member.name, Errno::TIMEDOUT));
            }
        }
        unreached.extend(std::mem::take(&mut self.refused).into_values());
        let signalled = self.roots.iter().filter(|root| root.reached).count() + self.found.len();
        // An orphan that runs on has nobody else who would take its status.
        let found = self.found.into_values().filter(|member| member.orphan);
        found
            .filter_map(|member| member.handle)
            .for_each(Handle::adopt);
        let marked = self
            .roots
            .iter()
            .all(|it| it.child.descent().marker.is_some());
        TreeReport {
            signalled,
            unreached,
            daemons_known: marked && self.unlisted.is_none(),
            unlisted: self.unlisted,
        }
    }
}

/// A program's file name, cut as the kernel cuts it.
fn short_name(program: &str) -> String {
    let name = program.rsplit('/').next().unwrap_or_default();
    name.chars().take(15).collect()
}

/// Tells whether a child is in the group that it was made to lead.
fn is_in_own_group(child: &Child) -> bool {
    let pid = Pid::from_raw(child.id() as i32);
    pid.is_some() && getpgid(pid).ok() == pid
}
