//! The face that people see: the live view, the summary, messages.

pub(crate) mod charset;
mod claim;
pub(crate) mod comparison;
pub(crate) mod guard;
pub(crate) mod hexdump;
pub(crate) mod inline;
pub(crate) mod live;
pub(crate) mod silence;
pub(crate) mod spool;
pub(crate) mod style;
pub(crate) mod summary;
pub(crate) mod tags;
pub(crate) mod terminal;
pub(crate) mod text;
pub(crate) mod units;
pub(crate) mod yielding;

use std::io::{IsTerminal, Write};

use pipewright::poll::{Deadline, poll};
use rustix::event::{PollFd, PollFlags};

use crate::output::Output;

/// Writes to stdout. A reader that has gone is no error: it wanted no more.
pub(crate) fn print(bytes: &[u8]) -> std::io::Result<()> {
    match Output::stdout()?.write_all(bytes) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

/// Writes a text for people to stdout, in the characters that their locale has.
pub(crate) fn say(text: &str) -> std::io::Result<()> {
    print(charset::in_locale(text).as_bytes())
}

/// Writes to stderr in one piece, so that it does not mix with a stage's. Nobody can be told when
/// that fails.
pub(crate) fn tell(text: &str) {
    let text = charset::in_locale(text);
    let _ = Output::stderr().and_then(|mut stderr| stderr.write_all(text.as_bytes()));
}

/// Tells whether stderr would take a text now, without waiting for whoever reads it.
pub(crate) fn would_take_text() -> bool {
    let stderr = rustix::stdio::stderr();
    let mut polled = [PollFd::new(&stderr, PollFlags::OUT)];
    // Where it cannot be asked, as for want of memory, the text is left out.
    poll(&mut polled, Deadline::now()).is_ok_and(|ready| ready == 1)
}

/// Steps behind what the terminal has echoed of a key, such as ^C. Elsewhere there is nothing to step behind.
pub(crate) fn step_behind_key() {
    if std::io::stderr().is_terminal() {
        tell("\n");
    }
}

/// An error of pipewright's own.
pub(crate) fn complain(message: &str) {
    tell(&format!("pipewright: {}\n", text::lines(message)));
}
