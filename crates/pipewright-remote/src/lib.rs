//! A stage of a pipeline on another host.
//!
//! The near half stands in the pipeline. It starts the user's own `ssh`, at whose other end the far half
//! starts the stage. Frames pass between them: see [`Frame`]. Each half keeps what the other has not
//! acknowledged, so the link may go away and come back:
//!
//! - **The bytes are those of an undisturbed run**, on stdin, stdout and stderr, wherever the link breaks.
//! - **Nothing is left behind**: without a link for as long as the lease, the far half ends the stage with
//!   everything that it has started, and the near half fails with [`Error::Lost`].
//! - **The end is the stage's own**: its status or its signal, and what it used there. What went wrong
//!   between the hosts is an [`Error`], never a status.
//! - **Memory is bounded** by a few windows of 4 MiB, whatever the other half sends.
//!
//! [`Fleet`] runs the chunks of one stage on several hosts.
//!
//! [`Session`] is the first of these without input and output.
//!
//! ```
//! use pipewright_remote::{Decoder, Half, Session, Stream};
//!
//! let (mut near, mut far) = (Session::new(Half::Near, 1 << 20), Session::new(Half::Far, 1 << 20));
//! near.push(Stream::Stdin, b"HOLA!");
//! let mut lost = Vec::new();
//! near.next_frame(&mut lost); // the link breaks, and nobody gets this
//!
//! near.resume(&far.positions())?;
//! far.resume(&near.positions())?;
//! let mut bytes = Vec::new();
//! near.next_frame(&mut bytes);
//! let mut decoder = Decoder::default();
//! decoder.room()[..bytes.len()].copy_from_slice(&bytes);
//! decoder.filled(bytes.len());
//! far.receive(&decoder.next_frame()?.expect("a whole frame"))?;
//!
//! let mut given = Vec::new();
//! far.peek(Stream::Stdin, 100, &mut given);
//! assert_eq!(given, b"HOLA!");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bootstrap;
mod connect;
mod environment;
mod error;
mod exchange;
mod far;
mod fleet;
mod frames;
mod incoming;
mod lease;
mod link;
mod meeting;
mod messages;
#[cfg(feature = "nats")]
pub mod nats;
mod near;
mod outgoing;
mod plain;
mod quote;
mod session;
mod shared;
mod ssh;
mod stream;
mod warden;

pub use bootstrap::{Copy, bootstrap};
pub use error::{Error, Misuse, Result};
pub use far::{FarError, far_half};
pub use fleet::{Fleet, FleetSetup, Place, Quit, Told, UnusableHosts, run_chunks};
pub use frames::{Decoder, Frame, HEAD, Kind, LONGEST_PAYLOAD, NoFrame};
pub use messages::{End, Look, Usage};
pub use near::{Ended, RemoteStage, Signals, Streams};
pub use plain::{PlainEnd, run_plainly};
pub use quote::for_login_shell;
pub use session::{Positions, Session};
pub use ssh::Host;
pub use stream::{Half, Stream};
pub use warden::watch_over;
