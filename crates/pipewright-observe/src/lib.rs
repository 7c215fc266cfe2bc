//! Look at the pipes of running processes from outside, without touching their data.
//!
//! A pipeline is as fast as its slowest stage, and nothing says which one that is: `top` shows who
//! uses a CPU, and a stage that waits in a pipe looks like one that waits for a disk. This crate
//! tells them apart, in pipelines that the calling program runs and in pipelines that somebody else
//! started:
//!
//! * [`topology::Scan`] finds the pipelines that run,
//! * [`PipeHandle`] tells how full a pipe is, and whether its ends still live,
//! * [`Sampler`] looks at stages and pipes many times a second,
//! * [`verdict::Verdict`] says which stage the others wait for, why, and what can be done.
//!
//! No byte of a pipeline passes through here, and no end of its pipes is held: readers see the end of
//! file and writers get `SIGPIPE` as if nobody watched. What the kernel does not tell is reported as
//! unknown, never as zero.
//!
//! # A complete example
//!
//! Run `yes | gzip -9 | cat` for two seconds, and ask which stage is slow.
//!
//! ```
//! use std::process::{Command, Stdio};
//! use std::thread::sleep;
//! use std::time::Duration;
//!
//! use pipewright_observe::verdict::History;
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
//! let names = ["yes", "gzip -9", "cat"];
//! let stages = children.iter().zip(names).map(|(child, name)| {
//!     Ok(Process::open(child.id())?.named(name)) // or it is called by its command line
//! });
//! let stages = stages.collect::<Result<_, pipewright_observe::Error>>()?;
//! let mut sampler = Sampler::linear(stages, pipes, Intervals::default())?;
//! let mut history = History::new(sampler.layout().clone(), Duration::from_secs(5));
//! for _ in 0..100 {
//!     history.record(&sampler.tick());
//!     sleep(sampler.due_in());
//! }
//! let verdict = history.recent();
//! println!("{}", verdict.sentence());
//! // stage 2 (gzip -9) is the bottleneck: it keeps one core busy, 100 % of the time
//! println!("{}", verdict.advice().unwrap_or_default());
//! // pigz does the same on all cores; zstd -T0 is even faster if you can use its format
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
//! use pipewright_observe::{Error, Intervals, Sampler};
//!
//! fn watch(pid: u32) -> Result<Sampler, Error> {
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
//! ([`Sampler::cpu_time`] tells; `examples/record.rs` prints it). A scan of 2,000 processes with 50,000
//! descriptors takes about 60 ms on two cores (`examples/scan.rs`).
//!
//! # What may be looked at
//!
//! The kernel decides, by the rules of [ptrace(2)](https://man7.org/linux/man-pages/man2/ptrace.2.html):
//! your own processes, unless they changed their privileges; as root, all. States and CPU times are
//! open to everybody. Where `/proc/sys/kernel/yama/ptrace_scope` is not 0, `/proc/PID/syscall` is
//! readable only for descendants; `/proc/PID/wchan`, which names no descriptor, takes its place.
//!
//! `/proc` has to be the one of this process's own pid namespace. In another one, the numbers of
//! children name strangers, so nothing is looked at: [`Error::NoProc`].
//!
//! # Nobody is waited for
//!
//! A process can make those who read its command line wait for as long as it likes. Command lines are
//! read by helper threads, and a sampler looks from a thread of its own; what does not answer within
//! half a second is left out. At most eight helpers are left behind in such a read.
//!
//! # Types of other crates
//!
//! The public face has types of `std` and of `serde` (implementations of its two traits), of no other
//! crate. System calls are made through `rustix`, which may change without being seen here.

#[cfg(not(target_os = "linux"))]
compile_error!("pipewright-observe reads the /proc of Linux and works on no other system");

mod error;
mod memory_kills;
mod microseconds;
mod now;
mod parallel;
mod patience;
mod pipe;
mod proc;
mod sampler;
mod sealed;
mod spool_state;
mod text;
pub mod topology;
pub mod verdict;
#[doc(hidden)]
pub mod workspace;

pub use self::error::Error;
pub use self::pipe::{PipeHandle, PipeId, PipeLevel};
pub use self::proc::{Process, ProcessId, Scheduled};
pub use self::sampler::{
    Activity, Figures, Intervals, Layout, Link, PipeFigures, PipeLayout, Sample, Sampler,
    SpoolFigures, StageFigures, StageLayout,
};
pub use self::spool_state::{SpoolState, SpoolWait};

/// The example in the README runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
