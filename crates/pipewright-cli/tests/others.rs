//! `ls`, `resize` and `watch`: pipelines that somebody else has started.

mod support;

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use support::foreign::{Running, Watch, find, find_when, listed, mark};
use support::pipewright;
use testing::{copy_program, stderr, watchdog};

#[test]
fn a_running_pipeline_is_listed_with_who_is_blocked() {
    let _watchdog = watchdog();
    let mark = mark(1001);
    let running = Running::start(&format!("yes {mark} | sleep {mark} | cat; true"));
    // A program that is still being loaded runs, or waits for the disk.
    let found = find_when(&mark, 3, |found| {
        let does = |stage: usize| &found["stages"][stage]["activity"];
        does(0) == "blocked_on_output" && does(1) == "sleeping" && does(2) == "waiting_for_input"
    });
    assert_eq!(found["shape"], "linear");
    assert_eq!(found["stages"][1]["command"], format!("sleep {mark}"));
    assert_eq!(found["pipes"][0]["level"]["full"], true);
    assert_eq!(found["pipes"][1]["level"]["unread_bytes"], 0);
    assert_eq!(found["pipes"][0]["writers"], serde_json::json!([1]));
    let text = String::from_utf8(pipewright().arg("ls").output().unwrap().stdout).unwrap();
    assert!(
        text.contains(&format!("yes {mark}")) && text.contains("full: 6"),
        "{text}"
    );
    drop(running);
}

#[test]
fn several_writers_of_one_reader_are_told_as_fan_in() {
    let _watchdog = watchdog();
    let (reader, writer) = std::io::pipe().unwrap();
    let sleep = |seconds: &str| {
        let out = writer.try_clone().unwrap();
        let mut sleep = Command::new("sleep");
        sleep
            .arg(seconds)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(Stdio::null());
        sleep.spawn().unwrap()
    };
    let mark = mark(1003);
    let mut writers = [sleep("1002"), sleep(&mark)];
    let mut cat = Command::new("cat")
        .stdin(reader)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(writer);
    let found = find(&mark, 3);
    for child in &mut writers {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(cat.wait().unwrap().success());
    assert_eq!(found["shape"], "fan_in");
    assert_eq!(found["pipes"][0]["writers"].as_array().unwrap().len(), 2);
}

#[test]
fn all_tells_who_is_behind_a_socket_that_a_stage_has_as_a_standard_stream() {
    let _watchdog = watchdog();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mark = mark(1005);
    let stage = |program: &str| pipewright::Command::new(program).stderr(pipewright::Stdio::Null);
    let sleep = stage("sleep")
        .arg(&mark)
        .stdin(std::os::fd::OwnedFd::from(theirs));
    let pipeline = (sleep | stage("cat").stdout(pipewright::Stdio::Null)).kill_on_drop();
    let _running = pipeline.spawn().unwrap();
    let found = find(&mark, 2);
    let socket = &found["stages"][0]["sockets"][0];
    assert_eq!(socket["descriptor"], 0);
    let of_mark = |pipelines: &serde_json::Value| {
        let pipelines = pipelines["pipelines"].as_array().unwrap();
        let found = pipelines.iter().find(|found| {
            let command = found["stages"][0]["command"].as_str().unwrap();
            command.contains(&mark)
        });
        found.unwrap()["stages"][0]["sockets"][0].clone()
    };
    // Without --all nobody is asked.
    assert_eq!(of_mark(&listed(&[]))["neighbours"], serde_json::json!([]));
    let text = String::from_utf8(pipewright().args(["ls", "--all"]).output().unwrap().stdout);
    let text = text.unwrap();
    if socket["neighbours"] == serde_json::json!([]) {
        eprintln!(
            "skipped: this kernel does not tell which Unix sockets are connected (UNIX_DIAG)"
        );
        assert!(text.contains("stdin is a socket"), "{text}");
        return;
    }
    assert_eq!(socket["neighbours"][0]["pid"], std::process::id());
    let told = format!("stdin is a socket to {}", std::process::id());
    assert!(text.contains(&told), "{text}");
    drop(ours);
}

#[test]
fn names_with_escape_sequences_do_not_reach_the_terminal() {
    let _watchdog = watchdog();
    let mark = mark(1006);
    let hostile = format!("(exec -a $'\\e]0;evil\\a\\nhostile' sleep {mark}) | cat");
    let running = Running::start(&hostile);
    find(&mark, 2);
    let output = pipewright().args(["ls", "--all"]).output().unwrap();
    assert!(!output.stdout.contains(&0x1b) && !output.stdout.contains(&0x07));
    assert!(String::from_utf8_lossy(&output.stdout).contains(&mark));
    drop(running);
}

#[test]
fn listing_into_a_reader_that_goes_early_is_no_panic() {
    let _watchdog = watchdog();
    let script = format!(
        "{} ls --all | true; echo ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_pipewright")
    );
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(output.stdout, b"0\n", "{}", stderr(&output));
}

#[test]
fn pipes_of_a_running_pipeline_change_their_size_and_lose_nothing() {
    let _watchdog = watchdog();
    let mark = mark(1004);
    let text = format!("cat | (exec -a cat-{mark} cat) | cat");
    let mut running = Running::start(&text);
    find(&mark, 3);
    let output = pipewright()
        .args(["resize", &running.pid(), "256K"])
        .output()
        .unwrap();
    let changed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(changed.lines().count(), 2, "{changed}");
    assert!(
        changed.lines().all(|line| line.ends_with("→ 262144 bytes")),
        "{changed}"
    );
    // More than the pipes hold, so that the first stage runs until all is read.
    let bytes: Vec<u8> = (0..=255).cycle().take(4 << 20).collect();
    let (mut stdin, mut stdout) = (
        running.stdin.take().unwrap(),
        running.stdout.take().unwrap(),
    );
    let expected = bytes.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes).unwrap());
    let mut got = vec![0; expected.len()];
    stdout.read_exact(&mut got[..1 << 19]).unwrap();
    let output = pipewright()
        .args(["resize", &running.pid(), "1M"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    stdout.read_exact(&mut got[1 << 19..]).unwrap();
    writer.join().unwrap();
    assert!(got == expected);
}

#[test]
fn what_cannot_be_looked_at_is_one_sentence_and_status_1() {
    let _watchdog = watchdog();
    let said = |mut command: Command| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        let said = stderr(&output);
        assert_eq!(said.lines().count(), 1, "{said}");
        said
    };
    let resize = |pid: &str| {
        let mut command = pipewright();
        command.args(["resize", pid, "1M"]);
        command
    };
    assert!(said(resize("99999999")).contains("there is no process 99999999"));
    let null = || pipewright::Stdio::Null;
    let alone = pipewright::Command::new("sleep").arg("1007");
    let alone = alone
        .stdin(null())
        .stdout(null())
        .stderr(null())
        .spawn()
        .unwrap();
    let not_in_one = said(resize(&alone.id().to_string()));
    alone.kill().unwrap();
    alone.wait().unwrap();
    assert!(
        not_in_one.contains("not part of a pipeline"),
        "{not_in_one}"
    );

    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can show that another user may not look");
        return;
    }
    let mark = mark(1008);
    let running = Running::start(&format!("sleep {mark} | cat"));
    let found = find(&mark, 2);
    let pid = found["stages"][0]["pid"].to_string();
    // A copy that nobody can execute where this one may not be reached.
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("pipewright");
    copy_program(Path::new(env!("CARGO_BIN_EXE_pipewright")), &copy);
    std::fs::set_permissions(
        directory.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let mut command = Command::new(&copy);
    command.args(["resize", &pid, "1M"]).uid(65534).gid(65534);
    let said = said(command);
    assert!(
        said.contains("permission denied") && said.contains("ptrace_scope"),
        "{said}"
    );
    drop(running);
}

#[test]
fn watch_shows_the_pipeline_takes_keys_and_leaves_everything_as_it_was() {
    let _watchdog = watchdog();
    let mark = mark(1009);
    let running = Running::start(&format!("yes {mark} | sleep {mark} | cat"));
    let found = find(&mark, 3);
    let mut watch = Watch::start(&found["stages"][1]["pid"].to_string());
    let (first, second) = (format!("yes {mark}"), format!("sleep {mark}"));
    watch.wait_for(&["bottleneck", &first, &second]);
    assert!(watch.screen.screen().alternate_screen());
    watch.press("?");
    watch.wait_for(&["┌keys", "freeze"]);
    watch.press("?");
    watch.press("jj");
    watch.press("e");
    watch.wait_for(&["┌stage 3"]);
    watch.press("e");
    watch.press("kk");
    watch.press("f");
    watch.wait_for(&["frozen"]);
    watch.press("f");
    watch.press("q");
    watch.wait_for(&["wait out", "bytes"]);
    assert!(watch.child.wait().unwrap().success());
    assert!(!watch.screen.screen().alternate_screen());

    let after = find(&mark, 3);
    for pipe in 0..2 {
        assert_eq!(
            after["pipes"][pipe]["level"]["capacity_bytes"],
            found["pipes"][pipe]["level"]["capacity_bytes"]
        );
    }
    drop(running);
}

#[test]
fn watch_ends_with_the_pipeline() {
    let _watchdog = watchdog();
    let mark = mark(1010);
    let running = Running::start(&format!("sleep {mark} | cat"));
    let found = find(&mark, 2);
    let mut watch = Watch::start(&running.pid());
    watch.wait_for(&["bottleneck"]);
    let sleep = found["stages"][0]["pid"].as_u64().unwrap() as i32;
    let sleep = rustix::process::Pid::from_raw(sleep).unwrap();
    rustix::process::kill_process(sleep, rustix::process::Signal::TERM).unwrap();
    // cat sees the end of file although it is watched.
    watch.wait_for(&["wait out"]);
    assert!(watch.child.wait().unwrap().success());
}

#[test]
fn a_signal_gives_the_terminal_back_and_ends_watch() {
    use std::os::unix::process::ExitStatusExt;
    let _watchdog = watchdog();
    let mark = mark(1011);
    let running = Running::start(&format!("sleep {mark} | cat"));
    let found = find(&mark, 2);
    let mut watch = Watch::start(&found["stages"][0]["pid"].to_string());
    watch.wait_for(&["bottleneck"]);
    let pid = rustix::process::Pid::from_raw(watch.child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    watch.wait_for(&["wait out"]);
    assert_eq!(watch.child.wait().unwrap().signal(), Some(15));
    assert!(!watch.screen.screen().alternate_screen());
    drop(running);
}

#[test]
fn watch_ends_when_its_terminal_is_gone() {
    let _watchdog = watchdog();
    let mark = mark(1012);
    let running = Running::start(&format!("sleep {mark} | cat"));
    let found = find(&mark, 2);
    let mut watch = Watch::start(&found["stages"][0]["pid"].to_string());
    watch.wait_for(&["bottleneck"]);
    let Watch {
        mut child, master, ..
    } = watch;
    drop(master);
    child.wait().unwrap();
    drop(running);
}

#[test]
fn watch_without_a_terminal_says_so() {
    let _watchdog = watchdog();
    let output = pipewright()
        .args(["watch", "1"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(
        stderr(&output).contains("needs a terminal"),
        "{}",
        stderr(&output)
    );
}
