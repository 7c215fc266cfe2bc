//! Waiting for a child, signalling it, dropping it.

#![allow(unsafe_code, reason = "installs signal handlers")]

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use pipewright::{Child, Command, Error, LostStatus, Resource, Rlimit, Signal, Stdio, pipe};
use rustix::process::WaitOptions;
use testing::{deaf_to_sigterm, fault, isolated, signals_at_their_default, watchdog};

#[test]
fn a_status_is_told_once_it_is_there_and_again() {
    let _watchdog = watchdog();
    let (reader, writer) = pipe().unwrap();
    let child = Command::new("sh")
        .args(["-c", "read line; exit 7"])
        .stdin(reader)
        .spawn()
        .unwrap();
    assert_eq!(child.try_wait().unwrap(), None);
    assert_eq!(child.usage(), None);
    drop(writer);
    assert_eq!(child.wait().unwrap().code(), Some(7));
    assert_eq!(child.wait().unwrap().code(), Some(7));
    assert_eq!(child.try_wait().unwrap().unwrap().code(), Some(7));
    assert!(child.wall().is_some() && child.usage().is_some());
}

#[test]
fn an_end_can_be_seen_without_taking_the_status() {
    let _watchdog = watchdog();
    let (reader, writer) = pipe().unwrap();
    let child = Command::new("cat").stdin(reader).spawn().unwrap();
    assert!(!child.has_ended().unwrap());
    drop(writer);
    while !child.has_ended().unwrap() {
        std::thread::yield_now();
    }
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    assert!(stat.contains(") Z "), "{stat}");
    assert_eq!(child.usage(), None);
    assert!(child.wait().unwrap().success());
    assert!(child.has_ended().unwrap());
}

#[test]
fn signals_end_a_child_and_are_told_apart() {
    let _watchdog = watchdog();
    signals_at_their_default();
    for signal in [Signal::TERM, Signal::KILL, Signal::HUP] {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        child.signal(signal).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(signal.as_raw()));
        // Too late is no error, and reaches nobody else.
        child.signal(signal).unwrap();
    }
}

#[test]
fn a_wait_with_a_deadline_returns_by_then() {
    let _watchdog = watchdog();
    let child = Command::new("sleep").arg("60").spawn().unwrap();
    assert_eq!(child.wait_timeout(Duration::ZERO).unwrap(), None);
    assert_eq!(child.wait_timeout(Duration::from_millis(20)).unwrap(), None);
    child.kill().unwrap();
    assert!(child.wait_timeout(Duration::MAX).unwrap().is_some());
}

/// containerd 2823, cpython 75628: a grandchild held the pipe, and the waiter waited for the pipe.
#[test]
fn a_grandchild_that_holds_the_pipe_does_not_keep_the_wait() {
    let _watchdog = watchdog();
    let (mut reader, writer) = pipe().unwrap();
    let script = "sleep 60 & echo $!; exit 3";
    let child = Command::new("sh")
        .args(["-c", script])
        .stdout(writer)
        .spawn()
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));

    let mut bytes = [0; 16];
    let length = reader.read(&mut bytes).unwrap();
    let grandchild = std::str::from_utf8(&bytes[..length])
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let pid = rustix::process::Pid::from_raw(grandchild).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

/// runc 5210: the end of a child that exits at once was missed.
#[test]
fn a_child_that_exits_at_once_is_not_missed() {
    let _watchdog = watchdog();
    for _ in 0..1000 {
        let child = Command::new("true").spawn().unwrap();
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn what_a_child_used_is_told_at_its_end() {
    let _watchdog = watchdog();
    let busy = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
    let child = Command::new("sh").args(["-c", busy]).spawn().unwrap();
    child.wait().unwrap();
    let usage = child.usage().unwrap();
    assert!(usage.cpu() > Duration::from_millis(1), "{usage:?}");
    assert!(usage.cpu() <= child.wall().unwrap() * 2, "{usage:?}");

    // It holds the end of what it reads until that is over.
    let zeros = Command::new("head").args(["-c", "220M", "/dev/zero"]);
    let tail = Command::new("tail").args(["-c", "200M"]);
    let ended = (zeros | tail.stdout(Stdio::Null)).run().unwrap();
    let usage = &ended.stages()[1].usage;
    let peak = usage.peak_memory.expect("clearly larger than this process");
    assert!((200 << 20..400 << 20).contains(&peak), "{peak}");
}

/// The kernel counts the memory that a child shares with its parent until it executes.
#[test]
fn the_parents_memory_is_not_told_as_the_childs() {
    isolated("the_parents_memory_is_not_told_as_the_childs", || {
        let large = vec![1_u8; 300 << 20];
        let child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert_eq!(child.usage().unwrap().peak_memory, None);
        assert_eq!(large[large.len() - 1], 1);
    });
}

#[test]
fn a_signal_that_is_handled_does_not_cut_a_wait_short() {
    let name = "a_signal_that_is_handled_does_not_cut_a_wait_short";
    isolated(name, || {
        extern "C" fn handler(_: libc::c_int) {}
        // SAFETY: the handler does nothing; without SA_RESTART it interrupts what waits.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as *const () as usize;
            libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut());
        }
        let (child, hold) = deaf_to_sigterm();
        std::thread::scope(|scope| {
            let (id, ids) = mpsc::channel();
            let child = &child;
            let waiter = scope.spawn(move || {
                id.send(rustix::thread::gettid()).unwrap();
                child.wait_until(Some(Instant::now() + Duration::from_secs(3600)))
            });
            let thread = ids.recv().unwrap();
            for _ in 0..100 {
                let process = std::process::id() as libc::pid_t;
                let thread = thread.as_raw_pid();
                // SAFETY: a system call on plain numbers.
                let sent =
                    unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGUSR1) };
                assert_eq!(sent, 0);
                std::thread::yield_now();
            }
            assert!(!waiter.is_finished());
            drop(hold);
            assert_eq!(waiter.join().unwrap().unwrap().unwrap().code(), Some(5));
        });
    });
}

/// runc 2151: a sandbox that is older than the system call refuses it.
#[test]
fn a_signal_is_sent_where_a_sandbox_refuses_to_send_it_by_pidfd() {
    let _watchdog = watchdog();
    for errno in [libc::EPERM, libc::ENOSYS, libc::EACCES] {
        for call in [libc::SYS_pidfd_send_signal, libc::SYS_pidfd_open] {
            let ends: [fn(&Child); 4] = [
                |child| child.signal(Signal::KILL).unwrap(),
                |child| child.signal_group(Signal::KILL).unwrap(),
                |child| assert!(child.kill_after(Duration::ZERO).is_ok()),
                |child| child.kill().unwrap(),
            ];
            for end in ends {
                let child = Command::new("sleep")
                    .arg("1000")
                    .process_group(0)
                    .spawn()
                    .unwrap();
                std::thread::scope(|scope| {
                    // The filter holds for this thread alone.
                    scope.spawn(|| {
                        fault(call, errno).install();
                        end(&child);
                        let signal = child.wait().unwrap().signal();
                        assert!(matches!(signal, Some(9 | 15)), "{signal:?}");
                        // Its number may be another process's by now: nothing is sent.
                        child.signal(Signal::KILL).unwrap();
                        assert!(
                            child.signal_group(Signal::KILL).is_ok()
                                || call == libc::SYS_pidfd_send_signal
                        );
                    });
                });
            }
        }
    }
}

#[test]
fn a_signal_to_a_group_reaches_all_of_it_and_only_where_there_is_one() {
    let _watchdog = watchdog();
    let (mut reader, writer) = pipe().unwrap();
    let script = "(sleep 1000 & echo); sleep 1000 & echo; exec sleep 1000";
    let child = Command::new("sh").args(["-c", script]).process_group(0);
    let child = child.stdout(writer).spawn().unwrap();
    reader.read_exact(&mut [0; 2]).unwrap();
    child.signal_group(Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(15));
    // Nobody is left who holds the pipe.
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);

    let child = Command::new("sleep").arg("1000").spawn().unwrap();
    let error = child.signal_group(Signal::TERM).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    assert_eq!(child.try_wait().unwrap(), None);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_group_is_reached_after_its_leader_was_waited_for_where_the_kernel_can() {
    let _watchdog = watchdog();
    let (mut reader, writer) = pipe().unwrap();
    let script = "sleep 1000 & echo";
    let child = Command::new("sh").args(["-c", script]).process_group(0);
    let child = child.stdout(writer).spawn().unwrap();
    reader.read_exact(&mut [0]).unwrap();
    child.wait().unwrap();
    if let Err(error) = child.signal_group(Signal::KILL) {
        println!("before Linux 6.9: {error}");
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
        // Still unmistakable: nobody else can have the number while the group has a member.
        let group = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
        rustix::process::kill_process_group(group, Signal::KILL).unwrap();
    }
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    // Nobody is left, and that is no error; or cannot be told.
    assert!(
        child
            .signal_group(Signal::KILL)
            .map_or_else(|it| it.raw_os_error() == Some(libc::ESRCH), |()| true)
    );
}

#[test]
fn a_wait_needs_no_descriptor_and_no_leave_to_poll() {
    isolated("a_wait_needs_no_descriptor_and_no_leave_to_poll", || {
        let (child, hold) = deaf_to_sigterm();
        let limit = rustix::process::getrlimit(Resource::Nofile);
        let none = Rlimit {
            current: Some(0),
            ..limit
        };
        rustix::process::setrlimit(Resource::Nofile, none).unwrap();
        assert!(!child.has_ended().unwrap());
        assert_eq!(child.try_wait().unwrap(), None);
        let short = Duration::from_millis(5);
        assert_eq!(child.wait_timeout(short).unwrap(), None);
        drop(hold);
        assert_eq!(child.wait().unwrap().code(), Some(5));
        rustix::process::setrlimit(Resource::Nofile, limit).unwrap();
    });
}

#[test]
fn an_ignored_sigchld_is_named_as_what_lost_a_status() {
    isolated("an_ignored_sigchld_is_named_as_what_lost_a_status", || {
        // SAFETY: the process is this test's own; ignored, the kernel keeps no zombies.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        let child = Command::new("true").spawn().unwrap();
        for _ in 0..2 {
            let error = child.wait().unwrap_err();
            assert!(error.to_string().contains("SIGCHLD is ignored"), "{error}");
            let Error::StatusLost { program, cause } = error else {
                panic!("{error}")
            };
            assert_eq!((&*program, cause), ("true", LostStatus::Ignored));
        }
        child.signal(Signal::TERM).unwrap();
        assert!(child.has_ended().unwrap());
        assert_eq!((child.usage(), child.wall()), (None, None));

        // It is enough to undo it before the child ends.
        let (child, hold) = deaf_to_sigterm();
        // SAFETY: as above.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
        drop(hold);
        assert_eq!(child.wait().unwrap().code(), Some(5));
    });
}

#[test]
fn other_code_that_waits_for_any_child_is_named_as_what_took_a_status() {
    let name = "other_code_that_waits_for_any_child_is_named_as_what_took_a_status";
    isolated(name, || {
        let (child, hold) = deaf_to_sigterm();
        std::thread::scope(|scope| {
            let thief = scope.spawn(|| rustix::process::wait(WaitOptions::empty()).unwrap());
            drop(hold);
            let (pid, _) = thief.join().unwrap().unwrap();
            assert_eq!(pid.as_raw_pid() as u32, child.id());
        });
        let error = child.wait().unwrap_err();
        let Error::StatusLost { cause, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(cause, LostStatus::TakenElsewhere);
        assert!(cause.to_string().contains("waitpid(-1)"), "{cause}");
    });
}

/// signal-hook, tokio: they have a handler for SIGCHLD, and wait for their own children only.
#[test]
fn a_handler_for_sigchld_and_tokios_children_disturb_nothing() {
    let name = "a_handler_for_sigchld_and_tokios_children_disturb_nothing";
    isolated(name, || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let theirs = runtime.spawn(async {
            for code in 0..20 {
                let mut command = tokio::process::Command::new("sh");
                command.args(["-c", &format!("exit {code}")]);
                assert_eq!(command.status().await.unwrap().code(), Some(code));
            }
        });
        for code in 0..20 {
            let child = Command::new("sh").args(["-c", &format!("exit {code}")]);
            assert_eq!(child.spawn().unwrap().wait().unwrap().code(), Some(code));
        }
        runtime.block_on(theirs).unwrap();
    });
}

/// strace, gdb: the kernel keeps a status back from the parent until the tracer has let go.
#[test]
fn an_end_that_a_tracer_keeps_back_is_waited_for_without_spinning() {
    let _watchdog = watchdog();
    let (child, hold) = deaf_to_sigterm();
    let seize = "import ctypes, sys; long = ctypes.c_long; \
        result = ctypes.CDLL(None).ptrace(0x4206, int(sys.argv[1]), long(0), long(0)); \
        print(result, flush=True); sys.stdin.read()";
    let (stdin, tracer_hold) = pipe().unwrap();
    let (mut said, stdout) = pipe().unwrap();
    let tracer = Command::new("python3").args(["-c", seize, &child.id().to_string()]);
    let Ok(tracer) = tracer.stdin(stdin).stdout(stdout).spawn() else {
        println!("skipped: there is no python3");
        return;
    };
    let mut result = [0];
    said.read_exact(&mut result).unwrap();
    if result != *b"0" {
        println!("skipped: a process may not be traced here");
        return;
    }
    drop(hold);
    while !child.has_ended().unwrap() {
        std::thread::yield_now();
    }
    let before = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let early = child.wait_timeout(Duration::from_millis(300)).unwrap();
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime) - before;
    assert_eq!(early, None);
    assert!(
        used.tv_sec == 0 && used.tv_nsec < 100_000_000,
        "{used:?} of CPU time"
    );
    drop(tracer_hold);
    assert_eq!(child.wait().unwrap().code(), Some(5));
    assert!(tracer.wait().unwrap().success());
}

/// A child of std, ended in every way in which it can be when it is taken over.
#[test]
fn a_child_of_std_is_taken_over_whether_it_runs_has_ended_or_was_waited_for() {
    let _watchdog = watchdog();
    let sh = |script: &str| {
        let mut shell = std::process::Command::new("sh");
        shell
            .args(["-c", script])
            .stdin(std::process::Stdio::piped());
        shell.spawn().unwrap()
    };
    let mut runs = sh("read line; exit 3");
    let (pid, hold) = (runs.id(), runs.stdin.take());
    let child = Child::try_from(runs).unwrap();
    assert_eq!(child.id(), pid);
    assert_eq!(child.try_wait().unwrap(), None);
    assert_eq!(child.wait_timeout(Duration::ZERO).unwrap(), None);
    drop(hold);
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert!(child.usage().is_some() && child.wall().is_some());

    // What is left in it is closed.
    let child = Child::try_from(sh("read line; exit 4")).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(4));

    let zombie = sh("exit 5");
    let id = rustix::process::Pid::from_raw(zombie.id() as i32).unwrap();
    let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
    rustix::process::waitid(rustix::process::WaitId::Pid(id), options).unwrap();
    let child = Child::try_from(zombie).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5));

    let mut reaped = sh("exit 6");
    reaped.wait().unwrap();
    let child = Child::try_from(reaped).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(6));
    assert!(child.has_ended().unwrap());
    assert_eq!(child.usage(), None);
    // Its number may be another process's by now.
    child.signal(Signal::KILL).unwrap();
    assert_eq!(child.kill_tree(Duration::ZERO).unwrap().signalled, 0);
    let mut polled = [rustix::event::PollFd::new(
        &child,
        rustix::event::PollFlags::IN,
    )];
    assert_eq!(rustix::event::poll(&mut polled, None), Ok(1));
}
