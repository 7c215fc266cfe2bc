//! One system call, without the C library.
//!
//! The child between clone and exec makes its calls in this way: the C library's `syscall` stores
//! `errno`, and a library that is loaded before it may put itself in its place.
#![allow(unsafe_code, reason = "the instruction for a system call")]

use std::arch::asm;

use libc::c_long;

/// Makes one system call; the error is the kernel's number.
///
/// # Safety
///
/// As the system call.
pub(super) unsafe fn call(number: c_long, arguments: [c_long; 5]) -> Result<c_long, i32> {
    let [a, b, c, d, e] = arguments;
    let result: c_long;
    // SAFETY: by the caller. The kernel changes the registers that are named here, and memory as the
    // call says.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") a => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e,
            options(nostack),
        );
    }
    // The kernel gives errors as the last 4095 numbers below zero.
    if (-4095..0).contains(&result) {
        Err(result.unsigned_abs() as i32)
    } else {
        Ok(result)
    }
}
