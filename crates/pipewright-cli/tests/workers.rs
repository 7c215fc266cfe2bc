//! `pipewright workers`: a stage run several times gives what it gives once, whatever happens to it.

mod support;

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use support::{USUAL, in_bash, pipewright, run};
use testing::terminals::{Setup, Terminal};
use testing::{feed, lives, shell_status, stderr, wait_for_lines, watchdog, write_script};

/// `pipewright workers` with these arguments, fed these bytes.
fn workers(arguments: &[&str], bytes: &[u8]) -> Output {
    feed(pipewright().arg("workers").args(arguments), bytes)
}

/// Lines, each different, with the numbers 1 to `count`.
fn lines(count: usize) -> Vec<u8> {
    (1..=count)
        .flat_map(|number| format!("line {number} of many\n").into_bytes())
        .collect()
}

#[test]
fn a_stage_of_any_bash_pipeline_gives_the_same_by_workers() {
    let _watchdog = watchdog();
    for stage in [
        "grep -E '7.*3'",
        "sed s/line/LINE/",
        "awk '{print $2}'",
        "sort -k2,2nr",
        "wc",
        "tac",
        "uniq -c",
        "cut -d' ' -f2",
        "grep -c 7",
        "grep nothing",
        "tr a-z A-Z",
        "head -n 3",
        "tail -n 3",
    ] {
        let plain = in_bash(&format!(
            "seq -f 'line %g of many' 30000 | {stage}; echo ${{PIPESTATUS[@]}}"
        ));
        let split = in_bash(&format!(
            "seq -f 'line %g of many' 30000 | P workers -j 3 --block 40K -- {stage}; echo ${{PIPESTATUS[@]}}"
        ));
        // head ends seq early by itself, or not, as it happens.
        let text =
            |output: &Output| String::from_utf8_lossy(&output.stdout).replace("141 0", "0 0");
        assert!(text(&plain) == text(&split), "{stage}: {}", stderr(&split));
    }
}

#[test]
fn it_says_what_it_takes_a_command_for_and_why_and_runs_nothing() {
    let explain = |arguments: &[&str]| {
        let output = workers(&[&["--explain"], arguments].concat(), b"");
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(
        explain(&["-j4", "--", "grep", "x"]).contains("local")
            && explain(&["-j4", "--", "grep", "x"]).contains("4 runs")
    );
    assert!(explain(&["--", "sort", "-n"]).contains("sort -m -n"));
    assert!(explain(&["--", "grep", "-n", "x"]).contains("numbers lines"));
    let unknown = explain(&["--", "touch", "made"]);
    assert!(
        unknown.contains("not in the table") && unknown.contains("--assume-local"),
        "{unknown}"
    );
    assert!(!Path::new("made").exists());
    assert!(explain(&["--shell", "grep x"]).contains("local"));
    assert!(explain(&["--shell", "grep x | sort"]).contains("not looked into"));
}

#[test]
fn a_command_that_is_not_known_runs_once_as_it_is() {
    let output = workers(
        &["-j4", "--", "sh", "-c", "cat; echo end; exit 7"],
        b"one\n",
    );
    assert_eq!(output.stdout, b"one\nend\n");
    assert_eq!(output.status.code(), Some(7));
    assert!(stderr(&output).contains("not in the table"));
}

#[test]
fn a_missing_program_is_127_and_one_that_cannot_be_executed_126() {
    for classed in [&["--assume-local"][..], &[]] {
        let run = |program: &str| {
            workers(
                &[classed, &["-j2", "--block", "1K", "--", program]].concat(),
                &lines(1000),
            )
        };
        let missing = run("no-such-program");
        assert_eq!(missing.status.code(), Some(127), "{}", stderr(&missing));
        assert!(missing.stdout.is_empty());
        assert_eq!(run("/dev/null").status.code(), Some(126));
    }
}

/// GNU parallel prints what a killed job had written; PaSh loses it without a word.
#[test]
fn a_worker_that_is_killed_is_run_again_and_nobody_sees_it() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("stage");
    // The first run on each chunk is killed in the middle of its output.
    write_script(
        &script,
        "#!/bin/bash\nread -r first\necho \"$first\"\nif mkdir \"${0%/*}/${first//[^0-9]/}\" 2>/dev/null; then kill -9 $$; fi\ncat\n",
    );
    let input = lines(3000);
    // --header keeps the check away, whose runs would be the first.
    let output = workers(
        &[
            "-v",
            "-j3",
            "--block",
            "10K",
            "--assume-local",
            "--retries",
            "2",
            "--",
            script.to_str().unwrap(),
        ],
        &input,
    );
    assert!(output.stdout == input, "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn random_kills_change_nothing() {
    let _watchdog = watchdog();
    let kills: usize =
        std::env::var("PIPEWRIGHT_ROUNDS").map_or(20, |rounds| rounds.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("stage");
    let pids = directory.path().join("pids");
    write_script(
        &script,
        &format!(
            "#!/bin/bash\necho $$ >>'{}'\nexec sed s/line/LINE/\n",
            pids.display()
        ),
    );
    let input = lines(200_000);
    let expected = String::from_utf8(input.clone())
        .unwrap()
        .replace("line", "LINE");
    let mut killed = 0;
    while killed < kills {
        std::fs::write(&pids, "").unwrap();
        let mut child = pipewright()
            .args([
                "workers",
                "-j3",
                "--block",
                "64K",
                "--assume-local",
                "--retries",
                "1000",
                "--",
            ])
            .arg(&script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut got = Vec::new();
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let over = &over;
            scope.spawn(|| stdin.write_all(&input).map(|()| drop(stdin)).unwrap());
            let killer = scope.spawn(|| {
                let mut killed = 0;
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    // Each started stage once, while it may still run.
                    for pid in std::fs::read_to_string(&pids)
                        .unwrap()
                        .lines()
                        .skip(20 + killed * 3)
                        .step_by(3)
                    {
                        let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
                        killed += usize::from(
                            rustix::process::kill_process(pid, rustix::process::Signal::KILL)
                                .is_ok(),
                        );
                    }
                    std::thread::yield_now();
                }
                killed
            });
            stdout.read_to_end(&mut got).unwrap();
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            killed += killer.join().unwrap();
        });
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(got == expected.as_bytes(), "after {killed} kills");
    }
    println!("{killed} workers were killed");
}

#[test]
fn what_fails_fails_as_in_one_run() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let input = directory.path().join("input");
    let lines: String = (1..=5000).map(|n| format!("line {n} of\n")).collect();
    std::fs::write(&input, lines).unwrap();
    let input = input.display();
    for stage in [
        "awk '/line 2500 /{exit 3} 1'",
        "sh -c 'cat; exit 5'",
        "sh -c 'exit 9'",
        "sh -c 'read x; echo $x; kill -TERM $$'",
        "grep -P '(', 2>/dev/null",
        "perl -ne 'print; die if /line 1234 /' 2>/dev/null",
    ] {
        let plain = in_bash(&format!(
            "{{ {stage}; }} <'{input}' | md5sum; echo ${{PIPESTATUS[0]}}"
        ));
        let split = in_bash(&format!(
            "{{ P workers -j 2 --block 8K --assume-local -- {stage}; }} <'{input}' 2>/dev/null | md5sum; echo ${{PIPESTATUS[0]}}"
        ));
        let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(text(&plain), text(&split), "{stage}");
    }
}

#[test]
fn a_reader_that_has_enough_ends_all_of_it() {
    let _watchdog = watchdog();
    let output = in_bash("yes | P workers -j 2 -- sed s/y/n/ | head -n 1; echo ${PIPESTATUS[@]}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "n\n141 141 0\n");
}

/// As one run of the command: it is told when it writes, and one that finds nothing to write reads on.
#[test]
fn a_reader_that_is_gone_is_no_matter_to_a_command_that_writes_nothing() {
    let _watchdog = watchdog();
    for stage in [
        "grep nothing",
        "grep -c nothing",
        "sed -n /nothing/p",
        "sed s/1/2/",
    ] {
        // The reader is gone before there is any input.
        let run = |command: &str| {
            let text = format!(
                "{{ while [ ! -e gone ]; do sleep 0.01; done; seq 300000; }} | {command} | \
                 {{ exec <&-; touch gone; }}; echo ${{PIPESTATUS[@]}}"
            );
            let directory = tempfile::tempdir().unwrap();
            let output = in_bash(&format!("cd {}; {text}", directory.path().display()));
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(
            run(&format!("P workers -j 2 --block 40K -- {stage}")),
            run(stage),
            "{stage}"
        );
    }
}

/// What its user took for local is not: it ends before its input does.
#[test]
fn a_command_that_ends_before_its_input_ends_the_stage() {
    let _watchdog = watchdog();
    let input = lines(400_000);
    let plain = feed(Command::new("sed").arg("/line 250000 /q"), &input);
    let split = workers(
        &[
            "-j2",
            "--block",
            "3M",
            "--assume-local",
            "--",
            "sed",
            "/line 250000 /q",
        ],
        &input,
    );
    assert!(plain.stdout == split.stdout, "{}", stderr(&split));
}

#[test]
fn a_silent_input_is_flushed() {
    let _watchdog = watchdog();
    let mut child = pipewright()
        .args(["workers", "-j2", "--", "sed", "s/a/b/"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    for _ in 0..3 {
        stdin.write_all(b"a\n").unwrap();
        let mut line = [0; 2];
        // It comes although the input goes on.
        stdout.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"b\n");
    }
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn records_of_every_kind_stay_whole() {
    let _watchdog = watchdog();
    let fastq: Vec<u8> = (0..500)
        .flat_map(|n| format!("@read{n}\nACGT{n}\n+\n@@!!{n}\n").into_bytes())
        .collect();
    let stage = "while IFS= read -r a && read -r b && read -r c && read -r d; do echo \"$a $b $c $d\"; done";
    let plain = feed(Command::new("bash").args(["-c", stage]), &fastq);
    let split = workers(
        &[
            "-j3",
            "--block",
            "500",
            "--records",
            "lines:4",
            "--assume-local",
            "--shell",
            stage,
        ],
        &fastq,
    );
    assert!(plain.stdout == split.stdout, "{}", stderr(&split));
    let fasta: Vec<u8> = (0..500)
        .flat_map(|n| format!(">seq{n}\nACGT\nTT{n}\n").into_bytes())
        .collect();
    let stage = "awk 'BEGIN{RS=\">\"} NF{print $1, length($2 $3)}'";
    let plain = feed(Command::new("bash").args(["-c", stage]), &fasta);
    let split = workers(
        &[
            "-j3",
            "--block",
            "300",
            "--records",
            "before:>",
            "--assume-local",
            "--shell",
            stage,
        ],
        &fasta,
    );
    assert!(
        plain.stdout == split.stdout && !split.stdout.is_empty(),
        "{}",
        stderr(&split)
    );
    let nul: Vec<u8> = (0..900)
        .flat_map(|n| format!("a\n{n}\0").into_bytes())
        .collect();
    let plain = feed(Command::new("bash").args(["-c", "grep -z 1"]), &nul);
    let split = workers(
        &[
            "-j3",
            "--block",
            "300",
            "--records",
            "nul",
            "--assume-local",
            "--",
            "grep",
            "-z",
            "1",
        ],
        &nul,
    );
    assert!(
        plain.stdout == split.stdout && !split.stdout.is_empty(),
        "{}",
        stderr(&split)
    );
}

#[test]
fn a_header_goes_to_each_run_and_comes_out_once() {
    let _watchdog = watchdog();
    let table: Vec<u8> = [
        b"name,value\n".to_vec(),
        (0..3000)
            .flat_map(|n| format!("x{n},{n}\n").into_bytes())
            .collect(),
    ]
    .concat();
    let stage = "awk -F, 'NR == 1 {for (i = 1; i <= NF; i++) at[$i] = i; print \"value\"; next} {print $at[\"value\"]}'";
    let plain = feed(Command::new("bash").args(["-c", stage]), &table);
    let split = workers(
        &[
            "-j3",
            "--block",
            "2K",
            "--header",
            "1",
            "--assume-local",
            "--shell",
            stage,
        ],
        &table,
    );
    assert!(plain.stdout == split.stdout, "{}", stderr(&split));
}

/// What the command makes of the header is known: it is left out, and nothing else.
#[test]
fn a_header_that_the_command_leaves_out_costs_no_line() {
    let _watchdog = watchdog();
    let table = [b"name,value\n".to_vec(), lines(3000)].concat();
    for stage in [
        &["grep", "7"][..],
        &["sed", "s/^/a\\nb/"],
        &["wc", "-l"],
        &["sort", "-r"],
        &["tail", "-n", "3"],
    ] {
        let plain = feed(Command::new(stage[0]).args(&stage[1..]), &table);
        let options = ["-j3", "--block", "2K", "--header", "1", "--"];
        let split = workers(&[&options, stage].concat(), &table);
        assert!(
            plain.stdout == split.stdout,
            "{stage:?}: {}",
            stderr(&split)
        );
        assert_eq!(plain.status, split.status, "{stage:?}");
    }
    // What it writes at its end comes behind the header, too: nobody knows what to leave out.
    let stage = ["--assume-local", "--shell", "cat; echo end"];
    let split = workers(
        &[&["-j3", "--block", "2K", "--header", "1"], &stage[..]].concat(),
        &table,
    );
    assert_eq!(split.status.code(), Some(125));
    assert!(stderr(&split).contains("header"), "{}", stderr(&split));
}

/// The table is of commands that look at lines.
#[test]
fn records_that_are_no_lines_are_not_left_to_the_table() {
    let input = b"a\0b\nc\0d\n".repeat(500);
    let plain = feed(Command::new("sed").arg("s/^/x/"), &input);
    let options = ["-j2", "--block", "100", "--records", "nul", "--"];
    let split = workers(&[&options[..], &["sed", "s/^/x/"]].concat(), &input);
    assert!(plain.stdout == split.stdout, "{}", stderr(&split));
    assert!(
        stderr(&split).contains("end with NUL"),
        "{}",
        stderr(&split)
    );
}

/// `auto` is one worker for each core that this process may use.
#[test]
fn auto_counts_the_cores_that_it_may_use() {
    let allowed = std::fs::read_to_string("/proc/self/status").unwrap();
    let allowed = allowed
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let first: String = allowed
        .unwrap()
        .trim()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    let explain = |before: &str| {
        let text = format!(
            "{before} '{}' workers --explain -- sed s/a/b/",
            env!("CARGO_BIN_EXE_pipewright")
        );
        let output = in_bash(&text);
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let one = explain(&format!("taskset -c {first}"));
    assert!(one.contains("with one worker it runs once"), "{one}");
    // A quota of the group counts as well, where one may be set.
    for (above, quota, value) in [
        ("/sys/fs/cgroup", "cpu.max", "100000 100000"),
        ("/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", "100000"),
    ] {
        // In what is no group there are no such files.
        if !Path::new(above).join("cgroup.procs").exists() {
            continue;
        }
        let group = format!("{above}/pipewright-test-{}", std::process::id());
        let place = Path::new(&group).join(quota);
        let made = std::fs::create_dir(&group).is_ok();
        if made && place.exists() && std::fs::write(&place, value).is_ok() {
            let one = explain(&format!("echo $$ >{group}/cgroup.procs;"));
            assert!(one.contains("with one worker it runs once"), "{one}");
        } else {
            println!("no quota can be set by {quota} here");
        }
        let _ = std::fs::remove_dir(&group);
    }
}

#[test]
fn outputs_are_merged_by_a_command_of_one_s_own() {
    let _watchdog = watchdog();
    let stage = "sort -k2,2 | uniq";
    let input: Vec<u8> = (0..5000)
        .flat_map(|n| format!("{} x{}\n", n % 7, n * 7919 % 101).into_bytes())
        .collect();
    let plain = feed(Command::new("bash").args(["-c", stage]), &input);
    let split = workers(
        &[
            "-j3",
            "--block",
            "5K",
            "--merge",
            "sort -m -u -k2,2 -k1",
            "--shell",
            stage,
        ],
        &input,
    );
    assert!(plain.stdout == split.stdout, "{}", stderr(&split));
}

#[test]
fn unordered_outputs_are_whole_and_complete() {
    let _watchdog = watchdog();
    let input = lines(20_000);
    let output = workers(
        &["-j3", "--block", "20K", "--unordered", "--", "cat"],
        &input,
    );
    let sorted = |bytes: &[u8]| {
        let mut lines: Vec<Vec<u8>> = bytes
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect();
        lines.sort();
        lines
    };
    assert!(sorted(&output.stdout) == sorted(&input));
}

#[test]
fn output_that_is_much_larger_than_its_input_comes_whole() {
    let _watchdog = watchdog();
    let stage = "awk '{for (i = 0; i < 200; i++) print}'";
    let input = lines(5000);
    let plain = feed(Command::new("bash").args(["-c", stage]), &input);
    let split = workers(
        &["-j2", "--block", "4K", "--assume-local", "--shell", stage],
        &input,
    );
    assert!(plain.stdout == split.stdout, "{}", stderr(&split));
}

#[test]
fn a_record_larger_than_a_chunk_stays_whole() {
    let _watchdog = watchdog();
    let input = [
        b"short\n".to_vec(),
        vec![b'x'; 3_000_000],
        b"\nshort\nno end".to_vec(),
    ]
    .concat();
    let output = workers(
        &[
            "-j2",
            "--block",
            "1K",
            "--assume-local",
            "--shell",
            "awk '{print length($0)}'",
        ],
        &input,
    );
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "5\n3000000\n5\n6\n",
        "{}",
        stderr(&output)
    );
}

#[test]
fn an_empty_input_runs_the_command_once() {
    let output = workers(
        &[
            "-j2",
            "--assume-local",
            "--",
            "sh",
            "-c",
            "cat; echo once; exit 3",
        ],
        b"",
    );
    assert_eq!(
        (output.stdout.as_slice(), output.status.code()),
        (&b"once\n"[..], Some(3))
    );
}

#[test]
fn more_workers_than_chunks_is_no_matter() {
    let input = lines(100);
    let output = workers(&["-j64", "--block", "1K", "--", "cat"], &input);
    assert!(output.stdout == input && output.status.success());
}

/// A worker that leaves a daemon, which holds its output open.
#[test]
fn a_daemon_that_a_worker_leaves_holds_nothing_up() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let stage = format!(
        "sleep 1000 2>/dev/null & echo $! >>'{}'; cat",
        pids.display()
    );
    let input = lines(1000);
    let output = workers(
        &["-j2", "--block", "8K", "--assume-local", "--shell", &stage],
        &input,
    );
    assert!(output.stdout == input);
    for pid in std::fs::read_to_string(pids).unwrap().lines() {
        let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
}

fn start(arguments: &[&str], directory: &Path) -> Child {
    pipewright()
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn nothing_runs_on_when_it_is_killed() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let stage = "echo $$ >>pids; cat >/dev/null";
    let mut child = start(
        &[
            "workers",
            "-j2",
            "--block",
            "1K",
            "--assume-local",
            "--header",
            "1",
            "--shell",
            stage,
        ],
        directory.path(),
    );
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&lines(200)).unwrap();
    let pids = wait_for_lines(&directory.path().join("pids"), 2);
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    drop(stdin);
    for pid in pids.lines() {
        // The end of its input ends each.
        while lives(pid.parse().unwrap()) {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_stopped_and_continued_stage_goes_on() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let mut child = start(
        &[
            "workers",
            "-j2",
            "--block",
            "4K",
            "--",
            "sed",
            "s/line/LINE/",
        ],
        directory.path(),
    );
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let pid = rustix::process::Pid::from_child(&child);
    let input = lines(5000);
    let mut got = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| stdin.write_all(&input).map(|()| drop(stdin)).unwrap());
        for _ in 0..5 {
            rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
        }
        stdout.read_to_end(&mut got).unwrap();
    });
    assert_eq!(
        String::from_utf8(got).unwrap(),
        String::from_utf8(input).unwrap().replace("line", "LINE")
    );
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_full_disk_is_an_error_and_nothing_is_lost_or_doubled() {
    let _watchdog = watchdog();
    // Files may not grow: chunks neither, for the kernel counts those in memory as files, too.
    let text = "ulimit -f 16; seq 200000 | P workers -j 2 --block 64K -- sed s/1/2/ 2>err; echo \" $?\"; cat err >&2";
    let directory = tempfile::tempdir().unwrap();
    let text = format!("cd '{}'; {text}", directory.path().display());
    let output = in_bash(&text);
    let shown = String::from_utf8_lossy(&output.stdout);
    let (bytes, status) = shown.rsplit_once(' ').unwrap();
    let expected: String = (1..=200_000)
        .map(|n: u32| n.to_string().replacen('1', "2", 1) + "\n")
        .collect();
    if status.trim() == "0" {
        assert!(bytes == expected);
    } else {
        assert!(expected.starts_with(bytes), "what was given is a beginning");
        assert!(stderr(&output).contains("TMPDIR"), "{}", stderr(&output));
    }
    let _ = shell_status(&output);
}

#[test]
fn run_has_workers_run_the_stages_that_are_named() {
    let _watchdog = watchdog();
    let text = "seq 300000 | sed s/1/2/ | sort -r | tail -n 3";
    let plain = run(&["--summary", "never", text]);
    let wide = run(&["--summary", "always", "--workers", "2=2,3=2", text]);
    assert_eq!(plain.stdout, wide.stdout);
    let told = stderr(&wide);
    assert!(
        told.contains("stage 2 ran by 2 workers") && told.contains("stage 3 ran by 2 workers"),
        "{told}"
    );
    let json = run(&[
        "--json",
        "--workers",
        "2=2",
        "seq 300000 | sed s/1/2/ | tail -n 1",
    ]);
    let json: serde_json::Value = serde_json::from_str(&stderr(&json)).unwrap();
    assert_eq!(json["stages"][1]["workers"]["workers"], 2, "{json}");
    assert!(json["stages"][0]["workers"].is_null());
}

#[test]
fn run_refuses_workers_before_anything_is_started_where_they_may_not_be() {
    let directory = tempfile::tempdir().unwrap();
    for (workers, text, reason) in [
        ("2=2", "touch made | sed 1d", "counts lines"),
        ("2=2", "touch made | tr x \"$HOME\"", "shell text"),
        ("1=2", "touch made | cat", "not in the table"),
        ("3=2", "touch made | cat", "2 stages"),
        ("2=2", "touch made; cat", "as a whole"),
        ("0=2", "touch made | cat", "2=4"),
        ("two", "touch made | cat", "2=4"),
    ] {
        let output = pipewright()
            .current_dir(&directory)
            .args(["run", "--workers", workers, text])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(125), "{workers} {text}");
        assert!(
            stderr(&output).contains(reason),
            "{workers} {text}: {}",
            stderr(&output)
        );
    }
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
}

#[test]
fn run_finds_the_stages_that_gain_by_itself_and_leaves_the_others() {
    let output = run(&[
        "--dry-run",
        "--workers",
        "auto",
        "cat big | grep x | sed s/1/2/ | sed 1d | awk '{print $2}' | sort | wc",
    ]);
    let plan = String::from_utf8(output.stdout).unwrap();
    let wide: Vec<bool> = plan.lines().map(|line| line.contains("worker")).collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from) > 1;
    assert_eq!(
        wide,
        [false, false, cores, false, cores, false, false],
        "{plan}"
    );
}

#[test]
fn the_page_says_what_the_workers_of_a_stage_did() {
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("page.html");
    let output = run(&[
        "--report",
        page.to_str().unwrap(),
        "--workers",
        "2=2",
        "seq 300000 | sed s/1/2/ | tail -n 1",
    ]);
    let page = std::fs::read_to_string(&page).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    assert!(page.contains("Stage 2 ran by 2 workers"), "{page}");
}

/// A stage whose stdin and stdout are a terminal, and what its screen shows in the end.
fn at_a_terminal(pipeline: &str, typed: &str, shown: &str) -> String {
    let setup = Setup {
        output: ">&0 2>&0",
        ..USUAL
    };
    let terminal = Terminal::start(&setup, pipeline);
    if !typed.is_empty() {
        terminal.wait_until_it_waits();
        terminal.type_in(typed);
    }
    terminal.wait_for(shown, |screen| screen.contains(shown));
    if !typed.is_empty() {
        terminal.type_in("\x04");
    }
    let status = terminal.end();
    assert!(status.success(), "{status}: {}", terminal.screen());
    terminal.raw()
}

#[test]
fn a_person_who_types_gets_an_answer_to_each_line() {
    let _watchdog = watchdog();
    let pipewright = env!("CARGO_BIN_EXE_pipewright");
    let raw = at_a_terminal(
        &format!("{pipewright} workers -v -j2 -- sed -u s/one/two/"),
        "one line\n",
        "two line",
    );
    assert!(raw.contains("stdin is a terminal"), "{raw}");
}

#[test]
fn a_terminal_is_shown_the_colours_that_one_run_would_show() {
    let _watchdog = watchdog();
    let pipewright = env!("CARGO_BIN_EXE_pipewright");
    let workers = format!("{pipewright} workers -j2 --block 1K --");
    for (stage, coloured) in [
        ("grep --color=auto 777", "\u{1b}[01;31m\u{1b}[K777"),
        ("jq -c 'select(.==7777)'", "\u{1b}["),
    ] {
        let program = stage.split(' ').next().unwrap();
        if Command::new(program).arg("--version").output().is_err() {
            println!("{program} is not here: left out");
            continue;
        }
        let raw = at_a_terminal(&format!("seq 9999 | {workers} {stage}"), "", "7777");
        assert!(raw.contains(coloured), "{stage}: {raw:?}");
    }
}
