//! A thread that sees no /proc.

/// Hides `/proc` from this thread and what it starts.
#[allow(unsafe_code, reason = "a mount namespace of this thread")]
pub fn hide() -> rustix::io::Result<()> {
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    // SAFETY: the table of descriptors stays shared; only unsharing that is unsafe.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private)?;
    mount("none", "/proc", "tmpfs", MountFlags::empty(), None)
}
