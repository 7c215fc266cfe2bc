//! What is seen of a recorded pipeline: its keepers are no stages, each byte counts once, and a stage that was
//! started again, or is run by `resume`, is told with its own number.

mod support;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::pipewright;
use testing::{stderr, watchdog};

fn told(place: &Path, arguments: &[&str]) -> Output {
    let mut command = pipewright();
    command.current_dir(place).args(arguments);
    command.stdin(Stdio::null()).output().unwrap()
}

fn json(place: &Path, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(place.join(name)).unwrap()).unwrap()
}

/// A text whose bytes are as many as `seq` gives.
const LENGTH: u64 = 1_988_895;
const TEXT: &str = "{ seq 300000; sleep 2; } | cat | { md5sum; sleep 1; }";

#[test]
fn each_byte_of_a_recorded_pipeline_counts_once_in_json_and_samples() {
    let _watchdog = watchdog();
    for kept in [&["--record", "kept"][..], &["--restart", "replay"]] {
        let place = tempfile::tempdir().unwrap();
        let place = place.path();
        let run = ["run", "--json=run.json", "--samples", "samples"];
        let output = told(place, &[&run, kept, &[TEXT]].concat());
        assert!(output.status.success(), "{kept:?}: {}", stderr(&output));
        let run = json(place, "run.json");
        let samples = std::fs::read_to_string(place.join("samples")).unwrap();
        let lines = samples
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let figures: Vec<Value> = lines
            .filter(|line: &Value| line["figures"].is_object())
            .map(|line| line["figures"].clone())
            .collect();
        let last = figures.last().unwrap();
        for link in 0..2 {
            assert_eq!(
                run["pipes"][link]["estimated_bytes"], LENGTH,
                "{kept:?}: {run:#}"
            );
            assert_eq!(
                last["pipes"][link]["estimated_bytes"], LENGTH,
                "{kept:?}: {last:#}"
            );
            // No more goes by in all the intervals than there is.
            let passed = figures.iter().map(|figures| {
                let rate = figures["pipes"][link]["bytes_per_second"].as_f64();
                rate.unwrap_or(0.0) * figures["interval_seconds"].as_f64().unwrap()
            });
            assert!(
                passed.sum::<f64>() <= LENGTH as f64 + 1.0,
                "{kept:?}: {figures:#?}"
            );
        }
        let cat = &run["stages"][1];
        // A program reads its libraries, too.
        let once = LENGTH..LENGTH + 300_000;
        for counted in ["read_bytes", "written_bytes"] {
            let bytes = cat[counted].as_u64().unwrap();
            assert!(once.contains(&bytes), "{kept:?}: {counted} {bytes}");
        }
        assert_eq!(cat["spool"]["is_input"], true, "{cat:#}");
        assert_eq!(cat["spool"]["taken_bytes"], LENGTH, "{cat:#}");
        assert_eq!(cat["spool"]["backlog_bytes"], 0, "{cat:#}");
        assert!(run["stages"][0]["spool"].is_null(), "{run:#}");
        assert_eq!(
            figures.last().unwrap()["stages"][1]["program"],
            "pipewright"
        );
    }
}

#[test]
fn a_stage_that_was_started_again_is_told_with_how_often() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let text = "seq 10 | { echo x >>starts; cat; [ $(wc -l <starts) = 3 ]; } | cat";
    let options = [
        "run",
        "--restart",
        "2=replay",
        "--summary",
        "always",
        "--json=told",
    ];
    for record in [&[][..], &["--record", "kept"]] {
        let _ = std::fs::remove_file(place.join("starts"));
        let output = told(place, &[&options, record, &[text]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(
            stderr(&output).contains("stage 2 was started again 2 times"),
            "{}",
            stderr(&output)
        );
        let told = json(place, "told");
        assert_eq!(told["stages"][1]["restarts"], 2, "{told:#}");
        assert!(told["stages"][0]["restarts"].is_null(), "{told:#}");
    }
    let output = told(place, &[&options[..], &["seq 10 | cat | cat"]].concat());
    assert_eq!(json(place, "told")["stages"][1]["restarts"], 0);
    assert!(
        !stderr(&output).contains("started again"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_stage_that_is_resumed_keeps_its_number() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let text = "seq 9 | cat | { cat >/dev/null; sleep 0.3; exit 3; }";
    let output = told(place, &["run", "--record", "kept", text]);
    assert_eq!(output.status.code(), Some(3));
    let output = told(place, &["resume", "kept", "--verbose"]);
    assert_eq!(output.status.code(), Some(3));
    let told = stderr(&output);
    assert!(told.contains("\n  3  { cat >"), "{told}");
    assert!(told.contains("stage 3 failed: exit"), "{told}");
    assert!(!told.contains("stage 1 "), "{told}");
}

/// What a flag of `run` is to a recording.
enum With {
    /// The pipeline gives what it gives without a recording, and can be resumed.
    Allowed(&'static [&'static str]),
    /// This is said, and nothing is started.
    Refused(&'static [&'static str], &'static str),
    /// It belongs to another flag of this table.
    Of(&'static str),
}

/// Each flag of `run`, and whether `resume` has it, too.
const FLAGS: [(&str, bool, With); 37] = {
    use With::{Allowed, Of, Refused};
    [
        (
            "compare",
            false,
            Refused(&["--compare", "true"], "cannot be used with"),
        ),
        ("runs", false, Of("compare")),
        ("warmup", false, Of("compare")),
        ("export", false, Of("compare")),
        ("file", false, Allowed(&["-f", "text"])),
        ("pipe-size", false, Allowed(&["--pipe-size", "4K"])),
        ("status", false, Allowed(&["--status", "any"])),
        ("forgive", false, Allowed(&["--forgive", "tac"])),
        ("shell", false, Allowed(&["--shell", "sh"])),
        ("whole", false, Refused(&["--whole"], "cannot be used with")),
        ("start-anyway", false, Allowed(&["--start-anyway"])),
        (
            "separator",
            false,
            Refused(&["--separator", ":"], "words after --"),
        ),
        ("timeout", true, Allowed(&["--timeout", "100"])),
        (
            "kill-after",
            true,
            Allowed(&["--timeout", "100", "--kill-after", "9"]),
        ),
        ("workers", false, Allowed(&["--workers", "auto"])),
        ("on", false, Refused(&["--on", "9=host"], "stage 9")),
        (
            "record",
            false,
            Refused(&["--record", "twice"], "cannot be used multiple times"),
        ),
        ("record-links", false, Allowed(&["--record-links", "1,2"])),
        ("record-sync", false, Allowed(&["--record-sync", "disk"])),
        ("keep-going", false, Allowed(&["--keep-going"])),
        ("restart", false, Allowed(&["--restart", "replay"])),
        (
            "restart-max",
            false,
            Allowed(&["--restart", "replay", "--restart-max", "2"]),
        ),
        ("dry-run", false, Of("nothing is recorded")),
        ("summary", false, Allowed(&["--summary", "always"])),
        ("json", false, Allowed(&["--json=told"])),
        ("progress", false, Allowed(&["--progress", "plain"])),
        ("tag", false, Allowed(&["--tag"])),
        ("size", false, Allowed(&["--size", "1M"])),
        ("interval", false, Allowed(&["--interval", "0.5"])),
        ("samples", false, Allowed(&["--samples", "told"])),
        ("trace", false, Allowed(&["--trace", "told"])),
        ("report", false, Allowed(&["--report", "told"])),
        ("quiet", true, Allowed(&["--quiet"])),
        ("verbose", true, Allowed(&["--verbose"])),
        ("color", true, Allowed(&["--color", "always"])),
        ("help", true, Of("nothing is recorded")),
        ("version", true, Of("nothing is recorded")),
    ]
};

/// The long flags that a subcommand's help names.
fn flags_of(subcommand: &str) -> Vec<String> {
    let help = told(Path::new("/"), &[subcommand, "--help"]).stdout;
    let help = String::from_utf8(help).unwrap();
    let lines = help
        .lines()
        .map(str::trim_start)
        .filter(|line| line.starts_with('-'));
    let flags = lines.filter_map(|line| {
        let (_, rest) = line.split_once("--")?;
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        Some(rest[..end.unwrap_or(rest.len())].to_owned())
    });
    flags.collect()
}

#[test]
fn each_flag_of_run_is_right_with_a_recording_or_refused_before_anything_starts() {
    let _watchdog = watchdog();
    let text = "seq 1000 | { tac; echo word >&2; } | head -n 3";
    let of_run = flags_of("run");
    for flag in &of_run {
        let row = FLAGS.iter().find(|row| row.0 == flag);
        assert!(row.is_some(), "--{flag} is in no row of this table");
    }
    assert_eq!(of_run.len(), FLAGS.len(), "{of_run:?}");
    let of_resume = flags_of("resume");
    for (flag, both, with) in &FLAGS {
        assert_eq!(
            of_resume.iter().any(|it| it == flag),
            *both,
            "resume --{flag}"
        );
        let place = tempfile::tempdir().unwrap();
        let place = place.path();
        std::fs::write(place.join("text"), text).unwrap();
        let run = |options: &[&str], text: &str| {
            // A file is instead of the text.
            let text = (!options.contains(&"-f")).then_some(text);
            let text: Vec<&str> = text.into_iter().collect();
            told(
                place,
                &[&["run", "--record", "kept"], options, &text].concat(),
            )
        };
        match with {
            With::Of(other) => {
                let named = FLAGS.iter().any(|row| row.0 == *other);
                assert!(named || *other == "nothing is recorded", "{flag}");
            }
            With::Refused(options, why) => {
                let output = run(options, "touch started | cat");
                assert_eq!(output.status.code(), Some(125), "{flag}");
                let told = stderr(&output);
                assert!(told.contains(why), "{flag}: {told}");
                assert_eq!(std::fs::read_dir(place).unwrap().count(), 1, "{flag}");
            }
            With::Allowed(options) => {
                let output = run(options, text);
                let told_of = format!("{flag}: {}", stderr(&output));
                assert_eq!(output.status.code(), Some(0), "{told_of}");
                assert_eq!(output.stdout, b"1000\n999\n998\n", "{told_of}");
                assert_eq!(
                    stderr(&output)
                        .lines()
                        .filter(|line| line.ends_with("word"))
                        .count(),
                    1,
                    "{told_of}"
                );
                // Whatever it was run with, the last stage can be run again.
                let again = told(place, &["resume", "kept", "-o", "result", "--quiet"]);
                assert!(again.status.success(), "{flag}: {}", stderr(&again));
                let result = std::fs::read(place.join("result")).unwrap();
                assert_eq!(result, b"1000\n999\n998\n", "{flag}");
            }
        }
        if !both {
            let output = told(place, &["resume", "nothing", &format!("--{flag}")]);
            assert_eq!(output.status.code(), Some(125), "{flag}");
            assert!(
                stderr(&output).contains("unexpected argument"),
                "{flag}: {}",
                stderr(&output)
            );
        }
    }
}

#[test]
fn what_cannot_be_recorded_leaves_nothing_behind() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let by_bash = |text: &str| {
        let text = text.replace("P ", concat!(env!("CARGO_BIN_EXE_pipewright"), " "));
        let mut command = Command::new("bash");
        command.current_dir(place).args(["-c", &text]);
        command.stdin(Stdio::null()).output().unwrap()
    };
    std::fs::create_dir(place.join("empty")).unwrap();
    let rows = [
        (
            "P run --record-links 0 --record new 'touch started | cat' <&-",
            "stdin is closed",
        ),
        ("P run --record '' 'touch started | cat'", "it is empty"),
        (
            "P run --record /proc/nothing 'touch started | cat'",
            "/proc/nothing",
        ),
        // Nothing can be written, not even the manifest.
        (
            "ulimit -f 0; trap '' XFSZ; P run --record new 'touch started | cat'",
            "new",
        ),
        (
            "ulimit -f 0; trap '' XFSZ; P run --record empty 'touch started | cat'",
            "empty",
        ),
        ("P resume ''", "it is empty"),
        ("P replay '' 2", "it is empty"),
    ];
    for (text, why) in rows {
        let output = by_bash(text);
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(125), "{text}: {told}");
        assert!(told.contains(why), "{text}: {told}");
        assert_eq!(std::fs::read_dir(place).unwrap().count(), 1, "{text}");
        let left = std::fs::read_dir(place.join("empty")).unwrap().count();
        assert_eq!(left, 0, "{text}");
    }
}
