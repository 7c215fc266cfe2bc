//! Many tries of what may go wrong at any moment. The ordinary run takes a sample; set
//! PIPEWRIGHT_CAMPAIGNS for all of it.

mod support;

use std::collections::BTreeMap;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use pipewright::Signal;
use rustix::process::{Pid, kill_process, kill_process_group};
use support::{USUAL, pipewright};
use testing::terminals::Terminal;
use testing::{PATIENCE, campaign, is_root, signals_at_their_default, stderr, watchdog};

/// Numbers that look random, and are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Starts a command in a process group of its own, so that what is left of it can be seen.
fn in_a_group(command: &mut Command) -> Child {
    signals_at_their_default();
    command.stdin(Stdio::null()).process_group(0);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Fails if a process does not end, or if anything of its group is left.
fn ends_and_leaves_nobody(mut child: Child, what: &dyn std::fmt::Debug) {
    let group = Pid::from_child(&child);
    let begin = Instant::now();
    let mut ended = false;
    loop {
        ended = ended || child.try_wait().unwrap().is_some();
        if ended && !lives(group) {
            return;
        }
        if begin.elapsed() > PATIENCE {
            kill_process_group(group, Signal::KILL).unwrap();
            panic!("{what:?}: ended: {ended}, and something is left");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Tells whether a process of the group is left; zombies are init's to reap, in its own time.
fn lives(group: Pid) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut stats = processes.filter_map(|it| std::fs::read(it.path().join("stat")).ok());
    stats.any(|stat| {
        let stat = String::from_utf8_lossy(&stat);
        // The name, in parentheses, may contain anything; the state follows, the parent, the group.
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let mut fields = fields.split(' ');
        let (state, of) = (fields.next(), fields.nth(1));
        !matches!(state, Some("Z" | "X"))
            && of.and_then(|of| of.parse().ok()) == Some(group.as_raw_pid())
    })
}

fn children_of(pid: u32) -> Vec<Pid> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    let numbers = children.split_whitespace().map(|it| it.parse().unwrap());
    numbers.filter_map(Pid::from_raw).collect()
}

#[test]
fn whoever_is_killed_at_whatever_moment_nobody_hangs_or_stays() {
    let _watchdog = watchdog();
    let mut dice = Dice(7);
    // It takes a moment, and ends by itself.
    let text = "head -c 20000000 /dev/zero | cat | (cat) | { cat; true; } | wc -c";
    for trial in 0..campaign(15, 500) {
        let child = in_a_group(pipewright().args(["run", text]));
        let pid = Pid::from_child(&child);
        let delay = Duration::from_micros(dice.below(60_000));
        std::thread::sleep(delay);
        let victim = match trial % 3 {
            0 => {
                kill_process(pid, Signal::KILL).unwrap();
                "pipewright"
            }
            1 => {
                let stages = children_of(child.id());
                if let Some(stage) = stages.get(dice.below(5) as usize) {
                    // It may be over already.
                    let _ = kill_process(*stage, Signal::KILL);
                }
                "a stage"
            }
            _ => {
                kill_process_group(pid, Signal::KILL).unwrap();
                "all"
            }
        };
        ends_and_leaves_nobody(child, &(victim, delay));
    }
}

#[test]
fn a_stop_or_a_new_size_at_any_moment_of_the_start_harms_nothing() {
    let _watchdog = watchdog();
    let mut dice = Dice(11);
    let text = ["(sleep 1000)"; 8].join(" | ");
    for trial in 0..campaign(12, 300) {
        let child = in_a_group(pipewright().args(["run", &text]));
        let pid = Pid::from_child(&child);
        let delay = Duration::from_micros(dice.below(50_000));
        std::thread::sleep(delay);
        let signal = [Signal::TSTP, Signal::WINCH, Signal::CONT][trial as usize % 3];
        let send = |signal| {
            if trial % 2 == 0 {
                kill_process_group(pid, signal).unwrap();
            } else {
                kill_process(pid, signal).unwrap();
            }
        };
        send(signal);
        std::thread::sleep(Duration::from_micros(dice.below(20_000)));
        kill_process_group(pid, Signal::CONT).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        ends_and_leaves_nobody(child, &(signal, delay));
    }
}

#[test]
fn the_terminal_is_usable_after_a_kill_at_any_moment_of_the_view() {
    let _watchdog = watchdog();
    let mut dice = Dice(13);
    for _ in 0..campaign(3, 60) {
        let directory = tempfile::tempdir().unwrap();
        let done = directory.path().join("done");
        let text = format!(
            "{{ until test -e '{}'; do sleep 0.02; done; }} | cat",
            done.display()
        );
        let terminal = Terminal::start(&USUAL, &text);
        if dice.below(2) == 0 {
            terminal.wait_for("the view", |screen| screen.contains('│'));
        }
        std::thread::sleep(Duration::from_micros(dice.below(600_000)));
        terminal.signal(Signal::KILL);
        assert_eq!(terminal.end().signal(), Some(Signal::KILL.as_raw()));
        terminal.wait_for("a screen without rows", |screen| !screen.contains('│'));
        let begin = Instant::now();
        while !terminal.region_is_whole() {
            assert!(begin.elapsed() < PATIENCE, "{:?}", terminal.raw());
            std::thread::sleep(Duration::from_millis(5));
        }
        std::fs::write(&done, "").unwrap();
    }
}

/// Names of system calls in the order in which a command makes them, from its `main` on.
fn calls_of(arguments: &[&str], directory: &Path) -> Option<Vec<(String, u32)>> {
    let trace = directory.join("trace");
    let mut strace = Command::new("strace");
    strace
        .arg("-o")
        .arg(&trace)
        .arg(env!("CARGO_BIN_EXE_pipewright"));
    let output = strace.args(arguments).stdin(Stdio::null()).output();
    if !output.is_ok_and(|output| output.status.success()) {
        println!("skipped: no strace here, or it may not trace");
        return None;
    }
    let trace = std::fs::read_to_string(trace).unwrap();
    let names = trace.lines().filter_map(|line| {
        let (name, _) = line.split_once('(')?;
        name.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            .then(|| name.to_owned())
    });
    let mut counts = BTreeMap::new();
    let numbered: Vec<_> = names
        .map(|name| {
            let count = counts.entry(name.clone()).or_insert(0);
            *count += 1;
            (name, *count)
        })
        .collect();
    // Rust's runtime sets up its signal stack right before `main`.
    let main = numbered
        .iter()
        .position(|(name, _)| name == "sigaltstack")?;
    Some(numbered[main..].to_vec())
}

/// The errors that a call is made to fail with: those that a kernel or a sandbox gives. A call that is
/// not here cannot fail, or is another library's or kernel's than this list was made with. A failure that
/// cannot be proves nothing: the C library takes one of `brk` for the new end of the heap, and a wake by
/// `futex` that is not made leaves somebody asleep. An injected failure of `close` leaves the file open.
fn errors_of(call: &str) -> &'static [&'static str] {
    match call {
        "openat" | "open" => &["EMFILE", "EACCES", "ENOENT"],
        "read" | "pread64" | "recvfrom" => &["EIO", "EINTR"],
        "write" => &["EIO", "EINTR", "ENOSPC"],
        "ppoll" | "poll" => &["ENOMEM", "EINTR"],
        "clone" | "clone3" => &["EAGAIN", "ENOMEM", "EPERM"],
        "pipe2" | "socketpair" | "socket" | "epoll_create1" | "inotify_init1" | "eventfd2" => {
            &["EMFILE", "ENFILE"]
        }
        "memfd_create" | "pidfd_open" => &["EMFILE", "ENOMEM", "EPERM"],
        "waitid" | "wait4" => &["EINTR", "EPERM"],
        "mmap" | "mprotect" | "munmap" => &["ENOMEM"],
        "fcntl" | "ioctl" | "prctl" | "prlimit64" | "close_range" | "pidfd_send_signal"
        | "kill" | "sched_getaffinity" | "getdents64" | "statx" | "fstat" | "newfstatat"
        | "fstatfs" | "readlink" | "readlinkat" | "lseek" | "epoll_ctl" | "inotify_add_watch"
        | "bind" | "sendto" | "uname" | "getcwd" | "access" | "faccessat" | "faccessat2" => {
            &["EPERM", "ENOMEM"]
        }
        _ => &[],
    }
}

#[test]
fn no_system_call_that_fails_at_the_start_makes_it_hang_lie_or_leave_anybody() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let mut tried = 0;
    for (arguments, wanted) in [
        (&["run", "-q", "echo data | cat"][..], "data\n"),
        (&["ls", "--json"], "{"),
    ] {
        let Some(calls) = calls_of(arguments, directory.path()) else {
            return;
        };
        let mut faults: Vec<(String, u32, &str)> = Vec::new();
        for (call, number) in calls {
            faults.extend(
                errors_of(&call)
                    .iter()
                    .map(|error| (call.clone(), number, *error)),
            );
        }
        let sample = campaign(20, u32::MAX) as usize;
        let stride = faults.len().div_ceil(sample).max(1);
        for (call, number, error) in faults.into_iter().step_by(stride) {
            tried += 1;
            let what = format!("{call} number {number} with {error}");
            let mut strace = Command::new("strace");
            strace
                .args(["-o", "/dev/null", "-e", &format!("trace={call}"), "-e"])
                .arg(format!("inject={call}:error={error}:when={number}"))
                .arg(env!("CARGO_BIN_EXE_pipewright"));
            let output = with_patience(strace.args(arguments), &what);
            let said = String::from_utf8_lossy(&output.stdout);
            let right = output.status.success() && said.starts_with(wanted);
            assert!(
                right || !output.status.success() && !output.stderr.is_empty(),
                "{what}: {}, {said:?}, {}",
                output.status,
                stderr(&output)
            );
        }
    }
    println!("{tried} failures of system calls");
}

/// Runs a command whose group must be gone at its end.
fn with_patience(command: &mut Command, what: &str) -> Output {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.process_group(0).spawn().unwrap();
    let group = Pid::from_child(&child);
    let (told, ended) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if ended.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = kill_process_group(group, Signal::KILL);
            }
        });
        let output = child.wait_with_output().unwrap();
        drop(told);
        assert_ne!(output.status.signal(), Some(9), "{what}: it hangs");
        let begin = Instant::now();
        while lives(group) {
            if begin.elapsed() > PATIENCE {
                kill_process_group(group, Signal::KILL).unwrap();
                panic!("{what}: something is left: {}", stderr(&output));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        output
    })
}

#[test]
fn with_tiny_limits_it_runs_or_says_why_not() {
    let _watchdog = watchdog();
    let mut limits: Vec<String> = (3..campaign(12, 40)).map(|n| format!("-n {n}")).collect();
    limits.extend((1..campaign(6, 60)).map(|n| format!("-v {}", n * 4000)));
    limits.extend(["-f 0", "-f 1", "-s 64"].map(str::to_owned));
    if is_root() {
        println!("skipped: root may have any number of processes");
    } else {
        limits.extend((1..campaign(4, 40)).map(|n| format!("-u {n}")));
    }
    for limit in limits {
        let mut bash = Command::new("bash");
        let script = format!("ulimit {limit} && exec \"$@\"");
        bash.args(["-c", &script, "bash", env!("CARGO_BIN_EXE_pipewright")]);
        bash.args(["run", "-q", "echo data | cat | cat"]);
        let output = with_patience(&mut bash, &limit);
        let right = output.status.success() && output.stdout == b"data\n";
        // Without the memory to load a program the kernel ends it, and nobody can say a word.
        let speechless = output.status.signal().is_some();
        assert!(
            right || speechless || !output.status.success() && !output.stderr.is_empty(),
            "ulimit {limit}: {}, {:?}",
            output.status,
            output.stdout
        );
    }
}

#[test]
fn a_pipeline_of_very_many_stages_and_very_many_pipelines_at_once_run() {
    let _watchdog = watchdog();
    let stages = campaign(300, 5000) as usize;
    let text = format!("echo data{}", " | cat".repeat(stages - 1));
    let output = pipewright().args(["run", "-q", &text]).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "data\n",
        "{}",
        stderr(&output)
    );
    let start = |_| {
        let mut command = pipewright();
        command.args(["run", "-q", "seq 1000 | sort -n | tail -1"]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let runs: Vec<Child> = (0..campaign(12, 100)).map(start).collect();
    for run in runs {
        let output = run.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "1000\n");
    }
}
