//! Takes from the container's program what it must not have, whoever it is in there.

use rustix::io::{Errno, Result};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

/// Gives up every capability at the next exec, and for everything that comes after it.
///
/// # References
///
/// "Transformation of capabilities during execve" in
/// [capabilities(7)](https://man7.org/linux/man-pages/man7/capabilities.7.html)
pub(crate) fn give_up() -> Result<()> {
    // What is in neither of these two sets is not gained by an exec, not even by root's.
    for number in 0..64 {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            Err(Errno::INVAL) => break, // the kernel has no more
            Err(errno) => return Err(errno),
        }
    }
    let present = capabilities(None)?;
    let inheritable = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            inheritable,
            ..present
        },
    )?;
    set_no_new_privs(true)
}
