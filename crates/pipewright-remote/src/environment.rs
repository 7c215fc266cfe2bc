//! The variables that decide what programs make of bytes, so that all hosts have those of this one.

use std::os::unix::ffi::OsStrExt;

const NAMES: [&str; 16] = [
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_ADDRESS",
    "LC_COLLATE",
    "LC_CTYPE",
    "LC_IDENTIFICATION",
    "LC_MEASUREMENT",
    "LC_MESSAGES",
    "LC_MONETARY",
    "LC_NAME",
    "LC_NUMERIC",
    "LC_PAPER",
    "LC_TELEPHONE",
    "LC_TIME",
    "TZ",
];

/// A variable's name and its value; `None` where it is not set.
pub(crate) type Variable = (Vec<u8>, Option<Vec<u8>>);

/// Gives each of them as this process has it.
pub(crate) fn of_this_process() -> Vec<Variable> {
    let variable = |name: &&str| {
        let value = std::env::var_os(name).map(|value| value.as_bytes().to_vec());
        (name.as_bytes().to_vec(), value)
    };
    NAMES.iter().map(variable).collect()
}
