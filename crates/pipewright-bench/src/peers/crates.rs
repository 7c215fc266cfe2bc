//! What a Rust program would use instead: std and the crates for the purpose.
//!
//! Each function starts `/bin/true`, hands it `descriptor` at number 3 where
//! it can, and waits. All take the descriptor by value, so that closing it is
//! counted for each of them.

use std::os::fd::OwnedFd;
use std::process::{Command, ExitStatus};

use anyhow::ensure;
use command_fds::{CommandFdExt, FdMapping};

pub(crate) fn std_plain(descriptor: OwnedFd) -> anyhow::Result<()> {
    drop(descriptor);
    succeeded(Command::new("/bin/true").spawn()?.wait()?)
}

pub(crate) fn std_with_command_fds(descriptor: OwnedFd) -> anyhow::Result<()> {
    let mut command = Command::new("/bin/true");
    command.fd_mappings(vec![FdMapping {
        parent_fd: descriptor,
        child_fd: 3,
    }])?;
    succeeded(command.spawn()?.wait()?)
}

/// duct has no way to pass a further descriptor.
pub(crate) fn duct_plain(descriptor: OwnedFd) -> anyhow::Result<()> {
    drop(descriptor);
    succeeded(duct::cmd("/bin/true", [""; 0]).start()?.wait()?.status)
}

/// subprocess has none but an unsafe closure between fork and exec.
pub(crate) fn subprocess_plain(descriptor: OwnedFd) -> anyhow::Result<()> {
    drop(descriptor);
    let status = subprocess::Exec::cmd("/bin/true").start()?.wait()?;
    ensure!(status.success(), "/bin/true ended with {status:?}");
    Ok(())
}

/// # Errors
///
/// If `/bin/true` did not do the one thing it can.
pub(crate) fn succeeded(status: ExitStatus) -> anyhow::Result<()> {
    ensure!(status.success(), "/bin/true ended with {status}");
    Ok(())
}
