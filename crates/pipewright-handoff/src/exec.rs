//! Becoming another program at the end, and telling the parent.

use std::time::Duration;

use pipewright::{Child, Command};

use crate::channel::Channel;
use crate::error::{Error, Result};
use crate::frame::Control;
use crate::link::{ChildLink, ParentLink};

impl ParentLink {
    /// Replaces this process by the program of `command`, and tells the parent. It returns only
    /// when that failed; the parent knows by then, and the entry point has nothing left to do but
    /// to return the error.
    ///
    /// First the child sends "I execute this program now". The channel is close-on-exec, so its end
    /// means that the program runs. A failure is sent over the channel, which is kept out of the
    /// way of the descriptors that are placed for the program. The program has 0, 1, 2 and what
    /// `command` names.
    ///
    /// # Errors
    ///
    /// Always one: [`Error::Start`], or what kept the first words from being sent.
    ///
    /// ```
    /// use std::time::Duration;
    /// use pipewright::Command;
    /// use pipewright_handoff::{EntryPoints, ReExec};
    ///
    /// EntryPoints::new()
    ///     .entry("init", |parent| parent.exec::<()>(Command::new("sh").args(["-c", "exit 5"])))
    ///     .dispatch();
    /// let program = ReExec::new("init").spawn()?.wait_exec(Duration::from_secs(10))?;
    /// assert_eq!(program.wait()?.code(), Some(5)); // of the program, in the same process
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    ///
    /// # References
    ///
    /// [execve(2)](https://man7.org/linux/man-pages/man2/execve.2.html)
    pub fn exec<T>(&mut self, command: Command) -> Result<T> {
        let program = command.get_program().to_string_lossy().into_owned();
        let phase = format!("exec {program}");
        self.channel().set_phase(&phase);
        // Nothing may be placed at the channel's number, or a failure could not be told.
        let highest = command.fd_numbers().max().unwrap_or(2).max(2);
        self.channel().move_above(highest.saturating_add(1))?;
        self.channel().send_control(&Control::Executing(program))?;
        let error = command.exec();
        let errno = error.raw_os_error();
        let told = self.channel().fail(&phase, &error.to_string(), errno);
        if told.is_ok() {
            self.set_reported();
        }
        Err(error.into())
    }
}

impl ChildLink {
    /// Waits until the child has become the program that it was to become, and returns the running
    /// process.
    ///
    /// A program that ends at once was still executed, so that is no error here.
    ///
    /// # Errors
    ///
    /// [`Error::Remote`] with the program's name and the kernel's error number when it could not be
    /// executed, or with the phase in which the child failed before; [`Error::PeerDied`],
    /// [`Error::TimedOut`] and [`Error::Protocol`] as for every wait. The child is left as it is;
    /// it ends by itself after a failure.
    pub fn wait_exec(mut self, timeout: Duration) -> Result<Child> {
        wait_exec(self.channel(), timeout)?;
        Ok(self.into_child())
    }
}

/// Waits for the announcement and then for the end of the channel.
pub(crate) fn wait_exec(channel: &mut Channel, timeout: Duration) -> Result<()> {
    const EXPECTED: &str = "\"executing\" a program";
    match channel.receive_control(timeout, EXPECTED)? {
        Control::Executing(program) => {
            channel.set_phase(&format!("exec {program}"));
            channel.wait_for_end(timeout)
        }
        other => Err(Error::protocol(EXPECTED, other.describe())),
    }
}
