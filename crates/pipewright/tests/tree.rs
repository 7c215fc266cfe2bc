//! A whole tree of processes: its end reaches everybody in it, and nobody else.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use pipewright::{
    Command, Error, PipeReader, PipeWriter, Signal, Stdio, Unreached, pipe, reap_adopted,
};
use testing::{
    await_no_children, campaign, children, is_root, isolated, open_descriptors, sh_on_a_pipe,
    watchdog, with_time_enough,
};

/// Longer than anything here takes; a shorter time would be a test of the machine.
const LONG: Duration = Duration::from_secs(50);

/// Waits until so many lines were written.
fn await_lines(reader: &PipeReader, lines: usize) {
    let mut reader = reader;
    for _ in 0..lines {
        let mut byte = [0];
        while byte != *b"\n" {
            reader
                .read_exact(&mut byte)
                .expect("the processes still run");
        }
    }
}

/// Panics if somebody still holds the pipe; the watchdog does if that somebody never lets go.
fn assert_ended(mut reader: PipeReader) {
    reader.read_to_end(&mut Vec::new()).unwrap();
}

/// A descriptor by which a process is let go when the test is over, whatever happens.
fn leash() -> (PipeReader, PipeWriter) {
    pipe().unwrap()
}

#[test]
fn descendants_of_descendants_end_with_their_tree() {
    let _watchdog = watchdog();
    let (command, reader) =
        sh_on_a_pipe("bash -c 'bash -c \"echo; sleep 1000; :\" & echo; wait; :' & echo; wait; :");
    let child = command.spawn().unwrap();
    await_lines(&reader, 3);
    let report = child.kill_tree(LONG).unwrap();
    assert!(report.unreached.is_empty());
    assert!(report.signalled >= 3, "{report:?}");
    assert!(!report.daemons_known);
    assert_ended(reader);
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    // Everything is over, and that is no error.
    assert_eq!(child.kill_tree(LONG).unwrap().signalled, 0);
}

#[test]
fn a_daemon_ends_with_its_tree_and_leaves_no_zombie() {
    isolated("a_daemon_ends_with_its_tree_and_leaves_no_zombie", || {
        let before = open_descriptors();
        // Its parent ends at once, it has a session of its own, and children.
        let daemon = "(setsid bash -c 'sleep 1000 & echo; wait; :' &)";
        let (command, reader) = sh_on_a_pipe(&format!("{daemon}; {daemon}; echo; sleep 1000; :"));
        let child = command.own_tree().spawn().unwrap();
        await_lines(&reader, 3);
        let report = child.kill_tree(LONG).unwrap();
        assert!(
            report.unreached.is_empty() && report.daemons_known,
            "{report:?}"
        );
        assert_ended(reader);
        child.wait().unwrap();
        drop(child);
        assert_eq!(children(), Vec::<String>::new());
        assert_eq!(open_descriptors(), before);
    });
}

#[test]
fn a_daemon_that_is_between_two_programs_ends_too() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let restless = directory.path().join("restless");
    // Most of the time it has no environment by which it could be known.
    std::fs::write(&restless, "exec sh \"$0\"\n").unwrap();
    for _ in 0..campaign(20, 1000) {
        let daemon = format!("(setsid sh -c 'echo; exec sh {}' &)", restless.display());
        let (command, reader) = sh_on_a_pipe(&format!("{daemon}; sleep 1000; :"));
        let child = command.own_tree().spawn().unwrap();
        await_lines(&reader, 1);
        let report = child.kill_tree(LONG).unwrap();
        assert!(report.unreached.is_empty(), "{report:?}");
        assert_ended(reader);
        child.wait().unwrap();
    }
}

#[test]
fn a_daemon_ends_even_after_the_child_was_waited_for() {
    isolated("a_daemon_ends_even_after_the_child_was_waited_for", || {
        let (command, reader) = sh_on_a_pipe("(setsid bash -c 'echo; sleep 1000; :' &)");
        let child = command.own_tree().spawn().unwrap();
        await_lines(&reader, 1);
        child.wait().unwrap();
        let report = child.kill_tree(LONG).unwrap();
        assert!(
            report.signalled >= 1 && report.unreached.is_empty(),
            "{report:?}"
        );
        assert_ended(reader);
        assert_eq!(children(), Vec::<String>::new());
    });
}

#[test]
fn a_tree_that_grows_all_the_time_ends_all_the_same() {
    isolated("a_tree_that_grows_all_the_time_ends_all_the_same", || {
        // Daemons that start daemons, each of which ends soon after.
        let script = r#"
            grow() { while sleep 0.02; do (setsid bash -c "$body" &) ; done; }
            export body='for i in 1 2 3; do sleep 0.05; (setsid sleep 1000 &); done'
            echo; grow"#;
        let (command, reader) = sh_on_a_pipe(script);
        let child = command.own_tree().spawn().unwrap();
        await_lines(&reader, 1);
        assert_eq!(
            child.wait_timeout(Duration::from_millis(500)).unwrap(),
            None
        );
        let report = child.kill_tree(LONG).unwrap();
        assert!(report.unreached.is_empty(), "{report:?}");
        assert_ended(reader);
        child.wait().unwrap();
        // Those that had ended before are the ones that nobody knew of.
        reap_adopted(|_| false).unwrap();
        assert_eq!(children(), Vec::<String>::new());
    });
}

#[test]
fn without_its_own_tree_a_daemon_is_not_reached_and_the_report_says_so() {
    let _watchdog = watchdog();
    let (leash, hold) = leash();
    let (command, reader) = sh_on_a_pipe(
        "(setsid bash -c 'echo; read line <&3' 3<&3 &); exec 3<&-; echo; sleep 1000; :",
    );
    let child = command.fd(3, leash).spawn().unwrap();
    await_lines(&reader, 2);
    let report = child.kill_tree(LONG).unwrap();
    assert!(!report.daemons_known);
    child.wait().unwrap();
    // It still holds the pipe until it is let go.
    let daemon = rustix::event::PollFd::new(&reader, rustix::event::PollFlags::IN);
    assert_eq!(
        rustix::event::poll(&mut [daemon], Some(&rustix::time::Timespec::default())),
        Ok(0)
    );
    drop(hold);
    assert_ended(reader);
}

#[test]
fn an_orphan_in_the_group_that_the_child_leads_is_reached() {
    let _watchdog = watchdog();
    for session in [false, true] {
        let (command, reader) =
            sh_on_a_pipe("(bash -c 'echo; sleep 1000; :' &); echo; sleep 1000; :");
        let command = if session {
            command.new_session()
        } else {
            command.process_group(0)
        };
        let child = command.spawn().unwrap();
        await_lines(&reader, 2);
        let report = child.kill_tree(LONG).unwrap();
        assert!(report.unreached.is_empty(), "{report:?}");
        assert_ended(reader);
        child.wait().unwrap();
    }
}

#[test]
fn another_child_in_the_group_keeps_its_status_for_its_own_wait() {
    isolated(
        "another_child_in_the_group_keeps_its_status_for_its_own_wait",
        || {
            let leader = Command::new("sleep")
                .arg("1000")
                .process_group(0)
                .own_tree()
                .spawn()
                .unwrap();
            let other = Command::new("sleep")
                .arg("1000")
                .process_group(leader.id() as i32);
            let other = other.spawn().unwrap();
            assert_eq!(leader.kill_tree(LONG).unwrap().signalled, 2);
            assert_eq!(other.wait().unwrap().signal(), Some(9));
            assert_eq!(leader.wait().unwrap().signal(), Some(9));
        },
    );
}

#[test]
fn nobody_outside_the_tree_is_signalled() {
    isolated("nobody_outside_the_tree_is_signalled", || {
        let bystanders = [
            Command::new("sleep")
                .arg("1000")
                .own_tree()
                .spawn()
                .unwrap(),
            Command::new("sleep").arg("1000").spawn().unwrap(),
        ];
        let (leash, hold) = leash();
        // A daemon of another tree, adopted by this process as well.
        let (command, reader) = sh_on_a_pipe("(setsid bash -c 'echo; read line <&3' 3<&3 &)");
        let others = command.fd(3, leash).own_tree().spawn().unwrap();
        await_lines(&reader, 1);
        others.wait().unwrap();

        let child = Command::new("sleep")
            .arg("1000")
            .own_tree()
            .spawn()
            .unwrap();
        assert_eq!(child.kill_tree(LONG).unwrap().signalled, 1);
        child.wait().unwrap();
        for bystander in &bystanders {
            assert_eq!(bystander.try_wait().unwrap(), None);
            bystander.kill().unwrap();
            bystander.wait().unwrap();
        }
        assert_eq!(children().len(), 1, "the other tree's daemon runs");
        drop(hold);
        assert_ended(reader);
    });
}

#[test]
fn a_signal_reaches_everybody_in_the_tree_once() {
    isolated("a_signal_reaches_everybody_in_the_tree_once", || {
        // A reader is past its fork, and so past the trap that it has inherited, when it says so.
        let listener = "trap 'echo got it' TERM; { echo ready; read line <&4; } & \
                        echo ready; wait; wait; exit 0";
        let (leash, hold) = leash();
        let script =
            format!("(setsid bash -c \"{listener}\" &); bash -c \"{listener}\" & {listener}");
        let (command, mut reader) = sh_on_a_pipe(&script);
        let child = command.fd(4, leash).own_tree().spawn().unwrap();
        await_lines(&reader, 6);
        let report = child.signal_tree(Signal::TERM).unwrap();
        assert!(
            report.unreached.is_empty() && report.daemons_known,
            "{report:?}"
        );
        // The three listeners, and the shells that read for them, which end of it.
        assert_eq!(report.signalled, 6, "{report:?}");
        child.wait().unwrap();
        drop(hold);
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        assert_eq!(said.matches("got it").count(), 3, "{said}");
    });
}

#[test]
fn a_process_that_may_not_be_signalled_is_named() {
    if !is_root() {
        println!("skipped: a process of another user can be made by root only");
        return;
    }
    isolated("a_process_that_may_not_be_signalled_is_named", || {
        // The shell runs as somebody else; its child got root back, as a set-user-id program would.
        let (leash, hold) = leash();
        let (command, reader) = sh_on_a_pipe("echo; read line <&3");
        let child = command.fd(3, leash).spawn().unwrap();
        await_lines(&reader, 1);
        let (drop_rights, pid) = (65534_u32, child.id());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Of this thread only.
                let user = rustix::process::Uid::from_raw(drop_rights);
                rustix::thread::set_thread_res_uid(user, user, user).unwrap();
                let report = child.kill_tree(LONG).unwrap();
                assert_eq!(report.signalled, 0);
                let [unreached] = &report.unreached[..] else {
                    panic!("{report:?}")
                };
                assert_eq!((unreached.pid, &*unreached.name), (pid, "bash"));
                assert_eq!(unreached.source.raw_os_error(), Some(libc::EPERM));
            });
        });
        drop(hold);
        assert_eq!(
            child.wait().unwrap().code(),
            Some(1),
            "it ran on to its end of file"
        );
    });
}

#[test]
fn orphans_that_end_by_themselves_are_reaped() {
    isolated("orphans_that_end_by_themselves_are_reaped", || {
        let (leash, hold) = leash();
        let (command, reader) = sh_on_a_pipe("(setsid bash -c 'echo; read line <&3' 3<&3 &)");
        let child = command.fd(3, leash).own_tree().spawn().unwrap();
        await_lines(&reader, 1);
        child.wait().unwrap();
        assert_eq!(children().len(), 1);
        drop(hold);
        assert_ended(reader);
        // The next starts take its zombie.
        await_no_children();

        // One that ends before its tree does is nobody's, until it is asked for.
        let (short_leash, hold) = pipe().unwrap();
        let (command, reader) =
            sh_on_a_pipe("(setsid bash -c 'echo; read line <&3' &); echo; sleep 1000; :");
        let child = command.fd(3, short_leash).own_tree().spawn().unwrap();
        // The second line comes when the parent has ended.
        await_lines(&reader, 2);
        drop(hold);
        let mut taken = 0;
        while taken == 0 {
            taken = reap_adopted(|pid| pid == child.id()).unwrap();
        }
        assert!(child.kill_tree(LONG).unwrap().is_complete());
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        assert_eq!(children(), Vec::<String>::new());
    });
}

#[test]
#[allow(
    unsafe_code,
    reason = "sets the environment as a surrounding tree would have"
)]
fn a_tree_within_a_tree_belongs_to_both() {
    isolated("a_tree_within_a_tree_belongs_to_both", || {
        let print = || {
            Command::new("printenv")
                .arg("PIPEWRIGHT_TREE")
                .own_tree()
                .capture()
                .read()
                .unwrap()
        };
        let own = print();
        assert!(!own.contains(' '));
        assert_ne!(print(), own);
        // SAFETY: no other thread of this process touches the environment.
        unsafe {
            std::env::set_var("PIPEWRIGHT_TREE", "outer");
        }
        assert!(print().starts_with("outer "));
    });
}

#[test]
fn a_pipeline_ends_with_everything_its_stages_started() {
    isolated("a_pipeline_ends_with_everything_its_stages_started", || {
        let (reader, writer) = pipe().unwrap();
        let daemon = |name: &str| {
            let script =
                format!("(setsid bash -c 'echo {name} >&5; sleep 1000; :' &); sleep 1000; :");
            Command::new("bash")
                .args(["-c", &script])
                .fd(5, writer.try_clone().unwrap())
        };
        let pipeline = (daemon("a").stdin(Stdio::Null) | daemon("b") | daemon("c")).own_tree();
        drop(writer);
        let running = pipeline.spawn().unwrap();
        await_lines(&reader, 3);
        let report = running.kill_tree(LONG).unwrap();
        assert!(
            report.unreached.is_empty() && report.daemons_known,
            "{report:?}"
        );
        assert_ended(reader);
        assert_eq!(running.wait().unwrap().exit_code(), 137);
        assert_eq!(children(), Vec::<String>::new());
    });
}

#[test]
fn a_status_that_a_killed_parent_had_not_taken_leaves_no_zombie() {
    let name = "a_status_that_a_killed_parent_had_not_taken_leaves_no_zombie";
    isolated(name, || {
        let (reader, leash) = leash();
        // sleep takes no status of a child that it does not know of.
        let child = Command::new("bash")
            .args(["-c", "(read <&5) & exec sleep 1000"])
            .fd(5, reader)
            .own_tree()
            .spawn()
            .unwrap();
        let stat = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let pid = child.id().to_string();
        while !stat(&pid).contains("(sleep)") {
            std::thread::yield_now();
        }
        drop(leash);
        let children = format!("/proc/{pid}/task/{pid}/children");
        let Ok(grandchild) = std::fs::read_to_string(children) else {
            eprintln!("skipped: this kernel does not list children (CONFIG_PROC_CHILDREN)");
            assert!(child.kill_tree(LONG).unwrap().is_complete());
            return;
        };
        while !stat(grandchild.trim()).contains(") Z ") {
            std::thread::yield_now();
        }
        assert!(child.kill_tree(LONG).unwrap().is_complete());
        child.wait().unwrap();
        assert_eq!(testing::children(), Vec::<String>::new());
    });
}

#[test]
fn a_capture_that_is_out_of_time_ends_its_whole_tree() {
    isolated("a_capture_that_is_out_of_time_ends_its_whole_tree", || {
        let (said, reader) = with_time_enough(|time| {
            let (reader, writer) = pipe().unwrap();
            let script = "(setsid bash -c 'echo daemon; sleep 1000; :' &); sleep 1000; :";
            let shell = Command::new("bash")
                .args(["-c", script])
                .fd(5, writer)
                .own_tree();
            let error = shell.capture().timeout(time).kill_tree().output();
            let Error::TimedOut { collected, .. } = error.unwrap_err() else {
                panic!("no deadline")
            };
            (!collected.stdout.is_empty()).then_some((collected.stdout, reader))
        });
        assert_eq!(said, b"daemon\n");
        assert_ended(reader);
    });
}

#[test]
fn a_tree_is_waited_for_with_everything_that_it_started() {
    isolated(
        "a_tree_is_waited_for_with_everything_that_it_started",
        || {
            let short = Duration::from_millis(20);
            // A grandchild; an orphan in the group; a daemon.
            let scripts = [
                "read line <&3 & echo; wait",
                "(bash -c 'echo; read line <&3; :' &)",
                "(setsid bash -c 'echo; read line <&3; :' &)",
            ];
            for script in scripts {
                let (leash, hold) = leash();
                let (command, reader) = sh_on_a_pipe(script);
                let command = command.fd(3, leash).process_group(0).own_tree();
                let child = command.spawn().unwrap();
                await_lines(&reader, 1);
                let report = child.wait_tree(short).unwrap();
                let is_late = |it: &Unreached| it.source.raw_os_error() == Some(libc::ETIMEDOUT);
                assert!(!report.is_complete(), "{script}");
                assert!(report.unreached.iter().all(is_late), "{report:?}");
                drop(hold);
                let report = child.wait_tree(LONG).unwrap();
                assert!(report.is_complete(), "{script}: {report:?}");
                assert_ended(reader);
                // The child's own status is still to be had, and nothing else is left.
                child.wait().unwrap();
                // One that ended before it was adopted is nobody's.
                let _ = reap_adopted(|_| false).unwrap();
                await_no_children();
            }
        },
    );
}

#[test]
fn a_wait_for_a_tree_finds_what_was_started_meanwhile() {
    let _watchdog = watchdog();
    let script = "for i in 1 2 3 4 5; do (sleep 0.05 & exec sleep 0.02); done & wait; :";
    let (command, reader) = sh_on_a_pipe(script);
    let child = command.process_group(0).spawn().unwrap();
    let report = child.wait_tree(LONG).unwrap();
    assert!(report.is_complete(), "{report:?}");
    assert_ended(reader);
    child.wait().unwrap();
}

#[test]
fn a_child_that_ignores_the_request_to_end_is_killed_after_the_grace() {
    let _watchdog = watchdog();
    let (leash, _hold) = leash();
    let (command, reader) = sh_on_a_pipe("trap '' TERM; echo; read line <&3");
    let child = command.fd(3, leash).spawn().unwrap();
    await_lines(&reader, 1);
    let status = child.kill_after(Duration::from_millis(100)).unwrap();
    assert_eq!(status.signal(), Some(9));

    let obedient = Command::new("sleep").arg("1000") | Command::new("sleep").arg("1000");
    let status = obedient.spawn().unwrap().kill_after(LONG).unwrap();
    assert_eq!(status.exit_code(), 143);
}
