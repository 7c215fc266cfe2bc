//! A stage that begins as one process and goes on by workers.

use std::fs::File;
use std::io::{Read, Seek, Write};

use pipewright_workers::{ChunkSize, End, InSequence, Outcome, Stage, classify, run};
use testing::watchdog;

fn stage(argv: &[&str], alone_for: u64) -> Stage {
    let mut stage = Stage::new(
        argv.iter().map(Into::into).collect(),
        classify(argv).assumed_local(),
    );
    stage.workers = 3;
    stage.alone_for = Some(alone_for);
    stage.size = ChunkSize::Fixed(20_000);
    stage
}

fn output(stage: &Stage, input: impl AsRef<[u8]>) -> (String, Outcome) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(input.as_ref()).unwrap();
    file.rewind().unwrap();
    let mut output = tempfile::tempfile().unwrap();
    let outcome = run(stage, file.into(), output.try_clone().unwrap().into()).unwrap();
    (contents(&mut output), outcome)
}

fn contents(file: &mut File) -> String {
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

/// 3 MB of lines.
fn lines() -> String {
    (1..300_000).map(|number| format!("{number:9}\n")).collect()
}

#[test]
fn workers_go_on_behind_the_record_that_the_process_was_in() {
    let _watchdog = watchdog();
    let lines = lines();
    for alone_for in [0, 1, 9, 10, 11, 123_456, 1_234_567] {
        let (output, outcome) = output(&stage(&["sed", "s/7/x/"], alone_for), &lines);
        assert!(
            output
                == lines
                    .lines()
                    .map(|line| line.replacen('7', "x", 1) + "\n")
                    .collect::<String>()
        );
        assert_eq!(outcome.in_sequence, None, "{alone_for}: {outcome:?}");
        assert!(outcome.chunks > 10, "{alone_for}: {outcome:?}");
    }
}

#[test]
fn the_status_is_that_of_the_process_and_the_workers_together() {
    let _watchdog = watchdog();
    // Only the process finds a match, only workers do, nobody does.
    for (found, status) in [("        5$", 0), ("  299998$", 0), ("nothing", 1)] {
        let (_, outcome) = output(&stage(&["grep", "-a", found], 100_000), lines());
        assert_eq!(outcome.end, End::Status(status), "{found}: {outcome:?}");
    }
}

#[test]
fn a_process_that_ends_or_fails_before_its_input_does_ends_the_stage() {
    let _watchdog = watchdog();
    for (argv, status, expected) in [
        (&["sed", "9000q"][..], 0, 9000),
        (&["sed", "9000q3"], 3, 9000),
        (&["awk", "{print} NR == 9000 {exit 2}"], 2, 9000),
    ] {
        let mut stage = stage(argv, 100_000);
        stage.verify = false;
        let (output, outcome) = output(&stage, lines());
        assert_eq!(outcome.end, End::Status(status), "{argv:?}: {outcome:?}");
        assert_eq!(output.lines().count(), expected, "{argv:?}");
    }
}

/// The process has given output already: from a difference on it goes on alone, and that is right.
#[test]
fn a_wrong_word_is_caught_while_the_process_is_alone() {
    let _watchdog = watchdog();
    for argv in [
        &["awk", "{s += $1} END {print s}"][..],
        &["sed", "1d"],
        &["nl"],
        &["paste", "-s"],
    ] {
        let (output, outcome) = output(&stage(argv, 100_000), lines());
        assert!(
            matches!(outcome.in_sequence, Some(InSequence::Differs(_))),
            "{argv:?}: {outcome:?}"
        );
        let mut alone = stage(argv, u64::MAX);
        alone.verify = false;
        assert!(output == self::output(&alone, lines()).0, "{argv:?}");
    }
}

#[test]
fn input_that_is_no_text_stays_with_the_process_that_saw_it() {
    let _watchdog = watchdog();
    let argv = ["grep", "-P", "7"];
    let stage = |alone_for| {
        let mut stage = stage(&argv, alone_for);
        stage.classified = classify(&argv);
        stage
    };
    for at in [10, 150_000, 1_500_000] {
        let mut bytes = lines().into_bytes();
        bytes[at] = 0;
        let (_, outcome) = output(&stage(200_000), bytes);
        assert!(
            matches!(outcome.in_sequence, Some(InSequence::NoTextAt(_))),
            "{at}: {outcome:?}"
        );
    }
    let (output, outcome) = output(&stage(200_000), lines());
    assert_eq!(outcome.in_sequence, None, "{outcome:?}");
    assert!(
        output
            .lines()
            .eq(lines().lines().filter(|line| line.contains('7')))
    );
}

#[test]
fn an_input_without_an_end_of_a_record_stays_with_the_process() {
    let _watchdog = watchdog();
    let long = "x".repeat(3_000_000);
    let (output, outcome) = output(&stage(&["tr", "x", "y"], 1000), &long);
    assert!(output == long.replace('x', "y"));
    assert_eq!(outcome.chunks, 0, "{outcome:?}");
}
