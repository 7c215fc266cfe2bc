//! The config of a re-executed child: of any size, read late, once or never.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use pipewright::{PipeExt, PipeReader, pipe};
use pipewright_handoff::{EntryPoints, Error, ParentLink, ReExec, Result};
use testing::{descriptors_of, isolated};

fn main() {
    EntryPoints::new()
        .entry("read late", read_late)
        .entry("never read", never_read)
        .entry("read twice", read_twice)
        .entry("read as text", read_as_text)
        .dispatch();
    testing::trials::run(testing::tests![
        a_config_of_any_size_waits_in_memory_until_it_is_read,
        a_child_killed_before_it_reads_is_told_as_dead,
        a_child_killed_before_it_reads_is_told_as_dead_with_sigpipe_at_its_default,
        a_config_is_read_once_and_its_memory_is_given_back,
        a_config_of_another_type_is_refused_by_both_names,
        a_config_above_a_gibibyte_is_refused_before_anything_starts,
    ]);
}

/// Bytes that do not repeat with a page or a buffer.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

fn read_late(parent: &mut ParentLink) -> Result<()> {
    // When the parent has started it and gone on.
    let "now" = parent.channel().receive::<String>()?.as_str() else {
        panic!("another word came");
    };
    let config: Vec<u8> = parent.config()?;
    let right = config == bytes(config.len());
    parent.channel().send(&(config.len(), right))
}

/// teleport 7449, OpenSSH d47ef958b, runc 2871: the parent wrote a config into something too small
/// for it, and waited for a child that was not reading yet.
fn a_config_of_any_size_waits_in_memory_until_it_is_read() {
    std::thread::scope(|scope| {
        // The length before the bytes takes three or four: so both the bytes and the whole are on
        // both sides of the capacity of a pipe.
        for length in [65533, 65535, 65536, 65537, 8 << 20] {
            scope.spawn(move || {
                // All pipes that the child gets have one page.
                let (reader, writer) = pipe().unwrap();
                assert_eq!(reader.set_capacity(1).unwrap(), 4096);
                let mut child = ReExec::new("read late")
                    .config(&bytes(length))
                    .unwrap()
                    .descriptor("small", writer)
                    .spawn()
                    .unwrap();
                child.channel().set_timeout(Duration::MAX);
                child.channel().send(&"now".to_owned()).unwrap();
                let (received, right): (usize, bool) = child.channel().receive().unwrap();
                assert_eq!((received, right), (length, true));
                assert!(child.into_child().wait().unwrap().success());
                drop::<PipeReader>(reader);
            });
        }
    });
}

fn never_read(parent: &mut ParentLink) -> Result<()> {
    parent.channel().send(&"here".to_owned())?;
    parent.wait_for_parent(Duration::MAX)
}

fn kill_before_it_reads() {
    let mut child = ReExec::new("never read")
        .config(&bytes(8 << 20))
        .unwrap()
        .spawn()
        .unwrap();
    let here: String = child.channel().receive().unwrap();
    assert_eq!(here, "here");
    child.child().kill().unwrap();
    // Only the death can end this wait.
    child.channel().set_timeout(Duration::MAX);
    let error = child.channel().receive::<String>().unwrap_err();
    let killed = |error: &Error| match error {
        Error::PeerDied { status, .. } => status.and_then(|status| status.signal()) == Some(9),
        _ => false,
    };
    assert!(killed(&error), "{error}");
    // Writing to the dead child is the same error, and no signal.
    let error = child.channel().send(&bytes(1000)).unwrap_err();
    assert!(killed(&error), "{error}");
}

/// OpenSSH 4b307faf2: the child died early, and the parent blocked in its write for ever.
fn a_child_killed_before_it_reads_is_told_as_dead() {
    kill_before_it_reads();
}

fn a_child_killed_before_it_reads_is_told_as_dead_with_sigpipe_at_its_default() {
    let name = "a_child_killed_before_it_reads_is_told_as_dead_with_sigpipe_at_its_default";
    isolated(name, || {
        #[allow(unsafe_code, reason = "the disposition of a signal")]
        // SAFETY: the default disposition runs no code of this process.
        unsafe {
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        }
        kill_before_it_reads();
    });
}

/// Tells if this process has the memory of a hand-off mapped, and if it has it open.
fn holds_memory() -> (bool, bool) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let open = descriptors_of(std::process::id());
    let name = "memfd:pipewright-handoff";
    let is_open = open.values().any(|target| target.contains(name));
    (maps.contains(name), is_open)
}

fn read_twice(parent: &mut ParentLink) -> Result<()> {
    let before = holds_memory();
    let first: String = parent.config()?;
    let after = holds_memory();
    let second = parent.config::<String>().unwrap_err().to_string();
    parent.channel().send(&(first, before, after, second))
}

fn a_config_is_read_once_and_its_memory_is_given_back() {
    let mut child = ReExec::new("read twice")
        .config(&"the config".to_owned())
        .unwrap()
        .spawn()
        .unwrap();
    type Holds = (bool, bool);
    let (first, before, after, second): (String, Holds, Holds, String) =
        child.channel().receive().unwrap();
    assert_eq!(first, "the config");
    assert_eq!((before, after), ((true, false), (false, false)));
    assert!(second.contains("read before"), "{second}");
}

fn read_as_text(parent: &mut ParentLink) -> Result<()> {
    parent.config::<String>().map(|_| ())
}

fn a_config_of_another_type_is_refused_by_both_names() {
    let mut child = ReExec::new("read as text")
        .config(&17_u32)
        .unwrap()
        .spawn()
        .unwrap();
    match child.channel().receive::<()>().unwrap_err() {
        Error::Remote { message, .. } => {
            assert!(
                message.contains("String") && message.contains("u32"),
                "{message}"
            );
        }
        other => panic!("{other}"),
    }
}

/// A value that encodes as many bytes as it says, and holds none of them.
struct Large(usize);

impl serde::Serialize for Large {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq;
        let piece = "x".repeat(1 << 20);
        let pieces = self.0 >> 20;
        let mut sequence = serializer.serialize_seq(Some(pieces))?;
        for _ in 0..pieces {
            sequence.serialize_element(&piece)?;
        }
        sequence.end()
    }
}

fn a_config_above_a_gibibyte_is_refused_before_anything_starts() {
    let error = ReExec::new("never read")
        .config(&Large(1 << 30))
        .unwrap_err();
    let limit_kept =
        matches!(error, Error::TooLarge { limit, size, .. } if limit == 1 << 30 && size > limit);
    assert!(limit_kept, "{error}");
    assert!(
        error.to_string().contains("hand over its descriptor"),
        "{error}"
    );
}
