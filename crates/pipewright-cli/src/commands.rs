//! One file a subcommand.

pub(crate) mod completions;
mod giving;
pub(crate) mod limits;
pub(crate) mod ls;
pub(crate) mod manual;
pub(crate) mod replay;
pub(crate) mod resize;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod spool;
pub(crate) mod watch;
pub(crate) mod workers;
