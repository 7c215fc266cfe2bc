//! Waiting for a child, signalling it, dropping it.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use pipewright::{Command, Error, Signal, Stdio, pipe};
use testing::{await_no_children, children, isolated, watchdog};

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

/// duct 80: wait and kill from two threads were stuck.
#[test]
fn any_number_of_threads_wait_while_another_kills() {
    let _watchdog = watchdog();
    for _ in 0..20 {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        std::thread::scope(|scope| {
            let waiters: Vec<_> = (0..15)
                .map(|_| scope.spawn(|| child.wait().unwrap()))
                .collect();
            scope.spawn(|| child.kill().unwrap());
            for waiter in waiters {
                assert_eq!(waiter.join().unwrap().signal(), Some(9));
            }
        });
    }
}

#[test]
fn a_dropped_child_runs_on_and_leaves_no_zombie_behind_the_next_start() {
    isolated(
        "a_dropped_child_runs_on_and_leaves_no_zombie_behind_the_next_start",
        || {
            let (mut reader, writer) = pipe().unwrap();
            let (release, gate) = pipe().unwrap();
            let script = "read line; echo still here";
            let child = Command::new("sh")
                .args(["-c", script])
                .stdin(release)
                .stdout(writer);
            let mut handle = std::fs::File::open("/proc/self/stat").unwrap();
            let dropped = child.spawn().unwrap();
            drop(dropped); // neither blocks nor kills
            drop(gate);
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            assert_eq!(text, "still here\n");
            handle.read_to_string(&mut text).unwrap();

            // It has closed its stdout; wait until it is a zombie, then start another.
            while !children().iter().all(|stat| stat.contains(") Z ")) {
                std::thread::yield_now();
            }
            await_no_children();
        },
    );
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
#[allow(unsafe_code)]
fn a_status_that_somebody_else_took_is_an_error_and_no_hang() {
    isolated(
        "a_status_that_somebody_else_took_is_an_error_and_no_hang",
        || {
            // SAFETY: the process is this test's own; ignored, the kernel keeps no zombies.
            unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
            let child = Command::new("true").spawn().unwrap();
            let error = child.wait().unwrap_err();
            assert!(matches!(error, Error::System { .. }));
            assert!(error.to_string().contains("SIGCHLD"), "{error}");
            child.signal(Signal::TERM).unwrap();
        },
    );
}
