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
    /// The directory in which created containers are kept: your own, and closed to others.
    #[arg(long, global = true, default_value_os_t = default_directory())]
    state: PathBuf,
}

#[derive(Subcommand)]
pub(crate) enum Action {
    /// Run a program in a container, and end as it ends.
    Run(Container),
    /// Set a container up in full, and let it wait before its program.
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
        /// Kill it if it lives.
        #[arg(long)]
        force: bool,
    },
}

/// What a container is made of.
#[derive(Args, Clone)]
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
    /// Make a user namespace even as root, which needs none.
    #[arg(long)]
    pub(crate) user_namespace: bool,
    /// User ids in the container, as INSIDE:OUTSIDE:COUNT; the caller's own becomes 0 unless given.
    #[arg(long)]
    pub(crate) uid_map: Option<IdMap>,
    /// Group ids, likewise.
    #[arg(long)]
    pub(crate) gid_map: Option<IdMap>,
    /// Never answer at the barrier of this name, to see what the other side makes of it.
    #[arg(long)]
    pub(crate) withhold: Option<String>,
    /// The program and its arguments, as they are found inside.
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

    /// Enters the state directory, and gives what it holds of this container.
    pub(crate) fn state_of(&self, id: &str) -> Result<State, String> {
        State::enter(&self.state, id)
    }
}

impl Container {
    /// The same with a rootfs that can be found from everywhere.
    pub(crate) fn with_absolute_rootfs(&self) -> std::io::Result<Self> {
        Ok(Self {
            rootfs: std::path::absolute(&self.rootfs)?,
            ..self.clone()
        })
    }
}

fn default_directory() -> PathBuf {
    let user = rustix::process::geteuid();
    let of_user = || std::env::temp_dir().join(format!("mini_container-{user}"));
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(directory) => PathBuf::from(directory).join("mini_container"),
        None if user.is_root() => PathBuf::from("/run/mini_container"),
        None => of_user(),
    }
}
