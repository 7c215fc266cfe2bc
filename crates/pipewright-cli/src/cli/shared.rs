//! Options that `run` and `resume` have in common.

use std::time::Duration;

use clap::Args;

use super::values::When;
use crate::quantity;

/// The time that the stages may take.
#[derive(Debug, Args)]
pub(crate) struct TimeLimits {
    /// Send SIGTERM to the stages after this time: 10, 1.5s, 2m, 1h. The status is then 124
    ///
    /// 0 means no limit.
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true, value_parser = quantity::limit)]
    pub(crate) timeout: Option<Duration>,

    /// With --timeout: send SIGKILL to what is left this long after the SIGTERM
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true, value_parser = quantity::limit, requires = "timeout")]
    pub(crate) kill_after: Option<Duration>,
}

/// How much is said, and in which colours.
#[derive(Debug, Args)]
pub(crate) struct Talk {
    /// Print only errors
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// Also show how each stage was started and the capacity of each pipe
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// When to use colours; auto: on a terminal, unless NO_COLOR is set
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    pub(crate) color: When,
}
