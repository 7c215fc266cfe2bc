//! A child that std started, taken over.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{Child, Origin, State};
use crate::command::OnDrop;
use crate::descent::Descent;
use crate::error::{Error, Result};
use crate::spawn;

/// Takes over a child that [`std::process::Command`] has started, with everything that a
/// [`Child`] of this crate can do, from deadlines to signals.
///
/// Its pipes stay with std: take `stdin`, `stdout` and `stderr` out of it before, since whatever is
/// left in it is closed here. Its [`program`](Child::program) is told as `process 4711`, its
/// [`wall`](Child::wall) time counts from here, and it has no [`usage`](Child::usage) if std has its
/// status already.
///
/// There is no way back: std makes its own children only. Give the pidfd away instead, by
/// `OwnedFd::from`.
///
/// # Errors
///
/// [`Error::System`] when no pidfd can be opened, so that the child cannot be held; it runs on then.
///
/// ```
/// use std::time::Duration;
///
/// let sleep = std::process::Command::new("sleep").arg("60").spawn()?;
/// let child = pipewright::Child::try_from(sleep)?;
/// assert_eq!(child.wait_timeout(Duration::from_millis(1))?, None);
/// child.kill()?;
/// assert!(!child.wait()?.success());
/// # Ok::<(), std::io::Error>(())
/// ```
impl TryFrom<std::process::Child> for Child {
    type Error = Error;

    fn try_from(mut child: std::process::Child) -> Result<Self> {
        let pid = child.id() as i32;
        // First the pidfd: if std has no status afterwards, then the number was the child's all the
        // time. If it has one, then the pidfd may be of another process that got the number.
        let pidfd = Pid::from_raw(pid)
            .ok_or(Errno::SRCH)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
        let status = child.try_wait().map_err(|source| Error::System {
            operation: "take over a child",
            source,
        })?;
        let origin = Origin {
            program: format!("process {pid}"),
            started: Instant::now(),
            own_peak_memory: spawn::own_peak_memory(),
            descent: Descent::default(),
            on_drop: OnDrop::Leave,
        };
        if let Some(status) = status {
            return ended(pid, status, origin);
        }
        let pidfd = pidfd.map_err(Error::system("open a pidfd of a child"))?;
        Ok(Self::new(pid, pidfd, origin))
    }
}

/// One whose status std has. There is no pidfd of it any more; in its place stands what is readable
/// as that would be, and no signal is sent after the end.
fn ended(pid: i32, status: ExitStatus, origin: Origin) -> Result<Child> {
    let readable = File::open("/dev/null").map_err(|source| Error::System {
        operation: "open /dev/null",
        source,
    })?;
    let state = State::Ended {
        status,
        usage: None,
        wall: Duration::ZERO,
    };
    Ok(Child {
        pid,
        pidfd: Some(OwnedFd::from(readable)),
        origin,
        state: Mutex::new(state),
    })
}
