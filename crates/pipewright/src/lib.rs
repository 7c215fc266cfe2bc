//! Start processes, hand them any descriptor, connect them with pipes: no hang, no leak, no fork.

#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
compile_error!("pipewright supports Linux on x86-64 and aarch64, and nothing else");

mod child;
mod command;
mod descriptors;
mod error;
mod pipe;
mod pipeline;
mod spawn;

pub use child::Child;
pub use command::{Command, Stdio};
pub use error::{Error, InvalidCommand, Result, StartError, Step};
pub use pipe::{PipeExt, pipe, splice, tee};
pub use pipeline::{
    Capacity, Pipeline, PipelineStatus, Policy, RunningPipeline, Stage, StageEnd, StageStatus,
    signal_name,
};
pub use rustix::process::{Resource, Rlimit, Signal};
pub use spawn::ResourceUsage;
pub use std::io::{PipeReader, PipeWriter};
