//! A tree where `/proc` is another namespace's, or none, or cannot be read: the signal reaches what is
//! held, nobody else, and the report says what could not be known.

use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use pipewright::{Child, Command, PipeReader, Resource, Rlimit, Signal, TreeReport};
use testing::{fault, is_root, isolated, isolated_by, sh_on_a_pipe};

const LONG: Duration = Duration::from_secs(50);

/// Waits until so many lines were written.
fn await_lines(mut reader: &PipeReader, lines: usize) {
    for _ in 0..lines {
        reader.read_exact(&mut [0]).expect("the processes run");
    }
}

fn assert_ended(mut reader: PipeReader) {
    assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap(), 0);
}

fn sleep() -> Child {
    let sleep = Command::new("sleep").arg("1000").own_tree();
    sleep.kill_on_drop().spawn().unwrap()
}

/// What is true of every report without a listing.
fn assert_unlisted(report: &TreeReport, reason: &str) {
    let error = report.unlisted.as_ref().expect("nothing was listed");
    assert!(error.to_string().contains(reason), "{error}");
    assert!(report.unreached.is_empty(), "{report:?}");
    assert!(!report.daemons_known && !report.is_complete());
}

/// Signals and ends trees, each of which has a child and nothing else to go by.
fn only_what_is_held_is_signalled(reason: &str) {
    let siblings: Vec<Child> = (0..4).map(|_| sleep()).collect();
    let child = sleep();
    let report = child.signal_tree(Signal::CONT).unwrap();
    assert_eq!(report.signalled, 1);
    assert_unlisted(&report, reason);
    let report = child.kill_tree(LONG).unwrap();
    assert_eq!(report.signalled, 1);
    assert_unlisted(&report, reason);
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    let report = child.kill_tree(LONG).unwrap();
    assert_eq!(report.signalled, 0);

    // The group is the kernel's to find, and gets the signal once.
    let script = "trap 'echo' USR1; sleep 1000 & echo; while :; do wait; done";
    let (command, reader) = sh_on_a_pipe(script);
    let group = command.process_group(0).spawn().unwrap();
    await_lines(&reader, 1);
    assert_unlisted(&group.signal_tree(Signal::USR1).unwrap(), reason);
    await_lines(&reader, 1);
    assert_unlisted(&group.kill_tree(LONG).unwrap(), reason);
    assert_eq!(group.wait().unwrap().signal(), Some(9));
    assert_ended(reader);

    // One that has left its group is reached all the same.
    let (command, reader) = sh_on_a_pipe("set -m; sleep 1000 & echo; fg");
    let child = command.spawn().unwrap();
    await_lines(&reader, 1);
    assert_unlisted(&child.signal_tree(Signal::KILL).unwrap(), reason);
    assert_eq!(child.wait().unwrap().signal(), Some(9));

    for sibling in &siblings {
        assert_eq!(sibling.try_wait().unwrap(), None);
    }
}

fn unshare(how: &str) -> Vec<String> {
    let user = if is_root() { "" } else { "Ur" };
    vec!["unshare".to_owned(), format!("-{user}{how}")]
}

#[test]
fn with_the_proc_of_another_namespace_nobody_else_is_signalled() {
    let name = "with_the_proc_of_another_namespace_nobody_else_is_signalled";
    let starter = unshare("pf");
    let starter: Vec<&str> = starter.iter().map(String::as_str).collect();
    isolated_by(&starter, name, || {
        // The numbers of this namespace are those of the machine's first processes.
        assert_ne!(
            std::fs::read_link("/proc/self").unwrap().to_str(),
            Some(&*std::process::id().to_string())
        );
        only_what_is_held_is_signalled("another pid namespace");
    });
}

#[test]
fn without_proc_the_children_and_their_groups_are_signalled() {
    let name = "without_proc_the_children_and_their_groups_are_signalled";
    let mut starter = unshare("m");
    let mount = "mount -t tmpfs none /proc && exec \"$@\"";
    starter.extend(["sh", "-c", mount, "sh"].map(str::to_owned));
    let starter: Vec<&str> = starter.iter().map(String::as_str).collect();
    isolated_by(&starter, name, || {
        assert!(!std::path::Path::new("/proc/self").exists());
        only_what_is_held_is_signalled("no proc file system");
    });
}

/// Leaves so many descriptors to be opened, and no number below those that are open.
fn leave_descriptors(count: u64) -> Vec<std::fs::File> {
    let null = || std::fs::File::open("/dev/null").unwrap();
    let fill: Vec<_> = std::iter::repeat_with(null).take(64).collect();
    let highest = fill.iter().map(AsRawFd::as_raw_fd).max().unwrap() as u64;
    let lower = Rlimit {
        current: Some(highest + 1 + count),
        ..rustix::process::getrlimit(Resource::Nofile)
    };
    rustix::process::setrlimit(Resource::Nofile, lower).unwrap();
    fill
}

#[test]
fn without_a_descriptor_left_the_child_ends_all_the_same() {
    let name = "without_a_descriptor_left_the_child_ends_all_the_same";
    isolated(name, || {
        let children: Vec<Child> = (0..3).map(|_| sleep()).collect();
        let fill = leave_descriptors(0);
        for child in &children {
            let report = child.kill_tree(LONG).unwrap();
            assert_eq!(report.signalled, 1);
            assert_unlisted(&report, "Too many open files");
            assert_eq!(child.wait().unwrap().signal(), Some(9));
        }
        drop(fill);
    });
}

#[test]
fn when_proc_cannot_be_read_the_child_ends_all_the_same() {
    let name = "when_proc_cannot_be_read_the_child_ends_all_the_same";
    isolated(name, || {
        let opening = libc::SYS_openat;
        let calls = [opening, libc::SYS_getdents64, libc::SYS_fstatfs];
        for call in calls {
            for errno in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EIO] {
                let child = sleep();
                let report = std::thread::scope(|scope| {
                    let killed = scope.spawn(|| {
                        fault(call, errno).install();
                        let signalled = child.signal_tree(Signal::CONT).unwrap();
                        assert_eq!((signalled.signalled, signalled.daemons_known), (1, false));
                        child.kill_tree(LONG).unwrap()
                    });
                    killed.join().unwrap()
                });
                assert_eq!(report.signalled, 1);
                let error = report.unlisted.as_ref().expect("nothing was listed");
                assert_eq!(error.raw_os_error(), Some(errno), "{report:?}");
                assert_eq!(child.wait().unwrap().signal(), Some(9));
            }
        }
    });
}

#[test]
fn a_tree_larger_than_the_descriptors_left_ends_in_parts() {
    let name = "a_tree_larger_than_the_descriptors_left_ends_in_parts";
    isolated(name, || {
        let script = "for i in $(seq 40); do sleep 1000 & done; echo; wait; :";
        let (command, reader) = sh_on_a_pipe(script);
        let child = command.own_tree().spawn().unwrap();
        await_lines(&reader, 1);
        let _fill = leave_descriptors(12);
        let report = child.kill_tree(LONG).unwrap();
        assert!(report.is_complete(), "{report:?}");
        assert_eq!(report.signalled, 41);
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        assert_ended(reader);
    });
}

/// Ends a tree with a grandchild and a daemon in a thread in which system calls fail.
fn end_where_these_fail(calls: &[libc::c_long], errno: i32, own_tree: bool) -> TreeReport {
    let daemon = if own_tree {
        "(setsid sleep 1000 &);"
    } else {
        ""
    };
    let (command, reader) = sh_on_a_pipe(&format!("{daemon} sleep 1000 & echo; wait; :"));
    let command = if own_tree {
        command.own_tree()
    } else {
        command
    };
    let child = command.spawn().unwrap();
    await_lines(&reader, 1);
    let report = std::thread::scope(|scope| {
        let killed = scope.spawn(|| {
            calls.iter().for_each(|&call| fault(call, errno).install());
            child.kill_tree(LONG).unwrap()
        });
        killed.join().unwrap()
    });
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    for left in &report.unreached {
        let pid = rustix::process::Pid::from_raw(left.pid as i32).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }
    assert_ended(reader);
    report
}

#[test]
fn a_sandbox_that_refuses_pidfds_keeps_no_tree_alive() {
    let name = "a_sandbox_that_refuses_pidfds_keeps_no_tree_alive";
    isolated(name, || {
        let (open, send) = (libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal);
        // As long as this process is no subreaper.
        for errno in [libc::EPERM, libc::ENOSYS] {
            // A grandchild cannot be signalled without a risk to others.
            let report = end_where_these_fail(&[send], errno, false);
            assert_eq!((report.signalled, report.unreached.len()), (1, 1));
            assert_eq!(report.unreached[0].name, "sleep");
            assert_eq!(report.unreached[0].source.raw_os_error(), Some(errno));
        }
        for errno in [libc::EPERM, libc::ENOSYS] {
            for own_tree in [false, true] {
                let report = end_where_these_fail(&[open], errno, own_tree);
                assert!(report.is_complete(), "{report:?}");
                assert_eq!(report.signalled, 2 + usize::from(own_tree));
            }
            // What this process adopts when the child has ended is its own child.
            for calls in [&[send][..], &[open, send]] {
                let report = end_where_these_fail(calls, errno, true);
                assert!(report.is_complete(), "{report:?}");
                assert_eq!(report.signalled, 3);
            }
        }
    });
}
