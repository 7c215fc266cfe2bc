//! Hands over to a child: re-execution, a config of any size, named descriptors, typed messages,
//! barriers, and becoming another program at the end.
//!
//! Some programs must do something *inside* a new process before the real program runs there: enter
//! a namespace, give up a privilege, take over a terminal. They start themselves again. What the
//! new process needs to know comes over pipes and inherited descriptors, and there such programs
//! hang and leak: a config is larger than a pipe, a child dies early while the parent writes or
//! waits, an end of a pipe stays open somewhere, a descriptor reaches the program at the end. Here
//! it takes a few lines.
//!
//! Entry points are registered by name and dispatched first thing in `main`. [`ReExec`] starts one;
//! see there for a child with a config. Here the parent does something for the child, and the child
//! becomes another program in the end:
//!
//! ```
//! use std::time::Duration;
//! use pipewright::Command;
//! use pipewright_handoff::{EntryPoints, ParentLink, ReExec, Result};
//!
//! fn init(parent: &mut ParentLink) -> Result<()> {
//!     // Waits until the parent has done its part, dies, refuses, or takes too long.
//!     parent.channel().barrier("map my ids")?;
//!     parent.exec(Command::new("true"))
//! }
//!
//! fn main() -> Result<()> {
//!     EntryPoints::new().entry("init", init).dispatch();
//!
//!     let mut child = ReExec::new("init").spawn()?;
//!     child.channel().serve_barrier("map my ids", || Ok::<(), std::io::Error>(()))?;
//!     let running = child.wait_exec(Duration::from_secs(10))?;
//!     assert!(running.wait()?.success());
//!     Ok(())
//! }
//! ```
//!
//! # What can be relied on
//!
//! - **No write waits for the child.** The config is in sealed memory before the child exists.
//! - **Every wait ends**: in what was waited for, or in an [`Error`] that says why not. The other
//!   side died ([`Error::PeerDied`]), failed ([`Error::Remote`]) or sent something else
//!   ([`Error::Protocol`], [`Error::TooLarge`]), or the deadline has passed ([`Error::TimedOut`]).
//!   A wait watches the process and not only the channel, because a sibling or a daemon may hold a
//!   copy of the channel's other end for ever.
//! - **What was sent before a death is received before the death is reported.**
//! - **The program at the end has 0, 1, 2 and what was named for it.** The channel's own
//!   descriptors are close-on-exec from the child's first moment.
//! - **Parent and child are the same build**, or nothing is decoded.
//! - **A child believes nothing that it is told about numbers**: a descriptor that was not
//!   inherited, or has an owner already, is not taken ([`take_inherited`]). A set-user-ID program
//!   takes no hand-off at all, since anybody can start it with a made-up one.
//!
//! Between the two processes, messages have [postcard](https://docs.rs/postcard)'s form.
//!
//! # Features
//!
//! On by default are `stream` (messages over a pipe), `gate` (created, not started) and `log` (a
//! child's log lines under its name). `tracing` makes an event of each packet.

mod arrival;
mod barrier;
mod build;
mod channel;
mod codec;
mod descriptors;
mod entry;
mod error;
mod exec;
mod executable;
mod foreign;
mod frame;
#[cfg(feature = "gate")]
mod gate;
mod inherited;
mod link;
#[cfg(feature = "log")]
mod log;
mod manifest;
mod reexec;
mod socket;
#[cfg(feature = "stream")]
mod stream;

pub use channel::Channel;
pub use descriptors::{FromDescriptor, Terminal};
pub use entry::EntryPoints;
pub use error::{DescriptorFault, DescriptorKind, Error, Result};
pub use executable::SelfExe;
pub use foreign::{CHANNEL_VARIABLE, Foreign};
#[cfg(feature = "gate")]
pub use gate::Gate;
pub use inherited::take_inherited;
pub use link::{ChildLink, ParentLink};
#[cfg(feature = "log")]
pub use log::{Log, LogSink};
pub use reexec::ReExec;
#[cfg(feature = "stream")]
pub use stream::{DEFAULT_MESSAGE_LIMIT, Receiver, Sender};

/// The example in the README runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
