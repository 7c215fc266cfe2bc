//! Questions about processes, answered by /proc.

use std::collections::BTreeMap;

/// A program for a child that says when it runs, and then stays until its stdin ends.
pub const READY_THEN_WAIT: &str = "echo ready; read line";

/// Lists the open descriptors of a process: number → what it refers to.
pub fn descriptors_of(pid: u32) -> BTreeMap<i32, String> {
    let mut table = BTreeMap::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let entry = entry.unwrap();
        let number = entry.file_name().to_str().unwrap().parse().unwrap();
        // The descriptor that lists our own is gone by now.
        if let Ok(target) = std::fs::read_link(entry.path()) {
            table.insert(number, target.to_string_lossy().into_owned());
        }
    }
    table
}

/// Counts the open descriptors of this process.
pub fn open_descriptors() -> usize {
    descriptors_of(std::process::id()).len()
}

/// Lets this process have so many descriptors open, if it may; where it may not, says that the test is
/// skipped.
pub fn may_have_descriptors(count: u64) -> bool {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let is_enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= count);
    let raised = Rlimit {
        current: Some(count),
        ..limit
    };
    let may = is_enough(limit.current)
        || is_enough(limit.maximum) && setrlimit(Resource::Nofile, raised).is_ok();
    if !may {
        println!("skipped: {count} descriptors may not be open here (ulimit -n)");
    }
    may
}

/// Lists the children of this process, zombies too.
pub fn children() -> Vec<String> {
    let me = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue; // no process, or gone meanwhile
        };
        // The name, in parentheses, may contain anything; the fields follow the last one.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        if fields.split_whitespace().nth(1) == Some(&me) {
            found.push(stat);
        }
    }
    found
}

/// Waits until no child is left. What was killed may take its time to end, and its zombie is taken by
/// the next start.
pub fn await_no_children() {
    while !children().is_empty() {
        let next = pipewright::Command::new("true").spawn().unwrap();
        next.wait().unwrap();
    }
}

/// Reads the letter of a process's state; `None` if there is no such process.
pub fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Tells whether a process is there and no zombie.
pub fn lives(pid: u32) -> bool {
    state(pid).is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// Tells whether something that a test has made, and named `prefix-PID-…`, was left behind: a test that a
/// watchdog ends, or that is killed, removes nothing.
pub(crate) fn is_left(name: &str, prefix: &str) -> bool {
    let rest = name
        .strip_prefix(prefix)
        .and_then(|it| it.strip_prefix('-'));
    let owner = rest.and_then(|rest| rest.split('-').next());
    let owner = owner.and_then(|owner| owner.parse().ok());
    owner.is_some_and(|owner| !lives(owner))
}

/// Tells whether this is root; tests that need it say so and end.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Gives the signals that tests send back their default for what is started from here on, also where
/// these tests run in the background, under nohup or by Python, and ignore some of them.
pub fn signals_at_their_default() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGXFSZ};
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = u64::from_str_radix(ignored.unwrap().trim(), 16).unwrap();
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGXFSZ] {
        if ignored & (1 << (signal - 1)) != 0 {
            // A handler, unlike SIG_IGN, does not pass through exec. Here it changes nothing.
            signal_hook::flag::register(signal, std::sync::Arc::default()).unwrap();
        }
    }
}
