//! What goes over a channel: messages and answers, phases, barriers, failures.

use std::time::Duration;

use pipewright::Command;
use pipewright_handoff::{Channel, EntryPoints, Error, Foreign, ParentLink, ReExec, Result};
use rustix::event::{PollFd, PollFlags};

fn main() {
    EntryPoints::new()
        .entry("echo", echo)
        .entry("length", length)
        .entry("half", |parent: &mut ParentLink| {
            parent.channel().barrier("start together")
        })
        .entry("second", |parent: &mut ParentLink| {
            parent.channel().barrier("second")
        })
        .entry("set up", set_up)
        .entry("fail", |parent: &mut ParentLink| {
            parent.channel().fail("mount", "no such device", Some(19))
        })
        .entry("fail by itself", |_| std::fs::read("/nope").map(|_| ()))
        .entry("one", named)
        .entry("two", named)
        .dispatch();
    testing::trials::run(testing::tests![
        a_request_gets_its_answer_and_a_timeout_loses_none,
        a_message_too_large_is_refused_and_the_channel_goes_on,
        a_barrier_holds_each_until_it_is_released,
        a_barrier_out_of_step_is_an_error_that_names_both,
        a_failed_action_is_told_on_both_sides,
        a_phase_is_known_once_something_came_after_it,
        a_failure_arrives_with_its_phase_and_number,
        a_child_is_started_as_its_command_says_and_knows_its_entry,
        a_channel_can_be_polled_beside_others,
        a_channel_of_one_s_own_keeps_packets_in_order,
    ]);
}

fn echo(parent: &mut ParentLink) -> Result<()> {
    let word: String = parent.channel().receive_timeout(Duration::MAX)?;
    parent.channel().send(&word)
}

fn length(parent: &mut ParentLink) -> Result<()> {
    let text: String = parent.channel().receive()?;
    parent.channel().send(&text.len())
}

fn start(entry: &str) -> pipewright_handoff::ChildLink {
    let mut child = ReExec::new(entry).spawn().unwrap();
    child.channel().set_timeout(testing::PATIENCE);
    child
}

fn a_request_gets_its_answer_and_a_timeout_loses_none() {
    let mut child = start("echo");
    let soon = Duration::from_millis(5);
    let nothing_yet = child.channel().receive_timeout::<String>(soon);
    assert!(matches!(nothing_yet, Err(Error::TimedOut { waited, .. }) if waited == soon));
    let answer: String = child.channel().request(&"HOLA!".to_owned()).unwrap();
    assert_eq!(answer, "HOLA!");
    assert!(child.into_child().wait().unwrap().success());
}

fn a_message_too_large_is_refused_and_the_channel_goes_on() {
    let mut child = start("length");
    let error = child.channel().send(&"x".repeat(100_000)).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert!(
        error.to_string().contains("attach a memfd or a file"),
        "{error}"
    );
    let length: usize = child.channel().request(&"four".to_owned()).unwrap();
    assert_eq!(length, 4);
}

fn a_barrier_holds_each_until_it_is_released() {
    let mut halves = [start("half"), start("half")];
    for half in &mut halves {
        half.channel().await_barrier("start together").unwrap();
        assert_eq!(half.channel().phase(), "start together");
    }
    for half in &halves {
        assert_eq!(half.child().try_wait().unwrap(), None);
    }
    for mut half in halves {
        half.channel().release_barrier("start together").unwrap();
        assert!(half.into_child().wait().unwrap().success());
    }
}

fn a_barrier_out_of_step_is_an_error_that_names_both() {
    let mut child = start("second");
    match child.channel().await_barrier("first").unwrap_err() {
        Error::Protocol { expected, got } => {
            assert_eq!(expected, r#"the barrier "first""#);
            assert_eq!(got, r#"the barrier "second""#);
        }
        other => panic!("{other}"),
    }
}

fn a_failed_action_is_told_on_both_sides() {
    let mut child = start("second");
    let refuse = || Err("too many ids");
    let error = child.channel().serve_barrier("second", refuse).unwrap_err();
    assert_eq!(error.to_string(), "second: too many ids");
    assert_eq!(error.phase(), Some("second"));
    // The same error ended the child.
    assert_eq!(child.into_child().wait().unwrap().code(), Some(1));
}

fn set_up(parent: &mut ParentLink) -> Result<()> {
    parent.channel().enter("set up the network")?;
    parent.channel().send(&"done".to_owned())
}

fn a_phase_is_known_once_something_came_after_it() {
    let mut child = start("set up");
    assert_eq!(child.channel().phase(), "start");
    assert_eq!(child.channel().receive::<String>().unwrap(), "done");
    assert_eq!(child.channel().phase(), "set up the network");
    match child.channel().receive::<String>().unwrap_err() {
        Error::PeerDied { phase, status } => {
            assert_eq!(phase, "set up the network");
            assert!(status.is_some_and(|status| status.success()));
        }
        other => panic!("{other}"),
    }
}

fn a_failure_arrives_with_its_phase_and_number() {
    let error = start("fail").channel().receive::<u32>().unwrap_err();
    assert_eq!(error.to_string(), "mount: no such device");
    assert_eq!(error.raw_os_error(), Some(19));
    // What an entry point returns is told in the same way.
    let mut child = start("fail by itself");
    let error = child.channel().receive::<u32>().unwrap_err();
    assert_eq!(
        (error.phase(), error.raw_os_error()),
        (Some("start"), Some(2))
    );
    assert_eq!(child.into_child().wait().unwrap().code(), Some(1));
}

fn named(parent: &mut ParentLink) -> Result<()> {
    let entry = parent.entry().to_owned();
    parent
        .channel()
        .send(&(entry, std::env::var("COLOUR").ok()))
}

fn a_child_is_started_as_its_command_says_and_knows_its_entry() {
    for (entry, colour) in [("one", "blue"), ("two", "red")] {
        let child = ReExec::new(entry).command(|command| command.env("COLOUR", colour));
        let mut child = child.spawn().unwrap();
        let told: (String, Option<String>) = child.channel().receive().unwrap();
        assert_eq!(told, (entry.to_owned(), Some(colour.to_owned())));
        assert_eq!(child.child().program(), std::env::args().next().unwrap());
    }
    let nowhere = ReExec::new("one").command(|command| command.current_dir("/nope"));
    let error = nowhere.spawn().unwrap_err();
    assert!(matches!(error, Error::Start(_)), "{error}");
    assert_eq!(error.raw_os_error(), Some(2));
    let error = Foreign::new(Command::new("no-such-program"))
        .spawn()
        .unwrap_err();
    assert!(matches!(error, Error::Start(start) if start.exit_code() == 127));
}

fn a_channel_can_be_polled_beside_others() {
    let mut child = start("echo");
    child.channel().send(&"word".to_owned()).unwrap();
    let mut polled = [PollFd::new(child.channel(), PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut polled, None).unwrap(), 1);
    let word: String = child.channel().receive_timeout(Duration::ZERO).unwrap();
    assert_eq!(word, "word");
}

fn a_channel_of_one_s_own_keeps_packets_in_order() {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use rustix::process::{PidfdFlags, getpid, pidfd_open};
    let pair = |kind| socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
    // The peer is this process itself.
    let this = || pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let (one, other) = pair(SocketType::SEQPACKET);
    let (mut one, mut other) = (
        Channel::new(one, this()).unwrap(),
        Channel::new(other, this()).unwrap(),
    );
    assert_eq!(one.timeout(), Duration::from_secs(10));
    for number in 0..10_u32 {
        one.send(&number).unwrap();
    }
    for number in 0..10_u32 {
        assert_eq!(other.receive::<u32>().unwrap(), number);
    }
    let (stream, _) = pair(SocketType::STREAM);
    let error = Channel::new(stream, this()).unwrap_err();
    assert!(error.to_string().contains("SEQPACKET"), "{error}");
}
