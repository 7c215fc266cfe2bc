//! pipewright-observe.

mod error;
mod pipe;
mod proc;
mod sampler;
pub mod topology;
pub mod verdict;

pub use self::error::{Error, Result};
pub use self::pipe::{CapacityChange, PipeEnds, PipeHandle, PipeId, PipeLevel};
pub use self::proc::{
    BlockedOn, CommandLine, FilePosition, IoCounters, Process, ProcessId, Schedule, Stat, State,
    Target, displayable,
};
pub use self::sampler::{
    Activity, Cost, Figures, Intervals, Layout, Link, PipeFigures, PipeLayout, Sample, Sampler,
    Scheduled, StageFigures, StageLayout,
};
