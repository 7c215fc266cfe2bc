//! Start processes, hand them any descriptor, connect them with pipes: no hang, no leak, no fork.
//!
//! A pipe is a queue of bytes in the kernel with two ends. It is easy to make one, and easy to get
//! the rest wrong: an end left open somewhere, and a reader waits for ever; a descriptor that was
//! not meant for a program, and it has it; a large parent, and every start copies page tables for
//! 50 ms. This crate is the part around the pipe.
//!
//! # A pipe
//!
//! [`pipe`] gives the reader first. The ends are std's own types; [`PipeExt`] adds what the kernel
//! knows of the pipe.
//!
//! ```
//! use std::io::{Read, Write};
//! use pipewright::PipeExt;
//!
//! let (mut reader, mut writer) = pipewright::pipe()?;
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
//! child is done. [`Command::fd`] puts any descriptor to any number.
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
//! ended, and `… | head` is no failure of what was left of it.
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
//! # Beside others
//!
//! On Linux; ✓ is yes, a word says how far, "by hand" is a few lines without a thread, empty is no. Of
//! std 1.95, duct 1.1.2, subprocess 1.2.3, command-fds 0.3.3 (empty: as std), Go 1.27.3 and Python
//! 3.11.7. `docs/coming-from.md` in the repository says what each word means.
//!
//! | | pipewright | std | duct | subprocess | command-fds | Go os/exec | Python subprocess |
//! |---|---|---|---|---|---|---|---|
//! | any descriptor at any number | ✓ | | | | all but one | upwards from 3 | at its own number |
//! | a start never copies page tables, whatever its options | ✓ | some options | by path, some options | | no | all but a user namespace | some options |
//! | no descriptor leaks, close-on-exec or not | ✓ | | | | | | ✓ |
//! | a failed start names its step | ✓ | | | | | the directory | the directory |
//! | pipelines | ✓ | by hand | ✓ | ✓ | | by hand | by hand |
//! | `… \| head` is no failure | ✓ | | | only the last counts | | | |
//! | feeds and collects at once | ✓ | | by threads | ✓ | | by goroutines | ✓ |
//! | a limit on what is collected | ✓ | by hand | by hand | ✓ | | by hand | by hand |
//! | a capture with a deadline, though a grandchild holds the pipe | ✓ | | without the output | `communicate` | | `WaitDelay` | ✓ |
//! | tells "it has ended" from "its pipe is held" | ✓ | | | `poll` | | if it succeeded | `poll` |
//! | lines as they come, the failure at the end | ✓ | by hand | ✓ | by hand | | by hand | by hand |
//! | cancelling a capture from another thread | ✓ | | `kill` | `kill` | | ✓ | `kill` |
//! | any thread may wait while another kills | ✓ | | ✓ | ✓ | | one may wait | ✓ |
//! | ends daemons that a command left behind | ✓ | | | | | | |
//! | session, credentials, mask and limits without a closure in the child | ✓ | some | std's | some | | some | some |
//! | a parent-death signal that does not follow a thread | ✓ | | | | | | |
//! | async | tokio | | | | tokio | goroutines | asyncio |
//! | runs on other systems | | ✓ | ✓ | ✓ | Unix | ✓ | ✓ |
//!
//! # Coming from std, duct or subprocess
//!
//! - **std**: the names are std's. A [`Command`] is taken by value and consumed. What is
//!   `output()` there is [`capture`](Command::capture)`().output()` here, and `Stdio::piped()` becomes
//!   a [`pipe`] of your own whose other end you keep.
//! - **duct**: `cmd!("a").pipe(cmd!("b")).read()` is `(a | b).capture().read()`; `unchecked()` is
//!   `output()`, where the status is data.
//! - **subprocess**: `Exec::cmd("a") | Exec::cmd("b")` is `a | b`; `communicate` is
//!   [`capture`](Pipeline::capture), with `limit` and `timeout`.
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
pub use tree::{TreeReport, Unreached, reap_adopted};
