//! What is kept of a created container between `create`, `start` and `delete`.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags};
use serde::{Deserialize, Serialize};

type Result<T> = std::result::Result<T, String>;

/// The directory of one container.
pub(crate) struct State {
    directory: PathBuf,
}

/// Which process is the container's init.
#[derive(Serialize, Deserialize)]
struct Init {
    process: i32,
    /// When it started, in the clock ticks of `/proc/PID/stat`: a number may be given to another
    /// process later, but not with this time.
    started: u64,
}

impl State {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The gate at which init waits.
    pub(crate) fn gate(&self) -> PathBuf {
        self.directory.join("gate")
    }

    /// Makes the directory, which nobody else may enter.
    pub(crate) fn make(&self) -> Result<()> {
        let parent = self.directory.parent().unwrap_or(Path::new("/"));
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700);
        let made = builder
            .recursive(true)
            .create(parent)
            .and_then(|()| builder.recursive(false).create(&self.directory));
        made.map_err(|error| format!("cannot make {}: {error}", self.directory.display()))
    }

    pub(crate) fn remember(&self, process: u32) -> Result<()> {
        let init = Init {
            process: process as i32,
            started: started(process as i32).ok_or("the container has ended already")?,
        };
        let text = serde_json::to_string(&init).map_err(|error| error.to_string())?;
        let path = self.directory.join("init.json");
        fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
    }

    /// A pidfd of init, if it lives.
    pub(crate) fn init(&self) -> Result<Option<OwnedFd>> {
        let path = self.directory.join("init.json");
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
        Ok((started(init.process) == Some(init.started)).then_some(pidfd))
    }

    pub(crate) fn remove(&self) -> Result<()> {
        fs::remove_dir_all(&self.directory)
            .map_err(|error| format!("cannot remove {}: {error}", self.directory.display()))
    }
}

fn started(process: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may hold anything; it is the second field, the time is the 22nd.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}
