//! One file a subcommand.

pub(crate) mod limits;
pub(crate) mod manual;
pub(crate) mod run;
