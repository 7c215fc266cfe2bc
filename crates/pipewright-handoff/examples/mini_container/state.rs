//! The directory in which created containers are kept, between `create`, `start` and `delete`.
//!
//! Whoever can write there can open a gate, and choose the process that `delete --force` kills. So
//! it must be the caller's own and closed to everybody else, or it is refused.

use std::fmt::Display;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use serde::{Deserialize, Serialize};

type Result<T> = std::result::Result<T, String>;

/// One container. Its paths are relative to the state directory, in which this process is then: no
/// symbolic link that somebody puts in its place leads elsewhere, and a gate's path is short.
pub(crate) struct State {
    id: PathBuf,
}

/// The process that is the container's init.
#[derive(Serialize, Deserialize)]
struct Init {
    process: i32,
    /// When it started, in the clock ticks of `/proc/PID/stat`: a number may be given to another
    /// process later, but not with this time.
    started: u64,
}

impl State {
    /// Enters the state directory, which is made if it is not there.
    pub(crate) fn enter(directory: &Path, id: &str) -> Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if id.is_empty() || id.starts_with('.') || !id.chars().all(plain) {
            return Err(format!(
                "{id:?} is no name for a container: use letters, digits, \"-\", \"_\" and \".\""
            ));
        }
        let failed = |what: &str, why: &dyn Display| {
            format!(
                "cannot {what} the state directory {}: {why}",
                directory.display()
            )
        };
        match rustix::fs::mkdir(directory, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed("make", &errno)),
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = rustix::fs::open(directory, flags, Mode::empty())
            .map_err(|errno| failed("open", &errno))?;
        let stat = rustix::fs::fstat(&open).map_err(|errno| failed("look at", &errno))?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(failed(
                "use",
                &"it belongs to another user; choose one with --state",
            ));
        }
        if stat.st_mode & 0o077 != 0 {
            return Err(failed("use", &"others may enter it; chmod 700 it"));
        }
        rustix::process::fchdir(open).map_err(|errno| failed("enter", &errno))?;
        Ok(Self { id: id.into() })
    }

    /// Tells if there is such a container.
    pub(crate) fn exists(&self) -> bool {
        self.id.is_dir()
    }

    /// The gate at which init waits.
    pub(crate) fn gate(&self) -> PathBuf {
        self.id.join("gate")
    }

    /// Makes the container's directory.
    pub(crate) fn make(&self) -> Result<()> {
        rustix::fs::mkdir(&self.id, Mode::RWXU)
            .map_err(|errno| format!("cannot make the container {}: {errno}", self.id.display()))
    }

    pub(crate) fn remember(&self, process: u32) -> Result<()> {
        let process = process as i32;
        let init = Init {
            process,
            started: started(process).ok_or("the container has ended already")?,
        };
        let text = serde_json::to_string(&init).map_err(|error| error.to_string())?;
        let path = self.id.join("init.json");
        fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
    }

    /// A pidfd of init, if it lives.
    pub(crate) fn init(&self) -> Result<Option<OwnedFd>> {
        let path = self.id.join("init.json");
        let text = fs::read_to_string(&path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let init: Init = serde_json::from_str(&text)
            .map_err(|error| format!("cannot use {}: {error}", path.display()))?;
        let Some(process) = Pid::from_raw(init.process) else {
            return Ok(None);
        };
        // First the handle, then the look at whose it is: so it cannot change in between.
        let Ok(pidfd) = rustix::process::pidfd_open(process, PidfdFlags::empty()) else {
            return Ok(None);
        };
        let is_init = started(init.process) == Some(init.started) && is_first(init.process);
        Ok(is_init.then_some(pidfd))
    }

    pub(crate) fn remove(&self) -> Result<()> {
        fs::remove_dir_all(&self.id)
            .map_err(|error| format!("cannot remove {}: {error}", self.id.display()))
    }
}

fn started(process: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may hold anything; it is the second field, the time is the 22nd.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

/// Tells if it is process 1 of a pid namespace below this one, as every container's init is.
fn is_first(process: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let inwards = numbers.unwrap_or_default().split_whitespace().skip(1);
    inwards.last() == Some("1")
}
