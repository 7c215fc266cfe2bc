//! Log lines of children: whole, under a name, never unread, and with an end.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::time::Duration;

use pipewright::{Command, PipeWriter, pipe};
use pipewright_handoff::{EntryPoints, LogSink, ParentLink, ReExec, Result};
use testing::open_descriptors;

fn main() {
    EntryPoints::new()
        .entry("first", write_much)
        .entry("second", write_much)
        .entry("shared", write_with_another)
        .entry("another", write_to_given)
        .entry("executing", log_and_exec)
        .entry("leaving a daemon", leave_daemon)
        .entry("half a line", half_a_line)
        .entry("no line end", no_line_end)
        .entry("too fast", too_fast)
        .dispatch();
    testing::trials::run(testing::tests![
        a_megabyte_from_two_processes_comes_in_whole_lines,
        two_processes_that_share_a_log_do_not_mix_their_lines,
        the_forwarder_ends_at_exec_while_the_program_lives_on,
        the_forwarder_ends_at_death_while_a_daemon_holds_the_pipe,
        the_forwarder_does_not_wait_for_a_start_that_failed,
        a_last_line_without_end_is_forwarded,
        a_line_without_end_is_cut_and_does_not_fill_memory,
        a_sink_that_blocks_does_not_hold_up_the_child,
        lines_that_were_dropped_are_counted_even_at_the_end,
        any_program_s_stderr_is_forwarded_and_waited_for,
    ]);
}

/// Collects lines as a sink, and tells them at its end.
struct Collected(Vec<u8>, mpsc::Sender<String>);

impl Write for Collected {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for Collected {
    fn drop(&mut self) {
        let text = String::from_utf8(std::mem::take(&mut self.0)).unwrap();
        let _ = self.1.send(text);
    }
}

fn collecting() -> (LogSink, mpsc::Receiver<String>) {
    let (sender, receiver) = mpsc::channel();
    let sink = LogSink::new(Collected(Vec::new(), sender)).unwrap();
    (sink, receiver)
}

const LONG: Duration = Duration::from_secs(30);

/// Line `number`, of a length that goes past pages and pipes now and then.
fn line(number: usize) -> String {
    let length = [3, 80, 500, 5000, 70_000][number % 5] / if number % 100 == 4 { 1 } else { 10 };
    format!("{number}:{}", "x".repeat(length))
}

const LINES: usize = 1000;

fn write_much(parent: &mut ParentLink) -> Result<()> {
    let mut log = parent.log()?;
    for number in 0..LINES {
        // In pieces, as formatting does it.
        let line = line(number);
        let (head, tail) = line.split_at(line.len() / 2);
        log.write_all(head.as_bytes()).unwrap();
        log.write_all(tail.as_bytes()).unwrap();
        log.write_all(b"\n").unwrap();
    }
    Ok(())
}

/// runc 3120: a log line written in several writes was mixed with another.
fn a_megabyte_from_two_processes_comes_in_whole_lines() {
    let (sink, collected) = collecting();
    let children = ["first", "second"].map(|name| ReExec::new(name).log(&sink).spawn().unwrap());
    for child in children {
        assert!(child.into_child().wait().unwrap().success());
    }
    assert!(sink.finish(LONG));
    drop(sink);
    let text = collected.recv().unwrap();
    assert!(text.len() > 1_000_000, "{}", text.len());
    let mut next = BTreeMap::from([("first", 0), ("second", 0)]);
    for whole in text.lines() {
        let (name, text) = whole.split_once(": ").unwrap();
        let number = next.get_mut(name).unwrap();
        assert!(text == line(*number), "line {number} of {name}");
        *number += 1;
    }
    assert!(next.values().all(|&number| number == LINES), "{next:?}");
}

/// Hands its log on to a further child, and writes beside it.
fn write_with_another(parent: &mut ParentLink) -> Result<()> {
    use std::os::fd::AsFd;
    let mut log = parent.log()?;
    let copy: OwnedFd = log.as_fd().try_clone_to_owned().unwrap();
    let another = ReExec::new("another").descriptor("log", copy).spawn()?;
    for number in 0..5000 {
        writeln!(log, "a{number}{}", "a".repeat(number % 300)).unwrap();
    }
    assert!(another.into_child().wait().unwrap().success());
    Ok(())
}

fn write_to_given(parent: &mut ParentLink) -> Result<()> {
    let mut log: PipeWriter = parent.take("log")?;
    for number in 0..5000 {
        let line = format!("b{number}{}\n", "b".repeat(number % 300));
        log.write_all(line.as_bytes()).unwrap();
    }
    Ok(())
}

fn two_processes_that_share_a_log_do_not_mix_their_lines() {
    let (sink, collected) = collecting();
    let child = ReExec::new("shared").log(&sink).spawn().unwrap();
    assert!(child.into_child().wait().unwrap().success());
    assert!(sink.finish(LONG));
    drop(sink);
    let text = collected.recv().unwrap();
    assert_eq!(text.lines().count(), 10_000);
    assert!(text.len() > 1_000_000);
    for whole in text.lines() {
        let text = whole.strip_prefix("shared: ").unwrap();
        let letter = text.chars().next().unwrap();
        let number: usize = text.trim_matches(letter).parse().unwrap();
        assert_eq!(text.matches(letter).count(), 1 + number % 300, "{text}");
    }
}

fn log_and_exec(parent: &mut ParentLink) -> Result<()> {
    writeln!(parent.log()?, "executing now").unwrap();
    let _log = parent.take::<OwnedFd>("kept open")?;
    parent.exec(Command::new("cat"))
}

/// runc 2835: the forwarder never ended.
fn the_forwarder_ends_at_exec_while_the_program_lives_on() {
    let (sink, collected) = collecting();
    let (stdin, hold) = pipe().unwrap();
    let (reader, _writer) = pipe().unwrap();
    let child = ReExec::new("executing")
        .log(&sink)
        .descriptor("kept open", reader)
        .command(|command| command.stdin(stdin))
        .spawn()
        .unwrap();
    let running = child.wait_exec(LONG).unwrap();
    assert!(sink.finish(LONG));
    assert_eq!(running.try_wait().unwrap(), None);
    drop(sink);
    assert_eq!(collected.recv().unwrap(), "executing: executing now\n");
    drop(hold);
    assert!(running.wait().unwrap().success());
}

#[allow(unsafe_code, reason = "fork, to have a copy of every descriptor")]
fn leave_daemon(parent: &mut ParentLink) -> Result<()> {
    let mut log = parent.log()?;
    let until: pipewright::PipeReader = parent.take("until")?;
    writeln!(log, "leaving").unwrap();
    // SAFETY: this process has one thread; the copy makes system calls only and ends by _exit.
    unsafe {
        if libc::fork() == 0 {
            let mut byte = [0_u8; 1];
            while rustix::io::read(&until, &mut byte) == Err(rustix::io::Errno::INTR) {}
            libc::_exit(0);
        }
    }
    Ok(())
}

fn the_forwarder_ends_at_death_while_a_daemon_holds_the_pipe() {
    let (sink, collected) = collecting();
    let (until, hold) = pipe().unwrap();
    let child = ReExec::new("leaving a daemon")
        .log(&sink)
        .descriptor("until", until)
        .spawn()
        .unwrap();
    assert!(child.into_child().wait().unwrap().success());
    assert!(sink.finish(LONG));
    drop((sink, hold));
    assert_eq!(collected.recv().unwrap(), "leaving a daemon: leaving\n");
}

/// runc 4599: the forwarder was waited for although the child never started.
fn the_forwarder_does_not_wait_for_a_start_that_failed() {
    let name = "the_forwarder_does_not_wait_for_a_start_that_failed";
    testing::isolated(name, || {
        let (sink, collected) = collecting();
        let before = open_descriptors();
        let failed = ReExec::new("first")
            .log(&sink)
            .command(|command| command.current_dir("/no/such/directory"))
            .spawn();
        assert!(failed.unwrap_err().to_string().contains("chdir"));
        assert!(sink.finish(LONG));
        assert_eq!(open_descriptors(), before);
        drop(sink);
        assert_eq!(collected.recv().unwrap(), "");
    });
}

fn half_a_line(parent: &mut ParentLink) -> Result<()> {
    let mut log = parent.log()?;
    log.write_all(b"one\ntwo").unwrap();
    Ok(())
}

fn a_last_line_without_end_is_forwarded() {
    let (sink, collected) = collecting();
    let child = ReExec::new("half a line").log(&sink).spawn().unwrap();
    child.into_child().wait().unwrap();
    assert!(sink.finish(LONG));
    drop(sink);
    assert_eq!(
        collected.recv().unwrap(),
        "half a line: one\nhalf a line: two\n"
    );
}

/// More than a line may have, and no line feed in it: what is written at once past the log's own
/// lines.
fn no_line_end(parent: &mut ParentLink) -> Result<()> {
    use std::os::fd::AsFd;
    let log = parent.log()?;
    let piece = [b'x'; 4096];
    for _ in 0..(3 << 20) / piece.len() {
        assert_eq!(rustix::io::write(log.as_fd(), &piece), Ok(piece.len()));
    }
    Ok(())
}

fn a_line_without_end_is_cut_and_does_not_fill_memory() {
    let (sink, collected) = collecting();
    let child = ReExec::new("no line end").log(&sink).spawn().unwrap();
    assert!(child.into_child().wait().unwrap().success());
    assert!(sink.finish(LONG));
    drop(sink);
    let text = collected.recv().unwrap();
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.strip_prefix("no line end: ").unwrap())
        .collect();
    assert_eq!(lines.iter().map(|line| line.len()).sum::<usize>(), 3 << 20);
    assert!(lines.iter().all(|line| line.len() < (1 << 20) + (64 << 10)));
}

/// runc 2530: more than a pipe holds, and nobody read it.
fn a_sink_that_blocks_does_not_hold_up_the_child() {
    // A pipe that nobody reads until the child has ended.
    let (mut reader, writer) = pipe().unwrap();
    let sink = LogSink::new(writer).unwrap();
    let child = ReExec::new("first").log(&sink).spawn().unwrap();
    assert!(child.into_child().wait().unwrap().success());
    assert!(!sink.finish(Duration::from_millis(20)), "the sink is full");
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
        text
    });
    assert!(sink.finish(LONG));
    drop(sink);
    assert_eq!(reading.join().unwrap().lines().count(), LINES);
}

const FAST_LINES: usize = 3000;

/// More than a sink keeps.
fn too_fast(parent: &mut ParentLink) -> Result<()> {
    let mut log = parent.log()?;
    for _ in 0..FAST_LINES {
        writeln!(log, "{}", "x".repeat(5000)).unwrap();
    }
    Ok(())
}

fn lines_that_were_dropped_are_counted_even_at_the_end() {
    let (mut reader, writer) = pipe().unwrap();
    let sink = LogSink::new(writer).unwrap();
    let child = ReExec::new("too fast").log(&sink).spawn().unwrap();
    assert!(child.into_child().wait().unwrap().success());
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
        text
    });
    assert!(sink.finish(LONG));
    drop(sink);
    let text = reading.join().unwrap();
    let dropped = |line: &str| -> Option<usize> {
        line.strip_suffix(" log lines were dropped: they came too fast")?
            .parse()
            .ok()
    };
    let (notes, whole): (Vec<&str>, Vec<&str>) = text.lines().partition(|it| dropped(it).is_some());
    let lost: usize = notes.iter().filter_map(|note| dropped(note)).sum();
    assert!(lost > 0, "the child wrote more than the sink keeps");
    assert_eq!(whole.len() + lost, FAST_LINES);
}

fn any_program_s_stderr_is_forwarded_and_waited_for() {
    use std::os::fd::AsFd;
    let (sink, collected) = collecting();
    let script = "echo careful >&2; read line; echo done >&2";
    let (stdin, hold) = pipe().unwrap();
    let (reader, stderr) = pipe().unwrap();
    let shell = Command::new("sh").args(["-c", script]);
    let shell = shell.stdin(stdin).stderr(stderr).spawn().unwrap();
    sink.forward("my shell", reader, shell.as_fd()).unwrap();
    // It could still log something.
    assert!(!sink.finish(Duration::from_millis(5)));
    writeln!(&hold, "go on").unwrap();
    assert!(sink.finish(LONG));
    drop(sink);
    assert_eq!(
        collected.recv().unwrap(),
        "my shell: careful\nmy shell: done\n"
    );
    assert!(shell.wait().unwrap().success());
}
