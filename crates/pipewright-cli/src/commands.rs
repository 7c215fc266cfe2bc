//! One file a subcommand.

pub(crate) mod completions;
pub(crate) mod limits;
pub(crate) mod ls;
pub(crate) mod manual;
pub(crate) mod resize;
pub(crate) mod run;
pub(crate) mod watch;
pub(crate) mod workers;
