//! Many threads at one child, and many children that end at once.

use std::os::unix::process::ExitStatusExt;
use std::sync::Barrier;
use std::time::Duration;

use pipewright::{Command, Signal};
use testing::{children, isolated, open_descriptors, watchdog};

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
