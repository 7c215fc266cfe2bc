//! System calls that fail, by a seccomp filter.
#![allow(unsafe_code, reason = "installs a seccomp filter by system calls")]

use std::io;

use libc::{c_long, sock_filter, sock_fprog};

/// Which system call fails, and how.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// Its number.
    pub call: c_long,
    /// The error that it gives.
    pub errno: i32,
    /// Only when these bits of this argument have this value: which, mask, value.
    pub argument: Option<(u32, u32, u32)>,
}

impl Fault {
    /// Lets it fail only where these bits of this argument have this value.
    pub fn when(self, argument: u32, mask: u32, value: u32) -> Self {
        Self {
            argument: Some((argument, mask, value)),
            ..self
        }
    }

    /// The program for the kernel. Offsets are of `struct seccomp_data`; both architectures are
    /// little-endian, so that the low half of an argument comes first.
    fn program(self) -> Vec<sock_filter> {
        const NUMBER: u32 = 0;
        const ARCHITECTURE: u32 = 4;
        const ARGUMENTS: u32 = 16;
        #[cfg(target_arch = "x86_64")]
        const THIS: u32 = 0xc000_003e;
        #[cfg(target_arch = "aarch64")]
        const THIS: u32 = 0xc000_00b7;

        let statement = |code: u32, k: u32| sock_filter {
            code: code as u16,
            jt: 0,
            jf: 0,
            k,
        };
        let load = |offset: u32| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
        // Jumps are relative and forward; the last instruction is the one that allows.
        let unless = |value: u32, over: u8| sock_filter {
            code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
            jt: 0,
            jf: over,
            k: value,
        };
        let mut condition = Vec::new();
        if let Some((argument, mask, value)) = self.argument {
            condition.push(load(ARGUMENTS + 8 * argument));
            condition.push(statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, mask));
            condition.push(unless(value, 1));
        }
        let rest = condition.len() as u8;
        let mut program = vec![
            load(ARCHITECTURE),
            unless(THIS, rest + 3),
            load(NUMBER),
            unless(self.call as u32, rest + 1),
        ];
        program.append(&mut condition);
        let give = libc::BPF_RET | libc::BPF_K;
        program.push(statement(give, libc::SECCOMP_RET_ERRNO | self.errno as u32));
        program.push(statement(give, libc::SECCOMP_RET_ALLOW));
        program
    }

    /// Makes it fail from here on, in this thread and in what this thread starts.
    pub fn install(self) {
        let mut program = self.program();
        let filter = sock_fprog {
            len: program.len() as u16,
            filter: program.as_mut_ptr(),
        };
        // SAFETY: plain numbers, and a pointer to a filter that lives through the call.
        let results = unsafe {
            [
                c_long::from(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)),
                libc::syscall(
                    libc::SYS_seccomp,
                    libc::SECCOMP_SET_MODE_FILTER,
                    0,
                    &raw const filter,
                ),
            ]
        };
        assert_eq!(results, [0, 0], "{}", io::Error::last_os_error());
    }
}

/// A system call that fails always.
pub fn fault(call: c_long, errno: i32) -> Fault {
    Fault {
        call,
        errno,
        argument: None,
    }
}
