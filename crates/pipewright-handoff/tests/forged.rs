//! Hand-offs that somebody made up, and numbers that are only claimed.

#[path = "support/without_proc.rs"]
#[allow(
    unreachable_pub,
    reason = "a module of each program that it is part of"
)]
mod without_proc;

use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use pipewright::{Command, Output, StageEnd, pipe};
use pipewright_handoff::{EntryPoints, Error, ParentLink, ReExec, Result, SelfExe, take_inherited};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{PidfdFlags, getpid, pidfd_open};
use testing::{copy_program, is_root};

/// With it in its environment, this program hands out what it was handed over.
const HAND_OUT: &str = "HAND_OUT_THE_HAND_OVER";

fn main() {
    if std::env::var_os(HAND_OUT).is_some() {
        let handed_over = std::fs::read("/proc/self/fd/3").unwrap();
        std::io::stdout().write_all(&handed_over).unwrap();
        return;
    }
    EntryPoints::new().entry("answer", answer).dispatch();
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("take") => return take(),
        Some("ask") => return println!("{}", ask(File::open(&arguments[2]).unwrap(), false)),
        Some("ask as who we are") => {
            return println!("{}", ask(File::open("/proc/self/exe").unwrap(), true));
        }
        _ => {}
    }
    testing::trials::run(testing::tests![
        an_inherited_descriptor_is_taken_once_and_nothing_else_is,
        without_proc_inherited_descriptors_are_known_too,
        a_forged_hand_over_gives_no_number_two_owners,
        a_hand_over_with_any_byte_changed_ends_in_a_status,
        a_program_with_privileges_of_its_own_takes_no_hand_over,
        a_parent_link_may_move_to_another_thread,
    ]);
}

fn answer(parent: &mut ParentLink) -> Result<()> {
    parent.channel().send(&"from the child".to_owned())
}

/// Runs in a process that was given a pipe at 7 and another one at 70.
fn take() {
    let refused = |number: i32, why: &str| {
        let error = take_inherited(number).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert!(error.contains(&number.to_string()), "{error}");
    };
    for number in [0, 1, 2] {
        refused(number, "belong to std");
    }
    for number in [-1, 8, 71, 65535, 65536, i32::MIN, i32::MAX] {
        refused(number, "was not open");
    }
    // What this program has opened has an owner, close-on-exec or not.
    let opened = File::open("/dev/null").unwrap();
    let duplicate = rustix::io::dup(&opened).unwrap();
    refused(opened.as_raw_fd(), "was not open");
    refused(duplicate.as_raw_fd(), "was not open");

    let taken: File = take_inherited(7).unwrap().into();
    assert_eq!(taken.as_raw_fd(), 7);
    let flags = rustix::io::fcntl_getfd(&taken).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    refused(7, "taken already");
    assert_eq!(std::io::read_to_string(taken).unwrap(), "for seven");
    // Closed, its number can be somebody else's.
    let next = rustix::io::fcntl_dupfd_cloexec(&opened, 7).unwrap();
    assert_eq!(next.as_raw_fd(), 7);
    refused(7, "taken already");

    let seventy: File = take_inherited(70).unwrap().into();
    assert_eq!(std::io::read_to_string(seventy).unwrap(), "for seventy");
    println!("all taken");
}

fn own_program() -> Command {
    Command::new(std::env::current_exe().unwrap())
}

fn text_in_a_pipe(text: &str) -> OwnedFd {
    let (reader, mut writer) = pipe().unwrap();
    writer.write_all(text.as_bytes()).unwrap();
    reader.into()
}

fn taking() -> Output {
    let command = own_program()
        .arg("take")
        .fd(7, text_in_a_pipe("for seven"))
        .fd(70, text_in_a_pipe("for seventy"));
    command.capture().output().unwrap()
}

fn an_inherited_descriptor_is_taken_once_and_nothing_else_is() {
    let output = taking();
    assert_eq!(output.stdout, b"all taken\n", "{output:?}");
}

fn without_proc_inherited_descriptors_are_known_too() {
    let program = File::open("/proc/self/exe").unwrap();
    std::thread::spawn(|| {
        if let Err(errno) = without_proc::hide() {
            println!("not tested here: /proc cannot be hidden: {errno}");
            return;
        }
        let (mut reader, writer) = pipe().unwrap();
        let child = Command::new("self")
            .executable(program)
            .arg("take")
            .stdout(writer)
            .fd(7, text_in_a_pipe("for seven"))
            .fd(70, text_in_a_pipe("for seventy"))
            .spawn()
            .unwrap();
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        assert_eq!(said, "all taken\n");
        assert!(child.wait().unwrap().success());
    })
    .join()
    .unwrap();
}

/// A real hand-off, as bytes: it is at 3, the channel at 4, the parent at 5, and a pipe at 6.
fn handed_over() -> Vec<u8> {
    let (mut reader, writer) = pipe().unwrap();
    let child = ReExec::new("answer")
        .descriptor("input", text_in_a_pipe(""))
        .command(|command| command.env(HAND_OUT, "1").stdout(writer))
        .spawn()
        .unwrap();
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    assert!(child.into_child().wait().unwrap().success());
    bytes
}

/// Starts this program with these bytes as what is handed over.
fn start_with(bytes: &[u8]) -> Output {
    let memory = rustix::fs::memfd_create("forged", MemfdFlags::ALLOW_SEALING).unwrap();
    let mut memory = File::from(memory);
    memory.write_all(bytes).unwrap();
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&memory, seals).unwrap();
    let flags = SocketFlags::CLOEXEC;
    let (_ours, channel) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    let command = own_program()
        .args(["--pipewright-handoff=3", "answer"])
        .fd(3, memory)
        .fd(4, channel)
        .fd(5, pidfd_open(getpid(), PidfdFlags::empty()).unwrap())
        .fd(6, text_in_a_pipe(""));
    command.capture().output().unwrap()
}

/// The status that it exited with; `None` if a signal ended it.
fn code(output: &Output) -> Option<i32> {
    match output.status.stages()[0].end {
        StageEnd::Exited(code) => Some(code),
        _ => None,
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr[0]).into_owned()
}

fn a_forged_hand_over_gives_no_number_two_owners() {
    let real = handed_over();
    assert_eq!(code(&start_with(&real)), Some(0), "the real one is taken");
    // The head: 16 bytes of magic, 20 of the build, then the channel's and the parent's numbers.
    let (channel_at, parent_at) = (36, 40);
    let named_at = real.windows(6).position(|it| it == b"input\x0c").unwrap() + 5;
    let with = |changes: &[(usize, &[u8])]| {
        let mut bytes = real.clone();
        for (at, new) in changes {
            bytes[*at..at + new.len()].copy_from_slice(new);
        }
        bytes
    };
    let number = i32::to_le_bytes;
    let forged = [
        with(&[(channel_at, &number(5))]),
        with(&[(parent_at, &number(4))]),
        with(&[(channel_at, &number(3))]),
        with(&[(channel_at, &number(6)), (parent_at, &number(6))]),
        with(&[(parent_at, &number(6))]),
        with(&[(channel_at, &number(1))]),
        with(&[(parent_at, &number(-1))]),
        with(&[(parent_at, &number(i32::MAX))]),
        // Twice the number, as postcard writes it.
        with(&[(named_at, &[2 * 4])]),
        with(&[(named_at, &[2 * 3])]),
        with(&[(named_at, &[2])]),
    ];
    for bytes in forged {
        let output = start_with(&bytes);
        assert_eq!(code(&output), Some(125), "{output:?}");
        let said = said(&output);
        assert!(said.contains("cannot take what was handed over"), "{said}");
    }
}

/// A descriptor with two owners is closed twice, and std aborts the process.
fn a_hand_over_with_any_byte_changed_ends_in_a_status() {
    let real = handed_over();
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(at) = Some(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                    .filter(|at| *at < real.len())
                {
                    let mut bytes = real.clone();
                    bytes[at] ^= 1 << (at % 8);
                    let output = start_with(&bytes);
                    assert!(code(&output).is_some(), "byte {at}: {output:?}");
                }
            });
        }
    });
}

/// Starts `program` as if it were this one, and tells what came of it.
fn ask(program: File, as_who_we_are: bool) -> String {
    let child = ReExec::new("answer").executable(SelfExe::File(program.into()));
    let child = if as_who_we_are {
        let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
        child.command(|command| command.uid(user.as_raw()).gid(group.as_raw()))
    } else {
        child
    };
    let mut child = child.spawn().unwrap();
    match child.channel().receive::<String>() {
        Ok(answer) => answer,
        Err(error @ Error::PeerDied { .. }) => format!("none: {error}"),
        Err(other) => panic!("{other}"),
    }
}

/// Gives a file of root's a privilege, and says which.
type Give = fn(&Path) -> &'static str;

fn a_program_with_privileges_of_its_own_takes_no_hand_over() {
    const NOBODY: u32 = 65534;
    if !is_root() {
        println!("not tested here: only root makes set-user-ID programs of root's");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let ordinary = directory.path().join("ordinary");
    copy_program(&std::env::current_exe().unwrap(), &ordinary);
    let asked_by_nobody = |program: &Path, words: &[&Path]| {
        let command = Command::new(program).args(words).uid(NOBODY).gid(NOBODY);
        let output = command.capture().output().unwrap();
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        (answer, said(&output))
    };
    let kinds: [Give; 3] = [
        |path| {
            std::fs::set_permissions(path, Permissions::from_mode(0o4755)).unwrap();
            "set-user-ID"
        },
        |path| {
            std::fs::set_permissions(path, Permissions::from_mode(0o2755)).unwrap();
            "set-group-ID"
        },
        |path| {
            // Version 2, effective; CAP_CHOWN permitted.
            let words = [0x0200_0001_u32, 1, 0, 0, 0];
            let value: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(path, "security.capability", &value, flags).unwrap();
            "capabilities"
        },
    ];
    for give in kinds {
        let privileged = directory.path().join("privileged");
        let _ = std::fs::remove_file(&privileged);
        copy_program(&ordinary, &privileged);
        let (answer, said) = asked_by_nobody(&ordinary, &[Path::new("ask"), &privileged]);
        assert_eq!(answer, "from the child\n", "{said}");

        let kind = give(&privileged);
        let (answer, said) = asked_by_nobody(&ordinary, &[Path::new("ask"), &privileged]);
        assert!(
            answer.starts_with("none: the other process died") && answer.contains("125"),
            "{kind}: {answer}{said}"
        );
        assert!(
            said.contains("refused: this program is set-user-ID or set-group-ID"),
            "{kind}: {said}"
        );

        // Its own children, if they are who it is.
        if kind != "capabilities" {
            let words = [Path::new("ask as who we are")];
            let (answer, said) = asked_by_nobody(&privileged, &words);
            assert_eq!(answer, "from the child\n", "{kind}: {said}");
        }
    }
}

fn a_parent_link_may_move_to_another_thread() {
    fn may_move<T: Send + Sync>() {}
    may_move::<ParentLink>();
    may_move::<pipewright_handoff::ChildLink>();
}
