//! What may befall a recording: damage, another machine, another program, a kill at each step of `-o`, readers
//! of all kinds. The result is the bytes of an undisturbed run, or a reason.

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::pipewright;
use testing::{stderr, watchdog, write_script};

fn told(place: &Path, arguments: &[&str]) -> Output {
    let mut command = pipewright();
    command.current_dir(place).args(arguments);
    command.stdin(Stdio::null()).output().unwrap()
}

fn record(place: &Path, text: &str, status: i32) {
    let output = told(place, &["run", "--record", "kept", text]);
    assert_eq!(output.status.code(), Some(status), "{}", stderr(&output));
}

fn by_bash(place: &Path, text: &str) -> Output {
    let text = text.replace("P ", concat!(env!("CARGO_BIN_EXE_pipewright"), " "));
    let mut command = Command::new("bash");
    command
        .current_dir(place)
        .args(["-o", "pipefail", "-c", &text]);
    command.stdin(Stdio::null()).output().unwrap()
}

/// Its last stage has failed, and would succeed now.
const REPAIRED: &str = "seq 20000 | { cat; [ -e repaired ]; }";

fn failed(place: &Path) -> Vec<u8> {
    record(place, REPAIRED, 1);
    std::fs::write(place.join("repaired"), "").unwrap();
    by_bash(place, "seq 20000").stdout
}

#[test]
fn a_bit_that_turned_over_in_any_file_is_an_error_that_names_it_and_never_other_bytes() {
    let _watchdog = watchdog();
    let files = [
        "link-1/00000000000000000000.data",
        "link-1/00000000000000000000.index",
        "manifest.json",
        "stage-1.json",
        "stage-2.json",
    ];
    for file in files {
        let length = {
            let place = tempfile::tempdir().unwrap();
            failed(place.path());
            let length = place
                .path()
                .join("kept")
                .join(file)
                .metadata()
                .unwrap()
                .len();
            length as usize
        };
        for part in 0..6 {
            let place = tempfile::tempdir().unwrap();
            let place = place.path();
            let expected = failed(place);
            let path = place.join("kept").join(file);
            let mut bytes = std::fs::read(&path).unwrap();
            // Its last bit is the difference between a digit and the next, a letter and the next.
            let at = (length * part / 6 + 7).min(bytes.len() - 1);
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            let output = told(place, &["resume", "kept", "-o", "result"]);
            let said = stderr(&output);
            let what = format!("{file} at {at}: {said}");
            if output.status.success() {
                // Between two words of JSON it is no damage; and what counts as cut off is run again.
                assert!(
                    std::fs::read(place.join("result")).unwrap() == expected,
                    "{what}"
                );
                continue;
            }
            assert_eq!(output.status.code(), Some(125), "{what}");
            let name = file.rsplit('/').next().unwrap();
            assert!(said.contains(name.trim_end_matches(".index")), "{what}");
            assert!(!place.join("result").exists(), "{what}");
        }
    }
}

#[test]
fn a_manifest_that_says_something_else_is_refused() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    failed(place);
    let path = place.join("kept/manifest.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("seq 20000", "seq 20001")).unwrap();
    for arguments in [&["resume", "kept"][..], &["replay", "kept", "2"]] {
        let output = told(place, arguments);
        assert_eq!(output.status.code(), Some(125));
        assert!(
            stderr(&output).contains("is damaged"),
            "{}",
            stderr(&output)
        );
    }
    assert!(text.contains("\"crc32c\""));
}

#[test]
fn a_program_that_is_missing_is_refused_and_another_version_is_told() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let bin = place.join("bin");
    std::fs::create_dir(&bin).unwrap();
    write_script(&bin.join("last"), "#!/bin/sh\ncat; exit 3\n");
    let text = "seq 10 | bin/last";
    record(place, text, 3);
    std::fs::remove_file(bin.join("last")).unwrap();
    let before = std::fs::read(place.join("kept/manifest.json")).unwrap();
    let output = told(place, &["resume", "kept", "-o", "result"]);
    assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("stage 2 needs bin/last"),
        "{}",
        stderr(&output)
    );
    assert_eq!(
        std::fs::read(place.join("kept/manifest.json")).unwrap(),
        before
    );
    assert_eq!(
        std::fs::read_dir(place).unwrap().count(),
        2,
        "nothing is left"
    );
    write_script(&bin.join("last"), "#!/bin/sh\ntac; exit 0\n");
    let output = told(place, &["resume", "kept", "-o", "result"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("last of stage 2 is not the version that was recorded"),
        "{}",
        stderr(&output)
    );
    let result = std::fs::read(place.join("result")).unwrap();
    assert_eq!(result, by_bash(place, "seq 10 | tac").stdout);
}

#[test]
fn an_input_file_that_changed_in_what_is_recorded_is_refused_with_the_byte() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let lines = by_bash(place, "seq 50000").stdout;
    std::fs::write(place.join("input"), &lines).unwrap();
    let text =
        "{ [ -e again ] || { touch again; head -c 100000; sleep 0.3; false; } && cat; } | cat";
    let output = by_bash(place, &format!("P run --record kept '{text}' <input"));
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let mut changed = lines;
    changed[54_321] = b'x';
    std::fs::write(place.join("input"), &changed).unwrap();
    let output = told(place, &["resume", "kept", "-o", "result"]);
    assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("from byte 54321 on"),
        "{}",
        stderr(&output)
    );
    assert!(!place.join("result").exists());
}

#[test]
fn readers_that_are_slow_or_gone_change_nothing() {
    let _watchdog = watchdog();
    let readers = [
        "{ sleep 0.3; cat; } | md5sum",
        "md5sum",
        "head -n 2",
        "true",
    ];
    for reader in readers {
        let place = tempfile::tempdir().unwrap();
        let place = place.path();
        let text = format!("seq 100000 | {reader}");
        let expected = by_bash(place, &text).stdout;
        let rows = [
            format!("P run --record one '{text}'"),
            format!("P run --restart replay '{text}'"),
            "P run --record two 'seq 100000 | { [ -e repaired ] || { cat >/dev/null; exit 1; }; cat; }' \
             >/dev/null; touch repaired; P resume two | READER".to_owned(),
            "P replay two 2 | READER".to_owned(),
            "P replay two 2 --into 'READER'".to_owned(),
        ];
        for row in rows {
            let row = row.replace("READER", reader);
            let output = by_bash(place, &row);
            assert_eq!(output.stdout, expected, "{row}: {}", stderr(&output));
            let code = output.status.code();
            assert!(
                matches!(code, Some(0 | 141)),
                "{row}: {code:?} {}",
                stderr(&output)
            );
        }
    }
}

/// `-o FILE`, where the resume gets SIGKILL at each call that brings the output into its place.
#[test]
fn the_output_file_is_the_old_or_the_whole_new_one_wherever_the_resume_is_killed() {
    let _watchdog = watchdog();
    let strace = Command::new("strace").arg("-V").output();
    if !strace.is_ok_and(|strace| strace.status.success()) {
        println!("skipped: there is no strace");
        return;
    }
    let mut killed = 0;
    for call in ["fsync", "rename", "renameat2", "close", "openat"] {
        for when in 1.. {
            let place = tempfile::tempdir().unwrap();
            let place = place.path();
            let expected = failed(place);
            std::fs::write(place.join("result"), "before").unwrap();
            let mut strace = Command::new("strace");
            strace.current_dir(place).args(["-o", "/dev/null"]);
            strace.args(["-e", &format!("trace={call}"), "-e"]);
            strace.arg(format!("inject={call}:signal=SIGKILL:when={when}"));
            strace.arg(env!("CARGO_BIN_EXE_pipewright"));
            strace.args(["resume", "kept", "-o", "result"]);
            let ended = strace.stdin(Stdio::null()).stderr(Stdio::null()).status();
            let survived = ended.unwrap().success();
            let there = std::fs::read(place.join("result")).unwrap();
            assert!(
                there == b"before" && !survived || there == expected,
                "{call} {when}: {} bytes",
                there.len()
            );
            if survived {
                break;
            }
            killed += 1;
            // What still runs of it ends by itself.
            let output = loop {
                let output = told(place, &["resume", "kept", "-o", "result"]);
                let said = stderr(&output);
                let runs = ["still runs", "runs already", "another process"];
                if !runs.iter().any(|word| said.contains(word)) {
                    break output;
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            };
            assert!(
                output.status.success(),
                "{call} {when}: {}",
                stderr(&output)
            );
            assert!(
                std::fs::read(place.join("result")).unwrap() == expected,
                "{call} {when}"
            );
            let left = std::fs::read_dir(place).unwrap().count();
            assert_eq!(left, 3, "{call} {when}: something is left");
            // Of these there are many, and few matter.
            let most = testing::campaign(3, 100);
            if when >= most {
                break;
            }
        }
    }
    assert!(killed > 5, "{killed}");
}

#[test]
fn the_output_file_keeps_its_mode_and_a_link_to_it_stays_a_link() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let expected = failed(place);
    std::fs::create_dir(place.join("far")).unwrap();
    let target = place.join("far/target");
    std::fs::write(&target, "before").unwrap();
    std::fs::set_permissions(&target, PermissionsExt::from_mode(0o604)).unwrap();
    std::os::unix::fs::symlink("far/target", place.join("result")).unwrap();
    let output = told(place, &["resume", "kept", "-o", "result"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(place.join("result").is_symlink());
    assert!(std::fs::read(&target).unwrap() == expected);
    assert_eq!(target.metadata().unwrap().mode() & 0o7777, 0o604);
    assert_eq!(std::fs::read_dir(place.join("far")).unwrap().count(), 1);

    // A new one is as any new file.
    let output = by_bash(place, "umask 027; P resume kept -o new");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(place.join("new").metadata().unwrap().mode() & 0o7777, 0o640);

    // Where somebody has laid a link in the way, it is not followed.
    std::os::unix::fs::symlink("far/target", place.join(".other.unfinished")).unwrap();
    let output = told(place, &["resume", "kept", "-o", "other"]);
    assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
    assert!(std::fs::read(&target).unwrap() == expected);
}

#[test]
fn two_that_write_the_same_output_file_at_once_do_not_mix() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let expected = failed(place);
    std::fs::rename(place.join("kept"), place.join("first")).unwrap();
    std::fs::remove_file(place.join("repaired")).unwrap();
    let text =
        "seq 9 | { [ -e repaired ] || exit 1; touch runs; until [ -e go ]; do sleep 0.01; done; }";
    record(place, text, 1);
    std::fs::write(place.join("repaired"), "").unwrap();
    let mut slow = pipewright();
    slow.current_dir(place)
        .args(["resume", "kept", "-o", "result"]);
    let mut slow = slow.stdin(Stdio::null()).spawn().unwrap();
    while !place.join("runs").exists() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let output = told(place, &["resume", "first", "-o", "result"]);
    assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("another process is writing it"),
        "{}",
        stderr(&output)
    );
    std::fs::write(place.join("go"), "").unwrap();
    assert!(slow.wait().unwrap().success());
    let output = told(place, &["resume", "first", "-o", "result"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(std::fs::read(place.join("result")).unwrap() == expected);
}
