//! A file that is there with all of its content, or as it was before.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::Context;
use pipewright::Stdio;

use crate::recording::directory::{above, sync_directory};

/// The content is written to a file beside it, which takes its place in the end.
#[derive(Debug)]
pub(super) struct Placed {
    path: PathBuf,
    beside: PathBuf,
    file: File,
}

impl Placed {
    /// Makes the file beside. What a killed process left of it is written over.
    pub(super) fn beside(path: &Path) -> anyhow::Result<Self> {
        let context = || format!("cannot write to {}", path.display());
        let before = match path.metadata() {
            Ok(before) if before.is_file() => Some(before),
            Ok(_) => anyhow::bail!(
                "{} is no regular file, and cannot be replaced by one: give another name, or let the \
                 output go to stdout",
                path.display()
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(context),
        };
        // A link stays, and what it leads to is replaced.
        let path = match before {
            Some(_) => path.canonicalize().with_context(context)?,
            None => {
                let name = path.file_name().with_context(context)?;
                above(path).canonicalize().with_context(context)?.join(name)
            }
        };
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".unfinished");
        let beside = path.with_file_name(name);
        let file = own(&beside).with_context(context)?;
        if let Some(before) = before {
            // Where it cannot be, it is as for a new file.
            let _ = fchown(&file, Some(before.uid()), Some(before.gid()));
            let _ = file.set_permissions(before.permissions());
        }
        Ok(Self { path, beside, file })
    }

    /// The whole path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// For a process that writes the content.
    pub(super) fn stdout(&self) -> anyhow::Result<Stdio> {
        let copy = self.file.try_clone().context("cannot copy a descriptor")?;
        Ok(copy.into())
    }

    /// Puts the content in its place: on the disk first, then under its name.
    pub(super) fn put(self) -> anyhow::Result<PathBuf> {
        let put = || {
            self.file.sync_all()?;
            std::fs::rename(&self.beside, &self.path)?;
            sync_directory(above(&self.path))
        };
        put().with_context(|| format!("cannot write to {}", self.path.display()))?;
        Ok(self.path.clone())
    }
}

/// Makes a file, empty, for this process alone.
fn own(path: &Path) -> io::Result<File> {
    loop {
        let mut options = File::options();
        options.write(true).create(true).truncate(false);
        // Nobody lets it be written elsewhere.
        let file = options.custom_flags(libc::O_NOFOLLOW).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    format!("another process is writing it, to {}", path.display()),
                ));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Who had it may have put it in its place meanwhile.
        let is_there = path
            .symlink_metadata()
            .is_ok_and(|there| file.metadata().is_ok_and(|own| own.ino() == there.ino()));
        if is_there {
            file.set_len(0)?;
            return Ok(file);
        }
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        // Where it is in its place, there is none of this name.
        let _ = std::fs::remove_file(&self.beside);
    }
}
