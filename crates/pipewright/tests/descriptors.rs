//! The child's table of descriptors: exactly what was asked for, whatever the parent's looks like.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use pipewright::{Child, Command, Error, PipeReader, PipeWriter, Stdio, Step, pipe};
use testing::{
    READY_THEN_WAIT, descriptors_of, isolated, may_have_descriptors, open_descriptors, watchdog,
};

/// `pipe:[inode]`, as the kernel names it.
fn name_of(descriptor: &impl AsFd) -> String {
    let number = descriptor.as_fd().as_raw_fd();
    std::fs::read_link(format!("/proc/self/fd/{number}"))
        .unwrap()
        .display()
        .to_string()
}

/// A child that runs and stays, so that its table can be read from outside.
struct Held {
    child: Child,
    release: PipeWriter,
}

impl Held {
    fn start(command: Command) -> Self {
        let (said, stdout) = pipe().unwrap();
        let (stdin, release) = pipe().unwrap();
        let child = command.stdin(stdin).stdout(stdout).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self { child, release }
    }

    fn table(&self) -> BTreeMap<i32, String> {
        descriptors_of(self.child.id())
    }

    fn end(self) {
        drop(self.release);
        self.child.wait().unwrap();
    }
}

fn ready() -> Command {
    Command::new("sh").args(["-c", READY_THEN_WAIT])
}

/// Puts a descriptor to a chosen number of this process, close-on-exec.
fn place(descriptor: impl Into<OwnedFd>, number: i32) -> OwnedFd {
    let descriptor = descriptor.into();
    let moved = rustix::io::fcntl_dupfd_cloexec(&descriptor, number).unwrap();
    assert_eq!(moved.as_raw_fd(), number, "the number was free");
    moved
}

#[test]
fn a_child_has_its_three_standard_descriptors_and_those_named() {
    let _watchdog = watchdog();
    let (reader, writer) = pipe().unwrap();
    let names = [name_of(&reader), name_of(&writer)];
    let held = Held::start(ready().fd(7, reader).fd(200, writer));
    let table = held.table();
    assert_eq!(table.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 7, 200]);
    assert_eq!([&table[&7], &table[&200]], [&names[0], &names[1]]);
    held.end();
}

#[test]
fn descriptors_may_swap_and_rotate_their_numbers() {
    isolated("descriptors_may_swap_and_rotate_their_numbers", || {
        let pipes: Vec<(PipeReader, PipeWriter)> = (0..3).map(|_| pipe().unwrap()).collect();
        let mut names = Vec::new();
        let mut placed = Vec::new();
        for (number, (reader, writer)) in (100..).zip(pipes) {
            names.push(name_of(&reader));
            placed.push(place(reader, number));
            drop(writer);
        }
        let [a, b, c] = <[OwnedFd; 3]>::try_from(placed).unwrap();
        // 100 → 101 → 102 → 100
        let held = Held::start(ready().fd(101, a).fd(102, b).fd(100, c));
        let table = held.table();
        assert_eq!(
            [&table[&101], &table[&102], &table[&100]],
            [&names[0], &names[1], &names[2]]
        );
        held.end();
    });
}

/// rust-lang/rust 147624: a descriptor given as stdio stayed open under its old number as well.
#[test]
fn a_descriptor_given_as_stdio_is_not_also_open_under_its_old_number() {
    let _watchdog = watchdog();
    let file = std::fs::File::open("/dev/null").unwrap();
    let plain = rustix::io::dup(&file).unwrap(); // not close-on-exec
    let held = Held::start(ready().stderr(plain));
    assert_eq!(held.table().keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    held.end();
}

/// CVE-2024-21626, bubblewrap 221: a descriptor of the parent reached the program.
#[test]
fn a_descriptor_that_is_not_close_on_exec_does_not_leak() {
    let _watchdog = watchdog();
    if !may_have_descriptors(1000) {
        return;
    }
    let directory = std::fs::File::open("/").unwrap();
    let low = rustix::io::dup(&directory).unwrap();
    let high = rustix::io::fcntl_dupfd_cloexec(&directory, 900).unwrap();
    rustix::io::fcntl_setfd(&high, rustix::io::FdFlags::empty()).unwrap();
    let held = Held::start(ready());
    assert_eq!(held.table().keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    held.end();
    drop((low, high));
}

#[test]
fn what_sixty_four_threads_start_while_others_open_descriptors_has_exactly_its_table() {
    let name = "what_sixty_four_threads_start_while_others_open_descriptors_has_exactly_its_table";
    isolated(name, || {
        if !may_have_descriptors(1000) {
            return;
        }
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let file = std::fs::File::open("/").unwrap();
                    while !done.load(Ordering::Relaxed) {
                        // dup(2) gives descriptors that an exec would keep.
                        let open: Vec<OwnedFd> =
                            (0..50).map(|_| rustix::io::dup(&file).unwrap()).collect();
                        drop(open);
                    }
                });
            }
            let starters: Vec<_> = (0..64)
                .map(|thread| {
                    scope.spawn(move || {
                        for round in 0..4 {
                            let number = 3 + (thread * 7 + round * 31) % 300;
                            let (reader, writer) = pipe().unwrap();
                            let name = name_of(&reader);
                            let held = Held::start(ready().fd(number, reader));
                            let table = held.table();
                            assert_eq!(
                                table.keys().copied().collect::<Vec<_>>(),
                                [0, 1, 2, number]
                            );
                            assert_eq!(table[&number], name);
                            held.end();
                            drop(writer);
                        }
                    })
                })
                .collect();
            let results: Vec<_> = starters.into_iter().map(|starter| starter.join()).collect();
            done.store(true, Ordering::Relaxed);
            assert!(results.iter().all(Result::is_ok));
        });
    });
}

/// youki 238, ipc-channel 281, rust 98209: the parent kept an end of its own.
#[test]
fn nothing_that_was_given_to_a_child_stays_open_in_the_parent() {
    isolated(
        "nothing_that_was_given_to_a_child_stays_open_in_the_parent",
        || {
            let before = open_descriptors();
            let (reader, mut writer) = pipe().unwrap();
            let child = Command::new("head")
                .args(["-c", "1"])
                .stdin(reader)
                .stdout(Stdio::Null);
            let child = child.spawn().unwrap();
            writer.write_all(b"x").unwrap();
            child.wait().unwrap();
            // The only reader was the child's.
            assert_eq!(
                writer.write(b"y").unwrap_err().kind(),
                std::io::ErrorKind::BrokenPipe
            );
            drop((writer, child));
            assert_eq!(open_descriptors(), before);
        },
    );
}

/// OpenSSH 4b307faf2: the child died, and the parent's own copy of its end kept a write blocked.
#[test]
fn a_write_to_a_child_that_died_fails_and_does_not_block() {
    let _watchdog = watchdog();
    let (reader, mut writer) = pipe().unwrap();
    let child = Command::new("sh")
        .args(["-c", "exit 1"])
        .fd(3, reader)
        .spawn()
        .unwrap();
    child.wait().unwrap();
    let more_than_a_pipe_holds = vec![0; 1 << 20];
    let error = writer.write_all(&more_than_a_pipe_holds).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}

#[test]
fn a_standard_stream_may_be_closed_for_the_child_alone() {
    let _watchdog = watchdog();
    let script = "for n in 0 1 2; do test -e /proc/self/fd/$n && s=$s$n; done; printf \"$s\" >&3";
    let open_in = |command: Command| {
        let (reader, writer) = pipe().unwrap();
        let command = command.args(["-c", script]).fd(3, writer);
        command.spawn().unwrap().wait().unwrap();
        std::io::read_to_string(reader).unwrap()
    };
    let sh = || Command::new("sh").stdin(Stdio::Null);
    assert_eq!(open_in(sh()), "012");
    assert_eq!(open_in(sh().stdin(Stdio::Closed)), "12");
    assert_eq!(open_in(sh().stdout(Stdio::Closed)), "02");
    assert_eq!(open_in(sh().stderr(Stdio::Closed)), "01");
    // Where stdout goes to nowhere, so does what follows it.
    let both = sh().stdout(Stdio::Closed).stderr(Stdio::SameAsStdout);
    assert_eq!(open_in(both), "0");
    assert!(std::fs::exists("/proc/self/fd/2").unwrap(), "open here");
}

#[test]
fn standard_streams_closed_in_the_parent_are_no_obstacle() {
    isolated(
        "standard_streams_closed_in_the_parent_are_no_obstacle",
        || {
            if !may_have_descriptors(600) {
                return;
            }
            // Kept elsewhere, for the messages of this test.
            let kept = [0, 1, 2].map(|number| {
                let standard = borrow(number);
                rustix::io::fcntl_dupfd_cloexec(standard, 500).unwrap()
            });
            for closed in [vec![0], vec![1], vec![2], vec![0, 1], vec![0, 1, 2]] {
                for &number in &closed {
                    close(number);
                }
                let (reader, writer) = pipe().unwrap();
                assert!(reader.as_raw_fd() > 2 && writer.as_raw_fd() > 2);
                let (name, other) = (name_of(&reader), name_of(&writer));
                // What a file opened now would get: a number among 0-2, as a source.
                let file = std::fs::File::open("/dev/zero").unwrap();
                assert_eq!(file.as_raw_fd(), closed[0]);

                let child = Command::new("sh")
                    .args(["-c", "kill -STOP $$"])
                    .fd(3, reader)
                    .fd(4, file)
                    .fd(5, writer)
                    .spawn()
                    .unwrap();
                // When it has stopped, it has opened and closed again what its loading takes.
                let stat = format!("/proc/{}/stat", child.id());
                while !std::fs::read_to_string(&stat).unwrap().contains(") T ") {
                    std::thread::yield_now();
                }
                let table = descriptors_of(child.id());
                let standard: Vec<i32> =
                    (0..=2).filter(|number| !closed.contains(number)).collect();
                let numbers: Vec<i32> = standard.into_iter().chain(3..=5).collect();
                let got: Vec<i32> = table.keys().copied().collect();
                child.kill().unwrap();
                child.wait().unwrap();
                drop(child); // its pidfd may be one of 0-2

                for (number, kept) in (0..).zip(&kept) {
                    if closed.contains(&number) {
                        restore(kept, number);
                    }
                }
                assert_eq!(got, numbers, "{closed:?} closed");
                assert_eq!([&table[&3], &table[&5]], [&name, &other]);
                assert_eq!(table[&4], "/dev/zero");
            }
        },
    );
}

fn borrow(number: i32) -> BorrowedFd<'static> {
    // SAFETY: 0-2 are open in a test's own process until it closes them here.
    #[allow(unsafe_code)]
    unsafe {
        BorrowedFd::borrow_raw(number)
    }
}

fn close(number: i32) {
    // SAFETY: the process is this test's own, and nothing else in it uses the number now.
    #[allow(unsafe_code)]
    unsafe {
        rustix::io::close(number);
    }
}

fn restore(from: &OwnedFd, number: i32) {
    let copy = rustix::io::fcntl_dupfd_cloexec(from, number).unwrap();
    rustix::io::fcntl_setfd(&copy, rustix::io::FdFlags::empty()).unwrap();
    assert_eq!(copy.into_raw_fd(), number);
}

/// rust-lang 145687, jay 760, wezterm 7893: a number that the caller uses met the descriptor over
/// which a failed exec is reported. There is none here.
#[test]
fn a_failed_exec_is_told_whatever_numbers_the_table_uses() {
    let _watchdog = watchdog();
    for first in 3..40 {
        let mut command = Command::new("/no/such/program");
        for number in first..first + 40 {
            command = command.fd(number, std::fs::File::open("/dev/null").unwrap());
        }
        match command.spawn().unwrap_err() {
            Error::Start(failure) => {
                assert_eq!(failure.step, Step::Execute("/no/such/program".into()));
                assert_eq!(failure.source.kind(), std::io::ErrorKind::NotFound);
            }
            other => panic!("{other}"),
        }
    }
}

/// golang 61751, runc 4452: moving descriptors overwrote the one of the executable.
#[test]
fn the_open_executable_survives_any_table() {
    let _watchdog = watchdog();
    for shift in 0..20 {
        let program = std::fs::File::open("/bin/cat").unwrap();
        let number = program.as_raw_fd();
        let (mut said, stdout) = pipe().unwrap();
        let (stdin, mut feed) = pipe().unwrap();
        let mut command = Command::new("cat")
            .executable(program)
            .stdin(stdin)
            .stdout(stdout);
        for target in (number - 2).max(3)..number + shift {
            command = command.fd(target, std::fs::File::open("/dev/null").unwrap());
        }
        let child = command.spawn().unwrap();
        feed.write_all(b"it is cat").unwrap();
        drop(feed);
        let mut text = String::new();
        said.read_to_string(&mut text).unwrap();
        assert_eq!(text, "it is cat");
        assert!(child.wait().unwrap().success());
    }
}

/// flatpak 4286: a number that is free in the parent was taken in the child.
#[test]
fn a_target_may_be_the_number_of_anything_open_in_the_parent() {
    let _watchdog = watchdog();
    let busy = std::fs::File::open("/dev/zero").unwrap();
    let (reader, writer) = pipe().unwrap();
    let name = name_of(&reader);
    let held = Held::start(ready().fd(busy.as_raw_fd().max(3), reader));
    assert_eq!(held.table()[&busy.as_raw_fd().max(3)], name);
    held.end();
    // Ours is as it was.
    assert_eq!(name_of(&busy), "/dev/zero");
    drop(writer);
}

#[test]
fn a_number_at_the_limit_is_an_error_that_names_it() {
    let _watchdog = watchdog();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let number = i32::try_from(limit.unwrap_or(1 << 20)).unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    let error = Command::new("true").fd(number, file).spawn().unwrap_err();
    assert!(
        matches!(&error, Error::Start(failure) if failure.step == Step::PlaceDescriptor(number)),
        "{error}"
    );
    assert!(error.to_string().contains("ulimit -n"), "{error}");
}

#[test]
fn stderr_goes_where_stdout_goes() {
    let _watchdog = watchdog();
    let (mut reader, writer) = pipe().unwrap();
    let child = Command::new("sh")
        .args(["-c", "echo out; echo err >&2"])
        .stdout(writer)
        .stderr(Stdio::SameAsStdout)
        .spawn()
        .unwrap();
    let mut both = String::new();
    reader.read_to_string(&mut both).unwrap();
    assert_eq!(both, "out\nerr\n");
    child.wait().unwrap();
}

#[test]
fn a_descriptor_is_let_through_at_its_number_close_on_exec_or_not() {
    isolated(
        "a_descriptor_is_let_through_at_its_number_close_on_exec_or_not",
        || {
            let (reader, writer) = pipe().unwrap();
            let closing = place(reader, 20);
            let open = place(writer, 21);
            rustix::io::fcntl_setfd(&open, rustix::io::FdFlags::empty()).unwrap();
            let not_meant = place(std::fs::File::open("/dev/null").unwrap(), 22);
            rustix::io::fcntl_setfd(&not_meant, rustix::io::FdFlags::empty()).unwrap();
            let held = Held::start(ready().inherit(20).inherit(21).inherit(20));
            let table = held.table();
            let numbers: Vec<i32> = table.keys().copied().collect();
            assert_eq!(numbers, [0, 1, 2, 20, 21]);
            assert_eq!(
                [&table[&20], &table[&21]],
                [&name_of(&closing), &name_of(&open)]
            );
            held.end();
            // Together with moves from and to them.
            let moved = ready()
                .inherit(20)
                .fd(30, open.try_clone().unwrap())
                .fd(21, not_meant);
            let held = Held::start(moved);
            let table = held.table();
            assert_eq!(table[&20], name_of(&closing));
            assert_eq!([&table[&21], &table[&30]], ["/dev/null", &name_of(&open)]);
            held.end();
        },
    );
}

/// Tells whether one of this process's descriptors is.
fn close_on_exec(number: i32) -> bool {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.is_none_or(|flags| i32::from_str_radix(flags.trim(), 8).unwrap() & libc::O_CLOEXEC != 0)
}

#[test]
fn everything_open_is_let_through_as_a_shell_does_but_what_is_pipewrights() {
    isolated(
        "everything_open_is_let_through_as_a_shell_does_but_what_is_pipewrights",
        || {
            let (reader, writer) = pipe().unwrap();
            let open = place(reader, 20);
            rustix::io::fcntl_setfd(&open, rustix::io::FdFlags::empty()).unwrap();
            let _closing = place(writer, 21);
            // What this test itself was started with, by a make for instance, comes along.
            let mut expected: Vec<i32> = descriptors_of(std::process::id()).into_keys().collect();
            expected.retain(|number| !close_on_exec(*number));
            expected.push(30);
            expected.sort_unstable();
            // Given to the child at 30, and open here at 22 without close-on-exec: not its second name.
            let given = place(std::fs::File::open("/dev/null").unwrap(), 22);
            rustix::io::fcntl_setfd(&given, rustix::io::FdFlags::empty()).unwrap();
            let neighbour = Held::start(ready());
            let held = Held::start(ready().fd(30, given).inherit_all());
            let table = held.table();
            let numbers: Vec<i32> = table.keys().copied().collect();
            assert_eq!(numbers, expected);
            assert_eq!([&table[&20], &table[&30]], [&name_of(&open), "/dev/null"]);
            held.end();
            neighbour.end();

            let program = std::fs::File::open("/bin/ls").unwrap();
            rustix::io::fcntl_setfd(&program, rustix::io::FdFlags::empty()).unwrap();
            let inode = std::os::unix::fs::MetadataExt::ino(&program.metadata().unwrap());
            let listed = Command::new("ls")
                .args(["-iL", "/proc/self/fd"])
                .executable(program);
            let listed = listed.inherit_all().capture().read().unwrap();
            let starts = format!("{inode} ");
            let passed = listed
                .lines()
                .any(|line| line.trim_start().starts_with(&starts));
            assert!(!passed, "{listed}");
        },
    );
}

#[test]
fn what_is_let_through_must_be_open_and_have_no_other_source() {
    let _watchdog = watchdog();
    let Error::Start(failure) = ready().inherit(9_000).spawn().unwrap_err() else {
        panic!()
    };
    assert_eq!(failure.step, Step::PlaceDescriptor(9_000));
    assert_eq!(failure.source.raw_os_error(), Some(libc::EBADF));
    let twice = [
        ready().inherit(7).fd(7, std::fs::File::open("/").unwrap()),
        ready().inherit(0).stdin(Stdio::Null),
        ready().inherit(-1),
    ];
    for command in twice {
        let error = command.spawn().unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
    }
}
