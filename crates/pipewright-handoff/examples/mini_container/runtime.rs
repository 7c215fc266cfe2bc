//! The runtime: what somebody started on the command line.

use std::error::Error;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::Duration;

use pipewright::Signal;
use pipewright_handoff::{ChildLink, Gate, ReExec, SelfExe};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{getegid, geteuid, pidfd_send_signal};

use crate::ids::{self, IdMap};
use crate::monitor::{Config, MAP_IDS, Started};
use crate::options::Container;
use crate::state::State;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The time that an opened container may take until its program runs, and a killed one until it is
/// gone.
const SOON: Duration = Duration::from_secs(10);

pub(crate) fn run(container: &Container, traced_since: Option<Duration>) -> Result<u8> {
    let mut monitor = begin(container, traced_since, None)?;
    let _started: Started = monitor.channel().receive()?;
    let status = monitor.into_child().wait()?;
    // The monitor ends as the program did.
    Ok(status.code().map_or_else(
        || 128 + status.signal().unwrap_or(0) as u8,
        |code| code as u8,
    ))
}

pub(crate) fn create(
    state: &State,
    container: &Container,
    traced_since: Option<Duration>,
) -> Result<u8> {
    state.make()?;
    let created = || -> Result<()> {
        let mut monitor = begin(container, traced_since, Some(state.gate()))?;
        let started: Started = monitor.channel().receive()?;
        Ok(state.remember(started.process)?)
    };
    if let Err(error) = created() {
        state.remove()?;
        return Err(error);
    }
    Ok(0)
}

pub(crate) fn start(state: &State) -> Result<u8> {
    if !state.exists() {
        return Err("there is no container of this name".into());
    }
    Gate::open(state.gate(), SOON)?;
    Ok(0)
}

pub(crate) fn delete(state: &State, force: bool) -> Result<u8> {
    if !state.exists() {
        return Err("there is no container of this name".into());
    }
    if let Some(init) = state.init()? {
        if !force {
            return Err("the container lives: end it first, or give --force".into());
        }
        // When pid 1 dies, the kernel kills everything else in there.
        pidfd_send_signal(&init, Signal::KILL)?;
        let soon = Timespec::try_from(SOON)?;
        if poll(&mut [PollFd::new(&init, PollFlags::IN)], Some(&soon))? == 0 {
            return Err("the container does not end although it was killed".into());
        }
    }
    state.remove()?;
    Ok(0)
}

/// Starts the monitor.
fn begin(
    container: &Container,
    traced_since: Option<Duration>,
    gate: Option<PathBuf>,
) -> Result<ChildLink> {
    let config = Config {
        rootfs: std::path::absolute(&container.rootfs)?,
        hostname: container.hostname.clone(),
        program: container.program.clone(),
        user_namespace: container.user_namespace || !geteuid().is_root(),
        timeout: Duration::try_from_secs_f64(container.timeout)?,
        traced_since,
        gate,
    };
    // Sealed: a program that gets hold of /proc/1/exe before the exec cannot change the host's
    // file.
    let mut monitor = ReExec::new("monitor")
        .executable(SelfExe::Sealed)
        .config(&config)?;
    if config.dies_with_its_parent() {
        monitor = monitor.command(|command| command.parent_death_signal(Signal::KILL));
    }
    let mut monitor = monitor.spawn()?;
    let channel = monitor.channel();
    // The monitor's own waits end first, and tell more.
    channel.set_timeout(config.timeout * 2);
    if config.user_namespace {
        map_ids(&mut monitor, container)?;
    }
    Ok(monitor)
}

/// "Map my ids" – "mapped, go on".
fn map_ids(monitor: &mut ChildLink, container: &Container) -> Result<()> {
    let process = monitor.child().id();
    let users = container.uid_map.unwrap_or(IdMap::own(geteuid().as_raw()));
    let groups = container.gid_map.unwrap_or(IdMap::own(getegid().as_raw()));
    if container.withhold.as_deref() == Some(MAP_IDS) {
        monitor.channel().await_barrier(MAP_IDS)?;
        return Ok(());
    }
    let map = || ids::write(process, users, groups);
    Ok(monitor.channel().serve_barrier(MAP_IDS, map)?)
}
