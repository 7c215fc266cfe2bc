//! Memory made resident in one go, before a read fills it.
#![allow(unsafe_code, reason = "madvise takes an address")]

use std::mem::MaybeUninit;

use rustix::mm::{Advice, madvise};

/// Gives the whole pages of `spare` their memory.
///
/// Otherwise the read takes a page fault for every 4 KiB of it, which is most of what a large
/// output costs this process. It saves a tenth of the time, and changes nothing else: a kernel
/// before 5.14 does not know the advice, and the pages come one by one.
///
/// Huge pages would save more on average, but where the kernel has to make room for one, or the
/// machine is virtual and its host has to, a fault takes a thousand times longer.
///
/// # References
///
/// MADV_POPULATE_WRITE in [madvise(2)](https://man7.org/linux/man-pages/man2/madvise.2.html)
pub(super) fn make_resident(spare: &mut [MaybeUninit<u8>]) {
    let page = rustix::param::page_size();
    let before = spare.as_ptr().align_offset(page);
    let Some(length) = spare.len().checked_sub(before) else {
        return;
    };
    let length = length - length % page;
    if length == 0 {
        return;
    }
    let start = spare[before..].as_mut_ptr().cast();
    // SAFETY: the range is whole pages inside the slice, which is this process's own writable
    // memory and borrowed exclusively. The advice keeps what is in it.
    let _ = unsafe { madvise(start, length, Advice::LinuxPopulateWrite) };
}

#[cfg(test)]
mod tests {
    use super::make_resident;

    #[test]
    fn what_is_in_the_memory_stays_and_any_slice_will_do() {
        let mut bytes = vec![7_u8; 100_000];
        bytes.reserve_exact(1 << 20);
        make_resident(bytes.spare_capacity_mut());
        assert!(bytes.iter().all(|&byte| byte == 7));
        for length in [0, 1, 4095, 4096, 4097, 8191, 8192] {
            for start in [0, 1, 4095] {
                make_resident(&mut bytes.spare_capacity_mut()[start..start + length]);
            }
        }
    }
}
