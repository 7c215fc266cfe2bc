//! A pipe to be watched, and the stages at its ends.

use crate::pipe::PipeHandle;

/// A pipe between stages of a sampler.
///
/// ```
/// use pipewright_observe::{Intervals, Link, PipeHandle, Process, Sampler};
///
/// // Two stages that write into one pipe, and one that reads from it.
/// let (reader, _writer) = std::io::pipe()?;
/// let link = Link { pipe: PipeHandle::of_end(&reader)?, writers: vec![0, 1], readers: vec![2] };
/// let stages = (0..3).map(|_| Process::open(std::process::id())).collect::<Result<_, _>>()?;
/// let sampler = Sampler::new(stages, vec![link], Intervals::default())?;
/// assert!(sampler.layout().has_output(1) && sampler.layout().has_input(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Link {
    /// The pipe.
    pub pipe: PipeHandle,
    /// Indices of the stages that write to it.
    pub writers: Vec<usize>,
    /// Indices of the stages that read from it.
    pub readers: Vec<usize>,
}
