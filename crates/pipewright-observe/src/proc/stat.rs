//! `/proc/PID/stat`, `io` and `schedstat`: the figures of one process, parsed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::text::displayable;

/// `PF_KTHREAD` in the flags of `/proc/PID/stat` (linux/sched.h).
const KERNEL_THREAD: u64 = 0x0020_0000;

/// The state of a process's main thread, as the scheduler sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessState {
    /// `R`: on a CPU, or ready and waiting for one.
    Running,
    /// `S`: waiting for an event.
    Sleeping,
    /// `D`: waiting for something that cannot be interrupted, nearly always a disk.
    DiskSleep,
    /// `T`: stopped by a signal.
    Stopped,
    /// `t`: stopped by a debugger.
    Traced,
    /// `Z`: ended, not yet waited for by its parent.
    Zombie,
    /// Anything else: idle kernel threads, and states on the way out.
    Other,
}

impl ProcessState {
    fn from_letter(letter: u8) -> Self {
        match letter {
            b'R' => Self::Running,
            b'S' => Self::Sleeping,
            b'D' => Self::DiskSleep,
            b'T' => Self::Stopped,
            b't' => Self::Traced,
            b'Z' | b'X' => Self::Zombie,
            _ => Self::Other,
        }
    }
}

/// The parts of `/proc/PID/stat` that this crate uses. Anybody may read them.
///
/// # References
///
/// [proc_pid_stat(5)](https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// The process's number.
    pub pid: u32,
    /// The kernel's short name for it, at most 15 bytes, any bytes.
    pub name: Vec<u8>,
    /// The state of its main thread.
    pub state: ProcessState,
    /// The parent's number.
    pub parent: u32,
    /// A thread of the kernel itself, which holds no descriptors.
    pub kernel_thread: bool,
    /// CPU time of all its threads, in user and kernel mode.
    pub cpu_time: Duration,
    /// CPU time of the children it has waited for.
    pub reaped_cpu_time: Duration,
    /// The part of both that was spent in kernel mode.
    pub system_time: Duration,
    /// Number of threads; 0 or 1 for a zombie.
    pub threads: u32,
    /// When it started, in clock ticks since boot.
    pub start_time: u64,
}

impl Stat {
    /// Parses the contents of `/proc/PID/stat`; `None` if they are not of that form.
    ///
    /// The name may hold spaces and parentheses: the fields are counted from the last `)`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let open = text.iter().position(|&byte| byte == b'(')?;
        let close = text.iter().rposition(|&byte| byte == b')')?;
        let pid = number(text.get(..open)?)?;
        let name = text.get(open + 1..close)?.to_vec();
        // Field 3, the state, is index 0 here.
        let mut fields = [0_u64; 20];
        let mut state = ProcessState::Other;
        let mut count = 0;
        for (index, field) in words(text.get(close + 1..)?).take(20).enumerate() {
            match index {
                0 => state = ProcessState::from_letter(field[0]),
                // Some fields are signed; none of those is used.
                _ => fields[index] = number(field).unwrap_or(0),
            }
            count = index + 1;
        }
        (count == 20).then(|| Self {
            pid: pid as u32,
            name,
            state,
            parent: fields[1] as u32,
            kernel_thread: fields[6] & KERNEL_THREAD != 0,
            cpu_time: ticks(fields[11] + fields[12]),
            reaped_cpu_time: ticks(fields[13].saturating_add(fields[14])),
            system_time: ticks(fields[12].saturating_add(fields[14])),
            threads: fields[17] as u32,
            start_time: fields[19],
        })
    }
}

impl Stat {
    /// The name safe to show and in brackets, for a process without a command line.
    pub fn bracketed_name(&self) -> String {
        format!("[{}]", displayable(&self.name))
    }
}

/// Bytes a process has read and written through any descriptor, `/proc/PID/io`.
///
/// `splice`, `tee` and `vmsplice` add nothing to them. Children are added when they are waited for.
///
/// # References
///
/// [proc_pid_io(5)](https://man7.org/linux/man-pages/man5/proc_pid_io.5.html)
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IoCounters {
    /// Bytes returned by read calls of any kind (`rchar`).
    pub read: u64,
    /// Bytes taken by write calls of any kind (`wchar`).
    pub written: u64,
}

impl IoCounters {
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let mut lines = text.split(|&byte| byte == b'\n');
        let mut value = |key: &[u8]| {
            let line = lines.next()?.strip_prefix(key)?;
            number(words(line).next()?)
        };
        Some(Self {
            read: value(b"rchar:")?,
            written: value(b"wchar:")?,
        })
    }
}

/// Time that threads spent on a CPU, and time that they were ready but had to wait for one.
///
/// # References
///
/// [The kernel's sched-stats](https://docs.kernel.org/scheduler/sched-stats.html)
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled {
    /// On a CPU, written as microseconds.
    #[serde(with = "crate::microseconds")]
    pub on_cpu: Duration,
    /// Ready to run, with no CPU free, written as microseconds.
    #[serde(with = "crate::microseconds")]
    pub waiting_for_cpu: Duration,
    /// How often they got a CPU: after each wait, and after each time that another had it.
    #[serde(default)]
    pub turns: u64,
}

impl Scheduled {
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let mut fields = words(text);
        Some(Self {
            on_cpu: Duration::from_nanos(number(fields.next()?)?),
            waiting_for_cpu: Duration::from_nanos(number(fields.next()?)?),
            turns: number(fields.next()?)?,
        })
    }
}

/// Words between blanks and line ends, none of them empty.
pub(crate) fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
}

/// A decimal number, blanks around it allowed.
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

fn ticks(count: u64) -> Duration {
    let a_second = rustix::param::clock_ticks_per_second();
    Duration::from_millis(count.saturating_mul(1000) / a_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "42 (a) R (b\n) S 7 42 42 0 -1 4194560 1 2 3 4 150 50 30 20 20 0 3 0 8999 1 2";

    #[test]
    fn a_name_with_parentheses_and_newlines_does_not_shift_the_fields() {
        let stat = Stat::parse(STAT.as_bytes()).unwrap();
        assert_eq!(stat.name, b"a) R (b\n");
        assert_eq!((stat.pid, stat.parent, stat.threads), (42, 7, 3));
        assert_eq!(stat.state, ProcessState::Sleeping);
        assert_eq!(stat.start_time, 8999);
        assert_eq!(stat.cpu_time, Duration::from_secs(2));
        assert_eq!(stat.reaped_cpu_time, Duration::from_millis(500));
        assert_eq!(stat.system_time, Duration::from_millis(700));
        assert!(!stat.kernel_thread);
    }

    #[test]
    fn a_cut_off_or_foreign_text_is_refused() {
        for end in 0..60 {
            assert_eq!(Stat::parse(&STAT.as_bytes()[..end]), None);
        }
        assert_eq!(Stat::parse(b"\xff\xfe"), None);
        assert_eq!(Stat::parse(b") ("), None);
    }

    #[test]
    fn io_and_schedule_are_read_and_garbage_is_refused() {
        let io = IoCounters::parse(b"rchar: 12\nwchar: 34\nsyscr: 5\n").unwrap();
        assert_eq!(
            io,
            IoCounters {
                read: 12,
                written: 34
            }
        );
        assert_eq!(IoCounters::parse(b""), None);
        let schedule = Scheduled::parse(b"1000 2000 3\n").unwrap();
        assert_eq!(schedule.on_cpu, Duration::from_nanos(1000));
        assert_eq!(schedule.waiting_for_cpu, Duration::from_nanos(2000));
        assert_eq!(schedule.turns, 3);
        assert_eq!(Scheduled::parse(b"x"), None);
    }
}
