//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::ids::IdMap;
use crate::state::State;

/// A small container runtime.
#[derive(Parser)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) action: Action,
    /// Where created containers are kept. Its path must be short: it holds sockets.
    #[arg(long, global = true, default_value_os_t = default_directory())]
    state: PathBuf,
}

#[derive(Subcommand)]
pub(crate) enum Action {
    /// Run a program in a container, and end as it ends.
    Run(Container),
    /// Set a container up in full, and have it wait before its program.
    Create {
        /// The container's name.
        id: String,
        #[command(flatten)]
        container: Container,
    },
    /// Start the program of a created container.
    Start {
        /// The container's name.
        id: String,
    },
    /// Remove a container.
    Delete {
        /// The container's name.
        id: String,
        /// Kill it where it lives.
        #[arg(long)]
        force: bool,
    },
}

/// What a container is made of.
#[derive(Args)]
pub(crate) struct Container {
    /// The directory that becomes `/`. It needs an empty directory `proc`.
    #[arg(long)]
    pub(crate) rootfs: PathBuf,
    /// The name of the machine, as the program sees it.
    #[arg(long)]
    pub(crate) hostname: String,
    /// Print each message between the processes, with the time since the start.
    #[arg(long)]
    pub(crate) trace: bool,
    /// Seconds that one process waits for another in each phase.
    #[arg(long, default_value = "10")]
    pub(crate) timeout: f64,
    /// Make a user namespace also as root, who needs none.
    #[arg(long)]
    pub(crate) user_namespace: bool,
    /// User ids in the container, as INSIDE:OUTSIDE:COUNT; the caller's own becomes 0 unless given.
    #[arg(long)]
    pub(crate) uid_map: Option<IdMap>,
    /// Group ids, likewise.
    #[arg(long)]
    pub(crate) gid_map: Option<IdMap>,
    /// Never answer at the barrier of this name: to see what the other side makes of it.
    #[arg(long)]
    pub(crate) withhold: Option<String>,
    /// The program and its arguments, as they are called inside.
    #[arg(last = true, required = true)]
    pub(crate) program: Vec<OsString>,
}

impl Options {
    pub(crate) fn is_traced(&self) -> bool {
        match &self.action {
            Action::Run(container) | Action::Create { container, .. } => container.trace,
            Action::Start { .. } | Action::Delete { .. } => false,
        }
    }

    pub(crate) fn state_of(&self, id: &str) -> State {
        State::new(self.state.join(id))
    }
}

fn default_directory() -> PathBuf {
    let user = rustix::process::geteuid();
    std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .unwrap_or_else(|| std::env::temp_dir().join(format!("mini_container-{user}")))
        .join("mini_container")
}
