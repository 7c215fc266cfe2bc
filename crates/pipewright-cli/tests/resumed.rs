//! `pipewright resume`, and `run --restart`: what did not finish is run again, and the result is the bytes of
//! an undisturbed run, or an error that names the byte.

mod support;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use support::{pipewright, start_in_a_group};
use testing::{PATIENCE, is_root, stderr, watchdog, with_time_enough, write_script};

/// pipewright with these arguments, in a directory.
fn told(place: &Path, arguments: &[&str]) -> Output {
    let mut command = pipewright();
    command.current_dir(place).args(arguments);
    command.stdin(Stdio::null()).output().unwrap()
}

fn record(place: &Path, options: &[&str], text: &str) -> Output {
    let run = ["run", "--record", "kept"];
    told(place, &[&run, options, &[text]].concat())
}

fn resume(place: &Path) -> Output {
    told(place, &["resume", "kept", "-o", "result"])
}

fn bash(text: &str) -> Vec<u8> {
    Command::new("bash")
        .args(["-c", text])
        .output()
        .unwrap()
        .stdout
}

fn result(place: &Path) -> Vec<u8> {
    std::fs::read(place.join("result")).unwrap()
}

/// How often a stage was started that notes it.
fn starts(place: &Path, name: &str) -> usize {
    let text = std::fs::read_to_string(place.join(format!("{name}.starts")));
    text.unwrap_or_default().lines().count()
}

/// `./faulty NAME FAULT COMMAND…` gives a part of what the command gives, and dies in a way, the first time;
/// then it is the command.
const FAULTY: &str = r#"#!/bin/bash
name=$1 fault=$2
shift 2
echo start >>$name.starts
[ $(wc -l <$name.starts) -gt 1 ] && exec "$@"
"$@" | head -c 300000
case $fault in
kill) kill -9 $$ ;;
exit) exit 1 ;;
hang) exec sleep 1000 ;;
none) exec cat >/dev/null ;;
esac
"#;

const STAGES: [&str; 3] = ["seq 200000", "sed s/$/-b/", "sed s/^/c-/"];

/// The pipeline in which one of the stages has the fault, and every one notes its starts.
fn pipeline(place: &Path, faulty: usize, fault: &str) -> String {
    write_script(&place.join("faulty"), FAULTY);
    write_script(
        &place.join("noting"),
        "#!/bin/bash\necho start >>$1.starts\nshift\nexec \"$@\"\n",
    );
    let stages = STAGES.iter().enumerate().map(|(index, command)| {
        if index == faulty {
            format!("./faulty {index} {fault} {command}")
        } else {
            format!("./noting {index} {command}")
        }
    });
    stages.collect::<Vec<_>>().join(" | ")
}

/// The stages before one that ended well, with all of their output taken: they need not be run again.
fn finished(place: &Path, before: usize) -> Vec<usize> {
    let text = std::fs::read(place.join("kept/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let well = serde_json::json!({ "exited": 0 });
    let stages = 0..before;
    stages
        .filter(|&stage| manifest["result"]["stages"][stage] == well)
        .filter(|&stage| manifest["result"]["links"][(stage + 1).to_string()]["complete"] == true)
        .collect()
}

/// Each stage, each fault, both ways.
#[test]
fn whatever_befalls_a_stage_the_result_is_that_of_an_undisturbed_run() {
    let _watchdog = watchdog();
    let expected = bash(&STAGES.join(" | "));
    for faulty in 0..3 {
        for fault in ["kill", "exit", "hang"] {
            for restart in [false, true] {
                let row = format!("stage {faulty}, {fault}, restart {restart}");
                let attempt = |limit: Duration| {
                    let place = tempfile::tempdir().unwrap();
                    let text = pipeline(place.path(), faulty, fault);
                    let mut options = Vec::new();
                    if restart {
                        options.extend(["--restart", "replay"]);
                    }
                    let limit = limit.as_secs_f64().to_string();
                    if fault == "hang" {
                        options.extend(["--timeout", &limit]);
                    }
                    let output = record(place.path(), &options, &text);
                    // In time to come to its fault, or it would hang the second time.
                    let is_started = starts(place.path(), &faulty.to_string()) > 0;
                    is_started.then_some((place, output))
                };
                let (place, output) = with_time_enough(attempt);
                let place = place.path();
                let code = output.status.code();
                match (fault, restart) {
                    // A stage that was told to end is not started again.
                    ("hang", _) => assert_eq!(code, Some(124), "{row}: {}", stderr(&output)),
                    (_, true) => {
                        assert_eq!(code, Some(0), "{row}: {}", stderr(&output));
                        assert!(output.stdout == expected, "{row}");
                        assert!(stderr(&output).contains("started again behind"), "{row}");
                        assert_eq!(starts(place, &faulty.to_string()), 2, "{row}");
                        continue;
                    }
                    ("kill", _) => assert_eq!(code, Some(137), "{row}: {}", stderr(&output)),
                    _ => assert_eq!(code, Some(1), "{row}: {}", stderr(&output)),
                }
                let finished = finished(place, faulty);
                let output = resume(place);
                assert!(output.status.success(), "{row}: {}", stderr(&output));
                assert!(result(place) == expected, "{row}");
                for stage in finished {
                    assert_eq!(starts(place, &stage.to_string()), 1, "{row}: stage {stage}");
                }
                let output = resume(place);
                assert!(output.status.success(), "{row}");
                assert!(stderr(&output).contains("nothing is left to do"), "{row}");
            }
        }
    }
}

#[test]
fn a_stage_that_finished_is_not_run_again_and_the_failed_one_has_its_input_from_the_recording() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let text = "{ echo start >>0.starts; seq 9; } | { [ -e repaired ] || { cat >/dev/null; exit 3; }; tac; }";
    assert_eq!(record(place, &[], text).status.code(), Some(3));
    assert_eq!(told(place, &["resume", "kept"]).status.code(), Some(3));
    std::fs::write(place.join("repaired"), "").unwrap();
    let output = told(place, &["resume", "kept"]);
    assert_eq!(output.stdout, bash("seq 9 | tac"), "{}", stderr(&output));
    assert!(stderr(&output).contains("running stage 2 of 2, with the recorded input"));
    assert_eq!(starts(place, "0"), 1);
    let output = told(place, &["resume", "kept"]);
    assert!(output.status.success() && output.stdout.is_empty());
    assert!(stderr(&output).contains("nothing is left to do"));
}

#[test]
fn a_failed_stage_lets_those_before_it_finish_where_that_was_asked_for() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    // Not the same twice: it may not be run again.
    let text =
        "{ date +%N; sleep 0.2; seq 300000; date +%N; } | { [ -e repaired ] || exit 3; md5sum; }";
    assert_eq!(
        record(place, &["--keep-going"], text).status.code(),
        Some(3)
    );
    std::fs::write(place.join("repaired"), "").unwrap();
    let output = told(place, &["resume", "kept"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let input = told(place, &["replay", "kept", "2", "--into", "md5sum"]);
    assert!(input.status.success() && input.stdout == output.stdout);
}

#[test]
fn a_stage_that_does_not_give_the_same_again_is_refused_with_the_byte() {
    let _watchdog = watchdog();
    let sources = [
        ("{ echo begin; date +%N; sleep 0.2; exit 1; }", 6..15),
        (
            "bash -c 'echo begin; echo $RANDOM$RANDOM$RANDOM; sleep 0.2; exit 1'",
            6..21,
        ),
        (
            "{ [ -e short ] || { touch short; seq 9; sleep 0.2; exit 1; }; echo 1; }",
            2..3,
        ),
        ("{ shuf -i 1-9999; sleep 0.2; exit 1; }", 0..48_890),
        // A header has the time of the file, where nobody says -n.
        (
            "{ echo >>n; seq 9 >f; touch -d @$(wc -c <n)00000 f; gzip -c f; sleep 0.2; exit 1; }",
            4..8,
        ),
        ("bash -c 'echo pid $$; sleep 0.2; exit 1'", 4..12),
        ("{ echo more >>f; ls -l f; sleep 0.2; exit 1; }", 10..80),
        // Whoever of several at once is first.
        (
            "{ one=1 two=2; [ -e n ] && one=2 two=1; touch n; \
             echo $one & wait; echo $two & wait; sleep 0.2; exit 1; }",
            0..1,
        ),
    ];
    for (source, place_of_it) in sources {
        for (ways, text) in [
            (&["--record", "kept"][..], format!("{source} | cat")),
            (&["--restart", "replay"], format!("{source} | cat")),
            (&["--record", "kept"], format!("seq 3 | {source} | cat")),
            (
                &["--restart", "2=replay"],
                format!("seq 3 | {source} | cat"),
            ),
        ] {
            let place = tempfile::tempdir().unwrap();
            let place = place.path();
            let mut output = told(place, &[&["run"], ways, &[&text]].concat());
            if ways[0] == "--record" {
                assert_eq!(output.status.code(), Some(1), "{text}: {}", stderr(&output));
                output = told(place, &["resume", "kept"]);
                assert!(output.stdout.is_empty(), "{text}");
            }
            assert_eq!(
                output.status.code(),
                Some(125),
                "{text}: {}",
                stderr(&output)
            );
            let told = stderr(&output);
            let digits = |rest: &str| {
                let end = rest.find(|c: char| !c.is_ascii_digit());
                rest[..end.unwrap_or(rest.len())].parse::<u64>().ok()
            };
            let byte = told.split("byte ").find_map(digits);
            assert!(
                byte.is_some_and(|byte| place_of_it.contains(&byte)),
                "{text}: {told}"
            );
        }
    }
}

#[test]
fn a_stage_is_started_again_so_often_and_no_more() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let text = "seq 10 | { echo start >>1.starts; cat; exit 7; } | cat";
    let run = ["run", "--restart", "2=replay", "--restart-max", "3", text];
    let output = told(place, &run);
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(output.stdout, bash("seq 10"), "each byte once");
    assert_eq!(starts(place, "1"), 4);

    // Forgiven is no failure, and who was closed early did not fail.
    let output = told(
        place,
        &[
            "run",
            "--restart",
            "replay",
            "--forgive",
            "1",
            "seq 3 | grep 7 | cat",
        ],
    );
    assert!(output.status.success() && !stderr(&output).contains("again"));
    let output = told(place, &["run", "--restart", "replay", "yes | head -n 1"]);
    assert!(
        output.status.success() && output.stdout == b"y\n",
        "{}",
        stderr(&output)
    );
    assert!(!stderr(&output).contains("again"));
}

#[test]
fn chunks_of_a_stage_are_run_again_by_its_workers() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    std::fs::create_dir(place.join("bin")).unwrap();
    // grep, which dies the third time it is started.
    let grep = bash("command -v grep");
    let grep = String::from_utf8(grep).unwrap();
    let script = format!(
        "#!/bin/bash\necho start >>grep.starts\n\
         [ $(wc -l <grep.starts) = 5 ] && {{ head -c 1000 >/dev/null; kill -9 $$; }}\nexec {} \"$@\"\n",
        grep.trim()
    );
    write_script(&place.join("bin/grep"), &script);
    let path = format!("{}/bin:{}", place.display(), std::env::var("PATH").unwrap());
    let mut command = pipewright();
    command.current_dir(place).env("PATH", path);
    let text = "seq 2000000 | grep 7";
    let output = command.args(["run", "--restart", "chunk", "--summary", "always", text]);
    let output = output.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(output.stdout == bash(text));
}

fn await_file(path: &Path) {
    let began = std::time::Instant::now();
    while !path.exists() {
        assert!(
            began.elapsed() < PATIENCE,
            "{} does not come",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn of_two_that_resume_at_once_the_second_is_told_and_changes_nothing() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let text = "seq 1000 | { [ -e again ] || { cat >/dev/null; exit 1; }; touch runs; until [ -e go ]; do sleep 0.01; done; cat; }";
    assert_eq!(record(place, &[], text).status.code(), Some(1));
    std::fs::write(place.join("again"), "").unwrap();
    let mut first = start_in_a_group(place, &["resume", "kept", "-o", "result"]);
    await_file(&place.join("runs"));
    let second = told(place, &["resume", "kept"]);
    assert_eq!(second.status.code(), Some(125));
    assert!(
        stderr(&second).contains("another process is running or resuming"),
        "{}",
        stderr(&second)
    );
    std::fs::write(place.join("go"), "").unwrap();
    assert!(first.wait().unwrap().success());
    assert_eq!(result(place), bash("seq 1000"));
}

#[test]
fn a_pipeline_whose_run_is_killed_goes_on_and_cannot_be_resumed_meanwhile() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let text = "{ seq 1000; touch runs; until [ -e go ]; do sleep 0.01; done; seq 1000; } | \
                { tac >last; touch over; }";
    let mut run = start_in_a_group(place, &["run", "--record", "kept", text]);
    await_file(&place.join("runs"));
    run.kill().unwrap();
    run.wait().unwrap();
    let refused = told(place, &["resume", "kept"]);
    assert_eq!(refused.status.code(), Some(125));
    assert!(
        stderr(&refused).contains("still runs, although its run was killed"),
        "{}",
        stderr(&refused)
    );
    std::fs::write(place.join("go"), "").unwrap();
    await_file(&place.join("over"));
    await_file(&place.join("kept/stage-2.json"));
    assert!(std::fs::read(place.join("last")).unwrap() == bash("{ seq 1000; seq 1000; } | tac"));
    // The keeper writes down how its stage ended, and goes.
    let output = loop {
        let output = told(place, &["resume", "kept"]);
        if !stderr(&output).contains("still runs") {
            break output;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("nothing is left to do"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_recording_can_be_resumed_where_it_was_copied_to() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let there = tempfile::tempdir().unwrap();
    let work = place.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let text = "seq 100000 | { [ -e repaired ] || { head -c 5000 >/dev/null; exit 1; }; md5sum; }";
    assert_eq!(
        record(&work, &["--keep-going"], text).status.code(),
        Some(1)
    );
    let copied = Command::new("cp")
        .arg("-r")
        .arg(work.join("kept"))
        .arg(there.path())
        .status();
    assert!(copied.unwrap().success());
    // Another machine has neither the directory nor the same boot.
    std::fs::remove_dir_all(&work).unwrap();
    for link in std::fs::read_dir(there.path().join("kept")).unwrap() {
        let lock = link.unwrap().path().join("lock");
        if lock.exists() {
            std::fs::write(lock, "another boot").unwrap();
        }
    }
    std::fs::write(there.path().join("repaired"), "").unwrap();
    let output = resume(there.path());
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("cannot go to"),
        "{}",
        stderr(&output)
    );
    assert_eq!(result(there.path()), bash("seq 100000 | md5sum"));
}

#[test]
fn the_output_file_is_whole_or_as_it_was() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let text = "seq 1000 | { cat; [ -e repaired ]; }";
    assert_eq!(record(place, &[], text).status.code(), Some(1));
    std::fs::write(place.join("result"), "before").unwrap();
    assert_eq!(resume(place).status.code(), Some(1));
    assert_eq!(result(place), b"before");
    assert_eq!(
        std::fs::read_dir(place).unwrap().count(),
        2,
        "nothing is left beside it"
    );
    std::fs::write(place.join("repaired"), "").unwrap();
    assert!(resume(place).status.success());
    assert_eq!(result(place), bash("seq 1000"));
    // It is done, and the output is asked for elsewhere; or it was lost.
    let other = told(place, &["resume", "kept", "-o", "other"]);
    assert!(other.status.success());
    assert_eq!(
        std::fs::read(place.join("other")).unwrap(),
        bash("seq 1000")
    );
    std::fs::remove_file(place.join("other")).unwrap();
    assert!(
        told(place, &["resume", "kept", "-o", "other"])
            .status
            .success()
    );
    assert_eq!(
        std::fs::read(place.join("other")).unwrap(),
        bash("seq 1000")
    );
    let refused = told(place, &["resume", "kept", "-o", "/dev/null"]);
    assert!(
        stderr(&refused).contains("no regular file"),
        "{}",
        stderr(&refused)
    );
}

#[test]
fn a_stdin_that_is_gone_has_to_be_given_again_and_a_file_is_opened_again() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    std::fs::write(place.join("input"), bash("seq 50000")).unwrap();
    let text = "{ [ -e repaired ] || { head -c 1000 >/dev/null; exit 1; }; cat; } | md5sum";
    let run = |arguments: &str| {
        let program = env!("CARGO_BIN_EXE_pipewright");
        let mut command = Command::new("bash");
        command.args(["-c", &arguments.replace("PIPEWRIGHT", program)]);
        command
            .current_dir(place)
            .env("TEXT", text)
            .output()
            .unwrap()
    };
    assert_eq!(
        run("PIPEWRIGHT run --record file \"$TEXT\" <input")
            .status
            .code(),
        Some(1)
    );
    let piped = "{ cat input; sleep 0.3; } | PIPEWRIGHT run --record pipe \"$TEXT\"";
    assert_eq!(run(piped).status.code(), Some(1));
    std::fs::write(place.join("repaired"), "").unwrap();
    let expected = bash("seq 50000 | md5sum");
    let output = run("PIPEWRIGHT resume file </dev/null");
    assert!(output.stdout == expected, "{}", stderr(&output));

    let output = run("PIPEWRIGHT resume pipe </dev/null");
    if output.status.code() == Some(125) {
        assert!(
            stderr(&output).contains("give it its input again"),
            "{}",
            stderr(&output)
        );
        let output = run("{ echo 1; echo 2; echo other; } | PIPEWRIGHT resume pipe");
        assert!(
            stderr(&output).contains("stdin does not give"),
            "{}",
            stderr(&output)
        );
        let output = run("cat input | PIPEWRIGHT resume pipe");
        assert!(output.stdout == expected, "{}", stderr(&output));
    } else {
        // All of it had been taken before the stage failed.
        assert!(output.stdout == expected, "{}", stderr(&output));
    }
}

#[test]
fn a_full_disk_is_waited_for_and_nothing_is_lost() {
    let _watchdog = watchdog();
    if !is_root() {
        println!("skipped: only root may mount a small disk");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let disk = place.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=3M", "small"])
        .arg(&disk)
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!("skipped: nothing can be mounted here");
        return;
    }
    std::fs::write(disk.join("ballast"), vec![1; 2 << 20]).unwrap();
    // So many bytes that they fit once the ballast is gone.
    let text = "head -c 2500000 /dev/zero | md5sum";
    let mut run = start_in_a_group(
        &disk,
        &["run", "--record", "kept", &format!("{text} >../sum")],
    );
    let mut told = String::new();
    let mut stderr = std::io::BufReader::new(run.stderr.take().unwrap());
    std::io::BufRead::read_line(&mut stderr, &mut told).unwrap();
    let is_told = told.contains("is full, and everybody waits");
    std::fs::remove_file(disk.join("ballast")).unwrap();
    let status = run.wait().unwrap();
    let unmounted = Command::new("umount").arg(&disk).status().unwrap();
    assert!(is_told, "{told}");
    assert!(status.success() && unmounted.success());
    assert_eq!(std::fs::read(place.path().join("sum")).unwrap(), bash(text));
}

#[test]
fn one_bit_of_a_recording_turned_over_is_an_error_with_file_and_offset() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let text = "seq 100000 | { cat >/dev/null; [ -e repaired ]; }";
    assert_eq!(record(place, &[], text).status.code(), Some(1));
    std::fs::write(place.join("repaired"), "").unwrap();
    let segment = place.join("kept/link-1/00000000000000000000.data");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[54321] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let output = resume(place);
    assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("00000000000000000000.data is damaged at byte"),
        "{}",
        stderr(&output)
    );
    assert!(!place.join("result").exists());
}
