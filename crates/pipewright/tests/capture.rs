//! Input and output at once: every byte arrives, nothing blocks, and what was collected is never
//! lost.

#![allow(unsafe_code, reason = "one test sets the disposition of a signal")]

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use pipewright::{
    Canceller, Command, Error, Input, InvalidCommand, PipeExt, Pipeline, StageEnd, Stdio,
};
use testing::{
    await_no_children, children, descriptors_of, is_root, isolated, open_descriptors, sh, watchdog,
    with_time_enough,
};

/// Bytes that tell a loss, a repetition and a swap.
fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
fn bytes_in_are_bytes_out_when_both_are_far_larger_than_a_pipe() {
    let _watchdog = watchdog();
    let bytes = pattern(20 << 20);
    let output = Command::new("cat")
        .capture()
        .input(&bytes)
        .output()
        .unwrap();
    assert!(output.stdout == bytes);
    assert!(output.success());
    assert_eq!(output.stderr, [Vec::<u8>::new()]);
}

#[test]
fn stdout_and_stderr_are_told_apart_and_neither_blocks_the_other() {
    let _watchdog = watchdog();
    // More than any pipe takes on each, and first all of one, then all of the other.
    let script = "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; echo end; echo end >&2";
    let output = sh(script).capture().output().unwrap();
    assert_eq!(output.stdout.len(), 3_000_004);
    assert_eq!(output.stderr[0].len(), 3_000_004);
    assert!(output.stdout.ends_with(b"end\n") && output.stderr[0].ends_with(b"end\n"));
}

#[test]
fn a_child_that_writes_before_it_reads_does_not_block() {
    let _watchdog = watchdog();
    let bytes = pattern(5 << 20);
    let script = "head -c 5000000 /dev/zero >&2; cat";
    let output = sh(script).capture().input(&bytes).output().unwrap();
    assert!(output.stdout == bytes);
    assert_eq!(output.stderr[0].len(), 5_000_000);
}

#[test]
fn every_stage_of_a_pipeline_has_its_own_stderr() {
    let _watchdog = watchdog();
    let stage = |name: &str| {
        sh(&format!(
            "head -c 200000 /dev/zero >&2; echo {name} >&2; cat"
        ))
    };
    let bytes = pattern(3 << 20);
    let pipeline = Pipeline::new(["one", "two", "three"].map(stage));
    let output = pipeline.capture().input(&bytes).output().unwrap();
    assert!(output.stdout == bytes);
    for (stderr, name) in output.stderr.iter().zip(["one\n", "two\n", "three\n"]) {
        assert_eq!(stderr.len(), 200_000 + name.len());
        assert!(stderr.ends_with(name.as_bytes()));
    }
}

#[test]
fn a_child_that_does_not_read_its_input_is_no_error() {
    let _watchdog = watchdog();
    let bytes = pattern(5 << 20);
    for script in [
        "exit 0",
        "exec <&-; echo early",
        "head -c 10 >/dev/null",
        ":",
    ] {
        let output = sh(script).capture().input(&bytes).output().unwrap();
        assert!(output.success(), "{script}");
    }
    let output = sh("exec <&-; echo closed").capture().input(&bytes).read();
    assert_eq!(output.unwrap(), "closed");
}

#[test]
fn a_parent_with_sigpipe_at_its_default_does_not_die_of_a_child_that_stops_reading() {
    isolated(
        "a_parent_with_sigpipe_at_its_default_does_not_die_of_a_child_that_stops_reading",
        || {
            // SAFETY: no handler runs; this process has one purpose.
            unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
            let bytes = pattern(1 << 20);
            for _ in 0..200 {
                let output = Command::new("true").capture().input(&bytes).output();
                assert!(output.unwrap().success());
            }
            // Nothing of it is left pending or blocked in this thread.
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            for field in ["SigPnd:\t", "SigBlk:\t"] {
                let mask = status.split_once(field).unwrap().1;
                assert!(mask.starts_with("0000000000000000"), "{field}{mask}");
            }
        },
    );
}

#[test]
fn an_empty_input_is_the_end_of_file() {
    let _watchdog = watchdog();
    assert_eq!(Command::new("cat").capture().input("").read().unwrap(), "");
    let nothing = Input::reader(std::io::empty());
    let read = Command::new("cat").capture().input(nothing).read();
    assert_eq!(read.unwrap(), "");
}

#[test]
fn stdin_is_null_unless_it_was_chosen() {
    let _watchdog = watchdog();
    let target = sh("readlink /proc/self/fd/0").capture().read().unwrap();
    assert_eq!(target, "/dev/null");
    let (reader, writer) = pipewright::pipe().unwrap();
    drop(writer);
    let target = sh("readlink /proc/self/fd/0").stdin(reader).capture();
    assert!(target.read().unwrap().starts_with("pipe:["));
}

#[test]
fn a_file_is_read_by_the_child_itself() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("input");
    std::fs::write(&path, "from the file").unwrap();
    let script = "readlink /proc/self/fd/0 >&2; cat";
    let file = std::fs::File::open(&path).unwrap();
    let output = sh(script).capture().input(file).output().unwrap();
    assert_eq!(output.stdout, b"from the file");
    let target = String::from_utf8(output.stderr[0].clone()).unwrap();
    assert_eq!(target.trim_end(), path.to_str().unwrap());
}

#[test]
fn a_reader_is_read_to_its_end_in_any_chunks() {
    let _watchdog = watchdog();
    struct Chunks<'a>(&'a [u8], usize);
    impl Read for Chunks<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.1 = self.1 * 7 % 70_001 + 1;
            if self.1.is_multiple_of(5) {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            let count = self.1.min(buffer.len());
            self.0.read(&mut buffer[..count])
        }
    }
    let bytes = pattern(3 << 20);
    let input = Input::reader(Chunks(&bytes, 1));
    let output = Command::new("cat").capture().input(input).output().unwrap();
    assert!(output.stdout == bytes);
}

#[test]
fn a_reader_that_fails_is_the_error_and_leaves_nothing_running() {
    isolated(
        "a_reader_that_fails_is_the_error_and_leaves_nothing_running",
        || {
            struct Broken;
            impl Read for Broken {
                fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                    Err(std::io::Error::other("the disk is gone"))
                }
            }
            let capture = sh("cat; exec sleep 1000")
                .capture()
                .input(Input::reader(Broken));
            let error = capture.output().unwrap_err();
            assert_eq!(
                error.to_string(),
                "cannot read the input for a child from its reader: the disk is gone"
            );
            assert!(matches!(error, Error::CaptureFailed { .. }), "{error:?}");
            await_no_children();
        },
    );
}

#[test]
fn what_a_command_chooses_itself_is_not_collected() {
    let _watchdog = watchdog();
    let script = "echo out; echo err >&2";
    let output = sh(script).stdout(Stdio::Null).capture().output().unwrap();
    assert_eq!(
        (output.stdout, output.stderr),
        (Vec::new(), vec![b"err\n".to_vec()])
    );
    let together = sh(script).stderr(Stdio::SameAsStdout).capture().output();
    assert_eq!(together.unwrap().stdout, b"out\nerr\n");

    let error = Command::new("cat")
        .stdin(Stdio::Null)
        .capture()
        .input("x")
        .output();
    assert!(matches!(
        error.unwrap_err(),
        Error::Invalid {
            reason: InvalidCommand::DescriptorTwice(0),
            ..
        }
    ));
}

#[test]
fn stdout_can_go_where_stderr_goes() {
    let _watchdog = watchdog();
    let script = "echo out; echo err >&2";
    let both = || sh(script).stdout(Stdio::SameAsStderr);
    let output = both().capture().output().unwrap();
    assert_eq!(
        (&*output.stdout, &*output.stderr[0]),
        (&b""[..], &b"out\nerr\n"[..])
    );
    // Whatever stderr is: a file, or closed.
    let (reader, writer) = pipewright::pipe().unwrap();
    assert!(
        both()
            .stderr(writer)
            .spawn()
            .unwrap()
            .wait()
            .unwrap()
            .success()
    );
    assert_eq!(std::io::read_to_string(reader).unwrap(), "out\nerr\n");
    let closed = sh("test ! -e /proc/self/fd/1")
        .stdout(Stdio::SameAsStderr)
        .stderr(Stdio::Closed);
    assert!(closed.spawn().unwrap().wait().unwrap().success());
    let (reader, writer) = pipewright::pipe().unwrap();
    assert!(
        both()
            .fd(2, writer)
            .spawn()
            .unwrap()
            .wait()
            .unwrap()
            .success()
    );
    assert_eq!(std::io::read_to_string(reader).unwrap(), "out\nerr\n");

    let refused = |command: Command| match command.spawn().unwrap_err() {
        Error::Invalid { reason, .. } => reason,
        other => panic!("{other}"),
    };
    assert_eq!(
        refused(both().stderr(Stdio::SameAsStdout)),
        InvalidCommand::SameAsEachOther
    );
    assert_eq!(
        refused(sh("").stdin(Stdio::SameAsStderr)),
        InvalidCommand::SameAsStderr("stdin")
    );
}

#[test]
fn a_limit_keeps_exactly_as_many_bytes_as_were_allowed() {
    isolated(
        "a_limit_keeps_exactly_as_many_bytes_as_were_allowed",
        || {
            for (limit, written) in [
                (0, 1),
                (1, 2),
                (5000, 1 << 20),
                (100_000, 100_001),
                (1 << 20, 1 << 23),
            ] {
                let head = || Command::new("head").args(["-c", &written.to_string(), "/dev/zero"]);
                let error = head().capture().limit(limit).output().unwrap_err();
                let Error::OutputTooLarge { collected, .. } = error else {
                    panic!("{error}")
                };
                assert_eq!(collected.bytes(), limit);
                assert_eq!(
                    head()
                        .capture()
                        .limit(written)
                        .output()
                        .unwrap()
                        .stdout
                        .len(),
                    written
                );
            }
            // Of both streams together.
            let error = sh("echo 12345; echo 12345 >&2; exec sleep 1000")
                .capture()
                .limit(11)
                .output()
                .unwrap_err();
            let Error::OutputTooLarge { collected, .. } = error else {
                panic!("{error}")
            };
            assert_eq!(collected.bytes(), 11);
            // What wrote too much was killed.
            await_no_children();
        },
    );
}

#[test]
fn a_deadline_is_kept_and_what_was_collected_is_told() {
    isolated("a_deadline_is_kept_and_what_was_collected_is_told", || {
        let before = open_descriptors();
        let collected = with_time_enough(|time| {
            let capture = sh("echo out; echo err >&2; exec sleep 1000").capture();
            let error = capture.timeout(time).output().unwrap_err();
            assert_eq!(error.exit_code(), 124);
            let Error::TimedOut { collected, .. } = error else {
                panic!("{error}")
            };
            // What was killed is waited for only a little while.
            (!collected.stderr[0].is_empty() && collected.statuses[0].is_some())
                .then_some(collected)
        });
        assert_eq!(collected.stdout, b"out\n");
        assert_eq!(collected.stderr, [b"err\n"]);
        assert_eq!(
            collected.statuses[0].map(|status| status.signal()),
            Some(Some(9))
        );
        await_no_children();
        // What is kept for those that were not waited for is one descriptor.
        assert!(open_descriptors() <= before + 1);
    });
}

#[test]
fn a_deadline_is_kept_while_output_never_stops() {
    let _watchdog = watchdog();
    let collected = with_time_enough(|time| {
        let error = (Command::new("yes") | Command::new("cat"))
            .capture()
            .timeout(time)
            .output()
            .unwrap_err();
        let Error::TimedOut { collected, .. } = error else {
            panic!("{error}")
        };
        (!collected.stdout.is_empty()).then_some(collected)
    });
    assert!(collected.stdout.starts_with(b"y\ny\n"));
    // The second stage may have seen the end of file before it was killed, too.
    let first = collected.statuses[0];
    assert!(
        first.is_none_or(|status| status.signal().is_some()),
        "{first:?}"
    );
}

/// A grandchild that holds the pipes until the test lets it go.
fn leaves_one_behind(script: &str) -> (Command, pipewright::PipeWriter) {
    let (reader, writer) = pipewright::pipe().unwrap();
    let command = sh(&format!("(read line <&3; exit) & exec 3<&-; {script}")).fd(3, reader);
    (command, writer)
}

#[test]
fn a_deadline_is_kept_when_a_grandchild_holds_the_pipe() {
    let _watchdog = watchdog();
    let collected = with_time_enough(|time| {
        let (command, _hold) = leaves_one_behind("echo done");
        // It is held until the end of this block: only the deadline can end the capture.
        let error = command.capture().timeout(time).output().unwrap_err();
        let Error::TimedOut { collected, .. } = error else {
            panic!("{error}")
        };
        // The child itself had ended, and that is told.
        let code = collected.statuses[0].and_then(|status| status.code());
        (code == Some(0)).then_some(collected)
    });
    assert_eq!(collected.stdout, b"done\n");
}

#[test]
fn a_pipe_held_by_a_grandchild_is_told_apart_from_a_child_that_runs() {
    // A process that another test is starting would hold the pipe, too.
    let name = "a_pipe_held_by_a_grandchild_is_told_apart_from_a_child_that_runs";
    isolated(name, || {
        let (command, hold) = leaves_one_behind("echo done; exit 3");
        let error = command
            .capture()
            .pipe_grace(Duration::from_millis(50))
            .output()
            .unwrap_err();
        let Error::PipeHeldOpen { collected, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(collected.stdout, b"done\n");
        assert_eq!(
            collected.statuses[0].and_then(|status| status.code()),
            Some(3)
        );
        drop(hold);

        // No grace is used up while the child itself runs, however long.
        let (gate, release) = pipewright::pipe().unwrap();
        let slow = sh("read line <&3; echo slow").fd(3, gate).capture();
        let mut running = slow.pipe_grace(Duration::ZERO).spawn().unwrap();
        for _ in 0..20 {
            assert_eq!(running.collect_for(Duration::ZERO).unwrap().bytes(), 0);
        }
        drop(release);
        assert_eq!(running.read().unwrap(), "slow");
        // Nor is it one if the pipe is merely full of what the child left.
        for _ in 0..50 {
            let full = Command::new("head").args(["-c", "60000", "/dev/zero"]);
            let output = full.capture().pipe_grace(Duration::ZERO).output().unwrap();
            assert_eq!(output.stdout.len(), 60_000);
        }
    });
}

#[test]
fn without_bounds_a_grandchilds_output_is_collected_too() {
    let _watchdog = watchdog();
    let (gate, release) = pipewright::pipe().unwrap();
    let leaves = sh("(read line <&3; echo late) & exec 3<&-; echo early").fd(3, gate);
    let running = leaves.capture().spawn().unwrap();
    let shell = running.running().stages()[0].child().unwrap();
    shell.wait().unwrap();
    drop(release);
    let output = running.output().unwrap();
    assert_eq!(output.stdout, b"early\nlate\n");
}

#[test]
fn another_thread_ends_a_capture() {
    let _watchdog = watchdog();
    let canceller = Canceller::new().unwrap();
    let (reader, writer) = pipewright::pipe().unwrap();
    let error = std::thread::scope(|scope| {
        scope.spawn(|| {
            // The child has said that it runs.
            (&reader).read_exact(&mut [0; 2]).unwrap();
            canceller.cancel();
        });
        let capture = sh("echo begun; echo >&3 .; exec sleep 1000")
            .fd(3, writer)
            .capture();
        capture.canceller(&canceller).output().unwrap_err()
    });
    let Error::Cancelled { collected, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(collected.stdout, b"begun\n");
    // It stays raised.
    let error = sh("exec sleep 1000")
        .capture()
        .canceller(&canceller)
        .output();
    assert!(matches!(error.unwrap_err(), Error::Cancelled { .. }));
}

#[test]
fn an_error_of_a_failed_command_names_it_its_end_and_its_stderr() {
    let _watchdog = watchdog();
    let error = sh("echo 'no such\x1b[31m table' >&2; exit 3")
        .capture()
        .read()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "sh -c $'echo \\'no such\\u001b[31m table\\' >&2; exit 3' failed: exit status 3: no such[31m table"
    );
    assert_eq!(error.exit_code(), 3);
    let error = sh("kill -TERM $$").capture().read().unwrap_err();
    assert!(error.to_string().ends_with("failed: killed by SIGTERM"));
    assert_eq!(error.exit_code(), 143);

    let pipeline = Command::new("echo") | sh("cat; echo broken >&2; exit 2") | Command::new("cat");
    let error = pipeline.capture().read().unwrap_err();
    let Error::Failed { name, stderr, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(
        (&*name, &*stderr),
        ("sh -c 'cat; echo broken >&2; exit 2'", "broken")
    );
}

#[test]
fn text_that_is_not_utf_8_is_an_error_that_says_where() {
    let _watchdog = watchdog();
    let error = Command::new("printf")
        .arg(r"caf\303\251 \377!")
        .capture()
        .read()
        .unwrap_err();
    let Error::NotUtf8 { position, byte, .. } = error else {
        panic!("{error}")
    };
    assert_eq!((position, byte), (6, 0xff));
    assert_eq!(
        error.to_string(),
        r"the output of printf 'caf\303\251 \377!' is not UTF-8: byte 6 is 0xff; take it as bytes"
    );
    // Cut in the middle of a character, at the very end.
    let error = Command::new("printf")
        .arg(r"ab\303")
        .capture()
        .read()
        .unwrap_err();
    assert!(matches!(
        error,
        Error::NotUtf8 {
            position: 2,
            byte: 0xc3,
            ..
        }
    ));
}

#[test]
fn a_command_that_cannot_start_is_an_error_and_a_stage_that_cannot_is_a_status() {
    let _watchdog = watchdog();
    let error = Command::new("/no/such")
        .capture()
        .input("x")
        .output()
        .unwrap_err();
    assert_eq!(error.exit_code(), 127);
    let output = (Command::new("/no/such") | Command::new("wc").arg("-c"))
        .capture()
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"0\n");
    assert!(matches!(
        output.status.stages()[0].end,
        StageEnd::NotStarted(_)
    ));
    let error = (Command::new("cat") | Command::new("/no/such"))
        .capture()
        .input(vec![0; 1 << 20])
        .output();
    assert_eq!(error.unwrap().exit_status().code(), Some(127));
}

#[test]
fn a_capture_becomes_what_std_gives() {
    let _watchdog = watchdog();
    let stages = sh("echo a >&2; echo x") | sh("echo b >&2; cat; exit 5");
    let output = std::process::Output::from(stages.capture().output().unwrap());
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(
        (output.stdout, output.stderr),
        (b"x\n".to_vec(), b"a\nb\n".to_vec())
    );
}

#[test]
fn captures_leave_no_descriptor_and_no_zombie() {
    isolated("captures_leave_no_descriptor_and_no_zombie", || {
        let before = descriptors_of(std::process::id());
        for round in 0..300_usize {
            let bytes = vec![b'x'; round * 1000];
            let pipeline = Command::new("cat") | Command::new("head").args(["-c", "1000"]);
            let output = pipeline.capture().input(&bytes).output().unwrap();
            assert_eq!(output.stdout.len(), bytes.len().min(1000));
            let _ = Command::new("/no/such")
                .capture()
                .input(&bytes)
                .output()
                .unwrap_err();
        }
        assert_eq!(descriptors_of(std::process::id()), before);
        assert_eq!(children(), Vec::<String>::new());
    });
}

/// runc 2871: past the user's quota a new pipe has two pages, and a writer that counts on more hangs.
#[test]
fn pipes_shrunk_to_two_pages_by_the_quota_carry_every_byte() {
    isolated(
        "pipes_shrunk_to_two_pages_by_the_quota_carry_every_byte",
        || {
            if !is_root() {
                println!("skipped: it would take this user's quota from the tests beside it");
                return;
            }
            // In this thread only.
            let nobody = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            let mut held = Vec::new();
            let two_pages = 2 * rustix::param::page_size();
            loop {
                let (reader, writer) = pipewright::pipe().unwrap();
                if reader.capacity().unwrap() == two_pages {
                    break;
                }
                // Where it may not grow any more, its own sixteen pages count.
                let _ = reader.set_capacity(1 << 20);
                held.push((reader, writer));
                if held.len() > 1500 {
                    println!("skipped: this machine has no quota for pipes");
                    return;
                }
            }
            let bytes = pattern(1 << 20);
            let stages = Pipeline::new((0..3).map(|_| Command::new("cat")));
            let output = stages.capture().input(&bytes).output().unwrap();
            assert!(output.stdout == bytes && output.success());
        },
    );
}
