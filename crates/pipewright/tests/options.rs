//! What a child sets on itself at the wish of its command: terminal, root, CPUs, sockets.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use pipewright::{Command, Error, Stdio, Step, pipe};
use rustix::pty::OpenptFlags;
use testing::{copy_program, is_root, isolated, signals_at_their_default, watchdog};

/// Both ends of a new pseudo-terminal.
fn terminal() -> (File, File) {
    let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    rustix::pty::grantpt(&master).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
    let name = name.to_str().unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let end = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).unwrap();
    (master.into(), end.into())
}

fn failed_step(command: Command) -> (Step, Option<i32>) {
    match command.spawn().unwrap_err() {
        Error::Start(failure) => (failure.step, failure.source.raw_os_error()),
        other => panic!("{other}"),
    }
}

#[test]
fn a_terminal_becomes_the_controlling_one_and_ctrl_c_reaches_the_program() {
    let _watchdog = watchdog();
    let (mut master, end) = terminal();
    let (mut said, stdout) = pipe().unwrap();
    // Its death by Ctrl-C shows that the terminal sends it there. A trap would not do: a shell looks
    // for signals, then reads, and one that comes in between waits for the next line.
    signals_at_their_default();
    let script = "read -r _ _ _ _ _ _ _ foreground _ </proc/$$/stat; echo $foreground $$ >&3; \
        exec sleep 1000 </dev/tty 3>&-";
    let child = Command::new("sh")
        .args(["-c", script])
        .stdin(end)
        .fd(3, stdout)
        .stdout(Stdio::Null)
        .controlling_terminal(0)
        .foreground(0)
        .spawn()
        .unwrap();
    let mut ids = String::new();
    said.read_to_string(&mut ids).unwrap();
    let ids: Vec<&str> = ids.split_whitespace().collect();
    assert_eq!(ids, [ids[1]; 2], "its group is in the foreground");
    master.write_all(b"\x03").unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGINT));
}

#[test]
fn what_is_no_terminal_cannot_control_and_has_no_foreground() {
    let _watchdog = watchdog();
    let plain = || Command::new("true").stdin(Stdio::Null);
    let controlled = failed_step(plain().controlling_terminal(0));
    assert_eq!(
        controlled,
        (Step::ControllingTerminal(0), Some(libc::ENOTTY))
    );
    let foreground = failed_step(plain().foreground(0));
    assert_eq!(foreground, (Step::Foreground(0), Some(libc::ENOTTY)));
    let (_master, end) = terminal();
    // A terminal that is not this session's.
    let elsewhere = failed_step(Command::new("true").fd(7, end).foreground(7));
    assert_eq!(elsewhere, (Step::Foreground(7), Some(libc::ENOTTY)));
}

#[test]
fn a_root_of_its_own_holds_program_and_directory() {
    let _watchdog = watchdog();
    let root = tempfile::tempdir().unwrap();
    let chrooted = |program: &str| Command::new(program).chroot(root.path());
    if !is_root() {
        let refused = failed_step(chrooted("/program"));
        assert_eq!(
            refused,
            (Step::ChangeRoot(root.path().into()), Some(libc::EPERM))
        );
        eprintln!("skipped: only root may change the root");
        return;
    }
    std::fs::create_dir(root.path().join("inside")).unwrap();
    // This test's own executable needs libraries: they are looked for in the new root, too.
    let linked = Command::new("ldd").arg("/bin/ls").capture().read().unwrap();
    let libraries = linked
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    for file in libraries.chain(["/bin/ls"]) {
        let copy = root.path().join(file.trim_start_matches('/'));
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        copy_program(Path::new(file), &copy);
    }
    let listed = chrooted("ls").env("PATH", "/bin").uid(65534).gid(65534);
    std::fs::set_permissions(
        root.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let listed = listed.capture().read().unwrap();
    assert!(listed.lines().any(|name| name == "inside"), "{listed}");
    // A relative directory begins at the new root, not outside of it.
    let (step, errno) = failed_step(chrooted("/bin/ls").current_dir("work"));
    assert_eq!(
        (step, errno),
        (Step::ChangeDirectory("work".into()), Some(libc::ENOENT))
    );
    let inside = chrooted("/bin/ls")
        .arg("..")
        .current_dir("inside")
        .capture();
    assert_eq!(inside.read().unwrap(), listed);
    // The file of that name outside is no reason for an advice.
    let error = chrooted("/bin/sh").spawn().unwrap_err().to_string();
    assert!(error.ends_with("(os error 2)"), "{error}");
    let nowhere = Command::new("true").chroot("/no/such");
    let (step, errno) = failed_step(nowhere);
    assert_eq!(
        (step, errno),
        (Step::ChangeRoot("/no/such".into()), Some(libc::ENOENT))
    );
}

#[test]
fn the_cpus_are_those_that_are_named() {
    isolated("the_cpus_are_those_that_are_named", || {
        let allowed = |command: Command| {
            let command = command.args(["Cpus_allowed_list", "/proc/self/status"]);
            command.capture().read().unwrap()
        };
        let own = allowed(Command::new("grep"));
        let first = own
            .rsplit('\t')
            .next()
            .unwrap()
            .split(['-', ','])
            .next()
            .unwrap();
        let named = Command::new("grep").cpus([first.parse().unwrap(), 4000]);
        assert_eq!(allowed(named), format!("Cpus_allowed_list:\t{first}"));
        assert_eq!(allowed(Command::new("grep")), own, "the parent's stay");
        let none = failed_step(Command::new("true").cpus([]));
        assert_eq!(none, (Step::CpuAffinity, Some(libc::EINVAL)));
    });
}

#[test]
fn every_socket_of_std_can_be_a_standard_descriptor() {
    let _watchdog = watchdog();
    use std::os::unix::net::{UnixDatagram, UnixListener};
    let directory = tempfile::tempdir().unwrap();
    let sockets: [Stdio; 4] = [
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().into(),
        std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into(),
        UnixDatagram::unbound().unwrap().into(),
        UnixListener::bind(directory.path().join("s"))
            .unwrap()
            .into(),
    ];
    for socket in sockets {
        let shown = Command::new("readlink")
            .arg("/proc/self/fd/0")
            .stdin(socket);
        let shown = shown.capture().read().unwrap();
        assert!(shown.starts_with("socket:["), "{shown}");
    }
    let _: fn(OwnedFd) -> Stdio = Stdio::from;
}

#[test]
fn no_new_privileges_hold_for_all_that_the_program_starts() {
    let _watchdog = watchdog();
    let script = "grep NoNewPrivs /proc/self/status; sh -c 'grep NoNewPrivs /proc/self/status'";
    let told = |command: Command| command.args(["-c", script]).capture().read().unwrap();
    let own = told(Command::new("sh"));
    let forbidden = told(Command::new("sh").no_new_privs());
    assert_eq!(forbidden, "NoNewPrivs:\t1\nNoNewPrivs:\t1");
    assert_eq!(
        told(Command::new("sh")),
        own,
        "the parent may gain as before"
    );
}
