//! Signals to a child and to the group that it leads.

use std::os::fd::AsFd;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::Child;
#[cfg(doc)]
use crate::command::Command;
use crate::error::{Error, Result};
use crate::spawn;

impl Child {
    /// Sends a signal. It is no error if the process has ended already.
    ///
    /// # Errors
    ///
    /// [`Error::System`] with EPERM when the process runs as another user.
    ///
    /// # References
    ///
    /// [pidfd_send_signal(2)](https://man7.org/linux/man-pages/man2/pidfd_send_signal.2.html)
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.send(signal)
            .map_err(Error::system("send a signal to a child"))
    }

    pub(crate) fn send(&self, signal: Signal) -> std::result::Result<(), Errno> {
        if self.is_reaped() {
            return Ok(());
        }
        // The pidfd never stands for another process, so there is no race with the end.
        match rustix::process::pidfd_send_signal(self, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            // Of another user, or a sandbox refuses the system call and knows only the old one.
            Err(errno @ (Errno::PERM | Errno::NOSYS | Errno::ACCESS)) => {
                self.by_number(errno, |pid| rustix::process::kill_process(pid, signal))
            }
            Err(errno) => Err(errno),
        }
    }

    /// Sends a signal to every process of the group that the child leads: see
    /// [`Command::process_group`] and [`Command::new_session`]. It is no error if all have ended.
    ///
    /// # Errors
    ///
    /// [`Error::System`] with EINVAL when the command asked for no group of its own, and with EPERM
    /// when not one of the processes may be signalled. Before Linux 6.9 a group can be reached only
    /// until the child itself was waited for: with ESRCH after that.
    ///
    /// ```
    /// use pipewright::{Command, Signal};
    ///
    /// let (reader, writer) = pipewright::pipe()?;
    /// let script = "sleep 60 & echo started; wait";
    /// let shell = Command::new("sh").args(["-c", script]).process_group(0).stdout(writer).spawn()?;
    /// std::io::Read::read_exact(&mut &reader, &mut [0; 8])?;
    /// shell.signal_group(Signal::TERM)?;
    /// assert_eq!(std::io::read_to_string(reader)?, ""); // nobody is left who holds the pipe
    /// # shell.wait()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # References
    ///
    /// PIDFD_SIGNAL_PROCESS_GROUP in
    /// [pidfd_send_signal(2)](https://man7.org/linux/man-pages/man2/pidfd_send_signal.2.html),
    /// [kill(2)](https://man7.org/linux/man-pages/man2/kill.2.html)
    pub fn signal_group(&self, signal: Signal) -> Result<()> {
        self.send_to_group(signal)
            .map_err(Error::system("send a signal to a child's process group"))
    }

    pub(crate) fn send_to_group(&self, signal: Signal) -> std::result::Result<(), Errno> {
        if !self.origin.descent.leads_group {
            return Err(Errno::INVAL);
        }
        match spawn::signal_group(self.as_fd(), signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            // EINVAL: the kernel does not know the flag yet.
            Err(errno @ (Errno::INVAL | Errno::PERM | Errno::NOSYS | Errno::ACCESS)) => {
                // While the child is not reaped, its number is the group's and nobody else's.
                let gone = if errno == Errno::INVAL {
                    Errno::SRCH
                } else {
                    errno
                };
                if self.is_reaped() {
                    return Err(gone);
                }
                self.by_number(gone, |pid| rustix::process::kill_process_group(pid, signal))
            }
            Err(errno) => Err(errno),
        }
    }

    /// Signals by number, where the pidfd does not do.
    ///
    /// It is sound because the number is the child's until its status is taken, and nothing in this
    /// crate takes it without the lock that is held here. That nobody else has taken it is asked
    /// first; where SIGCHLD is ignored, so that the kernel frees the number on its own, nothing is
    /// sent and the error is `refused`.
    fn by_number(
        &self,
        refused: Errno,
        send: impl FnOnce(Pid) -> std::result::Result<(), Errno>,
    ) -> std::result::Result<(), Errno> {
        let state = self.state();
        if state.is_reaped() || !spawn::is_unreaped(self.as_fd()) {
            return Ok(());
        }
        let pid = Pid::from_raw(self.pid).filter(|_| !spawn::is_sigchld_ignored());
        match send(pid.ok_or(refused)?) {
            Err(Errno::SRCH) => Ok(()),
            result => result,
        }
    }

    /// Ends the process with SIGKILL. It does not wait; see [`wait`](Self::wait).
    ///
    /// # Errors
    ///
    /// As [`signal`](Self::signal).
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)
    }

    /// Asks the process to end with SIGTERM, ends it with SIGKILL if it still runs after `grace`,
    /// and returns how it ended.
    ///
    /// The wait after SIGKILL has no deadline: the kernel ends the process at once, unless it is
    /// stuck in the kernel itself. Call [`signal`](Self::signal), [`wait_timeout`](Self::wait_timeout)
    /// and [`kill`](Self::kill) yourself if you need a deadline for that, too.
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
}
