//! A spool on a real file system that loses what was not synced, as in a power cut.
//!
//! An ext4 in a file, mounted as a loop: at a random moment it is told to shut down as if the machine had
//! lost its power. What was in memory alone is gone, and nothing reaches the disk any more. Mounted again
//! it replays its journal.

mod support;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use support::spools::{Fed, replay, spool, stream};
use testing::{feed, isolated_by, rounds, stderr};

/// EXT4_IOC_SHUTDOWN, without a last write to the journal; on a line.
const CUT: &str = "
import fcntl, os, struct, sys
root = os.open(sys.argv[1], os.O_RDONLY)
print('ready', flush=True)
sys.stdin.readline()
fcntl.ioctl(root, 0x8004587d, struct.pack('I', 2))
";

/// A file with a file system in it, and where it is mounted.
struct Machine {
    place: tempfile::TempDir,
}

impl Machine {
    /// `None` where that cannot be done.
    fn new() -> Option<Self> {
        let machine = Self {
            place: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir(machine.root()).unwrap();
        let disk = File::create(machine.disk()).unwrap();
        disk.set_len(96 << 20).unwrap();
        let made = Command::new("mkfs.ext4")
            .args(["-q", "-F"])
            .arg(machine.disk())
            .output();
        let is_made = made.is_ok_and(|made| made.status.success());
        (is_made && machine.start()).then_some(machine)
    }

    fn disk(&self) -> PathBuf {
        self.place.path().join("disk")
    }

    fn root(&self) -> PathBuf {
        self.place.path().join("root")
    }

    fn start(&self) -> bool {
        let mounted = Command::new("mount")
            .args(["-o", "loop"])
            .args([self.disk(), self.root()])
            .output();
        mounted.is_ok_and(|mounted| mounted.status.success())
    }

    /// Whoever is to cut the power, once a line comes.
    fn cutter(&self) -> Option<Child> {
        let mut cutter = Command::new("python3")
            .args(["-c", CUT])
            .arg(self.root())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut ready = String::new();
        let mut told = BufReader::new(cutter.stdout.take().unwrap());
        told.read_line(&mut ready).unwrap();
        Some(cutter)
    }

    /// Mounts it again, where nobody has anything open in it.
    fn start_again(&self) {
        let ended = Command::new("umount").arg(self.root()).output().unwrap();
        assert!(ended.status.success(), "{}", stderr(&ended));
        assert!(self.start(), "it starts again");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.root()).output();
    }
}

/// The kernel brings to the disk what it likes, when it likes: here more often than every five seconds.
fn write_back(root: &Path, enough: &AtomicBool) {
    let root = File::open(root).unwrap();
    while !enough.load(Relaxed) {
        let _ = rustix::fs::syncfs(&root);
        std::thread::sleep(Duration::from_millis(3));
    }
}

#[test]
fn what_was_given_is_there_after_the_power_was_lost() {
    // Whoever takes a mount namespace for itself meanwhile would keep a copy of the mount.
    isolated_by(
        &["unshare", "--mount"],
        "what_was_given_is_there_after_the_power_was_lost",
        lose_the_power,
    );
}

fn lose_the_power() {
    let bytes = stream(8 << 20);
    for round in rounds(8, 60) {
        let machine = Machine::new();
        let machine = machine.and_then(|it| it.cutter().map(|cutter| (it, cutter)));
        let Some((machine, mut cutter)) = machine else {
            println!("skipped: a file cannot be mounted here, or there is no mkfs.ext4 or python3");
            return;
        };
        let directory = machine.root().join("kept");
        let sync = ["none", "disk"][round as usize % 2];
        let limit: &[&str] = [&[][..], &["--limit", "1M"]][round as usize / 2 % 2];
        let mut command = spool(["--sync", sync]);
        command.args(limit).arg(&directory);
        let mut fed = Fed::start(command, bytes.clone());
        let mut stdout = fed.child.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut given = Vec::new();
            stdout.read_to_end(&mut given).unwrap();
            given
        });
        let enough = AtomicBool::new(false);
        let root = machine.root();
        std::thread::scope(|scope| {
            if round / 4 % 2 == 0 {
                scope.spawn(|| write_back(&root, &enough));
            }
            std::thread::sleep(Duration::from_micros(u64::from(round) * 7919 % 90_000));
            cutter.stdin.take().unwrap().write_all(b"\n").unwrap();
            assert!(cutter.wait().unwrap().success(), "the power is lost");
            enough.store(true, Relaxed);
        });
        fed.kill();
        let given = reader.join().unwrap();
        assert!(bytes.starts_with(&given), "round {round}");
        machine.start_again();
        // The machine has started anew, which this one has not.
        let lock = directory.join("lock");
        if lock.exists() {
            std::fs::write(&lock, "another boot").unwrap();
        }

        let again = replay(&directory);
        let (kept, told) = (&again.stdout, stderr(&again));
        let what = format!(
            "round {round}, --sync {sync} {limit:?}, {} given: {told}",
            given.len()
        );
        if again.status.code() == Some(125) {
            assert!(told.contains("is no spool"), "{what}");
            assert!(sync == "none" || given.is_empty(), "{what}");
            continue;
        }
        let first = removed(&told);
        let end = first + kept.len();
        assert!(
            bytes.get(first..end) == Some(kept),
            "{what}: other bytes are kept"
        );
        if sync == "disk" {
            assert!(
                end >= given.len(),
                "{what}: the durable end was {end}, and more was given"
            );
            assert!(first <= given.len(), "{what}: removed, and not given");
        }
        let is_cut = told.contains("cut off");
        assert!(is_cut || end == bytes.len(), "{what}: it looks complete");
        if is_cut {
            let mut command = spool(["--append", "--sync", sync]);
            let appended = feed(command.args(limit).arg(&directory), &bytes[end..]);
            assert!(appended.status.success(), "{what}: {}", stderr(&appended));
            assert!(bytes.ends_with(&appended.stdout), "{what}");
        }
        if limit.is_empty() {
            let whole = replay(&directory);
            assert!(whole.status.success() && whole.stdout == bytes, "{what}");
        }
    }
}

/// How much of the stream was removed, which `replay` tells.
fn removed(told: &str) -> usize {
    let removed = told.lines().find_map(|line| {
        let rest = line.split_once("the first ")?.1;
        rest.split_once(" bytes of ")?.0.parse().ok()
    });
    removed.unwrap_or(0)
}
