//! The monitor: makes the namespaces, starts init in them, and ends as init does.
#![allow(
    unsafe_code,
    reason = "unshare is unsafe for its one flag that is not used here"
)]

use std::error::Error;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::Duration;

use pipewright::{Child, Signal};
use pipewright_handoff::{ParentLink, ReExec};
use rustix::process::{Gid, Uid, set_parent_process_death_signal};
use rustix::thread::{UnshareFlags, set_thread_res_gid, set_thread_res_uid, unshare_unsafe};
use serde::{Deserialize, Serialize};

use crate::trace;

/// The barrier at which the runtime maps the ids.
pub(crate) const MAP_IDS: &str = "map my ids";

/// All that the monitor and init need to know.
#[derive(Serialize, Deserialize)]
pub(crate) struct Config {
    pub(crate) rootfs: PathBuf,
    pub(crate) hostname: String,
    pub(crate) program: Vec<OsString>,
    pub(crate) user_namespace: bool,
    pub(crate) timeout: Duration,
    /// The runtime's start, where messages are to be printed.
    pub(crate) traced_since: Option<Duration>,
    /// Where init waits before its program, for `create`.
    pub(crate) gate: Option<PathBuf>,
}

impl Config {
    /// A created container outlives the one who created it.
    pub(crate) fn dies_with_its_parent(&self) -> bool {
        self.gate.is_none()
    }
}

/// The message that init is where it was to come: in its program, or at its gate.
#[derive(Serialize, Deserialize)]
pub(crate) struct Started {
    /// Its process id outside.
    pub(crate) process: u32,
}

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

pub(crate) fn run(parent: &mut ParentLink) -> Result<()> {
    let config: Config = parent.config()?;
    trace::print(config.traced_since);
    let _traced = tracing::info_span!("monitor").entered();
    let channel = parent.channel();
    channel.set_timeout(config.timeout);

    if config.user_namespace {
        channel.enter("make a user namespace")?;
        unshare(UnshareFlags::NEWUSER)?;
        // Only somebody outside may say who we are in here.
        channel.barrier(MAP_IDS)?;
        channel.enter("become root in the user namespace")?;
        set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
        set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?;
        if config.dies_with_its_parent() {
            // The kernel forgets this when ids change. Had the runtime died in between, the next
            // message would find the channel closed.
            set_parent_process_death_signal(Some(Signal::KILL))?;
        }
    }
    channel.enter("make pid, mount and UTS namespaces")?;
    unshare(UnshareFlags::NEWPID | UnshareFlags::NEWNS | UnshareFlags::NEWUTS)?;

    channel.enter("start init")?;
    let init = start_init(&config)?;
    let process = init.id();
    channel.send(&Started { process })?;
    let status = init.wait()?;
    let code = status.code().unwrap_or(128 + status.signal().unwrap_or(0));
    std::process::exit(code);
}

/// Starts pid 1 and waits until it is in its program or at its gate. Its failures keep their phase
/// on the way up.
fn start_init(config: &Config) -> Result<Child> {
    let mut init = ReExec::new("init")
        .config(config)?
        .command(|command| command.parent_death_signal(Signal::KILL))
        .spawn()?;
    init.channel().set_timeout(config.timeout);
    match config.gate {
        None => Ok(init.wait_exec(config.timeout)?),
        Some(_) => {
            init.wait_created()?;
            Ok(init.into_child())
        }
    }
}

fn unshare(namespaces: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: the table of descriptors stays shared; only a thread that unshares it could surprise
    // another that holds one of its descriptors.
    unsafe { unshare_unsafe(namespaces) }
}
