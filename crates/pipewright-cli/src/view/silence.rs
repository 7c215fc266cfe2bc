//! Whether anybody else writes to the terminal.
//!
//! The stages write there themselves, and nothing of it passes through here. But the kernel tells of
//! each write through a terminal's file (inotify), and counts one through `/dev/tty` as a write to
//! that other file: so what this process paints goes through `/dev/tty`, and every event is somebody
//! else's.

use std::fs::File;
use std::io::IsTerminal;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{fstat, major, minor};

/// A terminal on which something has come is in use: it gets more time before it is painted on.
const AGAIN: Duration = Duration::from_secs(3);
/// Whoever writes in pieces (half a character, half an escape sequence) writes the next one sooner.
const BREATH: Duration = Duration::from_millis(30);
/// What comes without a pause for so long does not stop for the view. Who reads along loses less by one torn character
/// than by figures that stand still in the way.
const FLOOD: Duration = Duration::from_secs(1);

/// The writes of others to the terminal of this process.
#[derive(Debug)]
pub(crate) struct Silence {
    events: OwnedFd,
    /// The time of the last look that found a write.
    broken: Option<Instant>,
    /// Since when there was no pause.
    flooded: Option<Instant>,
    proven: bool,
}

impl Silence {
    /// Listens from now on to the terminal that stdout and stderr are; returns `/dev/tty` beside it,
    /// to write to unheard. `None` where the kernel does not tell of writes, as to somebody who may
    /// not read the terminal.
    ///
    /// # References
    ///
    /// [inotify(7)](https://man7.org/linux/man-pages/man7/inotify.7.html), `IN_MODIFY`
    pub(crate) fn listen() -> Option<(Self, File)> {
        let own = File::options().write(true).open("/dev/tty").ok()?;
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
        for stream in [rustix::stdio::stdout(), rustix::stdio::stderr()] {
            // Through this one our own writes would be heard.
            if device(stream) == DEV_TTY {
                return None;
            }
            let path = format!("/proc/self/fd/{}", stream.as_raw_fd());
            inotify::add_watch(&events, path, WatchFlags::MODIFY).ok()?;
        }
        let silence = Self {
            events,
            broken: None,
            flooded: None,
            proven: false,
        };
        Some((silence, own))
    }

    /// Tells whether writes are heard: a kernel, or what stands for one, may take the watch and say
    /// nothing. The first time it writes what shows nothing.
    pub(crate) fn is_proven(&mut self) -> bool {
        if !self.proven {
            super::tell("\x1b7\x1b8");
            self.proven = self.hears();
        }
        self.proven
    }

    /// Looks for writes since the last look.
    pub(crate) fn look(&mut self) {
        if self.hears() {
            let now = Instant::now();
            self.broken = Some(now);
            self.flooded.get_or_insert(now);
        } else if self.is_pause() {
            self.flooded = None;
        }
    }

    fn hears(&mut self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 1024];
        let mut reader = inotify::Reader::new(&self.events, &mut buffer);
        let mut heard = false;
        // An error is the end of the events: there is none left.
        while let Ok(event) = reader.next() {
            let write = ReadFlags::MODIFY | ReadFlags::QUEUE_OVERFLOW;
            heard |= event.events().intersects(write);
        }
        heard
    }

    /// Nothing has come for so long that something may be shown.
    pub(crate) fn is_long(&self) -> bool {
        self.broken.is_none_or(|broken| broken.elapsed() >= AGAIN)
    }

    /// It has come for so long without a pause that there may be none.
    pub(crate) fn is_flood(&self) -> bool {
        self.flooded.is_some_and(|since| since.elapsed() >= FLOOD)
    }

    /// No more comes at this moment.
    pub(crate) fn is_pause(&self) -> bool {
        self.broken.is_none_or(|broken| broken.elapsed() >= BREATH)
    }
}

/// The numbers of `/dev/tty`, which stands for the terminal that a process belongs to.
const DEV_TTY: Option<(u32, u32)> = Some((5, 0));

/// The numbers of a device.
fn device(stream: BorrowedFd<'_>) -> Option<(u32, u32)> {
    let device = fstat(stream).ok()?.st_rdev;
    Some((major(device), minor(device)))
}

/// Tells whether stdout and stderr are one and the same terminal, by whatever name.
pub(crate) fn output_goes_to_it() -> bool {
    let (stdout, stderr) = (rustix::stdio::stdout(), rustix::stdio::stderr());
    if !stdout.is_terminal() {
        return false;
    }
    let by_name = |stream| device(stream) == DEV_TTY;
    by_name(stdout) || by_name(stderr) || device(stdout) == device(stderr)
}
