//! Which processes descend from a child, as far as `/proc` tells.

mod marker;
pub(crate) mod proc;
pub(crate) mod words;

use std::collections::BTreeSet;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rustix::process::getpid;

pub(crate) use marker::{Descent, new_marker, variable};

use crate::poll::Deadline;
use proc::{Handle, Key, Proc, Process};
use words::Answer;

/// What is known of the tree that is looked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roots {
    /// The children at which it begins and whose numbers are still theirs.
    pub(crate) pids: BTreeSet<i32>,
    /// Those of them that lead a process group.
    pub(crate) groups: BTreeSet<i32>,
}

/// The processes of the tree that have not ended, the roots too.
///
/// They are the roots, the members of the groups that roots lead, those that are known to belong,
/// and the descendants of all of these. `this` process is none.
pub(crate) fn members<'a>(
    all: &'a [Process],
    roots: &Roots,
    known: &BTreeSet<Key>,
    this: i32,
) -> Vec<&'a Process> {
    let mut found: BTreeSet<i32> = BTreeSet::new();
    let alive = || all.iter().filter(|it| !it.zombie && it.pid != this);
    found.extend(
        alive()
            .map(|it| it.pid)
            .filter(|pid| roots.pids.contains(pid)),
    );
    let belongs = |it: &&Process| roots.groups.contains(&it.group) || known.contains(&it.key());
    found.extend(alive().filter(belongs).map(|it| it.pid));
    // Parents may come after their children in any listing, so until nothing is added.
    loop {
        let before = found.len();
        for process in alive() {
            if found.contains(&process.parent) {
                found.insert(process.pid);
            }
        }
        if found.len() == before {
            break;
        }
    }
    alive().filter(|it| found.contains(&it.pid)).collect()
}

/// Reaps what the child with this word left behind, as far as it runs: this process has adopted it.
///
/// It takes a moment, and no longer, nor longer than the deadline. What keeps its environment to
/// itself is asked on by a thread, and reaped if it answers in a while.
pub(crate) fn adopt_orphans(marker: &str, deadline: Deadline) {
    // Without its own /proc there is nothing that could be known of them.
    let Ok(proc) = Proc::own().map(Arc::new) else {
        return;
    };
    let this = getpid().as_raw_pid();
    let (all, _) = proc.processes();
    let children: Vec<Process> = all
        .into_iter()
        .filter(|it| it.parent == this && !it.zombie)
        .collect();
    if children.is_empty() {
        return;
    }
    let (done, wait) = mpsc::channel::<()>();
    let marker = marker.to_owned();
    let adopt = move || {
        let keys: Vec<Key> = children.iter().map(Process::key).collect();
        words::ask(&proc, &keys, Deadline::after(A_WHILE), |key, answer| {
            let process = children.iter().find(|it| it.key() == key);
            if let (Some(process), Answer::Words(words)) = (process, answer)
                && contains(&words, &marker)
            {
                proc.open(process).into_iter().for_each(Handle::adopt);
            }
        });
        drop(done);
    };
    // Without a thread they stay to be reaped by `reap_adopted`.
    let thread = std::thread::Builder::new().name("pipewright orphans".to_owned());
    if thread.spawn(adopt).is_ok() {
        let moment = deadline.left().map_or(A_MOMENT, |left| left.min(A_MOMENT));
        let _ = wait.recv_timeout(moment);
    }
}

const A_MOMENT: Duration = Duration::from_millis(100);
const A_WHILE: Duration = Duration::from_secs(60);

/// Tells whether the words of a process's environment hold this one.
pub(crate) fn contains(words: &[Vec<u8>], marker: &str) -> bool {
    words.iter().any(|word| word == marker.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, group: i32) -> Process {
        Process {
            pid,
            name: String::new(),
            state: b'S',
            zombie: false,
            parent,
            group,
            started: 0,
        }
    }

    fn pids(all: &[Process], roots: &Roots, known: &[i32]) -> Vec<i32> {
        let known = known.iter().map(|&pid| (pid, 0)).collect();
        let found = members(all, roots, &known, 1);
        found.into_iter().map(|process| process.pid).collect()
    }

    #[test]
    fn descendants_group_and_known_orphans_are_members_and_nobody_else() {
        let all = [
            process(1, 0, 1),    // this process
            process(30, 20, 9),  // a grandchild, listed before its parent
            process(10, 1, 10),  // the root
            process(20, 10, 10), // its child
            process(40, 1, 10),  // an orphan in the root's group
            process(50, 1, 50),  // a known orphan in a session of its own
            process(60, 50, 60), // its child
            process(70, 1, 70),  // another child of this process
            process(80, 70, 70), // its child
        ];
        let mut roots = Roots {
            pids: [10].into(),
            ..Roots::default()
        };
        assert_eq!(pids(&all, &roots, &[]), [30, 10, 20]);
        roots.groups.insert(10);
        assert_eq!(pids(&all, &roots, &[]), [30, 10, 20, 40]);
        assert_eq!(pids(&all, &roots, &[50]), [30, 10, 20, 40, 50, 60]);
    }

    #[test]
    fn zombies_are_no_members_and_this_process_is_none() {
        let mut all = [process(1, 0, 1), process(10, 1, 1), process(20, 10, 1)];
        let roots = Roots {
            pids: [10].into(),
            groups: [1].into(),
        };
        assert_eq!(pids(&all, &roots, &[]), [10, 20]);
        all[1].zombie = true;
        all[2].parent = 5;
        all[2].group = 2;
        assert_eq!(pids(&all, &roots, &[]), Vec::<i32>::new());
    }
}
