//! Phases and barriers: where the two processes are, and waiting for each other.

use std::fmt::Display;
use std::time::Duration;

use crate::channel::Channel;
use crate::error::{Error, Result};
use crate::frame::Control;

impl Channel {
    /// Tells the other side what this one is doing now, so that an error there can say in which
    /// phase it happened.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// ```
    /// use pipewright_handoff::{EntryPoints, ReExec};
    ///
    /// EntryPoints::new()
    ///     .entry("worker", |parent| parent.channel().enter("waiting for work"))
    ///     .dispatch();
    /// let mut worker = ReExec::new("worker").spawn()?;
    /// let error = worker.channel().receive::<()>().unwrap_err(); // it ended without a message
    /// assert!(error.to_string().contains(r#"died in the phase "waiting for work""#));
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    pub fn enter(&mut self, phase: &str) -> Result<()> {
        self.set_phase(phase);
        self.send_control(&Control::Phase(phase.to_owned()))
    }

    /// Asks the other side for something that only it can do, and waits until it has done it: "map
    /// my ids" – "mapped, go on".
    ///
    /// The other side answers with [`serve_barrier`](Self::serve_barrier).
    ///
    /// # Errors
    ///
    /// [`Error::Remote`] when the other side could not do it; [`Error::TimedOut`] when it withholds
    /// the answer; otherwise as [`receive`](Self::receive).
    ///
    /// ```
    /// use pipewright_handoff::{EntryPoints, ReExec};
    ///
    /// EntryPoints::new()
    ///     .entry("init", |parent| parent.channel().barrier("map my ids"))
    ///     .dispatch();
    /// let mut child = ReExec::new("init").spawn()?;
    /// child.channel().serve_barrier("map my ids", || Ok::<(), std::io::Error>(()))?;
    /// assert!(child.into_child().wait()?.success());
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    pub fn barrier(&mut self, name: &str) -> Result<()> {
        self.set_phase(name);
        self.send_control(&Control::Barrier(name.to_owned()))?;
        let expected = format!("\"go on\" at the barrier \"{name}\"");
        match self.receive_control(self.timeout(), &expected)? {
            Control::GoOn(other) if other == name => Ok(()),
            other => Err(Error::protocol(expected, other.describe())),
        }
    }

    /// Waits until the other side comes to the barrier, does what it asks for, and lets it go on.
    ///
    /// If `action` fails, the other side gets the failure instead, and it is the error here as
    /// well.
    ///
    /// # Errors
    ///
    /// [`Error::Remote`] with the failure of `action`; [`Error::Protocol`] when the other side came
    /// to another barrier; otherwise as [`receive`](Self::receive).
    pub fn serve_barrier<E: Display>(
        &mut self,
        name: &str,
        action: impl FnOnce() -> Result<(), E>,
    ) -> Result<()> {
        self.await_barrier(name)?;
        if let Err(error) = action() {
            let message = error.to_string();
            // It may be dead by now; what failed here is the better error in any case.
            let _ = self.fail(name, &message, None);
            return Err(Error::Remote {
                phase: name.to_owned(),
                message,
                errno: None,
            });
        }
        self.send_control(&Control::GoOn(name.to_owned()))
    }

    /// Waits until the other side has come to the barrier. It stays there until
    /// [`release_barrier`](Self::release_barrier): so several processes can be made to go on
    /// together.
    ///
    /// # Errors
    ///
    /// As [`serve_barrier`](Self::serve_barrier).
    ///
    /// ```
    /// use pipewright_handoff::{EntryPoints, ReExec};
    ///
    /// EntryPoints::new()
    ///     .entry("half", |parent| parent.channel().barrier("start together"))
    ///     .dispatch();
    /// let mut halves = [ReExec::new("half").spawn()?, ReExec::new("half").spawn()?];
    /// for half in &mut halves {
    ///     half.channel().await_barrier("start together")?;
    /// }
    /// for mut half in halves {
    ///     half.channel().release_barrier("start together")?; // when all have come
    ///     assert!(half.into_child().wait()?.success());
    /// }
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    pub fn await_barrier(&mut self, name: &str) -> Result<()> {
        let expected = format!("the barrier \"{name}\"");
        match self.receive_control(self.timeout(), &expected)? {
            Control::Barrier(other) if other == name => {
                self.set_phase(name);
                Ok(())
            }
            other => Err(Error::protocol(expected, other.describe())),
        }
    }

    /// Lets the other side go on from the barrier.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn release_barrier(&mut self, name: &str) -> Result<()> {
        self.send_control(&Control::GoOn(name.to_owned()))
    }

    /// Tells the other side that this one failed: whatever it waits for ends in [`Error::Remote`]
    /// with this phase, message and error number.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn fail(&mut self, phase: &str, message: &str, errno: Option<i32>) -> Result<()> {
        let failure = Control::Failure {
            phase: phase.to_owned(),
            message: message.to_owned(),
            errno,
        };
        // A process that failed is about to end, and does not stay to see why nobody listens.
        self.send_last_control(&failure, Duration::ZERO)
    }
}
