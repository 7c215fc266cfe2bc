//! Signals to `pipewright run`, and its deadlines.

mod support;

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use pipewright::Signal;
use support::{pipewright, run};
use testing::{
    lives, signals_at_their_default, stderr, wait_for_lines, watchdog, with_time_enough,
};

/// Starts a pipeline whose files are in `directory`.
fn start(arguments: &[&str], directory: &Path) -> Child {
    signals_at_their_default();
    let mut command = pipewright();
    command.arg("run").args(arguments).current_dir(directory);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn send(child: &Child, signal: Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}

fn ended_by(output: &Output, signal: Signal) {
    assert_eq!(
        output.status.signal(),
        Some(signal.as_raw()),
        "{}: {}",
        output.status,
        stderr(output)
    );
}

/// A stage that writes down which signals it gets, until the file `go` is there. It starts nobody
/// meanwhile: a signal in the middle of a fork would be written down by both.
fn recorder(file: &str) -> String {
    format!(
        "{{ mkfifo {file}.wait; {{ \
         for s in INT TERM HUP QUIT; do trap \"echo $s >>{file}\" $s; done; echo ready >>ready; \
         until test -e go; do read -t 0.02 -u 7; done; }} 7<>{file}.wait; }}"
    )
}

#[test]
fn a_signal_reaches_every_stage_once_and_in_the_end_pipewright_dies_of_it() {
    let _watchdog = watchdog();
    let signals = [
        (Signal::TERM, "TERM"),
        (Signal::INT, "INT"),
        (Signal::HUP, "HUP"),
        (Signal::QUIT, "QUIT"),
    ];
    for (index, (signal, name)) in signals.into_iter().enumerate() {
        let (next, next_name) = signals[(index + 1) % signals.len()];
        let directory = tempfile::tempdir().unwrap();
        let at = |file: &str| directory.path().join(file);
        let text = ["first", "second", "third"].map(recorder).join(" | ");
        let child = start(&[&text], directory.path());
        wait_for_lines(&at("ready"), 3);
        send(&child, signal);
        for file in ["first", "second", "third"] {
            wait_for_lines(&at(file), 1);
        }
        // One that came twice would be written down before this one is.
        send(&child, next);
        for file in ["first", "second", "third"] {
            let got = wait_for_lines(&at(file), 2);
            assert_eq!(got, format!("{name}\n{next_name}\n"), "{file}");
        }
        assert!(lives(child.id()), "it waits for its stages");
        std::fs::write(at("go"), "").unwrap();
        // Of the one that asks it to end; a key's asks only whom it kills.
        let asks = [signal, next]
            .into_iter()
            .find(|it| [Signal::TERM, Signal::HUP].contains(it));
        ended_by(&child.wait_with_output().unwrap(), asks.unwrap());
    }
}

#[test]
fn stages_that_die_of_the_signal_are_told_of() {
    let _watchdog = watchdog();
    for (signal, name) in [
        (Signal::TERM, "SIGTERM"),
        (Signal::INT, "SIGINT"),
        (Signal::HUP, "SIGHUP"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        // It does not read what ends when the stage before it has died, and so ends of the signal.
        let text = "tail -f /dev/null | { echo ready >ready; tail -f /dev/null; }";
        let child = start(&[text], directory.path());
        wait_for_lines(&directory.path().join("ready"), 1);
        send(&child, signal);
        let output = child.wait_with_output().unwrap();
        ended_by(&output, signal);
        let said = stderr(&output);
        // A key is no failure of the stage.
        let (told, not_told) = match name {
            "SIGINT" => ("interrupted after", "failed"),
            _ => ("stage 2 failed: killed by", "interrupted"),
        };
        assert!(said.contains(told) && !said.contains(not_told), "{said}");
        assert!(said.contains(&format!("killed by {name}")), "{said}");
    }
}

#[test]
fn pipewright_waits_for_stages_that_take_their_time_to_end() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let slow = "{ trap 'sleep 0.3; echo tidied >tidy; exit 0' TERM; echo ready >ready; \
                while :; do sleep 0.02; done; } | cat";
    let child = start(&[slow], directory.path());
    wait_for_lines(&directory.path().join("ready"), 1);
    send(&child, Signal::TERM);
    ended_by(&child.wait_with_output().unwrap(), Signal::TERM);
    assert_eq!(
        std::fs::read_to_string(directory.path().join("tidy")).unwrap(),
        "tidied\n"
    );
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored_by_all() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    // As nohup does it. The first stage has no shell in between; it tells what it ignores.
    let script = format!(
        "trap '' HUP; exec {} run 'grep SigIgn - /proc/self/status | cat | {{ echo ready >ready; cat; }}'",
        env!("CARGO_BIN_EXE_pipewright")
    );
    let mut child = Command::new("bash")
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
        .write_all(b"SigIgn of mine\n")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("SigIgn of mine"), "{said}");
    let mask = said.lines().last().unwrap().rsplit('\t').next().unwrap();
    assert_eq!(u64::from_str_radix(mask, 16).unwrap() & 1, 1, "{said}");
}

#[test]
fn a_stage_that_is_stopped_ends_all_the_same() {
    let _watchdog = watchdog();
    for signal in [Signal::TERM, Signal::HUP] {
        let directory = tempfile::tempdir().unwrap();
        let text = "{ tail -f /dev/null; } | tail -f /dev/null | { echo ready >ready; cat; }";
        let child = start(&[text], directory.path());
        wait_for_lines(&directory.path().join("ready"), 1);
        let stages = format!("/proc/{0}/task/{0}/children", child.id());
        let stages = std::fs::read_to_string(stages).unwrap();
        for stage in stages.split_whitespace().take(2) {
            let stage = rustix::process::Pid::from_raw(stage.parse().unwrap()).unwrap();
            rustix::process::kill_process(stage, Signal::STOP).unwrap();
        }
        send(&child, signal);
        ended_by(&child.wait_with_output().unwrap(), signal);
    }
}

#[test]
fn the_pipeline_goes_on_when_pipewright_is_killed() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    // The last stage is the last to start.
    let text = "{ until test -e go; do sleep 0.02; done; seq 100000; } | cat | tee all \
                | { echo ready >ready; tail -n 1 >last; }";
    let mut child = start(&[text], directory.path());
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
fn a_pipeline_that_takes_too_long_is_ended_with_124() {
    let _watchdog = watchdog();
    for text in [
        "sleep 1000 | cat",
        "sleep 1000",
        "! sleep 1000 | cat",
        // One that is stopped gets it all the same.
        "sh -c 'kill -STOP $$' | cat",
    ] {
        let output = run(&["--timeout", "0.2", text]);
        assert_eq!(
            output.status.code(),
            Some(124),
            "{text}: {}",
            stderr(&output)
        );
        assert!(
            stderr(&output).contains("timed out after 0.20 s"),
            "{}",
            stderr(&output)
        );
    }
    // One that ends in time is none.
    assert_eq!(
        run(&["--timeout", "1000", "true | exit 3"]).status.code(),
        Some(3)
    );
    for limit in ["9999999999999", "0"] {
        let output = run(&["--timeout", limit, "--kill-after", "0", "sleep 0.1"]);
        assert_eq!(output.status.code(), Some(0), "{limit}");
    }
}

/// Runs a pipeline with a time limit that is doubled until the file `armed` is there when it has
/// ended: the limit counts from the start, and nobody knows how long a program takes to be loaded.
fn run_armed(directory: &Path, text: &str, change: impl Fn(&mut Command, &str)) -> Output {
    let mut limit = 0.3;
    loop {
        let mut command = pipewright();
        command.arg("run").current_dir(directory);
        change(&mut command, &limit.to_string());
        let output = command.arg(text).stdin(Stdio::null()).output().unwrap();
        if directory.join("armed").exists() {
            return output;
        }
        limit *= 2.0;
    }
}

#[test]
fn stages_that_mind_no_sigterm_are_killed_later() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let stubborn =
        "sh -c 'trap \"\" TERM; echo >armed; while :; do sleep 0.05; done' | tail -f /dev/null";
    let output = run_armed(directory.path(), stubborn, |command, limit| {
        command.args(["--timeout", limit, "--kill-after", "0.1", "--json"]);
    });
    assert_eq!(output.status.code(), Some(124));
    let run: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(run["timed_out"], true);
    let signals = [&run["stages"][0], &run["stages"][1]].map(|stage| &stage["end"]["signal"]);
    assert_eq!(signals, ["SIGKILL", "SIGTERM"]);
}

#[test]
fn a_process_that_a_stage_left_behind_is_not_waited_for() {
    let _watchdog = watchdog();
    // It holds the first stage's stdout, the pipe. Its parent ends, so that no signal to what the
    // stages have started finds it.
    let text = "{ (sleep 1000 2>/dev/null & echo $! >>left); echo >armed; exec sleep 1000; } | cat";
    for options in [&[][..], &["--kill-after", "0.1"]] {
        // The signal follows whoever has appeared shortly before it, so the time has to be long enough.
        with_time_enough(|time| {
            let directory = tempfile::tempdir().unwrap();
            let mut command = pipewright();
            command.arg("run").current_dir(directory.path());
            command.args(["--timeout", &time.as_secs_f64().to_string()]);
            let output = command
                .args(options)
                .arg(text)
                .stdin(Stdio::null())
                .output();
            assert_eq!(output.unwrap().status.code(), Some(124));
            let left = std::fs::read_to_string(directory.path().join("left")).unwrap_or_default();
            let left = left.trim().parse().ok().filter(|&left| lives(left))?;
            let left = rustix::process::Pid::from_raw(i32::try_from(left).unwrap()).unwrap();
            rustix::process::kill_process(left, Signal::KILL).unwrap();
            directory.path().join("armed").exists().then_some(())
        });
    }
}
