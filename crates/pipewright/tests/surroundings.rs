//! Between clone and exec the child touches nothing of the process that started it: not its locks, its
//! allocator, its fork handlers, nor what a tool puts in the place of the C library.
#![allow(
    unsafe_code,
    reason = "an allocator, and fork handlers of the C library"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use pipewright::{Command, Error, Stdio, Step};
use testing::{isolated, watchdog};

/// An allocator that says when it is used by a process that is not the one it was made for.
struct Owned;

static OWNER: AtomicUsize = AtomicUsize::new(0);
static STRANGERS: AtomicUsize = AtomicUsize::new(0);

impl Owned {
    fn look() {
        let owner = OWNER.load(Relaxed);
        // SAFETY: it has no conditions.
        let here = unsafe { libc::syscall(libc::SYS_getpid) } as usize;
        if owner != 0 && owner != here {
            // The child shares this memory, so it is seen by the parent.
            STRANGERS.fetch_add(1, Relaxed);
        }
    }
}

// SAFETY: the system's allocator does it all.
unsafe impl GlobalAlloc for Owned {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::look();
        // SAFETY: by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Self::look();
        // SAFETY: by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Owned = Owned;

/// Starts that go through much of what there is, and two that fail.
fn starts() {
    let file = || std::fs::File::open("/dev/null").unwrap();
    for _ in 0..20 {
        let command = Command::new("true").fd(7, file()).fd(8, file());
        let command = command.current_dir("/").umask(0o22).nice(0).new_session();
        assert!(
            command
                .stdout(Stdio::Null)
                .spawn()
                .unwrap()
                .wait()
                .unwrap()
                .success()
        );
        let error = Command::new("true")
            .current_dir("/nope")
            .spawn()
            .unwrap_err();
        let Error::Start(failure) = error else {
            panic!()
        };
        assert_eq!(failure.step, Step::ChangeDirectory("/nope".into()));
        let error = Command::new("no-such-program").spawn().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    }
}

#[test]
fn the_child_allocates_nothing() {
    isolated("the_child_allocates_nothing", || {
        OWNER.store(std::process::id() as usize, Relaxed);
        starts();
        assert_eq!(STRANGERS.load(Relaxed), 0);
    });
}

static FORKED: AtomicBool = AtomicBool::new(false);

extern "C" fn note_fork() {
    FORKED.store(true, Relaxed);
}

#[test]
fn no_fork_handler_runs() {
    isolated("no_fork_handler_runs", || {
        let note: unsafe extern "C" fn() = note_fork;
        // SAFETY: the handler sets a flag.
        let result = unsafe { libc::pthread_atfork(Some(note), Some(note), Some(note)) };
        assert_eq!(result, 0);
        starts();
        assert!(!FORKED.load(Relaxed));
    });
}

#[test]
fn the_environment_may_be_changed_by_other_threads_during_starts() {
    isolated(
        "the_environment_may_be_changed_by_other_threads_during_starts",
        || {
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for round in 0_u64.. {
                        if done.load(Relaxed) {
                            break;
                        }
                        let name = format!("PIPEWRIGHT_{}", round % 1000);
                        // SAFETY: everybody here reads the environment by std, which has a lock.
                        unsafe { std::env::set_var(name, "x".repeat(round as usize % 100)) };
                    }
                });
                for _ in 0..100 {
                    let child = Command::new("printenv").arg("STEADY").env("STEADY", "1");
                    assert_eq!(child.capture().read().unwrap(), "1");
                }
                done.store(true, Relaxed);
            });
        },
    );
}

const WITHIN: &str = "PIPEWRIGHT_TEST_WITHIN";

/// Does the starts in this test executable, run by way of another program.
fn starts_within(name: &str, tool: Command) {
    if std::env::var_os(WITHIN).is_some() {
        return starts();
    }
    let _watchdog = watchdog();
    let command = tool
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(WITHIN, "1");
    match command.capture().output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(
                output.status.success() && said.contains("1 passed"),
                "{output:?}"
            );
        }
        Err(error) => eprintln!("skipped: {error}"),
    }
}

/// Valgrind makes a fork of the clone, in which the child's memory is a copy.
#[test]
fn starts_work_under_valgrind_and_failed_ones_are_told() {
    let tool = Command::new("valgrind").args(["--quiet", "--error-exitcode=9"]);
    starts_within("starts_work_under_valgrind_and_failed_ones_are_told", tool);
}

/// A library that is loaded first may put itself in the place of the C library's functions, as
/// ThreadSanitizer and others do. Some of them end the process.
#[test]
fn nothing_that_is_loaded_first_comes_between() {
    if std::env::var_os(WITHIN).is_some() {
        return starts();
    }
    let directory = tempfile::tempdir().unwrap();
    let (source, library) = (
        directory.path().join("first.c"),
        directory.path().join("first.so"),
    );
    let names = [
        "clone",
        "fork",
        "vfork",
        "posix_spawn",
        "execve",
        "execveat",
        "execvp",
        "dup2",
        "dup3",
        "chdir",
        "setsid",
        "umask",
        "close_range",
    ];
    let ends = |name: &str| format!("int {name}(void) {{ _exit(93); }}\n");
    let text: String = names.map(ends).concat();
    std::fs::write(&source, format!("void _exit(int);\n{text}")).unwrap();
    let compile = Command::new("cc").args(["-w", "-shared", "-fPIC", "-fno-builtin", "-o"]);
    match compile.arg(&library).arg(&source).spawn() {
        Ok(compiler) => assert!(compiler.wait().unwrap().success()),
        Err(error) => return eprintln!("skipped: {error}"),
    }
    let tool = Command::new("env").arg("-u").arg("LD_PRELOAD");
    let tool = tool.arg(format!("LD_PRELOAD={}", library.display()));
    starts_within("nothing_that_is_loaded_first_comes_between", tool);
}

/// Parent and copy have the same mappings; what they start must be told to the one that started it.
#[test]
fn starts_are_told_to_their_process_after_a_fork_elsewhere() {
    isolated(
        "starts_are_told_to_their_process_after_a_fork_elsewhere",
        || {
            let fails = || Command::new("/no/such").spawn().unwrap_err().raw_os_error();
            let works = || {
                Command::new("/bin/true")
                    .spawn()
                    .unwrap()
                    .wait()
                    .unwrap()
                    .success()
            };
            assert!(works());
            // SAFETY: the other threads are this test's harness, which waits.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                let all = std::panic::catch_unwind(|| (0..500).all(|_| works()));
                // SAFETY: ends the copy without running what belongs to the original.
                unsafe { libc::_exit(if matches!(all, Ok(true)) { 0 } else { 1 }) };
            }
            assert_ne!(pid, -1);
            for _ in 0..500 {
                assert_eq!(fails(), Some(libc::ENOENT));
            }
            let mut status = 0;
            // SAFETY: waits for the child just made.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            assert_eq!(status, 0);
        },
    );
}
