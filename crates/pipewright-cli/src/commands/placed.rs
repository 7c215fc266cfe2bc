//! A file that is there with all of its content, or as it was before.

use std::ffi::OsString;
use std::fs::File;
use std::io;
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
        let file = File::create(&beside).with_context(context)?;
        if let Some(before) = before {
            // Where it cannot be, it is as for a new file.
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

impl Drop for Placed {
    fn drop(&mut self) {
        // Where it is in its place, there is none of this name.
        let _ = std::fs::remove_file(&self.beside);
    }
}
