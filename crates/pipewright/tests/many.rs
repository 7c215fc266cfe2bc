//! Many threads at one child, and many children that end at once.

use std::os::unix::process::ExitStatusExt;
use std::sync::Barrier;
use std::time::Duration;

use pipewright::{Command, Signal, Stdio};
use testing::{campaign, children, is_root, isolated, open_descriptors, watchdog};

#[test]
fn sixteen_threads_wait_look_signal_and_kill_at_one_child() {
    let _watchdog = watchdog();
    for round in 0..50 {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let together = Barrier::new(16);
        std::thread::scope(|scope| {
            for thread in 0..16 {
                let (child, together) = (&child, &together);
                scope.spawn(move || {
                    together.wait();
                    match (thread + round) % 4 {
                        0 => assert_eq!(child.wait().unwrap().signal(), Some(9)),
                        1 => {
                            let status = child.wait_timeout(Duration::from_secs(50)).unwrap();
                            assert_eq!(status.unwrap().signal(), Some(9));
                        }
                        2 => {
                            // A signal that changes nothing, then a look, until it is over.
                            while child.try_wait().unwrap().is_none() {
                                child.signal(Signal::CONT).unwrap();
                            }
                        }
                        _ => child.kill().unwrap(),
                    }
                });
            }
        });
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        child.kill().unwrap();
    }
}

#[test]
fn ten_thousand_children_that_end_at_once_are_each_seen_to_end() {
    isolated(
        "ten_thousand_children_that_end_at_once_are_each_seen_to_end",
        || {
            let before = open_descriptors();
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for round in 0..2500 {
                            let child = Command::new("/bin/true").spawn().unwrap();
                            // By each of the ways to wait.
                            let status = match round % 3 {
                                0 => child.wait().unwrap(),
                                1 => child
                                    .wait_timeout(Duration::from_secs(50))
                                    .unwrap()
                                    .unwrap(),
                                _ => loop {
                                    if let Some(status) = child.try_wait().unwrap() {
                                        break status;
                                    }
                                    std::thread::yield_now();
                                },
                            };
                            assert!(status.success());
                        }
                    });
                }
            });
            assert_eq!(open_descriptors(), before);
            assert_eq!(children(), Vec::<String>::new());
        },
    );
}

/// A start of one of ten kinds, and the table of descriptors that its child must have.
fn kind(number: usize) -> (Command, &'static [i32]) {
    let file = || std::fs::File::open("/dev/null").unwrap();
    let list = || Command::new("/bin/sh").args(["-c", LIST]);
    match number % 10 {
        0 => (list(), &[0, 1, 2]),
        1 => (list().fd(7, file()), &[0, 1, 2, 7]),
        2 => (list().fd(3, file()).fd(90, file()), &[0, 1, 2, 3, 90]),
        3 => (list().stdin(Stdio::Closed), &[1, 2]),
        4 => (list().stderr(Stdio::SameAsStdout).new_session(), &[0, 1, 2]),
        5 => (list().process_group(0).umask(0o77).nice(1), &[0, 1, 2]),
        6 => (list().parent_death_signal(Signal::KILL), &[0, 1, 2]),
        7 => (list().current_dir("/").no_new_privs(), &[0, 1, 2]),
        8 if is_root() => (list().uid(65534).gid(65534), &[0, 1, 2]),
        8 => (list().env("A", "1").cpus(0..1024), &[0, 1, 2]),
        _ => (list().own_tree().fd(12, file()), &[0, 1, 2, 12]),
    }
}

/// It opens nothing itself: to list the directory would take a descriptor.
const LIST: &str = "n=0; while [ $n -lt 100 ]; do \
    if [ -e /proc/$$/fd/$n ]; then echo $n; fi; n=$((n+1)); done";

/// One that fails, by number.
fn failing(number: usize) -> Command {
    let file = || std::fs::File::open("/dev/null").unwrap();
    match number % 4 {
        0 => Command::new("no-such-program"),
        1 => Command::new("/bin/true").current_dir("/no/such"),
        2 => Command::new("/bin/true")
            .fd(7, file())
            .process_group(i32::MAX),
        _ => Command::new("/bin/true").fd(i32::MAX, file()),
    }
}

/// The whole campaign is 20,000 and 5,000 of them.
#[test]
fn starts_of_ten_kinds_from_sixteen_threads_leave_nothing_and_leak_nothing() {
    isolated(
        "starts_of_ten_kinds_from_sixteen_threads_leave_nothing_and_leak_nothing",
        || {
            let (starts, failures) = (campaign(640, 20_000), campaign(320, 5_000));
            let (starts, failures) = (starts as usize, failures as usize);
            let (before, began) = (open_descriptors(), std::time::Instant::now());
            std::thread::scope(|scope| {
                for thread in 0..16 {
                    scope.spawn(move || {
                        for number in (thread..starts).step_by(16) {
                            let (command, table) = kind(number / 16);
                            let listed = command.capture().read().unwrap();
                            let numbers: Vec<i32> =
                                listed.lines().map(|line| line.parse().unwrap()).collect();
                            assert_eq!(numbers, table, "kind {}", number / 16 % 10);
                        }
                        for number in (thread..failures).step_by(16) {
                            let error = failing(number / 16).spawn().unwrap_err();
                            assert!(error.raw_os_error().is_some(), "{error}");
                        }
                    });
                }
            });
            println!("{starts} starts, {failures} failed: {:?}", began.elapsed());
            assert_eq!(open_descriptors(), before);
            assert_eq!(children(), Vec::<String>::new());
        },
    );
}
