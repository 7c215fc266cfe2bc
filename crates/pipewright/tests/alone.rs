//! No start depends on another: one that hangs in its exec hangs nothing but itself.
//!
//! A program is made to hang by a fanotify group that is asked for the permission to execute it and
//! does not answer, as a file system might not. Only root may have such a group.
#![allow(unsafe_code, reason = "fanotify, by the C library")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use pipewright::{Command, Error, Signal, Step};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{DumpableBehavior, dumpable_behavior};
use testing::{copy_program, is_root, isolated, watchdog};

/// A program whose exec does not return until it is let go.
struct Hanging {
    program: PathBuf,
    group: OwnedFd,
    _directory: tempfile::TempDir,
}

impl Hanging {
    /// `None` where the kernel does not let it be made.
    fn new() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("hangs");
        copy_program(Path::new("/bin/true"), &program);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), mode).unwrap();
        let flags = libc::FAN_CLASS_CONTENT | libc::FAN_CLOEXEC | libc::FAN_NONBLOCK;
        // SAFETY: no pointer is taken.
        let group = unsafe { libc::fanotify_init(flags, libc::O_RDONLY as u32) };
        if group == -1 {
            eprintln!("skipped: no fanotify group: {}", io::Error::last_os_error());
            return None;
        }
        // SAFETY: a descriptor just made, which nobody else owns.
        let group = unsafe { OwnedFd::from_raw_fd(group) };
        let path = std::ffi::CString::new(program.as_os_str().as_bytes()).unwrap();
        // SAFETY: the path is a C string.
        let marked = unsafe {
            libc::fanotify_mark(
                group.as_raw_fd(),
                libc::FAN_MARK_ADD,
                libc::FAN_OPEN_EXEC_PERM,
                libc::AT_FDCWD,
                path.as_ptr(),
            )
        };
        if marked == -1 {
            let error = io::Error::last_os_error();
            eprintln!("skipped: fanotify does not ask for permissions here: {error}");
            return None;
        }
        Some(Self {
            program,
            group,
            _directory: directory,
        })
    }

    /// Starts it by another thread, and returns when it hangs.
    fn start(&self, prepare: impl FnOnce(Command) -> Command) -> JoinHandle<()> {
        let command = prepare(Command::new(&self.program));
        let hung = std::thread::spawn(move || {
            assert!(command.spawn().unwrap().wait().unwrap().success());
        });
        let mut asked = [PollFd::new(&self.group, PollFlags::IN)];
        assert_eq!(poll(&mut asked, None).unwrap(), 1);
        hung
    }
}

impl Hanging {
    /// Gives the permission. To close the group would not do: the child has a copy until it executes.
    fn let_go(self, hung: JoinHandle<()>) {
        while !hung.is_finished() {
            let mut event = [0_u8; size_of::<libc::fanotify_event_metadata>()];
            if rustix::io::read(&self.group, &mut event) != Ok(event.len()) {
                std::thread::yield_now();
                continue;
            }
            // SAFETY: the kernel filled one event, all of whose fields are numbers.
            let event =
                unsafe { std::mem::transmute::<[u8; 24], libc::fanotify_event_metadata>(event) };
            // SAFETY: the kernel made this descriptor for us.
            let file = unsafe { OwnedFd::from_raw_fd(event.fd) };
            let answer = [file.as_raw_fd(), libc::FAN_ALLOW as i32].map(i32::to_ne_bytes);
            rustix::io::write(&self.group, answer.as_flattened()).unwrap();
        }
        hung.join().unwrap();
    }
}

fn succeeds(command: Command) {
    assert!(command.spawn().unwrap().wait().unwrap().success());
}

/// A program that is written while it is started.
fn busy() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("busy");
    copy_program(Path::new("/bin/true"), &path);
    let writer = File::options().append(true).open(&path).unwrap();
    // Linux 6.11 and 6.12 execute it all the same.
    if let Err(error) = Command::new(&path).spawn() {
        assert_eq!(error.raw_os_error(), Some(libc::ETXTBSY), "{error}");
    }
    drop(writer);
}

/// A shell that leaves a process behind, which holds its stdout until `hold` is gone.
fn leaves_a_holder(hold: impl Into<OwnedFd>) -> Command {
    Command::new("sh")
        .args(["-c", "cat <&3 & echo begun"])
        .fd(3, hold)
}

/// Every kind of start, and what waits for starts.
fn everything_else() {
    let plain = || Command::new("true");
    succeeds(plain());
    succeeds(plain().uid(65534).gid(65534).groups([]));
    succeeds(plain().uid(65534));
    succeeds(plain().own_tree());
    succeeds(plain().new_session());
    std::thread::scope(|scope| {
        scope.spawn(|| succeeds(plain().parent_death_signal(Signal::TERM)));
        scope.spawn(|| succeeds(plain().uid(65534).parent_death_signal(Signal::TERM)));
    });
    let error = plain().current_dir("/nope").spawn().unwrap_err();
    assert!(matches!(error, Error::Start(failure)
        if matches!(failure.step, Step::ChangeDirectory(_))));
    let status = (plain() | plain() | plain()).run().unwrap();
    assert!(status.success(), "{status:?}");
    busy();
    drop(plain().spawn().unwrap());

    let (hold, keep) = pipewright::pipe().unwrap();
    let capture = leaves_a_holder(hold).capture().pipe_grace(Duration::ZERO);
    let error = capture.output().unwrap_err();
    assert!(matches!(error, Error::PipeHeldOpen { .. }), "{error}");
    drop(keep);
    let (hold, keep) = pipewright::pipe().unwrap();
    let capture = leaves_a_holder(hold)
        .capture()
        .timeout(Duration::from_millis(1));
    let error = capture.output().unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    drop(keep);
}

#[test]
fn a_start_that_hangs_in_its_exec_hangs_nothing_but_itself() {
    isolated(
        "a_start_that_hangs_in_its_exec_hangs_nothing_but_itself",
        || {
            if !is_root() {
                eprintln!("skipped: only root may let an exec hang");
                return;
            }
            let kinds: [fn(Command) -> Command; 2] = [Command::own_tree, |command| {
                let command = command.uid(65534).gid(65534);
                command.parent_death_signal(Signal::TERM)
            }];
            for kind in kinds {
                let Some(hanging) = Hanging::new() else {
                    return;
                };
                let hung = hanging.start(kind);
                everything_else();
                assert!(!hung.is_finished());
                hanging.let_go(hung);
                let dumpable = dumpable_behavior().unwrap();
                assert_eq!(dumpable, DumpableBehavior::Dumpable, "the last one out");
            }
        },
    );
}

#[test]
fn a_capture_on_tokio_is_not_held_up_by_a_start_that_hangs() {
    isolated(
        "a_capture_on_tokio_is_not_held_up_by_a_start_that_hangs",
        || {
            if !is_root() {
                eprintln!("skipped: only root may let an exec hang");
                return;
            }
            let Some(hanging) = Hanging::new() else {
                return;
            };
            let hung = hanging.start(|command| command);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let (hold, keep) = pipewright::pipe().unwrap();
            let capture = leaves_a_holder(hold).capture().pipe_grace(Duration::ZERO);
            let error = runtime.block_on(capture.output_async()).unwrap_err();
            assert!(matches!(error, Error::PipeHeldOpen { .. }), "{error}");
            drop(keep);
            hanging.let_go(hung);
        },
    );
}

/// Until it executes its program, a child that is being made has whatever is open here; that is no
/// holder of a pipe.
#[test]
fn starts_of_other_threads_do_not_hold_a_capture_open() {
    let _watchdog = watchdog();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let echo = Command::new("echo").arg("x").capture();
                    assert_eq!(echo.pipe_grace(Duration::ZERO).read().unwrap(), "x");
                }
            });
        }
    });
}
