//! Files without a name, which no kill leaves behind.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::files::FileSystem;

/// Files on the file system of a directory, known to this process alone.
#[derive(Debug)]
pub struct Unlinked {
    directory: PathBuf,
    files: Mutex<BTreeMap<String, File>>,
}

impl Unlinked {
    /// Files on the file system of this directory.
    pub fn new(directory: impl AsRef<Path>) -> Self {
        Self {
            directory: directory.as_ref().to_owned(),
            files: Mutex::default(),
        }
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, File>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileSystem for Unlinked {
    type File = File;

    fn create(&self, name: &str) -> io::Result<File> {
        let mut files = self.files();
        if let Some(file) = files.get(name) {
            return file.try_clone();
        }
        let file = tempfile::tempfile_in(&self.directory)?;
        files.insert(name.to_owned(), file.try_clone()?);
        Ok(file)
    }

    fn open(&self, name: &str) -> io::Result<File> {
        let files = self.files();
        files.get(name).ok_or(io::ErrorKind::NotFound)?.try_clone()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files().keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let removed = self.files().remove(name);
        removed.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn boot(&self) -> String {
        String::new()
    }

    fn lasts(&self) -> bool {
        false
    }
}
