//! Executing a program in this very process: the child's half of a start, without the child.
#![allow(unsafe_code, reason = "calls the child's half of a start")]

use super::describe;
use super::image::Image;
use super::in_child::InChild;
use super::mask::AllSignalsBlocked;
use super::vfork::{at, become_program};
use crate::command::Command;
use crate::error::{Error, Step};

impl Command {
    /// Replaces this process by the program. It returns only when that failed, and then with the
    /// step that the kernel refused.
    ///
    /// All that holds for a child of [`spawn`](Self::spawn) holds for the program: it has 0, 1, 2 and
    /// the descriptors named for it, and no other; SIGPIPE is at its default, no signal is blocked,
    /// no handler is left. No destructor runs and no buffer is flushed.
    ///
    /// The steps before the failed one have been carried out on this process. Descriptors may be at
    /// other numbers than before and handlers are reset, so the one thing left to do after a failure
    /// is to tell it and to exit. Other threads go on until the program executes, and see the steps
    /// as well.
    ///
    /// ```
    /// // A step that fails before anything was done to this process.
    /// let error = pipewright::Command::new("a\0b").exec();
    /// assert!(error.to_string().contains("zero byte"));
    /// ```
    ///
    /// # References
    ///
    /// [execve(2)](https://man7.org/linux/man-pages/man2/execve.2.html)
    pub fn exec(self) -> Error {
        if let Err(error) = self.check() {
            return error;
        }
        let program = self.program_name();
        let mut image = match Image::new(self) {
            Ok(image) => image,
            Err(error) => return error,
        };
        // The parent whose end sends the parent-death signal is not this process but its parent.
        image.parent = rustix::process::getppid().map_or(0, |parent| parent.as_raw_pid());
        let failure = match AllSignalsBlocked::new() {
            Ok(_blocked) => {
                // SAFETY: what is changed is the table of descriptors and the attributes of the process
                // that asked for it, from an image that outlives the call. Signals are blocked, so that
                // none arrives while handlers are reset.
                become_program(unsafe { InChild::assume() }, &image)
            }
            Err(errno) => at(&Step::Signals)(errno),
        };
        describe(program, &image, failure)
    }
}
