//! The observer on real pipes, real processes and real pipelines.

mod common;
mod faults;
mod pipe;
mod pipelines;
mod process;
mod sampler;
mod stubborn;
