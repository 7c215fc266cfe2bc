//! Whoever feeds a stage is killed: the stage never takes the part that it got for the whole.

mod support;

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use support::pipewright;
use testing::{campaign, watchdog};

/// The process of `pipewright run` that stands for a stage: the one whose command line has these words.
fn feeder(run: u32, words: &[&str]) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{run}/task/{run}/children")).ok()?;
    children.split_whitespace().find_map(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let line: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        line.windows(words.len())
            .any(|window| window == words)
            .then(|| pid.parse().unwrap())
    })
}

/// Starts the command on an input that does not end, kills `whom` after a while that is another one each
/// time, and has the output and the success looked at.
fn killed_at_any_moment(
    rounds: u32,
    start: impl Fn(&Path) -> Command,
    whom: impl Fn(u32) -> Option<u32>,
    is_fine: impl Fn(&Path, &[u8], bool),
) {
    let _watchdog = watchdog();
    for round in 0..rounds {
        let directory = tempfile::tempdir().unwrap();
        let mut child = start(directory.path())
            .current_dir(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut output = Vec::new();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let over = &over;
            let lines = (0_u32..).map(|number| format!("line {number} of many\n"));
            scope.spawn(move || {
                // A NUL: the input is no text.
                let _ = stdin.write_all(b"\0\n");
                lines
                    .map(|line| stdin.write_all(line.as_bytes()))
                    .find(|written| written.is_err() || over.load(Relaxed));
            });
            std::thread::sleep(Duration::from_micros(u64::from(round * 1709 % 40_000)));
            let pid = loop {
                if let Some(pid) = whom(child.id()) {
                    break pid;
                }
                std::thread::yield_now();
            };
            kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
            // A recording takes the whole of its input all the same.
            over.store(true, Relaxed);
            let mut stdout = child.stdout.take().unwrap();
            stdout.read_to_end(&mut output).unwrap();
        });
        let status = child.wait().unwrap();
        is_fine(directory.path(), &output, status.success());
    }
}

/// What tells its result at the end of its input tells none.
fn nothing_is_told(_: &Path, output: &[u8], succeeded: bool) {
    let shown = String::from_utf8_lossy(output);
    assert!(output.is_empty() && !succeeded, "{succeeded}: {shown}");
}

fn workers(arguments: &'static [&'static str]) -> impl Fn(&Path) -> Command {
    move |_| {
        let mut command = pipewright();
        command.arg("workers").args(arguments);
        command
    }
}

#[test]
fn a_command_that_runs_once_does_not_take_a_cut_input_for_the_whole() {
    // The second is text for a shell, which starts others that are fed by each other.
    for stage in [
        &["--", "wc", "-c"][..],
        &["--shell", "cat | cat | wc -c; echo end"],
    ] {
        let start = |_: &Path| {
            let mut command = pipewright();
            command
                .args(["workers", "-j2", "--block", "64K", "--assume-local"])
                .args(stage);
            command
        };
        killed_at_any_moment(campaign(12, 300), start, Some, nothing_is_told);
    }
}

#[test]
fn a_command_that_makes_one_of_the_outputs_does_not_either() {
    // The last line of uniq is given at the end only, and a cut one would not be a line of the input.
    let start = workers(&["-j2", "--block", "16K", "--", "uniq"]);
    killed_at_any_moment(campaign(12, 300), start, Some, |_, output, succeeded| {
        assert!(!succeeded);
        let text = String::from_utf8_lossy(output);
        let expected: String = std::iter::once("\0\n".to_owned())
            .chain((0..text.lines().count()).map(|number| format!("line {number} of many\n")))
            .collect();
        assert!(
            expected.starts_with(&*text),
            "{}",
            &text[text.len().saturating_sub(100)..]
        );
    });
}

#[test]
fn what_runs_chunks_does_nothing_with_half_a_line() {
    let start = workers(&[
        "-j3",
        "--block",
        "256",
        "--",
        "xargs",
        "-d",
        "\\n",
        "-n",
        "1",
        "sh",
        "-c",
        "echo \"$0\" >>\"done\"",
    ]);
    killed_at_any_moment(campaign(12, 300), start, Some, |place, _, succeeded| {
        assert!(!succeeded);
        let done = std::fs::read_to_string(place.join("done")).unwrap_or_default();
        for line in done
            .lines()
            .filter(|line| !line.trim_matches('\0').is_empty())
        {
            assert!(
                line.starts_with("line ") && line.ends_with(" of many"),
                "{line}"
            );
        }
    });
}

/// `pipewright run` with the stage in the midst of others; the first is a keeper or workers of its own.
fn in_run(options: &'static [&'static str], stage: &'static str) -> impl Fn(&Path) -> Command {
    move |_| {
        let mut command = pipewright();
        command.args(["run", "--summary", "never"]).args(options);
        command.arg(format!("cat | {stage} | cat"));
        command
    }
}

#[test]
fn a_stage_of_run_that_workers_run_does_not_either() {
    // It is no text, so it runs once.
    let start = in_run(&["--workers", "2=2"], "grep -c line");
    killed_at_any_moment(
        campaign(12, 300),
        start,
        |run| feeder(run, &["workers", "--jobs"]),
        nothing_is_told,
    );
}

#[test]
fn a_recorded_stage_does_not_either() {
    let start = in_run(&["--record", "kept"], "bash -c 'cat | wc -c'");
    killed_at_any_moment(
        campaign(12, 300),
        start,
        |run| feeder(run, &["--stage", "2"]),
        nothing_is_told,
    );
}

#[test]
fn a_stage_that_may_be_started_again_does_not_either() {
    let start = in_run(&["--restart", "replay"], "bash -c 'cat | wc -c'");
    killed_at_any_moment(
        campaign(12, 300),
        start,
        |run| feeder(run, &["--stage", "2"]),
        nothing_is_told,
    );
}

/// The command is killed with its feeder, however the two are killed, and nobody stays behind.
#[test]
fn the_one_that_watches_ends_with_what_it_watches() {
    let _watchdog = watchdog();
    let mut child = pipewright()
        .args([
            "workers",
            "-j2",
            "--block",
            "1K",
            "--assume-local",
            "--",
            "wc",
            "-c",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&b"some line\n".repeat(1000)).unwrap();
    let list = format!("/proc/{0}/task/{0}/children", child.id());
    let named =
        |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let guardian = loop {
        let children = std::fs::read_to_string(&list).unwrap();
        if let Some(pid) = children
            .split_whitespace()
            .find(|pid| named(pid) == "guardian\n")
        {
            break pid.to_owned();
        }
    };
    // It does not mind what ends others.
    let pid = Pid::from_raw(guardian.parse().unwrap()).unwrap();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        kill_process(pid, signal).unwrap();
    }
    assert_eq!(named(&guardian), "guardian\n");
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    let mut output = Vec::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut output)
        .unwrap();
    assert!(output.is_empty(), "{}", String::from_utf8_lossy(&output));
    while named(&guardian) == "guardian\n" {
        std::thread::yield_now();
    }
}
