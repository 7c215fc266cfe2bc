//! `workers --via nats://…` and `pipewright worker`: whatever happens to workers, server and coordinator, the
//! bytes and the status are those of one run, and nobody is left.
#![cfg(feature = "nats")]

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use support::pipewright;
use testing::{NatsServer, campaign, feed, lives, shell_status, stderr, wait_for_lines, watchdog};

/// Lines, each different.
fn lines(count: usize) -> Vec<u8> {
    (1..=count)
        .flat_map(|number| format!("line {number} of many\n").into_bytes())
        .collect()
}

/// A process that is ended with the test.
struct Process(Child);

impl Process {
    fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .arg(signal)
            .arg(self.0.id().to_string())
            .status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command line: `--` and what follows is the command.
fn coordinator(url: &str, options: &[&str], command: &[&str]) -> Command {
    let mut coordinator = pipewright();
    coordinator
        .args(["workers", "--via", url, "--name", "job", "--block", "64K"])
        .args(options)
        .arg("--")
        .args(command);
    coordinator
}

/// A worker. Its runs know by AT_WORK that they are no checks of the coordinator's.
fn worker(url: &str, command: &[&str]) -> Process {
    let mut worker = pipewright();
    worker
        .env("AT_WORK", "1")
        .args(["worker", url, "--name", "job", "-j", "1", "-v", "--"])
        .args(command)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    Process(worker.spawn().unwrap())
}

/// One run of the command.
fn plain(command: &[&str], bytes: &[u8]) -> Output {
    feed(
        Command::new(command[0])
            .args(&command[1..])
            .env("LC_ALL", "C.UTF-8"),
        bytes,
    )
}

/// The command's bytes, status and stderr by workers, with so many of them.
fn by_workers(
    server: &NatsServer,
    workers: usize,
    options: &[&str],
    command: &[&str],
    bytes: &[u8],
) -> Output {
    let _workers: Vec<_> = (0..workers)
        .map(|_| worker(&server.url(), command))
        .collect();
    feed(&mut coordinator(&server.url(), options, command), bytes)
}

fn assert_same(one: &Output, other: &Output, what: &str) {
    assert_eq!(
        shell_status(one),
        shell_status(other),
        "{what}: {}",
        stderr(other)
    );
    assert!(
        one.stdout == other.stdout,
        "{what}: other bytes; {}",
        stderr(other)
    );
}

/// A script that does something at a line, and else gives its input. It notes the runs of workers.
fn script(directory: &Path, at: &str, then: &str) -> String {
    let path = directory.join("command");
    let text = format!(
        "#!/bin/sh\ninput=$(mktemp); trap 'rm -f \"$input\"' EXIT; cat > \"$input\"\n\
         [ -z \"$AT_WORK\" ] || echo run >> '{}'\n\
         if grep -q '^line {at} of' \"$input\"; then {then}; fi\n\
         sed s/line/LINE/ \"$input\"\n",
        directory.join("runs").display()
    );
    testing::write_script(&path, &text);
    path.display().to_string()
}

fn runs(directory: &Path) -> usize {
    let text = std::fs::read_to_string(directory.join("runs")).unwrap_or_default();
    text.lines().count()
}

/// Puts a message on a subject, as anybody on the network may.
fn publish(server: &NatsServer, subject: &str, bytes: &[u8]) {
    use std::io::Read;
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let head = format!(
        "CONNECT {{\"verbose\":false}}\r\nPUB {subject} {}\r\n",
        bytes.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(bytes).unwrap();
    stream.write_all(b"\r\nPING\r\n").unwrap();
    let mut seen: Vec<u8> = Vec::new();
    let mut buffer = [0; 4096];
    while !seen.windows(4).any(|four| four == b"PONG") {
        let length = stream.read(&mut buffer).unwrap();
        assert!(length > 0);
        seen.extend(&buffer[..length]);
    }
}

#[test]
fn workers_give_the_bytes_and_the_status_of_one_run() {
    let _watchdog = watchdog();
    let Some(server) = NatsServer::durable() else {
        return;
    };
    let bytes = lines(20_000);
    for command in [
        &["grep", "-E", "7.*3"][..],
        &["grep", "nothing"],
        &["grep", "-c", "7"],
        &["sort", "-k2,2nr"],
        &["wc"],
        &["awk", "{print $2}"],
        &["awk", "{print $2} /line 15000 /{exit 3}"],
        &["sh", "-c", "cat; exit 4"],
    ] {
        let options = if command[0] == "sh" {
            &["--assume-local"][..]
        } else {
            &[]
        };
        let output = by_workers(&server, 2, options, command, &bytes);
        assert_same(&plain(command, &bytes), &output, &format!("{command:?}"));
    }
}

#[test]
fn what_the_runs_say_on_stderr_comes_in_order_and_a_good_end_leaves_nothing() {
    let _watchdog = watchdog();
    let Some(server) = NatsServer::durable() else {
        return;
    };
    let command = [
        "sh",
        "-c",
        "if read x; then echo \"$x\" >&2; echo \"$x\"; cat; fi",
    ];
    let options = ["--assume-local", "-v"];
    let output = by_workers(&server, 3, &options, &command, &lines(20_000));
    let said: Vec<u32> = stderr(&output)
        .lines()
        .filter_map(|line| line.strip_prefix("line ")?.split(' ').next()?.parse().ok())
        .collect();
    // The check runs it on the beginning as well, where its stderr is this one.
    let own = said.iter().rposition(|number| *number == 1).unwrap();
    assert!(said.len() - own > 5 && said[own..].is_sorted(), "{said:?}");
    // The server gives what it is removing a name with a dot.
    let left: Vec<_> = std::fs::read_dir(server.directory().join("store/jetstream/$G/streams"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn less_room_than_the_input_takes_makes_the_coordinator_wait() {
    let _watchdog = watchdog();
    let Some(server) = NatsServer::durable() else {
        return;
    };
    let bytes = lines(100_000);
    let command = ["sed", "s/line/LINE/"];
    let output = by_workers(&server, 2, &["--memory", "300K"], &command, &bytes);
    assert_same(&plain(&command, &bytes), &output, "little room");
    // A chunk that does not fit at all is an error before anybody waits.
    let output = feed(
        &mut coordinator(&server.url(), &["--memory", "20K"], &command),
        &bytes,
    );
    assert_eq!(shell_status(&output), 125);
    assert!(
        stderr(&output).contains("make chunks smaller (--block)"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn another_command_and_another_coordinator_are_refused() {
    let _watchdog = watchdog();
    let Some(server) = NatsServer::durable() else {
        return;
    };
    let mut waiting = Process(
        coordinator(&server.url(), &[], &["cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    waiting
        .0
        .stdin
        .as_mut()
        .unwrap()
        .write_all(&lines(20_000))
        .unwrap();
    until_there(&server, "cut.1");
    let second = feed(&mut coordinator(&server.url(), &[], &["cat"]), b"x\n");
    assert!(
        stderr(&second).contains("is being done: process"),
        "{}",
        stderr(&second)
    );
    let mut other = worker(&server.url(), &["tac"]);
    assert_eq!(other.0.wait().unwrap().code(), Some(125));
    drop(waiting);
    let second = feed(&mut coordinator(&server.url(), &[], &["grep", "x"]), b"x\n");
    assert_eq!(shell_status(&second), 125);
    assert!(
        stderr(&second).contains("runs cat, not grep x"),
        "{}",
        stderr(&second)
    );
}

/// Waits until the server has something under the subject.
fn until_there(server: &NatsServer, subject: &str) {
    use std::io::Read;
    loop {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let body = format!("{{\"last_by_subj\":\"pipewright.job.{subject}\"}}");
        let text = format!(
            "CONNECT {{\"verbose\":false}}\r\nSUB answers 1\r\nPUB $JS.API.STREAM.MSG.GET.pipewright-job-results answers {}\r\n{body}\r\n",
            body.len()
        );
        stream.write_all(text.as_bytes()).unwrap();
        let mut seen = String::new();
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
            if seen.contains("get_response") {
                break;
            }
        }
        if seen.contains("\"seq\"") {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_was_done_is_not_computed_again_after_the_coordinators_death() {
    let _watchdog = watchdog();
    let Some(server) = NatsServer::durable() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let command = script(directory.path(), "1", "true");
    let command = [command.as_str()];
    let bytes = lines(20_000);
    let options = ["--assume-local", "--retries", "0", "--lease", "5s"];
    let mut first = Process(
        coordinator(&server.url(), &options, &command)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let worker = worker(&server.url(), &command);
    // The end of the input is held back, so that it cannot be through.
    first
        .0
        .stdin
        .as_mut()
        .unwrap()
        .write_all(&bytes[..300_000])
        .unwrap();
    until_there(&server, "done.2.0");
    first.signal("-KILL");
    drop(first);
    drop(worker);

    let other: Vec<u8> = bytes
        .iter()
        .map(|byte| if *byte == b'7' { b'8' } else { *byte })
        .collect();
    let refused = feed(&mut coordinator(&server.url(), &options, &command), &other);
    assert_eq!(shell_status(&refused), 125);
    // Several differ, and the one that is looked at first is named.
    let told = stderr(&refused);
    assert!(told.contains(" of the input (bytes "), "{told}");
    assert!(!told.contains("failed on its workers"), "{told}");
    let refused = feed(
        &mut coordinator(&server.url(), &options, &command),
        &bytes[..70_000],
    );
    assert!(
        stderr(&refused).contains("the input has ended before chunk"),
        "{}",
        stderr(&refused)
    );

    std::fs::remove_file(directory.path().join("runs")).unwrap();
    let again = by_workers(
        &server,
        1,
        &[&options[..], &["-v"]].concat(),
        &command,
        &bytes,
    );
    assert_same(&plain(&["sed", "s/line/LINE/"], &bytes), &again, "resumed");
    let told = stderr(&again);
    let found = told.lines().find_map(|line| {
        let (count, rest) = line.strip_prefix("pipewright: ")?.split_once(' ')?;
        rest.contains("were there")
            .then(|| count.parse::<usize>().unwrap())
    });
    assert!(found.is_some_and(|found| found >= 3), "{told}");
    // Those that were there already are not run again.
    let chunks = told.lines().find_map(|line| {
        let (before, _) = line.split_once(" chunks, ")?;
        before.rsplit(' ').next()?.parse::<usize>().ok()
    });
    let made = runs(directory.path());
    assert!(
        chunks.is_some_and(|chunks| made > 0 && made < chunks),
        "{made}: {told}"
    );
}

#[test]
fn a_chunk_that_fails_is_told_with_its_number_and_its_bytes_are_kept() {
    let _watchdog = watchdog();
    let Some(server) = NatsServer::durable() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let command = script(directory.path(), "9000", "exit 7");
    let command = [command.as_str()];
    let bytes = lines(20_000);
    let _workers: Vec<_> = (0..2).map(|_| worker(&server.url(), &command)).collect();
    let output = feed(
        coordinator(&server.url(), &["--assume-local"], &command).current_dir(directory.path()),
        &bytes,
    );
    assert_eq!(shell_status(&output), 7, "{}", stderr(&output));
    let told = stderr(&output);
    let line = told
        .lines()
        .find(|line| line.contains("failed on its workers with status 7"));
    let path = line
        .and_then(|line| line.rsplit("kept in ").next())
        .expect(&told);
    let kept = std::fs::read(directory.path().join(path)).unwrap();
    assert!(kept.starts_with(b"line ") && kept.ends_with(b"\n"));
    let at = bytes.windows(kept.len()).position(|window| window == kept);
    assert!(at.is_some() && String::from_utf8_lossy(&kept).contains("\nline 9000 of"));
}

#[test]
fn a_chunk_that_ends_its_workers_is_given_up_after_a_few() {
    let _watchdog = watchdog();
    let Some(server) = NatsServer::durable() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    // Here, where it runs as one process, it does not.
    let then = "[ \"$(cat /proc/$PPID/comm)\" = pipewright ] && tr '\\0' ' ' < /proc/$PPID/cmdline | grep -q ' worker ' && kill -9 $PPID";
    let command = script(directory.path(), "9000", then);
    let bytes = lines(20_000);
    let mut coordinator = coordinator(
        &server.url(),
        &["--assume-local", "--lease", "1s"],
        &[&command],
    );
    coordinator.current_dir(directory.path());
    let done = std::sync::atomic::AtomicBool::new(false);
    let output = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let mut worker = worker(&server.url(), &[&command]);
                while worker.0.try_wait().unwrap().is_none()
                    && !done.load(std::sync::atomic::Ordering::Relaxed)
                {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        });
        let output = feed(&mut coordinator, &bytes);
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        output
    });
    let told = stderr(&output);
    assert!(
        told.contains("was taken 5 times, and no worker came back"),
        "{told}"
    );
    assert!(told.contains("its input is kept in"), "{told}");
    assert_same(
        &plain(&["sed", "s/line/LINE/"], &bytes),
        &output,
        "given up",
    );
}

#[test]
fn a_worker_that_comes_back_late_changes_nothing() {
    let _watchdog = watchdog();
    let Some(server) = NatsServer::durable() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let started = directory.path().join("runs");
    let command = [
        "sh",
        "-c",
        &format!(
            "echo run >> '{}'; sleep 0.05; sed s/line/LINE/",
            started.display()
        ),
    ];
    let bytes = lines(20_000);
    let slow = worker(&server.url(), &command);
    let mut stage = coordinator(
        &server.url(),
        &["--assume-local", "--lease", "1s"],
        &command,
    );
    let output = std::thread::scope(|scope| {
        let running = scope.spawn(|| feed(&mut stage, &bytes));
        until_there(&server, "done.0.0");
        slow.signal("-STOP");
        let quick = worker(&server.url(), &command);
        let output = running.join().unwrap();
        slow.signal("-CONT");
        drop(quick);
        output
    });
    assert_same(&plain(&["sed", "s/line/LINE/"], &bytes), &output, "late");
    let mut slow = slow;
    assert!(slow.0.wait().unwrap().success());
}

#[test]
fn a_worker_that_is_asked_to_go_finishes_or_gives_back() {
    let _watchdog = watchdog();
    let Some(server) = NatsServer::durable() else {
        return;
    };
    for (signal, lease) in [("-INT", "1h"), ("-TERM", "1h")] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("begun");
        // With a lease of an hour nobody else would get the chunk in the time of this test.
        let text = format!(
            "[ -z \"$AT_WORK\" ] || [ -e '{0}' ] || {{ echo $$ > '{0}'; sleep 2; }}; cat",
            path.display()
        );
        let command = ["sh", "-c", &text];
        let bytes = lines(10_000);
        let mut stage = coordinator(
            &server.url(),
            &["--lease", lease, "--assume-local", "--anew"],
            &command,
        );
        let output = std::thread::scope(|scope| {
            let running = scope.spawn(|| feed(&mut stage, &bytes));
            let mut leaving = worker(&server.url(), &command);
            let process: u32 = wait_for_lines(&path, 1).trim().parse().unwrap();
            leaving.signal(signal);
            assert!(leaving.0.wait().unwrap().success());
            assert!(!lives(process));
            let mut other = worker(&server.url(), &command);
            let output = running.join().unwrap();
            // It had the other chunks, and ends with the job.
            assert!(other.0.wait().unwrap().success());
            output
        });
        assert_same(&plain(&["cat"], &bytes), &output, signal);
    }
}

#[test]
fn messages_that_nobody_of_us_wrote_are_an_error_and_no_result() {
    let _watchdog = watchdog();
    let Some(server) = NatsServer::durable() else {
        return;
    };
    let bytes = lines(10_000);
    let huge = vec![0xff; 900_000];
    for (subject, message) in [
        ("done.0.0", &b"garbage"[..]),
        ("done.0.0", b""),
        ("done.0.0", &huge),
        // A name that would reach other subjects.
        (
            "done.0.0",
            b"\x01\x01>\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        ),
        ("cut.0", b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        ("job", &huge),
    ] {
        // The streams are made by one that dies.
        let mut first = Process(
            coordinator(&server.url(), &["--anew"], &["cat"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        );
        first.0.stdin.as_mut().unwrap().write_all(&bytes).unwrap();
        until_there(&server, "cut.0");
        first.signal("-KILL");
        drop(first);
        publish(&server, &format!("pipewright.job.{subject}"), message);
        let output = feed(&mut coordinator(&server.url(), &[], &["cat"]), &bytes);
        assert_eq!(shell_status(&output), 125, "{subject}: {}", stderr(&output));
        let told = stderr(&output);
        assert!(
            told.contains(&format!(
                "the message pipewright.job.{subject} on the server"
            )),
            "{told}"
        );
    }
}

#[test]
fn how_durable_the_server_is_is_said_where_it_is_less_than_durable() {
    let _watchdog = watchdog();
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for (sync, said) in [("", "every 120 s only"), (", sync_interval: always", "")] {
        let configuration = format!("http: \"{free}\"\njetstream {{ store_dir: STORE{sync} }}");
        let Some(server) = NatsServer::start(&configuration) else {
            return;
        };
        let monitor = format!("http://{free}");
        let output = by_workers(
            &server,
            1,
            &["--monitor", &monitor],
            &["cat"],
            &lines(10_000),
        );
        assert!(output.status.success());
        let told = stderr(&output);
        assert!(
            told.contains(said) && told.is_empty() == said.is_empty(),
            "{sync}: {told}"
        );
    }
}

#[test]
fn the_server_knows_us_by_the_usual_means() {
    let _watchdog = watchdog();
    let jetstream = "jetstream { store_dir: STORE, sync_interval: always }";
    let bytes = lines(10_000);
    let check = |server: &NatsServer, url: &str, variables: &[(&str, &str)]| {
        let mut worker = pipewright();
        worker
            .args(["worker", url, "--name", "job", "--", "cat"])
            .envs(variables.iter().copied());
        let _worker = Process(worker.spawn().unwrap());
        let mut stage = coordinator(url, &[], &["cat"]);
        let output = feed(stage.envs(variables.iter().copied()), &bytes);
        assert!(
            output.status.success() && output.stdout == bytes,
            "{url}: {}",
            stderr(&output)
        );
        let refused = feed(&mut coordinator(&server.url(), &[], &["cat"]), &bytes);
        assert_eq!(shell_status(&refused), 125);
        assert!(
            stderr(&refused).contains("cannot connect to NATS"),
            "{}",
            stderr(&refused)
        );
    };
    let authorization = "authorization { user: me, password: secret }";
    let Some(server) = NatsServer::start(&format!("{authorization}\n{jetstream}")) else {
        return;
    };
    check(
        &server,
        &format!("nats://me:secret@{}", server.address()),
        &[],
    );
    check(
        &server,
        &server.url(),
        &[("NATS_USER", "me"), ("NATS_PASSWORD", "secret")],
    );
    let refused = feed(
        &mut coordinator(
            &format!("nats://me:wrong@{}", server.address()),
            &[],
            &["cat"],
        ),
        b"",
    );
    assert!(!stderr(&refused).contains("wrong@"), "{}", stderr(&refused));
    drop(server);
    let server =
        NatsServer::start(&format!("authorization {{ token: word }}\n{jetstream}")).unwrap();
    check(&server, &server.url(), &[("NATS_TOKEN", "word")]);
    check(&server, &format!("nats://word@{}", server.address()), &[]);
}

#[test]
fn a_server_that_is_not_there_is_an_error_at_once() {
    let _watchdog = watchdog();
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let output = feed(
        &mut coordinator(&format!("nats://{free}"), &[], &["cat"]),
        b"x\n",
    );
    assert_eq!(shell_status(&output), 125);
    assert!(stderr(&output).contains(&format!("cannot connect to NATS at nats://{free}")));
    let output = feed(&mut coordinator("http://host", &[], &["cat"]), b"x\n");
    assert!(
        stderr(&output).contains("is no address of a NATS server"),
        "{}",
        stderr(&output)
    );
}

/// What is done to whom, in a round.
const FAULTS: [&str; 5] = [
    "worker killed",
    "worker stopped",
    "server killed",
    "coordinator killed",
    "worker asked to go",
];

#[test]
fn whatever_is_killed_the_bytes_and_the_status_are_those_of_one_run() {
    let _watchdog = watchdog();
    let Some(mut server) = NatsServer::durable() else {
        return;
    };
    let bytes = lines(30_000);
    let command = ["sh", "-c", "sleep 0.01; sed s/line/LINE/"];
    let expected = plain(&["sed", "s/line/LINE/"], &bytes);
    let rounds = campaign(5, 100);
    let options = ["--assume-local", "--lease", "1s", "--retries", "9"];
    let input = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(input.path(), &bytes).unwrap();
    let mut processes: Vec<u32> = Vec::new();
    for round in 0..rounds {
        let fault = FAULTS[round as usize % FAULTS.len()];
        let output_file = tempfile::NamedTempFile::new().unwrap();
        let begin = |output: PathBuf| {
            let mut stage = coordinator(&server.url(), &options, &command);
            stage
                .stdin(std::fs::File::open(input.path()).unwrap())
                .stdout(std::fs::File::create(output).unwrap())
                .stderr(Stdio::piped());
            Process(stage.spawn().unwrap())
        };
        let mut stage = begin(output_file.path().to_owned());
        let mut workers: Vec<_> = (0..2).map(|_| worker(&server.url(), &command)).collect();
        until_there(&server, &format!("done.{}.0", round % 7));
        match fault {
            "worker killed" => workers[0].signal("-KILL"),
            "worker stopped" => workers[0].signal("-STOP"),
            "worker asked to go" => workers[0].signal("-TERM"),
            "server killed" => {
                server.kill();
                server.start_again();
            }
            _ => {
                stage.signal("-KILL");
                stage.0.wait().unwrap();
                stage = begin(output_file.path().to_owned());
            }
        }
        workers.push(worker(&server.url(), &command));
        let status = stage.0.wait().unwrap();
        let mut told = String::new();
        std::io::Read::read_to_string(stage.0.stderr.as_mut().unwrap(), &mut told).unwrap();
        assert!(status.success(), "round {round}, {fault}: {told}");
        let output = std::fs::read(output_file.path()).unwrap();
        assert!(
            output == expected.stdout,
            "round {round}, {fault}: other bytes; {told}"
        );
        if fault == "worker stopped" {
            workers[0].signal("-CONT");
        }
        for mut worker in workers {
            processes.push(worker.0.id());
            // One that came when all was over waits for the next job of this name.
            worker.signal("-TERM");
            let status = worker.0.wait().unwrap();
            let at_once = status.signal() == Some(15);
            assert!(
                status.success() || at_once || fault == "worker killed",
                "round {round}, {fault}: {status}"
            );
        }
    }
    assert!(processes.into_iter().all(|process| !lives(process)));
}
