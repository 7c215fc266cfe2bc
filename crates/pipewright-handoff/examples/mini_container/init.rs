//! Init: pid 1 of the container, up to the exec of its program.

use std::error::Error;
use std::time::Duration;

use pipewright::Command;
use pipewright_handoff::{Gate, ParentLink};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change,
    unmount,
};
use rustix::process::{chdir, pivot_root};

use crate::monitor::Config;
use crate::{privileges, trace};

pub(crate) fn run(parent: &mut ParentLink) -> Result<(), Box<dyn Error + Send + Sync>> {
    let config: Config = parent.config()?;
    trace::print(config.traced_since);
    let _traced = tracing::info_span!("init").entered();
    let channel = parent.channel();
    channel.set_timeout(config.timeout);

    let gate = match &config.gate {
        Some(path) => {
            channel.enter("make the gate")?;
            // Now, while its path can be reached.
            Some(Gate::new(path)?)
        }
        None => None,
    };

    channel.enter("make / private")?;
    // No mount in here may reach the host.
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;

    channel.enter("bind the rootfs")?;
    // pivot_root wants a mount point that is not the present root's.
    mount_bind_recursive(&config.rootfs, &config.rootfs)?;

    channel.enter("mount /proc")?;
    // Before the host's /proc is out of reach: the kernel gives a user namespace a new one only
    // while one is in sight. Read-only: the kernel's settings in there are the host's, and root's
    // to write even without capabilities.
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
    mount("proc", config.rootfs.join("proc"), "proc", flags, None)?;

    channel.enter("pivot_root")?;
    chdir(&config.rootfs)?;
    // The new root over the old one: then the old one lies on top, and is taken off.
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    chdir("/")?;

    channel.enter("set the hostname")?;
    rustix::system::sethostname(config.hostname.as_bytes())?;

    channel.enter("give up privileges")?;
    privileges::give_up()?;

    if let Some(gate) = gate {
        parent.wait_at(gate, Duration::MAX)?;
    }
    let (program, arguments) = config.program.split_first().ok_or("no program was given")?;
    // 0, 1, 2 and nothing else.
    Ok(parent.exec(Command::new(program).args(arguments))?)
}
