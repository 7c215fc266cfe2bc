//! Lines as they come, and an end that is never silent.

use std::io::Write;

use pipewright::{Canceller, Command, Error, OutputStream};
use testing::{await_no_children, isolated, open_descriptors, sh, watchdog, with_time_enough};

#[test]
fn a_line_is_there_while_the_command_still_runs() {
    let _watchdog = watchdog();
    let (reader, mut writer) = pipewright::pipe().unwrap();
    let mut lines = Command::new("cat").stdin(reader).capture().lines().unwrap();
    for line in ["first", "", "third"] {
        // The next one is written only after the one before was seen.
        writeln!(writer, "{line}").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), line);
    }
    assert!(lines.status().is_none());
    write!(writer, "no newline").unwrap();
    drop(writer);
    assert_eq!(lines.next().unwrap().unwrap(), "no newline");
    assert!(lines.next().is_none());
    assert!(lines.next().is_none());
    assert!(lines.status().unwrap().success());
}

#[test]
fn input_is_fed_while_lines_are_taken() {
    let _watchdog = watchdog();
    let numbers: String = (0..200_000).map(|n| format!("{n}\n")).collect();
    let lines = Command::new("cat")
        .capture()
        .input(&numbers)
        .lines()
        .unwrap();
    let mut count = 0;
    for (expected, line) in lines.enumerate() {
        assert_eq!(line.unwrap(), expected.to_string());
        count += 1;
    }
    assert_eq!(count, 200_000);
}

#[test]
fn a_line_longer_than_any_pipe_is_one_line() {
    let _watchdog = watchdog();
    let script = "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo short";
    let lines: Vec<String> = sh(script)
        .capture()
        .lines()
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((lines[0].len(), &*lines[1]), (3_000_000, "short"));
}

#[test]
fn a_failure_is_the_last_item_and_holds_the_end_of_stderr() {
    let _watchdog = watchdog();
    // More stderr than a pipe holds: it has to be read meanwhile, and only its end is kept.
    let script = "echo one; yes noise | head -n 100000 >&2; echo the reason >&2; exit 7";
    let mut lines = sh(script).capture().limit(100).lines().unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "one");
    let Some(Err(Error::Failed {
        exit_code, stderr, ..
    })) = lines.next()
    else {
        panic!("no failure")
    };
    assert_eq!(exit_code, 7);
    assert!(stderr.ends_with("noise\nthe reason") && stderr.len() <= 1024);
    assert!(lines.next().is_none());
    assert_eq!(lines.status().unwrap().exit_code(), 7);
}

#[test]
fn a_deadline_ends_the_lines_with_an_error() {
    isolated("a_deadline_ends_the_lines_with_an_error", || {
        let before = open_descriptors();
        let partial = with_time_enough(|time| {
            let capture = sh("echo whole; printf part; exec sleep 1000").capture();
            let mut lines = capture.timeout(time).lines().unwrap();
            let mut whole = Vec::new();
            let collected = loop {
                match lines.next() {
                    Some(Ok(line)) => whole.push(line),
                    Some(Err(Error::TimedOut { collected, .. })) => break collected,
                    other => panic!("no deadline, but {other:?}"),
                }
            };
            assert!(lines.next().is_none());
            (whole == ["whole"] && !collected.stdout.is_empty()).then_some(collected.stdout)
        });
        assert_eq!(partial, b"part", "what was no line yet is not lost");
        await_no_children();
        // What is kept for those that were not waited for is one descriptor.
        assert!(open_descriptors() <= before + 1);
    });
}

#[test]
fn another_thread_ends_the_lines() {
    let _watchdog = watchdog();
    let canceller = Canceller::new().unwrap();
    let capture = sh("echo ready; exec sleep 1000")
        .capture()
        .canceller(&canceller);
    let mut lines = capture.lines().unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    std::thread::scope(|scope| {
        scope.spawn(|| canceller.cancel());
        assert!(matches!(lines.next(), Some(Err(Error::Cancelled { .. }))));
    });
    assert!(lines.next().is_none());
}

#[test]
fn a_line_above_the_limit_is_an_error_and_any_number_below_it_is_none() {
    let _watchdog = watchdog();
    let mut lines = sh("seq 10000; yes | tr -d '\\n'")
        .capture()
        .limit(100_000)
        .lines()
        .unwrap();
    for number in 1..=10_000 {
        assert_eq!(lines.next().unwrap().unwrap(), number.to_string());
    }
    assert!(matches!(
        lines.next(),
        Some(Err(Error::OutputTooLarge { limit: 100_000, .. }))
    ));
    assert!(lines.next().is_none());
}

#[test]
fn a_line_that_is_not_utf_8_is_told_and_the_next_one_comes() {
    let _watchdog = watchdog();
    let printf = Command::new("printf").arg(r"good\nb\377d\nagain\r\n");
    let mut lines = printf.capture().lines().unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "good");
    assert!(matches!(
        lines.next(),
        Some(Err(Error::NotUtf8 {
            position: 6,
            byte: 0xff,
            ..
        }))
    ));
    assert_eq!(lines.next().unwrap().unwrap(), "again");
    assert!(lines.next().is_none());
}

#[test]
fn lines_of_both_streams_and_every_stage_are_tagged() {
    let _watchdog = watchdog();
    let stages = sh("echo data; echo from the first >&2") | sh("cat; echo from the second >&2");
    let mut lines: Vec<(OutputStream, String)> = stages
        .capture()
        .tagged_lines()
        .unwrap()
        .map(Result::unwrap)
        .map(|line| (line.from, line.text))
        .collect();
    lines.sort_by(|a, b| a.1.cmp(&b.1));
    assert_eq!(
        lines,
        [
            (OutputStream::Stdout, "data".to_owned()),
            (OutputStream::Stderr(0), "from the first".to_owned()),
            (OutputStream::Stderr(1), "from the second".to_owned()),
        ]
    );
}

#[test]
fn lines_dropped_early_neither_block_nor_kill_but_close_the_pipe() {
    isolated(
        "lines_dropped_early_neither_block_nor_kill_but_close_the_pipe",
        || {
            let before = open_descriptors();
            let (reader, writer) = pipewright::pipe().unwrap();
            // It ends by SIGPIPE, and then the shell tells so.
            let script = "yes; echo $? >&3";
            let mut lines = Command::new("bash")
                .args(["-c", script])
                .fd(3, writer)
                .capture()
                .lines()
                .unwrap();
            assert_eq!(lines.next().unwrap().unwrap(), "y");
            drop(lines);
            let told = std::io::read_to_string(reader).unwrap();
            assert_eq!(told, "141\n");
            // The next start takes the zombie.
            await_no_children();
            // What is kept for that is one descriptor.
            assert!(open_descriptors() <= before + 1);
        },
    );
}
