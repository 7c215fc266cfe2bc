//! What a descriptor of a process leads to, and how far it has got in a file.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{OFlags, readlinkat_raw};

use super::process::{Process, SMALL_FILE};
use super::stat::{number, words};

use crate::error::{Error, Result};
use crate::pipe::id::PipeId;

/// The thing that a descriptor of a process leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An anonymous pipe.
    Pipe(PipeId),
    /// A socket.
    Socket,
    /// A file or device, or another object without a name in the file system.
    Other(PathBuf),
}

/// The place that a process has reached in a regular file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePosition {
    /// The file, as the kernel names it; raw, so not to be shown as it is.
    pub path: PathBuf,
    /// Offset of the next byte to be read or written.
    pub offset: u64,
    /// Size of the file in bytes.
    pub size: u64,
    /// The process may write to it.
    pub writable: bool,
}

impl Process {
    /// Finds out where a descriptor of the process leads.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] for another user's process, [`Error::Ended`] if the process or the
    /// descriptor is gone.
    ///
    /// # References
    ///
    /// [proc_pid_fd(5)](https://man7.org/linux/man-pages/man5/proc_pid_fd.5.html)
    #[doc(hidden)]
    pub fn descriptor(&self, descriptor: u32) -> Result<Target> {
        let mut buffer = [0_u8; 4096];
        let length =
            readlinkat_raw(&self.directory, format!("fd/{descriptor}"), &mut buffer[..])
                .map_err(|error| Error::of_process("look at a descriptor", self.id().pid, error))?;
        let link = &buffer[..length];
        Ok(match PipeId::from_link(link) {
            Some(pipe) => Target::Pipe(pipe),
            None if link.starts_with(b"socket:[") => Target::Socket,
            None => Target::Other(PathBuf::from(OsStr::from_bytes(link))),
        })
    }

    /// Finds out how far the process has got in the regular file behind `descriptor`; `None` if that
    /// descriptor leads to no regular file, or into a file system that does not answer. The size is
    /// asked for once a second at most.
    ///
    /// # Errors
    ///
    /// Those of [`Process::descriptor`].
    ///
    /// # References
    ///
    /// [proc_pid_fdinfo(5)](https://man7.org/linux/man-pages/man5/proc_pid_fdinfo.5.html)
    #[doc(hidden)]
    pub fn file_position(&self, descriptor: u32) -> Result<Option<FilePosition>> {
        let Target::Other(path) = self.descriptor(descriptor)? else {
            return Ok(None);
        };
        let of_process = |error| Error::of_process("look at a file", self.id().pid, error);
        let mut sizes = self.file_sizes.borrow_mut();
        let Some(size) = sizes
            .of(&self.directory, descriptor, &path)
            .map_err(of_process)?
        else {
            return Ok(None);
        };
        let mut buffer = [0; SMALL_FILE];
        let name = format!("fdinfo/{descriptor}");
        let text = self.read_once(&name, &mut buffer).map_err(of_process)?;
        // pos: 0, flags: 0100000, in octal, as open(2) has them.
        let mut values = words(text).skip(1).step_by(2);
        let offset = values.next().and_then(number);
        let flags = values.next().and_then(|flags| {
            let flags = std::str::from_utf8(flags).ok()?;
            u32::from_str_radix(flags, 8).ok()
        });
        let (offset, flags) = offset.zip(flags).ok_or_else(|| self.malformed(&name))?;
        Ok(Some(FilePosition {
            path,
            offset,
            size,
            writable: OFlags::from_bits_retain(flags).intersects(OFlags::WRONLY | OFlags::RDWR),
        }))
    }
}
