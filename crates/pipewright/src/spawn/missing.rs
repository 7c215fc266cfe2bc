//! Programs that can be known to be missing without a start.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::image::candidates;
use crate::command::Command;
use crate::error::{Error, Step};

/// The error that a start would fail with, if nothing is there that could be executed. Whether
/// what is there can be, only the start can tell.
pub(crate) fn missing(command: &Command) -> Option<Error> {
    // In another root, the same path is another file.
    if command.executable.is_some() || command.root.is_some() {
        return None;
    }
    let directory = command.directory.as_deref().unwrap_or(Path::new(""));
    let paths = candidates(command);
    let is_there = |path: &Vec<u8>| {
        let path = directory.join(OsStr::from_bytes(path));
        // Another refusal than that may be another one for the child.
        !matches!(
            access(&path, Access::EXISTS),
            Err(Errno::NOENT | Errno::NOTDIR)
        )
    };
    if paths.iter().any(is_there) {
        return None;
    }
    let step = Step::Execute((&command.program).into());
    Some(command.failed(step, Errno::NOENT.into()))
}
