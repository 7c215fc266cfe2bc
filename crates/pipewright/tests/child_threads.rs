//! Every method of a child from one thread while each other one runs in another: none waits for
//! another, and all agree.

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use pipewright::{Child, Command, Signal};
use testing::{deaf_to_sigterm, watchdog};

type Method = (&'static str, fn(&Child));

/// The methods that wait for the end, each without a limit.
const WAITS: [Method; 4] = [
    ("wait", |child| assert!(child.wait().is_ok())),
    ("wait_until", |child| {
        assert!(child.wait_until(None).unwrap().is_some());
    }),
    ("wait_timeout", |child| {
        assert!(child.wait_timeout(Duration::MAX).unwrap().is_some());
    }),
    ("kill_after", |child| {
        assert!(child.kill_after(Duration::MAX).is_ok());
    }),
];

/// All others, with what they give while the child runs.
const LOOKS: [Method; 13] = [
    ("try_wait", |child| {
        assert_eq!(child.try_wait().unwrap(), None)
    }),
    ("has_ended", |child| assert!(!child.has_ended().unwrap())),
    ("usage", |child| assert_eq!(child.usage(), None)),
    ("wall", |child| assert_eq!(child.wall(), None)),
    ("id", |child| assert!(child.id() > 1)),
    ("program", |child| assert_eq!(child.program(), "sh")),
    ("as_fd", |child| assert!(child.as_fd().as_raw_fd() > 2)),
    ("wait_until, past", |child| {
        assert_eq!(child.wait_until(Some(Instant::now())).unwrap(), None);
    }),
    ("wait_timeout, none", |child| {
        assert_eq!(child.wait_timeout(Duration::ZERO).unwrap(), None);
    }),
    ("signal", |child| child.signal(Signal::TERM).unwrap()),
    ("signal_group", |child| {
        child.signal_group(Signal::TERM).unwrap_err();
    }),
    ("signal_tree", |child| {
        assert_eq!(child.signal_tree(Signal::TERM).unwrap().signalled, 1);
    }),
    ("Debug", |child| {
        assert!(format!("{child:?}").contains("Running"))
    }),
];

/// The methods that end a child that ignores SIGTERM.
const ENDS: [Method; 4] = [
    ("kill", |child| child.kill().unwrap()),
    ("kill_after, none", |child| {
        assert_eq!(child.kill_after(Duration::ZERO).unwrap().signal(), Some(9));
    }),
    ("kill_after", |child| {
        let status = child.kill_after(Duration::from_millis(20)).unwrap();
        assert_eq!(status.signal(), Some(9));
    }),
    ("kill_tree", |child| {
        let report = child.kill_tree(Duration::from_secs(60)).unwrap();
        assert!(report.unreached.is_empty(), "{report:?}");
    }),
];

/// Returns when a thread sleeps in the kernel.
fn await_sleep(thread: &mpsc::Receiver<rustix::process::Pid>) {
    let stat = format!("/proc/self/task/{}/stat", thread.recv().unwrap());
    while !std::fs::read_to_string(&stat).unwrap().contains(") S ") {
        std::thread::yield_now();
    }
}

/// Runs a method in a thread of its own, which is asleep in it when this returns.
fn in_thread<'scope, 'env: 'scope>(
    scope: &'scope std::thread::Scope<'scope, 'env>,
    method: fn(&Child),
    child: &'env Child,
) -> std::thread::ScopedJoinHandle<'scope, ()> {
    let (id, ids) = mpsc::channel();
    let handle = scope.spawn(move || {
        id.send(rustix::thread::gettid()).unwrap();
        method(child);
    });
    await_sleep(&ids);
    handle
}

/// shared_child, process-wrap: the lock was held while one thread waited, and all others were stuck.
/// The child ends only when every other method has returned.
#[test]
fn no_method_waits_for_another_that_waits() {
    let _watchdog = watchdog();
    for (waits, wait) in WAITS {
        let (child, hold) = deaf_to_sigterm();
        std::thread::scope(|scope| {
            let waiter = in_thread(scope, wait, &child);
            for (looks, look) in LOOKS {
                println!("{looks} during {waits}");
                look(&child);
                assert!(!waiter.is_finished());
            }
            let others: Vec<_> = WAITS.map(|(_, wait)| in_thread(scope, wait, &child)).into();
            drop(hold);
            for other in others {
                other.join().unwrap();
            }
        });
        assert_eq!(child.wait().unwrap().code(), Some(5));
    }
}

#[test]
fn what_ends_a_child_does_so_while_others_wait_for_it() {
    let _watchdog = watchdog();
    for (ends, end) in ENDS {
        let (child, _hold) = deaf_to_sigterm();
        println!("{ends}");
        std::thread::scope(|scope| {
            let waiters = WAITS.map(|(_, wait)| in_thread(scope, wait, &child));
            end(&child);
            for waiter in waiters {
                waiter.join().unwrap();
            }
        });
        assert_eq!(child.wait().unwrap().signal(), Some(9), "{ends}");
    }
}

/// Every method at once, again and again, over the child's end: all of them agree on it.
#[test]
fn methods_in_any_order_from_many_threads_agree() {
    let _watchdog = watchdog();
    for (_, end) in ENDS {
        let (child, _hold) = deaf_to_sigterm();
        let ended = std::sync::atomic::AtomicBool::new(false);
        let calls: [fn(&Child); 7] = [
            |child| assert!(child.try_wait().is_ok()),
            |child| assert!(child.has_ended().is_ok()),
            |child| assert!(child.usage().is_none() || child.wall().is_some()),
            |child| child.signal(Signal::TERM).unwrap(),
            |child| assert!(child.signal_tree(Signal::TERM).is_ok()),
            |child| assert!(child.wait_timeout(Duration::ZERO).is_ok()),
            |child| assert!(child.kill_tree(Duration::ZERO).is_ok()),
        ];
        std::thread::scope(|scope| {
            // The last one would end it before its time.
            for call in &calls[..6] {
                let (child, ended) = (&child, &ended);
                scope.spawn(move || {
                    while !ended.load(Ordering::Relaxed) {
                        call(child);
                    }
                    call(child);
                });
            }
            end(&child);
            scope.spawn(|| calls[6](&child));
            assert_eq!(child.wait().unwrap().signal(), Some(9));
            ended.store(true, Ordering::Relaxed);
        });
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
