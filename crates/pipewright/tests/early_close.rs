//! `closed early` is said of a stage that wrote to a reader that had gone, and of no other: whichever
//! way the reader went, and whatever else sends SIGPIPE.

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use pipewright::{Command, Pipeline, PipelineStatus, Policy, StageEnd, Stdio};
use testing::{fault, isolated, sh, watchdog};

/// Two stages, of which the last says nothing here.
fn run(writer: &str, reader: &str) -> PipelineStatus {
    (sh(writer) | sh(reader).stdout(Stdio::Null)).run().unwrap()
}

/// Often enough for every order in which two ends can be seen.
const TIMES: usize = 60;

#[test]
fn a_writer_whose_reader_had_gone_is_closed_early_every_time() {
    let _watchdog = watchdog();
    for (writer, reader) in [
        ("exec yes", "exec head -1"),
        // A shell reports its command's SIGPIPE as 141.
        ("yes; exit $?", "exec head -1"),
        // The reader closes its stdin and lives on.
        ("exec yes", "read line; exec <&-; exec sleep 0.05"),
        // It opens its stdin again.
        ("exec yes", "head -1 /dev/stdin; :"),
        // The writer opens its stdout again.
        ("echo first > /dev/stdout; exec yes", "exec head -1"),
        // The reader hands its stdin on.
        (
            "exec yes",
            "exec 3<&0; head -1 <&3 3<&- & exec <&- 3<&-; wait",
        ),
        // Nothing was read.
        ("exec yes", "exec true"),
        ("exec yes", "exec /no/such/program"),
    ] {
        for time in 0..TIMES {
            let status = run(writer, &format!("{reader} 2>/dev/null"));
            let stage = &status.stages()[0];
            let told = format!("{writer} | {reader}, {time}: {stage}");
            assert!(matches!(stage.end, StageEnd::ClosedEarly), "{told}");
            assert!(stage.reader_gone, "{told}");
        }
    }
}

#[test]
fn a_sigpipe_from_elsewhere_is_a_failure_every_time() {
    let _watchdog = watchdog();
    for (writer, reader) in [
        ("echo partial; kill -PIPE $$", "exec cat"),
        ("echo partial; exit 141", "exec cat"),
        ("kill -PIPE $$", "cat /dev/stdin; :"),
        ("echo partial > /dev/stdout; kill -PIPE $$", "exec cat"),
        (
            "kill -PIPE $$",
            "exec 3<&0; cat <&3 3<&- & exec <&- 3<&-; wait",
        ),
        // The reader reads on after the stage, from a process that it left behind.
        ("(sleep 0.02; echo late) & kill -PIPE $$", "exec cat"),
        ("kill -PIPE $$", "cat; exec sleep 0.01"),
    ] {
        for time in 0..TIMES {
            let status = run(writer, reader);
            let stage = &status.stages()[0];
            let told = format!("{writer} | {reader}, {time}: {stage}");
            assert_eq!(stage.end.exit_code(), 141, "{told}");
            assert!(!matches!(stage.end, StageEnd::ClosedEarly), "{told}");
            assert!(!stage.reader_gone, "{told}");
            assert_eq!(status.exit_code(), 141, "{told}");
        }
    }
}

#[test]
fn a_sigpipe_from_a_socket_is_a_failure() {
    let _watchdog = watchdog();
    for _ in 0..TIMES {
        let (socket, nobody) = std::os::unix::net::UnixStream::pair().unwrap();
        drop(nobody);
        let writes = sh("echo partial; echo lost >&3").fd(3, socket);
        let status = (writes | sh("exec cat").stdout(Stdio::Null)).run().unwrap();
        let end = &status.stages()[0].end;
        assert!(
            matches!(end, StageEnd::Signaled { signal: 13, .. }),
            "{end}"
        );
        assert_eq!(status.exit_code(), 141);
    }
}

#[test]
fn both_are_told_apart_when_everything_has_ended_before_anybody_looks() {
    let _watchdog = watchdog();
    for (writer, early) in [("exec yes", true), ("echo partial; kill -PIPE $$", false)] {
        for _ in 0..TIMES {
            let reader = if early { "exec head -1" } else { "exec cat" };
            let running = (sh(writer) | sh(reader).stdout(Stdio::Null))
                .spawn()
                .unwrap();
            while !running.still_running().unwrap().is_empty() {
                std::thread::yield_now();
            }
            let status = running.wait().unwrap();
            let told = matches!(status.stages()[0].end, StageEnd::ClosedEarly);
            assert_eq!(told, early, "{}", status.stages()[0]);
        }
        for _ in 0..TIMES {
            let (mut done, held) = pipewright::pipe().unwrap();
            let reader = if early { "exec head -1" } else { "exec cat" };
            let stages = [sh(writer), sh(reader).stdout(held)];
            let running = Pipeline::new(stages).spawn().unwrap();
            // The end of file is there once the last stage has ended.
            done.read_to_end(&mut Vec::new()).unwrap();
            let status = running.wait().unwrap();
            let told = matches!(status.stages()[0].end, StageEnd::ClosedEarly);
            assert_eq!(told, early, "{}", status.stages()[0]);
        }
    }
}

#[test]
fn a_capture_tells_them_apart_too() {
    let _watchdog = watchdog();
    for _ in 0..TIMES {
        let stages = sh("echo partial; kill -PIPE $$") | Command::new("cat");
        let output = stages.capture().output().unwrap();
        assert_eq!(
            (&*output.stdout, output.success()),
            (&b"partial\n"[..], false)
        );
        let stages = Command::new("yes") | Command::new("head").arg("-1");
        assert_eq!(stages.capture().read().unwrap(), "y");
    }
}

#[test]
fn each_stage_of_a_long_pipeline_is_judged_by_its_own_reader() {
    let _watchdog = watchdog();
    for _ in 0..TIMES {
        let stages = [
            sh("exec yes"),
            sh("exec head -1"),
            sh("cat; kill -PIPE $$"),
            sh("exec cat").stdout(Stdio::Null),
        ];
        let status = Pipeline::new(stages).run().unwrap();
        let told: Vec<String> = status
            .stages()
            .iter()
            .map(|it| it.end.to_string())
            .collect();
        assert_eq!(
            told,
            [
                "closed early",
                "exit status 0",
                "killed by SIGPIPE",
                "exit status 0"
            ]
        );
        assert_eq!(status.failed_stage(), Some(2));
    }
}

#[test]
fn somebody_who_looks_at_the_pipe_from_outside_changes_nothing() {
    let _watchdog = watchdog();
    // A sampler opens for writing. One who opens for reading between the two last closes hides which
    // of them came first, and then the reader counts as gone.
    for (write, writer, reader, early) in [
        (false, "exec yes", "head -200000; exec sleep 0.02", true),
        (true, "exec yes", "head -200000; exec sleep 0.02", true),
        (
            true,
            "seq 20000; sleep 0.02; kill -PIPE $$",
            "exec cat",
            false,
        ),
    ] {
        for _ in 0..10 {
            let running = (sh(writer) | sh(reader).stdout(Stdio::Null))
                .spawn()
                .unwrap();
            let pid = running.stages()[1].child().unwrap().id();
            let between = Duration::from_millis(2);
            while running.wait_timeout(between).unwrap().is_none() {
                // As a sampler does, only more often.
                let path = format!("/proc/{pid}/fd/0");
                let flags = libc::O_NONBLOCK;
                let mut look = std::fs::OpenOptions::new();
                let look = look.read(!write).write(write).custom_flags(flags);
                let _ = look.open(path);
            }
            let status = running.wait().unwrap();
            let told = matches!(status.stages()[0].end, StageEnd::ClosedEarly);
            assert_eq!(told, early, "{}", status.stages()[0]);
        }
    }
}

/// curl exits with 23, Python with 1, where others die of SIGPIPE.
#[test]
fn a_failure_says_that_its_reader_had_gone_and_may_be_forgiven() {
    let _watchdog = watchdog();
    let writer = "trap '' PIPE; while echo line; do :; done 2>/dev/null; exit 23";
    let stages = || (sh(writer), sh("exec head -1").stdout(Stdio::Null));
    let (first, last) = stages();
    let status = (first | last).run().unwrap();
    let stage = &status.stages()[0];
    assert!(stage.reader_gone);
    assert!(
        stage
            .to_string()
            .ends_with(": exit status 23; its reader had gone"),
        "{stage}"
    );
    assert_eq!(status.exit_code(), 23);

    for policy in [Policy::Pipefail, Policy::Any] {
        let (first, last) = stages();
        let status = (first.forgive(23) | last).policy(policy).run().unwrap();
        assert!(status.success() && status.stages()[0].forgiven);
        let (first, last) = stages();
        let status = (first.forgive(22) | last).policy(policy).run().unwrap();
        assert_eq!(status.exit_code(), 23);
    }
    // And where it is still there, nothing is said.
    let status = run("echo line; exit 23", "exec cat");
    assert_eq!(
        status.stages()[0].to_string(),
        "sh -c 'echo line; exit 23': exit status 23"
    );
}

#[test]
fn curl_before_head_fails_with_its_own_status_and_says_why() {
    let _watchdog = watchdog();
    if Command::new("curl")
        .arg("--version")
        .capture()
        .output()
        .is_err()
    {
        println!("skipped: there is no curl");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("large");
    std::fs::write(&file, vec![b'x'; 16 << 20]).unwrap();
    let curl = || Command::new("curl").args(["-s", &format!("file://{}", file.display())]);
    let head = || Command::new("head").args(["-c", "1"]).stdout(Stdio::Null);
    let status = (curl() | head()).run().unwrap();
    assert_eq!(status.exit_code(), 23);
    assert!(status.stages()[0].reader_gone);
    assert!((curl().forgive(23) | head()).run().unwrap().success());
}

#[test]
fn a_forgiven_status_is_no_failure_of_a_capture_nor_of_the_last_stage() {
    let _watchdog = watchdog();
    let grep = || Command::new("grep").arg("needle");
    assert!(grep().capture().input("hay").read().is_err());
    assert_eq!(grep().forgive(1).capture().input("hay").read().unwrap(), "");
    let status = (sh("echo hay") | grep().forgive_all()).run().unwrap();
    assert!(status.success());
    // That a program is not there is no status of it.
    let missing = Command::new("/no/such/program").forgive_all();
    let status = (sh("exit 0") | missing).run().unwrap();
    assert_eq!(status.exit_code(), 127);
}

#[test]
fn nothing_of_the_watching_is_left() {
    isolated("nothing_of_the_watching_is_left", || {
        let before = testing::open_descriptors();
        for _ in 0..20 {
            let running = (sh("exec yes") | sh("exec head -1").stdout(Stdio::Null))
                .spawn()
                .unwrap();
            let other = (sh("exit 0") | sh("exit 0")).spawn().unwrap();
            running.wait().unwrap();
            drop(running);
            assert!(other.wait().unwrap().success());
        }
        assert_eq!(testing::open_descriptors(), before);
    });
}

/// Without an instance of inotify the reader counts as gone, as it mostly is.
#[test]
fn where_the_pipe_cannot_be_watched_the_reader_counts_as_gone() {
    isolated(
        "where_the_pipe_cannot_be_watched_the_reader_counts_as_gone",
        || {
            // To take all instances would not do: another process of this user may give one back.
            let failing = || {
                fault(libc::SYS_inotify_init1, libc::EMFILE).install();
                run("exec yes", "exec head -1")
            };
            let status = std::thread::spawn(failing).join().unwrap();
            let stage = &status.stages()[0];
            assert!(
                matches!(stage.end, StageEnd::ClosedEarly) && !stage.reader_gone,
                "{stage}"
            );
        },
    );
}
