//! Which processes descend from a child, as far as `/proc` tells.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, getpid, pidfd_open, set_child_subreaper};

/// By what the descendants of one child can be known, besides their parents.
#[derive(Debug, Clone, Default)]
pub(crate) struct Descent {
    /// A word in the environment of the child, and so of its descendants.
    pub(crate) marker: Option<String>,
    /// Whether it leads a process group.
    pub(crate) leads_group: bool,
}

/// One process as `/proc/PID/stat` tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) name: String,
    pub(crate) zombie: bool,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    /// When it started, in clock ticks since the machine did. With the number it makes a process
    /// unmistakable.
    pub(crate) started: u64,
}

/// What is known of the tree that is looked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roots {
    /// The children at which it begins and whose numbers are still theirs.
    pub(crate) pids: BTreeSet<i32>,
    /// Those of them that lead a process group.
    pub(crate) groups: BTreeSet<i32>,
    /// The words that mark the environment of everything they start.
    pub(crate) markers: Vec<String>,
}

impl Process {
    /// Parses the text of a `stat` file.
    fn parse(stat: &str) -> Option<Self> {
        // The name is in parentheses and may itself contain anything, parentheses too.
        let (pid, rest) = stat.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Self {
            pid: pid.parse().ok()?,
            name: name.to_owned(),
            // The first thread may have ended before the others. Then the process has not.
            zombie: matches!(*fields.first()?, "Z" | "X")
                && fields.get(17)?.parse::<u32>().ok()? <= 1,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }

    /// The process with this number now.
    pub(crate) fn now(pid: i32) -> Option<Self> {
        Self::parse(&read_lossy(&format!("/proc/{pid}/stat")).ok()?)
    }

    /// Whether its environment holds one of the words. An error: it may not be read.
    pub(crate) fn carries(&self, markers: &[String]) -> io::Result<bool> {
        let environment = std::fs::read(format!("/proc/{}/environ", self.pid))?;
        Ok(marked(&environment, markers))
    }
}

/// Makes this process a subreaper and gives the word for one more tree.
pub(crate) fn new_marker() -> rustix::io::Result<String> {
    static TREES: AtomicU64 = AtomicU64::new(0);
    static SALT: OnceLock<u64> = OnceLock::new();
    // Random, since numbers of processes come again and environments outlive their process.
    let salt = SALT.get_or_init(|| RandomState::new().hash_one(()));
    set_child_subreaper(Some(getpid()))?;
    let tree = TREES.fetch_add(1, Ordering::Relaxed);
    Ok(format!("{}-{salt:016x}-{tree}", getpid().as_raw_pid()))
}

/// The variable for a child whose tree has this word. It keeps the words of the trees that this
/// process is in.
pub(crate) fn variable(marker: &str) -> (OsString, OsString) {
    let mut words = std::env::var_os(VARIABLE).unwrap_or_default();
    if !words.is_empty() {
        words.push(" ");
    }
    words.push(marker);
    (VARIABLE.into(), words)
}

/// The variable that marks a tree. Its value is a list of words, one for each tree that the process
/// belongs to.
const VARIABLE: &str = "PIPEWRIGHT_TREE";

fn marked(environment: &[u8], markers: &[String]) -> bool {
    environment
        .split(|&byte| byte == 0)
        .filter_map(|entry| entry.strip_prefix(VARIABLE.as_bytes())?.strip_prefix(b"="))
        .flat_map(|value| value.split(|&byte| byte == b' '))
        .any(|word| markers.iter().any(|marker| marker.as_bytes() == word))
}

/// Every process that can be seen.
pub(crate) fn snapshot() -> io::Result<Vec<Process>> {
    let mut processes = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        // One that is gone meanwhile needs nothing more.
        processes.extend(pid.and_then(Process::now));
    }
    Ok(processes)
}

/// A process's name is any bytes.
fn read_lossy(path: &str) -> io::Result<String> {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The processes of the tree that have not ended, the roots too.
///
/// They are the roots, the members of the groups that roots lead, what was adopted by `reaper` and
/// is marked, and the descendants of all of these. `marked` is asked only about children of
/// `reaper`: a process that lost its parent is one, if `reaper` is a subreaper.
pub(crate) fn members<'a>(
    all: &'a [Process],
    roots: &Roots,
    reaper: i32,
    mut marked: impl FnMut(&Process) -> bool,
) -> Vec<&'a Process> {
    let mut found: BTreeSet<i32> = BTreeSet::new();
    for process in all.iter().filter(|it| !it.zombie && it.pid != reaper) {
        let adopted = || !roots.markers.is_empty() && process.parent == reaper;
        if roots.pids.contains(&process.pid)
            || roots.groups.contains(&process.group)
            || (adopted() && marked(process))
        {
            found.insert(process.pid);
        }
    }
    // Parents may come after their children in any listing, so until nothing is added.
    loop {
        let before = found.len();
        for process in all.iter().filter(|it| !it.zombie) {
            if found.contains(&process.parent) {
                found.insert(process.pid);
            }
        }
        if found.len() == before {
            break;
        }
    }
    all.iter().filter(|it| found.contains(&it.pid)).collect()
}

/// A handle of a process that was seen in `/proc`, unless it is another one by now.
pub(crate) fn open(process: &Process) -> Result<OwnedFd, Errno> {
    let pid = Pid::from_raw(process.pid).ok_or(Errno::SRCH)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    // The handle is of whoever had the number a moment ago. If it started when ours did, it is
    // ours, since two processes have one number at different times only.
    match Process::now(process.pid) {
        Some(now) if now.started == process.started => Ok(pidfd),
        _ => Err(Errno::SRCH),
    }
}

/// Handles of the marked processes that this one has adopted.
pub(crate) fn orphans(marker: &str) -> Vec<OwnedFd> {
    let roots = Roots {
        markers: vec![marker.to_owned()],
        ..Roots::default()
    };
    let this = getpid().as_raw_pid();
    // Without /proc there is nothing that could be known of them.
    let all = snapshot().unwrap_or_default();
    let marked = |process: &Process| process.carries(&roots.markers).unwrap_or(false);
    let members = members(&all, &roots, this, marked).into_iter();
    members
        .filter(|process| process.parent == this)
        .filter_map(|process| open(process).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_spaces_and_parentheses() {
        let stat = "7 (a) (b c) S 3 5 5 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1 1";
        let process = Process::parse(stat).unwrap();
        assert_eq!(process.name, "a) (b c");
        assert_eq!((process.pid, process.parent, process.group), (7, 3, 5));
        assert_eq!((process.started, process.zombie), (4242, false));
        assert_eq!(Process::parse("7 (cut"), None);
        assert!(Process::now(std::process::id() as i32).is_some());
    }

    fn process(pid: i32, parent: i32, group: i32) -> Process {
        Process {
            pid,
            name: String::new(),
            zombie: false,
            parent,
            group,
            started: 0,
        }
    }

    fn pids(all: &[Process], roots: &Roots, marked: &[i32]) -> Vec<i32> {
        let found = members(all, roots, 1, |process| marked.contains(&process.pid));
        found.into_iter().map(|process| process.pid).collect()
    }

    #[test]
    fn descendants_group_and_marked_orphans_are_members_and_nobody_else() {
        let all = [
            process(1, 0, 1),    // this process
            process(30, 20, 9),  // a grandchild, listed before its parent
            process(10, 1, 10),  // the root
            process(20, 10, 10), // its child
            process(40, 1, 10),  // an orphan in the root's group
            process(50, 1, 50),  // a marked orphan in a session of its own
            process(60, 50, 60), // its child
            process(70, 1, 70),  // another child of this process
            process(80, 70, 70), // its child
        ];
        let mut roots = Roots {
            pids: [10].into(),
            ..Roots::default()
        };
        assert_eq!(pids(&all, &roots, &[50]), [30, 10, 20]);
        roots.groups.insert(10);
        assert_eq!(pids(&all, &roots, &[50]), [30, 10, 20, 40]);
        roots.markers.push("word".to_owned());
        assert_eq!(pids(&all, &roots, &[50]), [30, 10, 20, 40, 50, 60]);
    }

    #[test]
    fn zombies_are_no_members_and_this_process_is_none() {
        let mut all = [process(1, 0, 1), process(10, 1, 1), process(20, 10, 1)];
        let roots = Roots {
            pids: [10].into(),
            groups: [1].into(),
            ..Roots::default()
        };
        assert_eq!(pids(&all, &roots, &[]), [10, 20]);
        all[1].zombie = true;
        all[2].parent = 5;
        all[2].group = 2;
        assert_eq!(pids(&all, &roots, &[]), Vec::<i32>::new());
    }

    #[test]
    fn a_marker_is_a_whole_word_of_its_variable() {
        let markers = ["7-ab-1".to_owned()];
        assert!(marked(
            b"A=1\0PIPEWRIGHT_TREE=5-cd-2 7-ab-1\0B=2\0",
            &markers
        ));
        assert!(!marked(b"PIPEWRIGHT_TREE=7-ab-12\0", &markers));
        assert!(!marked(
            b"OTHER_PIPEWRIGHT_TREE=7-ab-1\0X=7-ab-1\0",
            &markers
        ));
        assert!(!marked(b"", &markers));
    }
}
