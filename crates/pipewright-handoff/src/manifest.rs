//! All that the child is handed, in one sealed memfd: the build, the entry point, the descriptors
//! and the config.
//!
//! A memfd takes any number of bytes without a reader, so the parent never blocks on a child that
//! does not read, as it would on a pipe. Once sealed, it cannot change while the child reads it.
//!
//! ```text
//! offset 0    head: magic, build id, place and length of the contents
//!        64   the config
//!        …    the contents
//! ```
//!
//! The head's form does not depend on the build: a child of another build can read that it is one,
//! and find the channel to say so.
#![allow(unsafe_code, reason = "mmap")]

use std::ffi::c_void;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::ptr;

use rustix::fs::MemfdFlags;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::build::{self, BuildId};
use crate::codec::{Limit, decode_all, encode};
use crate::error::{DescriptorKind, Error, Result};
use crate::executable::{ALL_SEALS, memory};

/// The largest config in bytes, 1 GiB.
const CONFIG_LIMIT: u64 = 1 << 30;

const CONTENTS_LIMIT: Limit = Limit {
    what: "the table of what is handed over",
    bytes: 1 << 20,
    advice: "hand over fewer descriptors, or with shorter names",
};

const MAGIC: [u8; 16] = *b"pipewright-hand\x01";
const HEAD_LENGTH: usize = 64;

/// Everything but the config.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Contents {
    pub(crate) entry: String,
    pub(crate) config: Option<ConfigPlace>,
    pub(crate) descriptors: Vec<NamedDescriptor>,
}

/// The config's type and size.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ConfigPlace {
    type_name: String,
    length: u64,
}

/// A descriptor of the child.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NamedDescriptor {
    pub(crate) name: String,
    pub(crate) number: i32,
    pub(crate) kind: DescriptorKind,
}

/// The part that every build can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) build: BuildId,
    /// The number of the channel in the child.
    pub(crate) channel: i32,
    /// The number of the parent's pidfd in the child.
    pub(crate) parent: i32,
    contents_at: u64,
    contents_length: u64,
}

impl Head {
    fn to_bytes(self) -> [u8; HEAD_LENGTH] {
        let mut bytes = [0; HEAD_LENGTH];
        let parts = MAGIC
            .into_iter()
            .chain(self.build)
            .chain(self.channel.to_le_bytes())
            .chain(self.parent.to_le_bytes())
            .chain(self.contents_at.to_le_bytes())
            .chain(self.contents_length.to_le_bytes());
        for (place, byte) in bytes.iter_mut().zip(parts) {
            *place = byte;
        }
        bytes
    }

    /// Reads a head; `None` if these bytes are none.
    fn from_bytes(bytes: &[u8; HEAD_LENGTH]) -> Option<Self> {
        fn part<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
            let (part, rest) = bytes.split_first_chunk::<N>()?;
            *bytes = rest;
            Some(*part)
        }
        let mut rest = &bytes[..];
        if part(&mut rest)? != MAGIC {
            return None;
        }
        Some(Self {
            build: part(&mut rest)?,
            channel: i32::from_le_bytes(part(&mut rest)?),
            parent: i32::from_le_bytes(part(&mut rest)?),
            contents_at: u64::from_le_bytes(part(&mut rest)?),
            contents_length: u64::from_le_bytes(part(&mut rest)?),
        })
    }
}

/// The parent's half: a memfd that is being filled.
#[derive(Debug)]
pub(crate) struct Draft {
    file: File,
    config: Option<ConfigPlace>,
}

impl Draft {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            file: memory(MemfdFlags::NOEXEC_SEAL)?.into(),
            config: None,
        })
    }

    pub(crate) fn write_config<T: Serialize>(&mut self, config: &T) -> Result<()> {
        let failed = Error::io("write the config to memory");
        self.file
            .seek(SeekFrom::Start(HEAD_LENGTH as u64))
            .map_err(failed)?;
        let limit = Limit {
            what: "the config",
            bytes: CONFIG_LIMIT,
            advice: "put the bulk into a file and hand over its descriptor",
        };
        let mut to = BufWriter::with_capacity(64 * 1024, &self.file);
        let length = encode(config, &mut to, limit)?;
        to.flush()
            .map_err(Error::io("write the config to memory"))?;
        let type_name = std::any::type_name::<T>().to_owned();
        self.config = Some(ConfigPlace { type_name, length });
        Ok(())
    }

    /// Writes what the child needs to find the rest, and seals it all.
    pub(crate) fn finish(
        self,
        entry: &str,
        channel: i32,
        parent: i32,
        descriptors: Vec<NamedDescriptor>,
    ) -> Result<OwnedFd> {
        let length = self.config.as_ref().map_or(0, |config| config.length);
        let contents = Contents {
            entry: entry.to_owned(),
            config: self.config,
            descriptors,
        };
        let mut bytes = Vec::new();
        let contents_length = encode(&contents, &mut bytes, CONTENTS_LIMIT)?;
        let head = Head {
            build: build::own(),
            channel,
            parent,
            contents_at: HEAD_LENGTH as u64 + length,
            contents_length,
        };
        let written = self
            .file
            .write_all_at(&head.to_bytes(), 0)
            .and_then(|()| self.file.write_all_at(&bytes, head.contents_at));
        written.map_err(Error::io("write the hand-off to memory"))?;
        rustix::fs::fcntl_add_seals(&self.file, ALL_SEALS)
            .map_err(Error::system("seal the hand-off"))?;
        Ok(self.file.into())
    }
}

/// The child's half: a memfd that arrived. Given back when the config has been read.
#[derive(Debug)]
pub(crate) struct Manifest {
    memory: SealedMapping,
    pub(crate) head: Head,
}

impl Manifest {
    /// Maps a hand-off; `None` if this is none. The descriptor is closed in any case.
    pub(crate) fn open(descriptor: OwnedFd) -> Option<Self> {
        let memory = SealedMapping::of(&File::from(descriptor)).ok()??;
        let head = Head::from_bytes(memory.bytes().first_chunk()?)?;
        Some(Self { memory, head })
    }

    /// Decodes the contents. Only if the build is this one.
    pub(crate) fn contents(&self) -> Result<Contents> {
        self.decode(self.head.contents_at, self.head.contents_length)
    }

    pub(crate) fn config<T: DeserializeOwned>(&self, place: &ConfigPlace) -> Result<T> {
        let wanted = std::any::type_name::<T>();
        if place.type_name != wanted {
            let expected = format_args!("a config of type {wanted}");
            let got = format_args!("one of type {}", place.type_name);
            return Err(Error::protocol(expected, got));
        }
        self.decode(HEAD_LENGTH as u64, place.length)
    }

    fn decode<T: DeserializeOwned>(&self, at: u64, length: u64) -> Result<T> {
        let expected = std::any::type_name::<T>();
        let all = self.memory.bytes();
        let bytes = at
            .checked_add(length)
            .and_then(|end| all.get(usize::try_from(at).ok()?..usize::try_from(end).ok()?));
        match bytes {
            Some(bytes) => decode_all(bytes, expected),
            None => Err(Error::protocol(
                format_args!("{length} bytes of {expected}"),
                format_args!("{} bytes in all", all.len()),
            )),
        }
    }
}

/// The bytes of a sealed memfd.
#[derive(Debug)]
struct SealedMapping {
    start: *mut c_void,
    length: usize,
}

// SAFETY: it is a plain address and a length. Any thread may read the bytes, which never change,
// and any thread may unmap them.
unsafe impl Send for SealedMapping {}
// SAFETY: likewise.
unsafe impl Sync for SealedMapping {}

impl SealedMapping {
    /// Maps all of the file; `None` if it is not sealed in full, or is empty.
    fn of(file: &File) -> Result<Option<Self>> {
        let failed = "read the hand-off";
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

    fn bytes(&self) -> &[u8] {
        // SAFETY: mapped for reading with this length until this is dropped. The seals forbid
        // writing to the file and shrinking it, to everybody and for ever, so the bytes neither
        // change nor go away.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.length) }
    }
}

impl Drop for SealedMapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `of` with this length; no slice of it outlives this.
        let _ = unsafe { munmap(self.start, self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_the_same_after_the_way_through_bytes() {
        let head = Head {
            build: [7; build::LENGTH],
            channel: 4,
            parent: 5,
            contents_at: 1 << 33,
            contents_length: 12,
        };
        assert_eq!(Head::from_bytes(&head.to_bytes()), Some(head));
        assert_eq!(Head::from_bytes(&[0; HEAD_LENGTH]), None);
    }

    #[test]
    fn what_is_handed_over_can_be_read_and_not_written() {
        let mut draft = Draft::new().unwrap();
        draft.write_config(&vec![1_u32, 2, 300]).unwrap();
        let memory = draft.finish("worker", 4, 5, Vec::new()).unwrap();
        let refused = rustix::io::write(&memory, b"x").unwrap_err();
        assert_eq!(refused, rustix::io::Errno::PERM);

        let manifest = Manifest::open(memory).unwrap();
        assert_eq!(manifest.head.build, build::own());
        let contents = manifest.contents().unwrap();
        assert_eq!(contents.entry, "worker");
        let place = contents.config.unwrap();
        assert_eq!(manifest.config::<Vec<u32>>(&place).unwrap(), [1, 2, 300]);
        let error = manifest.config::<String>(&place).unwrap_err();
        assert!(
            error.to_string().contains("alloc::vec::Vec<u32>"),
            "{error}"
        );
    }

    #[test]
    fn a_file_that_is_no_hand_over_is_not_taken_for_one() {
        let unsealed = memory(MemfdFlags::NOEXEC_SEAL).unwrap();
        assert!(Manifest::open(unsealed).is_none());
        let ordinary = File::open("/dev/null").unwrap();
        assert!(Manifest::open(ordinary.into()).is_none());
        let empty = memory(MemfdFlags::NOEXEC_SEAL).unwrap();
        rustix::fs::fcntl_add_seals(&empty, ALL_SEALS).unwrap();
        assert!(Manifest::open(empty).is_none());
    }
}
