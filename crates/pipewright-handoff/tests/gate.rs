//! Created, not started: the gate, and who opens it when.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pipewright::{Child, Command};
use pipewright_handoff::{ChildLink, EntryPoints, Error, Gate, ParentLink, ReExec, Result};
use testing::{isolated, open_descriptors};

fn main() {
    EntryPoints::new()
        .entry("init", init)
        .entry("create and go", create_and_go)
        .entry("exit at once", |_: &mut ParentLink| Ok::<(), Error>(()))
        .dispatch();
    testing::trials::run(testing::tests![
        a_created_child_waits_until_it_is_started,
        a_created_child_outlives_the_one_who_created_it,
        an_init_killed_before_the_gate_is_told_to_its_creator,
        an_init_killed_at_the_gate_is_told_to_the_one_who_opens,
        an_init_killed_after_the_gate_has_been_started,
        starting_twice_is_an_error_for_the_second,
        of_many_who_start_at_once_one_succeeds,
        a_program_that_does_not_exist_is_told_to_the_one_who_opens,
        one_who_knocks_and_leaves_has_not_opened_the_gate,
        a_gate_that_nobody_opens_is_a_timeout,
        a_path_too_long_for_a_gate_is_refused,
        a_gate_is_made_once_and_only_opened_where_it_is,
        a_thousand_children_that_exit_at_once_are_all_seen_and_leave_nothing,
    ]);
}

const SOON: Duration = Duration::from_secs(60);

#[derive(serde::Serialize, serde::Deserialize)]
struct Config {
    gate: PathBuf,
    program: Vec<String>,
    /// Milliseconds.
    patience: u64,
    before: Before,
}

#[derive(serde::Serialize, serde::Deserialize, PartialEq)]
enum Before {
    Nothing,
    /// A message to the creator, and waiting for one that never comes.
    Stall,
}

fn init(parent: &mut ParentLink) -> Result<()> {
    let config: Config = parent.config()?;
    let gate = Gate::new(&config.gate)?;
    if config.before == Before::Stall {
        parent.channel().send(&"before the gate".to_owned())?;
        parent.wait_for_parent(Duration::MAX)?;
    }
    parent.wait_at(gate, Duration::from_millis(config.patience))?;
    let (program, arguments) = config.program.split_first().unwrap();
    parent.exec(Command::new(program).args(arguments))
}

fn config(gate: &Path, program: &[&str]) -> Config {
    Config {
        gate: gate.to_owned(),
        program: program.iter().map(|&word| word.to_owned()).collect(),
        patience: 60_000,
        before: Before::Nothing,
    }
}

fn create(config: &Config) -> Result<ChildLink> {
    let mut child = ReExec::new("init").config(config)?.spawn()?;
    child.wait_created()?;
    Ok(child)
}

fn created(gate: &Path, program: &[&str]) -> Child {
    create(&config(gate, program)).unwrap().into_child()
}

fn gate_in(directory: &tempfile::TempDir) -> PathBuf {
    directory.path().join("gate")
}

fn a_created_child_waits_until_it_is_started() {
    let directory = tempfile::tempdir().unwrap();
    let gate = gate_in(&directory);
    let mark = directory.path().join("mark");
    let child = created(&gate, &["touch", mark.to_str().unwrap()]);
    assert_eq!(child.try_wait().unwrap(), None);
    assert!(!mark.exists());
    Gate::open(&gate, SOON).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(mark.exists());
}

/// Creates an init that stays, tells its process id, and ends.
fn create_and_go(parent: &mut ParentLink) -> Result<()> {
    let gate: PathBuf = parent.config()?;
    let child = create(&config(&gate, &["true"]))?;
    parent.channel().send(&child.child().id())
}

fn a_created_child_outlives_the_one_who_created_it() {
    let directory = tempfile::tempdir().unwrap();
    let gate = gate_in(&directory);
    let mut creator = ReExec::new("create and go")
        .config(&gate)
        .unwrap()
        .spawn()
        .unwrap();
    let init: u32 = creator.channel().receive().unwrap();
    assert!(creator.into_child().wait().unwrap().success());
    let init = rustix::process::Pid::from_raw(init as i32).unwrap();
    let flags = rustix::process::PidfdFlags::empty();
    let pidfd = rustix::process::pidfd_open(init, flags).unwrap();
    Gate::open(&gate, SOON).unwrap();
    // It is nobody's child here; its end shows all the same.
    use rustix::event::{PollFd, PollFlags, poll};
    let mut polled = [PollFd::new(&pidfd, PollFlags::IN)];
    assert_eq!(poll(&mut polled, None).unwrap(), 1);
}

fn an_init_killed_before_the_gate_is_told_to_its_creator() {
    let directory = tempfile::tempdir().unwrap();
    let gate = gate_in(&directory);
    let config = Config {
        before: Before::Stall,
        ..config(&gate, &["true"])
    };
    let mut child = ReExec::new("init")
        .config(&config)
        .unwrap()
        .spawn()
        .unwrap();
    let _before: String = child.channel().receive().unwrap();
    child.child().kill().unwrap();
    let error = child.wait_created().unwrap_err();
    let killed =
        matches!(error, Error::PeerDied { status: Some(status), .. } if status.signal() == Some(9));
    assert!(killed, "{error}");
    drop(child);
    refused(&gate);
}

/// runc 1698, 2185, 5251: opening the fifo blocked for ever once the other side had died.
fn refused(gate: &Path) {
    let error = Gate::open(gate, SOON).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(111), "{error}"); // ECONNREFUSED
}

/// Waits until somebody has knocked: then a second socket has the gate's path, and waits to be
/// accepted.
fn await_knock(gate: &Path) {
    let gate = gate.to_str().unwrap();
    let sockets = || std::fs::read_to_string("/proc/net/unix").unwrap();
    while sockets()
        .lines()
        .filter(|line| line.ends_with(gate))
        .count()
        < 2
    {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn an_init_killed_at_the_gate_is_told_to_the_one_who_opens() {
    let directory = tempfile::tempdir().unwrap();
    let gate = gate_in(&directory);
    let child = created(&gate, &["true"]);
    // Stopped, it cannot accept: the one who opens waits, and then it dies.
    child.signal(pipewright::Signal::STOP).unwrap();
    std::thread::scope(|scope| {
        let opening = scope.spawn(|| Gate::open(&gate, SOON).unwrap_err());
        await_knock(&gate);
        child.kill().unwrap();
        let error = opening.join().unwrap();
        let told = matches!(error, Error::PeerDied { .. }) || error.raw_os_error() == Some(111);
        assert!(told, "{error}");
    });
    child.wait().unwrap();
    refused(&gate);
}

fn an_init_killed_after_the_gate_has_been_started() {
    let directory = tempfile::tempdir().unwrap();
    let gate = gate_in(&directory);
    let child = created(&gate, &["sleep", "1000"]);
    Gate::open(&gate, SOON).unwrap();
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    refused(&gate);
}

fn starting_twice_is_an_error_for_the_second() {
    let directory = tempfile::tempdir().unwrap();
    let gate = gate_in(&directory);
    let child = created(&gate, &["sleep", "1000"]);
    Gate::open(&gate, SOON).unwrap();
    refused(&gate);
    child.kill().unwrap();
    child.wait().unwrap();
}

fn of_many_who_start_at_once_one_succeeds() {
    let directory = tempfile::tempdir().unwrap();
    let gate = gate_in(&directory);
    let child = created(&gate, &["true"]);
    // More than the queue of the listener holds.
    let opened = std::thread::scope(|scope| {
        let all: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| Gate::open(&gate, SOON)))
            .collect();
        let results = all.into_iter().map(|one| one.join().unwrap());
        results.filter(Result::is_ok).count()
    });
    assert_eq!(opened, 1);
    assert!(child.wait().unwrap().success());
}

fn a_program_that_does_not_exist_is_told_to_the_one_who_opens() {
    let directory = tempfile::tempdir().unwrap();
    let gate = gate_in(&directory);
    let child = created(&gate, &["/no/such/program"]);
    let error = Gate::open(&gate, SOON).unwrap_err();
    assert_eq!(error.phase(), Some("exec /no/such/program"), "{error}");
    assert_eq!(error.raw_os_error(), Some(2));
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

fn one_who_knocks_and_leaves_has_not_opened_the_gate() {
    let directory = tempfile::tempdir().unwrap();
    let gate = gate_in(&directory);
    let child = created(&gate, &["true"]);
    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with,
    };
    // No other process keeps it open.
    let flags = SocketFlags::CLOEXEC;
    let visitor = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    connect(&visitor, &SocketAddrUnix::new(&gate).unwrap()).unwrap();
    drop(visitor);
    Gate::open(&gate, SOON).unwrap();
    assert!(child.wait().unwrap().success());
}

fn a_gate_that_nobody_opens_is_a_timeout() {
    let directory = tempfile::tempdir().unwrap();
    let gate = gate_in(&directory);
    let config = Config {
        patience: 20,
        ..config(&gate, &["true"])
    };
    let child = create(&config).unwrap();
    assert_eq!(child.into_child().wait().unwrap().code(), Some(1));
    refused(&gate);
}

fn a_path_too_long_for_a_gate_is_refused() {
    let path = Path::new("/tmp").join("x".repeat(200));
    let error = Gate::new(&path).unwrap_err();
    assert!(
        matches!(error, Error::TooLarge { limit: 107, .. }),
        "{error}"
    );
    let error = Gate::open(&path, SOON).unwrap_err();
    assert!(error.to_string().contains("shorter path"), "{error}");
}

fn a_gate_is_made_once_and_only_opened_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let gate = gate_in(&directory);
    let opened = || Gate::open(&gate, SOON).unwrap_err().raw_os_error();
    assert_eq!(opened(), Some(2)); // ENOENT
    let made = Gate::new(&gate).unwrap();
    assert_eq!(Gate::new(&gate).unwrap_err().raw_os_error(), Some(98)); // EADDRINUSE
    drop(made);
    refused(&gate);
}

/// runc 5210: the signal of a child that exits at once was missed.
fn a_thousand_children_that_exit_at_once_are_all_seen_and_leave_nothing() {
    let name = "a_thousand_children_that_exit_at_once_are_all_seen_and_leave_nothing";
    isolated(name, || {
        let run = || {
            let child = ReExec::new("exit at once").spawn().unwrap().into_child();
            assert!(child.wait().unwrap().success());
        };
        run();
        let before = open_descriptors();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..250).for_each(|_| run()));
            }
        });
        assert_eq!(open_descriptors(), before);
        assert!(testing::children().is_empty());
    });
}
