//! What pipewright writes itself: to files as they grow, to streams of every kind, and never in silence
//! where it cannot.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use pipewright_observe::PipeHandle;
use rustix::fs::{OFlags, fcntl_setfl};
use support::{pipewright, run};
use testing::{shell_status, stderr, wait_for_lines, watchdog};

/// Runs `"$@"`, the command under test with these arguments, in a script of bash.
fn by_bash(script: &str, arguments: &[&str]) -> Output {
    let mut bash = Command::new("bash");
    bash.args(["-c", script, "bash", env!("CARGO_BIN_EXE_pipewright")]);
    bash.args(arguments).stdin(Stdio::null()).output().unwrap()
}

const RECORDINGS: [&str; 4] = ["--json", "--samples", "--trace", "--report"];

/// The option with its file: `--json` takes it behind `=` only.
fn option(name: &str, file: &str) -> String {
    format!("{name}={file}")
}

#[test]
fn a_full_target_is_told_by_name_and_is_a_failure_unless_the_pipeline_has_one_of_its_own() {
    let _watchdog = watchdog();
    for name in RECORDINGS {
        let option = option(name, "/dev/full");
        for (text, status) in [
            ("true", 125),
            ("sleep 0.2 | true", 125),
            ("exit 3", 3),
            ("! true", 1),
            ("! false", 125),
            ("kill -TERM $$", 143),
        ] {
            let output = run(&[&option, "-q", text]);
            assert_eq!(output.status.code(), Some(status), "{option} {text}");
            let told = stderr(&output);
            let sentence = "cannot write to /dev/full: No space left on device";
            assert!(told.contains(sentence), "{option} {text}: {told}");
            assert_eq!(told.lines().count(), 1, "once: {told}");
        }
        let output = run(&[&option, "-q", "--timeout", "0.1", "sleep 60"]);
        assert_eq!(output.status.code(), Some(124), "{option}");
    }
}

#[test]
fn a_recording_that_cannot_be_written_leaves_the_others_whole() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    for broken in RECORDINGS {
        let options = RECORDINGS.map(|name| match name == broken {
            true => option(name, "/dev/full"),
            false => option(name, &file(&name[2..])),
        });
        let mut arguments: Vec<&str> = options.iter().map(String::as_str).collect();
        arguments.extend(["-q", "sleep 0.3 | sh -c 'cat; exit 7'"]);
        assert_eq!(run(&arguments).status.code(), Some(7), "{broken}");
        for name in RECORDINGS.into_iter().filter(|name| *name != broken) {
            let text = fs::read_to_string(file(&name[2..])).unwrap();
            let whole = match name {
                "--report" => text.ends_with("</html>"),
                "--samples" => text.lines().all(is_json),
                _ => is_json(&text),
            };
            assert!(whole && !text.is_empty(), "{name} beside {broken}: {text}");
        }
    }
}

#[test]
fn one_file_for_two_recordings_is_refused_before_anything_runs() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (record, witness) = (file("record"), file("ran"));
    fs::write(&record, "an older one").unwrap();
    fs::hard_link(&record, file("linked")).unwrap();
    std::os::unix::fs::symlink(&record, file("symbolic")).unwrap();
    let touch = format!("touch {witness}");
    let refused = |options: &[&str]| {
        let output = run(options);
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(125), "{options:?}: {told}");
        assert!(told.contains("would both write to"), "{options:?}: {told}");
        assert!(!Path::new(&witness).exists(), "{options:?}");
        assert_eq!(fs::read_to_string(&record).unwrap(), "an older one");
    };
    for (index, one) in RECORDINGS.iter().enumerate() {
        for other in &RECORDINGS[index + 1..] {
            for name in ["record", "./record", "linked", "symbolic"] {
                let options = [option(one, &record), option(other, &file(name))];
                refused(&[&options[0], &options[1], "-q", &touch]);
            }
        }
    }
    let json = file("compared.json");
    fs::hard_link(&record, &json).unwrap();
    refused(&[
        "--compare",
        "--export",
        &json,
        "--export",
        &json,
        &touch,
        "true",
    ]);
    // What is no file of its own takes any number, one after the other.
    for target in ["-", "/dev/null"] {
        let output = run(&[
            &option("--json", target),
            &option("--samples", target),
            "-q",
            "true",
        ]);
        assert!(output.status.success(), "{}", stderr(&output));
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(text).is_ok()
}

#[test]
fn what_cannot_be_printed_is_an_error_that_names_stdout() {
    let _watchdog = watchdog();
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["help", "run"],
        &["run", "--help"],
        &["run", "-h"],
        &["run", "--dry-run", "true | cat"],
        &["ls"],
        &["ls", "--json"],
        &["limits"],
        &["completions", "bash"],
        &["man"],
        &["run", "-q", "--json=-", "true"],
        &["run", "-q", "--samples=-", "true"],
        &["run", "-q", "--trace=-", "true"],
        &["run", "-q", "--report=-", "true"],
    ] {
        let output = by_bash("\"$@\" >/dev/full", arguments);
        assert_eq!(output.status.code(), Some(125), "{arguments:?}");
        let told = stderr(&output);
        assert!(
            told.contains("cannot write to stdout: No space left on device"),
            "{arguments:?}: {told}"
        );
        let output = by_bash("\"$@\" >&-", arguments);
        assert_eq!(output.status.code(), Some(125), "{arguments:?}");
        let told = stderr(&output);
        assert!(
            told.contains("cannot write to stdout: Bad file descriptor"),
            "{arguments:?}: {told}"
        );
    }
    // Where it is stderr that is full, nobody can be told, but for the status.
    for (text, status) in [("true", 125), ("exit 3", 3)] {
        let output = by_bash("\"$@\" 2>/dev/full", &["run", "--json", text]);
        assert_eq!(output.status.code(), Some(status), "{text}");
    }
    // A reader that has gone wanted no more.
    let output = by_bash("set -o pipefail; \"$@\" | true", &["completions", "bash"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn a_file_size_limit_is_an_error_of_the_record_and_a_signal_for_the_stages() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    for name in RECORDINGS {
        let path = directory.path().join(&name[2..]);
        let option = option(name, path.to_str().unwrap());
        for (text, status) in [("sleep 0.3 | cat", 125), ("sleep 0.3 | sh -c 'exit 3'", 3)] {
            // In bash's blocks of 1024 bytes; the JSON is longer than none at all.
            let blocks = if name == "--json" { 0 } else { 1 };
            let script = format!("ulimit -f {blocks}; \"$@\"");
            let output = by_bash(&script, &["run", "-q", &option, text]);
            let told = stderr(&output);
            assert_eq!(shell_status(&output), status, "{option} {text}: {told}");
            let sentence = format!("cannot write to {}: File too large", path.display());
            assert!(told.contains(&sentence), "{option} {text}: {told}");
        }
    }
    testing::signals_at_their_default();
    let file = directory.path().join("much");
    let text = format!("head -c 5000 /dev/zero > {}", file.display());
    let output = by_bash("ulimit -f 1; \"$@\"", &["run", "-q", &text]);
    assert_eq!(shell_status(&output), 128 + 25, "SIGXFSZ");
}

#[test]
fn non_blocking_streams_are_waited_for() {
    let _watchdog = watchdog();
    let long = format!("sh -c 'sleep 0.3' {} | cat", "x".repeat(6000));
    for (arguments, is_whole) in [
        (&["completions", "bash"][..], "complete -F"),
        (&["man", "run"], "EXIT STATUS"),
        (&["run", "--help"], "Exit status"),
        (&["run", "-q", "--json=-", &long], "\"verdict\""),
        (&["run", "-q", "--samples=-", &long], "\n"),
        (&["run", "-q", "--trace=-", &long], "\n]}\n"),
        (&["run", "-q", "--report=-", "true"], "</html>"),
    ] {
        let whole = read_late(pipewright().args(arguments), true);
        assert!(whole.len() > 4096, "{arguments:?}: {}", whole.len());
        assert!(whole.contains(is_whole), "{arguments:?}: {whole}");
        if arguments.contains(&"--samples=-") {
            assert!(whole.lines().all(is_json), "{whole}");
        }
    }
    let whole = read_late(pipewright().args(["run", "--json", &long]), false);
    assert!(is_json(&whole) && whole.len() > 4096, "{whole}");
}

/// What is written to a small, non-blocking pipe as stdout, or as stderr, whose reader begins when it
/// is full.
fn read_late(command: &mut Command, to_stdout: bool) -> String {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let handle = PipeHandle::of_end(&reader).unwrap();
    handle.set_capacity(4096).unwrap();
    fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    command.stdin(Stdio::null());
    if to_stdout {
        command.stdout(writer).stderr(Stdio::null());
    } else {
        command.stdout(Stdio::null()).stderr(writer);
    }
    let mut child = command.spawn().unwrap();
    // The command holds the writer.
    *command = pipewright();
    while !handle.level().unwrap().full && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    let mut whole = String::new();
    reader.read_to_string(&mut whole).unwrap();
    assert!(child.wait().unwrap().success(), "{command:?}");
    whole
}

#[test]
fn samples_and_trace_grow_while_the_pipeline_runs() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let (samples, trace) = (directory.path().join("s"), directory.path().join("t"));
    let mut child = pipewright()
        .args(["run", "-q", "-i", "100ms", "--samples"])
        .arg(&samples)
        .arg("--trace")
        .arg(&trace)
        .arg("until read -r -t 0.05 line || [ $? -le 128 ]; do seq 20000; done | cat >/dev/null")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for_lines(&samples, 20);
    wait_for_lines(&trace, 10);
    assert!(child.try_wait().unwrap().is_none(), "it still runs");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(is_json(&fs::read_to_string(&trace).unwrap()));
}

#[test]
fn an_older_report_stays_until_there_is_a_new_one() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("report.html");
    fs::write(&file, "an older one, ".repeat(10_000)).unwrap();
    let mut child = pipewright()
        .args(["run", "-q", "--report"])
        .arg(&file)
        .arg("sh -c 'echo started; cat'")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut started = [0; 8];
    child
        .stdout
        .take()
        .unwrap()
        .read_exact(&mut started)
        .unwrap();
    assert!(fs::read_to_string(&file).unwrap().starts_with("an older"));
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    let page = fs::read_to_string(&file).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
}

#[test]
fn what_goes_to_stdout_comes_behind_what_the_pipeline_writes() {
    let _watchdog = watchdog();
    for (name, first) in [
        ("--json", "{\"version\""),
        ("--samples", "{\"version\""),
        ("--trace", "{\"displayTimeUnit\""),
        ("--report", "<!DOCTYPE html>"),
    ] {
        let text = "{ sleep 0.3; echo data; echo end; } | cat";
        let output = run(&[&option(name, "-"), "-q", text]);
        let told = String::from_utf8(output.stdout).unwrap();
        let record = told.strip_prefix("data\nend\n");
        assert!(
            record.is_some_and(|it| it.starts_with(first)),
            "{name}: {told}"
        );
    }
}

#[test]
fn another_name_of_stdout_is_stdout() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    for (name, last) in [
        ("--json", "}\n"),
        ("--samples", "}\n"),
        ("--trace", "]}\n"),
        ("--report", "</html>"),
    ] {
        for target in ["/dev/stdout", "/proc/self/fd/1", out.to_str().unwrap()] {
            let script = format!("\"$@\" >{}", out.display());
            let text = "{ sleep 0.2; echo data; } | cat";
            let output = by_bash(&script, &["run", "-q", &option(name, target), text]);
            assert!(output.status.success(), "{}", stderr(&output));
            let whole = fs::read_to_string(&out).unwrap();
            assert!(
                whole.starts_with("data\n") && whole.ends_with(last),
                "{name} {target}: {whole}"
            );
        }
    }
}

#[test]
fn a_reader_of_a_recording_that_has_gone_wanted_no_more() {
    let _watchdog = watchdog();
    for name in RECORDINGS {
        let script = "set -o pipefail; \"$@\" | sleep 0";
        let output = by_bash(script, &["run", "-q", &option(name, "-"), "sleep 0.3"]);
        assert_eq!(
            (output.status.code(), stderr(&output)),
            (Some(0), String::new()),
            "{name}"
        );
    }
}

#[test]
fn a_recording_that_nobody_takes_does_not_keep_a_signal_from_ending_pipewright() {
    let _watchdog = watchdog();
    let (reader, writer) = std::io::pipe().unwrap();
    let handle = PipeHandle::of_end(&reader).unwrap();
    handle.set_capacity(4096).unwrap();
    let mut child = pipewright();
    child.args(["run", "-q", "--report=-", "true"]);
    let mut child = child.stdin(Stdio::null()).stdout(writer).spawn().unwrap();
    while !handle.level().unwrap().full {
        assert!(
            child.try_wait().unwrap().is_none(),
            "the page is longer than the pipe"
        );
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(15)
    );
    drop(reader);
}

#[test]
fn a_pipeline_from_a_non_blocking_stdin_is_waited_for() {
    let _watchdog = watchdog();
    let (reader, mut writer) = std::io::pipe().unwrap();
    fcntl_setfl(&reader, OFlags::NONBLOCK).unwrap();
    let child = pipewright()
        .args(["run", "-q", "-f", "-"])
        .stdin(reader)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    while testing::state(child.id()) != Some('S') {
        std::thread::yield_now();
    }
    writer.write_all(b"echo read |").unwrap();
    while testing::state(child.id()) != Some('S') {
        std::thread::yield_now();
    }
    writer.write_all(b" sed s/r/R/\n").unwrap();
    drop(writer);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"Read\n");
}
