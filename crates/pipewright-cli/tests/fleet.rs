//! `pipewright workers --on`: chunks on other hosts, which are sshds of the test's own.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use support::pipewright;
use testing::{FarHost, feed, signals_at_their_default, stderr, watchdog, write_script};

/// Two hosts, `one` and `two`, each with a directory of programs of its own, and one of programs here.
struct Lab {
    one: FarHost,
    two: FarHost,
    programs: tempfile::TempDir,
}

impl Lab {
    fn start() -> Option<Self> {
        signals_at_their_default();
        let built = Path::new(env!("CARGO_BIN_EXE_pipewright"));
        let built = built.parent().unwrap();
        let programs = tempfile::tempdir().unwrap();
        let place = |name: &str| {
            let path = programs.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let [one, two, _] = ["one", "two", "here"].map(place);
        // Another user may run them, too.
        Some(Self {
            one: FarHost::start(&[&one, built])?,
            two: FarHost::start(&[&two, built])?,
            programs,
        })
    }

    /// Makes a program of this name on each of these: `one`, `two`, `here`.
    fn program(&self, name: &str, places: &[(&str, &str)]) {
        for (place, script) in places {
            let path = self.programs.path().join(place).join(name);
            write_script(&path, &format!("#!/bin/sh\n{script}\n"));
        }
    }

    fn here(&self) -> PathBuf {
        self.programs.path().join("here")
    }

    /// `pipewright workers OPTIONS -- COMMAND`, with both in reach.
    fn workers(&self, options: &[&str], command: &[&str]) -> Command {
        let mut workers = pipewright();
        workers
            .arg("workers")
            .args(options)
            .arg("--")
            .args(command)
            .stdin(Stdio::null());
        self.known_to(&mut workers);
        workers
    }

    fn known_to(&self, command: &mut Command) {
        FarHost::known_together(&[("one", &self.one), ("two", &self.two)], command);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.here().display()));
    }

    fn await_nothing_left(&self) {
        self.one.await_nothing_left();
        self.two.await_nothing_left();
    }
}

const BOTH: &str = "one/2,two/2";

/// Numbered lines of letters.
fn lines(count: usize) -> Vec<u8> {
    let line = |number: usize| {
        format!(
            "{number} lorem ipsum dolor sit amet {}\n",
            number * 7919 % 1000
        )
    };
    (1..=count).map(line).collect::<String>().into_bytes()
}

fn start(command: &mut Command) -> Child {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).spawn().unwrap()
}

fn kill(pid: u32, signal: i32) {
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    let signal = rustix::process::Signal::from_named_raw(signal).unwrap();
    // It may have ended meanwhile.
    let _ = rustix::process::kill_process(pid, signal);
}

fn is_server(line: &str) -> bool {
    line.starts_with("/proc/self/exe remote --chunks")
}

/// How many chunks a place has done, by what `-v` says.
fn chunks_of(said: &str, place: &str) -> u32 {
    let start = format!("pipewright: {place}: ");
    let line = said.lines().find_map(|line| line.strip_prefix(&start));
    let line = line.unwrap_or_else(|| panic!("nothing is said of {place}: {said}"));
    line.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn chunks_on_two_hosts_give_the_bytes_and_the_status_of_one_run() {
    let _watchdog = watchdog();
    let Some(lab) = Lab::start() else { return };
    let input = lines(20_000);
    let table: &[(&[&str], &[&str])] = &[
        (&[], &["grep", "99"]),
        (&[], &["grep", "no such line"]),
        (&[], &["tr", "a-z", "A-Z"]),
        (&[], &["sort"]),
        (&[], &["wc", "-l"]),
        (&["--header", "1"], &["grep", "-v", "77"]),
        (
            &["--assume-local"],
            &["awk", "{ print $1; print \"e\" $1 > \"/dev/stderr\" }"],
        ),
        // From the first failure on it goes through one process, here.
        (
            &["--assume-local"],
            &["awk", "$1 == 15000 { exit 3 } { print }"],
        ),
        (
            &["--assume-local"],
            &[
                "awk",
                "$1 == 9000 { exit 9 } $1 == 5000 { exit 5 } { print }",
            ],
        ),
        (&["--assume-local"], &["sh", "-c", "cat; kill -TERM $$"]),
    ];
    for (options, command) in table {
        let whole = feed(
            Command::new(command[0])
                .args(&command[1..])
                .env("LC_ALL", "C.UTF-8"),
            &input,
        );
        let options = [&["--on", BOTH, "--block", "64K"], *options].concat();
        let parts = feed(&mut lab.workers(&options, command), &input);
        let said = stderr(&parts);
        assert_eq!(
            parts.status.code(),
            whole.status.code(),
            "{command:?}: {said}"
        );
        assert_eq!(
            parts.status.signal(),
            whole.status.signal(),
            "{command:?}: {said}"
        );
        if options.contains(&"--header") {
            // The header goes to each run, and stands once.
            let header = input.split_inclusive(|byte| *byte == b'\n').next().unwrap();
            assert!(
                parts.stdout.starts_with(header) && parts.stdout == whole.stdout,
                "{command:?}"
            );
        } else {
            assert!(parts.stdout == whole.stdout, "{command:?}: stdout differs");
        }
        // What the checks at the beginning have said is said before.
        assert!(
            said.ends_with(&stderr(&whole)[stderr(&whole).len() / 2..]),
            "{command:?}"
        );
    }
    lab.await_nothing_left();
}

#[test]
fn both_hosts_and_this_one_run_chunks() {
    let _watchdog = watchdog();
    let Some(lab) = Lab::start() else { return };
    let work = "sleep 0.05; exec tr a-z A-Z";
    lab.program("work", &[("one", work), ("two", work), ("here", work)]);
    let input = lines(30_000);
    let options = [
        "-v",
        "--assume-local",
        "--block",
        "64K",
        "--on",
        "one/2,two/2,:/2",
    ];
    let output = feed(&mut lab.workers(&options, &["work"]), &input);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(output.stdout == input.to_ascii_uppercase(), "{said}");
    for place in ["one", "two", "this host"] {
        assert!(chunks_of(&said, place) > 0, "{said}");
    }
    lab.await_nothing_left();
}

#[test]
fn a_slow_host_gets_fewer_chunks() {
    let _watchdog = watchdog();
    let Some(lab) = Lab::start() else { return };
    let fast = "exec tr a-z A-Z";
    let slow = "sleep 1; exec tr a-z A-Z";
    lab.program("work", &[("one", slow), ("two", fast), ("here", fast)]);
    let input = lines(60_000);
    let options = ["-v", "--assume-local", "--block", "64K", "--on", BOTH];
    let output = feed(&mut lab.workers(&options, &["work"]), &input);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(output.stdout == input.to_ascii_uppercase(), "{said}");
    assert!(chunks_of(&said, "one") < chunks_of(&said, "two"), "{said}");
    lab.await_nothing_left();
}

/// What happens to the host `one` while chunks run.
const FAULTS: [&str; 8] = [
    "the session is killed",
    "the far half is killed",
    "the warden is killed",
    "the server is killed",
    "a run is killed",
    "the cable is pulled for good",
    "the server is stopped for good",
    "all of ssh is killed here",
];

fn happen(fault: &str, host: &FarHost) {
    let all = |is_it: fn(&str) -> bool, signal| {
        let victims = host.processes(is_it);
        assert!(!victims.is_empty(), "{fault}: nobody is there");
        victims.into_iter().for_each(|pid| kill(pid, signal));
    };
    match fault {
        "the session is killed" => host.sessions().into_iter().for_each(|pid| kill(pid, 9)),
        "the far half is killed" => all(|line| line.starts_with("pipewright remote "), 9),
        "the warden is killed" => all(|line| line.contains(" remote --warden "), 9),
        "the server is killed" => all(is_server, 9),
        // There may be none at the moment.
        "a run is killed" => {
            let runs = host.processes(|line| line.contains("/one/work"));
            runs.into_iter().for_each(|pid| kill(pid, 9));
        }
        "the cable is pulled for good" => host.set_cable(false),
        "the server is stopped for good" => all(is_server, 19),
        "all of ssh is killed here" => {
            let here = host.processes(|line| line.starts_with("ssh "));
            here.into_iter().for_each(|pid| kill(pid, 9));
        }
        _ => unreachable!(),
    }
}

#[test]
fn whatever_happens_to_a_host_its_chunks_are_run_elsewhere_and_the_bytes_are_the_same() {
    let _watchdog = watchdog();
    let work = "sleep 0.05; exec tr a-z A-Z";
    let input = lines(60_000);
    for fault in FAULTS {
        let Some(lab) = Lab::start() else { return };
        if fault.contains("cable") && !lab.one.has_cable() {
            println!("skipped: {fault}: there is no network namespace");
            continue;
        }
        lab.program("work", &[("one", work), ("two", work), ("here", work)]);
        let options = [
            "-v",
            "--assume-local",
            "--block",
            "64K",
            "--lease",
            "3",
            "--on",
            BOTH,
        ];
        let mut child = start(&mut lab.workers(&options, &["work"]));
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut output = vec![0; 128 << 10];
        let (ended, said) = std::thread::scope(|scope| {
            scope.spawn(|| {
                stdin.write_all(&input).unwrap();
                drop(stdin);
            });
            stdout.read_exact(&mut output).unwrap();
            happen(fault, &lab.one);
            stdout.read_to_end(&mut output).unwrap();
            let ended = child.wait_with_output().unwrap();
            let said = stderr(&ended);
            (ended, said)
        });
        assert_eq!(ended.status.code(), Some(0), "{fault}: {said}");
        assert!(
            output == input.to_ascii_uppercase(),
            "{fault}: {} bytes of {}: {said}",
            output.len(),
            input.len()
        );
        assert!(chunks_of(&said, "two") > 0, "{fault}: {said}");
        if fault.contains("stopped") {
            // SIGSTOP holds up no SIGKILL.
            println!("{fault}: {said}");
        }
        if fault.contains("cable") {
            lab.one.set_cable(true);
        }
        lab.await_nothing_left();
    }
}

#[test]
fn when_all_hosts_are_lost_the_rest_runs_here() {
    let _watchdog = watchdog();
    let Some(lab) = Lab::start() else { return };
    let work = "sleep 0.05; exec tr a-z A-Z";
    lab.program("work", &[("one", work), ("two", work), ("here", work)]);
    let input = lines(40_000);
    let options = [
        "-v",
        "--assume-local",
        "--block",
        "64K",
        "--lease",
        "3",
        "--on",
        BOTH,
    ];
    let mut child = start(&mut lab.workers(&options, &["work"]));
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut output = vec![0; 64 << 10];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            stdin.write_all(&input).unwrap();
            drop(stdin);
        });
        stdout.read_exact(&mut output).unwrap();
        for host in [&lab.one, &lab.two] {
            happen("the server is killed", host);
        }
        stdout.read_to_end(&mut output).unwrap();
    });
    let ended = child.wait_with_output().unwrap();
    let said = stderr(&ended);
    assert_eq!(ended.status.code(), Some(0), "{said}");
    assert!(output == input.to_ascii_uppercase(), "{said}");
    assert!(said.contains("its chunks run elsewhere\n"), "{said}");
    assert!(
        said.contains("no other is left, and the rest runs here\n"),
        "{said}"
    );
    assert!(chunks_of(&said, "this host") > 0, "{said}");
    lab.await_nothing_left();
}

#[test]
fn a_host_that_cannot_do_it_is_told_and_is_not_used() {
    let _watchdog = watchdog();
    let Some(lab) = Lab::start() else { return };
    let right = "exec tr a-z A-Z";
    lab.program("only-here", &[("here", right)]);
    lab.program(
        "other",
        &[("here", right), ("one", "exec tr a-l A-L"), ("two", right)],
    );
    lab.program(
        "fails",
        &[
            ("here", right),
            ("one", "echo no licence >&2; exit 7"),
            ("two", right),
        ],
    );
    let input = lines(10_000);
    // (hosts, command, status, what is said of it)
    let table: &[(&str, &str, i32, &str)] = &[
        (
            "one/2,two/2",
            "only-here",
            0,
            "one is not used: cannot start \"only-here\": ",
        ),
        (
            "one/2,two/2",
            "other",
            0,
            "one is not used: the command gives something else there than here, from byte ",
        ),
        (
            "one/2",
            "other",
            0,
            "one is not used: the command gives something else there",
        ),
        (
            "one/2,two/2",
            "fails",
            0,
            "one is not used: the command ends there with status 7, and here with status 0 and says: no licence",
        ),
        (
            "no-such-host/2,two/2",
            "other",
            0,
            "no-such-host is not used: cannot reach no-such-host: ssh ended, and said: ",
        ),
        (
            "no-such-host/2,neither",
            "other",
            125,
            "none of the hosts can be used, and nothing was run",
        ),
        (
            "one/2,two",
            "no-such-program",
            127,
            "cannot start \"no-such-program\": ",
        ),
        ("one,two,one", "other", 125, "--on names one twice"),
        ("one/0", "other", 125, "give HOST/N"),
        (
            "one,-oProxyCommand=x",
            "other",
            125,
            "give hosts as ssh takes them",
        ),
    ];
    for (hosts, command, status, told) in table {
        let options = ["--assume-local", "--block", "64K", "--on", hosts];
        let output = feed(&mut lab.workers(&options, &[command]), &input);
        let said = stderr(&output);
        assert_eq!(
            output.status.code(),
            Some(*status),
            "{hosts} {command}: {said}"
        );
        assert!(said.contains(told), "{hosts} {command}: {said}");
        if *status == 0 {
            assert!(
                output.stdout == input.to_ascii_uppercase(),
                "{hosts} {command}: {said}"
            );
        } else {
            assert_eq!(output.stdout, b"", "{hosts} {command}");
        }
    }
    lab.await_nothing_left();
}

#[test]
fn hosts_without_pipewright_are_told_and_get_a_copy_when_asked() {
    let _watchdog = watchdog();
    signals_at_their_default();
    let Some(host) = FarHost::start(&[]) else {
        return;
    };
    if host.run("command -v pipewright").status.success() {
        println!("skipped: pipewright is installed here, and so on every host of these tests");
        return;
    }
    let input = lines(10_000);
    let workers = |options: &[&str]| {
        let mut workers = pipewright();
        workers
            .args(["workers", "-v", "--block", "64K", "--on", "one/2"])
            .args(options);
        workers.args(["--", "tr", "a-z", "A-Z"]);
        FarHost::known_together(&[("one", &host)], &mut workers);
        feed(&mut workers, &input)
    };
    let output = workers(&[]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(125), "{said}");
    let told = "pipewright: one is not used: there is no pipewright that can be found (--bootstrap puts a copy there)\n";
    assert!(said.contains(told), "{said}");
    assert_eq!(output.stdout, b"");
    for options in [&["--bootstrap"][..], &[]] {
        let output = workers(options);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(output.stdout == input.to_ascii_uppercase(), "{said}");
        assert!(chunks_of(&said, "one") > 0, "{said}");
    }
    host.await_nothing_left();
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    // (arguments, what is said)
    let table: &[(&[&str], &str)] = &[
        (
            &["--bootstrap", "--", "grep", "x"],
            "--bootstrap and --pipewright are for hosts",
        ),
        (&["--lease", "3", "--", "grep", "x"], "--on"),
        (
            &["--on", "one", "--", "xargs", "-d", "\\n", "-n", "1", "file"],
            "may run each chunk once only",
        ),
    ];
    for (arguments, told) in table {
        let mut workers = pipewright();
        workers.arg("workers").args(*arguments);
        let output = feed(&mut workers, b"");
        let said = stderr(&output);
        assert!(output.status.code() == Some(125), "{arguments:?}: {said}");
        assert!(said.contains(told), "{arguments:?}: {said}");
    }
}

#[test]
fn a_reader_that_leaves_and_a_signal_end_everything_there() {
    let _watchdog = watchdog();
    let Some(lab) = Lab::start() else { return };
    // One that leaves something behind when it alone is killed.
    let work = "sleep 0.05; cat; sleep 0.1";
    lab.program("work", &[("one", work), ("two", work), ("here", work)]);
    let text = "yes | $PIPEWRIGHT workers --assume-local --block 64K --on one/2,two/2 -- work | head -n 1; \
        echo ${PIPESTATUS[*]}";
    let mut bash = Command::new("bash");
    bash.args(["-c", text])
        .env("PIPEWRIGHT", env!("CARGO_BIN_EXE_pipewright"));
    lab.known_to(&mut bash);
    let output = bash.output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "y\n141 141 0\n",
        "{}",
        stderr(&output)
    );
    lab.await_nothing_left();

    lab.program(
        "long",
        &[
            ("one", "cat; exec sleep 98765"),
            ("two", "cat; exec sleep 98765"),
            ("here", "exec cat"),
        ],
    );
    // Of the last one nobody there hears till the lease is over.
    for signal in [15, 2, 1, 9] {
        let options = ["--assume-local", "--lease", "2", "--on", BOTH];
        let mut child = start(&mut lab.workers(&options, &["long"]));
        let mut stdin = child.stdin.take().unwrap();
        let feeder = std::thread::spawn(move || {
            let lines = lines(50_000);
            // It is killed.
            while stdin.write_all(&lines).is_ok() {}
        });
        while lab
            .one
            .processes(|line| line.starts_with("sleep 98765"))
            .is_empty()
        {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        kill(child.id(), signal);
        let output: Output = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        assert_eq!(output.status.signal(), Some(signal), "{}", stderr(&output));
        lab.await_nothing_left();
    }
}
