//! `pipewright run --compare`: times, outputs and statuses of pipelines that are run in turn.

mod support;

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use support::{USUAL, pipewright, run};
use testing::terminals::{Setup, Terminal};
use testing::{stderr, watchdog, with_time_enough};

/// Compares in a directory of its own, with an export as JSON.
fn compared(arguments: &[&str]) -> (Output, Value) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("result.json");
    let export = ["--compare", "--export", path.to_str().unwrap()];
    let output = run(&[&export[..], arguments].concat());
    let written = std::fs::read_to_string(&path).unwrap();
    let value = serde_json::from_str(&written)
        .unwrap_or_else(|error| panic!("{error}: {written}{}", stderr(&output)));
    (output, value)
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_faster_one_is_named_and_equal_outputs_are_equal() {
    let _watchdog = watchdog();
    let (output, value) = compared(&["--runs", "3", "sleep 0.7; seq 9", "seq 9 | cat"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let told = stdout(&output);
    assert!(told.contains("their outputs are equal (18 B)"), "{told}");
    assert!(told.contains("relative"), "{told}");
    assert_eq!(
        (&value["fastest"], &value["outputs"]),
        (&2.into(), &"equal".into())
    );
    let [slow, fast] = &value["results"].as_array().unwrap()[..] else {
        panic!("two results: {value}");
    };
    assert!(
        slow["relative"]["factor"].as_f64().unwrap() > 1.0,
        "{value}"
    );
    assert!(fast["relative"].is_null());
    for result in [slow, fast] {
        assert_eq!(result["times"].as_array().unwrap().len(), 3);
        assert_eq!(result["exit_codes"], serde_json::json!([0, 0, 0]));
        assert_eq!(result["output_bytes"], serde_json::json!([18, 18, 18]));
        let figure = |name: &str| result[name].as_f64().unwrap();
        assert!(figure("min") <= figure("median") && figure("median") <= figure("max"));
    }
    assert_eq!(fast["stages"].as_array().unwrap().len(), 2);
}

#[test]
fn outputs_that_differ_or_change_are_told_apart() {
    let _watchdog = watchdog();
    let (output, value) = compared(&["--runs", "2", "echo a | cat", "echo bc"]);
    let told = stdout(&output);
    let words = "their outputs differ: 1 writes 2 bytes, 2 writes 3 bytes";
    assert!(told.contains(words), "{told}");
    assert_eq!(value["outputs"], "differ");
    assert!(output.status.success());

    // Of the same length, and nothing else.
    let (_, value) = compared(&["--runs", "1", "echo a", "echo b"]);
    assert_eq!(value["outputs"], "differ");

    let (output, value) = compared(&["--runs", "3", "echo 1", "date +%N | cat"]);
    let told = stdout(&output);
    assert!(
        told.contains("that of pipeline 2 changes from run to run"),
        "{told}"
    );
    assert_eq!(value["outputs"], "not_deterministic");
    assert_eq!(value["results"][1]["output_deterministic"], false);
}

#[test]
fn a_run_that_fails_is_told_and_gives_the_status() {
    let _watchdog = watchdog();
    let failing = "echo x | sh -c 'cat; exit 3'";
    let (output, value) = compared(&["--runs", "2", "echo x | cat", failing]);
    assert_eq!(output.status.code(), Some(3));
    let told = stdout(&output);
    assert!(
        told.contains("pipeline 2 failed in 3 of 3 runs: stage 2 (sh -c"),
        "{told}"
    );
    assert!(told.contains("exit status 3"), "{told}");
    assert_eq!(value["results"][1]["exit_codes"], serde_json::json!([3, 3]));
    assert!(value["results"][0]["failures"].is_null());
    // It still has times and an output.
    assert_eq!(value["outputs"], "equal");
}

#[test]
fn a_missing_program_is_refused_before_anything_runs() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let witness = directory.path().join("ran");
    let touch = format!("touch '{}' | cat", witness.display());
    let output = run(&["--compare", &touch, "echo a | no-such-program-here"]);
    assert_eq!(output.status.code(), Some(127));
    let said = stderr(&output);
    assert!(
        said.contains("pipeline 2: no-such-program-here: command not found"),
        "{said}"
    );
    assert!(output.stdout.is_empty() && !witness.exists());
}

#[test]
fn what_cannot_be_compared_is_an_error_that_says_what_can() {
    let _watchdog = watchdog();
    for (arguments, words) in [
        (&["--compare", "seq 3 | cat"][..], "two pipelines or more"),
        (&["--compare", "--runs", "0", "a", "b"], "from 1 up"),
        (&["--runs", "3", "seq 3"], "--compare"),
        (
            &["--compare", "--export", "out.txt", "true", "true"],
            ".json, .csv or .md",
        ),
        (
            &["--compare", "--json", "true", "true"],
            "cannot be used with",
        ),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(125), "{arguments:?}");
        let said = stderr(&output);
        assert!(said.contains(words), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn exports_have_the_columns_of_hyperfine_and_can_be_read_back() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (csv, markdown) = (path("r.csv"), path("r.md"));
    let exports = [
        "--compare",
        "-q",
        "--runs",
        "2",
        "--export",
        &csv,
        "--export",
        &markdown,
    ];
    let output = run(&[&exports[..], &["echo 'a,\"b\"' | cat", "printf x"]].concat());
    assert!(
        output.status.success() && output.stdout.is_empty(),
        "{}",
        stderr(&output)
    );

    let csv = std::fs::read_to_string(csv).unwrap();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(
        lines[0],
        "command,mean,stddev,median,user,system,min,max,number,failed_runs,relative_factor,\
         relative_stddev,bottleneck_stage"
    );
    let figures = lines[1]
        .strip_prefix("\"echo 'a,\"\"b\"\"' | cat\",")
        .unwrap();
    let fields: Vec<&str> = figures.split(',').collect();
    assert_eq!((fields.len(), &fields[7..9]), (12, &["1", "0"][..]));
    let figures: Vec<f64> = fields[..7].iter().map(|it| it.parse().unwrap()).collect();
    assert!(
        figures[5] <= figures[0] && figures[0] <= figures[6],
        "{figures:?}"
    );
    assert!(lines[2].starts_with("printf x,"));

    let markdown = std::fs::read_to_string(markdown).unwrap();
    let lines: Vec<&str> = markdown.lines().collect();
    assert!(lines[0].starts_with("| Command | Mean [") && lines[0].ends_with("| Relative |"));
    assert!(
        lines[2].starts_with("| `echo 'a,\"b\"' \\| cat` | "),
        "{markdown}"
    );
    for line in &lines[..4] {
        assert_eq!(line.replace("\\|", "").matches('|').count(), 6, "{line}");
    }
    assert!(
        lines[2..4].iter().any(|line| line.ends_with("| 1.00 |")),
        "{markdown}"
    );
    assert!(markdown.contains("- their outputs differ"), "{markdown}");
}

#[test]
fn each_run_reads_the_whole_file_on_stdin() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lines");
    std::fs::write(&path, "line\n".repeat(5000)).unwrap();
    let output = pipewright()
        .args(["run", "--compare", "--runs", "2", "cat", "cat | cat"])
        .stdin(File::open(&path).unwrap())
        .output()
        .unwrap();
    let told = stdout(&output);
    assert!(
        told.contains("their outputs are equal (24.4 KiB)"),
        "{told}"
    );
}

#[test]
fn stderr_passes_and_somebody_left_behind_holds_nothing_up() {
    let _watchdog = watchdog();
    // It ends when pipewright does, and has the output open till then.
    let left = "tail --pid=$PPID -f /dev/null 2>/dev/null & echo told >&2; echo x";
    let left = format!("sh -c '{left}'");
    let output = run(&["--compare", "--runs", "1", &left, "echo x"]);
    assert_eq!(
        stderr(&output).matches("told").count(),
        2,
        "{}",
        stderr(&output)
    );
    assert!(
        stdout(&output).contains("are equal (2 B)"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn where_the_time_went_is_told_stage_by_stage() {
    let _watchdog = watchdog();
    let once = ["--runs", "1", "--warmup", "0"];
    // Long enough is what makes the loading of the programs the smaller part of it.
    let (told, result) = with_time_enough(|time| {
        let seconds = time.as_secs_f64();
        let texts = [
            format!("sleep {seconds} | cat"),
            format!("cat | sleep {seconds}"),
        ];
        let (output, value) = compared(&[&once[..], &[&texts[0], &texts[1]]].concat());
        let told = stdout(&output);
        let result = value["results"][0].clone();
        let waits = result["stages"][1]["shares"]["waiting_for_input"].as_f64();
        let named = format!("stage 1 (sleep {seconds}) is the bottleneck");
        (waits > Some(0.5) && told.contains(&named)).then_some((told, result))
    });
    assert!(told.contains("one run each proves nothing"), "{told}");
    assert_eq!(result["bottleneck"]["stage"], 1);
}

/// Both on the terminal.
const PROMPT: Setup = Setup {
    output: ">&0 2>&0",
    ..USUAL
};

#[test]
fn the_report_fits_a_narrow_terminal_and_minds_no_color() {
    let _watchdog = watchdog();
    let options = &[
        "--compare",
        "--runs",
        "2",
        "echo a long first stage | tr a-z A-Z | cat",
    ];
    for columns in [100, 40] {
        let setup = Setup {
            columns,
            options,
            ..PROMPT
        };
        let terminal = Terminal::start(&setup, "echo another pipeline | tr a-z A-Z");
        assert!(terminal.end().success());
        let raw = terminal.raw();
        assert!(
            raw.contains("warm-up: ") && raw.contains("round 2 of 2: "),
            "{raw:?}"
        );
        assert!(raw.contains("\x1b["), "{raw:?}");
        assert_eq!(raw.contains("relative"), columns == 100, "{raw:?}");
    }
    let setup = Setup {
        columns: 40,
        no_color: true,
        options,
        ..PROMPT
    };
    let terminal = Terminal::start(&setup, "echo another pipeline | tr a-z A-Z");
    assert!(terminal.end().success());
    let raw = terminal.raw();
    assert!(!raw.contains('\x1b'), "{raw:?}");
    let is_row =
        |line: &&str| line.starts_with("  1  ") || line.trim_start().starts_with("command");
    for row in raw.lines().filter(is_row) {
        assert!(row.chars().count() <= 40, "{row:?}");
    }
}

#[test]
fn ctrl_c_ends_it_with_what_is_known_so_far() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("known.md");
    let export: &'static str = path.to_str().unwrap().to_owned().leak();
    let options: &'static [&'static str] = vec![
        "--compare",
        "--runs",
        "100000",
        "--export",
        export,
        "sleep 0.05 | cat",
    ]
    .leak();
    let setup = Setup { options, ..PROMPT };
    let terminal = Terminal::start(&setup, "true | cat");
    terminal.wait_for("the third round", |screen| screen.contains("round 3 of"));
    terminal.type_in("\x03");
    assert_eq!(terminal.end().signal(), Some(2));
    let screen = terminal.screen();
    assert!(screen.contains("stopped after"), "{screen}");
    assert!(screen.contains("their outputs are equal (0 B)"), "{screen}");
    let written = std::fs::read_to_string(Path::new(export)).unwrap();
    assert!(written.contains("| `true \\| cat` |"), "{written}");
}
