//! A sealed file in memory, read in place.
#![allow(unsafe_code, reason = "mmap")]

use std::ffi::c_void;
use std::fs::File;
use std::ptr;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::error::{Error, Result};
use super::executable::ALL_SEALS;

/// The bytes of a sealed memfd.
#[derive(Debug)]
pub(super) struct SealedMapping {
    start: *mut c_void,
    length: usize,
}

impl SealedMapping {
    /// Maps all of the file; `None` where it is not sealed in full, or is empty.
    pub(super) fn of(file: &File) -> Result<Option<Self>> {
        let failed = "read the hand-over";
        let sealed = rustix::fs::fcntl_get_seals(file).is_ok_and(|it| it.contains(ALL_SEALS));
        let length = file.metadata().map_err(Error::io(failed))?.len();
        let Ok(length) = usize::try_from(length) else {
            return Ok(None);
        };
        if !sealed || length == 0 {
            return Ok(None);
        }
        // Populated, because all of it is read once, from the front to the end.
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let start = unsafe { mmap(ptr::null_mut(), length, ProtFlags::READ, flags, file, 0) }
            .map_err(Error::system(failed))?;
        Ok(Some(Self { start, length }))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: mapped for reading with this length until this is dropped. The seals forbid
        // everybody to write to the file and to shrink it, for ever, so the bytes neither change nor
        // go away.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.length) }
    }
}

impl Drop for SealedMapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `of` with this length; no slice of it outlives this.
        let _ = unsafe { munmap(self.start, self.length) };
    }
}
