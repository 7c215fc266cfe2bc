//! A directory on a disk, locked while it is used.

use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};

use crate::error::{Error, Result};
use crate::files::{FileSystem, StoredFile};
use crate::names;

/// A directory, which is this process's as long as this lives.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    names: File,
    _lock: File,
}

impl Directory {
    /// Opens the directory to write to it, and makes it where there is none.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] if another process has it open, [`Error::NotASpool`] if it holds something else,
    /// otherwise what the kernel said.
    ///
    /// # References
    ///
    /// [flock(2)](https://man7.org/linux/man-pages/man2/flock.2.html)
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let shown = path.display().to_string();
        let is_else = !path.join(names::LOCK).exists()
            && std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
        if is_else {
            return Err(Error::NotASpool(shown));
        }
        let make = || {
            match std::fs::create_dir(path) {
                Ok(()) => {
                    // So that the directory itself is on the disk before anything in it is.
                    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
                    sync_names(&File::open(above.unwrap_or(Path::new(".")))?)?;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            let lock = File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .open(path.join(names::LOCK))?;
            Ok((lock, File::open(path)?))
        };
        let (lock, names) = make().map_err(|error| Error::write(&shown, error))?;
        Self::of(path, names, lock, File::try_lock)
    }

    /// Opens the directory to read it: several may, while nobody writes.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] if another process writes to it, else what the kernel said.
    pub fn open_to_read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let open = || Ok((File::open(path.join(names::LOCK))?, File::open(path)?));
        let (lock, names) =
            open().map_err(|error| Error::read(&path.display().to_string(), error))?;
        Self::of(path, names, lock, File::try_lock_shared)
    }

    fn of(
        path: &Path,
        names: File,
        lock: File,
        take: fn(&File) -> std::result::Result<(), TryLockError>,
    ) -> Result<Self> {
        let name = path.display().to_string();
        loop {
            match take(&lock) {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => return Err(Error::InUse(name)),
                Err(TryLockError::Error(source)) => {
                    if source.kind() != io::ErrorKind::Interrupted {
                        return Err(Error::Lock { name, source });
                    }
                }
            }
        }
        Ok(Self {
            path: path.to_owned(),
            names,
            _lock: lock,
        })
    }
}

/// Brings the names in a directory to the disk, where that is done by syncing it: on some file systems
/// no directory can be.
fn sync_names(directory: &File) -> io::Result<()> {
    match directory.sync_all() {
        Err(error)
            if matches!(
                Errno::from_io_error(&error),
                Some(Errno::INVAL | Errno::BADF)
            ) =>
        {
            Ok(())
        }
        synced => synced,
    }
}

impl FileSystem for Directory {
    type File = File;

    fn create(&self, name: &str) -> io::Result<File> {
        File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.path.join(name))
    }

    fn open(&self, name: &str) -> io::Result<File> {
        File::open(self.path.join(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let name = |entry: io::Result<std::fs::DirEntry>| {
            entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
        };
        std::fs::read_dir(&self.path)?.map(name).collect()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        sync_names(&self.names)
    }

    fn boot(&self) -> String {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
    }
}

impl StoredFile for File {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }

    fn splice_from(&self, pipe: BorrowedFd<'_>, length: usize, offset: u64) -> io::Result<usize> {
        let mut offset = offset;
        let moved = splice(
            pipe,
            None,
            self,
            Some(&mut offset),
            length,
            SpliceFlags::empty(),
        );
        Ok(moved?)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn reserve(&self, length: u64) {
        // Without it bytes reach the disk more slowly, that is all. What a failed one has got is given
        // back: other files need room, too.
        if fallocate(self, FallocateFlags::KEEP_SIZE, 0, length).is_err() {
            let _ = self.metadata().and_then(|it| self.set_len(it.len()));
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn sync_all(&self) -> io::Result<()> {
        File::sync_all(self)
    }
}
