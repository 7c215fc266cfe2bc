//! A shell asked whether it takes a text, before anything runs.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use pipewright::Command;

use crate::shell::LONGEST_ARGUMENT;

/// What a shell says to `-n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It takes the text.
    Yes,
    /// It takes the text, and says something about it, such as that a here-document has no end.
    Grudgingly,
    No,
}

/// Asks a shell whether it takes a text.
pub(super) fn ask(shell: &Path, text: &OsStr) -> Answer {
    if text.len() > LONGEST_ARGUMENT {
        return Answer::Grudgingly;
    }
    let asked = Command::new(shell)
        .args(["-n", "-c"])
        .arg(no_option(text.to_owned()))
        .capture()
        .output();
    match asked {
        Ok(output) if !output.status.success() => Answer::No,
        Ok(output) if output.stderr.iter().all(Vec::is_empty) => Answer::Yes,
        // One that cannot be started says so when it is to run the text.
        Ok(_) | Err(_) => Answer::Grudgingly,
    }
}

/// The text so that a shell does not take it for options of its own: it would, behind -c, too.
pub(super) fn no_option(text: OsString) -> OsString {
    if text.as_bytes().starts_with(b"-") || text.as_bytes().starts_with(b"+") {
        return [OsStr::new(" "), &text].join(OsStr::new(""));
    }
    text
}
