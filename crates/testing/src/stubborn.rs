//! A process that nobody can read the command line of: it holds the lock of its own memory.
//!
//! One of its threads reads, through `/proc/self/mem`, a page of a file whose file system never
//! answers. The kernel keeps the process's memory locked meanwhile. Another thread wants to map
//! memory, waits for that lock, and everybody who comes after it waits too: readers of
//! `/proc/PID/cmdline`, `environ`, `maps`.
#![allow(unsafe_code, reason = "maps a file, to read it through /proc/self/mem")]

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use rustix::mm::{MapFlags, ProtFlags, mmap};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::processes::is_left;

/// What its mounts are called in /proc/mounts.
const NAME: &str = "unanswering";

/// A file system of one file, `file`, which can be opened, and then neither read nor looked at.
#[derive(Debug)]
pub struct Unanswering {
    directory: tempfile::TempDir,
}

impl Unanswering {
    /// Mounts it.
    ///
    /// # Errors
    ///
    /// Why it cannot be had here: only root may mount, and the kernel has to know FUSE.
    pub fn mount() -> Result<Self, String> {
        let told = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
        let device = File::options()
            .read(true)
            .write(true)
            .open("/dev/fuse")
            .map_err(|error| told("/dev/fuse", &error))?;
        unmount_what_was_left();
        let directory = tempfile::Builder::new()
            .prefix(&format!("{NAME}-{}-", std::process::id()))
            .tempdir()
            .map_err(|error| told("a directory", &error))?;
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0,allow_other",
            device.as_raw_fd()
        );
        let options = CString::new(options).map_err(|error| told("options", &error))?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount(NAME, directory.path(), "fuse", flags, &*options)
            .map_err(|error| told("mount", &error))?;
        std::thread::spawn(move || serve(device));
        Ok(Self { directory })
    }

    /// The file.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("file")
    }
}

impl Drop for Unanswering {
    fn drop(&mut self) {
        take_away(self.directory.path());
    }
}

fn take_away(mounted: &Path) {
    // Forced: what waits for an answer gets an error. While the file is open that is all.
    let _ = unmount(mounted, UnmountFlags::FORCE);
    let _ = unmount(mounted, UnmountFlags::DETACH);
}

fn unmount_what_was_left() {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let words = mounts.lines().map(|line| line.split(' '));
    let ours = words.filter_map(|mut words| (words.next() == Some(NAME)).then(|| words.next()));
    for path in ours.flatten().map(Path::new) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if is_left(&name, NAME) {
            take_away(path);
            let _ = std::fs::remove_dir(path);
        }
    }
}

/// Makes this process one that cannot be read. To be called in a process of its own, which then waits
/// until it is killed.
///
/// # Panics
///
/// When the file is not there.
pub fn hold_own_memory(unanswering: &Path) -> ! {
    const LENGTH: usize = 4096;
    let file = File::open(unanswering).unwrap();
    // SAFETY: a new mapping, at an address that the kernel chooses; nobody looks at it but the
    // kernel, through /proc/self/mem.
    let address = unsafe {
        mmap(
            std::ptr::null_mut(),
            LENGTH,
            ProtFlags::READ,
            MapFlags::PRIVATE,
            &file,
            0,
        )
    }
    .unwrap() as u64;
    std::thread::spawn(move || {
        let memory = File::open("/proc/self/mem").unwrap();
        let _ = memory.read_at(&mut [0], address);
    });
    std::thread::spawn(|| {
        loop {
            // Large enough to be mapped, and unmapped.
            drop(std::hint::black_box(vec![1_u8; 1 << 20]));
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    loop {
        std::thread::park();
    }
}

/// Waits until the process does not let its command line be read; `false` if it has ended before, or
/// does not get there: now and then it is let through.
pub fn is_stubborn_at_last(pid: u32) -> bool {
    let begin = std::time::Instant::now();
    while begin.elapsed() < Duration::from_secs(30) {
        let (answered, answer) = channel();
        std::thread::spawn(move || {
            let _ = answered.send(std::fs::read(format!("/proc/{pid}/cmdline")).is_ok());
        });
        // An answer may come late on a busy machine.
        match answer.recv_timeout(Duration::from_secs(3)) {
            Err(RecvTimeoutError::Timeout) => return true,
            Ok(true) => {}
            _ => return false,
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

/// Answers everything but what is asked about the file once it is open, in the protocol of linux/fuse.h.
fn serve(mut device: File) {
    const INIT: u32 = 26;
    const LOOKUP: u32 = 1;
    const GETATTR: u32 = 3;
    const OPEN: u32 = 14;
    const OPENDIR: u32 = 27;
    const READ: u32 = 15;
    const FORGET: u32 = 2;
    const FORGET_ALL: u32 = 42;
    const ROOT: u64 = 1;
    const RELEASE: u32 = 18;
    const NOT_IMPLEMENTED: i32 = -38;
    let mut request = vec![0_u8; 1 << 20];
    while let Ok(length) = device.read(&mut request) {
        let word = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().unwrap());
        if length < 40 {
            return;
        }
        let (operation, node) = (word(4), u64::from(word(16)));
        let forever = [0, 3600_u64].map(|seconds| seconds.to_ne_bytes());
        let body: Result<Vec<u8>, i32> = match operation {
            READ | FORGET | FORGET_ALL => continue,
            GETATTR if node != ROOT => continue,
            // Version 7.31, nothing of what may be negotiated.
            INIT => Ok([7, 31, 0, 0, 0, 4096, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0_u32]
                .map(u32::to_ne_bytes)
                .concat()),
            // Node, generation, how long both may be remembered, attributes, which may not.
            LOOKUP => Ok([
                &2_u64.to_ne_bytes()[..],
                &forever[0],
                &forever[1],
                &[0; 8],
                &[0; 8],
                &attributes(2),
            ]
            .concat()),
            GETATTR => Ok([&forever[1][..], &[0; 8], &attributes(node)].concat()),
            OPEN | OPENDIR => Ok(vec![0; 16]),
            RELEASE => Ok(Vec::new()),
            _ => Err(NOT_IMPLEMENTED),
        };
        let error = body.as_ref().err().copied().unwrap_or(0);
        let body = body.unwrap_or_default();
        let answer = [
            &(16 + body.len() as u32).to_ne_bytes()[..],
            &error.to_ne_bytes(),
            &request[8..16],
            &body,
        ];
        // A request may have been taken back.
        let _ = device.write(&answer.concat());
    }
}

/// `struct fuse_attr`: a directory, which is node 1, or a file of 1 MiB.
fn attributes(node: u64) -> Vec<u8> {
    let (mode, size): (u32, u64) = if node == 1 {
        (0o040_755, 0)
    } else {
        (0o100_444, 1 << 20)
    };
    let mut attributes = [node, size, 0, 0, 0, 0].map(u64::to_ne_bytes).concat();
    attributes.extend(
        [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0]
            .map(u32::to_ne_bytes)
            .concat(),
    );
    attributes
}
