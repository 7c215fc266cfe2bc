//! Start processes, hand them any descriptor, connect them with pipes: no hang, no leak, no fork.
//!
//! A pipe is a queue of bytes in the kernel with two ends. It is easy to make one, and easy to get
//! the rest wrong: an end is left open somewhere, and a reader waits for ever; a program gets a
//! descriptor that was not meant for it; the parent is large, and every start copies page tables for
//! 50 ms. This crate is the part around the pipe.
//!
//! This page teaches it in order: [a pipe](#a-pipe), [a process](#a-process-and-descriptors-for-it),
//! [a pipeline](#a-pipeline), [its output](#output), [time](#time), [whole trees](#whole-trees),
//! [async](#async), [a child that is yourself](#a-child-that-is-this-program).
//!
//! # A pipe
//!
//! [`pipe`] gives the reader first. The ends are std's own types; [`PipeExt`] adds what the kernel
//! knows of the pipe.
//!
//! ```
//! use std::io::Write;
//! use pipewright::PipeExt;
//!
//! let (reader, mut writer) = pipewright::pipe()?;
//! writer.write_all(b"in the kernel")?;
//! assert_eq!(reader.unread()?, 13);
//! assert_eq!(reader.capacity()?, 65536); // 16 pages: the default. 1 MiB is the ceiling
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # A process, and descriptors for it
//!
//! [`Command`] looks like std's. It is consumed by [`spawn`](Command::spawn): when that returns,
//! this process holds nothing that it gave away, so a reader here sees the end of file when the
//! child is done. [`Command::fd`] puts any descriptor at any number.
//!
//! ```
//! use std::io::Write;
//! use pipewright::Command;
//!
//! let (reader, writer) = pipewright::pipe()?;
//! let child = Command::new("sh").args(["-c", "read line <&3; test \"$line\" = HOLA!"])
//!     .fd(3, reader)
//!     .spawn()?;
//! writeln!(&writer, "HOLA!")?;
//! assert!(child.wait()?.success());
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # A pipeline
//!
//! `|` between commands connects them by direct kernel pipes. At the end each stage tells how it
//! ended. `… | head` does not count as a failure of the stages before it: a stage that wrote to a
//! reader that had gone was [closed early](StageEnd::ClosedEarly). What a program reports as a
//! failure all the same can be [forgiven](Command::forgive).
//!
//! ```
//! use pipewright::{Command, Stdio};
//!
//! let ended = (Command::new("seq").arg("1000000")
//!     | Command::new("grep").arg("7")
//!     | Command::new("head").arg("-1").stdout(Stdio::Null))
//! .run()?;
//! assert!(ended.success());
//! for stage in ended.stages() {
//!     println!("{stage} in {:?}", stage.wall); // grep 7: closed early in 1.2ms
//! }
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Output
//!
//! [`Command::capture`] and [`Pipeline::capture`] feed stdin and collect stdout and stderr at once,
//! without a deadlock and without a thread. `read` gives the text of a command that must succeed,
//! `output` everything with the status as data, `lines` and `reader` what is written while it is
//! written, `spawn` a capture to be collected later. A failure is an error with the end of the
//! stage's stderr.
//!
//! ```
//! use pipewright::{Command, Error};
//!
//! let sorted = Command::new("sort").capture().input("b\na\n").read()?;
//! assert_eq!(sorted, "a\nb");
//! for line in Command::new("seq").arg("1000000").capture().lines()?.take(2) {
//!     assert!(["1", "2"].contains(&&*line?)); // the rest is never written
//! }
//! let error = Command::new("ls").arg("/nope").capture().read().unwrap_err();
//! assert!(error.to_string().starts_with("ls /nope failed: exit status 2: ls: "));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Time
//!
//! Whatever waits for another process has a form with a deadline, which is kept even if a process
//! that was left behind holds a pipe. What was collected by then is in the error.
//!
//! ```
//! use std::time::Duration;
//! use pipewright::{Command, Error};
//!
//! let child = Command::new("sleep").arg("60").spawn()?;
//! assert_eq!(child.wait_timeout(Duration::from_millis(1))?, None);
//! child.kill_after(Duration::from_secs(5))?; // SIGTERM, and SIGKILL if that does not help
//!
//! let slow = Command::new("sh").args(["-c", "echo begun; exec sleep 60"]);
//! let error = slow.capture().timeout(Duration::from_millis(500)).output().unwrap_err();
//! let Error::TimedOut { collected, .. } = error else { panic!("{error}") };
//! println!("by then it had said {:?}", collected.stdout);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Whole trees
//!
//! [`kill_tree`](Child::kill_tree) ends a process with everything that it started; with
//! [`own_tree`](Command::own_tree) that reaches daemons, too.
//!
//! # Async
//!
//! With the feature `tokio`: `wait_async`, `output_async`, `read_async`, `lines_async`, and
//! `into_async` for the ends of a pipe. With the feature `tracing`: a span for each start and an
//! event for each end. No feature is on by default.
//!
//! # A child that is this program
//!
//! The crate `pipewright-handoff` starts your own program again with a config of any size, named
//! descriptors and typed messages; every wait ends in an answer or an error that names the phase.
//!
//! # What can be relied on
//!
//! 1. **Nothing leaks into a child**: it has 0, 1, 2 and what was named for it, whatever other
//!    threads open meanwhile, close-on-exec or not.
//! 2. **Nothing given to a child stays open here.**
//! 3. **Any table of descriptors works**: swaps, cycles, 0-2 closed.
//! 4. **A start costs the same whatever this process's size**, with whichever options: there is one
//!    way to start, a clone that shares memory until the exec.
//! 5. **A failed start says which step failed**, and leaves no process, zombie or descriptor.
//! 6. **SIGPIPE is at its default in every child**, no signal is blocked, no handler is kept.
//! 7. **Waiting is by pidfd**: from any number of threads, with or without a deadline, and a signal
//!    never reaches another process that got the number.
//! 8. **A deadline is kept** even if a process left behind holds a pipe.
//!
//! # Coming from elsewhere
//!
//! [The guide](https://github.com/pipewright/pipewright/blob/main/docs/coming-from.md) has a table
//! beside std, duct, subprocess, command-fds, Go and Python, and says what stands for what.
//!
//! Linux 5.10 or newer, on x86-64 and aarch64.

#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
compile_error!("pipewright supports Linux on x86-64 and aarch64, and nothing else");

#[cfg(feature = "tokio")]
mod asynchronous;
mod capture;
mod child;
mod command;
mod descent;
mod descriptors;
mod error;
mod pipe;
mod pipeline;
#[doc(hidden)]
pub mod poll;
mod spawn;
mod tree;

#[cfg(feature = "tokio")]
pub use asynchronous::AsyncPipe;
#[cfg(feature = "tokio")]
pub use capture::AsyncLines;
#[doc(hidden)]
pub use capture::splitter::{Piece, Splitter};
pub use capture::{
    Canceller, Capture, Collected, Input, Line, Lines, Output, OutputReader, OutputStream,
    RunningCapture, TaggedLines,
};
pub use child::Child;
pub use command::{Command, Stdio};
pub use error::{Error, InvalidCommand, LostStatus, Result, StartError, Step};
pub use pipe::{DEFAULT_PAGES, PipeExt, pipe, splice, tee};
#[doc(hidden)]
pub use pipeline::note_closes;
pub use pipeline::{
    Capacity, Pipeline, PipelineStatus, Policy, RunningPipeline, Stage, StageEnd, StagePipe,
    StageStatus, signal_name,
};
/// Of rustix 1, not wrapped: whoever uses rustix has them already, and a rustix 2 will be a new major
/// version of this crate.
pub use rustix::process::{Resource, Rlimit, Signal};
pub use spawn::{ResourceUsage, reap_dropped, write_without_sigpipe};
pub use std::io::{PipeReader, PipeWriter};
#[doc(hidden)]
pub use tree::spread::Spread;
pub use tree::{Guardian, TreeReport, Unreached, reap_adopted};

/// The example in the README runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
