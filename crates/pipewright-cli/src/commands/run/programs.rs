//! Programs looked up before anything starts.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::recording::manifest::{ProgramFile, Words};

/// What a name on a command line leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// A binary for this machine, or a script with a `#!` line: the kernel executes it.
    Executable,
    /// Only a shell knows what to do with it: a script without a `#!` line is run by the shell
    /// itself, and a file of another kind is told of in the shell's words.
    Foreign,
    /// There is a file, and it may not be executed.
    Forbidden,
    /// There is no such file.
    Missing,
}

impl Program {
    /// Finds it at the path that it is, or along `PATH`.
    pub(super) fn find(name: impl AsRef<OsStr>) -> Self {
        Self::locate(name.as_ref()).0
    }

    /// The path of one that the kernel executes.
    pub(super) fn path_of(name: &OsStr) -> Option<PathBuf> {
        match Self::locate(name) {
            (Self::Executable, path) => Some(path),
            _ => None,
        }
    }

    /// Finds it along another `PATH`.
    pub(super) fn along(name: &OsStr, path: Option<&OsStr>) -> (Self, PathBuf) {
        if name.as_encoded_bytes().contains(&b'/') {
            return (Self::at(Path::new(name)), name.into());
        }
        let Some(path) = path else {
            // A shell has a path of its own for this, and it is not written anywhere.
            return (Self::Foreign, name.into());
        };
        let mut found = (Self::Missing, name.into());
        for directory in std::env::split_paths(&path) {
            let path = directory.join(name);
            match Self::at(&path) {
                Self::Missing => {}
                // A shell goes on, and falls back to this one.
                Self::Forbidden => found = (Self::Forbidden, path),
                program => return (program, path),
            }
        }
        found
    }

    fn locate(name: &OsStr) -> (Self, PathBuf) {
        Self::along(name, std::env::var_os("PATH").as_deref())
    }

    fn at(path: &Path) -> Self {
        match path.metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Self::Missing,
            Ok(metadata) if metadata.is_file() && access(path, Access::EXEC_OK).is_ok() => {}
            _ => return Self::Forbidden,
        }
        let mut head = Vec::new();
        let read = File::open(path).and_then(|file| file.take(20).read_to_end(&mut head));
        match read {
            // It may be executed and not read: the kernel tells.
            Err(_) => Self::Executable,
            Ok(_) if head.starts_with(b"#!") || is_native(&head) => Self::Executable,
            Ok(_) => Self::Foreign,
        }
    }
}

/// Reads a program, to tell it from another version: `None` where that cannot be done in no time.
pub(super) fn read_program(path: &Path) -> Option<ProgramFile> {
    const LARGEST: u64 = 64 << 20;
    let path = path.canonicalize().ok()?;
    let bytes = path.metadata().ok()?.len();
    let content = (bytes <= LARGEST).then(|| std::fs::read(&path).ok())??;
    Some(ProgramFile {
        path: Words::from(&path),
        bytes: content.len() as u64,
        crc32c: crc32c::crc32c(&content),
    })
}

/// Tells whether this is the head of an ELF file for this machine, as elf(5) lays it out.
fn is_native(head: &[u8]) -> bool {
    let machine = if cfg!(target_arch = "x86_64") {
        62 // EM_X86_64
    } else {
        183 // EM_AARCH64
    };
    head.starts_with(b"\x7fELF\x02") && head.get(18..20) == Some(&[machine, 0])
}

/// bash, or sh where there is none: along `PATH`, or where they are usually.
pub(super) fn usual_shell() -> PathBuf {
    let usual = ["/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash"];
    if Program::find("bash") == Program::Executable {
        return "bash".into();
    }
    let there = |path: &&str| Program::at(Path::new(*path)) == Program::Executable;
    usual.into_iter().find(there).unwrap_or("/bin/sh").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_what_the_kernel_can_execute() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8], mode: u32| {
            use std::os::unix::fs::PermissionsExt;
            let path = directory.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            Program::find(path.to_str().unwrap())
        };
        assert_eq!(write("script", b"#!/bin/sh\n", 0o755), Program::Executable);
        assert_eq!(write("headless", b"echo\n", 0o755), Program::Foreign);
        assert_eq!(write("empty", b"", 0o755), Program::Foreign);
        let mut binary = std::fs::read("/proc/self/exe").unwrap();
        binary.truncate(64);
        assert_eq!(write("own", &binary, 0o755), Program::Executable);
        binary[18] = 8; // EM_MIPS
        assert_eq!(write("mips", &binary, 0o755), Program::Foreign);
        assert_eq!(write("plain", b"#!/bin/sh\n", 0o644), Program::Forbidden);
        assert_eq!(Program::find("/no/such/program"), Program::Missing);
        assert_eq!(Program::find("no-such-program"), Program::Missing);
        assert_eq!(Program::find("/"), Program::Forbidden);
        assert_eq!(Program::find("sh"), Program::Executable);
    }
}
