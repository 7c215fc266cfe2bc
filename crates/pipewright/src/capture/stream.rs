//! One stream of output that is being collected, and the buffer that it goes to.

use std::io::PipeReader;

use crate::error::{Error, Result};

/// The origin of bytes: see [`TaggedLines`](crate::TaggedLines).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutputStream {
    /// The last stage's stdout.
    Stdout,
    /// The stderr of the stage with this index.
    Stderr(usize),
}

/// One stream that is being collected.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) from: OutputStream,
    /// `None` once its end was seen.
    pub(super) reader: Option<PipeReader>,
    pub(super) buffer: Vec<u8>,
    pub(super) keep: Keep,
    /// True once the pipe was given a larger capacity, or that was tried.
    pub(super) enlarged: bool,
}

/// The part of a stream that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    All,
    /// Its end, for the error of a command that failed. It does not count to the limit.
    Tail,
}

impl Stream {
    pub(super) fn new(from: OutputStream, reader: PipeReader) -> Self {
        Self {
            from,
            reader: Some(reader),
            buffer: Vec::new(),
            keep: Keep::All,
            enlarged: false,
        }
    }
}

/// Makes room for `more` bytes. No memory is an error and not the end of this process.
pub(super) fn reserve(buffer: &mut Vec<u8>, more: usize) -> Result<()> {
    // By doubling, which is address space and no memory until something is read into it; where
    // even the addresses are scarce, no more than has to be.
    let result = buffer.try_reserve(more);
    let result = result.or_else(|_| buffer.try_reserve_exact(more));
    result.map_err(|_| Error::System {
        operation: "hold a child's output in memory",
        source: std::io::ErrorKind::OutOfMemory.into(),
    })
}
