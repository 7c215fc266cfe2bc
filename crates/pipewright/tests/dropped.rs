//! Children whose handle is dropped: they run on, or end, and leave no zombie for good.

#![allow(unsafe_code, reason = "forks")]

use std::io::Read;

use pipewright::{Command, PipeReader, PipeWriter, Resource, Rlimit, Stdio, pipe, reap_dropped};
use testing::{await_no_children, children, isolated, may_have_descriptors, watchdog};

/// Drops a child that runs until the writer is dropped.
fn drop_one() -> PipeWriter {
    let (stdin, hold) = pipe().unwrap();
    drop(Command::new("cat").stdin(stdin).spawn().unwrap());
    hold
}

fn await_zombies(count: usize) {
    let zombies = || children().iter().filter(|it| it.contains(") Z ")).count();
    while zombies() < count {
        std::thread::yield_now();
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
fn dropped_children_are_reaped_on_request() {
    isolated("dropped_children_are_reaped_on_request", || {
        if !may_have_descriptors(600) {
            return;
        }
        assert_eq!(reap_dropped(), 0);
        let holds: Vec<PipeWriter> = (0..200).map(|_| drop_one()).collect();
        assert_eq!(reap_dropped(), 0, "they run");
        drop(holds);
        await_zombies(200);
        assert_eq!(reap_dropped(), 200);
        assert_eq!(children(), Vec::<String>::new());
        assert_eq!(reap_dropped(), 0);
    });
}

#[test]
fn a_lack_of_descriptors_puts_reaping_off_and_not_an_end_to_it() {
    let name = "a_lack_of_descriptors_puts_reaping_off_and_not_an_end_to_it";
    isolated(name, || {
        let (stdin, hold) = pipe().unwrap();
        let command = || Command::new("cat").stdin(stdin.try_clone().unwrap());
        let first: Vec<_> = (0..3).map(|_| command().spawn().unwrap()).collect();
        drop(stdin);
        // Not one is left when the first child ever is dropped.
        let limit = rustix::process::getrlimit(Resource::Nofile);
        let none = Rlimit {
            current: Some(0),
            ..limit
        };
        rustix::process::setrlimit(Resource::Nofile, none).unwrap();
        drop(first);
        assert_eq!(reap_dropped(), 0);
        rustix::process::setrlimit(Resource::Nofile, limit).unwrap();
        // And one that comes after.
        let second = drop_one();
        drop((hold, second));
        await_no_children();
    });
}

#[test]
fn a_fork_elsewhere_takes_no_orphan_from_its_parent() {
    let name = "a_fork_elsewhere_takes_no_orphan_from_its_parent";
    isolated(name, || {
        let holds = [drop_one(), drop_one()];
        drop(holds);
        await_zombies(2);
        // SAFETY: no other thread of this process holds a lock that the child needs.
        let forked = unsafe { libc::fork() };
        if forked == 0 {
            let none = reap_dropped();
            // It reaps its own as ever.
            let hold = drop_one();
            let before = reap_dropped();
            drop(hold);
            let mut after = 0;
            while after == 0 {
                after = reap_dropped();
            }
            let right = (none, before, after) == (0, 0, 1);
            // SAFETY: ends the process at once, without what its parent wants at exit.
            unsafe { libc::_exit(i32::from(!right)) };
        }
        let mut status = 0;
        // SAFETY: waits for the child that was forked just now.
        assert_eq!(unsafe { libc::waitpid(forked, &raw mut status, 0) }, forked);
        assert_eq!(status, 0);
        assert_eq!(reap_dropped(), 2);
        assert_eq!(children(), Vec::<String>::new());
    });
}

/// A shell that runs another process; the pipe ends when both have.
fn tree() -> (Command, PipeReader) {
    let (reader, writer) = pipe().unwrap();
    let shell = Command::new("sh").args(["-c", "sleep 1000 & echo; wait; :"]);
    (shell.stdout(writer), reader)
}

#[test]
fn a_tree_is_killed_when_its_handle_is_dropped() {
    let _watchdog = watchdog();
    let (command, mut reader) = tree();
    let child = command.kill_tree_on_drop().spawn().unwrap();
    reader.read_exact(&mut [0]).unwrap();
    drop(child);
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);

    // Every stage of a pipeline.
    let (command, mut reader) = tree();
    let idle = Command::new("sleep").arg("1000").stdin(Stdio::Null);
    let running = (idle | command).kill_tree_on_drop().spawn().unwrap();
    reader.read_exact(&mut [0]).unwrap();
    drop(running);
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_daemon_is_killed_when_the_handle_of_its_tree_is_dropped() {
    let name = "a_daemon_is_killed_when_the_handle_of_its_tree_is_dropped";
    isolated(name, || {
        let (mut reader, writer) = pipe().unwrap();
        let script = "(setsid sh -c 'echo; exec sleep 1000' &)";
        let shell = Command::new("sh").args(["-c", script]).stdout(writer);
        let child = shell.own_tree().kill_tree_on_drop().spawn().unwrap();
        reader.read_exact(&mut [0]).unwrap();
        assert!(child.wait().unwrap().success());
        // Its own end was seen, and the tree's is still to come.
        drop(child);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        assert_eq!(children(), Vec::<String>::new());
    });
}
