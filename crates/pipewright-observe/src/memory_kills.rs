//! Which processes the kernel killed because memory ran out: from the counters of their cgroups.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::proc::root;

/// The file with a cgroup's counter.
type Counter = PathBuf;

/// The kills for memory counted at some moment, to be compared with later ones.
///
/// # References
///
/// [The kernel's cgroup-v2](https://docs.kernel.org/admin-guide/cgroup-v2.html), `oom_kill` in
/// `memory.events`; [cgroup-v1/memory](https://docs.kernel.org/admin-guide/cgroup-v1/memory.html),
/// `memory.oom_control`; [proc_vmstat(5)](https://man7.org/linux/man-pages/man5/proc_vmstat.5.html)
#[derive(Debug)]
pub struct MemoryKills {
    mounts: Vec<Mount>,
    /// Kills on the whole machine.
    machine: Option<u64>,
    /// In the cgroup of this process.
    own: Option<(Counter, u64)>,
    /// The cgroups of processes that have ended.
    ended_in: HashMap<u32, Counter>,
}

impl MemoryKills {
    /// Takes note of the counters of this process's own cgroup, where children begin, and of the
    /// whole machine.
    pub fn since_now() -> Self {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut kills = Self {
            mounts: mountinfo.lines().filter_map(Mount::parse).collect(),
            machine: count(Path::new("/proc/vmstat")),
            own: None,
            ended_in: HashMap::new(),
        };
        let own = kills.counter_of("self");
        kills.own = own.and_then(|own| Some((own.clone(), count(&own)?)));
        kills
    }

    /// `true` if anything on this machine was killed for memory since then.
    pub fn any(&self) -> bool {
        let now = count(Path::new("/proc/vmstat"));
        now.zip(self.machine).is_some_and(|(now, then)| now > then)
    }

    /// Takes note of the cgroups that processes have ended in, before they are waited for.
    pub fn look_at_zombies(&mut self, pids: impl IntoIterator<Item = u32>) {
        if root::open_own().is_err() {
            return; // these numbers are others' there
        }
        for pid in pids {
            if let Some(counter) = self.counter_of(&pid.to_string()) {
                self.ended_in.insert(pid, counter);
            }
        }
    }

    /// `true` if a process that has ended by SIGKILL, which nobody here has sent, got it from the kernel
    /// for want of memory: a process of the machine did since then, and where the cgroup that it ended
    /// in is known, and has a counter, one of that cgroup.
    pub fn killed(&self, pid: u32) -> bool {
        let in_its_group = |counter: &Counter| {
            let now = count(counter)?;
            Some(match &self.own {
                Some((own, then)) if own == counter => now > *then,
                // It has moved there.
                _ => now > 0,
            })
        };
        let known = self.ended_in.get(&pid).and_then(in_its_group);
        self.any() && known.unwrap_or(true)
    }

    /// The counter of the cgroup that a process is in. A zombie tells it in the second version only.
    fn counter_of(&self, process: &str) -> Option<Counter> {
        let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
        let (version, path) = memory_group(&groups)?;
        // In the first version a process on its way out is said to be in the root.
        if version == Version::One && path == "/" {
            return None;
        }
        let mount = self.mounts.iter().find(|mount| mount.version == version)?;
        mount.counter(path)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Where cgroups with the memory controller are mounted.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    version: Version,
    /// The cgroup that is mounted there.
    root: String,
    place: PathBuf,
}

impl Mount {
    /// Reads a line of `/proc/PID/mountinfo`.
    fn parse(line: &str) -> Option<Self> {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, place) = (place.next()?, place.next()?);
        let mut kind = kind.split(' ');
        let version = match (kind.next()?, kind.nth(1)?) {
            ("cgroup2", _) => Version::Two,
            ("cgroup", options) if options.split(',').any(|it| it == "memory") => Version::One,
            _ => return None,
        };
        Some(Self {
            version,
            root: root.to_owned(),
            place: PathBuf::from(place),
        })
    }

    fn counter(&self, group: &str) -> Option<Counter> {
        let below = group.strip_prefix(self.root.trim_end_matches('/'))?;
        let file = match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        Some(self.place.join(below.trim_start_matches('/')).join(file))
    }
}

/// The cgroup whose memory counts, from `/proc/PID/cgroup`.
fn memory_group(groups: &str) -> Option<(Version, &str)> {
    let mut second = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        if controllers.split(',').any(|it| it == "memory") {
            return Some((Version::One, path));
        }
        if number == "0" {
            second = Some((Version::Two, path));
        }
    }
    second
}

/// The number behind `oom_kill` in a file of names and numbers.
fn count(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let number = |line: &str| line.strip_prefix("oom_kill ")?.trim().parse().ok();
    text.lines().find_map(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_group_is_that_of_the_first_version_where_it_has_the_controller() {
        let both = "4:memory:/a/b\n1:cpu:/\n0::/c\n";
        assert_eq!(memory_group(both), Some((Version::One, "/a/b")));
        assert_eq!(
            memory_group("1:cpu:/\n0::/c:d\n"),
            Some((Version::Two, "/c:d"))
        );
        assert_eq!(memory_group(""), None);
    }

    #[test]
    fn a_counter_is_found_below_the_mount() {
        let line = "30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
        let second = Mount::parse(line).unwrap();
        assert_eq!(
            second.counter("/user.slice/x").unwrap(),
            Path::new("/sys/fs/cgroup/user.slice/x/memory.events")
        );
        let line = "31 25 0:27 /box /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory";
        let first = Mount::parse(line).unwrap();
        assert_eq!(
            first.counter("/box/x").unwrap(),
            Path::new("/sys/fs/cgroup/memory/x/memory.oom_control")
        );
        assert_eq!(first.counter("/other"), None);
        assert_eq!(Mount::parse("31 25 0:27 / /proc rw - proc proc rw"), None);
    }
}
