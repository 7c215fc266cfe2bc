//! Memory that is really there, to see what a start costs a large parent.
//!
//! # References
//!
//! mmap(2), `MADV_NOHUGEPAGE` in madvise(2)

// Mapping, advising, touching and unmapping raw memory is what this module is for.
#![allow(unsafe_code)]

use std::{fs, io, ptr};

use anyhow::Context;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// Pages of this process that were written to, so that each has an entry in
/// the page tables that a fork must copy.
pub(crate) struct ResidentMemory {
    start: *mut std::ffi::c_void,
    length: usize,
}

impl ResidentMemory {
    /// Maps `bytes` and writes to every page. Zero bytes hold nothing.
    ///
    /// Huge pages are declined: they would shrink the page tables 512 times,
    /// and whether the kernel hands them out differs between machines.
    ///
    /// # Errors
    ///
    /// `ENOMEM` where the kernel grants no such mapping.
    pub(crate) fn hold(bytes: usize) -> io::Result<Self> {
        if bytes == 0 {
            return Ok(Self {
                start: ptr::null_mut(),
                length: 0,
            });
        }
        // SAFETY: a fresh private mapping at an address of the kernel's
        // choice overlaps nothing that exists.
        let start = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        let memory = Self {
            start,
            length: bytes,
        };
        // SAFETY: the range is exactly the mapping made above.
        if let Err(error) = unsafe { madvise(start, bytes, Advice::LinuxNoHugepage) } {
            // EINVAL: a kernel built without huge pages, which is as good.
            if error != rustix::io::Errno::INVAL {
                return Err(error.into());
            }
        }
        for offset in (0..bytes).step_by(rustix::param::page_size()) {
            // SAFETY: `offset` is less than `bytes`, the length of the
            // mapping, which is writable and known to nobody else. Volatile,
            // because nothing ever reads it back.
            unsafe { start.cast::<u8>().add(offset).write_volatile(1) };
        }
        Ok(memory)
    }
}

impl Drop for ResidentMemory {
    fn drop(&mut self) {
        if self.length > 0 {
            // SAFETY: the range is the mapping made in `hold`; no reference
            // into it was ever given out, and it is not used after this.
            let unmapped = unsafe { munmap(self.start, self.length) };
            debug_assert!(unmapped.is_ok(), "{unmapped:?}");
        }
    }
}

/// Bytes that can be taken without swapping, by the kernel's estimate.
///
/// # References
///
/// `MemAvailable` in proc_meminfo(5).
pub(crate) fn available() -> anyhow::Result<usize> {
    let meminfo = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let kibibytes: usize = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok())
        .context("/proc/meminfo has no line of the form `MemAvailable: N kB`")?;
    Ok(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_memory_is_resident() {
        let memory = ResidentMemory::hold(64 << 20).unwrap();
        // Of this mapping alone: other tests in this process come and go.
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let address = memory.start.addr();
        let holds = |line: &str| {
            let range = line.split(' ').next()?.split_once('-')?;
            let number = |text| usize::from_str_radix(text, 16).ok();
            Some((number(range.0)?..number(range.1)?).contains(&address))
        };
        let mut lines = maps.lines().skip_while(|line| holds(line) != Some(true));
        let resident = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
        let kibibytes: usize = resident
            .trim()
            .strip_suffix(" kB")
            .unwrap()
            .parse()
            .unwrap();
        assert!(kibibytes >= 64 << 10, "{kibibytes} KiB are resident");
        drop(memory);
    }

    #[test]
    fn nothing_can_be_held() {
        assert_eq!(ResidentMemory::hold(0).unwrap().length, 0);
    }

    #[test]
    fn available_memory_is_known() {
        assert!(available().unwrap() > 1 << 20);
    }
}
