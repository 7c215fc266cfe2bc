//! Marking open descriptors close-on-exec one by one, for kernels and sandboxes without
//! `close_range(CLOSE_RANGE_CLOEXEC)`. The child's code: raw system calls only, as in
//! [`vfork`](super::vfork).
#![allow(
    unsafe_code,
    reason = "raw system calls in a child that shares its parent's memory"
)]

use std::mem::offset_of;

use libc::{c_int, c_long};

use super::vfork::errno;

/// The kernel's record of one directory entry; the name follows it.
#[repr(C)]
struct Entry {
    inode: u64,
    offset: i64,
    length: u16,
    kind: u8,
    name: [u8; 1],
}

/// Aligned for the records that the kernel writes into it.
#[repr(C, align(8))]
struct Buffer([u8; 2048]);

/// Marks every open descriptor in the ranges, as `/proc/self/fd` lists them.
///
/// Without `/proc` it fails: a start that would leak is refused.
///
/// # Safety
///
/// Only in a child that has its own descriptor table and may not allocate.
pub(super) unsafe fn mark_open_descriptors(ranges: &[(u32, u32)]) -> Result<(), i32> {
    let flags = c_long::from(libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC);
    let path = c"/proc/self/fd".as_ptr();
    // SAFETY: the path is a C string.
    let directory = unsafe {
        libc::syscall(
            libc::SYS_openat,
            c_long::from(libc::AT_FDCWD),
            path,
            flags,
            0_i64,
        )
    };
    if directory == -1 {
        return Err(errno());
    }
    let mut buffer = Buffer([0; 2048]);
    loop {
        let (start, size) = (buffer.0.as_mut_ptr(), buffer.0.len());
        // SAFETY: the kernel writes at most `size` bytes to the buffer.
        let filled = unsafe { libc::syscall(libc::SYS_getdents64, directory, start, size) };
        match filled {
            -1 => return Err(errno()),
            0 => break,
            _ => {}
        }
        let mut position = 0_usize;
        while position < filled as usize {
            // SAFETY: the kernel lays whole records one after the other into `filled` bytes; each
            // is aligned to 8, as the buffer is, and its name ends in a zero byte inside it.
            let (length, number) = unsafe {
                let entry = start.add(position).cast::<Entry>();
                let name = start.add(position.wrapping_add(offset_of!(Entry, name)));
                ((*entry).length, parse_number(name))
            };
            position = position.wrapping_add(length.into());
            let Some(number) = number else { continue };
            if ranges
                .iter()
                .any(|&(first, last)| first <= number && number <= last)
            {
                let set = c_long::from(libc::FD_CLOEXEC);
                // SAFETY: the child's own table; a flag of one descriptor is set.
                unsafe { libc::syscall(libc::SYS_fcntl, c_long::from(number), libc::F_SETFD, set) };
            }
        }
    }
    // SAFETY: opened above, and used by nothing else.
    unsafe { libc::syscall(libc::SYS_close, directory as c_int) };
    Ok(())
}

/// The decimal number that a name is; `.` and `..` are none.
///
/// # Safety
///
/// `name` points to bytes that end in zero.
unsafe fn parse_number(mut name: *const u8) -> Option<u32> {
    let mut number = 0_u32;
    loop {
        // SAFETY: not past the zero byte, at which the loop ends.
        match unsafe { *name } {
            0 => return Some(number),
            digit @ b'0'..=b'9' => {
                let value = u32::from(digit.wrapping_sub(b'0'));
                number = number.wrapping_mul(10).wrapping_add(value);
            }
            _ => return None,
        }
        // SAFETY: the byte before was not the last.
        name = unsafe { name.add(1) };
    }
}

#[cfg(test)]
mod tests {
    use super::parse_number;

    #[test]
    fn names_of_descriptors_are_numbers_and_dots_are_not() {
        let parse = |name: &std::ffi::CStr| {
            // SAFETY: a C string ends in zero.
            unsafe { parse_number(name.as_ptr().cast()) }
        };
        assert_eq!(parse(c"0"), Some(0));
        assert_eq!(parse(c"1048575"), Some(1_048_575));
        assert_eq!(parse(c"."), None);
        assert_eq!(parse(c".."), None);
    }
}
