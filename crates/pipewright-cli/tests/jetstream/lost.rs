//! Whoever is lost, comes late or forges a message.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use testing::{NatsServer, feed, is_root, lives, shell_status, stderr, wait_for_lines, watchdog};

use crate::bed::{
    Process, Stage, assert_same, by_workers, coordinator, lines, plain, publish, request, runs,
    script, until_there, worker,
};

/// How many chunks of the job stand on the server.
fn cuts(server: &NatsServer) -> usize {
    let info = request(
        server,
        "$JS.API.STREAM.INFO.pipewright-job-results",
        br#"{"subjects_filter":"pipewright.job.cut.>"}"#,
    );
    info.matches("\"pipewright.job.cut.").count()
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

    let cut_before = cuts(&server);
    let other: Vec<u8> = bytes
        .iter()
        .map(|byte| if *byte == b'7' { b'8' } else { *byte })
        .collect();
    let refused = feed(&mut coordinator(&server.url(), &options, &command), &other);
    assert_eq!(shell_status(&refused), 125);
    // Several differ, and the one that is looked at first is named. What lies behind them was not cut.
    assert_eq!(cuts(&server), cut_before);
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
        .and_then(|line| line.split("kept in ").nth(1)?.split(';').next())
        .expect(&told);
    let kept = std::fs::read(directory.path().join(path)).unwrap();
    let number = line.and_then(|line| line.split(' ').nth(2)).expect(&told);
    assert!(path.ends_with(&format!("job-chunk-{number}")), "{told}");
    assert!(kept.starts_with(b"line ") && kept.ends_with(b"\n"));
    let at = bytes.windows(kept.len()).position(|window| window == kept);
    assert!(at.is_some() && String::from_utf8_lossy(&kept).contains("\nline 9000 of"));
    // What it says to type does what the workers saw.
    let replay = line
        .and_then(|line| line.split("to run it once more: ").nth(1))
        .expect(&told);
    let replayed = Command::new("sh")
        .args(["-c", replay])
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert_eq!(
        shell_status(&replayed),
        7,
        "{replay}: {}",
        stderr(&replayed)
    );
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
    let stage = Stage::begin(&mut stage, &bytes);
    until_there(&server, "done.0.0");
    slow.signal("-STOP");
    let quick = worker(&server.url(), &command);
    let output = stage.end();
    slow.signal("-CONT");
    drop(quick);
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

/// A small file system, unmounted with the test.
struct Disk(tempfile::TempDir);

impl Disk {
    /// `None`, with a word why, where nobody may mount one.
    fn mounted() -> Option<Self> {
        let place = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"])
            .arg(place.path());
        if !is_root() || !mount.status().is_ok_and(|status| status.success()) {
            eprintln!("skipped: this user may not mount a file system here");
            return None;
        }
        Some(Self(place))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_server_whose_disk_is_full_goes_on_when_it_has_room_and_is_started_again() {
    let _watchdog = watchdog();
    let Some(disk) = Disk::mounted() else {
        return;
    };
    let place = disk.0.path();
    let configuration = format!(
        "jetstream {{ store_dir: {:?}, sync_interval: always }}",
        place.join("store")
    );
    let Some(mut server) = NatsServer::start(&configuration) else {
        return;
    };
    let bytes = lines(30_000);
    let command = ["sh", "-c", "sleep 0.05; sed s/line/LINE/"];
    let mut stage = coordinator(
        &server.url(),
        &["--assume-local", "--lease", "1s", "--memory", "4M"],
        &command,
    );
    let mut stage = Stage::begin(&mut stage, &bytes);
    let mut worker = worker(&server.url(), &command);
    until_there(&server, "done.1.0");
    let ballast = place.join("ballast");
    // It is cut short where the disk ends.
    let _ = std::fs::write(&ballast, vec![1; 32 << 20]);
    // At least the last chunk is still to come.
    stage.go_on();
    while !server.log().contains("no space left on device") {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::fs::remove_file(&ballast).unwrap();
    server.kill();
    server.start_again();
    let output = stage.end();
    assert_same(&plain(&command, &bytes), &output, "full disk");
    assert!(worker.0.wait().unwrap().success());
    drop(server);
}

/// The subjects of the tickets on the server. The last number counts how often one was given back.
fn tickets(server: &NatsServer) -> Vec<String> {
    let info = request(
        server,
        "$JS.API.STREAM.INFO.pipewright-job-work",
        br#"{"subjects_filter":">"}"#,
    );
    let is_ticket = |text: &&str| text.starts_with("pipewright.job.work.") && !text.ends_with('>');
    info.split('"')
        .filter(is_ticket)
        .map(str::to_owned)
        .collect()
}

#[test]
fn pieces_that_the_server_has_lost_are_put_there_again() {
    let _watchdog = watchdog();
    let Some(mut server) = NatsServer::durable() else {
        return;
    };
    let bytes = lines(20_000);
    let command = ["sed", "s/line/LINE/"];
    let mut stage = coordinator(&server.url(), &["--lease", "5s"], &command);
    let stage = Stage::begin(&mut stage, &bytes);
    let until_any = |is_it: fn(&str) -> bool| {
        while !tickets(&server).iter().any(|ticket| is_it(ticket)) {
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    // A ticket comes behind its pieces.
    until_any(|ticket| ticket.ends_with(".0"));
    let purged = request(&server, "$JS.API.STREAM.PURGE.pipewright-job-input", b"");
    assert!(purged.contains("\"success\":true"), "{purged}");
    let mut worker = worker(&server.url(), &command);
    // It finds nothing, and puts a fresh ticket in the place of the first.
    until_any(|ticket| !ticket.ends_with(".0"));
    server.kill();
    server.start_again();
    assert_same(&plain(&command, &bytes), &stage.end(), "pieces lost");
    assert!(worker.0.wait().unwrap().success());
}

#[test]
fn a_chunk_that_nothing_can_hold_is_refused_before_the_input_is_read() {
    let _watchdog = watchdog();
    let Some(server) = NatsServer::durable() else {
        return;
    };
    let bytes = lines(10_000);
    let stage = Stage::begin(&mut coordinator(&server.url(), &[], &["cat"]), &bytes);
    until_there(&server, "cut.0");
    stage.kill();
    // A tebibyte, as somebody may put it there.
    let cut = [&b"\x01\x80\x80\x80\x80\x80\x20"[..], &[0; 33]].concat();
    publish(&server, "pipewright.job.cut.0", &cut);
    // Its input never ends.
    let mut stage = coordinator(&server.url(), &[], &["cat"]);
    let endless = std::fs::File::open("/dev/zero").unwrap();
    let output = stage.stdin(endless).output().unwrap();
    assert_eq!(shell_status(&output), 125);
    assert!(
        stderr(&output).contains("chunk 1 has 1099511627776 bytes, and no more than"),
        "{}",
        stderr(&output)
    );
}
