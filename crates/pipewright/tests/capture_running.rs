//! A capture that was started: collected later, bit by bit, as bytes, or asked to end.

#![allow(unsafe_code, reason = "one test sets the disposition of a signal")]

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use pipewright::{Canceller, Command, Error, OutputStream, Pipeline};
use testing::{children, isolated, sh, watchdog, with_time_enough};

/// A deadline that is never reached.
const FAR: Duration = Duration::from_secs(100_000);

#[test]
fn captures_that_were_started_run_at_once_and_are_collected_in_any_order() {
    let _watchdog = watchdog();
    // Each waits for the other: one after the other they would never end.
    let (first_in, second_out) = pipewright::pipe().unwrap();
    let (second_in, first_out) = pipewright::pipe().unwrap();
    let meets = |name: &str, from, to| {
        let script = format!("echo {name} >&4; exec 4>&-; read other <&3; echo $other");
        sh(&script).fd(3, from).fd(4, to).capture().spawn().unwrap()
    };
    let first = meets("first", first_in, first_out);
    let second = meets("second", second_in, second_out);
    assert_eq!(second.read().unwrap(), "first");
    assert_eq!(first.read().unwrap(), "second");
}

#[test]
fn a_started_capture_feeds_and_collects_more_than_pipes_hold() {
    let _watchdog = watchdog();
    let bytes = vec![b'x'; 5 << 20];
    let running = Command::new("cat").capture().input(&bytes).spawn().unwrap();
    assert!(running.output().unwrap().stdout == bytes);
    let stages = Command::new("cat") | sh("tee /dev/stderr");
    let running = stages.capture().input(&bytes).spawn().unwrap();
    let output = running.output().unwrap();
    assert!(output.stdout == bytes && output.stderr[1] == bytes);
}

#[test]
fn collecting_for_a_while_ends_the_wait_and_not_the_command() {
    let _watchdog = watchdog();
    let (stdin, mut writer) = pipewright::pipe().unwrap();
    let mut running = Command::new("cat").stdin(stdin).capture().spawn().unwrap();
    assert_eq!(
        running
            .collect_for(Duration::from_millis(1))
            .unwrap()
            .bytes(),
        0
    );
    let mut said = Vec::new();
    for word in ["one ", "two ", "three"] {
        writer.write_all(word.as_bytes()).unwrap();
        let before = said.len();
        while said.len() < before + word.len() {
            said.extend(
                running
                    .collect_for(Duration::from_millis(20))
                    .unwrap()
                    .stdout,
            );
        }
        assert!(!running.has_ended());
    }
    drop(writer);
    // It returns before its time when all has ended.
    let rest = running.collect_for(FAR).unwrap();
    assert!(running.has_ended());
    assert_eq!((said, rest.bytes()), (b"one two three".to_vec(), 0));
    assert!(rest.statuses[0].unwrap().success());
    assert!(running.output().unwrap().success());
}

#[test]
fn collecting_for_a_while_ends_although_output_never_does() {
    let _watchdog = watchdog();
    let mut running = Command::new("yes")
        .capture()
        .kill_on_drop()
        .spawn()
        .unwrap();
    for _ in 0..3 {
        running.collect_for(Duration::from_millis(5)).unwrap();
    }
}

#[test]
fn bytes_are_there_while_the_command_still_runs() {
    let _watchdog = watchdog();
    let (stdin, mut writer) = pipewright::pipe().unwrap();
    let mut reader = Command::new("cat").stdin(stdin).capture().reader().unwrap();
    let mut buffer = [0; 3];
    writer.write_all(b"ab\xff\0e").unwrap();
    reader.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"ab\xff");
    reader.read_exact(&mut buffer[..2]).unwrap();
    assert_eq!(&buffer[..2], b"\0e");
    let nothing = reader.read_within(&mut buffer, Duration::from_millis(5));
    assert!(matches!(nothing.unwrap_err(), Error::NothingYet { .. }));
    writer.write_all(b"f").unwrap();
    assert_eq!(reader.read_within(&mut buffer, FAR).unwrap(), 1);
    assert!(reader.status().is_none());
    drop(writer);
    assert_eq!(reader.read(&mut buffer).unwrap(), 0);
    assert_eq!(reader.read(&mut buffer).unwrap(), 0);
    assert!(reader.status().unwrap().success());
}

#[test]
fn every_byte_of_a_large_output_is_read_while_stderr_is_drained() {
    let _watchdog = watchdog();
    let script = "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; echo end";
    let mut reader = sh(script).capture().reader().unwrap();
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    assert!(bytes.len() == 3_000_004 && bytes.ends_with(b"end\n"));
}

#[test]
fn a_failure_is_the_end_of_the_bytes_with_the_end_of_stderr() {
    let _watchdog = watchdog();
    let stages = sh("echo data") | sh("cat; echo the reason >&2; exit 5");
    let mut reader = stages.capture().reader().unwrap();
    let mut data = String::new();
    let error = reader.read_to_string(&mut data).unwrap_err();
    assert!(
        error.to_string().ends_with("exit status 5: the reason"),
        "{error}"
    );
    let error: Error = error.downcast().unwrap();
    assert_eq!(error.exit_code(), 5);
    // It was told once. What follows is the end.
    assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
    assert_eq!(reader.status().unwrap().exit_code(), 5);
}

#[test]
fn a_bound_ends_the_bytes_with_an_error() {
    let _watchdog = watchdog();
    let canceller = Canceller::new().unwrap();
    let capture = sh("echo ready; exec sleep 1000").capture();
    let mut reader = capture.canceller(&canceller).reader().unwrap();
    reader.read_exact(&mut [0; 6]).unwrap();
    canceller.cancel();
    let error: Error = reader.read(&mut [0; 6]).unwrap_err().downcast().unwrap();
    assert!(matches!(error, Error::Cancelled { .. }));
    assert_eq!(reader.read(&mut [0; 6]).unwrap(), 0);
}

#[test]
fn lines_that_are_not_utf_8_are_lines_of_bytes() {
    let _watchdog = watchdog();
    let printf = || Command::new("printf").arg(r"good\nb\377d\r\nlast");
    let mut lines = printf().capture().lines().unwrap();
    let all: Vec<_> = std::iter::from_fn(|| lines.next_bytes())
        .map(Result::unwrap)
        .collect();
    assert_eq!(all, [&b"good"[..], b"b\xffd", b"last"]);
    let mut lines = printf().capture().tagged_lines().unwrap();
    let (from, line) = lines.next_bytes().unwrap().unwrap();
    assert_eq!((from, &*line), (OutputStream::Stdout, &b"good"[..]));
    // The failure is not lost.
    let mut lines = sh("printf '\\377\\n'; exit 3").capture().lines().unwrap();
    assert_eq!(lines.next_bytes().unwrap().unwrap(), b"\xff");
    let failure = lines.next_bytes().unwrap().unwrap_err();
    assert_eq!(failure.exit_code(), 3);
    assert!(lines.next_bytes().is_none());
}

#[test]
fn waiting_for_a_line_ends_and_the_command_does_not() {
    let _watchdog = watchdog();
    let (stdin, mut writer) = pipewright::pipe().unwrap();
    let cat = Command::new("cat").stdin(stdin);
    let mut lines = cat.capture().tagged_lines().unwrap();
    writer.write_all(b"begun").unwrap();
    for _ in 0..3 {
        let nothing = lines.next_within(Duration::from_millis(5));
        assert!(matches!(nothing, Some(Err(Error::NothingYet { .. }))));
    }
    writer.write_all(b" and ended\n").unwrap();
    let line = lines.next_within(FAR).unwrap().unwrap();
    assert_eq!(line.text, "begun and ended");
    drop(writer);
    assert!(lines.next_within(FAR).is_none());
    assert!(lines.status().unwrap().success());
}

/// Says that it runs, then waits until it is asked to end, and says so. It looks again and again: a
/// shell that reads does not see a signal that came just before.
const OBEDIENT: &str =
    "trap 'echo tidied up; exit 9' TERM; echo ready; while :; do sleep 0.01; done";
/// Is asked in vain.
const STUBBORN: &str = "trap 'echo no' TERM; echo ready; while :; do sleep 0.01; done";

/// The error of a capture that is cancelled once its command runs, and is given `grace`.
fn cancelled(stages: impl Into<Pipeline>, grace: Duration, whole_tree: bool) -> Error {
    let canceller = Canceller::new().unwrap();
    let mut capture = stages
        .into()
        .capture()
        .canceller(&canceller)
        .kill_after(grace);
    if whole_tree {
        capture = capture.kill_tree();
    }
    let mut running = capture.spawn().unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"ready\n") {
        said.extend(
            running
                .collect_for(Duration::from_millis(20))
                .unwrap()
                .stdout,
        );
    }
    canceller.cancel();
    running.output().unwrap_err()
}

#[test]
fn what_is_given_up_is_asked_to_end_and_its_last_words_are_collected() {
    let _watchdog = watchdog();
    let error = cancelled(sh(OBEDIENT), FAR, false);
    let Error::Cancelled { collected, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(collected.stdout, b"tidied up\n");
    assert_eq!(collected.statuses[0].and_then(|it| it.code()), Some(9));
}

#[test]
fn what_does_not_end_when_it_is_asked_is_killed_after_the_grace() {
    let _watchdog = watchdog();
    let told = with_time_enough(|grace| {
        let error = cancelled(sh(STUBBORN), grace, false);
        let collected = error.collected().unwrap().clone();
        (!collected.stdout.is_empty() && collected.statuses[0].is_some()).then_some(collected)
    });
    assert_eq!(told.stdout, b"no\n");
    assert_eq!(told.statuses[0].unwrap().signal(), Some(9));
}

#[test]
fn a_whole_tree_is_asked_to_end_before_it_is_killed() {
    isolated("a_whole_tree_is_asked_to_end_before_it_is_killed", || {
        // The shell ends at once; the one in the background has the pipe, and the last word.
        let script = format!("({OBEDIENT}) & trap 'exit 0' TERM; wait");
        let error = cancelled(sh(&script).own_tree(), FAR, true);
        assert_eq!(error.collected().unwrap().stdout, b"tidied up\n");
        // This process has adopted the one in the background, which has ended or is about to.
        while !children().is_empty() {
            pipewright::reap_adopted(|_| false).unwrap();
        }
    });
}

#[test]
fn a_limit_holds_while_the_command_is_asked_to_end() {
    let _watchdog = watchdog();
    let script = "trap 'head -c 100000 /dev/zero; exit 1' TERM; while :; do echo line; done";
    let capture = sh(script).capture().limit(1000).kill_after(FAR);
    let error = capture.output().unwrap_err();
    assert!(matches!(error, Error::OutputTooLarge { .. }));
    assert_eq!(error.collected().unwrap().bytes(), 1000);
}

#[test]
fn lost_statuses_do_not_take_the_output_with_them() {
    isolated("lost_statuses_do_not_take_the_output_with_them", || {
        // SAFETY: no handler runs; this process has one purpose.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        for bounded in [false, true] {
            let mut capture = (sh("echo careful >&2; echo data") | sh("cat; exit 3")).capture();
            if bounded {
                capture = capture.pipe_grace(FAR).timeout(FAR);
            }
            let error = capture.output().unwrap_err();
            assert!(error.to_string().contains("SIGCHLD"), "{error}");
            let collected = error.collected().unwrap();
            assert_eq!(collected.stdout, b"data\n");
            assert_eq!(collected.stderr[0], b"careful\n");
        }
        let mut reader = sh("echo data").capture().reader().unwrap();
        let mut data = String::new();
        reader.read_to_string(&mut data).unwrap_err();
        assert_eq!(data, "data\n");
    });
}

#[test]
fn output_that_does_not_fit_into_memory_is_an_error_with_what_did() {
    isolated(
        "output_that_does_not_fit_into_memory_is_an_error_with_what_did",
        || {
            use pipewright::{Resource, Rlimit};
            let limits = rustix::process::getrlimit(Resource::As);
            let running = Command::new("yes").capture().spawn().unwrap();
            let text = std::fs::read_to_string("/proc/self/statm").unwrap();
            let pages: u64 = text.split_whitespace().next().unwrap().parse().unwrap();
            let present = pages * rustix::param::page_size() as u64;
            let little = Rlimit {
                current: Some(present + (24 << 20)),
                ..limits
            };
            rustix::process::setrlimit(Resource::As, little).unwrap();
            let error = running.output().unwrap_err();
            rustix::process::setrlimit(Resource::As, limits).unwrap();
            assert!(matches!(error, Error::CaptureFailed { .. }), "{error}");
            let collected = error.collected().unwrap();
            assert!(collected.stdout.starts_with(b"y\ny\n") && collected.bytes() > 1 << 20);
        },
    );
}
