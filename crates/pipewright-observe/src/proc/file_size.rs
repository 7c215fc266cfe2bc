//! Sizes of the files that a process reads, each asked for once a second at most.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FileType, StatxFlags, statx};
use rustix::io::Errno;

use crate::patience;

/// The sizes of so many files are remembered.
const MOST: usize = 16;

/// The sizes found out so far, by path.
#[derive(Debug, Default)]
pub(super) struct FileSizes(Vec<FileSize>);

#[derive(Debug)]
struct FileSize {
    path: PathBuf,
    /// `None`: it is no regular file, or nobody knows.
    bytes: Option<u64>,
    silent: bool,
    asked: Instant,
}

impl FileSizes {
    /// The size of the regular file at `path`, behind a descriptor of the process that `directory`
    /// below `/proc` belongs to. A network file system may take for ever to tell it, so a helper
    /// asks, and a file that did not answer is not asked about again.
    pub(super) fn of(
        &mut self,
        directory: &OwnedFd,
        descriptor: u32,
        path: &Path,
    ) -> Result<Option<u64>, Errno> {
        let known = self.0.iter().position(|size| size.path == path);
        if let Some(known) = known {
            let size = &self.0[known];
            if size.silent || size.asked.elapsed() < Duration::from_secs(1) {
                return Ok(size.bytes);
            }
            self.0.swap_remove(known);
        } else if self.0.len() == MOST {
            self.0.swap_remove(0);
        }
        let directory = rustix::io::fcntl_dupfd_cloexec(directory, 0)?;
        let link = format!("fd/{descriptor}");
        // Not asked of the server, where the kernel remembers it: the process has opened the file.
        let flags = AtFlags::STATX_DONT_SYNC;
        let wanted = StatxFlags::TYPE | StatxFlags::SIZE;
        let answer = patience::ask(move || statx(directory, link, flags, wanted));
        let silent = answer.is_none();
        let bytes = answer
            .transpose()?
            .filter(|file| FileType::from_raw_mode(file.stx_mode.into()).is_file())
            .map(|file| file.stx_size);
        self.0.push(FileSize {
            path: path.to_owned(),
            bytes,
            silent,
            asked: Instant::now(),
        });
        Ok(bytes)
    }
}
