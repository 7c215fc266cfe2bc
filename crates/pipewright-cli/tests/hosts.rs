//! `pipewright on`: a stage on another host, which is an sshd of the test's own.

mod support;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use support::pipewright;
use testing::{FarHost, feed, signals_at_their_default, stderr, watchdog};

/// A host that has this pipewright in its PATH.
fn host() -> Option<FarHost> {
    signals_at_their_default();
    let built = Path::new(env!("CARGO_BIN_EXE_pipewright"));
    FarHost::start(&[built.parent().unwrap()])
}

/// `pipewright on far OPTIONS -- COMMAND`.
fn on(host: &FarHost, options: &[&str], command: &[&str]) -> Command {
    let mut on = pipewright();
    on.args(["on", "far"]).args(options).arg("--").args(command);
    on.stdin(Stdio::null());
    host.known_to(&mut on);
    on
}

/// Starts it with three pipes.
fn start(command: &mut Command) -> Child {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).spawn().unwrap()
}

/// Bytes that repeat themselves nowhere.
fn bytes(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn kill(pid: u32, signal: i32) {
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    let signal = rustix::process::Signal::from_named_raw(signal).unwrap();
    // It may have ended meanwhile.
    let _ = rustix::process::kill_process(pid, signal);
}

fn is_far_half(line: &str) -> bool {
    line.starts_with("pipewright remote ")
}

#[test]
fn a_stage_gives_there_what_it_gives_here() {
    let _watchdog = watchdog();
    let Some(host) = host() else { return };
    let input = bytes(3 << 20);
    let table: &[&[&str]] = &[
        &["cat"],
        &["sha256sum"],
        &["true"],
        &["false"],
        &["sh", "-c", "cat; exit 3"],
        &["sh", "-c", "echo to stderr >&2; exit 254"],
        &["sh", "-c", "exit 255"],
        &["sh", "-c", "head -c 5; exec <&-; echo more; exit 7"],
        &["sh", "-c", "kill -TERM $$"],
        &["sh", "-c", "kill -KILL $$"],
        &["sh", "-c", "kill -SEGV $$"],
        &["sh", "-c", "for i in 1 2 3; do echo $i; echo e$i >&2; done"],
        &["sh", "-c", "cat >/dev/full"],
        &[
            "printf", "%s|", "", " ", "a b", "'", "\"", "\\", "$HOME", "*", "a\nb", "-n", "--", "ä",
        ],
    ];
    for command in table {
        let here = feed(Command::new(command[0]).args(&command[1..]), &input);
        let there = feed(&mut on(&host, &[], command), &input);
        assert_eq!(
            there.status.code(),
            here.status.code(),
            "{command:?}: {}",
            stderr(&there)
        );
        assert_eq!(there.status.signal(), here.status.signal(), "{command:?}");
        assert!(there.stdout == here.stdout, "{command:?}: stdout differs");
        assert_eq!(stderr(&there), stderr(&here), "{command:?}");
    }
    host.await_nothing_left();
}

#[test]
fn a_command_that_cannot_be_run_there_ends_as_a_shell_has_it() {
    let _watchdog = watchdog();
    let Some(host) = host() else { return };
    let missing = on(&host, &[], &["no-such-program"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(127));
    let said = "pipewright: on far: cannot start \"no-such-program\": ";
    assert!(stderr(&missing).starts_with(said), "{}", stderr(&missing));
    let directory = on(&host, &[], &["/"]).output().unwrap();
    assert_eq!(directory.status.code(), Some(126), "{}", stderr(&directory));
    host.await_nothing_left();
}

#[test]
fn what_ssh_fails_at_is_never_the_status_of_the_command() {
    let _watchdog = watchdog();
    let Some(host) = host() else { return };
    // (options, status, what is said)
    let table: &[(&[&str], i32, &str)] = &[
        (
            &["--ssh-option=-p1"],
            125,
            "pipewright: cannot reach far: ssh ended, and said: ",
        ),
        (
            &["--ssh-option", "Port=1"],
            125,
            "pipewright: cannot reach far: ssh ended, and said: ",
        ),
        (
            &[
                "--ssh-option=IdentityFile=/dev/null",
                "--ssh-option=-F/dev/null",
            ],
            125,
            "pipewright: cannot reach",
        ),
        (
            &["--ssh", "/no/such/ssh"],
            125,
            "pipewright: cannot start ssh",
        ),
        (
            &["--pipewright", "false"],
            125,
            "pipewright: cannot reach far: ssh ended, and said: ",
        ),
        (
            &["--pipewright", "yes"],
            125,
            "pipewright: cannot reach far: its start files print without an end",
        ),
    ];
    for (options, status, said) in table {
        let output = on(&host, options, &["sh", "-c", "exit 255"])
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(*status),
            "{options:?}: {}",
            stderr(&output)
        );
        assert!(
            stderr(&output).starts_with(said),
            "{options:?}: {}",
            stderr(&output)
        );
    }
    let own = on(&host, &[], &["sh", "-c", "exit 255"]).output().unwrap();
    assert_eq!((own.status.code(), &*stderr(&own)), (Some(255), ""));
    host.await_nothing_left();
}

#[test]
fn a_host_whose_name_looks_like_an_option_is_refused() {
    let output = pipewright()
        .args(["on", "--", "-oProxyCommand=touch x", "--", "true"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(!Path::new("x").exists());
}

#[test]
fn start_files_that_print_change_nothing() {
    let _watchdog = watchdog();
    let Some(host) = host() else { return };
    let chatter =
        "echo Welcome; printf 'pipewright-link-'; head -c 50000 /dev/urandom; echo on stderr >&2\n";
    for file in [".bashrc", ".profile", ".zshenv", ".cshrc"] {
        fs::write(host.home().join(file), chatter).unwrap();
    }
    let output = feed(&mut on(&host, &[], &["cat"]), b"HOLA!");
    assert_eq!(
        (&*output.stdout, output.status.code()),
        (&b"HOLA!"[..], Some(0)),
        "{}",
        stderr(&output)
    );
    host.await_nothing_left();
}

#[test]
fn each_signal_reaches_the_stage() {
    let _watchdog = watchdog();
    let Some(host) = host() else { return };
    for (name, number) in [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("USR1", 10),
        ("USR2", 12),
        ("TERM", 15),
    ] {
        let script = format!(
            "trap 'echo got {name}; exit 9' {name}; echo ready; while :; do sleep 0.01; done"
        );
        let child = start(&mut on(&host, &[], &["sh", "-c", &script]));
        let output = signal_when_ready(child, number);
        assert_eq!(output.status.code(), Some(9), "{name}");
        assert_eq!(output.stdout, format!("got {name}\n").as_bytes());

        // One that does not mind it dies of it, and so does what stands in its place here.
        let script = "echo ready; exec sleep 98765";
        let output = signal_when_ready(start(&mut on(&host, &[], &["sh", "-c", script])), number);
        assert_eq!(
            output.status.signal(),
            Some(number),
            "{name}: {:?}",
            output.status
        );
    }
    host.await_nothing_left();
}

/// Sends a signal once the stage has said that it is ready.
fn signal_when_ready(mut child: Child, signal: i32) -> Output {
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut [0; 6])
        .unwrap();
    kill(child.id(), signal);
    child.wait_with_output().unwrap()
}

#[test]
fn an_end_of_file_and_a_reader_that_leaves_are_seen_on_the_other_side() {
    let _watchdog = watchdog();
    let Some(host) = host() else { return };
    // The end of stdin there, and the end of stdout here while the stage goes on.
    let script = "cat; exec >&-; cat <go >&2";
    let fifo = host.home().join("go");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let mut child = start(&mut on(&host, &[], &["sh", "-c", &format!("cd; {script}")]));
    child.stdin.take().unwrap().write_all(b"all").unwrap();
    let mut all = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut all)
        .unwrap();
    assert_eq!(all, "all");
    assert_eq!(child.try_wait().unwrap(), None, "it still runs");
    fs::write(&fifo, "and more").unwrap();
    assert_eq!(child.wait_with_output().unwrap().stderr, b"and more");

    // A reader here that leaves ends the writer there, and one there ends the writer here.
    let text = "PIPEWRIGHT=$1; $PIPEWRIGHT on far -- yes | head -n 1; echo ${PIPESTATUS[*]}; \
        yes | $PIPEWRIGHT on far -- head -n 1; echo ${PIPESTATUS[*]}";
    let mut bash = Command::new("bash");
    bash.args(["-c", text, "bash", env!("CARGO_BIN_EXE_pipewright")]);
    host.known_to(&mut bash);
    let output = bash.output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "y\n141 0\ny\n141 0\n",
        "{}",
        stderr(&output)
    );
    // One that writes nothing more learns of it when it writes, as in any pipe; and one without a reader
    // for its stderr, too.
    let mut child = start(&mut on(&host, &[], &["sh", "-c", "exec yes >&2"]));
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().signal(), Some(13));
    host.await_nothing_left();
}

#[test]
fn output_that_cannot_be_written_here_ends_the_stage_there() {
    let _watchdog = watchdog();
    let Some(host) = host() else { return };
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = on(&host, &[], &["sh", "-c", "trap '' PIPE; yes"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    let said = "pipewright: cannot write what the stage has written: No space left on device";
    assert!(stderr(&output).contains(said), "{}", stderr(&output));
    host.await_nothing_left();
}

#[test]
fn a_link_that_is_lost_again_and_again_changes_no_byte() {
    let _watchdog = watchdog();
    let Some(host) = host() else { return };
    let input = bytes(24 << 20);
    let mut child = start(&mut on(
        &host,
        &["-v"],
        &["sh", "-c", "cat; echo end >&2; exit 42"],
    ));
    let mut stdin = child.stdin.take().unwrap();
    let (mut stdout, mut told) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let mut output = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            stdin.write_all(&input).unwrap();
            drop(stdin);
        });
        // In the middle of it, by turns: ssh here, and sshd's process there.
        for round in 0..6 {
            let mut piece = vec![0; 3 << 20];
            stdout.read_exact(&mut piece).unwrap();
            output.extend_from_slice(&piece);
            let victims = match round % 2 {
                0 => host.processes(|line| line.starts_with("ssh ")),
                _ => host.sessions(),
            };
            victims.into_iter().for_each(|pid| kill(pid, 9));
        }
        stdout.read_to_end(&mut output).unwrap();
    });
    let mut said = String::new();
    told.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(42), "{said}");
    assert!(
        output == input,
        "{} bytes came of {}",
        output.len(),
        input.len()
    );
    assert!(
        said.starts_with("end\n") && said.contains("the link broke "),
        "{said}"
    );
    host.await_nothing_left();
}

#[test]
fn several_channels_carry_the_bytes_of_one() {
    let _watchdog = watchdog();
    let Some(host) = host() else { return };
    let input = bytes(5 << 20);
    for channels in ["1", "2", "5", "16"] {
        let options = ["-v", "--channels", channels];
        let output = feed(
            &mut on(&host, &options, &["sh", "-c", "cat; exit 5"]),
            &input,
        );
        assert_eq!(
            output.status.code(),
            Some(5),
            "{channels}: {}",
            stderr(&output)
        );
        assert!(output.stdout == input, "{channels} channels");
        assert!(
            !stderr(&output).contains("the link broke"),
            "{channels}: {}",
            stderr(&output)
        );
    }
    host.await_nothing_left();
}

#[test]
fn a_cable_that_is_pulled_for_a_while_changes_no_byte() {
    let _watchdog = watchdog();
    let Some(host) = host() else { return };
    if !host.has_cable() {
        println!("skipped: there is no network namespace");
        return;
    }
    let input = bytes(8 << 20);
    // It is silent for longer than a link may be.
    let mut child = start(&mut on(&host, &["-v", "--lease", "9"], &["cat"]));
    let mut stdin = child.stdin.take().unwrap();
    let mut first = vec![0; 1 << 20];
    stdin.write_all(&input[..1 << 20]).unwrap();
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    host.set_cable(false);
    let back = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(5));
        host.set_cable(true);
        host
    });
    // If it fails, the near half says why.
    let _ = stdin.write_all(&input[1 << 20..]);
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!([&first[..], &output.stdout].concat() == input);
    assert!(
        stderr(&output).contains("the link broke once"),
        "{}",
        stderr(&output)
    );
    back.join().unwrap().await_nothing_left();
}

/// A stage that would go on for ever, and has started a daemon that would, too, and says when it is there.
const STUBBORN: &str = "trap '' HUP TERM PIPE; (setsid sh -c 'echo ready; exec sleep 98765' &); \
    sleep 98765; sleep 98765";

#[test]
fn without_a_link_everything_ends_with_the_lease_and_the_status_says_so() {
    let _watchdog = watchdog();
    let Some(host) = host() else { return };
    if !host.has_cable() {
        println!("skipped: there is no network namespace");
        return;
    }
    let mut child = start(&mut on(&host, &["--lease", "3"], &["sh", "-c", STUBBORN]));
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut [0; 6])
        .unwrap();
    host.set_cable(false);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(121));
    let said = "pipewright: the link to far is lost: it was away for 3 s; ";
    assert!(stderr(&output).starts_with(said), "{}", stderr(&output));
    host.await_nothing_left();
}

#[test]
fn whichever_process_is_killed_nothing_is_left_after_the_lease() {
    let _watchdog = watchdog();
    let Some(host) = host() else { return };
    // Who is killed, and how the near half ends; that itself is killed where there is no status.
    let table: &[(&str, Option<i32>, &str)] = &[
        ("near", None, ""),
        (
            "far",
            Some(121),
            "pipewright: far cannot go on with the stage: its half there is gone",
        ),
        (
            "warden",
            Some(121),
            "pipewright: on far: the stage was killed, and so was what watched over it",
        ),
        ("stage", None, ""),
    ];
    for (victim, status, said) in table {
        let mut child = start(&mut on(&host, &["--lease", "3"], &["sh", "-c", STUBBORN]));
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut [0; 6])
            .unwrap();
        let victims = match *victim {
            "near" => vec![child.id()],
            "far" => host.processes(is_far_half),
            "warden" => host.processes(|line| line.contains(" remote --warden ")),
            _ => host.processes(|line| line.starts_with("sh -c ") || line.starts_with("sleep ")),
        };
        assert!(!victims.is_empty(), "there is no {victim}");
        victims.iter().for_each(|&pid| kill(pid, 9));
        let output = child.wait_with_output().unwrap();
        match status {
            Some(_) => assert_eq!(
                output.status.code(),
                *status,
                "{victim}: {}",
                stderr(&output)
            ),
            None => assert_eq!(
                output.status.signal(),
                Some(9),
                "{victim}: {}",
                stderr(&output)
            ),
        }
        assert!(
            stderr(&output).starts_with(said),
            "{victim}: {}",
            stderr(&output)
        );
        host.await_nothing_left();
    }
}

#[test]
fn halves_that_stop_for_a_while_go_on_where_they_were() {
    let _watchdog = watchdog();
    let Some(host) = host() else { return };
    let input = bytes(4 << 20);
    // Within the lease, but longer than a link may be silent.
    let near: fn(&str) -> bool = |line| line.contains("pipewright on far ");
    for (half, is_it) in [("near", near), ("far", is_far_half)] {
        let mut child = start(&mut on(&host, &["--lease", "9"], &["cat"]));
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&input[..1 << 20]).unwrap();
        let mut first = vec![0; 1 << 20];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut first)
            .unwrap();
        let victims = host.processes(is_it);
        victims.iter().for_each(|&pid| kill(pid, 19));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_secs(5));
                victims.iter().for_each(|&pid| kill(pid, 18));
            });
            stdin.write_all(&input[1 << 20..]).unwrap();
        });
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{half}: {}", stderr(&output));
        assert!([&first[..], &output.stdout].concat() == input, "{half}");
        host.await_nothing_left();
    }
}

#[test]
fn a_host_without_pipewright_is_told_and_a_copy_is_put_there_when_asked() {
    let _watchdog = watchdog();
    let Some(host) = FarHost::start(&[]) else {
        return;
    };
    if host.run("command -v pipewright").status.success() {
        println!("skipped: pipewright is installed here, and so on every host of these tests");
        return;
    }
    let told = "pipewright: far has no pipewright: the stage runs by plain ssh and cannot resume";
    let argv = ["printf", "%s|", "", "a b", "'", "\\", "$HOME", "!", "a\nb"];
    let plain = on(&host, &[], &argv).output().unwrap();
    assert!(stderr(&plain).starts_with(told), "{}", stderr(&plain));
    assert_eq!(
        String::from_utf8_lossy(&plain.stdout),
        "|a b|'|\\|$HOME|!|a\nb|"
    );
    // 255 is the command's or ssh's, and which of them is told.
    for (script, status) in [
        ("exit 3", 3),
        ("exit 255", 255),
        ("echo x >&2; exit 255", 255),
    ] {
        let output = on(&host, &[], &["sh", "-c", script]).output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(status), "{script}: {said}");
        assert!(!said.contains("255"), "{said}");
    }
    let mut child = start(&mut on(
        &host,
        &[],
        &["sh", "-c", "echo ready; exec sleep 98765"],
    ));
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut [0; 6])
        .unwrap();
    host.sessions().into_iter().for_each(|pid| kill(pid, 9));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(121));
    assert!(
        stderr(&output).contains("pipewright: the link to far is lost: ssh failed"),
        "{}",
        stderr(&output)
    );
    host.processes(|line| line.starts_with("sleep "))
        .into_iter()
        .for_each(|pid| kill(pid, 9));

    let output = feed(&mut on(&host, &["--bootstrap"], &["cat"]), b"HOLA!");
    assert_eq!((&*output.stdout, &*stderr(&output)), (&b"HOLA!"[..], ""));
    // It is there from now on, and is found without being asked for.
    let output = feed(&mut on(&host, &["-v"], &["cat"]), b"HOLA!");
    assert_eq!(output.stdout, b"HOLA!");
    assert!(
        stderr(&output).starts_with("pipewright: the stage ran on far "),
        "{}",
        stderr(&output)
    );
    let copied = host.run("cd ~/.cache/pipewright && sha256sum < current/pipewright && ls -d */ && stat -c %a */pipewright");
    let copied = String::from_utf8_lossy(&copied.stdout).into_owned();
    let sum = Command::new("sha256sum")
        .stdin(File::open(env!("CARGO_BIN_EXE_pipewright")).unwrap())
        .output();
    let sum = String::from_utf8_lossy(&sum.unwrap().stdout).into_owned();
    // ls sorts them, and a hash begins with whatever it does.
    let mut names = [format!("{}/\n", &sum[..16]), "current/\n".to_owned()];
    names.sort();
    assert_eq!(copied, format!("{sum}{}700\n700\n", names.concat()));
    host.await_nothing_left();
}

#[test]
fn a_copy_that_does_not_arrive_is_told_and_nothing_is_left_of_it() {
    let _watchdog = watchdog();
    let Some(host) = FarHost::start(&[]) else {
        return;
    };
    // A file where the cache should be.
    fs::write(host.home().join(".cache"), "").unwrap();
    let output = on(&host, &["--bootstrap"], &["true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(
        stderr(&output).starts_with("pipewright: cannot copy pipewright to far: "),
        "{}",
        stderr(&output)
    );
    fs::remove_file(host.home().join(".cache")).unwrap();
    // One that arrives cut off.
    let limited = "exec 3>&1; ulimit -f 64\n";
    fs::write(host.home().join(".bashrc"), limited).unwrap();
    let output = on(&host, &["--bootstrap"], &["true"]).output().unwrap();
    if output.status.code() != Some(0) {
        assert_eq!(output.status.code(), Some(125));
        let left = host.run("ls ~/.cache/pipewright/*/ 2>/dev/null");
        assert!(!String::from_utf8_lossy(&left.stdout).contains("pipewright\n"));
    }
    host.await_nothing_left();
}

/// `pipewright run OPTIONS TEXT`, with the host in reach.
fn run(host: &FarHost, arguments: &[&str]) -> Output {
    let mut run = pipewright();
    run.arg("run").args(arguments).stdin(Stdio::null());
    host.known_to(&mut run);
    run.output().unwrap()
}

#[test]
fn a_stage_of_a_run_on_another_host_counts_as_any_stage() {
    let _watchdog = watchdog();
    let Some(host) = host() else { return };
    // (options, text, stdout, status)
    let table: &[(&[&str], &str, &str, i32)] = &[
        (&["--on", "2=far"], "seq 100 | grep 7 | wc -l", "19\n", 0),
        (
            &["--on", "1=far,3=far"],
            "seq 100 | grep 7 | wc -l",
            "19\n",
            0,
        ),
        (
            &["--on", "1=far"],
            "echo $PIPEWRIGHT_FAR_HOST_PLACE | tr a-z A-Z",
            "\n",
            0,
        ),
        (&["--on", "1=far"], "cd; pwd", "", 125),
        (&["--on", "1=far"], "{ cd; pwd; }", "HOME\n", 0),
        (
            &["--on", "2=far"],
            "seq 9 | sh -c 'cat; exit 7' | tail -n 1",
            "9\n",
            7,
        ),
        (&["--on", "2=far"], "seq 9 | sh -c 'kill -TERM $$'", "", 143),
        (&["--on", "1=far"], "yes | head -n 1", "y\n", 0),
        (&["--on", "2=far"], "yes | head -n 1 | cat", "y\n", 0),
        (&["--on", "2=far"], "seq 3 | no-such-program", "", 127),
        (
            &["--on", "2=far", "--workers", "2=2"],
            "seq 3 | grep 2",
            "",
            125,
        ),
        (&["--on", "3=far"], "seq 3 | grep 2", "", 125),
        (&["--on", "2=far,2=far"], "seq 3 | grep 2", "", 125),
        (&["--on", "0=far"], "seq 3 | grep 2", "", 125),
        (&["--on", "2=-oX"], "seq 3 | grep 2", "", 125),
    ];
    for (options, text, stdout, status) in table {
        let output = run(&host, &[*options, &[*text][..]].concat());
        let expected = stdout.replace("HOME", &host.home().display().to_string());
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            expected,
            "{text}: {}",
            stderr(&output)
        );
        assert_eq!(
            output.status.code(),
            Some(*status),
            "{text}: {}",
            stderr(&output)
        );
    }
    host.await_nothing_left();
}

#[test]
fn the_summary_and_the_json_tell_what_a_stage_used_on_its_host() {
    let _watchdog = watchdog();
    let Some(host) = host() else { return };
    let busy = "seq 2 | sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; cat'";
    let output = run(&host, &["--on", "2=far", "--json", busy]);
    let told: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    let stage = &told["stages"][1];
    assert_eq!(stage["on_host"]["host"], "far", "{told}");
    assert_eq!(stage["on_host"]["reconnected"], 0);
    assert_eq!(stage["user_seconds"], stage["on_host"]["user_seconds"]);
    assert!(stage["user_seconds"].as_f64().unwrap() > 0.01, "{told}");
    assert!(told["stages"][0]["on_host"].is_null());

    let output = run(
        &host,
        &["--on", "2=far", "--summary", "always", "seq 2 | cat"],
    );
    assert!(
        stderr(&output).contains("stage 2 ran on far for "),
        "{}",
        stderr(&output)
    );
    let text = format!("seq 2 | {} far cat | ssh far cat", host.ssh().display());
    let output = run(&host, &["--summary", "always", &text]);
    let hint = "stage 3 ran by ssh: `pipewright on far -- COMMAND` would go on after a broken link";
    assert!(stderr(&output).contains(hint), "{}", stderr(&output));
    let output = run(&host, &["--on", "2=far", "--dry-run", "seq 2 | cat"]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "1  direct    seq 2\n2  direct    cat  (on far)\n"
    );
}

#[test]
fn what_a_stage_does_on_its_host_is_seen_here_while_it_runs() {
    let _watchdog = watchdog();
    let Some(host) = host() else { return };
    // It computes for two seconds, whatever comes; and then waits for input that never comes.
    let busy = "e=$(($(date +%s%N) + 2000000000)); \
        while [ $(date +%s%N) -lt $e ]; do i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; done";
    let text = format!("sleep 6 | sh -c '{busy}; cat' | cat");
    let output = run(&host, &["--on", "2=far", "--json", &text]);
    let told: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    let shares = &told["stages"][1]["shares"];
    let share = |name: &str| shares[name].as_f64().unwrap();
    assert!(share("on_cpu") + share("waiting_for_cpu") > 0.1, "{shares}");
    assert!(share("waiting_for_input") > 0.1, "{shares}");
    host.await_nothing_left();
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// A fault of the link, of one process or of several.
#[derive(Clone, Copy, Debug)]
enum Fault {
    KillSsh,
    KillSessions,
    KillUshers,
    PullCable,
    StopNear,
    StopFar,
    StopWarden,
    KillFar,
    KillWarden,
    KillStage,
}

const FAULTS: [Fault; 10] = [
    Fault::KillSsh,
    Fault::KillSessions,
    Fault::KillUshers,
    Fault::PullCable,
    Fault::StopNear,
    Fault::StopFar,
    Fault::StopWarden,
    Fault::KillFar,
    Fault::KillWarden,
    Fault::KillStage,
];

/// How a stage ends that was to end with this status.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ends {
    Itself(i32),
    CannotGoOn,
    Killed,
}

impl Fault {
    /// How the stage ends of which this happens in the middle.
    fn ends(self, status: i32) -> Ends {
        match self {
            Self::KillFar | Self::KillWarden => Ends::CannotGoOn,
            Self::KillStage => Ends::Killed,
            _ => Ends::Itself(status),
        }
    }

    /// Makes it happen, for so long where it lasts.
    fn happen(self, host: &FarHost, near: u32, lasts: Duration) {
        let kill_all = |victims: Vec<u32>| victims.into_iter().for_each(|pid| kill(pid, 9));
        let stop = |victims: Vec<u32>| {
            victims.iter().for_each(|&pid| kill(pid, 19));
            std::thread::sleep(lasts);
            victims.iter().for_each(|&pid| kill(pid, 18));
        };
        let wardens = || host.processes(|line| line.contains(" remote --warden "));
        // The far half itself is the warden's parent; the others have brought connections.
        let (far, ushers): (Vec<u32>, Vec<u32>) = {
            let parents: Vec<u32> = wardens().into_iter().filter_map(parent).collect();
            let mut halves = host.processes(is_far_half);
            halves.retain(|_| !parents.is_empty());
            halves.into_iter().partition(|pid| parents.contains(pid))
        };
        match self {
            Self::KillSsh => kill_all(host.processes(|line| line.starts_with("ssh "))),
            Self::KillSessions => kill_all(host.sessions()),
            Self::KillUshers => kill_all(ushers),
            Self::PullCable if host.has_cable() => {
                host.set_cable(false);
                std::thread::sleep(lasts);
                host.set_cable(true);
            }
            Self::PullCable => {}
            Self::StopNear => stop(vec![near]),
            Self::StopFar => stop(host.processes(is_far_half)),
            Self::StopWarden => stop(wardens()),
            Self::KillFar => kill_all(far),
            Self::KillWarden => kill_all(wardens()),
            Self::KillStage => {
                kill_all(host.processes(|line| line.starts_with("sh -c cat; exit ")))
            }
        }
    }
}

#[test]
fn whatever_happens_to_the_link_and_when_the_bytes_and_the_status_are_the_same() {
    let _watchdog = watchdog();
    let Some(host) = host() else { return };
    let input = bytes(5 << 20);
    let mut random = bytes(1 << 16)
        .into_iter()
        .cycle()
        .skip(std::process::id() as usize % (1 << 15));
    let mut number = |below: u32| {
        let (high, low) = (random.next().unwrap(), random.next().unwrap());
        (u32::from(high) << 8 | u32::from(low)) % below
    };
    let began = std::time::Instant::now();
    let (mut rounds, mut faults) = (0, 0);
    // The watchdog grants a quarter of an hour: a campaign is made of as many runs of this test as it takes.
    while rounds < testing::campaign(6, 500) && began.elapsed() < Duration::from_secs(700) {
        let channels = ["1", "3"][number(2) as usize];
        let status = number(256) as i32;
        let script = format!("cat; exit {status}");
        let options = ["--lease", "9", "--channels", channels];
        let mut child = start(&mut on(&host, &options, &["sh", "-c", &script]));
        let near = child.id();
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut output = Vec::new();
        let mut happened = Vec::new();
        let mut ends = Ends::Itself(status);
        std::thread::scope(|scope| {
            let input = &input;
            let (all_happened, go_on) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || {
                // The rest is held back, so that all faults come in the middle.
                let _ = stdin.write_all(&input[..4 << 20]);
                let _ = go_on.recv();
                // Nobody takes it where the stage is gone.
                let _ = stdin.write_all(&input[4 << 20..]);
            });
            // At places that nobody has chosen.
            let mut left = 4 << 20;
            for _ in 0..1 + number(3) {
                let mut piece = vec![0; left.min(number(1 << 16) as usize * 16 + 1)];
                stdout.read_exact(&mut piece).unwrap();
                left -= piece.len();
                output.extend_from_slice(&piece);
                let fault = FAULTS[number(FAULTS.len() as u32) as usize];
                happened.push(fault);
                fault.happen(&host, near, Duration::from_millis(number(500).into()));
                faults += 1;
                ends = fault.ends(status);
                if ends != Ends::Itself(status) {
                    break;
                }
            }
            drop(all_happened);
            stdout.read_to_end(&mut output).unwrap();
        });
        let ended = child.wait_with_output().unwrap();
        let expected = match ends {
            Ends::Itself(status) => (Some(status), None),
            Ends::CannotGoOn => (Some(121), None),
            Ends::Killed => (None, Some(9)),
        };
        assert_eq!(
            (ended.status.code(), ended.status.signal()),
            expected,
            "{happened:?}: {}",
            stderr(&ended)
        );
        assert!(
            output == input || (ends != Ends::Itself(status) && input.starts_with(&output)),
            "{happened:?}: {} bytes of {}",
            output.len(),
            input.len()
        );
        rounds += 1;
        println!("round {rounds}: {channels} channels, {happened:?}, {ends:?}");
    }
    println!("{rounds} rounds, {faults} faults");
    host.await_nothing_left();
}
