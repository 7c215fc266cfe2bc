//! Who gets a signal: the stages, each once, and nobody else; wherever pipewright runs.

mod support;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use pipewright::Signal;
use rustix::process::{Pid, kill_process, kill_process_group};
use support::pipewright;
use testing::{
    Fault, PATIENCE, campaign, is_root, lives, signals_at_their_default, state, stderr,
    wait_for_lines, watchdog, write_script,
};

/// Starts a pipeline in a process group of its own, with its files in `directory`.
fn start_in_a_group(text: &str, directory: &Path) -> Child {
    signals_at_their_default();
    let mut command = pipewright();
    command.args(["run", text]).current_dir(directory);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    command.spawn().unwrap()
}

/// A program that says when it runs, and stays: one process, without a child that somebody would have
/// to find.
const SAYS_UP: &str = "#!/bin/sh\necho up >ready\nexec tail -f /dev/null\n";

/// A stage that writes down which signals it gets until the file `go` is there. It starts nobody.
fn recorder(file: &str) -> String {
    format!(
        "{{ mkfifo {file}.wait; {{ \
         for s in INT TERM HUP QUIT; do trap \"echo $s >>{file}\" $s; done; echo ready >>ready; \
         until test -e go; do read -t 0.02 -u 7; done; true; }} 7<>{file}.wait; }}"
    )
}

#[test]
fn a_stage_gets_once_what_its_whole_group_got() {
    let _watchdog = watchdog();
    // The last stage minds no signal, so that it shows who was meant: it dies of it.
    let text = format!(
        "{} | {{ echo ready >>ready; tail -f /dev/null; }}",
        recorder("got")
    );
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        for first_alone in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let at = |file: &str| directory.path().join(file);
            let child = start_in_a_group(&text, directory.path());
            let pid = Pid::from_child(&child);
            wait_for_lines(&at("ready"), 2);
            // What comes while the stages are young goes to those that are being started, too.
            std::thread::sleep(Duration::from_millis(300));
            while state(child.id()) != Some('S') {
                std::thread::yield_now();
            }
            if first_alone {
                // timeout(1) signals its child, and then its whole group.
                kill_process(pid, signal).unwrap();
            }
            kill_process_group(pid, signal).unwrap();
            wait_for_lines(&at("got"), 1);
            // What came twice would be written down before this one.
            std::thread::sleep(Duration::from_millis(50));
            kill_process(pid, Signal::QUIT).unwrap();
            let got = wait_for_lines(&at("got"), 2);
            let name = pipewright::signal_name(signal.as_raw());
            assert_eq!(got, format!("{}\nQUIT\n", &name[3..]), "{first_alone}");
            std::fs::write(at("go"), "").unwrap();
            child.wait_with_output().unwrap();
        }
    }
}

#[test]
fn a_stage_that_died_of_the_same_signal_alone_keeps_it_from_nobody() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let at = |file: &str| directory.path().join(file);
    let text = format!(
        "tail -f /dev/null | tail -f /dev/null | {}",
        recorder("got")
    );
    let child = start_in_a_group(&text, directory.path());
    wait_for_lines(&at("ready"), 1);
    let stages = format!("/proc/{0}/task/{0}/children", child.id());
    let stages = std::fs::read_to_string(stages).unwrap();
    let first = stages.split(' ').next().unwrap().parse().unwrap();
    kill_process(Pid::from_raw(first).unwrap(), Signal::TERM).unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(wait_for_lines(&at("got"), 1), "TERM\n");
    std::fs::write(at("go"), "").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(15), "{}", stderr(&output));
}

/// Sends a signal to what runs a long pipeline at some moment of its start, and returns how many of
/// its processes are left when it has ended.
fn left_by_a_signal_after(delay: Duration, signal: Signal, to_group: bool, mark: u32) -> usize {
    // Each stage by a shell of its own, or all by one, which `exec` asks for.
    let exec = if mark.is_multiple_of(2) { "exec " } else { "" };
    let text = vec![format!("({exec}sleep {mark})"); 12].join(" | ");
    let directory = tempfile::tempdir().unwrap();
    let mut child = start_in_a_group(&text, directory.path());
    std::thread::sleep(delay);
    let pid = Pid::from_child(&child);
    if to_group {
        kill_process_group(pid, signal).unwrap();
    } else {
        kill_process(pid, signal).unwrap();
    }
    let begin = std::time::Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begin.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("it hangs: {signal:?} after {delay:?}, to the group: {to_group}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let mark = mark.to_string();
    let left = || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let lines = processes.filter_map(|it| std::fs::read(it.path().join("cmdline")).ok());
        let ours = lines.filter(|line| {
            line.split(|&byte| byte == 0)
                .any(|it| it == mark.as_bytes())
        });
        ours.count()
    };
    // What was killed may take its time to be gone.
    let begin = std::time::Instant::now();
    while left() > 0 && begin.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    left()
}

#[test]
fn a_signal_at_any_moment_of_the_start_reaches_every_process() {
    let _watchdog = watchdog();
    let trials = campaign(16, 500);
    // SIGQUIT is ignored by bash itself, so that one which has not come to fork swallows it.
    let signals = [Signal::TERM, Signal::INT, Signal::HUP];
    for trial in 0..trials {
        let signal = signals[trial as usize % signals.len()];
        let to_group = trial / 3 % 2 == 0;
        let delay = Duration::from_micros(u64::from(trial) * 7919 % 50_000);
        // No other test sleeps for as long.
        let mark = 40_000_000 + std::process::id() * 1000 % 1_000_000 + trial;
        let left = left_by_a_signal_after(delay, signal, to_group, mark);
        assert_eq!(
            left, 0,
            "{signal:?} after {delay:?}, to the group: {to_group}"
        );
    }
}

/// `unshare` with these options, if that is allowed here.
fn unshare(options: &[&str], script: &str) -> Option<Command> {
    // An ordinary user needs a user namespace around it.
    let user = if is_root() { &[][..] } else { &["-Ur"] };
    // Some may make a namespace, and mount nothing in it.
    let probe = if options.contains(&"-m") {
        "mount -t tmpfs none /proc"
    } else {
        "true"
    };
    let tried = Command::new("unshare")
        .args(user)
        .args(options)
        .args(["sh", "-c", probe])
        .output();
    if !tried.is_ok_and(|output| output.status.success()) {
        println!("skipped: no new namespaces here");
        return None;
    }
    let mut command = Command::new("unshare");
    command
        .args(user)
        .args(options)
        .args(["bash", "-c", script, "bash"]);
    command.arg(env!("CARGO_BIN_EXE_pipewright"));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Some(command)
}

fn output(command: Option<Command>) -> Option<Output> {
    command.map(|mut command| command.output().unwrap())
}

#[test]
fn as_the_first_process_it_ends_with_128_and_the_signal_and_reaps_orphans() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    // The second stage waits until an orphan, whose parent is the first process, has been reaped.
    let text = "tail -f /dev/null | { sh -c 'sh -c \"sleep 0.1; echo >ended\" & echo $! >orphan'; \
                until test -e ended && ! test -e /proc/$(cat orphan); do sleep 0.02; done; \
                echo ready >ready; tail -f /dev/null; }";
    let Some(mut unshare) = unshare(&["-pf", "--mount-proc"], "exec \"$1\" run \"$2\"") else {
        return;
    };
    let child = unshare
        .arg(text)
        .current_dir(directory.path())
        .spawn()
        .unwrap();
    wait_for_lines(&directory.path().join("ready"), 1);
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let first = std::fs::read_to_string(children).unwrap();
    let first = Pid::from_raw(first.trim().parse().unwrap()).unwrap();
    kill_process(first, Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143), "{}", stderr(&output));
}

#[test]
fn nobody_else_is_signalled_where_proc_tells_of_another_namespace() {
    let _watchdog = watchdog();
    // Enough strangers for the numbers that /proc shows to be theirs, too.
    let script = "for n in {1..40}; do sleep 1000 & done; \
                  \"$1\" run --timeout 0.4 --kill-after 0.2 \"sh -c 'trap : TERM; sleep 2' | cat\"; \
                  echo $?; jobs -r | wc -l";
    let Some(output) = output(unshare(&["-pf"], script)) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, "124\n40\n", "{}", stderr(&output));
}

#[test]
fn the_deadline_and_signals_are_kept_without_a_proc() {
    let _watchdog = watchdog();
    let script = "mount -t tmpfs none /proc; \
                  \"$1\" run --timeout 0.3 --kill-after 0.2 'sleep 1000 | cat'; echo $?; \
                  \"$1\" run 'tail -f /dev/null | ./says_up' & \
                  until test -s ready; do :; done; kill -TERM $!; wait $!; echo $?; \
                  jobs -r | wc -l";
    let directory = tempfile::tempdir().unwrap();
    write_script(&directory.path().join("says_up"), SAYS_UP);
    let command = unshare(&["-m"], script).map(|mut command| {
        command.current_dir(directory.path());
        command
    });
    let Some(output) = output(command) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, "124\n143\n0\n", "{}", stderr(&output));
}

#[test]
fn a_stage_that_may_not_be_signalled_is_told_of() {
    let _watchdog = watchdog();
    if !is_root() {
        println!("skipped: only root can make a stage that an ordinary user may not signal");
        return;
    }
    let directory = tempfile::Builder::new().tempdir_in("/tmp").unwrap();
    let at = |file: &str| directory.path().join(file);
    // As sudo: whoever runs it becomes root altogether.
    let prepare = "chmod 755 .; cp \"$(command -v setpriv)\" become; chmod 4755 become; \
                   chmod 755 .; mkfifo -m 666 up";
    let mut prepared = Command::new("sh");
    prepared.args(["-c", prepare]).current_dir(directory.path());
    assert!(prepared.status().unwrap().success());
    let text =
        "./become --reuid=0 --regid=0 --clear-groups sh -c 'id -u >up; read -r end <up' | cat";
    let mut user = Command::new("setpriv");
    user.args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(env!("CARGO_BIN_EXE_pipewright"))
        .args(["run", "--timeout", "0.5", "--kill-after", "0.1", text])
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .stdout(Stdio::null());
    let mut child = user.spawn().unwrap();
    let is = std::fs::read_to_string(at("up")).unwrap();
    if is != "0\n" {
        println!("skipped: set-user-id does not work here: {is}");
        std::fs::write(at("up"), "end\n").unwrap();
        child.wait_with_output().unwrap();
        return;
    }
    let mut said = String::new();
    let mut told = BufReader::new(child.stderr.take().unwrap());
    while !said.contains("cannot signal") {
        let read = told.read_line(&mut said).unwrap();
        assert_ne!(read, 0, "it ended before: {said}");
    }
    assert!(lives(child.id()), "it waits for what it could not end");
    std::fs::write(at("up"), "end\n").unwrap();
    told.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(124));
    assert!(
        said.contains("cannot signal") && said.contains("another user"),
        "{said}"
    );
}

#[test]
fn the_deadline_and_signals_are_kept_where_a_sandbox_denies_pidfds() {
    let _watchdog = watchdog();
    for call in [libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal] {
        for errno in [libc::EPERM, libc::ENOSYS] {
            // What starts a program from this thread passes the filter on.
            let fault = Fault {
                call,
                errno,
                argument: None,
            };
            let sandboxed = std::thread::spawn(move || {
                fault.install();
                let stubborn = "sh -c 'trap : TERM; while :; do sleep 0.1; done' | cat";
                let mut command = pipewright();
                command.args(["run", "--timeout", "0.3", "--kill-after", "0.2", stubborn]);
                let output = command.stdin(Stdio::null()).output().unwrap();
                assert_eq!(output.status.code(), Some(124), "{}", stderr(&output));

                let directory = tempfile::tempdir().unwrap();
                write_script(&directory.path().join("says_up"), SAYS_UP);
                let text = "tail -f /dev/null | ./says_up";
                let child = start_in_a_group(text, directory.path());
                wait_for_lines(&directory.path().join("ready"), 1);
                kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
                let output = child.wait_with_output().unwrap();
                assert_eq!(output.status.signal(), Some(15), "{}", stderr(&output));
            });
            sandboxed.join().unwrap();
        }
    }
}
