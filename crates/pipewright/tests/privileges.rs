//! Credentials: a start gives the program what std's `Command` gives it, whatever this thread may do,
//! and never more than this thread has.
#![allow(
    unsafe_code,
    reason = "changes the credentials of one thread, by system calls"
)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Stdio as StdStdio;

use libc::{c_int, c_long, c_ulong};
use pipewright::{Command, Error, InvalidCommand, Signal};
use testing::{is_root, isolated};

/// What the kernel says of a process's privileges.
const FIELDS: [&str; 10] = [
    "Uid:",
    "Gid:",
    "Groups:",
    "NoNewPrivs:",
    "Seccomp:",
    "CapInh:",
    "CapPrm:",
    "CapEff:",
    "CapBnd:",
    "CapAmb:",
];

/// The lines of `/proc/PID/status` that tell of privileges.
fn privileges(status: &str) -> Vec<String> {
    let told = |line: &&str| FIELDS.iter().any(|field| line.starts_with(field));
    status.lines().filter(told).map(str::to_owned).collect()
}

/// What a system call gives, as an error where it fails.
fn succeeds(result: c_long) {
    assert_ne!(result, -1, "{}", io::Error::last_os_error());
}

/// Sets the ids of this thread alone; the C library's functions would change every thread's.
fn set_thread_ids(user: u32, group: u32, groups: &[u32]) {
    // SAFETY: the system calls change this thread only, and read the list they are given.
    unsafe {
        succeeds(libc::syscall(
            libc::SYS_setgroups,
            groups.len(),
            groups.as_ptr(),
        ));
        succeeds(libc::syscall(libc::SYS_setresgid, group, group, group));
        succeeds(libc::syscall(libc::SYS_setresuid, user, user, user));
    }
}

/// `prctl`, which is about this thread.
fn control(option: c_int, argument: c_ulong) {
    // SAFETY: none of the options used here takes a pointer.
    succeeds(c_long::from(unsafe {
        libc::prctl(option, argument, 0, 0, 0)
    }));
}

/// Sets the capabilities of this thread: permitted and effective, and inheritable.
fn set_thread_capabilities(permitted: u64, inheritable: u64) {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let half = |set: u64, shift: u32| (set >> shift) as u32;
    let data = [0, 32].map(|shift| {
        [
            half(permitted, shift),
            half(permitted, shift),
            half(inheritable, shift),
        ]
    });
    // SAFETY: header and data are laid out as capset(2) describes version 3.
    succeeds(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) });
}

const SETGID: u64 = 1 << 6;
const SETUID: u64 = 1 << 7;

/// Who starts: a thread that has made itself this.
#[derive(Debug, Clone, Copy)]
enum Starter {
    AsItIs,
    Root { capabilities: u64 },
    User { capabilities: u64, ambient: bool },
    NoNewPrivileges { capabilities: u64 },
}

impl Starter {
    /// Everybody that this process can become.
    fn all() -> Vec<Self> {
        let mut all = vec![Self::AsItIs];
        if !is_root() {
            eprintln!("only this user's own privileges are tried: only root can become others");
            return all;
        }
        for capabilities in [0, SETUID, SETGID, SETUID | SETGID] {
            all.push(Self::Root { capabilities });
            all.push(Self::NoNewPrivileges { capabilities });
            for ambient in [false, true] {
                all.push(Self::User {
                    capabilities,
                    ambient,
                });
            }
        }
        all
    }

    /// Makes this thread the starter, with groups that must not reach another user's program.
    fn become_it(self) {
        let groups = [4, 27];
        match self {
            Self::AsItIs => {}
            Self::Root { capabilities } => {
                set_thread_ids(0, 0, &groups);
                set_thread_capabilities(capabilities, 0);
            }
            Self::User {
                capabilities,
                ambient,
            } => {
                control(libc::PR_SET_KEEPCAPS, 1);
                set_thread_ids(1000, 1000, &groups);
                set_thread_capabilities(capabilities, if ambient { capabilities } else { 0 });
                if ambient {
                    for number in (0..64).filter(|number| capabilities & (1 << number) != 0) {
                        raise_ambient(number);
                    }
                }
            }
            Self::NoNewPrivileges { capabilities } => {
                Self::User {
                    capabilities,
                    ambient: true,
                }
                .become_it();
                control(libc::PR_SET_NO_NEW_PRIVS, 1);
            }
        }
    }
}

fn raise_ambient(capability: c_ulong) {
    // SAFETY: no pointer is taken.
    succeeds(c_long::from(unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_RAISE as c_ulong,
            capability,
            0,
            0,
        )
    }));
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
struct Asked {
    user: Option<u32>,
    group: Option<u32>,
    groups: Option<&'static [u32]>,
}

impl Asked {
    fn all() -> Vec<Self> {
        let groups: [Option<&[u32]>; 5] = [
            None,
            Some(&[]),
            Some(&[7, 9]),
            Some(&[u32::MAX]),
            Some(&[7, u32::MAX]),
        ];
        let mut all = Vec::new();
        for user in [None, Some(1000), Some(65534), Some(0), Some(u32::MAX)] {
            for group in [None, Some(65533), Some(u32::MAX)] {
                all.extend(groups.map(|groups| Self {
                    user,
                    group,
                    groups,
                }));
            }
        }
        all
    }

    fn names_an_id_of_all_ones(self) -> bool {
        let mut groups = self.groups.into_iter().flatten();
        [self.user, self.group].contains(&Some(u32::MAX)) || groups.any(|group| *group == u32::MAX)
    }

    fn by_pipewright(self) -> Result<Vec<String>, io::Error> {
        let mut command = Command::new("/bin/cat").arg("/proc/self/status");
        if let Some(user) = self.user {
            command = command.uid(user);
        }
        if let Some(group) = self.group {
            command = command.gid(group);
        }
        if let Some(groups) = self.groups {
            command = command.groups(groups.iter().copied());
        }
        Ok(privileges(&command.capture().read()?))
    }

    fn by_std(self) -> Result<Vec<String>, io::Error> {
        let mut command = std::process::Command::new("/bin/cat");
        command.arg("/proc/self/status").stderr(StdStdio::null());
        if let Some(groups) = self.groups {
            // std's own `groups` is not stable; this is what it does.
            let calls = move || {
                // SAFETY: system calls on the child itself and a static list.
                unsafe {
                    check(libc::setgroups(groups.len(), groups.as_ptr()))?;
                    if let Some(group) = self.group {
                        check(libc::setgid(group))?;
                    }
                    if let Some(user) = self.user {
                        check(libc::setuid(user))?;
                    }
                }
                Ok(())
            };
            // SAFETY: the closure makes system calls only.
            unsafe { command.pre_exec(calls) };
        } else {
            if let Some(group) = self.group {
                command.gid(group);
            }
            if let Some(user) = self.user {
                command.uid(user);
            }
        }
        let output = command.output()?;
        Ok(privileges(&String::from_utf8(output.stdout).unwrap()))
    }
}

fn check(result: c_int) -> io::Result<()> {
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// rust 88716: supplementary groups stay where nobody drops them. CVE-2019-14287: an id of all ones
/// means "leave it as it is" to the kernel.
#[test]
fn every_mix_of_ids_groups_and_capabilities_gives_what_std_gives() {
    isolated(
        "every_mix_of_ids_groups_and_capabilities_gives_what_std_gives",
        || {
            let mut dropped = 0;
            for starter in Starter::all() {
                let compare = || {
                    starter.become_it();
                    let own = privileges(
                        &std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default(),
                    );
                    let mut dropped = 0;
                    for asked in Asked::all() {
                        let (ours, theirs) = (asked.by_pipewright(), asked.by_std());
                        match (ours, theirs) {
                            (Ok(ours), Ok(theirs)) => {
                                assert_eq!(ours.len(), FIELDS.len(), "{ours:?}");
                                assert_eq!(ours, theirs, "{starter:?} {asked:?}");
                                dropped += usize::from(ours[2] != own[2]);
                            }
                            (Err(ours), Err(theirs)) if asked.names_an_id_of_all_ones() => {
                                // Before anything else is tried: std may be refused another first.
                                assert_eq!(ours.kind(), io::ErrorKind::InvalidInput);
                                let kinds =
                                    [io::ErrorKind::InvalidInput, io::ErrorKind::PermissionDenied];
                                assert!(kinds.contains(&theirs.kind()), "{theirs}");
                            }
                            (Err(ours), Err(theirs)) => {
                                assert_eq!(ours.kind(), theirs.kind(), "{starter:?} {asked:?}");
                            }
                            (ours, theirs) => {
                                panic!("{starter:?} {asked:?}: {ours:?}, std: {theirs:?}")
                            }
                        }
                    }
                    dropped
                };
                dropped += std::thread::scope(|scope| scope.spawn(compare).join().unwrap());
            }
            // The table has rows of both kinds.
            assert!(dropped > 0 || !is_root());
        },
    );
}

#[test]
fn an_id_of_all_ones_is_refused_before_anything_starts() {
    let refused = |command: Command| {
        let error = command.spawn().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{error}");
        match error {
            Error::Invalid { reason, .. } => reason,
            other => panic!("{other}"),
        }
    };
    let id = || Command::new("id");
    assert_eq!(refused(id().uid(u32::MAX)), InvalidCommand::UserId);
    assert_eq!(refused(id().gid(u32::MAX)), InvalidCommand::GroupId);
    assert_eq!(refused(id().groups([4, u32::MAX])), InvalidCommand::GroupId);
    let error = id().uid(u32::MAX).exec();
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{error}");
}

/// A set-user-id program that gives its privilege up must not be able to take it back.
#[test]
fn real_effective_and_saved_id_all_change() {
    isolated("real_effective_and_saved_id_all_change", || {
        if !is_root() {
            eprintln!("skipped: only root can become a thread of mixed ids");
            return;
        }
        for (user, own) in [(1000, [1000, 2000, 3000]), (2000, [1000, 2000, 3000])] {
            let start = || {
                // SAFETY: changes this thread only.
                succeeds(unsafe { libc::syscall(libc::SYS_setresuid, own[0], own[1], own[2]) });
                let command = Command::new("/bin/cat").arg("/proc/self/status").uid(user);
                privileges(&command.capture().read().unwrap())
            };
            let told = std::thread::scope(|scope| scope.spawn(start).join().unwrap());
            assert_eq!(told[0], format!("Uid:\t{user}\t{user}\t{user}\t{user}"));
        }
    });
}

/// Confines this thread: a filter under which `sethostname` gives EPERM, no new privileges, and where
/// this is root another user, fewer capabilities and a namespace of its own. Tells whether it has got
/// that one: not every root may.
fn confine_this_thread() -> bool {
    let mut has_namespace = false;
    if is_root() {
        // SAFETY: changes this thread only.
        has_namespace = unsafe { libc::unshare(libc::CLONE_NEWUTS) } == 0;
        if !has_namespace {
            println!("no namespace: {}", io::Error::last_os_error());
        }
        control(libc::PR_CAPBSET_DROP, 0); // CAP_CHOWN, which containers have
        set_thread_ids(61_001, 61_002, &[61_003]);
    }
    control(libc::PR_SET_NO_NEW_PRIVS, 1);
    let statement = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let mut program = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            1,
            libc::SYS_sethostname as u32,
        ),
        statement(
            libc::BPF_RET | libc::BPF_K,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | libc::EPERM as u32,
        ),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the filter is valid for the call, and holds for this thread and its children only.
    succeeds(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const filter,
        )
    });
    has_namespace
}

#[test]
fn a_parent_death_signal_does_not_lead_out_of_the_calling_threads_sandbox() {
    isolated(
        "a_parent_death_signal_does_not_lead_out_of_the_calling_threads_sandbox",
        || {
            let told = |command: Command| {
                let script = "cat /proc/self/status; readlink /proc/self/ns/uts";
                let text = command.args(["-c", script]).capture().read().unwrap();
                (privileges(&text), text.lines().last().unwrap().to_owned())
            };
            let free = told(Command::new("/bin/sh").parent_death_signal(Signal::TERM));
            let (confined, has_namespace) = std::thread::scope(|scope| {
                let thread = scope.spawn(|| {
                    let has_namespace = confine_this_thread();
                    let plain = told(Command::new("/bin/sh"));
                    let with_signal = Command::new("/bin/sh").parent_death_signal(Signal::TERM);
                    assert_eq!(told(with_signal), plain);
                    (plain, has_namespace)
                });
                thread.join().unwrap()
            });
            let field = |told: &(Vec<String>, String), field: &str| {
                let line = told.0.iter().find(|line| line.starts_with(field)).unwrap();
                line.split_whitespace().nth(1).unwrap().to_owned()
            };
            assert_eq!(field(&confined, "NoNewPrivs:"), "1");
            assert_eq!(field(&confined, "Seccomp:"), "2");
            if is_root() {
                assert_eq!(field(&confined, "Uid:"), "61001");
                assert_ne!(field(&confined, "CapBnd:"), field(&free, "CapBnd:"));
                assert!(confined.1 != free.1 || !has_namespace, "the namespace");
            }
            // And another thread is as free as before.
            let start = || told(Command::new("/bin/sh").parent_death_signal(Signal::TERM));
            let again = std::thread::scope(|scope| scope.spawn(start).join().unwrap());
            assert_eq!(again, free);
        },
    );
}

/// A thread that lasts is not there any more in a process that was forked.
#[test]
fn a_start_with_a_parent_death_signal_works_after_a_fork_elsewhere() {
    isolated(
        "a_start_with_a_parent_death_signal_works_after_a_fork_elsewhere",
        || {
            let start = || {
                let command = Command::new("true").parent_death_signal(Signal::TERM);
                command.spawn().unwrap().wait().unwrap().success()
            };
            assert!(std::thread::spawn(start).join().unwrap());
            // SAFETY: the other threads are this test's harness, which waits.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                let started = std::thread::spawn(start)
                    .join()
                    .is_ok_and(|success| success);
                // SAFETY: ends the copy without running what belongs to the original.
                unsafe { libc::_exit(if started { 0 } else { 1 }) };
            }
            assert_ne!(pid, -1);
            let mut status = 0;
            // SAFETY: waits for the child just made.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            assert_eq!(status, 0);
        },
    );
}
