//! A process that keeps its own memory locked: one of its threads waits for a page of a file that is
//! never delivered, another one maps memory. Whoever reads its environment then waits for ever; no
//! method here does.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use pipewright::{Child, Command, PipeReader, Signal, Stdio, pipe};
use testing::{is_root, isolated_by, state};

const LONG: Duration = Duration::from_secs(50);

/// A file system with one file, which can be opened and is never read: after it was opened twice,
/// no request is looked at any more. It ends with its stdin.
const FILE_SYSTEM: &str = r#"
import ctypes, os, struct, sys
fuse = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fuse},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
if ctypes.CDLL(None).mount(b"fuse", sys.argv[1].encode(), b"fuse", 0, options.encode()) != 0:
    sys.exit("cannot mount")
print("mounted", flush=True)
def attributes(inode, mode, size):
    return struct.pack("<6Q10I", inode, size, 1, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)
root, file = attributes(1, 0o40755, 0), attributes(2, 0o100644, 4096)
# Opened once to be closed: the kernel then learns that closing is nothing to be told of.
opens = 0
while opens < 2:
    request = os.read(fuse, 1 << 18)
    length, operation, unique, node = struct.unpack("<IIQQ", request[:24])
    opens += operation == 14
    answers = {
        26: struct.pack("<IIIIHHIIHH", 7, 31, 65536, 0, 16, 12, 65536, 1, 0, 0) + bytes(28),
        1: struct.pack("<QQQQII", 2, 0, 3600, 3600, 0, 0) + file,
        3: struct.pack("<QII", 3600, 0, 0) + (root if node == 1 else file),
        14: struct.pack("<QII", 1, 0, 0),
    }
    answer = answers.get(operation)
    error = -38 if answer is None else 0
    answer = answer or b""
    os.write(fuse, struct.pack("<IiQ", 16 + len(answer), error, unique) + answer)
sys.stdin.read()
"#;

/// Locks its memory by the file at descriptor 3, and says its number before.
const HOG: &str = r#"
import ctypes, os, threading, time
c = ctypes.CDLL(None)
c.mmap.restype = ctypes.c_void_p
c.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + 3 * [ctypes.c_int] + [ctypes.c_long]
memory = os.open("/proc/self/mem", os.O_RDONLY)
page = c.mmap(None, 4096, 1, 2, 3, 0)
threading.Thread(target=lambda: os.pread(memory, 1, page)).start()
print(os.getpid(), flush=True)
while True:
    time.sleep(0.01)
    c.mmap(None, 4096, 1, 0x22, -1, 0)
"#;

/// Runs the body with a file whose pages never come, or says why it cannot.
fn with_unanswering_file(name: &str, body: impl FnOnce(File)) {
    let how = if is_root() { "-m" } else { "-Urm" };
    isolated_by(&["unshare", how], name, || {
        let directory = tempfile::tempdir().unwrap();
        let (stdin, hold) = pipe().unwrap();
        let (said, stdout) = pipe().unwrap();
        let server = Command::new("python3").args(["-c", FILE_SYSTEM]);
        let server = server.arg(directory.path()).stdin(stdin).stdout(stdout);
        let mut line = String::new();
        let server = server.stderr(Stdio::Null).spawn();
        let Ok(server) = server else {
            println!("skipped: there is no python3");
            return;
        };
        BufReader::new(said).read_line(&mut line).unwrap();
        if line != "mounted\n" {
            println!("skipped: this user may not mount a file system of its own (FUSE)");
            return;
        }
        let open = || File::open(directory.path().join("file")).unwrap();
        drop(open());
        body(open());
        drop(hold);
        assert!(server.wait().unwrap().success());
        rustix::mount::unmount(directory.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
    });
}

/// Starts a shell that runs the hog by `$0 -c "$1"`. Returns when the hog has locked its memory, with
/// its number and the pipe that it holds.
fn start(script: &str, file: &File) -> (Child, u32, PipeReader) {
    let (reader, writer) = pipe().unwrap();
    let child = Command::new("bash")
        .args(["-c", script, "python3", HOG])
        .fd(3, OwnedFd::from(file.try_clone().unwrap()))
        .stdin(Stdio::Null)
        .stdout(writer)
        .own_tree()
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut reader = BufReader::new(reader);
    reader.read_line(&mut line).unwrap();
    let hog = line.trim().parse().unwrap();
    // In an uninterruptible sleep, time after time: it waits for the lock.
    let mut times = 0;
    while times < 20 {
        times = if state(hog) == Some('D') {
            times + 1
        } else {
            0
        };
        std::thread::sleep(Duration::from_millis(1));
    }
    (child, hog, reader.into_inner())
}

fn assert_ended(reader: PipeReader) {
    assert_eq!(std::io::read_to_string(reader).unwrap(), "");
}

#[test]
fn a_child_that_locks_its_memory_delays_no_method_and_ends() {
    let name = "a_child_that_locks_its_memory_delays_no_method_and_ends";
    with_unanswering_file(name, |file| {
        let (child, hog, reader) = start("exec $0 -c \"$1\"", &file);
        assert_eq!(child.id(), hog);
        assert_eq!(child.try_wait().unwrap(), None);
        let short = Duration::from_millis(10);
        assert_eq!(child.wait_timeout(short).unwrap(), None);
        assert!(child.signal_tree(Signal::CONT).unwrap().is_complete());
        let left = child.wait_tree(short).unwrap().unreached;
        assert_eq!(left[0].source.raw_os_error(), Some(libc::ETIMEDOUT));
        // Beside it, too.
        let other = Command::new("true").own_tree().spawn().unwrap();
        assert!(other.wait().unwrap().success());
        let report = child.kill_tree(LONG).unwrap();
        assert!(report.is_complete(), "{report:?}");
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        assert_ended(reader);
    });
}

#[test]
fn a_grandchild_that_locks_its_memory_ends_with_its_tree() {
    let name = "a_grandchild_that_locks_its_memory_ends_with_its_tree";
    with_unanswering_file(name, |file| {
        let (child, _, reader) = start("$0 -c \"$1\" & wait; :", &file);
        let report = child.kill_tree(LONG).unwrap();
        assert!(report.is_complete(), "{report:?}");
        assert_eq!(report.signalled, 2);
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        assert_ended(reader);
    });
}

#[test]
fn a_daemon_that_locks_its_memory_is_named_and_delays_nobody_for_good() {
    let name = "a_daemon_that_locks_its_memory_is_named_and_delays_nobody_for_good";
    with_unanswering_file(name, |file| {
        let (child, hog, reader) = start("(setsid $0 -c \"$1\" &)", &file);
        // The wait that takes the status looks for what was left behind.
        assert!(child.wait().unwrap().success());
        for _ in 0..3 {
            let report = child.kill_tree(LONG).unwrap();
            let [unreached] = &report.unreached[..] else {
                panic!("{report:?}")
            };
            assert_eq!(unreached.pid, hog);
            assert_eq!(unreached.source.raw_os_error(), Some(libc::EBUSY));
            assert!(
                unreached.to_string().contains("cannot be told"),
                "{unreached}"
            );
        }
        // What can be asked is found all the same.
        let script = "(setsid sleep 1000 &); echo; sleep 1000; :";
        let (mut said, writer) = pipe().unwrap();
        let shell = Command::new("bash").args(["-c", script]).stdout(writer);
        let other = shell.own_tree().spawn().unwrap();
        std::io::Read::read_exact(&mut said, &mut [0]).unwrap();
        let report = other.kill_tree(LONG).unwrap();
        assert_eq!(report.unreached.len(), 1, "{report:?}");
        assert!(report.signalled >= 2, "{report:?}");
        assert_ended(said);
        assert_eq!(other.wait().unwrap().signal(), Some(9));

        let hog = rustix::process::Pid::from_raw(hog as i32).unwrap();
        rustix::process::kill_process(hog, Signal::KILL).unwrap();
        assert_ended(reader);
    });
}
