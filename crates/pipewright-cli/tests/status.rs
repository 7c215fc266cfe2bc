//! The status that `pipewright run` ends with, its deadlines and its signals.

mod support;

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use pipewright::Signal;
use support::{pipewright, run, stderr, wait_for_lines, watchdog};

fn code(arguments: &[&str]) -> Option<i32> {
    run(arguments).status.code()
}

#[test]
fn the_rightmost_real_failure_is_the_status() {
    let _watchdog = watchdog();
    assert_eq!(code(&["exit 3 | exit 5 | true"]), Some(5));
    assert_eq!(code(&["exit 3 | true"]), Some(3));
    assert_eq!(code(&["true | sh -c 'kill -9 $$' | true"]), Some(137));
    assert_eq!(code(&["--status", "last", "exit 3 | true"]), Some(0));
    assert_eq!(code(&["! exit 3 | true"]), Some(0));
    assert_eq!(code(&["! true | true"]), Some(1));
}

#[test]
fn a_stage_that_its_reader_told_to_stop_did_not_fail() {
    let _watchdog = watchdog();
    let output = run(&["yes | head -1"]);
    assert_eq!(
        (
            output.status.code(),
            &output.stdout[..],
            stderr(&output).as_str()
        ),
        (Some(0), &b"y\n"[..], "")
    );
    assert_eq!(code(&["{ yes; } | cat | head -1"]), Some(0));
    assert_eq!(code(&["--status", "any", "yes | head -1"]), Some(141));
    // A real failure to its left is not hidden, and the last stage is not forgiven.
    assert_eq!(code(&["exit 3 | yes | head -1"]), Some(3));
    assert_eq!(code(&["true | sh -c 'kill -PIPE $$'"]), Some(141));
}

#[test]
fn a_program_that_is_missing_or_not_executable_is_told_wherever_it_stands() {
    let _watchdog = watchdog();
    for text in [
        "no-such | cat | wc -c",
        "seq 5 | no-such | wc -c",
        "yes | cat | no-such",
    ] {
        let output = run(&[text]);
        assert_eq!(output.status.code(), Some(127), "{text}");
        assert!(stderr(&output).contains("not found"), "{}", stderr(&output));
    }
    let output = run(&["-q", "echo x | /etc/passwd"]);
    assert_eq!(output.status.code(), Some(126));
    assert!(
        stderr(&output).contains("cannot start \"/etc/passwd\""),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_pipeline_that_takes_too_long_is_ended_with_124() {
    let _watchdog = watchdog();
    let begin = Instant::now();
    let output = run(&["--timeout", "0.2", "sleep 60 | cat"]);
    assert_eq!(output.status.code(), Some(124));
    assert!(stderr(&output).contains("timed out"), "{}", stderr(&output));
    // Stages that do not mind SIGTERM get SIGKILL later.
    let stubborn = "bash -c 'trap \"\" TERM; while :; do sleep 1; done' | cat";
    assert_eq!(
        code(&["--timeout", "0.2", "--kill-after", "0.2", stubborn]),
        Some(124)
    );
    // A process that somebody left behind holds the pipe, and is not waited for.
    let leaves = "{ sleep 60 2>/dev/null & echo $!; } | { read pid; sleep 60; }";
    assert_eq!(code(&["--timeout", "0.3", leaves]), Some(124));
    assert!(begin.elapsed() < Duration::from_secs(50));
    assert_eq!(code(&["--timeout", "60", "true | true"]), Some(0));
}

/// A stage that tells which signal it gets, waits for a second one, and ends.
const RECORDER: &str = r#"
for s in INT TERM HUP QUIT; do trap "echo $s >>got; sleep 0.2; exit 0" $s; done
echo ready >>ready
while :; do sleep 0.02; done
"#;

fn start(text: &str, directory: &std::path::Path) -> Child {
    let mut command = pipewright();
    command.args(["run", text]).current_dir(directory);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn send(child: &Child, signal: Signal) {
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

#[test]
fn a_signal_reaches_the_stages_once_and_then_ends_pipewright_too() {
    let _watchdog = watchdog();
    for (signal, name) in [
        (Signal::TERM, "TERM"),
        (Signal::INT, "INT"),
        (Signal::HUP, "HUP"),
        (Signal::QUIT, "QUIT"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("recorder"), RECORDER).unwrap();
        let child = start("bash recorder | bash recorder", directory.path());
        wait_for_lines(&directory.path().join("ready"), 2);
        send(&child, signal);
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            output.status.signal(),
            Some(signal.as_raw()),
            "{}",
            stderr(&output)
        );
        let got = std::fs::read_to_string(directory.path().join("got")).unwrap();
        assert_eq!(got, format!("{name}\n{name}\n"));
    }
}

#[test]
fn pipewright_waits_for_stages_that_take_their_time_to_end() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let slow = "{ trap 'sleep 0.3; echo tidied >tidy; exit 0' TERM; echo ready >ready; while :; do sleep 0.02; done; } | cat";
    let child = start(slow, directory.path());
    wait_for_lines(&directory.path().join("ready"), 1);
    send(&child, Signal::TERM);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(Signal::TERM.as_raw()));
    assert_eq!(
        std::fs::read_to_string(directory.path().join("tidy")).unwrap(),
        "tidied\n"
    );
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    // As nohup does it.
    let script = format!(
        "trap '' HUP; exec {} run '{{ echo ready >ready; cat; }} | cat'",
        env!("CARGO_BIN_EXE_pipewright")
    );
    let mut child = std::process::Command::new("bash")
        .args(["-c", &script])
        .current_dir(directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for_lines(&directory.path().join("ready"), 1);
    send(&child, Signal::HUP);
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"still here")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"still here");
}

#[test]
fn the_pipeline_goes_on_when_pipewright_is_killed() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let text = "{ echo ready >ready; until test -e go; do sleep 0.02; done; seq 100000; } | cat | tee all | tail -1 >last";
    let mut child = start(text, directory.path());
    wait_for_lines(&directory.path().join("ready"), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::write(directory.path().join("go"), "").unwrap();
    assert_eq!(
        wait_for_lines(&directory.path().join("last"), 1),
        "100000\n"
    );
    let all = std::fs::read_to_string(directory.path().join("all")).unwrap();
    assert_eq!(all.lines().count(), 100_000);
}

#[test]
fn no_byte_passes_through_pipewright_and_direct_stages_are_its_children() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let mut command = pipewright();
    // Not watched: a look would open an end for a moment.
    command.args([
        "run",
        "--progress",
        "never",
        "--summary",
        "never",
        "tail -f /dev/null | grep x",
    ]);
    command
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let names = loop {
        let pids = std::fs::read_to_string(&children).unwrap();
        let mut names: Vec<String> = pids
            .split_whitespace()
            .filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).ok())
            .collect();
        names.sort();
        if names == ["grep\n", "tail\n"] {
            break names;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(names.len(), 2, "no shell in between");
    let link = |pid: &str, number: &str| std::fs::read_link(format!("/proc/{pid}/fd/{number}"));
    let pids = std::fs::read_to_string(&children).unwrap();
    let reader = pids
        .split_whitespace()
        .find(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap() == "grep\n");
    let between = link(reader.unwrap(), "0").unwrap();
    let own = child.id().to_string();
    let held: Vec<_> = std::fs::read_dir(format!("/proc/{own}/fd"))
        .unwrap()
        .flatten()
        .filter_map(|entry| link(&own, entry.file_name().to_str()?).ok())
        .collect();
    send(&child, Signal::TERM);
    child.wait_with_output().unwrap();
    assert!(!held.contains(&between), "{held:?}");
}
