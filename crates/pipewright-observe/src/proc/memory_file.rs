//! A file in memory in which a process tells of itself, found among its descriptors.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, openat, readlinkat_raw};
use rustix::io::pread;

use super::process::{Process, numbers_in};

/// The most bytes that are read of one.
const LONGEST: usize = 128;

/// The file, open: it can be read after the process has ended, too.
#[derive(Debug)]
pub(crate) struct MemoryFile(OwnedFd);

impl Process {
    /// Opens the file that the process keeps under this name; `None` if it keeps none, or may not be looked
    /// at. Only a program of ours is looked at: others may have thousands of descriptors.
    pub(crate) fn memory_file(&self, name: &str) -> Option<MemoryFile> {
        // The second is what the kernel calls one that was started by /proc/self/exe.
        if !matches!(&*self.stat().ok()?.name, b"pipewright" | b"exe") {
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
        let wanted = format!("/memfd:{name} (deleted)");
        let name = names.into_iter().find(|name| {
            let mut link = [0_u8; 64];
            let length = readlinkat_raw(&self.directory, name, &mut link[..]);
            length.is_ok_and(|length| link[..length] == *wanted.as_bytes())
        })?;
        open(&name, OFlags::empty()).map(MemoryFile).ok()
    }
}

impl MemoryFile {
    /// Reads what it says; `None` if that is nothing yet.
    pub(crate) fn read<T>(&self, decode: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
        // It may be written at the very moment; that takes far less than three looks.
        (0..3).find_map(|_| {
            let mut bytes = [0; LONGEST];
            let read = pread(&self.0, &mut bytes, 0).ok()?;
            decode(&bytes[..read])
        })
    }
}
