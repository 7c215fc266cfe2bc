//! Texts for a shell: read, made of words, and given to it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::shell::{LONGEST_ARGUMENT, Script, Start};

/// How a shell comes to a text that it runs whole.
#[derive(Debug)]
pub(super) enum WholeText {
    /// As an argument.
    Argument,
    /// It opens the file that has it.
    File,
    /// It is too long for an argument, and no file has it: the shell opens this one.
    Copied(File),
}

impl WholeText {
    /// For a text that comes from this file, if from one. `words_follow`: it is to have words behind it.
    pub(super) fn of(
        text: &OsStr,
        path: Option<&Path>,
        words_follow: bool,
    ) -> std::io::Result<Self> {
        let long = text.len() > LONGEST_ARGUMENT || text.as_bytes().contains(&0);
        if words_follow && !long {
            return Ok(Self::Argument);
        }
        // A pipe or a terminal has been read, and can only be read once.
        if path.is_some_and(Path::is_file) {
            return Ok(Self::File);
        }
        if !long {
            return Ok(Self::Argument);
        }
        let mut file = File::from(memfd_create("text", MemfdFlags::CLOEXEC)?);
        file.write_all(text.as_bytes())?;
        Ok(Self::Copied(file))
    }
}

/// The shell text of stages of plain words. `exec`, so that a program is not mistaken for a builtin.
pub(super) fn quoted(script: &Script) -> OsString {
    let mut text = Vec::new();
    for (index, stage) in script.stages.iter().enumerate() {
        let Start::Direct(words) = &stage.start else {
            continue;
        };
        if index > 0 {
            let stderr_too = script.stages[index - 1].stderr_too;
            text.extend_from_slice(if stderr_too { b" |& " } else { b" | " });
        }
        text.extend_from_slice(b"exec ");
        for word in words {
            text.push(b'\'');
            for byte in word.as_bytes() {
                match byte {
                    b'\'' => text.extend_from_slice(b"'\\''"),
                    byte => text.push(*byte),
                }
            }
            text.extend_from_slice(b"' ");
        }
    }
    OsString::from_vec(text)
}

/// Stages of plain words as one text.
pub(super) fn joined(script: &Script) -> OsString {
    let mut text = OsString::new();
    let mut operator = "";
    for stage in &script.stages {
        text.push(operator);
        text.push(&stage.text);
        operator = if stage.stderr_too { " |& " } else { " | " };
    }
    text
}

/// Tells whether a text may see the words behind it, or a function of the caller's may change them.
pub(super) fn may_see_words(text: &[u8]) -> bool {
    let sees = |name: &[u8]| text.windows(name.len()).any(|part| part == name);
    let is_function = |name: &OsStr| name.as_bytes().starts_with(b"BASH_FUNC_");
    sees(b"BASH_") || std::env::vars_os().any(|(name, _)| is_function(&name))
}

/// The text of a file; `-` is stdin.
pub(super) fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    if path.as_os_str() == "-" {
        let mut text = Vec::new();
        let stdin = std::io::stdin();
        loop {
            match stdin.lock().read_to_end(&mut text) {
                // It is non-blocking. What was read stays.
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    rustix::event::poll(&mut [PollFd::new(&stdin, PollFlags::IN)], None)?;
                }
                read => return read.map(|_| text),
            }
        }
    }
    std::fs::read(path)
}
