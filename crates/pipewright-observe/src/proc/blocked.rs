//! What a thread waits for, from `/proc/PID/syscall` or `/proc/PID/wchan`.

use linux_raw_sys::general as call;

use super::stat::words;

/// The thing that a thread waits for while it is not running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockedOn {
    /// Nothing: it is on a CPU, or ready and waiting for one.
    Nothing,
    /// A read, of this descriptor where it is known.
    Read(Option<u32>),
    /// A write, to this descriptor where it is known.
    Write(Option<u32>),
    /// `splice`, `tee` or `vmsplice`, from one descriptor to another. Such bytes are in no counter.
    Splice {
        /// The source, where it is known.
        from: Option<u32>,
        /// The destination, where it is known.
        to: Option<u32>,
    },
    /// Any of several descriptors: poll, select, epoll.
    Poll,
    /// The clock.
    Timer,
    /// The end of a child.
    Child,
    /// Another thread: a futex.
    Thread,
    /// A socket.
    Network,
    /// Something with no name here.
    Other,
    /// Not to be known: the kernel does not tell this user.
    Unknown,
}

impl BlockedOn {
    /// Reads the contents of `/proc/PID/syscall`. A process of another word size (32-bit on a
    /// 64-bit kernel) has other call numbers and is read wrongly.
    ///
    /// # References
    ///
    /// [proc_pid_syscall(5)](https://man7.org/linux/man-pages/man5/proc_pid_syscall.5.html)
    pub fn from_syscall(text: &[u8]) -> Self {
        let mut fields = words(text);
        let number = match fields.next() {
            Some(b"running") => return Self::Nothing,
            Some(word) => std::str::from_utf8(word)
                .ok()
                .and_then(|word| word.parse::<i64>().ok()),
            None => None,
        };
        // -1: blocked, but not in a system call (a page fault, or a process on its way out).
        let Some(number) = number.and_then(|number| u32::try_from(number).ok()) else {
            return Self::Other;
        };
        let mut descriptor = |index: usize| {
            let word = std::str::from_utf8(fields.nth(index)?).ok()?;
            u32::from_str_radix(word.strip_prefix("0x")?, 16).ok()
        };
        match number {
            call::__NR_read | call::__NR_readv | call::__NR_pread64 | call::__NR_preadv | call::__NR_preadv2 => {
                Self::Read(descriptor(0))
            }
            call::__NR_write | call::__NR_writev | call::__NR_pwrite64 | call::__NR_pwritev
            | call::__NR_pwritev2
            // The destination comes first, and is what it blocks on: the source is a file.
            | call::__NR_sendfile => Self::Write(descriptor(0)),
            call::__NR_splice => {
                let from = descriptor(0);
                // Between the two lies the source's offset.
                Self::Splice { from, to: descriptor(1) }
            }
            call::__NR_vmsplice => Self::Splice {
                from: None,
                to: descriptor(0),
            },
            call::__NR_tee => {
                let from = descriptor(0);
                Self::Splice { from, to: descriptor(0) }
            }
            call::__NR_ppoll | call::__NR_pselect6 | call::__NR_epoll_pwait | call::__NR_epoll_pwait2
            | call::__NR_io_uring_enter => Self::Poll,
            call::__NR_nanosleep | call::__NR_clock_nanosleep => Self::Timer,
            call::__NR_wait4 | call::__NR_waitid => Self::Child,
            call::__NR_futex => Self::Thread,
            call::__NR_recvfrom | call::__NR_recvmsg | call::__NR_recvmmsg | call::__NR_sendto
            | call::__NR_sendmsg | call::__NR_sendmmsg | call::__NR_accept | call::__NR_accept4
            | call::__NR_connect => Self::Network,
            #[cfg(target_arch = "x86_64")]
            call::__NR_poll | call::__NR_select | call::__NR_epoll_wait => Self::Poll,
            _ => Self::Other,
        }
    }

    /// Reads the contents of `/proc/PID/wchan`: the kernel function that a thread sleeps in. It
    /// names no descriptor. `0` stands for "running" and for "not for you to know" alike.
    ///
    /// # References
    ///
    /// [proc_pid_wchan(5)](https://man7.org/linux/man-pages/man5/proc_pid_wchan.5.html)
    pub fn from_wchan(text: &[u8]) -> Self {
        let Ok(name) = std::str::from_utf8(text) else {
            return Self::Unknown;
        };
        match name.trim() {
            "" | "0" => Self::Unknown,
            // With "anon_" since Linux 6.14.
            "pipe_read" | "anon_pipe_read" | "fifo_pipe_read" => Self::Read(None),
            "pipe_write" | "anon_pipe_write" | "fifo_pipe_write" => Self::Write(None),
            "pipe_wait_readable" | "pipe_wait_writable" | "wait_for_space" | "ipipe_prep"
            | "opipe_prep" => Self::Splice {
                from: None,
                to: None,
            },
            "n_tty_read" | "wait_woken" => Self::Read(None),
            "do_wait" | "kernel_wait4" | "kernel_waitid" => Self::Child,
            "hrtimer_nanosleep" | "do_nanosleep" | "common_nsleep" => Self::Timer,
            name if name.starts_with("futex") || name == "do_futex" => Self::Thread,
            name if [
                "poll_schedule",
                "do_poll",
                "do_sys_poll",
                "do_select",
                "ep_poll",
                "do_epoll",
            ]
            .iter()
            .any(|start| name.starts_with(start)) =>
            {
                Self::Poll
            }
            name if [
                "inet_", "tcp_", "sk_", "unix_", "__skb", "skb_", "udp_", "sock_",
            ]
            .iter()
            .any(|start| name.starts_with(start)) =>
            {
                Self::Network
            }
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_thread_is_blocked_on_nothing() {
        assert_eq!(BlockedOn::from_syscall(b"running\n"), BlockedOn::Nothing);
    }

    #[test]
    fn a_blocked_call_names_its_descriptors() {
        let line = |number: u32, arguments: &str| {
            format!("{number} {arguments} 0x7ffc 0x7f01\n").into_bytes()
        };
        assert_eq!(
            BlockedOn::from_syscall(&line(call::__NR_read, "0x0 0x7f 0x20000 0x0 0x0 0x0")),
            BlockedOn::Read(Some(0))
        );
        assert_eq!(
            BlockedOn::from_syscall(&line(call::__NR_write, "0x1 0x7f 0x20000 0x0 0x0 0x0")),
            BlockedOn::Write(Some(1))
        );
        assert_eq!(
            BlockedOn::from_syscall(&line(call::__NR_splice, "0x3 0x0 0x1 0x0 0x10000 0x0")),
            BlockedOn::Splice {
                from: Some(3),
                to: Some(1)
            }
        );
        assert_eq!(
            BlockedOn::from_syscall(&line(call::__NR_tee, "0x0 0x1 0x10000 0x0 0x0 0x0")),
            BlockedOn::Splice {
                from: Some(0),
                to: Some(1)
            }
        );
        assert_eq!(
            BlockedOn::from_syscall(&line(call::__NR_ppoll, "0x7f")),
            BlockedOn::Poll
        );
        assert_eq!(
            BlockedOn::from_syscall(&line(call::__NR_futex, "0x7f")),
            BlockedOn::Thread
        );
    }

    #[test]
    fn a_thread_outside_a_call_and_a_garbled_line_are_other() {
        assert_eq!(
            BlockedOn::from_syscall(b"-1 0x7ffc 0x7f01\n"),
            BlockedOn::Other
        );
        assert_eq!(BlockedOn::from_syscall(b""), BlockedOn::Other);
        assert_eq!(BlockedOn::from_syscall(b"\xff 1"), BlockedOn::Other);
    }

    #[test]
    fn wchan_names_pipes_of_old_and_new_kernels() {
        for name in ["pipe_read", "anon_pipe_read"] {
            assert_eq!(
                BlockedOn::from_wchan(name.as_bytes()),
                BlockedOn::Read(None)
            );
        }
        for name in ["pipe_write", "anon_pipe_write"] {
            assert_eq!(
                BlockedOn::from_wchan(name.as_bytes()),
                BlockedOn::Write(None)
            );
        }
        assert_eq!(BlockedOn::from_wchan(b"0"), BlockedOn::Unknown);
        assert_eq!(
            BlockedOn::from_wchan(b"hrtimer_nanosleep"),
            BlockedOn::Timer
        );
        assert_eq!(
            BlockedOn::from_wchan(b"futex_wait_queue"),
            BlockedOn::Thread
        );
    }
}
