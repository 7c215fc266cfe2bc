//! A stage's output compared with what it gave before, byte by byte, from a recording.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;

use anyhow::Context;
use pipewright_spool::{FileSystem, Next, Spool};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::commands::board::Board;
use crate::view::hexdump;

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Compared {
    /// It began with all that is recorded.
    Same,
    /// It ended before, at this offset, and was the same up to there.
    Short(u64),
    /// From this byte on.
    Differs {
        offset: u64,
        recorded: String,
        given: String,
    },
}

/// So much of both sides is shown.
const SHOWN: usize = 48;

/// Compares stdin with all that a spool holds, and reads no more of it than that. Tells the board how far
/// it is.
pub(super) fn compare<F: FileSystem<File = File>>(
    spool: &Spool<F>,
    board: &Board,
) -> anyhow::Result<Compared> {
    board.begin(spool, 0, 0);
    let stdin = rustix::stdio::stdin();
    let mut reader = spool.passer_by();
    let (mut recorded, mut given) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    while let Next::Bytes(piece) = reader.next_piece()? {
        let mut done = 0;
        while done < piece.length {
            let length = usize::try_from(piece.length - done).unwrap_or(usize::MAX);
            let length = length.min(recorded.len());
            piece
                .file
                .read_exact_at(&mut recorded[..length], piece.at + done)
                .context("cannot read the recording")?;
            let read = fill(stdin, &mut given[..length]).context("cannot read stdin")?;
            let (one, other) = (&recorded[..length], &given[..read]);
            let offset = piece.offset + done;
            if let Some(wrong) = one.iter().zip(other).position(|(one, other)| one != other) {
                let shown = |bytes: &[u8]| {
                    let bytes = &bytes[wrong..bytes.len().min(wrong + SHOWN)];
                    hexdump::rows(bytes, offset + wrong as u64)
                };
                return Ok(Compared::Differs {
                    offset: offset + wrong as u64,
                    recorded: shown(one),
                    given: shown(other),
                });
            }
            if read < length {
                return Ok(Compared::Short(offset + read as u64));
            }
            done += length as u64;
            board.taken(spool, offset + length as u64);
        }
    }
    Ok(Compared::Same)
}

/// Reads until the buffer is full or the input is over.
fn fill(input: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::read(input, &mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                // Interrupted or not, it is tried again.
                let _ = poll(&mut [PollFd::new(&input, PollFlags::IN)], None);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(filled)
}
