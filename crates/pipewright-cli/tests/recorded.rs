//! `pipewright run --record`, `replay` and `diff`: what went from stage to stage is kept, and the pipeline is
//! what it is without.

mod support;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::pipewright;
use testing::{feed, stderr, watchdog};

/// `pipewright run --record kept`, in a directory.
fn record(place: &Path, options: &[&str], text: &str) -> Output {
    let mut command = pipewright();
    command.current_dir(place).args(["run", "--record", "kept"]);
    command.args(options).arg(text).stdin(Stdio::null());
    command.output().unwrap()
}

/// pipewright with these arguments, in a directory.
fn told(place: &Path, arguments: &[&str]) -> Output {
    let mut command = pipewright();
    command.current_dir(place).args(arguments);
    command.stdin(Stdio::null()).output().unwrap()
}

fn bash(place: &Path, text: &str) -> Output {
    let mut command = Command::new("bash");
    command
        .current_dir(place)
        .args(["-o", "pipefail", "-c", text]);
    command.stdin(Stdio::null()).output().unwrap()
}

fn manifest(place: &Path) -> serde_json::Value {
    let text = std::fs::read(place.join("kept/manifest.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn the_bytes_of_a_recorded_link_are_those_it_holds() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let mut command = pipewright();
    // Long enough to be looked at.
    let text = "{ seq 300000; sleep 0.5; } | sort | { cat; false; }";
    command.args(["run", "--json=told", "--record", "kept", text]);
    let _ = command.current_dir(&place).output().unwrap();
    let told: serde_json::Value =
        serde_json::from_slice(&std::fs::read(place.path().join("told")).unwrap()).unwrap();
    let length = (1..=300_000).map(|number: u32| number.to_string().len() + 1);
    let length = length.sum::<usize>();
    for link in 0..2 {
        assert_eq!(
            told["pipes"][link]["estimated_bytes"], length,
            "{link}: {told}"
        );
    }
}

#[test]
fn a_recorded_pipeline_gives_the_bytes_and_the_status_of_one_that_is_not() {
    let _watchdog = watchdog();
    let texts = [
        "seq 100000 | sort -rn | uniq -c | tail -n 2",
        "yes | head -n 3",
        "yes | bash -c 'head -n 3; exec <&-; sleep 0.1'",
        "printf 'no newline' | cat | cat",
        "true | cat",
        "seq 10 | false",
        "{ echo some; exit 3; } | cat",
        "ls /nowhere/at/all |& grep -c nowhere",
        "{ echo error >&2; echo output; } |& sort",
        "! seq 5 | grep 7",
        "seq 200000 | { cat <&0 & } | md5sum",
        "seq 100 | while read -r line; do echo \"<$line>\"; done | tail -n 1",
        "cat <<'END' | tr a-z A-Z\nhere\nEND\n",
    ];
    for text in texts {
        let place = tempfile::tempdir().unwrap();
        let expected = bash(place.path(), text);
        let output = record(place.path(), &[], text);
        assert!(
            output.stdout == expected.stdout,
            "{text}: {}",
            stderr(&output)
        );
        // Closed early is no failure here.
        let code = expected.status.code().filter(|code| *code != 141);
        assert_eq!(
            output.status.code(),
            code.or(Some(0)),
            "{text}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn each_link_is_in_the_recording_and_the_manifest_tells_of_everything() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let output = record(place.path(), &[], "seq 100000 | sed 's/$/ x/' | wc -l");
    assert!(
        output.status.success() && output.stdout == b"100000\n",
        "{}",
        stderr(&output)
    );

    let inputs = ["seq 100000", "seq 100000 | sed 's/$/ x/'"];
    for (stage, text) in (2..).zip(inputs) {
        let expected = bash(place.path(), text).stdout;
        let replayed = told(place.path(), &["replay", "kept", &stage.to_string()]);
        assert!(replayed.status.success() && replayed.stdout == expected);
        let link = format!("cat kept/link-{}/*.data", stage - 1);
        assert!(
            bash(place.path(), &link).stdout == expected,
            "it is the raw bytes"
        );
        let told = &manifest(place.path())["result"]["links"][(stage - 1).to_string()];
        assert_eq!(told["bytes"], expected.len());
        assert_eq!(told["crc32c"], crc32c::crc32c(&expected));
        assert_eq!(told["complete"], true);
    }
    let manifest = manifest(place.path());
    assert_eq!(manifest["text"], "seq 100000 | sed 's/$/ x/' | wc -l");
    assert_eq!(
        manifest["stages"][1]["command"],
        serde_json::json!(["sed", "s/$/ x/"])
    );
    let directory = place.path().canonicalize().unwrap();
    assert_eq!(manifest["directory"], directory.to_str().unwrap());
    assert_eq!(manifest["pipewright_version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(manifest["result"]["status"], 0);
    let exited = serde_json::json!({ "exited": 0 });
    assert_eq!(
        manifest["result"]["stages"],
        serde_json::json!([exited, exited, exited])
    );
    assert_eq!(
        manifest["environment"]["PATH"],
        std::env::var("PATH").unwrap()
    );
}

#[test]
fn a_stdin_that_is_a_pipe_is_recorded_and_only_the_links_that_were_asked_for() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let mut command = pipewright();
    command.current_dir(place.path());
    let output = feed(
        command.args(["run", "--record", "kept", "rev"]),
        b"stressed\n",
    );
    assert!(
        output.status.success() && output.stdout == b"desserts\n",
        "{}",
        stderr(&output)
    );
    assert_eq!(
        told(place.path(), &["replay", "kept", "1"]).stdout,
        b"stressed\n"
    );

    let place = tempfile::tempdir().unwrap();
    record(
        place.path(),
        &["--record-links", "2"],
        "echo a | cat | tr a b",
    );
    assert_eq!(told(place.path(), &["replay", "kept", "3"]).stdout, b"a\n");
    let refused = told(place.path(), &["replay", "kept", "2"]);
    assert_eq!(refused.status.code(), Some(125));
    assert!(
        stderr(&refused).contains("there is that of stage 3"),
        "{}",
        stderr(&refused)
    );
}

#[test]
fn what_cannot_be_recorded_is_refused_before_anything_is_started() {
    let _watchdog = watchdog();
    let rows: [(&[&str], &str, &str); 6] = [
        (&[], "touch started | cat; true", "cut into stages"),
        (&[], "touch started", "nothing to record"),
        (
            &["--record-links", "2"],
            "touch started | cat",
            "link 1 only",
        ),
        (
            &["--restart", "3=replay"],
            "touch started | cat",
            "has 2 stages",
        ),
        (
            &["--restart", "2=chunk"],
            "touch started | sed 1d",
            "chunk by chunk",
        ),
        (
            &["--restart", "chunk"],
            "touch started | sed 1d",
            "chunk by chunk",
        ),
    ];
    for (options, text, word) in rows {
        let place = tempfile::tempdir().unwrap();
        let output = record(place.path(), options, text);
        assert_eq!(output.status.code(), Some(125), "{text}");
        assert!(
            stderr(&output).contains(word),
            "{text}: {}",
            stderr(&output)
        );
        assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0, "{text}");
    }

    let place = tempfile::tempdir().unwrap();
    assert!(record(place.path(), &[], "echo one | cat").status.success());
    let again = record(place.path(), &[], "touch started | cat");
    assert_eq!(again.status.code(), Some(125));
    assert!(
        stderr(&again).contains("`pipewright resume kept`"),
        "{}",
        stderr(&again)
    );
    assert!(!place.path().join("started").exists());
    std::fs::create_dir(place.path().join("other")).unwrap();
    std::fs::write(place.path().join("other/thesis"), "").unwrap();
    let output = told(
        place.path(),
        &["run", "--record", "other", "touch started | cat"],
    );
    assert!(
        stderr(&output).contains("no recording's (thesis)"),
        "{}",
        stderr(&output)
    );
    assert!(!place.path().join("started").exists());
}

#[test]
fn a_program_that_is_missing_leaves_no_recording() {
    let place = tempfile::tempdir().unwrap();
    let mut command = pipewright();
    // A directory that this user may not look into might hold it.
    command
        .current_dir(place.path())
        .env("PATH", "/usr/bin:/bin");
    let run = ["run", "--record", "kept", "touch started | no-such-program"];
    let output = command.args(run).output().unwrap();
    assert_eq!(output.status.code(), Some(127));
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0);
}

#[test]
fn the_first_stage_and_byte_that_differ_are_shown() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let run = |name: &str, text: &str| {
        let output = told(place.path(), &["run", "--record", name, text]);
        assert!(output.status.success(), "{}", stderr(&output));
    };
    run("one", "seq 100000 | sed 's/^500$/left/' | md5sum");
    run("other", "seq 100000 | sed 's/^500$/right/' | md5sum");
    run("short", "seq 100000 | head -c 1000 | md5sum");
    let diff = |one: &str, other: &str| {
        let output = told(place.path(), &["diff", one, other]);
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code().unwrap(), text)
    };
    assert_eq!(diff("one", "one"), (0, String::new()));
    let (code, text) = diff("one", "other");
    let at = bash(place.path(), "seq 499 | wc -c").stdout;
    let at = String::from_utf8(at).unwrap();
    assert_eq!(code, 1);
    assert!(
        text.starts_with("the outputs of stage 2 (sed 's/^500$/left/', and"),
        "{text}"
    );
    assert!(
        text.contains(&format!("differ from byte {} on", at.trim())),
        "{text}"
    );
    assert!(
        text.contains("|left.501.") && text.contains("|right.501."),
        "{text}"
    );
    let (code, text) = diff("one", "short");
    assert_eq!(code, 1);
    assert!(
        text.contains("short ends at byte 1000, and one goes on"),
        "{text}"
    );
    assert_eq!(diff("one", "nothing").0, 2);
    std::fs::create_dir(place.path().join("empty")).unwrap();
    assert_eq!(diff("one", "empty").0, 2);
}

#[test]
fn a_recording_is_played_at_its_own_speed() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let text = "{ echo 1; sleep 3; echo 2; } | cat";
    assert!(record(place.path(), &[], text).status.success());
    let play = |arguments: &[&str]| {
        let began = std::time::Instant::now();
        let output = told(
            place.path(),
            &[&["replay", "kept", "2"], arguments].concat(),
        );
        assert_eq!(output.stdout, b"1\n2\n", "{}", stderr(&output));
        began.elapsed().as_secs_f64()
    };
    // It cannot be there sooner, whatever the machine does meanwhile; but a busy machine may have
    // recorded the first line late.
    assert!(play(&["--speed", "1x"]) > 0.3);
    assert!(play(&["--speed", "0.5x"]) > 0.6);
    play(&["--speed", "1000"]);
    let into = ["replay", "kept", "2", "--into", "tac"];
    assert_eq!(told(place.path(), &into).stdout, b"2\n1\n");
    for wrong in ["0", "-1x", "fast", "infx"] {
        let output = told(place.path(), &["replay", "kept", "2", "--speed", wrong]);
        assert_eq!(output.status.code(), Some(125), "{wrong}");
    }
}
