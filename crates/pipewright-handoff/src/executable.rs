//! The file that a re-execution executes.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;

use crate::error::{Error, OPEN_SELF, Result};

/// The executable of the child.
///
/// It is always executed through an open descriptor, never by a path: a path that was read from
/// `/proc/self/exe` may by now name another file, or none.
///
/// # References
///
/// [execveat(2)](https://man7.org/linux/man-pages/man2/execveat.2.html),
/// [memfd_create(2)](https://man7.org/linux/man-pages/man2/memfd_create.2.html),
/// F_ADD_SEALS in [fcntl(2)](https://man7.org/linux/man-pages/man2/fcntl.2.html)
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum SelfExe {
    /// The file that this process executes, `/proc/self/exe`, even if it was unlinked or replaced
    /// meanwhile.
    #[default]
    Running,
    /// A copy of that file in sealed memory, made once in the life of this process. Nobody can
    /// change it, not even root through `/proc/PID/exe`. That is the answer to CVE-2019-5736, in
    /// which a container wrote to the host's program in this way.
    Sealed,
    /// An open file, if `/proc` is not mounted. It must be the program that this process runs; a
    /// child from another build is refused.
    File(OwnedFd),
}

impl SelfExe {
    pub(crate) fn open(self) -> Result<OwnedFd> {
        match self {
            Self::Running => running(),
            Self::Sealed => sealed(),
            Self::File(file) => Ok(file),
        }
    }
}

fn running() -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open("/proc/self/exe", flags, Mode::empty()).map_err(Error::system(OPEN_SELF))
}

/// Every seal on a file's content.
pub(crate) const ALL_SEALS: SealFlags = SealFlags::SEAL
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW)
    .union(SealFlags::WRITE);

fn sealed() -> Result<OwnedFd> {
    static COPY: Mutex<Option<OwnedFd>> = Mutex::new(None);
    let mut copy = COPY.lock().unwrap_or_else(PoisonError::into_inner);
    let sealed = match copy.take() {
        Some(sealed) => sealed,
        None => sealed_copy()?,
    };
    let shared = rustix::io::fcntl_dupfd_cloexec(&sealed, 3);
    *copy = Some(sealed);
    shared.map_err(Error::system("duplicate the sealed executable"))
}

fn sealed_copy() -> Result<OwnedFd> {
    let running = running()?;
    // A re-executed child may run from the copy already.
    if rustix::fs::fcntl_get_seals(&running).is_ok_and(|seals| seals.contains(ALL_SEALS)) {
        return Ok(running);
    }
    let (mut from, mut to) = (File::from(running), File::from(memory(MemfdFlags::EXEC)?));
    std::io::copy(&mut from, &mut to).map_err(Error::io("copy the executable to memory"))?;
    rustix::fs::fcntl_add_seals(&to, ALL_SEALS)
        .map_err(Error::system("seal the executable's copy"))?;
    Ok(to.into())
}

/// Makes a memfd that can be sealed. `purpose` says if it will be executed; kernels before 6.3 do
/// not know that flag.
pub(crate) fn memory(purpose: MemfdFlags) -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let name = "pipewright-handoff";
    match rustix::fs::memfd_create(name, flags | purpose) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags),
        result => result,
    }
    .map_err(Error::system("make a memfd"))
}
