//! What a descriptor of a process leads to, and how far it has got in a file.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, readlinkat_raw, statat};

use super::stat::{number, words};
use super::{Process, SMALL_FILE};
use crate::error::{Error, Result};
use crate::pipe::PipeId;

/// What a descriptor of a process leads to.
///
/// ```
/// use std::os::fd::AsRawFd;
/// use std::os::unix::net::UnixStream;
/// use pipewright_observe::{Process, Target};
///
/// let me = Process::open(std::process::id())?;
/// let (socket, _other) = UnixStream::pair()?;
/// assert_eq!(me.descriptor(socket.as_raw_fd() as u32)?, Target::Socket);
/// let root = std::fs::File::open("/")?;
/// assert_eq!(me.descriptor(root.as_raw_fd() as u32)?, Target::Other("/".into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An anonymous pipe.
    Pipe(PipeId),
    /// A socket.
    Socket,
    /// A file or device, or another object without a name in the file system.
    Other(PathBuf),
}

/// How far a process has got in a regular file.
///
/// ```
/// use std::process::Command;
/// use pipewright_observe::Process;
///
/// let program = std::env::current_exe()?;
/// let mut child = Command::new("sleep").arg("60").stdin(std::fs::File::open(&program)?).spawn()?;
/// let position = Process::open(child.id())?.file_position(0)?.expect("a regular file");
/// assert_eq!((position.path, position.offset), (program.clone(), 0)); // nothing was read
/// assert_eq!(position.size, program.metadata()?.len());
/// # child.kill()?; child.wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePosition {
    /// The file, as the kernel names it; raw, so [`displayable`](crate::displayable) before it is shown.
    pub path: PathBuf,
    /// Offset of the next byte to be read or written.
    pub offset: u64,
    /// Size of the file in bytes.
    pub size: u64,
}

impl Process {
    /// What descriptor `descriptor` of the process leads to.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] for another user's process, [`Error::Ended`] if the process or the
    /// descriptor is gone.
    ///
    /// ```
    /// use std::os::fd::AsRawFd;
    /// use pipewright_observe::{Process, Target};
    ///
    /// let (reader, _writer) = std::io::pipe()?;
    /// let me = Process::open(std::process::id())?;
    /// let number = reader.as_raw_fd() as u32;
    /// assert!(matches!(me.descriptor(number)?, Target::Pipe(_)));
    /// drop(reader);
    /// assert!(me.descriptor(number).unwrap_err().is_ended());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # References
    ///
    /// [proc_pid_fd(5)](https://man7.org/linux/man-pages/man5/proc_pid_fd.5.html)
    pub fn descriptor(&self, descriptor: u32) -> Result<Target> {
        let mut buffer = [0_u8; 4096];
        let length =
            readlinkat_raw(&self.directory, format!("fd/{descriptor}"), &mut buffer[..])
                .map_err(|error| Error::of_process("look at a descriptor", self.id.pid, error))?;
        let link = &buffer[..length];
        Ok(match PipeId::from_link(link) {
            Some(pipe) => Target::Pipe(pipe),
            None if link.starts_with(b"socket:[") => Target::Socket,
            None => Target::Other(PathBuf::from(OsStr::from_bytes(link))),
        })
    }

    /// How far the process has got in the regular file behind `descriptor`; `None` if that
    /// descriptor leads to no regular file.
    ///
    /// # Errors
    ///
    /// Those of [`Process::descriptor`].
    ///
    /// ```
    /// use std::io::{Read, Seek, SeekFrom};
    /// use std::os::fd::AsRawFd;
    /// use pipewright_observe::Process;
    ///
    /// let mut file = std::fs::File::open(std::env::current_exe()?)?;
    /// file.seek(SeekFrom::Start(1000))?;
    /// file.read_exact(&mut [0; 24])?;
    /// let me = Process::open(std::process::id())?;
    /// let position = me.file_position(file.as_raw_fd() as u32)?;
    /// assert_eq!(position.map(|position| position.offset), Some(1024));
    /// let pipe = std::io::pipe()?.0;
    /// assert_eq!(me.file_position(pipe.as_raw_fd() as u32)?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # References
    ///
    /// [proc_pid_fdinfo(5)](https://man7.org/linux/man-pages/man5/proc_pid_fdinfo.5.html)
    pub fn file_position(&self, descriptor: u32) -> Result<Option<FilePosition>> {
        let Target::Other(path) = self.descriptor(descriptor)? else {
            return Ok(None);
        };
        let of_process = |error| Error::of_process("look at a file", self.id.pid, error);
        let file = statat(
            &self.directory,
            format!("fd/{descriptor}"),
            AtFlags::empty(),
        )
        .map_err(of_process)?;
        if !rustix::fs::FileType::from_raw_mode(file.st_mode).is_file() {
            return Ok(None);
        }
        let mut buffer = [0; SMALL_FILE];
        let name = format!("fdinfo/{descriptor}");
        let text = self.read_once(&name, &mut buffer).map_err(of_process)?;
        let offset = words(text)
            .nth(1)
            .and_then(number)
            .ok_or_else(|| self.malformed(&name))?;
        Ok(Some(FilePosition {
            path,
            offset,
            size: file.st_size as u64,
        }))
    }
}
