//! One process seen from outside: real ones, hostile ones, and those of another user.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use pipewright_observe::topology::Scan;
use pipewright_observe::verdict::{Finding, Verdict};
use pipewright_observe::workspace::{BlockedOn, IoCounters, ProcessState, Target};
use pipewright_observe::{Activity, Error, PipeHandle, Process, ProcessId, Sampler};

use rustix::io::{FdFlags, fcntl_setfd};

use crate::common::{Stages, quick, shell, until};
use testing::watchdog;

/// The number of the process to look at, for the test that runs itself as another user.
const LOOK_AT: &str = "OBSERVE_TEST_LOOK_AT";

/// A user that owns nothing.
const NOBODY: u32 = 65534;

#[test]
fn what_a_process_waits_for_is_told_with_its_descriptor() {
    let _watchdog = watchdog();
    let line = Stages::start(&["exec sleep 60", "exec cat"]);
    let [sleep, cat] = [0, 1].map(|stage| Process::open(line.pid(stage)).unwrap());
    until(|| sleep.blocked_on() == BlockedOn::Timer);
    until(|| cat.blocked_on() == BlockedOn::Read(Some(0)));
    assert_eq!(cat.stat().unwrap().state, ProcessState::Sleeping);
    assert_eq!(cat.stat().unwrap().parent, std::process::id());
    assert_eq!(cat.command_line().unwrap().to_string(), "cat");
    assert_eq!(cat.descriptor(0).unwrap(), Target::Pipe(line.pipes[0].id()));
    assert_eq!(
        cat.descriptor(1).unwrap(),
        Target::Other(PathBuf::from("/dev/null"))
    );
    assert!(matches!(cat.descriptor(999_999), Err(Error::Ended { .. })));
    assert!(cat.id().age() < Duration::from_secs(100));
}

#[test]
fn a_zombie_still_tells_what_it_has_used_until_it_is_waited_for() {
    let _watchdog = watchdog();
    let mut child = shell("read -r x; exec head -c 3000000 /dev/zero")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let process = Process::open(child.id()).unwrap();
    // Asked while it runs: its file is root's when it has ended.
    assert!(process.io().unwrap().read < 3_000_000);
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    until(|| process.stat().unwrap().state == ProcessState::Zombie);
    let IoCounters { read, written } = process.io().unwrap();
    assert!((3_000_000..3_200_000).contains(&written), "{written}");
    assert!((3_000_000..3_200_000).contains(&read), "{read}");
    assert!(process.schedules().unwrap()[0].1.on_cpu > Duration::ZERO);
    child.wait().unwrap();
    let pid = child.id();
    assert!(matches!(process.stat(), Err(Error::Ended { pid: of }) if of == pid));
    assert!(process.io().unwrap_err().is_ended());
    assert!(process.schedules().unwrap_err().is_ended());
    assert!(process.command_line().unwrap_err().is_ended());
    assert!(process.descriptor(0).unwrap_err().is_ended());
    assert_eq!(process.blocked_on(), BlockedOn::Unknown);
}

#[test]
fn a_number_in_use_again_is_not_mistaken_for_the_process_it_was() {
    let me = Process::open(std::process::id()).unwrap().id();
    assert!(Process::open_same(me).is_ok());
    let former = ProcessId {
        start_time: me.start_time - 1,
        ..me
    };
    assert!(matches!(
        Process::open_same(former),
        Err(Error::Ended { .. })
    ));
    assert!(matches!(
        Process::open(u32::MAX),
        Err(Error::NoSuchProcess { .. })
    ));
}

#[test]
fn a_handle_answers_nothing_of_the_next_process_with_its_number() {
    let _watchdog = watchdog();
    let mut first = shell_sleep().spawn().unwrap();
    let pid = first.id();
    let process = Process::open(pid).unwrap();
    assert!(process.io().is_ok());
    first.kill().unwrap();
    first.wait().unwrap();
    // The kernel tells when a process started in hundredths of a second.
    until(|| process.id().age() > Duration::from_millis(20));
    // It gives numbers in turn, and root may say which was the last one.
    let mut next = (0..500).find_map(|_| {
        std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).ok()?;
        let mut next = shell_sleep().spawn().unwrap();
        if next.id() == pid {
            return Some(next);
        }
        next.kill().unwrap();
        next.wait().unwrap();
        None
    });
    let Some(next) = &mut next else {
        eprintln!("skipped: the number did not come again (ns_last_pid is root's)");
        return;
    };
    assert!(matches!(process.stat(), Err(Error::Ended { pid: of }) if of == pid));
    assert!(process.io().unwrap_err().is_ended());
    assert!(process.command_line().unwrap_err().is_ended());
    assert!(process.descriptor(0).unwrap_err().is_ended());
    assert!(process.threads().unwrap_err().is_ended());
    assert_eq!(process.blocked_on(), BlockedOn::Unknown);
    assert!(matches!(
        Process::open_same(process.id()),
        Err(Error::Ended { .. })
    ));
    let other = Process::open(pid).unwrap();
    assert_ne!(other.id(), process.id());
    next.kill().unwrap();
    next.wait().unwrap();
}

#[test]
fn a_hostile_command_line_is_kept_raw_and_shown_harmless() {
    let _watchdog = watchdog();
    let mut hostile = b"\x1b]0;owned\x07\x1b[2J\nnew line\xff\xc2\x9b31m".to_vec();
    hostile.extend(std::iter::repeat_n(b'A', 64 * 1024));
    let mut child = Command::new("bash")
        .arg0(std::ffi::OsStr::from_bytes(&hostile))
        .args(["-c", "read -r x"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let process = Process::open(child.id()).unwrap();
    // In the midst of exec it has none yet.
    until(|| !process.command_line().unwrap().as_bytes().is_empty());
    let line = process.command_line().unwrap();
    assert_eq!(line.arguments().next().unwrap(), hostile);
    assert!(line.as_bytes().len() > 64 * 1024);
    let shown = line.to_string();
    assert!(!shown.contains(char::is_control));
    assert!(
        shown.ends_with("A' -c 'read -r x'"),
        "{}",
        &shown[shown.len() - 20..]
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_hostile_program_name_is_shown_harmless_in_a_scan() {
    let _watchdog = watchdog();
    let scratch = tempfile::tempdir().unwrap();
    let program = scratch.path().join("\x1b[31m) S\nevil");
    std::os::unix::fs::symlink("/bin/bash", &program).unwrap();
    let mut command = Command::new(&program);
    command
        .args(["-c", "read -r x; exit 3"])
        .stdout(Stdio::null());
    let mut line = Stages::connect(vec![shell_sleep(), command], Stdio::null(), Stdio::null());
    // An exec that has begun gives the process its new name, and closes the ends that are not for
    // it, a little later.
    until(|| {
        let Ok(pipeline) = Scan::now().unwrap().pipeline_of(line.pid(1)) else {
            return false;
        };
        let names: Vec<_> = pipeline.stages.iter().map(|stage| &*stage.name).collect();
        assert!(!names.iter().any(|name| name.contains(char::is_control)));
        pipeline.stages[0].process.pid == line.pid(0) && names == ["sleep", "[31m) S evil"]
    });
    line.children[0].kill().unwrap();
    assert_eq!(line.children[1].wait().unwrap().code(), Some(3));
}

fn shell_sleep() -> Command {
    let mut command = Command::new("sleep");
    command.arg("60");
    command
}

#[test]
fn how_far_a_file_has_been_read_is_told() {
    use std::io::{Read, Seek, SeekFrom};

    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("file");
    let mut file = std::fs::File::create_new(&path).unwrap();
    file.write_all(&[1; 1000]).unwrap();
    let mut file = std::fs::File::open(&path).unwrap();
    file.seek(SeekFrom::Start(200)).unwrap();
    file.read_exact(&mut [0; 50]).unwrap();
    let me = Process::open(std::process::id()).unwrap();
    let position = me.file_position(file.as_raw_fd() as u32).unwrap().unwrap();
    assert_eq!((position.offset, position.size), (250, 1000));
    assert_eq!(position.path, std::fs::canonicalize(&path).unwrap());
    let (reader, _writer) = std::io::pipe().unwrap();
    assert_eq!(me.file_position(reader.as_raw_fd() as u32).unwrap(), None);
}

/// Runs as root, and once more as another user, who is told what may not be known.
#[test]
fn another_users_pipeline_is_hidden_and_told_to_be() {
    let _watchdog = watchdog();
    if let Ok(pids) = std::env::var(LOOK_AT) {
        let pids: Vec<u32> = pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
        return look_at_what_is_hidden(&pids);
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can start a process as another user");
        return;
    }
    // It may lie where that user may not go: the way leads through a descriptor that is inherited.
    let program = std::fs::File::open("/proc/self/exe").unwrap();
    fcntl_setfd(&program, FdFlags::empty()).unwrap();
    let line = Stages::start(&["exec sleep 60", "exec cat"]);
    let [sleep, cat] = [0, 1].map(|stage| Process::open(line.pid(stage)).unwrap());
    until(|| {
        sleep.blocked_on() == BlockedOn::Timer && cat.blocked_on() == BlockedOn::Read(Some(0))
    });
    let output = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
        .args([
            "--exact",
            "process::another_users_pipeline_is_hidden_and_told_to_be",
            "--nocapture",
        ])
        .env(LOOK_AT, format!("{} {}", line.pid(0), line.pid(1)))
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("hidden as it should be"), "{text}");
}

fn look_at_what_is_hidden(pids: &[u32]) {
    let process = Process::open(pids[0]).unwrap();
    assert_eq!(process.stat().unwrap().state, ProcessState::Sleeping);
    let error = process.io().unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error}");
    assert!(error.to_string().contains("permission denied"), "{error}");
    assert!(matches!(process.descriptor(1), Err(Error::Denied { .. })));
    assert!(matches!(
        PipeHandle::of_process(pids[0], 1),
        Err(Error::Denied { .. })
    ));
    assert_eq!(process.blocked_on(), BlockedOn::Unknown);

    let scan = Scan::now().unwrap();
    assert!(pids.iter().all(|pid| scan.denied.contains(pid)));
    assert!(matches!(
        scan.pipeline_of(pids[1]),
        Err(Error::Denied { .. })
    ));

    let stages = pids
        .iter()
        .map(|&pid| Process::open(pid).unwrap())
        .collect();
    let mut sampler = Sampler::new(stages, Vec::new(), quick()).unwrap();
    let mut samples = Vec::new();
    for _ in 0..100 {
        samples.push(sampler.tick());
        std::thread::sleep(sampler.due_in());
    }
    samples.push(sampler.finish());
    assert_eq!(samples[0].stages, [Activity::Unknown, Activity::Unknown]);
    let figures = samples
        .last()
        .and_then(|sample| sample.figures.as_ref())
        .unwrap();
    assert_eq!(figures.stages[0].read, None);
    assert_eq!(
        Verdict::of(sampler.layout(), &samples).finding,
        Finding::Hidden
    );
    println!("hidden as it should be");
}
