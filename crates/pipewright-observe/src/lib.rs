//! Look at the pipes of running processes from outside, without touching their data.
//!
//! A pipeline is as fast as its slowest stage, and nothing tells which one that is: `top` shows who
//! uses a CPU, and a stage that waits in a pipe and one that waits for a disk look alike. This crate
//! tells, for pipelines that the calling program runs and for pipelines that somebody else started:
//!
//! * which pipelines exist ([`topology::Scan`]),
//! * how full each pipe is, and whether its ends still live ([`PipeHandle`]),
//! * what each process does and waits for ([`Process`]),
//! * all of that many times a second ([`Sampler`]),
//! * and which stage the others wait for, why, and what can be done ([`verdict::Verdict`]).
//!
//! No byte of a pipeline passes through here, and no end of its pipes is held: readers see the end of
//! file and writers get `SIGPIPE` as if nobody watched. What the kernel does not tell is told as
//! unknown, never as zero.
//!
//! # A complete example
//!
//! Run `yes | gzip -9 | cat`, and ask which stage is slow.
//!
//! ```
//! use std::process::{Command, Stdio};
//! use std::thread::sleep;
//! use std::time::Duration;
//!
//! use pipewright_observe::verdict::{Finding, History};
//! use pipewright_observe::{Intervals, PipeHandle, Process, Sampler};
//!
//! // Take hold of each pipe before its ends go to the stages.
//! let (first_reader, first_writer) = std::io::pipe()?;
//! let (second_reader, second_writer) = std::io::pipe()?;
//! let pipes = vec![PipeHandle::of_end(&first_reader)?, PipeHandle::of_end(&second_reader)?];
//! let mut children = [
//!     Command::new("yes").stdout(first_writer).spawn()?,
//!     Command::new("gzip").arg("-9").stdin(first_reader).stdout(second_writer).spawn()?,
//!     Command::new("cat").stdin(second_reader).stdout(Stdio::null()).spawn()?,
//! ];
//!
//! let stages = children.iter().map(|child| Process::open(child.id())).collect::<Result<_, _>>()?;
//! let mut sampler = Sampler::linear(stages, pipes, Intervals::default())?;
//! let mut history = History::new(sampler.layout().clone(), Duration::from_secs(5));
//! let verdict = loop {
//!     history.record(&sampler.tick());
//!     let verdict = history.recent();
//!     // At first the programs are being loaded.
//!     if matches!(&verdict.finding, Finding::Bottleneck(found) if found.stage == 1) {
//!         break verdict;
//!     }
//!     sleep(sampler.due_in());
//! };
//! println!("{}", verdict.sentence());
//! // stage 2 (gzip -9) is the bottleneck: it keeps one core busy, 100 % of the time
//! println!("{}", verdict.advice().unwrap_or_default());
//! // pigz does the same on all cores, zstd -T0 is faster still where its format will do
//!
//! // Ended, and not yet waited for: the moment for the final figures.
//! children[0].kill()?;
//! history.record(&sampler.finish());
//! println!("in {} samples: {}", history.overall().samples, history.overall().sentence());
//! # for child in &mut children { child.wait()?; }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! For a pipeline that runs already, any of its processes will do:
//!
//! ```
//! use pipewright_observe::topology::Scan;
//! use pipewright_observe::{Intervals, Sampler};
//!
//! fn watch(pid: u32) -> Result<Sampler, pipewright_observe::Error> {
//!     let pipeline = Scan::now()?.pipeline_of(pid)?;
//!     Sampler::attach(&pipeline, Intervals::default())
//! }
//!
//! let error = watch(99_999_999).unwrap_err();
//! assert!(error.to_string().contains("not part of a pipeline"));
//! ```
//!
//! # What it costs
//!
//! At the default intervals a pipeline of ten stages costs well under 1 % of one core
//! ([`Sampler::cost`] tells; `examples/record.rs` prints it). A scan of 2,000 processes with 50,000
//! descriptors takes about 60 ms on two cores (`examples/scan.rs`).
//!
//! # What may be looked at
//!
//! The kernel decides, by the rules of [ptrace(2)](https://man7.org/linux/man-pages/man2/ptrace.2.html):
//! one's own processes, unless they changed their privileges; as root all. States and CPU times are
//! open to everybody. Where `/proc/sys/kernel/yama/ptrace_scope` is not 0, `/proc/PID/syscall` is
//! readable only for descendants, and `/proc/PID/wchan`, which names no descriptor, takes its place.

#[cfg(not(target_os = "linux"))]
compile_error!("pipewright-observe reads the /proc of Linux and works on no other system");

mod error;
mod parallel;
mod pipe;
mod proc;
mod sampler;
pub mod topology;
pub mod verdict;

pub use self::error::{Error, Result};
pub use self::parallel::in_parallel;
pub use self::pipe::{CapacityChange, PipeEnds, PipeHandle, PipeId, PipeLevel};
pub use self::proc::{
    BlockedOn, CommandLine, FilePosition, IoCounters, Process, ProcessId, Schedule, Stat, State,
    Target, displayable,
};
pub use self::sampler::{
    Activity, Cost, Figures, Intervals, Layout, Link, PipeFigures, PipeLayout, Sample, Sampler,
    Scheduled, StageFigures, StageLayout,
};
