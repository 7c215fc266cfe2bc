//! What a fleet runs, where, and what it says of that.

use std::ffi::OsString;
use std::time::Duration;

use pipewright_workers::Records;

use crate::bootstrap::Copy;
use crate::ssh::Host;

/// Where runs are made, and how many at once.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Place {
    /// The host; `None` is this one.
    pub host: Option<Host>,
    /// How many runs at once; a run a core where nobody says.
    pub slots: Option<usize>,
}

impl Place {
    /// A place with a run for each core.
    #[must_use]
    pub fn new(host: Option<Host>) -> Self {
        Self { host, slots: None }
    }

    /// What it is called.
    pub(super) fn name(&self) -> &str {
        self.host.as_ref().map_or("this host", |host| &host.name)
    }
}

/// What a fleet runs, and where.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FleetSetup {
    /// The program and its arguments.
    pub argv: Vec<OsString>,
    /// Where.
    pub places: Vec<Place>,
    /// What a record is.
    pub records: Records,
    /// How long a host whose link is away keeps what it has.
    pub lease: Duration,
    /// What is put on hosts without pipewright.
    pub copy: Option<Copy>,
    /// So many bytes of chunks are kept in memory, here and there.
    pub memory: u64,
}

impl FleetSetup {
    /// A fleet with the defaults.
    #[must_use]
    pub fn new(argv: Vec<OsString>, places: Vec<Place>) -> Self {
        Self {
            argv,
            places,
            records: Records::Line,
            lease: Duration::from_secs(30),
            copy: None,
            memory: 1 << 30,
        }
    }
}

/// None of the hosts can be used. Why was told for each.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("none of the hosts can be used, and nothing was run")]
pub struct UnusableHosts;

/// What one place has done.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Told {
    /// Its name.
    pub place: String,
    /// How many runs it could have at once.
    pub slots: usize,
    /// Chunks whose results came from there.
    pub chunks: u64,
    /// The CPU time of those.
    pub on_core: Duration,
}
