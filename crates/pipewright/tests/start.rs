//! Starting: which program, in which state, and what is told when it cannot.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use pipewright::{Command, Error, InvalidCommand, Resource, Rlimit, Signal, Stdio, Step, pipe};
use testing::{is_root, isolated, sh, watchdog};

/// What a command prints.
fn output(command: Command) -> String {
    let (mut reader, writer) = pipe().unwrap();
    let child = command.stdout(writer).spawn().unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    text
}

fn failed_step(command: Command) -> (Step, i32) {
    match command.spawn().unwrap_err() {
        Error::Start(failure) => (failure.step, failure.source.raw_os_error().unwrap()),
        other => panic!("{other}"),
    }
}

fn script(directory: &Path, name: &str, text: &str, mode: u32) -> std::path::PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn the_environment_is_set_removed_and_cleared() {
    let _watchdog = watchdog();
    assert_eq!(
        output(sh("echo $A-$B").env("A", "1").envs([("B", "2")])),
        "1-2\n"
    );
    assert_eq!(
        output(Command::new("env").env_clear().env("ONLY", "this")),
        "ONLY=this\n"
    );
    let all = output(Command::new("env").env_remove("PATH"));
    assert!(!all.lines().any(|line| line.starts_with("PATH=")), "{all}");
}

#[test]
fn a_program_is_searched_in_the_path_of_its_own_environment() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    script(
        directory.path(),
        "only-here",
        "#!/bin/sh\necho found\n",
        0o755,
    );
    assert_eq!(
        output(Command::new("only-here").env("PATH", directory.path())),
        "found\n"
    );

    let (step, errno) = failed_step(Command::new("only-here"));
    assert_eq!(
        (step, errno),
        (Step::Execute("only-here".into()), libc::ENOENT)
    );
    // Without a PATH: /bin and /usr/bin.
    assert_eq!(
        output(Command::new("echo").arg("default").env_clear()),
        "default\n"
    );
}

#[test]
fn the_search_goes_on_past_a_file_that_may_not_be_executed() {
    let _watchdog = watchdog();
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let refused = script(first.path(), "tool", "#!/bin/sh\n", 0o644);
    let path = format!("{}:{}", first.path().display(), second.path().display());
    let (step, errno) = failed_step(Command::new("tool").env("PATH", &path));
    assert_eq!((step, errno), (Step::Execute(refused), libc::EACCES));

    script(second.path(), "tool", "#!/bin/sh\necho second\n", 0o755);
    assert_eq!(output(Command::new("tool").env("PATH", &path)), "second\n");
}

#[test]
fn a_directory_that_may_not_be_searched_holds_no_program_as_a_shell_has_it() {
    let _watchdog = watchdog();
    let (closed, open) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    script(closed.path(), "tool", "#!/bin/sh\n", 0o755);
    let path = format!("{}:{}", closed.path().display(), open.path().display());
    let set_mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set_mode(open.path(), 0o755);
    set_mode(closed.path(), 0o000);
    // Root may search every directory.
    let tool = || {
        let tool = Command::new("tool").env("PATH", &path);
        if is_root() { tool.uid(65534) } else { tool }
    };
    let (step, errno) = failed_step(tool());
    assert_eq!((step, errno), (Step::Execute("tool".into()), libc::ENOENT));

    let refused = script(open.path(), "tool", "#!/bin/sh\n", 0o644);
    let (step, errno) = failed_step(tool());
    assert_eq!((step, errno), (Step::Execute(refused), libc::EACCES));
    set_mode(closed.path(), 0o700);
}

#[test]
fn a_path_through_a_file_is_told_apart_from_a_missing_one() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let file = script(directory.path(), "file", "", 0o644);
    let (step, errno) = failed_step(Command::new(file.join("tool")));
    assert_eq!(
        (step, errno),
        (Step::Execute(file.join("tool")), libc::ENOTDIR)
    );
    // Along PATH it is one of the places where the program is not.
    let (_, errno) = failed_step(Command::new("tool").env("PATH", &file));
    assert_eq!(errno, libc::ENOENT);
}

#[test]
fn a_file_without_an_interpreter_line_is_run_by_the_shell() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let path = script(directory.path(), "plain", "echo \"$0 $1 $#\"\n", 0o755);
    let expected = format!("{} one 2\n", path.display());
    assert_eq!(output(Command::new(&path).args(["one", "two"])), expected);
    let searched = Command::new("plain")
        .args(["one", "two"])
        .env("PATH", directory.path());
    assert_eq!(output(searched), expected);
}

/// Bytes that begin as files do that no shell can run.
#[test]
fn a_binary_is_never_handed_to_a_shell() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let mut elsewhere = std::fs::read("/bin/true").unwrap();
    elsewhere[18] = 0xf7; // e_machine: a machine that this one is not
    elsewhere[19] = 0;
    let binaries: [(&str, &[u8]); 6] = [
        ("elf", &elsewhere),
        ("elf-cut", b"\x7fELF\n"),
        ("wasm", b"\0asm\x01\0\0\0"),
        ("windows", b"MZ\x90\0\x03\0\0\0"),
        ("gzip", b"\x1f\x8b\x08\0\0\0\0\0"),
        ("zero", &[0; 64]),
    ];
    for (name, bytes) in binaries {
        let path = script(directory.path(), name, "", 0o755);
        std::fs::write(&path, bytes).unwrap();
        for command in [
            Command::new(&path),
            Command::new(name).env("PATH", directory.path()),
            Command::new(&path).script_shell("/bin/cat"),
        ] {
            let error = command.spawn().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENOEXEC), "{name}: {error}");
            assert_eq!(error.exit_code(), 126);
            assert!(
                error.to_string().contains("no program for this machine"),
                "{error}"
            );
            let Error::Start(failure) = error else {
                panic!()
            };
            assert_eq!(failure.step, Step::Execute(path.clone()));
        }
    }
}

/// As bash has it: what decides is the first line.
#[test]
fn text_is_handed_to_the_shell_of_the_command() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let long = format!("echo long # {}\n", "x".repeat(1000));
    let texts = [
        ("empty", "", ""),
        ("no-end", "echo on", "on\n"),
        ("long", &long, "long\n"),
        ("zero-later", "echo first; exit\n\0\0", "first\n"),
        ("windows-1252", "echo \u{e9}\n", "\u{e9}\n"),
    ];
    for (name, text, said) in texts {
        let path = script(directory.path(), name, text, 0o755);
        assert_eq!(output(Command::new(path)), said, "{name}");
    }
    let path = script(directory.path(), "shown", "not for sh (((\n", 0o755);
    let shown = Command::new(&path).script_shell("/bin/cat");
    assert_eq!(output(shown), "not for sh (((\n");
    let nobody = Command::new(&path).script_shell("/no/such/shell").spawn();
    let error = nobody.unwrap_err().to_string();
    assert!(
        error.contains("the loader or the shell that it needs"),
        "{error}"
    );
}

/// bash tries again for 15 seconds.
#[test]
fn a_start_over_the_limit_on_processes_is_tried_again_for_a_moment() {
    const LIMITED: &str = "PIPEWRIGHT_TEST_LIMITED";
    let name = "a_start_over_the_limit_on_processes_is_tried_again_for_a_moment";
    if std::env::var_os(LIMITED).is_some() {
        // This process's two threads and the sleep; nothing more.
        let sleep = |seconds: &str| loop {
            if let Ok(child) = Command::new("sleep").arg(seconds).spawn() {
                break child;
            }
        };
        let tried_again = (0..30).any(|_| {
            drop(sleep("0.05"));
            let tried = Command::new("true").spawn();
            tried.is_ok_and(|child| child.wait().unwrap().success())
        });
        assert!(tried_again);
        let stays = sleep("60");
        let (step, errno) = failed_step(Command::new("true"));
        assert_eq!((step, errno), (Step::Clone, libc::EAGAIN));
        // The thread that lasts as long as such a child counts as well.
        let (step, errno) = failed_step(Command::new("true").parent_death_signal(Signal::TERM));
        assert_eq!((step, errno), (Step::Thread, libc::EAGAIN));
        stays.kill().unwrap();
        return;
    }
    let _watchdog = watchdog();
    if !is_root() {
        eprintln!("skipped: only root can become a user without other processes");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let copy = directory.path().join("copy");
    testing::copy_program(&std::env::current_exe().unwrap(), &copy);
    let three = Rlimit {
        current: Some(3),
        maximum: Some(3),
    };
    let limited = Command::new(&copy)
        .args(["--exact", name, "--nocapture"])
        .env(LIMITED, "1")
        .current_dir("/")
        .uid(61_234)
        .gid(61_234)
        .rlimit(Resource::Nproc, three)
        .capture()
        .output()
        .unwrap();
    assert!(limited.success(), "{limited:?}");
}

#[test]
fn the_program_is_found_from_the_directory_it_starts_in() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    script(directory.path(), "here", "#!/bin/sh\npwd -P\n", 0o755);
    let real = directory.path().canonicalize().unwrap();
    let command = Command::new("./here").current_dir(directory.path());
    assert_eq!(output(command), format!("{}\n", real.display()));
}

#[test]
fn the_zeroth_argument_can_be_another_name() {
    let _watchdog = watchdog();
    let command = sh("echo $0").arg0("another");
    assert_eq!(output(command), "another\n");
}

#[test]
fn an_error_names_the_step_that_failed() {
    let _watchdog = watchdog();
    let (step, errno) = failed_step(Command::new("true").current_dir("/nope"));
    assert_eq!(
        (step, errno),
        (Step::ChangeDirectory("/nope".into()), libc::ENOENT)
    );
    let (step, errno) = failed_step(Command::new("/etc/passwd"));
    assert_eq!(
        (step, errno),
        (Step::Execute("/etc/passwd".into()), libc::EACCES)
    );
    let (step, errno) = failed_step(Command::new("true").process_group(i32::MAX));
    assert_eq!((step, errno), (Step::ProcessGroup, libc::EPERM));
    let turned = Rlimit {
        current: Some(2),
        maximum: Some(1),
    };
    let (step, errno) = failed_step(Command::new("true").rlimit(Resource::Core, turned));
    assert_eq!(
        (step, errno),
        (Step::ResourceLimit(Resource::Core), libc::EINVAL)
    );

    let error = Command::new("/nope/foo").spawn().unwrap_err();
    let text =
        r#"cannot start "/nope/foo": exec "/nope/foo": No such file or directory (os error 2)"#;
    assert_eq!(error.to_string(), text);
}

#[test]
fn an_error_tells_a_missing_interpreter_from_a_missing_file() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let path = script(directory.path(), "tool", "#! /no/such/it -x\n", 0o755);
    let along_path = format!("/nowhere:{}:/bin", directory.path().display());
    for command in [
        Command::new(&path),
        Command::new("tool").env("PATH", along_path),
        Command::new("./tool").current_dir(directory.path()),
    ] {
        let error = command.spawn().unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(r#"its first line names, "/no/such/it", is not"#),
            "{text}"
        );
        let Error::Start(failure) = error else {
            panic!()
        };
        let Step::Execute(named) = failure.step else {
            panic!()
        };
        assert!(named.ends_with("tool"), "{named:?}");
    }
    // A later one that can be executed is found first, as execvp has it.
    let second = tempfile::tempdir().unwrap();
    script(second.path(), "tool", "#!/bin/sh\necho second\n", 0o755);
    let both = format!("{}:{}", directory.path().display(), second.path().display());
    assert_eq!(output(Command::new("tool").env("PATH", both)), "second\n");

    let windows = script(directory.path(), "windows", "#!/bin/sh\r\necho\r\n", 0o755);
    let error = Command::new(windows).spawn().unwrap_err().to_string();
    assert!(
        error.contains(r#""/bin/sh\r", is not; the line ends in a carriage return"#),
        "{error}"
    );
    let missing = Command::new(directory.path().join("nothing")).spawn();
    let error = missing.unwrap_err().to_string();
    assert!(error.ends_with("(os error 2)"), "{error}");
}

/// A report of the whole chain, as anyhow and others write it.
#[test]
fn an_error_tells_its_reason_once() {
    let _watchdog = watchdog();
    let system = Error::System {
        operation: "poll",
        source: std::io::Error::from_raw_os_error(libc::EBADF),
    };
    let errors = [
        system,
        Command::new("/nope/foo").spawn().unwrap_err(),
        Command::new("true")
            .current_dir("/nope")
            .spawn()
            .unwrap_err(),
        Command::new("true").env("A=B", "").spawn().unwrap_err(),
        Command::new("false").capture().read().unwrap_err(),
    ];
    for error in errors {
        let message = error.to_string();
        let as_io = std::io::Error::from(error);
        let mut chain: Option<&dyn std::error::Error> = Some(&as_io);
        let mut told = Vec::new();
        while let Some(link) = chain {
            told.push(link.to_string());
            chain = link.source();
        }
        assert_eq!(told, [message]);
    }
}

#[test]
fn credentials_that_may_not_be_set_are_an_error_that_names_them() {
    let _watchdog = watchdog();
    if is_root() {
        eprintln!("skipped: root may set any credentials");
        return;
    }
    assert_eq!(
        failed_step(Command::new("true").uid(0)),
        (Step::UserId, libc::EPERM)
    );
    assert_eq!(
        failed_step(Command::new("true").gid(0)),
        (Step::GroupId, libc::EPERM)
    );
    assert_eq!(
        failed_step(Command::new("true").groups([0])),
        (Step::Groups, libc::EPERM)
    );
    assert_eq!(
        failed_step(Command::new("true").nice(-10)),
        (Step::Nice, libc::EACCES)
    );
}

#[test]
fn credentials_are_set_and_roots_groups_do_not_pass() {
    let _watchdog = watchdog();
    if !is_root() {
        eprintln!("skipped: only root may set credentials");
        return;
    }
    let status = |command: Command, field: &str| {
        let text = output(command.arg("/proc/self/status"));
        let line = text.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace()
            .skip(1)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let cat = || Command::new("cat").uid(65534).gid(65533);
    assert_eq!(status(cat(), "Uid:"), ["65534"; 4]);
    assert_eq!(status(cat(), "Gid:"), ["65533"; 4]);
    assert_eq!(status(cat(), "Groups:"), Vec::<String>::new());
    assert_eq!(status(cat().groups([7, 9]), "Groups:"), ["7", "9"]);
}

/// The kernel marks memory not dumpable when credentials change in it, and the child shares the
/// parent's memory until it executes.
#[test]
fn a_start_with_credentials_leaves_the_parent_dumpable() {
    isolated(
        "a_start_with_credentials_leaves_the_parent_dumpable",
        || {
            if !is_root() {
                eprintln!("skipped: only root may set credentials");
                return;
            }
            use rustix::process::{DumpableBehavior, dumpable_behavior};
            assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::Dumpable);
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        for _ in 0..20 {
                            Command::new("true")
                                .uid(65534)
                                .gid(65534)
                                .spawn()
                                .unwrap()
                                .wait()
                                .unwrap();
                        }
                    });
                }
            });
            assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::Dumpable);
            // And after a failed one.
            Command::new("/no/such").uid(65534).spawn().unwrap_err();
            assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::Dumpable);
        },
    );
}

#[test]
fn session_group_umask_niceness_and_limits_are_set() {
    let _watchdog = watchdog();
    let stat = |command: Command| {
        let text = output(command);
        let fields = text.rsplit_once(')').unwrap().1;
        fields
            .split_whitespace()
            .map(|field| field.parse().unwrap_or(0))
            .collect::<Vec<i64>>()
    };
    // After the name come: state, parent, process group, session, …; niceness is the 17th.
    let cat = || Command::new("cat").arg("/proc/self/stat");
    let (group, session, nice) = (2, 3, 16);
    let plain = stat(cat());
    let own_group = i64::from(rustix::process::getpgid(None).unwrap().as_raw_pid());
    assert_eq!(plain[group], own_group);
    let led = stat(cat().process_group(0));
    assert!(led[group] != own_group && led[session] == plain[session]);
    let alone = stat(cat().new_session());
    assert!(alone[session] != plain[session] && alone[group] == alone[session]);
    assert_eq!(stat(cat().nice(3))[nice], (plain[nice] + 3).min(19));

    assert_eq!(output(sh("umask").umask(0o027)), "0027\n");
    let limit = Rlimit {
        current: Some(17),
        maximum: Some(23),
    };
    let limits = sh("ulimit -Sn; ulimit -Hn").rlimit(Resource::Nofile, limit);
    assert_eq!(output(limits), "17\n23\n");
}

#[test]
fn a_child_joins_the_process_group_it_is_told() {
    let _watchdog = watchdog();
    let leader = Command::new("sleep")
        .arg("60")
        .process_group(0)
        .spawn()
        .unwrap();
    let group = i32::try_from(leader.id()).unwrap();
    let member = Command::new("sleep")
        .arg("60")
        .process_group(group)
        .spawn()
        .unwrap();
    let joined = rustix::process::getpgid(rustix::process::Pid::from_raw(member.id() as i32));
    leader.kill().unwrap();
    member.kill().unwrap();
    assert_eq!(joined.unwrap().as_raw_pid(), group);
}

/// The signal sets of a process as the kernel shows them.
fn signals(command: Command) -> (u64, u64, u64) {
    let text = output(command.arg("/proc/self/status"));
    let set = |field: &str| {
        let line = text.lines().find(|line| line.starts_with(field)).unwrap();
        u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
    };
    (set("SigBlk:"), set("SigIgn:"), set("SigCgt:"))
}

const fn bit(signal: Signal) -> u64 {
    1 << (signal.as_raw() - 1)
}

#[test]
fn no_signal_is_blocked_and_sigpipe_is_at_its_default() {
    let _watchdog = watchdog();
    // Rust's runtime ignores SIGPIPE in this process.
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = own
        .lines()
        .find(|line| line.starts_with("SigIgn:"))
        .unwrap();
    let ignored = u64::from_str_radix(ignored.split_whitespace().nth(1).unwrap(), 16).unwrap();
    assert_ne!(ignored & bit(Signal::PIPE), 0);

    let (blocked, ignored, _) = signals(Command::new("cat"));
    assert_eq!(blocked, 0);
    assert_eq!(ignored & bit(Signal::PIPE), 0);

    let masked = Command::new("cat").signal_mask([Signal::USR1, Signal::TERM]);
    assert_eq!(signals(masked).0, bit(Signal::USR1) | bit(Signal::TERM));
}

#[test]
fn a_writer_whose_reader_is_gone_dies_of_sigpipe() {
    let _watchdog = watchdog();
    let (reader, writer) = pipe().unwrap();
    let child = Command::new("yes").stdout(writer).spawn().unwrap();
    drop(reader);
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::PIPE.as_raw()));
}

/// `nohup` ignores SIGHUP and counts on exec to keep it so.
#[test]
#[allow(unsafe_code)]
fn signals_that_the_parent_ignores_stay_ignored_and_handled_ones_do_not() {
    extern "C" fn handler(_: i32) {}
    isolated(
        "signals_that_the_parent_ignores_stay_ignored_and_handled_ones_do_not",
        || {
            // SAFETY: the handler does nothing, and the process is this test's own.
            unsafe {
                libc::signal(libc::SIGHUP, libc::SIG_IGN);
                libc::signal(libc::SIGUSR2, handler as *const () as libc::sighandler_t);
            }
            let (_, ignored, caught) = signals(Command::new("cat"));
            assert_ne!(ignored & bit(Signal::HUP), 0);
            assert_eq!(caught, 0);
            // The handler is still this process's.
            let own = std::fs::read_to_string("/proc/self/status").unwrap();
            let caught = own
                .lines()
                .find(|line| line.starts_with("SigCgt:"))
                .unwrap();
            let caught =
                u64::from_str_radix(caught.split_whitespace().nth(1).unwrap(), 16).unwrap();
            assert_ne!(caught & bit(Signal::USR2), 0);
        },
    );
}

#[test]
fn bad_input_is_an_error_before_anything_starts() {
    let _watchdog = watchdog();
    let null = || std::fs::File::open("/dev/null").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let witness = directory.path().join("started");
    let touch = || Command::new("touch").arg(&witness);
    let cases = [
        (
            touch().fd(3, null()).fd(3, null()),
            InvalidCommand::DescriptorTwice(3),
        ),
        (
            touch().stdin(Stdio::Null).fd(0, null()),
            InvalidCommand::DescriptorTwice(0),
        ),
        (
            touch().fd(-1, null()),
            InvalidCommand::DescriptorNegative(-1),
        ),
        (
            touch().arg("a\0b"),
            InvalidCommand::InteriorNul("an argument"),
        ),
        (
            touch().env("A", "\0"),
            InvalidCommand::InteriorNul("an environment variable"),
        ),
        (
            touch().env("A=B", ""),
            InvalidCommand::VariableName("A=B".to_owned()),
        ),
        (
            touch().current_dir("\0"),
            InvalidCommand::InteriorNul("the directory"),
        ),
        (
            Command::new("a\0b"),
            InvalidCommand::InteriorNul("the program's name"),
        ),
        (
            touch().stdin(Stdio::SameAsStdout),
            InvalidCommand::SameAsStdout("stdin"),
        ),
        (
            touch().new_session().process_group(0),
            InvalidCommand::SessionAndGroup,
        ),
    ];
    for (command, expected) in cases {
        match command.spawn().unwrap_err() {
            Error::Invalid { reason, .. } => assert_eq!(reason, expected),
            other => panic!("{other}"),
        }
    }
    assert!(!witness.exists());
}

/// golang 22315: a start in another thread held the fresh program open for writing.
#[test]
fn a_program_written_just_now_starts_while_other_threads_start_theirs() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let program = std::fs::read("/bin/true").unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (directory, program) = (directory.path(), &program);
            scope.spawn(move || {
                for round in 0..50 {
                    let path = directory.join(format!("{thread}-{round}"));
                    std::fs::write(&path, program).unwrap();
                    let mode = std::fs::Permissions::from_mode(0o755);
                    std::fs::set_permissions(&path, mode).unwrap();
                    assert!(
                        Command::new(&path)
                            .spawn()
                            .unwrap()
                            .wait()
                            .unwrap()
                            .success()
                    );
                }
            });
        }
    });
}

#[test]
fn a_program_that_is_really_open_for_writing_is_an_error() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let path = script(directory.path(), "busy", "#!/bin/sh\n", 0o755);
    let writer = std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap();
    if std::process::Command::new(&path).status().is_ok() {
        println!("skipped: this kernel executes what is open for writing (Linux 6.11 and 6.12)");
        return;
    }
    let (step, errno) = failed_step(Command::new(&path));
    assert_eq!((step, errno), (Step::Execute(path), libc::ETXTBSY));
    drop(writer);
}

/// mydocker executed the *name* of its own binary, which was gone.
#[test]
fn a_program_starts_itself_again_after_its_file_was_unlinked() {
    const COPY: &str = "PIPEWRIGHT_TEST_COPY";
    if let Some(role) = std::env::var_os(COPY) {
        if role == "parent" {
            std::fs::remove_file(std::env::current_exe().unwrap()).unwrap();
            let again = Command::new("/proc/self/exe").args(std::env::args_os().skip(1));
            assert!(
                again
                    .env(COPY, "child")
                    .spawn()
                    .unwrap()
                    .wait()
                    .unwrap()
                    .success()
            );
        }
        return;
    }
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("copy");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let name = "a_program_starts_itself_again_after_its_file_was_unlinked";
    let child = Command::new(&copy)
        .args(["--exact", name])
        .env(COPY, "parent");
    let child = child.stdout(Stdio::Null).spawn().unwrap();
    assert!(child.wait().unwrap().success());
    assert!(!copy.exists());
}

/// moby 44215: the signal followed the parent's thread.
#[test]
fn a_child_with_a_parent_death_signal_outlives_the_thread_that_started_it() {
    let _watchdog = watchdog();
    let start = || {
        let command = Command::new("sleep")
            .arg("60")
            .parent_death_signal(Signal::KILL);
        command.spawn().unwrap()
    };
    let child = std::thread::spawn(start).join().unwrap();
    // A second start by the same way shows that the first thread's end has been dealt with.
    let second = std::thread::spawn(start).join().unwrap();
    assert_eq!(child.try_wait().unwrap(), None);
    for child in [child, second] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn a_child_with_a_parent_death_signal_ends_with_its_parent() {
    const PARENT: &str = "PIPEWRIGHT_TEST_DYING_PARENT";
    if std::env::var_os(PARENT).is_some() {
        // The child holds stdout until it dies; its parent dies at once.
        let command = Command::new("sleep")
            .arg("60")
            .parent_death_signal(Signal::KILL);
        let _child = command.spawn().unwrap();
        println!("started");
        std::process::abort();
    }
    let _watchdog = watchdog();
    let (mut reader, writer) = pipe().unwrap();
    let name = "a_child_with_a_parent_death_signal_ends_with_its_parent";
    let parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(PARENT, "1")
        .stdout(writer)
        .stderr(Stdio::Null)
        .spawn()
        .unwrap();
    // The end of file comes when the sleep, too, is gone.
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    assert!(said.contains("started"), "{said}");
    assert_eq!(parent.wait().unwrap().signal(), Some(libc::SIGABRT));
}

/// process-wrap logged between fork and exec; a lock held by another thread would have hung it.
#[test]
fn between_clone_and_exec_the_child_makes_only_the_calls_that_were_prepared() {
    const TRACED: &str = "PIPEWRIGHT_TEST_TRACED";
    let name = "between_clone_and_exec_the_child_makes_only_the_calls_that_were_prepared";
    if std::env::var_os(TRACED).is_some() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let command = Command::new("/bin/true")
            .fd(9, file)
            .current_dir("/")
            .umask(0o22)
            .nice(0);
        assert!(command.spawn().unwrap().wait().unwrap().success());
        return;
    }
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace");
    let strace = Command::new("strace")
        .args(["-f", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(TRACED, "1")
        .stdout(Stdio::Null)
        .spawn();
    let traced = strace.map(|child| child.wait().unwrap());
    if !traced.is_ok_and(|status| status.success()) {
        eprintln!("skipped: strace is not installed, or may not trace here");
        return;
    }
    let text = std::fs::read_to_string(trace).unwrap();
    // Lines of the process that executes /bin/true, up to that.
    let exec = text
        .lines()
        .find(|line| line.contains("execve(\"/bin/true\""))
        .unwrap();
    let child = exec.split_whitespace().next().unwrap();
    let calls: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once(' ').filter(|(pid, _)| *pid == child))
        .map(|(_, call)| call.trim_start().split('(').next().unwrap())
        // The second half of a call that another process's call was written into.
        .filter(|call| !call.starts_with("<..."))
        .collect();
    let until = calls.iter().position(|call| *call == "execve").unwrap();
    let expected = [
        "rt_sigaction",
        "rt_sigprocmask",
        "dup3",
        "fcntl",
        "close_range",
        "chdir",
        "umask",
        "getpriority",
        "setpriority",
    ];
    for call in &calls[..until] {
        assert!(expected.contains(call), "{call} in {calls:?}");
    }
    assert_eq!(
        calls[..until]
            .iter()
            .filter(|call| **call == "dup3")
            .count(),
        1
    );
}
