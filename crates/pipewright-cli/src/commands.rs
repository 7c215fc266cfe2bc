//! One file a subcommand.

mod board;
pub(crate) mod completions;
pub(crate) mod diff;
mod giving;
pub(crate) mod keep;
pub(crate) mod limits;
pub(crate) mod ls;
pub(crate) mod manual;
pub(crate) mod on;
mod on_hosts;
mod placed;
mod played;
pub(crate) mod remote;
pub(crate) mod replay;
pub(crate) mod resize;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod spool;
mod taking;
#[cfg(feature = "nats")]
pub(crate) mod via;
pub(crate) mod watch;
pub(crate) mod workers;
