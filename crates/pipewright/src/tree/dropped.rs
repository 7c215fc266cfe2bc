//! What becomes of a child when its handle is dropped.

use std::time::Duration;

use rustix::process::Signal;

use crate::child::Child;
use crate::command::{Command, OnDrop};

/// How long a drop may wait for the end of a tree.
const WITHIN: Duration = Duration::from_secs(1);

impl Command {
    /// Ends the program and everything that it started and that [can be found](Self::own_tree) when
    /// the [`Child`] is dropped, as [`Child::kill_tree`] does. Without [`own_tree`](Self::own_tree) no
    /// daemons are found.
    ///
    /// The drop waits until all of it has ended, for a second at most.
    ///
    /// ```
    /// use pipewright::Command;
    ///
    /// let (reader, writer) = pipewright::pipe()?;
    /// let shell = Command::new("sh").args(["-c", "sleep 60 & echo started; wait"]).stdout(writer);
    /// let child = shell.kill_tree_on_drop().spawn()?;
    /// std::io::Read::read_exact(&mut &reader, &mut [0; 8])?;
    /// drop(child);
    /// assert_eq!(std::io::read_to_string(reader)?, ""); // nobody is left who holds the pipe
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn kill_tree_on_drop(mut self) -> Self {
        self.on_drop = OnDrop::KillTree;
        self
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.is_held() {
            // Nobody is left to be told that something could not be killed.
            match self.on_drop() {
                OnDrop::Leave => {}
                OnDrop::Kill => drop(self.send(Signal::KILL)),
                OnDrop::KillTree => drop(self.kill_tree(WITHIN)),
            }
        }
        self.leave();
    }
}
