//! Descriptors by name, the exec at the end, and what the program at the end has.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pipewright::{Command, PipeReader, PipeWriter, Step, pipe};
use pipewright_handoff::{
    DescriptorFault, DescriptorKind, EntryPoints, Error, ParentLink, ReExec, Result, Terminal,
};
use testing::{READY_THEN_WAIT, descriptors_of, isolated, may_have_descriptors, open_descriptors};

fn main() {
    EntryPoints::new()
        .entry("take each", take_each)
        .entry("take wrongly", take_wrongly)
        .entry("become ready", become_ready)
        .entry("place at random", place_at_random)
        .entry("become nothing", become_nothing)
        .entry("echo descriptors", echo_descriptors)
        .dispatch();
    testing::trials::run(testing::tests![
        named_descriptors_are_taken_by_name_as_what_they_are,
        a_named_descriptor_is_taken_once_and_only_as_what_it_is,
        a_name_given_twice_is_refused_before_anything_starts,
        named_descriptors_keep_out_of_the_way_of_numbered_ones,
        the_program_at_the_end_has_three_descriptors_and_those_named,
        a_program_that_does_not_exist_is_named_with_its_error_number,
        ten_thousand_random_placements_fail_as_exec_and_move_nothing,
        a_failed_exec_is_told_whatever_was_placed_where,
        descriptors_travel_with_messages_both_ways,
    ]);
}

fn take_each(parent: &mut ParentLink) -> Result<()> {
    let close_on_exec = |descriptor: &dyn AsFd| {
        let flags = rustix::io::fcntl_getfd(descriptor.as_fd()).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    };
    let mut reader: PipeReader = parent.take("reader")?;
    let mut writer: PipeWriter = parent.take("writer")?;
    let mut socket: UnixStream = parent.take("socket")?;
    let mut file: File = parent.take("file")?;
    let directory: File = parent.take("directory")?;
    let terminal: Terminal = parent.take("terminal")?;
    let anything: OwnedFd = parent.take("anything")?;
    for descriptor in [&reader as &dyn AsFd, &writer, &socket, &file, &directory] {
        close_on_exec(descriptor);
    }
    close_on_exec(&terminal);
    assert!(rustix::termios::isatty(&terminal));
    assert_eq!(DescriptorKind::of(&anything)?, DescriptorKind::Other);
    let mut texts = [String::new(), String::new()];
    reader.read_to_string(&mut texts[0]).unwrap();
    file.read_to_string(&mut texts[1]).unwrap();
    socket.write_all(texts[0].as_bytes()).unwrap();
    writer.write_all(texts[1].as_bytes()).unwrap();
    Ok(())
}

fn pseudo_terminal() -> OwnedFd {
    use rustix::pty::{OpenptFlags, grantpt, openpt, unlockpt};
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    terminal
}

fn file_with(text: &str) -> File {
    use std::io::Seek;
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    file
}

fn named_descriptors_are_taken_by_name_as_what_they_are() {
    let (reader, mut feed) = pipe().unwrap();
    let (mut back, writer) = pipe().unwrap();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let child = ReExec::new("take each")
        .descriptor("reader", reader)
        .descriptor("writer", writer)
        .descriptor("socket", theirs)
        .descriptor("file", file_with("from the file"))
        .descriptor("directory", File::open("/").unwrap())
        .descriptor("terminal", pseudo_terminal())
        .descriptor("anything", File::open("/dev/null").unwrap())
        .spawn()
        .unwrap();
    feed.write_all(b"through the pipe").unwrap();
    drop(feed);
    let mut texts = [String::new(), String::new()];
    // Both end: nothing that the child got is open here any more.
    ours.read_to_string(&mut texts[0]).unwrap();
    back.read_to_string(&mut texts[1]).unwrap();
    assert_eq!(texts, ["through the pipe", "from the file"]);
    assert!(child.into_child().wait().unwrap().success());
}

fn take_wrongly(parent: &mut ParentLink) -> Result<()> {
    let fault = |error: Error| match error {
        Error::Descriptor { fault, .. } => fault,
        other => panic!("{other}"),
    };
    let unknown = fault(parent.take::<File>("no such").unwrap_err());
    let given = vec!["reader".to_owned()];
    assert_eq!(unknown, DescriptorFault::NotGiven { given });
    let wrong = fault(parent.take::<UnixStream>("reader").unwrap_err());
    let actual = DescriptorKind::PipeReader;
    let wanted = &[DescriptorKind::Socket];
    assert_eq!(wrong, DescriptorFault::WrongKind { actual, wanted });
    // It is still there to be taken as what it is.
    let _reader: PipeReader = parent.take("reader")?;
    let again = fault(parent.take::<PipeReader>("reader").unwrap_err());
    assert_eq!(again, DescriptorFault::TakenAlready);
    Ok(())
}

fn a_named_descriptor_is_taken_once_and_only_as_what_it_is() {
    let (reader, _writer) = pipe().unwrap();
    let child = ReExec::new("take wrongly").descriptor("reader", reader);
    let child = child.spawn().unwrap().into_child();
    assert!(child.wait().unwrap().success());
}

fn a_name_given_twice_is_refused_before_anything_starts() {
    let (reader, writer) = pipe().unwrap();
    let twice = ReExec::new("take each")
        .descriptor("one", reader)
        .descriptor("one", writer);
    let error = twice.spawn().unwrap_err();
    assert!(error.to_string().contains("given twice"), "{error}");
}

fn become_ready(parent: &mut ParentLink) -> Result<()> {
    let kept: PipeReader = parent.take("kept")?;
    let program = Command::new("sh").args(["-c", READY_THEN_WAIT]);
    parent.exec(program.fd(7, kept))
}

/// flatpak 4286: a number that was valid in the parent was taken in the child.
fn named_descriptors_keep_out_of_the_way_of_numbered_ones() {
    let (mut said, stdout) = pipe().unwrap();
    let numbered = file_with("numbered");
    let child = ReExec::new("echo descriptors")
        .descriptor("named", file_with("named"))
        // Where the hand-off would go by itself.
        .command(|command| {
            let second = numbered.try_clone().unwrap();
            command.fd(3, numbered).fd(5, second).stdout(stdout)
        })
        .spawn()
        .unwrap();
    let mut text = String::new();
    said.read_to_string(&mut text).unwrap();
    assert_eq!(text, "named");
    assert!(child.into_child().wait().unwrap().success());
}

fn echo_descriptors(parent: &mut ParentLink) -> Result<()> {
    let mut text = String::new();
    if let Ok(mut named) = parent.take::<File>("named") {
        named.read_to_string(&mut text).unwrap();
        print!("{text}");
        return Ok(());
    }
    let (count, descriptors): (usize, Vec<OwnedFd>) = parent.channel().receive_with()?;
    assert_eq!(descriptors.len(), count);
    let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    parent.channel().send_with(&count, &borrowed)
}

/// CVE-2024-21626, bubblewrap 221, flatpak 6582: a descriptor of the runtime reached the payload.
fn the_program_at_the_end_has_three_descriptors_and_those_named() {
    let name = "the_program_at_the_end_has_three_descriptors_and_those_named";
    isolated(name, || {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // dup(2) gives descriptors that an exec would keep.
                let file = File::open("/").unwrap();
                while !done.load(Ordering::Relaxed) {
                    let open: Vec<_> = (0..50).map(|_| rustix::io::dup(&file).unwrap()).collect();
                    drop(open);
                }
            });
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    Command::new("true").spawn().unwrap().wait().unwrap();
                }
            });
            let starters: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..10).for_each(|_| list_the_program())))
                .collect();
            for starter in starters {
                starter.join().unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
    });
}

fn list_the_program() {
    let (said, stdout) = pipe().unwrap();
    let (stdin, hold) = pipe().unwrap();
    let (kept, _writer) = pipe().unwrap();
    let (dropped, _other) = pipe().unwrap();
    let name = std::fs::read_link(format!("/proc/self/fd/{}", kept.as_raw_fd())).unwrap();
    let child = ReExec::new("become ready")
        .config(&"unread".to_owned())
        .unwrap()
        .descriptor("kept", kept)
        .descriptor("not taken", File::open("/dev/null").unwrap())
        // 9 is named for the child, and the child does not name it for the program.
        .command(|command| command.stdin(stdin).stdout(stdout).fd(9, dropped))
        .spawn()
        .unwrap();
    let child = child.wait_exec(Duration::from_secs(60)).unwrap();
    let mut line = String::new();
    BufReader::new(said).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let table = descriptors_of(child.id());
    assert_eq!(table.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 7]);
    assert_eq!(table[&7], name.display().to_string());
    drop(hold);
    child.wait().unwrap();
}

fn become_nothing(parent: &mut ParentLink) -> Result<()> {
    parent.exec(Command::new("/no/such/program"))
}

/// wezterm 7893: closing descriptors killed the way by which a failed exec is told.
fn a_program_that_does_not_exist_is_named_with_its_error_number() {
    let child = ReExec::new("become nothing").spawn().unwrap();
    match child.wait_exec(Duration::from_secs(60)).unwrap_err() {
        Error::Remote {
            phase,
            message,
            errno,
        } => {
            assert_eq!(phase, "exec /no/such/program");
            assert_eq!(errno, Some(2));
            assert!(
                message.contains("exec \"/no/such/program\": No such file"),
                "{message}"
            );
        }
        other => panic!("{other}"),
    }
}

/// Some numbers, different in each call.
fn random(state: &mut u64) -> usize {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize
}

/// A command with some descriptors at random numbers, which overlap with those they have here.
fn randomly_placed(program: &str, state: &mut u64, source: &File) -> Command {
    let mut numbers = BTreeMap::new();
    for _ in 0..random(state) % 6 {
        numbers.insert(3 + random(state) as i32 % 20, ());
    }
    numbers
        .keys()
        .fold(Command::new(program), |command, &number| {
            command.fd(number, source.try_clone().unwrap())
        })
}

/// golang 61751, runc 4452: moving descriptors overwrote one that was still needed.
fn ten_thousand_random_placements_fail_as_exec_and_move_nothing() {
    let name = "ten_thousand_random_placements_fail_as_exec_and_move_nothing";
    isolated(name, || {
        let source = File::open("/dev/null").unwrap();
        let mut state = 17;
        // The first start keeps a stack.
        let _ = Command::new("/no/such/program").spawn();
        let before = descriptors_of(std::process::id());
        for _ in 0..10_000 {
            let command = randomly_placed("/no/such/program", &mut state, &source);
            match command.spawn().unwrap_err() {
                pipewright::Error::Start(failure) => {
                    assert!(matches!(failure.step, Step::Execute(_)), "{failure}");
                    assert_eq!(failure.source.raw_os_error(), Some(2));
                }
                other => panic!("{other}"),
            }
        }
        let own = |table: BTreeMap<i32, String>| -> BTreeMap<i32, String> {
            // The directory that lists them has a number of its own in each listing.
            table
                .into_iter()
                .filter(|(_, name)| !name.contains("/fd"))
                .collect()
        };
        assert_eq!(own(before), own(descriptors_of(std::process::id())));
    });
}

/// Tries to become a program that does not exist, with a random table, from a config's seed.
fn place_at_random(parent: &mut ParentLink) -> Result<()> {
    let mut state: u64 = parent.config()?;
    let source = File::open("/dev/null").unwrap();
    let command = randomly_placed("/no/such/program", &mut state, &source);
    parent.exec(command)
}

/// rust 145687, jay 760: a descriptor was placed over the one by which the failure is told.
fn a_failed_exec_is_told_whatever_was_placed_where() {
    for seed in 0..100_u64 {
        let child = ReExec::new("place at random")
            .config(&(seed * 7919 + 1))
            .unwrap();
        let error = child
            .spawn()
            .unwrap()
            .wait_exec(Duration::from_secs(60))
            .unwrap_err();
        assert_eq!(error.raw_os_error(), Some(2), "{error}");
        assert_eq!(error.phase(), Some("exec /no/such/program"));
    }
}

fn descriptors_travel_with_messages_both_ways() {
    let name = "descriptors_travel_with_messages_both_ways";
    isolated(name, || {
        if !may_have_descriptors(600) {
            return;
        }
        for count in [1, 2, 253] {
            let mut child = ReExec::new("echo descriptors").spawn().unwrap();
            let before = open_descriptors();
            let file = file_with("attached");
            let attached: Vec<_> = (0..count).map(|_| file.as_fd()).collect();
            child.channel().send_with(&count, &attached).unwrap();
            let (told, back): (usize, Vec<OwnedFd>) = child.channel().receive_with().unwrap();
            assert_eq!((told, back.len()), (count, count));
            for descriptor in back {
                let flags = rustix::io::fcntl_getfd(&descriptor).unwrap();
                assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
                let (sent, got) = (rustix::fs::fstat(&file), rustix::fs::fstat(&descriptor));
                assert_eq!(sent.unwrap().st_ino, got.unwrap().st_ino);
            }
            drop(file);
            assert_eq!(open_descriptors(), before);
            assert!(child.into_child().wait().unwrap().success());
        }
        let mut child = ReExec::new("echo descriptors")
            .command(|command| command.stderr(pipewright::Stdio::Null))
            .spawn()
            .unwrap();
        let file = file_with("attached");
        let attached: Vec<_> = (0..254).map(|_| file.as_fd()).collect();
        let error = child.channel().send_with(&254, &attached).unwrap_err();
        assert!(
            matches!(error, Error::TooLarge { limit: 253, .. }),
            "{error}"
        );
    });
}
