//! A child ends with its parent, and not with the thread that started it.

use std::io::{BufRead, BufReader, Read, Write};
use std::time::Duration;

use pipewright::{Command, PipeWriter, Signal, pipe};
use pipewright_handoff::{EntryPoints, ParentLink, ReExec, Result};

fn main() {
    EntryPoints::new()
        .entry("parent to be killed", parent_to_be_killed)
        .entry("child", child)
        .entry("echo", |parent: &mut ParentLink| {
            parent.exec::<()>(Command::new("cat"))
        })
        .dispatch();
    testing::trials::run(testing::tests![
        a_child_outlives_the_thread_that_started_it,
        a_child_is_gone_when_its_parent_was_killed_at_any_moment,
    ]);
}

fn child(parent: &mut ParentLink) -> Result<()> {
    parent.channel().send(&std::process::id())?;
    let program = Command::new("sleep").arg("1000");
    match parent.take::<PipeWriter>("held") {
        Ok(held) => parent.exec(program.fd(3, held)),
        Err(_) => parent.exec(program),
    }
}

fn start_child() -> ReExec {
    ReExec::new("child").command(|command| command.parent_death_signal(Signal::KILL))
}

/// moby 44215, bubblewrap 692: the parent-death signal follows the thread that made the child.
fn a_child_outlives_the_thread_that_started_it() {
    let ((stdin, mut to), (from, stdout)) = (pipe().unwrap(), pipe().unwrap());
    let starter = std::thread::spawn(|| {
        let mortal = |command: Command| command.parent_death_signal(Signal::KILL);
        let child = ReExec::new("echo").command(|it| mortal(it).stdin(stdin).stdout(stdout));
        let child = child.spawn().unwrap();
        let running = child.wait_exec(Duration::from_secs(60)).unwrap();
        (running, rustix::thread::gettid())
    });
    let (running, thread) = starter.join().unwrap();
    // Once a thread is gone from here, the kernel has sent every signal of its end.
    let thread = format!("/proc/self/task/{thread}");
    while std::fs::exists(&thread).unwrap() {
        std::thread::yield_now();
    }
    to.write_all(b"alive\n").unwrap();
    let mut line = String::new();
    BufReader::new(from).read_line(&mut line).unwrap();
    assert_eq!(line, "alive\n");
    drop(to);
    assert!(running.wait().unwrap().success());
}

/// Starts children, one after the other, that hold the pipe open.
fn parent_to_be_killed(parent: &mut ParentLink) -> Result<()> {
    let held: PipeWriter = parent.take("held")?;
    parent.channel().send(&"here".to_owned())?;
    loop {
        let copy = held.try_clone().unwrap();
        let child = start_child().descriptor("held", copy).spawn()?;
        // At some moments there is a child that runs its entry point, at others its program.
        if let Ok(child) = child.wait_exec(Duration::from_secs(60)) {
            let _ = child.wait_timeout(Duration::from_millis(2))?;
            child.kill()?;
            child.wait()?;
        }
    }
}

fn a_child_is_gone_when_its_parent_was_killed_at_any_moment() {
    for round in 0..50_u64 {
        let (mut reader, writer) = pipe().unwrap();
        let mut parent = ReExec::new("parent to be killed")
            .descriptor("held", writer)
            .spawn()
            .unwrap();
        let _here: String = parent.channel().receive().unwrap();
        // Fifty different moments of its work.
        std::thread::sleep(Duration::from_micros(round * 150));
        parent.child().kill().unwrap();
        parent.child().wait().unwrap();
        // The pipe ends when nobody holds it: the parent, its child, or whatever the child became.
        reader.read_to_end(&mut Vec::new()).unwrap();
    }
}
