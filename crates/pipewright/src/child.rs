//! A running process: its pidfd, and waiting for it.

mod signals;
mod taken_over;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;

#[cfg(doc)]
use crate::command::Command;
use crate::command::OnDrop;
use crate::descent::{self, Descent};
use crate::error::{Error, Result};
use crate::poll::{Deadline, wait_readable};
use crate::spawn::{self, Reaped, ResourceUsage};

/// A process that was started.
///
/// It is held by a pidfd, which stands for this very process even after its number was given to
/// another one. All methods take `&self` and may be called from several threads at once. None of
/// them holds up another: a thread that waits holds no lock, and each waiter gets the status.
///
/// Dropping a `Child` neither blocks nor kills (see [`Command::kill_on_drop`] for the other choice).
/// Its zombie is taken when the next child is started, or by [`reap_dropped`](crate::reap_dropped).
///
/// ```
/// use std::os::unix::process::ExitStatusExt;
/// use std::time::Duration;
/// use pipewright::{Command, Signal};
///
/// let child = Command::new("sleep").arg("60").spawn()?;
/// assert_eq!(child.wait_timeout(Duration::from_millis(1))?, None);
/// std::thread::scope(|scope| {
///     let waiters = [scope.spawn(|| child.wait()), scope.spawn(|| child.wait())];
///     child.signal(Signal::TERM)?;
///     for waiter in waiters {
///         let status = waiter.join().expect("no panic")?;
///         assert_eq!(status.signal(), Some(15)); // each of them gets it
///     }
///     Ok::<(), pipewright::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Other code that waits
///
/// A status can be taken once. This crate waits for its own children only, and needs no handler for
/// SIGCHLD; a handler of yours, or tokio's, does not disturb it. Two things do, and then the waiting
/// methods return [`Error::StatusLost`], which names the cause:
///
/// - SIGCHLD is ignored in this process: the kernel keeps no status. This is inherited, so the
///   program that started this one may have done it.
/// - Other code waits for *any* child (`waitpid(-1)`, `wait()`), in a handler or in another thread.
///
/// # References
///
/// [pidfd_open(2)](https://man7.org/linux/man-pages/man2/pidfd_open.2.html),
/// [waitid(2)](https://man7.org/linux/man-pages/man2/waitid.2.html)
#[derive(Debug)]
pub struct Child {
    pid: i32,
    /// `None` only while it is being dropped.
    pidfd: Option<OwnedFd>,
    origin: Origin,
    /// Never locked across a call that may block.
    state: Mutex<State>,
}

/// What was known of the process at its start.
#[derive(Debug)]
pub(crate) struct Origin {
    /// As the command named it.
    pub(crate) program: String,
    pub(crate) started: Instant,
    /// This process's peak, in bytes.
    pub(crate) own_peak_memory: u64,
    pub(crate) descent: Descent,
    pub(crate) on_drop: OnDrop,
}

/// What is known of the process's end.
#[derive(Debug, Clone, Copy)]
enum State {
    /// It was not seen to have ended. Its number is its own.
    Running,
    /// It was seen to have ended, and its status has not been taken. Its number is still its own.
    Zombie { wall: Duration },
    /// Its status was taken here.
    Ended {
        status: ExitStatus,
        /// `None` if other code took it.
        usage: Option<ResourceUsage>,
        wall: Duration,
    },
    /// It has ended, and its status was taken elsewhere.
    Lost,
}

impl State {
    fn is_reaped(self) -> bool {
        matches!(self, Self::Ended { .. } | Self::Lost)
    }
}

impl Child {
    pub(crate) fn new(pid: i32, pidfd: OwnedFd, origin: Origin) -> Self {
        Self {
            pid,
            pidfd: Some(pidfd),
            origin,
            state: Mutex::new(State::Running),
        }
    }

    /// The process id. Once the process has ended and its status was taken, the kernel may give the
    /// number to another process; the other methods here do not go by it.
    pub fn id(&self) -> u32 {
        self.pid as u32
    }

    /// The program as the command named it.
    pub fn program(&self) -> &str {
        &self.origin.program
    }

    /// Waits until the process has ended.
    ///
    /// # Errors
    ///
    /// [`Error::StatusLost`] when the status was [taken elsewhere](Self#other-code-that-waits).
    pub fn wait(&self) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.wait_until(None)? {
                return Ok(status);
            }
        }
    }

    /// Returns the status if the process has ended, `None` if it runs. Does not block. With
    /// [`Command::own_tree`] the first look after the end also finds what the process left behind, for
    /// a tenth of a second at most.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn try_wait(&self) -> Result<Option<ExitStatus>> {
        self.look(Deadline::NEVER)
    }

    /// Takes the status, if it is there. What the end entails is over by the deadline.
    fn look(&self, deadline: Deadline) -> Result<Option<ExitStatus>> {
        let mut state = self.state();
        let first = !state.is_reaped();
        if first {
            *state = match spawn::reap(self.as_fd()) {
                Ok(None) => return Ok(None),
                Ok(Some(reaped)) => self.ended(*state, reaped),
                Err(Errno::CHILD) => State::Lost,
                Err(errno) => return Err(Error::system("wait for a child")(errno)),
            };
        }
        let known = *state;
        drop(state);
        if first {
            self.follow_up(known, deadline);
        }
        if let State::Ended { status, .. } = known {
            return Ok(Some(status));
        }
        Err(Error::StatusLost {
            program: self.origin.program.clone(),
            cause: spawn::lost_status(),
        })
    }

    /// Tells whether the process has ended. Its status is not taken, so that it stays to be seen in
    /// `/proc`, with all that it used, until one of the waiting methods is called. The moment counts
    /// as that of its end for [`wall`](Self::wall).
    ///
    /// # Errors
    ///
    /// [`Error::System`] when the kernel does not let it be looked at.
    ///
    /// # References
    ///
    /// A pidfd's readiness in [pidfd_open(2)](https://man7.org/linux/man-pages/man2/pidfd_open.2.html)
    pub fn has_ended(&self) -> Result<bool> {
        let mut state = self.state();
        if let State::Running = *state {
            let ended = match wait_readable(&[self.as_fd()], Deadline::now()) {
                Ok(ready) => !ready.is_empty(),
                Err(_) => {
                    spawn::has_ended(self.as_fd()).map_err(Error::system("look at a child"))?
                }
            };
            if !ended {
                return Ok(false);
            }
            let wall = self.origin.started.elapsed();
            *state = State::Zombie { wall };
        }
        Ok(true)
    }

    /// Waits until the process has ended, at most for this long; `None` if it still runs then.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Option<ExitStatus>> {
        self.wait_until(Deadline::after(timeout).instant())
    }

    /// Waits until the process has ended, or until `deadline`; `None` if it still runs then.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    ///
    /// # References
    ///
    /// [poll(2)](https://man7.org/linux/man-pages/man2/poll.2.html)
    pub fn wait_until(&self, deadline: Option<Instant>) -> Result<Option<ExitStatus>> {
        let deadline = Deadline::from(deadline);
        let mut pause = Duration::from_millis(1);
        loop {
            // The lock is let go before the wait, so that nobody else has to wait for it. Where the
            // kernel refuses to poll (with a limit of no descriptors it does), it is looked at again
            // and again.
            let ready = self.is_reaped()
                || wait_readable(&[self.as_fd()], deadline).map_or(true, |ready| !ready.is_empty());
            let status = self.look(deadline)?;
            if status.is_some() || !ready {
                return Ok(status);
            }
            // It has ended, and a debugger has not let go of it yet: the kernel keeps its status
            // back until then, and tells of no later event.
            std::thread::sleep(deadline.left().map_or(pause, |left| left.min(pause)));
            pause = (pause * 2).min(Duration::from_millis(50));
            if deadline.has_passed() {
                return self.look(deadline);
            }
        }
    }

    /// What the process used. `None` until its end was seen by one of the waiting methods.
    pub fn usage(&self) -> Option<ResourceUsage> {
        match *self.state() {
            State::Ended { usage, .. } => usage,
            _ => None,
        }
    }

    pub(crate) fn on_drop(&self) -> OnDrop {
        self.origin.on_drop
    }

    /// Leaves its zombie, if there is or will be one, to be reaped later. Nothing is to be done with
    /// it afterwards.
    pub(crate) fn leave(&mut self) {
        let is_reaped = self.is_reaped();
        if let Some(pidfd) = self.pidfd.take().filter(|_| !is_reaped) {
            spawn::adopt(self.pid, pidfd);
        }
    }

    /// Tells whether the handle is still here, and was not given away.
    pub(crate) fn is_held(&self) -> bool {
        self.pidfd.is_some()
    }

    pub(crate) fn descent(&self) -> &Descent {
        &self.origin.descent
    }

    /// Tells whether its status was taken, so that its number may be another process's.
    pub(crate) fn is_reaped(&self) -> bool {
        self.state().is_reaped()
    }

    /// Tells whether its number is still its own: nobody has taken its status, here or elsewhere.
    pub(crate) fn holds_number(&self) -> bool {
        !self.is_reaped() && spawn::is_unreaped(self.as_fd())
    }

    pub(crate) fn started(&self) -> Instant {
        self.origin.started
    }

    /// The time from the start to the moment at which the end was seen. `None` until its status was
    /// taken.
    pub fn wall(&self) -> Option<Duration> {
        match *self.state() {
            State::Ended { wall, .. } => Some(wall),
            _ => None,
        }
    }

    /// Does what the end entails, once. Not under the lock: it may take its time.
    fn follow_up(&self, end: State, deadline: Deadline) {
        #[cfg(feature = "tracing")]
        if let State::Ended { status, wall, .. } = end {
            let program = &self.origin.program;
            tracing::debug!(program, pid = self.pid, %status, ?wall, "ended");
        }
        // What it left behind is this process's now.
        if let (State::Ended { .. }, Some(marker)) = (end, &self.origin.descent.marker) {
            descent::adopt_orphans(marker, deadline);
        }
    }

    fn ended(&self, before: State, reaped: Reaped) -> State {
        let (user, system) = reaped.times;
        let clearly_larger = reaped.peak_memory > self.origin.own_peak_memory + (1 << 20);
        State::Ended {
            status: reaped.status,
            usage: Some(ResourceUsage {
                user,
                system,
                peak_memory: clearly_larger.then_some(reaped.peak_memory),
            }),
            wall: match before {
                State::Zombie { wall } => wall,
                _ => self.origin.started.elapsed(),
            },
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives the process's pidfd. It becomes readable when the process has ended, so that it can be
/// polled together with other descriptors.
///
/// ```
/// use rustix::event::{PollFd, PollFlags, poll};
///
/// let child = pipewright::Command::new("true").spawn()?;
/// let mut descriptors = [PollFd::new(&child, PollFlags::IN)];
/// assert_eq!(poll(&mut descriptors, None)?, 1);
/// assert!(child.try_wait()?.is_some_and(|status| status.success())); // no need to block
/// # Ok::<(), std::io::Error>(())
/// ```
impl AsFd for Child {
    #[expect(
        clippy::expect_used,
        reason = "taken only in drop, after which nobody can call"
    )]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd
            .as_ref()
            .expect("a child holds its pidfd until it is dropped")
            .as_fd()
    }
}

/// Gives the pidfd away, for other code to wait with. The zombie is then that code's to take, and
/// [`Command::kill_on_drop`] has no effect any more.
impl From<Child> for OwnedFd {
    #[expect(
        clippy::expect_used,
        reason = "taken only here and in drop, which comes after"
    )]
    fn from(mut child: Child) -> Self {
        child
            .pidfd
            .take()
            .expect("a child holds its pidfd until it is dropped")
    }
}
