//! What a recording says of its pipeline, as JSON.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::{Deserialize, Serialize};

/// The form of a manifest that is written here.
pub(crate) const VERSION: u32 = 2;

/// What was run, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) version: u32,
    /// 1 for the run, and one more for each time that it was resumed.
    pub(crate) attempt: u32,
    /// RFC 3339.
    pub(crate) started: String,
    pub(crate) text: Words,
    pub(crate) directory: Words,
    pub(crate) pipewright_version: String,
    /// Of the shell, where one runs a stage.
    pub(crate) shell_version: Option<String>,
    /// The variables that change what programs do, and those that the text names.
    pub(crate) environment: BTreeMap<String, Words>,
    pub(crate) input: Input,
    pub(crate) inverted: bool,
    pub(crate) sync: bool,
    pub(crate) keep_going: bool,
    /// The rule for its status, as the command line calls it.
    pub(crate) status: String,
    pub(crate) stages: Vec<Stage>,
    /// The links that are recorded: link n carries what stage n gives, and link 0 stdin.
    pub(crate) links: Vec<usize>,
    /// How the last attempt ended; none while it runs, or if it was killed.
    pub(crate) result: Option<Outcome>,
}

/// One stage of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Stage {
    pub(crate) text: Words,
    pub(crate) command: Vec<Words>,
    /// The file that was executed; none where it may not be read, or is very large.
    pub(crate) program: Option<ProgramFile>,
    pub(crate) stderr_too: bool,
    /// Variables of its own.
    pub(crate) environment: BTreeMap<String, Words>,
    /// Statuses that count as success.
    pub(crate) forgive: Vec<u8>,
    /// How often it is started again.
    pub(crate) restart_max: Option<u32>,
}

/// A program, to tell it from another version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProgramFile {
    pub(crate) path: Words,
    pub(crate) bytes: u64,
    pub(crate) crc32c: u32,
}

/// The stdin of the first stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Input {
    /// A file, from this offset on.
    File { path: Words, offset: u64 },
    /// A pipe or a socket, which can be read once.
    Pipe,
    /// A terminal, a device, or nothing.
    Other,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// pipewright's own.
    pub(crate) status: u8,
    /// RFC 3339.
    pub(crate) ended: String,
    /// How each stage ended in the end; none where that was not written down.
    pub(crate) stages: Vec<Option<End>>,
    /// What each recorded link carried, by its number.
    pub(crate) links: BTreeMap<usize, Contents>,
    /// The file that has the output.
    pub(crate) output: Option<Words>,
}

/// How the program of a stage ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    Exited(i32),
    Signal(i32),
}

/// What a keeper writes down when its stage has ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) attempt: u32,
    pub(crate) end: End,
    /// It was told that its input was over.
    pub(crate) saw_end: bool,
    /// How often it was started again.
    pub(crate) restarts: u32,
    /// RFC 3339.
    pub(crate) ended: String,
    /// What its recorded input was.
    pub(crate) input: Option<Contents>,
}

/// What a link carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contents {
    pub(crate) bytes: u64,
    pub(crate) crc32c: u32,
    /// Its end was seen.
    pub(crate) complete: bool,
}

impl End {
    /// As a spool notes it: a status, or the signal's number below zero.
    pub(crate) fn as_number(self) -> i32 {
        match self {
            Self::Exited(status) => status,
            Self::Signal(signal) => -signal,
        }
    }

    /// As a shell tells it.
    pub(crate) fn status(self) -> u8 {
        match self {
            Self::Exited(status) => status as u8,
            Self::Signal(signal) => 128_u8.wrapping_add(signal as u8),
        }
    }

    /// Its reader had gone.
    pub(crate) fn is_sigpipe(self) -> bool {
        self.status() == 128 + libc::SIGPIPE as u8
    }
}

impl From<std::process::ExitStatus> for End {
    fn from(status: std::process::ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt;
        match status.signal() {
            Some(signal) => Self::Signal(signal),
            None => Self::Exited(status.code().unwrap_or(0)),
        }
    }
}

/// Text of any bytes. JSON knows characters only, so what is none is a list of numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Words {
    Text(String),
    Bytes(Vec<u8>),
}

impl Words {
    pub(crate) fn to_os(&self) -> OsString {
        match self {
            Self::Text(text) => text.into(),
            Self::Bytes(bytes) => OsString::from_vec(bytes.clone()),
        }
    }
}

impl<T: AsRef<OsStr> + ?Sized> From<&T> for Words {
    fn from(text: &T) -> Self {
        let text = text.as_ref();
        match text.to_str() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Bytes(text.as_bytes().to_owned()),
        }
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_os().to_string_lossy())
    }
}

/// The time now, for a manifest.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// Variables that change what programs do.
fn matters(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "HOME",
        "LANG",
        "LANGUAGE",
        "LD_LIBRARY_PATH",
        "PATH",
        "POSIXLY_CORRECT",
        "SOURCE_DATE_EPOCH",
        "TMPDIR",
        "TZ",
    ];
    NAMES.contains(&name) || name.starts_with("LC_") || name.starts_with("BASH_FUNC_")
}

/// Those of the variables that belong into a manifest.
pub(crate) fn environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
    text: &str,
) -> BTreeMap<String, Words> {
    let named = |name: &str| {
        let bare = format!("${name}");
        let after = |rest: &str| {
            let next = rest.chars().next();
            !next.is_some_and(|next| next == '_' || next.is_ascii_alphanumeric())
        };
        let mut found = text.match_indices(&bare);
        found.any(|(at, _)| after(&text[at + bare.len()..])) || text.contains(&format!("${{{name}"))
    };
    let variables = variables.filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        (matters(&name) || named(&name)).then(|| (name, Words::from(&value)))
    });
    variables.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_any_bytes_are_read_back() {
        for bytes in [&b"sort -k 2"[..], b"", b"\xff\0x", "ü".as_bytes()] {
            let words = Words::from(OsStr::from_bytes(bytes));
            let text = serde_json::to_string(&words).unwrap();
            let read: Words = serde_json::from_str(&text).unwrap();
            assert_eq!(read.to_os().as_bytes(), bytes, "{text}");
        }
    }

    #[test]
    fn the_variables_that_matter_and_those_that_the_text_names_are_kept() {
        let variables = ["PATH", "LC_ALL", "SECRET", "FROM", "FROMAGE", "TO"];
        let variables = variables.map(|name| (name.into(), "x".into())).into_iter();
        let kept = environment(variables, "grep \"$FROM\" | sed ${TO:-1}");
        let names: Vec<&str> = kept.keys().map(String::as_str).collect();
        assert_eq!(names, ["FROM", "LC_ALL", "PATH", "TO"]);
    }
}
