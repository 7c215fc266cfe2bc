//! Every system call of a start, made to fail: the error names the step, and nothing is left behind.
//!
//! A seccomp filter lets one system call fail. It holds for the thread that installs it and for the
//! children of that thread; so each case has a thread of its own, and the thread that checks has no
//! filter.
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Barrier;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use libc::c_long;
use pipewright::{Command, Error, Resource, Signal, StageEnd, Stdio, Step};
use testing::{Fault, await_no_children, children, descriptors_of, fault, is_root, isolated};

/// What could be left of a failed start, seen from a thread without a filter: open descriptors and
/// children, zombies too.
fn remains() -> (BTreeMap<i32, String>, Vec<String>) {
    (descriptors_of(std::process::id()), children())
}

/// Does what `prepare` gives in a thread in which the fault holds, and checks that nothing is left.
fn with_fault<T: Send>(
    fault: Fault,
    prepare: impl FnOnce() -> Command + Send,
    attempt: impl FnOnce(Command) -> T + Send,
) -> T {
    with_fault_until(fault, prepare, attempt, || ())
}

/// The same, checked when `settled` returns.
fn with_fault_until<T: Send>(
    fault: Fault,
    prepare: impl FnOnce() -> Command + Send,
    attempt: impl FnOnce(Command) -> T + Send,
    settled: impl FnOnce(),
) -> T {
    let before = remains();
    let blocked = |status: &str| {
        let line = status.lines().find(|line| line.starts_with("SigBlk:"));
        line.unwrap().to_owned()
    };
    let own = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let (done, checked) = (Barrier::new(2), Barrier::new(2));
    let id = AtomicI32::new(0);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            id.store(rustix::thread::gettid().as_raw_pid(), Relaxed);
            let command = prepare();
            fault.install();
            let result = attempt(command);
            done.wait();
            checked.wait();
            result
        });
        done.wait();
        settled();
        let status = format!("/proc/self/task/{}/status", id.load(Relaxed));
        let (after, status) = (remains(), std::fs::read_to_string(status).unwrap());
        checked.wait();
        let result = thread.join().unwrap();
        assert_eq!(after, before, "{fault:?}");
        assert_eq!(blocked(&status), blocked(&own), "{fault:?}");
        result
    })
}

/// What is kept for the children of dropped handles is there before anything is counted.
fn await_no_children_of_dropped_handles() {
    let (reader, hold) = pipewright::pipe().unwrap();
    drop(Command::new("cat").stdin(reader).spawn().unwrap());
    drop(hold);
    await_no_children();
}

fn file() -> OwnedFd {
    File::open("/dev/null").unwrap().into()
}

fn number(descriptor: &OwnedFd) -> i32 {
    descriptor.as_raw_fd()
}

/// A command that goes through nearly every step that there is in a start.
fn everything() -> Command {
    let unchanged = rustix::process::getrlimit(Resource::Core);
    let command = Command::new("/bin/true")
        .stdin(file())
        .stdout(Stdio::Null)
        .current_dir("/")
        .new_session()
        .umask(0o022)
        .nice(0)
        .rlimit(Resource::Core, unchanged)
        .own_tree();
    if is_root() {
        return command.groups([0]).gid(0).uid(0);
    }
    command
}

/// Two descriptors that swap their numbers, so that one has to be saved.
fn swap() -> Command {
    let (first, second) = (file(), file());
    let (one, two) = (number(&first), number(&second));
    Command::new("/bin/true").fd(one, second).fd(two, first)
}

/// A descriptor that is at its number already.
fn keep() -> Command {
    let kept = file();
    Command::new("/bin/true").fd(number(&kept), kept)
}

/// A fault, what makes the command that runs into it, and the step that its error has to name.
type Case = (Fault, fn() -> Command, Step);

fn cases() -> Vec<Case> {
    use libc::{EAGAIN, EINTR, EMFILE, ENFILE, ENOMEM, EPERM};
    const CLONE_VFORK: u32 = 0x4000;
    const MAP_STACK: u32 = 0x2_0000;
    const ALL: u32 = u32::MAX;
    let mut cases: Vec<Case> = Vec::new();
    let mut add =
        |errnos: &[i32], faulty: &dyn Fn(i32) -> Fault, command: fn() -> Command, step: Step| {
            cases.extend(
                errnos
                    .iter()
                    .map(|&errno| (faulty(errno), command, step.clone())),
            );
        };
    let call = |number: c_long| move |errno: i32| fault(number, errno);
    let fcntl =
        |command: i32| move |errno| fault(libc::SYS_fcntl, errno).when(1, ALL, command as u32);
    let prctl =
        |option: i32| move |errno| fault(libc::SYS_prctl, errno).when(0, ALL, option as u32);
    let common = [EPERM, ENOMEM, EAGAIN, EINTR];

    // First, since a stack that was mapped is kept.
    let map = |errno| fault(libc::SYS_mmap, errno).when(3, MAP_STACK, MAP_STACK);
    add(&common, &map, everything, Step::MapStack);
    // The guard page is the one that is left without any right.
    let guard = |errno| fault(libc::SYS_mprotect, errno).when(2, ALL, 0);
    add(&common, &guard, everything, Step::MapStack);

    add(
        &[EMFILE, ENFILE, ENOMEM, EPERM],
        &call(libc::SYS_openat),
        everything,
        Step::OpenNull,
    );
    add(
        &common,
        &prctl(libc::PR_SET_CHILD_SUBREAPER),
        everything,
        Step::Subreaper,
    );
    let block =
        |errno| fault(libc::SYS_rt_sigprocmask, errno).when(0, ALL, libc::SIG_SETMASK as u32);
    add(&common, &block, everything, Step::Signals);
    let clone = |errno| fault(libc::SYS_clone, errno).when(0, CLONE_VFORK, CLONE_VFORK);
    add(
        &[EAGAIN, ENOMEM, EPERM, EINTR, EMFILE],
        &clone,
        everything,
        Step::Clone,
    );

    // From here on in the child.
    add(
        &common,
        &call(libc::SYS_rt_sigaction),
        everything,
        Step::Signals,
    );
    add(
        &[EMFILE, EINTR, EPERM],
        &call(libc::SYS_dup3),
        everything,
        Step::PlaceDescriptor(1),
    );
    // Numbers in an error are those of the case, so these two are looked at below.
    add(
        &[EMFILE, EPERM, EINTR],
        &fcntl(libc::F_DUPFD_CLOEXEC),
        swap,
        Step::PlaceDescriptor(-1),
    );
    add(
        &[EPERM, EINTR],
        &fcntl(libc::F_SETFD),
        keep,
        Step::PlaceDescriptor(-1),
    );
    // EPERM, ENOSYS and EINVAL mean "not here", and there is a way around.
    let close = call(libc::SYS_close_range);
    add(
        &[EMFILE, ENOMEM, EAGAIN, EINTR],
        &close,
        everything,
        Step::CloseDescriptors,
    );
    add(
        &common,
        &call(libc::SYS_setsid),
        everything,
        Step::NewSession,
    );
    let group = || Command::new("/bin/true").process_group(0);
    add(&common, &call(libc::SYS_setpgid), group, Step::ProcessGroup);
    let core = Step::ResourceLimit(Resource::Core);
    let limit = |errno| fault(libc::SYS_prlimit64, errno).when(1, ALL, Resource::Core as u32);
    add(&common, &limit, everything, core);
    add(
        &common,
        &call(libc::SYS_getpriority),
        everything,
        Step::Nice,
    );
    add(
        &common,
        &call(libc::SYS_setpriority),
        everything,
        Step::Nice,
    );
    if is_root() {
        add(
            &common,
            &call(libc::SYS_setgroups),
            everything,
            Step::Groups,
        );
        add(
            &common,
            &call(libc::SYS_setresgid),
            everything,
            Step::GroupId,
        );
        add(
            &common,
            &call(libc::SYS_setresuid),
            everything,
            Step::UserId,
        );
    }
    let first_cpu = || Command::new("/bin/true").cpus([0]);
    let affinity = call(libc::SYS_sched_setaffinity);
    add(&common, &affinity, first_cpu, Step::CpuAffinity);
    let forbidden = || Command::new("/bin/true").no_new_privs();
    let no_new = prctl(libc::PR_SET_NO_NEW_PRIVS);
    add(&common, &no_new, forbidden, Step::NoNewPrivileges);
    let terminal = || Command::new("/bin/true").controlling_terminal(0);
    let ioctl = |errno| fault(libc::SYS_ioctl, errno).when(1, ALL, libc::TIOCSCTTY as u32);
    let step = Step::ControllingTerminal(0);
    add(&common, &ioctl, terminal, step);
    let in_front = || Command::new("/bin/true").foreground(0);
    let ioctl = |errno| fault(libc::SYS_ioctl, errno).when(1, ALL, libc::TIOCSPGRP as u32);
    add(&common, &ioctl, in_front, Step::Foreground(0));
    if is_root() {
        let rooted = || Command::new("/bin/true").chroot("/");
        let step = Step::ChangeRoot("/".into());
        add(&common, &call(libc::SYS_chroot), rooted, step);
    }
    let root = Step::ChangeDirectory("/".into());
    add(
        &[EPERM, ENOMEM, EINTR, EMFILE],
        &call(libc::SYS_chdir),
        everything,
        root,
    );
    let program = Step::Execute("/bin/true".into());
    let every = [EPERM, ENOMEM, EAGAIN, EINTR, EMFILE, ENFILE];
    add(&every, &call(libc::SYS_execve), everything, program);
    cases
}

#[test]
fn every_step_that_fails_is_named_and_leaves_nothing_behind() {
    isolated(
        "every_step_that_fails_is_named_and_leaves_nothing_behind",
        || {
            let cases = cases();
            assert!(cases.len() >= 60);
            for (fault, command, step) in cases {
                let error = with_fault(fault, command, |command| command.spawn().unwrap_err());
                let Error::Start(failure) = &error else {
                    panic!("{fault:?}: {error}")
                };
                match (&failure.step, &step) {
                    (Step::PlaceDescriptor(number), Step::PlaceDescriptor(-1)) => {
                        assert!(*number > 2)
                    }
                    (named, step) => assert_eq!(named, step, "{fault:?}: {error}"),
                }
                assert_eq!(
                    failure.source.raw_os_error(),
                    Some(fault.errno),
                    "{fault:?}"
                );
            }
        },
    );
}

#[test]
fn a_parent_death_signal_that_cannot_be_set_is_named() {
    isolated("a_parent_death_signal_that_cannot_be_set_is_named", || {
        fault(libc::SYS_prctl, libc::EPERM)
            .when(0, u32::MAX, libc::PR_SET_PDEATHSIG as u32)
            .install();
        let command = Command::new("/bin/true").parent_death_signal(Signal::KILL);
        let error = command.spawn().unwrap_err();
        assert!(
            matches!(&error, Error::Start(failure) if failure.step == Step::ParentDeathSignal),
            "{error}"
        );
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        assert_eq!(children(), Vec::<String>::new());
    });
}

#[test]
fn without_close_range_nothing_leaks_all_the_same() {
    isolated("without_close_range_nothing_leaks_all_the_same", || {
        for errno in [libc::EINVAL, libc::ENOSYS, libc::EPERM] {
            let fault = fault(libc::SYS_close_range, errno);
            let prepare = || Command::new("ls").arg("/proc/self/fd").fd(7, file());
            let listed = with_fault(fault, prepare, |command| {
                let leaky = rustix::io::dup(file()).unwrap();
                let listed = command.capture().read().unwrap();
                drop(leaky);
                listed
            });
            // The last one is ls's own, of the directory.
            assert_eq!(
                listed.lines().collect::<Vec<_>>(),
                ["0", "1", "2", "3", "7"],
                "{fault:?}"
            );
        }
    });
}

#[test]
fn a_pipe_that_cannot_be_made_is_told_and_leaves_nothing_behind() {
    isolated(
        "a_pipe_that_cannot_be_made_is_told_and_leaves_nothing_behind",
        || {
            for errno in [libc::EMFILE, libc::ENFILE] {
                let fault = fault(libc::SYS_pipe2, errno);
                let cat = || Command::new("cat").stdin(Stdio::Null);
                let ended = with_fault(fault, cat, |cat| {
                    (cat | Command::new("wc").stdout(Stdio::Null))
                        .run()
                        .unwrap()
                });
                assert_eq!(ended.stages()[0].end.exit_code(), 125);
                let StageEnd::NotStarted(error) = &ended.stages()[0].end else {
                    panic!("{ended:?}")
                };
                assert!(error.to_string().contains("make a pipe"), "{error}");
                let error = with_fault(fault, cat, |cat| cat.capture().output().unwrap_err());
                assert!(
                    error.to_string().starts_with("cannot make a pipe: "),
                    "{error}"
                );
                assert_eq!(error.raw_os_error(), Some(errno));
            }
        },
    );
}

#[test]
fn a_wait_that_fails_is_told_and_the_zombie_is_taken_later() {
    isolated(
        "a_wait_that_fails_is_told_and_the_zombie_is_taken_later",
        || {
            await_no_children_of_dropped_handles();
            for errno in [libc::EPERM, libc::ENOMEM] {
                let child = std::thread::scope(|scope| {
                    let thread = scope.spawn(|| {
                        fault(libc::SYS_waitid, errno).install();
                        let child = Command::new("true").spawn().unwrap();
                        let errors = [child.wait().unwrap_err(), child.try_wait().unwrap_err()];
                        for error in errors {
                            assert!(error.to_string().starts_with("cannot wait for a child: "));
                            assert_eq!(error.raw_os_error(), Some(errno));
                        }
                        child
                    });
                    thread.join().unwrap()
                });
                // Another thread still learns it.
                assert!(child.wait().unwrap().success());
            }
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    fault(libc::SYS_waitid, libc::EPERM).install();
                    drop(Command::new("true").spawn().unwrap());
                });
            });
            await_no_children();
        },
    );
}

#[test]
fn a_capture_whose_system_calls_fail_is_told_and_leaves_nothing_behind() {
    isolated(
        "a_capture_whose_system_calls_fail_is_told_and_leaves_nothing_behind",
        || {
            await_no_children_of_dropped_handles();
            let set_flags = fault(libc::SYS_fcntl, libc::EPERM);
            let resize = set_flags.when(1, u32::MAX, libc::F_SETPIPE_SZ as u32);
            let large = || Command::new("cat");
            let bytes = vec![7; 3 << 20];
            // A pipe that may not grow is smaller, and that is all.
            let output = with_fault(resize, large, |cat| {
                cat.capture().input(&bytes).output().unwrap()
            });
            assert!(output.stdout == bytes);

            let set_flags = set_flags.when(1, u32::MAX, libc::F_SETFL as u32);
            let read = fault(libc::SYS_read, libc::EIO).when(2, u32::MAX, 8192);
            let cases = [
                (set_flags, "make a pipe's end non-blocking", libc::EPERM),
                (read, "read a child's output", libc::EIO),
            ];
            for (fault, what, errno) in cases {
                let command = || Command::new("sh").args(["-c", "echo; exec sleep 1000"]);
                let attempt = |command: Command| command.capture().input("x").output();
                // What is killed is waited for only a little while.
                let result = with_fault_until(fault, command, attempt, await_no_children);
                let error = result.unwrap_err();
                assert!(
                    error.to_string().starts_with(&format!("cannot {what}: ")),
                    "{error}"
                );
                assert_eq!(error.raw_os_error(), Some(errno));
            }
        },
    );
}
