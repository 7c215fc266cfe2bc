//! The options of what runs on other hosts.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values::{HostSlots, host_slots};
use crate::quantity;

/// Run a stage on another host: A | pipewright on HOST -- B | C
///
/// Your own ssh carries the bytes, with its config and keys. If the connection breaks it is made again, and
/// the bytes are those of an undisturbed run. The stage's status, signals and stderr are as if it ran here.
/// No shell reads the command: its words arrive as they are. HOST needs pipewright, in PATH or by
/// --bootstrap; without it plain ssh is used, which cannot go on after a break.
#[derive(Debug, Args)]
#[command(after_long_help = ON_NOTES)]
pub(crate) struct On {
    /// The host, as ssh takes it: a name from its config, an address, user@host
    #[arg(value_name = "HOST")]
    pub(crate) host: String,

    #[command(flatten)]
    pub(crate) reach: Reach,

    /// How long each side lives without the other: 30, 90s, 5m
    ///
    /// If the link stays away for so long, HOST ends the stage with everything it has started, and
    /// pipewright ends with status 121.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = quantity::lease)]
    pub(crate) lease: Duration,

    /// How many connections carry the bytes: more are faster where the way is long
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) channels: u8,

    /// Say on stderr how it went
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// Write one JSON object on how it went to this file
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) told_to: Option<PathBuf>,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// The hosts that run chunks of a stage.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Workers on other hosts")]
pub(crate) struct OnHosts {
    /// Have the chunks run on these hosts, by ssh: HOST, HOST/4 for four at once, : for this host
    ///
    /// Each gets as many at once as it has cores, unless /N or -j says otherwise; the idlest gets the next.
    /// What a host had that is lost is run elsewhere. Before a host gets a chunk, the beginning of the input
    /// is run there as well as here, and a host that gives something else is not used. The command starts in
    /// the home directory there.
    #[arg(long, value_name = "HOST[/N],...", value_delimiter = ',', group = "elsewhere", value_parser = host_slots)]
    pub(crate) on: Vec<HostSlots>,

    #[command(flatten)]
    pub(crate) reach: Reach,

    /// How long a host may be silent before its chunks are given to others for good: 30, 90s, 5m
    #[arg(long, value_name = "DURATION", requires = "elsewhere", default_value = "30s", value_parser = quantity::lease)]
    pub(crate) lease: Duration,
}

/// How a host is reached.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Reach {
    /// The ssh to use [default: $PIPEWRIGHT_SSH, or ssh]
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) ssh: Option<PathBuf>,

    /// Pass this to ssh: Port=2222, as after -o; or an option with its dash, -F/etc/other_config. May be
    /// given several times
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    pub(crate) ssh_option: Vec<OsString>,

    /// Where HOST has no copy of this pipewright, put one into ~/.cache/pipewright there
    ///
    /// HOST must run Linux on the same kind of processor. The copy is checked by its SHA-256, and is used
    /// in place of another pipewright there.
    #[arg(long, conflicts_with = "program")]
    pub(crate) bootstrap: bool,

    /// The pipewright on HOST [default: the one in PATH, or the copy that --bootstrap has made]
    #[arg(long = "pipewright", value_name = "PATH")]
    pub(crate) program: Option<OsString>,
}

const ON_NOTES: &str = "\
Examples:
  zcat log.gz | pipewright on big -- sort -u | wc -l
  pipewright on db --lease 10m -- pg_dump shop | zstd > shop.zst
  pipewright on big --bootstrap -- sh -c 'sort -u | gzip' < names > names.gz

Exit status:
  the command's own, 255 too; where a signal ended it there, pipewright ends by the same signal
  121  the link was lost for longer than the lease, or HOST could not go on
  125  an error of pipewright itself: HOST cannot be reached, and nothing was started
  126  the command could not be executed there
  127  the command was not found there";

/// Be the half of `pipewright on` on the other host
///
/// ssh starts it. It speaks a protocol on stdin and stdout, which is of no use to anybody else.
#[derive(Debug, Args)]
pub(crate) struct Remote {
    /// The word that the other half waits for
    #[arg(required_unless_present_any = ["warden", "chunks"])]
    pub(crate) nonce: Option<String>,

    /// Run the command, and tell descriptor 3 of it
    #[arg(long, hide = true, requires = "command")]
    pub(crate) warden: bool,

    /// Run the chunks that come on stdin
    #[arg(long, hide = true, conflicts_with = "warden")]
    pub(crate) chunks: bool,

    /// The command to watch over
    #[arg(last = true, hide = true)]
    pub(crate) command: Vec<OsString>,
}
