//! The state of a spool, in the memory file that its process keeps.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, openat, readlinkat_raw};
use rustix::io::pread;

use super::process::{Process, numbers_in};
use crate::spool_state::{self, SpoolState};

/// The file, open: it can be read after the process has ended, too.
#[derive(Debug)]
pub(crate) struct SpoolFile(OwnedFd);

impl Process {
    /// Opens the state of the spool that this process is; `None` if it is none, or may not be looked at.
    /// Only a program of that name is looked at: others may have thousands of descriptors.
    pub(crate) fn spool(&self) -> Option<SpoolFile> {
        if self.stat().ok()?.name != b"pipewright" {
            return None;
        }
        let open = |name: &str, flags: OFlags| {
            // Nobody is waited for, whatever has that name.
            let flags = flags | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            openat(&self.directory, name, flags, Mode::empty())
        };
        let directory = open("fd", OFlags::DIRECTORY).ok()?;
        let mut names = Vec::new();
        numbers_in(&directory, |number| names.push(format!("fd/{number}"))).ok()?;
        let wanted = format!("/memfd:{} (deleted)", spool_state::NAME);
        let name = names.into_iter().find(|name| {
            let mut link = [0_u8; 64];
            let length = readlinkat_raw(&self.directory, name, &mut link[..]);
            length.is_ok_and(|length| link[..length] == *wanted.as_bytes())
        })?;
        open(&name, OFlags::empty()).map(SpoolFile).ok()
    }
}

impl SpoolFile {
    /// Reads the state; `None` if there is none yet.
    pub(crate) fn read(&self) -> Option<SpoolState> {
        // It may be written at the very moment; that takes far less than three looks.
        (0..3).find_map(|_| {
            let mut bytes = [0; spool_state::SIZE];
            let read = pread(&self.0, &mut bytes, 0).ok()?;
            SpoolState::decode(&bytes[..read])
        })
    }
}
