//! An output read to its end by a thread: counted and hashed, not kept.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, PipeReader, PipeWriter, Read};
use std::thread::JoinHandle;

use pipewright::PipeExt;
use pipewright::poll::poll;
use rustix::event::{PollFd, PollFlags};

use crate::comparison::Digest;

/// So much is hashed at a time, whatever the reads are, so that only the bytes matter.
const BLOCK: usize = 1 << 17;

/// The thread that reads.
#[derive(Debug)]
pub(super) struct Drain {
    thread: JoinHandle<io::Result<Digest>>,
    stop: PipeWriter,
}

impl Drain {
    /// Starts to read. Outputs that were hashed with the same keys can be compared.
    pub(super) fn start(output: PipeReader, keys: &RandomState) -> io::Result<Self> {
        let (stopped, stop) = pipewright::pipe()?;
        // Where more is refused, the default does.
        let _ = output.set_capacity(1 << 20);
        let hasher = keys.build_hasher();
        let thread = std::thread::Builder::new()
            .name("output".to_owned())
            .spawn(move || drain(output, &stopped, hasher))?;
        Ok(Self { thread, stop })
    }

    /// Takes what was written so far; the stages have ended. Somebody whom they left behind may have
    /// the pipe open for ever.
    pub(super) fn finish(self) -> io::Result<Digest> {
        drop(self.stop);
        let panicked = |_| io::Error::other("the thread that reads the output panicked");
        self.thread.join().map_err(panicked)?
    }
}

fn drain(
    mut output: PipeReader,
    stopped: &PipeReader,
    mut hasher: impl Hasher,
) -> io::Result<Digest> {
    let mut block = vec![0; BLOCK];
    let (mut filled, mut bytes) = (0, 0);
    let mut left = None;
    while left != Some(0) {
        if left.is_none() {
            let mut polled = [
                PollFd::new(&output, PollFlags::IN),
                PollFd::new(stopped, PollFlags::IN),
            ];
            poll(&mut polled, None)?;
            if !polled[1].revents().is_empty() {
                left = Some(output.unread()?);
                continue;
            }
        }
        let room = left.unwrap_or(BLOCK).min(BLOCK - filled);
        let read = output.read(&mut block[filled..filled + room])?;
        if read == 0 {
            break;
        }
        left = left.map(|left| left - read);
        filled += read;
        bytes += read as u64;
        if filled == BLOCK {
            hasher.write(&block);
            filled = 0;
        }
    }
    hasher.write(&block[..filled]);
    let hash = hasher.finish();
    Ok(Digest { bytes, hash })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn digest(writes: &[&[u8]], keys: &RandomState) -> Digest {
        let (output, mut input) = pipewright::pipe().unwrap();
        let drain = Drain::start(output, keys).unwrap();
        for bytes in writes {
            input.write_all(bytes).unwrap();
        }
        // The writer is still open, as a daemon would have it.
        let digest = drain.finish().unwrap();
        drop(input);
        digest
    }

    #[test]
    fn a_digest_depends_on_the_bytes_alone() {
        let keys = RandomState::new();
        let large = vec![7; 3 * BLOCK + 5];
        let whole = digest(&[&large], &keys);
        assert_eq!(whole.bytes, large.len() as u64);
        assert_eq!(digest(&[&large[..100], &large[100..]], &keys), whole);
        let mut other = large.clone();
        other[BLOCK] = 8;
        assert_ne!(digest(&[&other], &keys).hash, whole.hash);
        assert_ne!(digest(&[], &keys), digest(&[&[0]], &keys));
    }
}
