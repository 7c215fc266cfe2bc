//! The other side's death is noticed in every phase, whoever else holds the channel.

use std::time::Duration;

use pipewright::{Command, PipeReader, PipeWriter, pipe};
use pipewright_handoff::{ChildLink, EntryPoints, Error, ParentLink, ReExec, Result};

fn main() {
    EntryPoints::new()
        .entry("leave", leave)
        .entry("sibling", sibling)
        .entry("talk and die", talk_and_die)
        .entry("watch the parent", watch_the_parent)
        .entry("middle", middle)
        .dispatch();
    testing::trials::run(testing::tests![
        a_child_that_leaves_in_any_phase_is_told_as_dead,
        what_was_sent_before_a_death_is_received_before_the_death_is_told,
        a_child_notices_the_death_of_its_parent,
        a_living_child_that_closed_the_channel_is_not_told_as_dead,
        a_silent_child_is_a_timeout_with_its_phase,
    ]);
}

const PHASES: [&str; 5] = ["start", "config", "message", "prepare", "barrier"];

/// A process that holds copies of all descriptors, the channel's too, until the pipe ends.
#[allow(unsafe_code, reason = "fork, to have a copy of every descriptor")]
fn leave_daemon_behind(until: PipeReader) {
    // SAFETY: this process has one thread; the copy makes system calls only and ends by _exit.
    unsafe {
        if libc::fork() == 0 {
            libc::setsid();
            let mut byte = [0_u8; 1];
            while rustix::io::read(&until, &mut byte) == Err(rustix::io::Errno::INTR) {}
            libc::_exit(0);
        }
    }
}

/// Does one step after the other and exits after the one that the config names.
fn leave(parent: &mut ParentLink) -> Result<()> {
    leave_daemon_behind(parent.take("daemon")?);
    let leave_after: String = parent.config()?;
    let exit_at = |phase: &str| {
        if leave_after == phase {
            std::process::exit(7);
        }
    };
    exit_at("start");
    parent.channel().send(&"config".to_owned())?;
    exit_at("config");
    parent.channel().send(&"message".to_owned())?;
    exit_at("message");
    parent.channel().enter("prepare")?;
    exit_at("prepare");
    parent.channel().barrier("barrier")?;
    exit_at("barrier");
    Ok(())
}

fn sibling(parent: &mut ParentLink) -> Result<()> {
    parent.wait_for_parent(Duration::MAX)
}

fn follow(child: &mut ChildLink) -> Result<()> {
    child.channel().receive::<String>()?;
    child.channel().receive::<String>()?;
    child
        .channel()
        .serve_barrier("barrier", || Ok::<(), Error>(()))?;
    child.channel().receive::<String>().map(|_| ())
}

/// containerd 2823, youki 238: whoever else held the other end, the waiter waited for it.
fn a_child_that_leaves_in_any_phase_is_told_as_dead() {
    let sibling = ReExec::new("sibling").spawn().unwrap();
    let mut daemons: Vec<PipeWriter> = Vec::new();
    for phase in PHASES {
        let (reader, writer) = pipe().unwrap();
        daemons.push(writer);
        let mut child = ReExec::new("leave")
            .config(&phase.to_owned())
            .unwrap()
            .descriptor("daemon", reader)
            .spawn()
            .unwrap();
        // Longer than the watchdog allows: only the death can end the wait.
        child.channel().set_timeout(Duration::MAX);
        match follow(&mut child).unwrap_err() {
            Error::PeerDied {
                status,
                phase: told,
            } => {
                assert_eq!(status.and_then(|status| status.code()), Some(7), "{phase}");
                let announced = match phase {
                    "prepare" | "barrier" => phase,
                    _ => "start",
                };
                assert_eq!(told, announced);
            }
            other => panic!("{phase}: {other}"),
        }
    }
    drop(daemons);
    let sibling = sibling.into_child();
    assert!(sibling.wait().unwrap().success());
}

fn talk_and_die(parent: &mut ParentLink) -> Result<()> {
    leave_daemon_behind(parent.take("daemon")?);
    for number in 0..500_u32 {
        parent.channel().send(&number)?;
    }
    std::process::abort();
}

fn what_was_sent_before_a_death_is_received_before_the_death_is_told() {
    let (reader, _writer) = pipe().unwrap();
    let no_core = pipewright::Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let mut child = ReExec::new("talk and die")
        .descriptor("daemon", reader)
        .command(|command| command.rlimit(pipewright::Resource::Core, no_core))
        .spawn()
        .unwrap();
    child.channel().set_timeout(Duration::MAX);
    // Let it die first, as far as the socket's buffer lets it get.
    let _ = child.child().wait_timeout(Duration::from_secs(1)).unwrap();
    for number in 0..500_u32 {
        assert_eq!(child.channel().receive::<u32>().unwrap(), number);
    }
    let error = child.channel().receive::<u32>().unwrap_err();
    assert!(matches!(error, Error::PeerDied { .. }), "{error}");
}

/// Waits for a message that never comes, and tells somebody else how that ended.
fn watch_the_parent(parent: &mut ParentLink) -> Result<()> {
    use std::io::Write;
    let mut report: PipeWriter = parent.take("report")?;
    parent.channel().set_timeout(Duration::MAX);
    let error = parent.channel().receive::<String>().unwrap_err();
    let _ = write!(report, "{error}");
    Ok(())
}

/// Starts that child and is killed.
fn middle(parent: &mut ParentLink) -> Result<()> {
    let report: PipeWriter = parent.take("report")?;
    let child = ReExec::new("watch the parent")
        .descriptor("report", report)
        .spawn()?;
    parent.channel().send(&child.child().id())?;
    parent.wait_for_parent(Duration::MAX)
}

fn a_child_notices_the_death_of_its_parent() {
    use std::io::Read;
    let (mut reader, writer) = pipe().unwrap();
    let mut child = ReExec::new("middle")
        .descriptor("report", writer)
        .spawn()
        .unwrap();
    let _grandchild: u32 = child.channel().receive().unwrap();
    child.child().kill().unwrap();
    let mut report = String::new();
    reader.read_to_string(&mut report).unwrap();
    assert!(report.contains("died in the phase \"start\""), "{report}");
}

fn a_living_child_that_closed_the_channel_is_not_told_as_dead() {
    let (stdin, hold) = pipe().unwrap();
    // A program that closes every descriptor above 2 and stays.
    let command = Command::new("sh")
        .args(["-c", "eval \"exec $PIPEWRIGHT_CHANNEL>&-\"; read line"])
        .stdin(stdin);
    let mut child = pipewright_handoff::Foreign::new(command).spawn().unwrap();
    child.channel().set_timeout(Duration::MAX);
    let error = child.channel().receive::<String>().unwrap_err();
    match error {
        Error::Protocol { ref got, .. } => assert!(got.contains("lives"), "{error}"),
        other => panic!("{other}"),
    }
    drop(hold);
    child.into_child().wait().unwrap();
}

fn a_silent_child_is_a_timeout_with_its_phase() {
    let mut child = ReExec::new("sibling").spawn().unwrap();
    child.channel().set_timeout(Duration::from_millis(30));
    child.channel().enter("waiting for nothing").unwrap();
    let error = child.channel().receive::<String>().unwrap_err();
    match &error {
        Error::TimedOut { phase, waited } => {
            assert_eq!(phase, "waiting for nothing");
            assert_eq!(*waited, Duration::from_millis(30));
        }
        other => panic!("{other}"),
    }
}
