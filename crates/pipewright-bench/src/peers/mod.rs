//! Those that pipewright is measured against.

pub(crate) mod bare;
pub(crate) mod captures;
pub(crate) mod crates;
pub(crate) mod driven;

use std::env;
use std::path::PathBuf;

use rustix::fs::{Access, access};

/// The name of our own contender, which the others are divided by.
pub(crate) const OURS: &str = "pipewright";

/// Finds the executable called `name` along PATH.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file() && access(path, Access::EXEC_OK).is_ok())
}
