//! A running process: its pidfd, waiting for it, signals.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

#[cfg(doc)]
use crate::command::Command;
use crate::descent::{self, Descent};
use crate::error::{Error, Result};
use crate::poll::{Deadline, poll};
use crate::spawn::{self, Reaped, ResourceUsage};

/// A process that was started.
///
/// It is held by a pidfd, which stands for this very process even after its number was given to
/// another one. All methods take `&self` and may be called from several threads at once; each
/// waiter gets the status.
///
/// Dropping a `Child` neither blocks nor kills (see [`Command::kill_on_drop`] for the other choice).
/// Its zombie is taken when the next child is started.
///
/// ```
/// use std::time::Duration;
/// use pipewright::{Command, Signal};
///
/// let child = Command::new("sleep").arg("60").spawn()?;
/// assert_eq!(child.wait_timeout(Duration::from_millis(1))?, None);
/// child.signal(Signal::TERM)?;
///
/// use std::os::unix::process::ExitStatusExt;
/// assert_eq!(child.wait()?.signal(), Some(15));
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # References
///
/// [pidfd_open(2)](https://man7.org/linux/man-pages/man2/pidfd_open.2.html)
#[derive(Debug)]
pub struct Child {
    pid: i32,
    /// `None` only while it is being dropped.
    pidfd: Option<OwnedFd>,
    /// From the start to the moment at which the end was first seen.
    seen_ended: OnceLock<Duration>,
    origin: Origin,
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
    pub(crate) kill_on_drop: bool,
}

/// What is known of the process's end.
#[derive(Debug, Clone, Copy)]
enum State {
    /// Its status has not been taken: it runs, or is a zombie.
    Running,
    /// Its status was taken here.
    Ended {
        status: ExitStatus,
        usage: ResourceUsage,
        wall: Duration,
    },
    /// It has ended, and somebody else took its status.
    Lost,
}

impl Child {
    pub(crate) fn new(pid: i32, pidfd: OwnedFd, origin: Origin) -> Self {
        Self {
            pid,
            pidfd: Some(pidfd),
            seen_ended: OnceLock::new(),
            origin,
            state: Mutex::new(State::Running),
        }
    }

    /// The process id. Once the process has ended and its status was taken, the kernel may give the
    /// number to another process; the other methods here do not go by it.
    ///
    /// ```
    /// let (reader, writer) = pipewright::pipe()?;
    /// let child = pipewright::Command::new("sh").args(["-c", "echo $$"]).stdout(writer).spawn()?;
    /// assert_eq!(std::io::read_to_string(reader)?, format!("{}\n", child.id()));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn id(&self) -> u32 {
        self.pid as u32
    }

    /// The program as the command named it.
    ///
    /// ```
    /// let child = pipewright::Command::new("true").arg("ignored").spawn()?;
    /// assert_eq!(child.program(), "true"); // neither the path nor the arguments
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn program(&self) -> &str {
        &self.origin.program
    }

    /// Waits until the process has ended.
    ///
    /// # Errors
    ///
    /// [`Error::System`] with ECHILD when the status was taken by somebody else: SIGCHLD is ignored
    /// in this process, or other code waited for *any* child.
    ///
    /// ```
    /// let child = pipewright::Command::new("sh").args(["-c", "exit 7"]).spawn()?;
    /// std::thread::scope(|scope| {
    ///     let threads: Vec<_> = (0..3).map(|_| scope.spawn(|| child.wait())).collect();
    ///     for thread in threads {
    ///         let status = thread.join().expect("no panic").expect("a status");
    ///         assert_eq!(status.code(), Some(7)); // each waiter gets it
    ///     }
    /// });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # References
    ///
    /// [waitid(2)](https://man7.org/linux/man-pages/man2/waitid.2.html)
    pub fn wait(&self) -> Result<ExitStatus> {
        loop {
            if let State::Running = *self.state() {
                // Not under the lock, so that others may look, signal and wait meanwhile; and
                // without taking the status, so that each of them finds it.
                spawn::wait_for_end(self.as_fd()).map_err(Error::system("wait for a child"))?;
            }
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
        }
    }

    /// The status if the process has ended, `None` if it runs. Does not block.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    ///
    /// ```
    /// let (stdin, writer) = pipewright::pipe()?;
    /// let child = pipewright::Command::new("cat").stdin(stdin).spawn()?;
    /// assert_eq!(child.try_wait()?, None); // it waits for input
    /// drop(writer);
    /// let status = child.wait()?;
    /// assert_eq!(child.try_wait()?, Some(status));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # References
    ///
    /// WNOHANG in [waitid(2)](https://man7.org/linux/man-pages/man2/waitid.2.html)
    pub fn try_wait(&self) -> Result<Option<ExitStatus>> {
        let mut state = self.state();
        let first = matches!(*state, State::Running);
        if first {
            *state = match spawn::reap(self.as_fd()) {
                Ok(None) => return Ok(None),
                Ok(Some(reaped)) => self.ended(reaped),
                Err(Errno::CHILD) => State::Lost,
                Err(errno) => return Err(Error::system("wait for a child")(errno)),
            };
        }
        let known = *state;
        drop(state);
        if first {
            self.follow_up(known);
        }
        match known {
            State::Ended { status, .. } => Ok(Some(status)),
            _ => Err(Error::system(
                "learn how a child ended, because its status was taken by somebody else (is \
                 SIGCHLD ignored, or any child waited for?)",
            )(Errno::CHILD)),
        }
    }

    /// Whether the process has ended. Its status is not taken, so that it stays to be seen in
    /// `/proc`, with all that it used, until one of the waiting methods is called. The moment counts
    /// as that of its end for [`wall`](Self::wall).
    ///
    /// # Errors
    ///
    /// [`Error::System`] when the pidfd cannot be polled.
    ///
    /// ```
    /// let child = pipewright::Command::new("true").spawn()?;
    /// while !child.has_ended()? {
    ///     std::thread::yield_now();
    /// }
    /// let zombie = std::fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
    /// assert!(zombie.contains("(true) Z")); // it is there until its status is taken
    /// assert!(child.wait()?.success());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # References
    ///
    /// A pidfd's readiness in [pidfd_open(2)](https://man7.org/linux/man-pages/man2/pidfd_open.2.html)
    pub fn has_ended(&self) -> Result<bool> {
        if !matches!(*self.state(), State::Running) {
            return Ok(true);
        }
        let ended = !wait_readable(&[self.as_fd()], Deadline::now())?.is_empty();
        if ended {
            self.seen_ended
                .get_or_init(|| self.origin.started.elapsed());
        }
        Ok(ended)
    }

    /// Waits until the process has ended, at most for this long; `None` if it still runs then.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    ///
    /// ```
    /// use std::time::Duration;
    /// use pipewright::Command;
    ///
    /// let sleeps = Command::new("sleep").arg("60").kill_on_drop().spawn()?;
    /// assert_eq!(sleeps.wait_timeout(Duration::from_millis(5))?, None);
    /// let ends = Command::new("true").spawn()?;
    /// assert!(ends.wait_timeout(Duration::from_secs(60))?.is_some());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Option<ExitStatus>> {
        self.wait_until(Deadline::after(timeout).instant())
    }

    /// Waits until the process has ended, or until `deadline`; `None` if it still runs then.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use pipewright::Command;
    ///
    /// let children = [Command::new("true").spawn()?, Command::new("false").spawn()?];
    /// let deadline = Instant::now() + Duration::from_secs(60); // one for both
    /// for (child, code) in children.iter().zip([0, 1]) {
    ///     let status = child.wait_until(Some(deadline))?.expect("it ends in time");
    ///     assert_eq!(status.code(), Some(code));
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # References
    ///
    /// [pidfd_open(2)](https://man7.org/linux/man-pages/man2/pidfd_open.2.html),
    /// [poll(2)](https://man7.org/linux/man-pages/man2/poll.2.html)
    pub fn wait_until(&self, deadline: Option<Instant>) -> Result<Option<ExitStatus>> {
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(Some(status));
            }
            // Not under the lock: any number of threads may wait here, and one that only looks or
            // sends a signal is not held up.
            let ended = wait_readable(&[self.as_fd()], deadline)?;
            if ended.is_empty() {
                return self.try_wait();
            }
        }
    }

    /// Sends a signal. It is no error if the process has ended already.
    ///
    /// # Errors
    ///
    /// [`Error::System`] with EPERM when the process runs as another user.
    ///
    /// ```
    /// use std::os::unix::process::ExitStatusExt;
    /// use pipewright::{Command, Signal};
    ///
    /// let child = Command::new("sleep").arg("60").spawn()?;
    /// child.signal(Signal::INT)?;
    /// assert_eq!(child.wait()?.signal(), Some(2));
    /// child.signal(Signal::INT)?; // it has ended: no error, and nobody else gets the signal
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # References
    ///
    /// [pidfd_send_signal(2)](https://man7.org/linux/man-pages/man2/pidfd_send_signal.2.html)
    pub fn signal(&self, signal: Signal) -> Result<()> {
        // The pidfd never stands for another process, so there is no race with the end.
        match rustix::process::pidfd_send_signal(self, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(Error::system("send a signal to a child")(errno)),
        }
    }

    /// Ends the process with SIGKILL. It does not wait; see [`wait`](Self::wait).
    ///
    /// # Errors
    ///
    /// As [`signal`](Self::signal).
    ///
    /// ```
    /// use std::os::unix::process::ExitStatusExt;
    ///
    /// // What ignores SIGTERM does not escape this one.
    /// let child = pipewright::Command::new("sh").args(["-c", "trap '' TERM; exec sleep 60"]).spawn()?;
    /// child.kill()?;
    /// assert_eq!(child.wait()?.signal(), Some(9));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # References
    ///
    /// [signal(7)](https://man7.org/linux/man-pages/man7/signal.7.html)
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)
    }

    /// Asks the process to end with SIGTERM, ends it with SIGKILL if it still runs after `grace`,
    /// and returns how it ended.
    ///
    /// The wait after SIGKILL has no deadline: the kernel ends the process at once, unless it is
    /// stuck in the kernel itself. [`signal`](Self::signal), [`wait_timeout`](Self::wait_timeout)
    /// and [`kill`](Self::kill) are the three steps for who needs them apart.
    ///
    /// # Errors
    ///
    /// As [`signal`](Self::signal) and [`wait`](Self::wait).
    ///
    /// ```
    /// use std::os::unix::process::ExitStatusExt;
    /// use std::time::Duration;
    ///
    /// let obedient = pipewright::Command::new("sleep").arg("60").spawn()?;
    /// assert_eq!(obedient.kill_after(Duration::from_secs(30))?.signal(), Some(15));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn kill_after(&self, grace: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        if let Some(status) = self.wait_timeout(grace)? {
            return Ok(status);
        }
        self.kill()?;
        self.wait()
    }

    /// What the process used. `None` until its end was seen by one of the waiting methods.
    ///
    /// ```
    /// let child = pipewright::Command::new("true").spawn()?;
    /// child.wait()?;
    /// let usage = child.usage().expect("it has ended");
    /// assert!(usage.cpu().as_secs() < 60);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn usage(&self) -> Option<ResourceUsage> {
        match *self.state() {
            State::Ended { usage, .. } => Some(usage),
            _ => None,
        }
    }

    pub(crate) fn descent(&self) -> &Descent {
        &self.origin.descent
    }

    /// Whether its status was taken, so that its number may be another process's.
    pub(crate) fn is_reaped(&self) -> bool {
        !matches!(*self.state(), State::Running)
    }

    /// Ends every process of the group that it leads, if it leads one.
    pub(crate) fn kill_group(&self) {
        // Under the lock, so that its status is not taken meanwhile: until then its number, which
        // is the group's, is not given to another process.
        let state = self.state();
        if self.origin.descent.leads_group
            && let State::Running = *state
            && let Some(group) = Pid::from_raw(self.pid)
        {
            // A member of another user is found, and told of, by its own number.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }

    pub(crate) fn started(&self) -> Instant {
        self.origin.started
    }

    /// The time from the start to the moment at which the end was seen. `None` before that.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let child = pipewright::Command::new("sleep").arg("0.02").spawn()?;
    /// assert_eq!(child.wall(), None);
    /// child.wait()?;
    /// assert!(child.wall() >= Some(Duration::from_millis(20)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn wall(&self) -> Option<Duration> {
        match *self.state() {
            State::Ended { wall, .. } => Some(wall),
            _ => None,
        }
    }

    /// What the end entails, once. Not under the lock: it may take its time.
    fn follow_up(&self, end: State) {
        #[cfg(feature = "tracing")]
        if let State::Ended { status, wall, .. } = end {
            let program = &self.origin.program;
            tracing::debug!(program, pid = self.pid, %status, ?wall, "ended");
        }
        // What it left behind is this process's now.
        if let (State::Ended { .. }, Some(marker)) = (end, &self.origin.descent.marker) {
            descent::orphans(marker).into_iter().for_each(spawn::adopt);
        }
    }

    fn ended(&self, reaped: Reaped) -> State {
        let (user, system) = reaped.times;
        let clearly_larger = reaped.peak_memory > self.origin.own_peak_memory + (1 << 20);
        State::Ended {
            status: reaped.status,
            usage: ResourceUsage {
                user,
                system,
                peak_memory: clearly_larger.then_some(reaped.peak_memory),
            },
            wall: *self
                .seen_ended
                .get_or_init(|| self.origin.started.elapsed()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The process's pidfd. It becomes readable when the process has ended, so that it can be polled
/// together with other descriptors.
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

/// The pidfd, for other code to wait with. The zombie is then that code's to take, and
/// [`Command::kill_on_drop`] has no effect any more.
///
/// ```
/// use std::os::fd::{AsFd, OwnedFd};
/// use rustix::process::{WaitId, WaitIdOptions, waitid};
///
/// let pidfd = OwnedFd::from(pipewright::Command::new("true").spawn()?);
/// let ended = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?;
/// assert_eq!(ended.and_then(|ended| ended.exit_status()), Some(0));
/// # Ok::<(), std::io::Error>(())
/// ```
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

impl Drop for Child {
    fn drop(&mut self) {
        let running = matches!(*self.state(), State::Running);
        let Some(pidfd) = self.pidfd.take().filter(|_| running) else {
            return;
        };
        if self.origin.kill_on_drop {
            // Nobody is left to be told that it could not be.
            let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
        }
        spawn::adopt(pidfd);
    }
}

/// Waits until one of the descriptors is readable and returns the indices of those that are; none
/// when the deadline has passed.
pub(crate) fn wait_readable(
    descriptors: &[BorrowedFd<'_>],
    deadline: impl Into<Deadline>,
) -> Result<Vec<usize>> {
    let mut polled: Vec<PollFd<'_>> = descriptors
        .iter()
        .map(|descriptor| PollFd::from_borrowed_fd(*descriptor, PollFlags::IN))
        .collect();
    poll(&mut polled, deadline).map_err(Error::system("poll"))?;
    let ready = polled.iter().enumerate();
    Ok(ready
        .filter(|(_, fd)| !fd.revents().is_empty())
        .map(|(index, _)| index)
        .collect())
}
