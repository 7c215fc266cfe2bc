//! What the article says of pipes, on real processes.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use pipewright::{Command, Signal, pipe};
use testing::{example, watchdog};

/// `hello` is there while the writer still sleeps: the reader gets what is written when it is
/// written, not when the writer ends.
#[test]
fn bytes_arrive_as_they_are_written_and_not_when_the_writer_ends() {
    let _watchdog = watchdog();
    let (mut reader, writer) = pipe().unwrap();
    let (release, gate) = pipe().unwrap();
    let running = (Command::new("sh")
        .args(["-c", "printf hello; read line <&9; printf ' world\\n'"])
        .fd(9, release)
        | Command::new("cat").stdout(writer))
    .spawn()
    .unwrap();

    let mut hello = [0; 5];
    reader.read_exact(&mut hello).unwrap();
    assert_eq!(&hello, b"hello");
    // The writer is held at the gate, so nothing more can have come.
    assert_eq!(running.try_wait().unwrap().map(|_| ()), None);

    writeln!(&gate, "go").unwrap();
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, " world\n");
    assert!(running.wait().unwrap().success());
}

#[test]
fn the_articles_pipeline_pauses_two_seconds_between_its_words() {
    let _watchdog = watchdog();
    let (mut reader, writer) = pipe().unwrap();
    let script = "printf 'hello'; sleep 2; printf ' world\\n'";
    let begin = Instant::now();
    let running = (Command::new("sh").args(["-c", script]) | Command::new("cat").stdout(writer))
        .spawn()
        .unwrap();

    let mut hello = [0; 5];
    reader.read_exact(&mut hello).unwrap();
    let mut world = String::new();
    reader.read_to_string(&mut world).unwrap();

    assert_eq!((&hello, world.as_str()), (b"hello", " world\n"));
    // The sleep bounds it from below on any machine; nothing is asserted about how soon.
    assert!(begin.elapsed() >= Duration::from_secs(2));
    running.wait().unwrap();
}

#[test]
fn first_in_is_first_out() {
    let _watchdog = watchdog();
    let (reader, writer) = pipe().unwrap();
    let child = Command::new("seq")
        .arg("100000")
        .stdout(writer)
        .spawn()
        .unwrap();
    let numbers = BufReader::new(reader)
        .lines()
        .map(|line| line.unwrap().parse::<u32>().unwrap());
    assert!(numbers.eq(1..=100_000));
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_dead_writers_bytes_are_still_read_and_then_comes_the_end() {
    let _watchdog = watchdog();
    let (mut reader, writer) = pipe().unwrap();
    let child = Command::new("sh")
        .args(["-c", "printf 'last words'; kill -KILL $$"])
        .stdout(writer)
        .spawn()
        .unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));

    let mut words = String::new();
    reader.read_to_string(&mut words).unwrap();
    assert_eq!(words, "last words");
}

#[test]
fn the_reader_sees_the_end_only_when_the_last_writer_closes() {
    let _watchdog = watchdog();
    let (mut reader, writer) = pipe().unwrap();
    let second = writer.try_clone().unwrap();
    let child = Command::new("sh")
        .args(["-c", "echo first"])
        .stdout(writer)
        .spawn()
        .unwrap();
    child.wait().unwrap();

    let mut line = [0; 6];
    reader.read_exact(&mut line).unwrap();
    rustix::io::ioctl_fionbio(&reader, true).unwrap();
    let error = reader.read(&mut [0; 1]).unwrap_err();
    assert_eq!(
        error.kind(),
        std::io::ErrorKind::WouldBlock,
        "a writer is still open"
    );
    // A process that another test is starting may hold it a little longer.
    rustix::io::ioctl_fionbio(&reader, false).unwrap();
    drop(second);
    assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn the_articles_program_prints_one_line_and_ends() {
    let _watchdog = watchdog();
    let output = std::process::Command::new(example("pipewright", "process_inout"))
        .output()
        .unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"");
    let log = String::from_utf8(output.stderr).unwrap();
    let words: Vec<&str> = log.split(' ').collect();
    let shape = |text: &str| -> String {
        text.chars()
            .map(|c| if c.is_ascii_digit() { '9' } else { c })
            .collect()
    };
    assert_eq!(log.lines().count(), 1, "{log}");
    assert_eq!(shape(words[0]), "9999/99/99");
    assert_eq!(shape(words[1]), "99:99:99");
    let (child, parent) = (words[3], words[words.len() - 1].trim_end());
    let line = format!("[PID: {child} The main process is saying : HOLA! [PID: {parent}\n");
    assert_eq!(words[2..].join(" "), line);
    let pid = |text: &str| text.trim_end_matches(']').parse::<u32>().unwrap();
    assert_ne!(pid(child), pid(parent));
}

#[test]
fn the_example_of_a_fifo_that_outlives_its_writer_gets_every_byte() {
    let _watchdog = watchdog();
    let output = std::process::Command::new(example("pipewright", "fifo_outlives_writer"))
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("the writer is dead: killed by SIGKILL"),
        "{text}"
    );
    assert!(
        text.contains("50000 bytes were still in the pipe"),
        "{text}"
    );
    assert!(text.ends_with("then the end of file\n"), "{text}");
}

#[test]
fn the_example_of_a_pipeline_tells_when_each_piece_arrived() {
    let _watchdog = watchdog();
    let output = std::process::Command::new(example("pipewright", "pipeline"))
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let seconds = |line: &str| {
        line.trim_start()
            .split(' ')
            .next()
            .unwrap()
            .parse::<f64>()
            .unwrap()
    };
    assert!(lines[0].ends_with(r#""hello""#), "{text}");
    assert!(lines[1].ends_with(r#"" world\n""#), "{text}");
    // How soon the first one was read is a matter of the machine.
    assert!(seconds(lines[1]) >= 2.0, "{text}");
}
