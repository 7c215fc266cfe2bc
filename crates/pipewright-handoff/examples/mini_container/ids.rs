//! The ids of a user namespace, and who may write them: the parent, not the process inside.

use std::fs;
use std::str::FromStr;

/// A range of ids: inside, outside, how many.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IdMap {
    inside: u32,
    outside: u32,
    count: u32,
}

impl IdMap {
    /// The caller's own id as root's.
    pub(crate) fn own(outside: u32) -> Self {
        Self {
            inside: 0,
            outside,
            count: 1,
        }
    }
}

impl FromStr for IdMap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers: Option<Vec<u32>> = text.split(':').map(|part| part.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[inside, outside, count]) => Ok(Self {
                inside,
                outside,
                count,
            }),
            _ => Err("three numbers are needed, as in 0:1000:1".to_owned()),
        }
    }
}

/// Writes both maps of the user namespace of a process.
///
/// # References
///
/// [user_namespaces(7)](https://man7.org/linux/man-pages/man7/user_namespaces.7.html)
pub(crate) fn write(process: u32, users: IdMap, groups: IdMap) -> Result<(), String> {
    let write = |file: &str, text: String| {
        let path = format!("/proc/{process}/{file}");
        fs::write(&path, &text).map_err(|error| format!("cannot write {text:?} to {path}: {error}"))
    };
    let line = |map: IdMap| format!("{} {} {}\n", map.inside, map.outside, map.count);
    // Only root may map a group and keep setgroups, which could be used to *drop* a group that
    // denies access to a file.
    write("setgroups", "deny".to_owned())?;
    write("uid_map", line(users))?;
    write("gid_map", line(groups))
}
