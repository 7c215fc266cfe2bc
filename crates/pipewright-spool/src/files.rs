//! The file system that a spool lies on, behind a trait: a directory, unlinked files, or a model of one
//! that crashes.

use std::fmt::Debug;
use std::io;
use std::os::fd::BorrowedFd;

/// No file reaches further, and what is added to it does not overflow.
pub(crate) const LARGEST_OFFSET: u64 = i64::MAX as u64;

/// The names and files of one spool.
pub trait FileSystem: Debug + Send + Sync + 'static {
    /// A file of it.
    type File: StoredFile;

    /// Opens a file, and makes an empty one where there is none.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Opens a file.
    ///
    /// # Errors
    ///
    /// What the kernel said; `NotFound` where there is none.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Gives the names of all files.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Brings the names to the disk.
    ///
    /// # Errors
    ///
    /// What the kernel said: which names are on the disk is then unknown.
    fn sync(&self) -> io::Result<()>;

    /// Gives a text that differs from boot to boot of the machine.
    fn boot(&self) -> String;

    /// Tells whether the files outlive this process. Where they do not, nothing is ever synced.
    fn lasts(&self) -> bool {
        true
    }
}

/// A file, read and written by offset.
pub trait StoredFile: Debug + Send + Sync + 'static {
    /// Reads up to as many bytes; 0 at the end of the file.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes some of the bytes, at least one.
    ///
    /// # Errors
    ///
    /// What the kernel said. Nothing was written then.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Moves bytes from a pipe to the file. What leaves the pipe is in the file, whatever happens to this
    /// process meanwhile.
    ///
    /// # Errors
    ///
    /// What the kernel said; `InvalidInput` or `Unsupported` where this cannot be done.
    fn splice_from(&self, pipe: BorrowedFd<'_>, length: usize, offset: u64) -> io::Result<usize> {
        let _ = (pipe, length, offset);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Gives the length in bytes.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    fn length(&self) -> io::Result<u64>;

    /// Cuts the file; space that was reserved behind the length is given back.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    fn set_length(&self, length: u64) -> io::Result<()>;

    /// Reserves space; the length stays. It is done where it can be done.
    fn reserve(&self, length: u64) {
        let _ = length;
    }

    /// Brings the bytes to the disk.
    ///
    /// # Errors
    ///
    /// What the kernel said: which bytes are on the disk is then unknown.
    fn sync_data(&self) -> io::Result<()>;

    /// Brings the bytes and all that is known of the file to the disk.
    ///
    /// # Errors
    ///
    /// Likewise.
    fn sync_all(&self) -> io::Result<()>;
}

/// Fills the buffer as far as the file goes, and tells how far.
pub(crate) fn read_exactly(
    file: &impl StoredFile,
    bytes: &mut [u8],
    offset: u64,
) -> io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Writes all of the bytes.
pub(crate) fn write_all(file: &impl StoredFile, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match file.write_at(&bytes[done..], offset + done as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => done += written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Adds the bytes of a range of the file to a checksum; `None` if the file ends before.
pub(crate) fn checksum(
    file: &impl StoredFile,
    mut from: u64,
    to: u64,
    mut sum: u32,
) -> io::Result<Option<u32>> {
    let most = to.saturating_sub(from).min(1 << 16) as usize;
    let mut buffer = vec![0; most];
    while from < to {
        let length = buffer
            .len()
            .min(usize::try_from(to - from).unwrap_or(usize::MAX));
        let piece = &mut buffer[..length];
        if read_exactly(file, piece, from)? < length {
            return Ok(None);
        }
        sum = crc32c::crc32c_append(sum, piece);
        from += length as u64;
    }
    Ok(Some(sum))
}
