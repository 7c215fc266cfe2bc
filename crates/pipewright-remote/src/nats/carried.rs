//! Bytes of chunks on their way to the server and back, and command lines as bytes.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::{StreamExt, TryStreamExt, stream};
use pipewright_workers::{Chunk, Store};

use super::error::{Error, Result};
use super::names::Kind;
use super::pieces::Pieces;
use super::server::Server;

/// Pieces that are fetched at once.
const FETCHES: usize = 4;

/// Fetches pieces and makes them one. Whatever the record says, there is never more here than the pieces
/// that were found.
pub(crate) async fn fetch(
    server: &Server,
    kind: Kind,
    length: u64,
    crc: u32,
    subject: impl Fn(u64) -> String,
    store: &Store,
) -> Result<Chunk> {
    let mut chunk = store.chunk().map_err(Error::Store)?;
    let mut pieces = stream::iter(Pieces::of(length).ranges().map(|(piece, range)| {
        let subject = subject(piece);
        async move {
            let bytes = server.get(kind, &subject).await?;
            let bytes = bytes.ok_or_else(|| Error::Missing {
                subject: subject.clone(),
            })?;
            if bytes.len() as u64 != range.end - range.start {
                return Err(Error::Damaged { subject });
            }
            Ok(bytes)
        }
    }))
    .buffered(FETCHES);
    let mut sum = 0;
    while let Some(piece) = pieces.try_next().await? {
        sum = crc32c::crc32c_append(sum, &piece);
        chunk.append_bytes(&piece).map_err(Error::Store)?;
    }
    if sum != crc {
        return Err(Error::Damaged {
            subject: subject(0),
        });
    }
    Ok(chunk)
}

/// A command line, for people.
pub(crate) fn shown(argv: &[Vec<u8>]) -> String {
    let words: Vec<_> = argv
        .iter()
        .map(|word| String::from_utf8_lossy(word))
        .collect();
    words.join(" ").chars().take(200).collect()
}

/// Reads a range of parts that stand one behind the other.
pub(crate) fn read(parts: &[&Chunk], from: u64, to: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut start = 0;
    for part in parts {
        let end = start + part.len();
        let (first, last) = (from.max(start), to.min(end));
        if first < last {
            let more = part
                .read(first - start, last - start)
                .map_err(Error::Store)?;
            if bytes.is_empty() {
                bytes = more;
            } else {
                bytes.extend(more);
            }
        }
        start = end;
    }
    Ok(bytes)
}

/// The SHA-256 of a chunk, and the CRC-32C of it with what comes before.
pub(crate) fn sums(parts: &[&Chunk]) -> Result<([u8; 32], u32)> {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    let mut crc = 0;
    for (number, part) in parts.iter().enumerate() {
        for (_, range) in Pieces::of(part.len()).ranges() {
            let bytes = part.read(range.start, range.end).map_err(Error::Store)?;
            crc = crc32c::crc32c_append(crc, &bytes);
            if number + 1 == parts.len() {
                hash.update(&bytes);
            }
        }
    }
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(hash.finish().as_ref());
    Ok((sha256, crc))
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes as a word or a variable.
pub(crate) fn os(bytes: &[u8]) -> OsString {
    OsStr::from_bytes(bytes).to_owned()
}
