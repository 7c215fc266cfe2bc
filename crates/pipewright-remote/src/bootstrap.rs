//! A copy of this very program on the other host, for those where there is none.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use pipewright::Command;

use crate::error::{Error, Result};
use crate::quote;
use crate::ssh::Host;

/// This program's file, and the name that its copies have.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Copy {
    /// SHA-256 of its bytes, in hexadecimal.
    hash: String,
}

/// The other host's part: stdin is the program, `$0` the directory's name, `$1` the hash.
const SCRIPT: &str = "d=\"${XDG_CACHE_HOME:-$HOME/.cache}/pipewright\"; umask 077; \
    mkdir -p \"$d/$0\" && new=\"$d/$0/new.$$\" && trap \"rm -f $d/$0/new.$$\" EXIT && cat > \"$new\" && \
    if [ \"$(sha256sum < \"$new\" | cut -c 1-64)\" = \"$1\" ]; then \
    chmod 700 \"$new\" && mv -f \"$new\" \"$d/$0/pipewright\" && ln -sfn \"$0\" \"$d/current\"; \
    else echo \"what arrived is not what was sent\" >&2; exit 1; fi";

impl Copy {
    /// Of the program that runs.
    ///
    /// # Errors
    ///
    /// [`Error::Local`] when its file cannot be read, or `sha256sum` not be run.
    pub fn of_this_program() -> Result<Self> {
        let unreadable = |error| Error::Local("read this program's own file", error);
        let file = File::open("/proc/self/exe").map_err(unreadable)?;
        let sum = Command::new("sha256sum").stdin(file).capture().read();
        let sum =
            sum.map_err(|error| Error::Local("run sha256sum", std::io::Error::other(error)))?;
        let hash = sum.split(' ').next().unwrap_or_default().to_owned();
        Ok(Self { hash })
    }

    /// The directory in the other host's cache.
    pub fn name(&self) -> &str {
        &self.hash[..16]
    }
}

/// Copies this program to a host's cache. `machine` is what `uname -sm` says there.
///
/// # Errors
///
/// [`Error::Bootstrap`] when the host is of another kind, or the copy did not arrive as it was sent.
pub fn bootstrap(host: &Host, copy: &Copy, machine: &str) -> Result<()> {
    let failed = |reason: String| Error::Bootstrap {
        host: host.name.clone(),
        reason,
    };
    let ours = format!("Linux {}", std::env::consts::ARCH);
    if machine.trim() != ours {
        return Err(failed(format!(
            "it is {}, and this program is for {ours}",
            machine.trim()
        )));
    }
    let unreadable = |error| Error::Local("read this program's own file", error);
    let mut file = File::open(Path::new("/proc/self/exe")).map_err(unreadable)?;
    // Read once here, so that a file that cannot be read is told as such.
    file.read_exact(&mut [0])
        .and_then(|()| file.rewind())
        .map_err(unreadable)?;
    let words = ["sh", "-c", SCRIPT, copy.name(), &copy.hash].map(OsString::from);
    let copied = host
        .command(&quote::for_login_shell(&words))
        .stdin(file)
        .capture()
        .output();
    let output = copied.map_err(|error| failed(error.to_string()))?;
    if output.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr.concat()).into_owned();
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    Err(failed(last.unwrap_or("it did not say why").to_owned()))
}
