//! Each example runs, and prints what its topic promises.

use std::process::Command;

use testing::{example, watchdog};

/// What an example writes to its stdout.
fn said_by(name: &str) -> String {
    let _watchdog = watchdog();
    let output = Command::new(example("pipewright", name)).output().unwrap();
    let (stdout, stderr) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{name}: {}\n{stdout}\n{stderr}",
        output.status
    );
    stdout
}

#[test]
fn capture_tells_text_failure_stages_and_status() {
    let said = said_by("capture");
    for part in [
        "this runs on Linux\n",
        "ls /no/such/directory failed: exit status 2: ls: ",
        "3 words\n",
        "echo careful >&2': exit status 0, 8 bytes on stderr\n",
        "grep says Some(1) with 0\n",
    ] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
}

#[test]
fn feed_stdin_gives_bytes_a_reader_and_a_file() {
    let expected = "5000000 bytes went in, 5000000 came out\n\
                    wc counted 1000000\n\
                    sorted: apple, pear\n\
                    head took xxx\n";
    assert_eq!(said_by("feed_stdin"), expected);
}

#[test]
fn lines_come_one_by_one_and_end_with_the_failure() {
    let said = said_by("lines");
    assert!(
        said.starts_with("counted 1\ncounted 2\ncounted 3\n"),
        "{said}"
    );
    assert!(
        said.contains("out: begun\n") && said.contains("err: disk is full\n"),
        "{said}"
    );
    assert!(
        said.ends_with("status 1\n") && said.contains("end: sh -c "),
        "{said}"
    );
}

#[test]
fn deadline_keeps_each_of_its_deadlines() {
    let said = said_by("deadline");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines[..4],
        [
            r#"out of time, after "begun\n""#,
            r#"held open, after "done\n""#,
            "waited: None",
            "asked to end: signal: 15 (SIGTERM)",
        ]
    );
    assert!(
        lines[4].starts_with("sleep 60 was cancelled and killed; "),
        "{said}"
    );
    let last = [
        "nothing has come from cat within 10ms; it still runs",
        "and then None",
    ];
    assert_eq!(lines[5..], last);
}

#[test]
fn whole_tree_leaves_nobody() {
    let said = said_by("whole_tree");
    assert_eq!(said, "signalled 3 processes\nsignal: 9 (SIGKILL)\n");
}

#[cfg(feature = "tokio")]
#[test]
fn async_does_it_all_on_one_thread() {
    let expected = "sorted \"a\\nb\", counted 5\n\
                    hello came back as HELLO\n\
                    again came back as AGAIN\n\
                    gave up: true\n";
    assert_eq!(said_by("async"), expected);
}

#[test]
fn environment_is_what_was_set() {
    let expected = "hello from / with HOME=\n\
                    it sees PATH=/usr/bin:/bin\n\
                    64 files, new files with mask 0027\n";
    assert_eq!(said_by("environment"), expected);
}

#[test]
fn redirect_to_file_writes_the_files_by_the_commands_themselves() {
    let expected = "exit status: 0, wrote \"out\\nerr\\n\"\n\
                    sort: exit status 0, holds \"out\\nerr\\nERR\\nOUT\\n\"\n\
                    collected only \"a warning\"\n";
    assert_eq!(said_by("redirect_to_file"), expected);
}

#[test]
fn coprocess_answers_each_question_and_its_end_is_told() {
    let said = said_by("coprocess");
    assert!(said.starts_with("6 * 7 = 42\n1 << 10 = 1024\n"), "{said}");
    assert!(said.contains("1 / 0 ended it with "), "{said}");
}
