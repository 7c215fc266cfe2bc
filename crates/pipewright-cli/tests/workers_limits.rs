//! `pipewright workers` where something runs short, or is not as usual: memory, disks, descriptors,
//! processes, and what its stdin and stdout are.

mod support;

use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::fs::{OFlags, fcntl_setfl};
use support::{in_bash, pipewright};
use testing::{copy_program, is_root, stderr, watchdog};

/// The same text with workers and without: equal in output and status.
fn same_in_bash(text: &str) {
    let by_workers = in_bash(text);
    let plain = in_bash(&text.replace("P workers -j2 --block 4K --", "command"));
    assert_eq!(
        (
            String::from_utf8_lossy(&by_workers.stdout),
            by_workers.status
        ),
        (String::from_utf8_lossy(&plain.stdout), plain.status),
        "{text}: {}",
        stderr(&by_workers)
    );
}

#[test]
fn the_command_has_the_descriptors_of_its_caller() {
    let _watchdog = watchdog();
    same_in_bash(
        "exec 7< <(:) 8<<<'s/1/x/'; seq 5000 | P workers -j2 --block 4K -- sed -E 's/2/y/;s/3/z/' | sed -f /dev/fd/8 | tail -n 2",
    );
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script");
    std::fs::write(&script, "s/1/x/\n").unwrap();
    let output = in_bash(&format!(
        "exec 7<'{}'; seq 5000 | P workers -j2 --block 4K --assume-local -- sed -f /dev/fd/7",
        script.display()
    ));
    let expected: String = (1..=5000)
        .map(|number: u32| number.to_string().replacen('1', "x", 1) + "\n")
        .collect();
    assert!(output.stdout == expected.as_bytes(), "{}", stderr(&output));
}

#[test]
fn a_closed_stdin_or_stdout_is_closed_to_the_command() {
    let _watchdog = watchdog();
    same_in_bash("P workers -j2 --block 4K -- cat <&-; echo $?");
    same_in_bash("seq 9000 | P workers -j2 --block 4K -- grep 7 >&-; echo ${PIPESTATUS[@]}");
}

fn start(arguments: &[&str], stdin: impl Into<Stdio>) -> Child {
    let mut command = pipewright();
    command.arg("workers").args(arguments).stdin(stdin);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Both by workers and as one process.
#[test]
fn an_input_that_does_not_block_is_waited_for() {
    let _watchdog = watchdog();
    for arguments in [
        &["-j2", "--block", "4K", "--", "sed", "s/x/y/"][..],
        &["-j2", "--assume-local", "--", "sed", "1d"],
    ] {
        let (reader, mut writer) = std::io::pipe().unwrap();
        fcntl_setfl(&reader, OFlags::NONBLOCK).unwrap();
        let mut child = start(arguments, reader);
        let mut stdout = child.stdout.take().unwrap();
        let lines: String = (0..40_000).map(|n| format!("{n} x\n")).collect();
        let mut got = String::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // More than the pipe holds each time, so that it is full and empty again.
                for part in lines.as_bytes().chunks(100_000) {
                    writer.write_all(part).unwrap();
                }
                drop(writer);
            });
            stdout.read_to_string(&mut got).unwrap();
        });
        let expected = match arguments.last() {
            Some(&"1d") => lines.split_once('\n').unwrap().1.to_owned(),
            _ => lines.replace('x', "y"),
        };
        assert!(got == expected, "{arguments:?}");
        assert!(child.wait().unwrap().success());
    }
}

/// As `head` does: its neighbours need not wait for a silent input.
#[test]
fn a_command_that_has_enough_ends_while_the_input_is_silent() {
    let _watchdog = watchdog();
    for arguments in [
        &["-j2", "--", "head", "-n", "1"][..],
        &["-j2", "--assume-local", "--", "sed", "1q"],
    ] {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut child = start(arguments, reader);
        writer.write_all(b"one\ntwo\nthree\n").unwrap();
        let mut got = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut got)
            .unwrap();
        assert_eq!(got, "one\n", "{arguments:?}");
        child.wait().unwrap();
        drop(writer);
    }
}

/// Less than a chunk is left unread, and a pipe holds it: nobody was told.
#[test]
fn a_command_that_leaves_a_little_unread_ends_the_stage_as_well() {
    let _watchdog = watchdog();
    let output =
        in_bash("seq 100000 | P workers -j2 --block 4K --assume-local -- sed 600q | wc -l");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "600");
}

#[test]
fn many_parts_are_merged_with_few_descriptors() {
    let _watchdog = watchdog();
    for stage in [
        "sort -r",
        "tac",
        "wc",
        "wc -L",
        "uniq -c",
        "sort -u -t - -k 1",
    ] {
        same_in_bash(&format!(
            "ulimit -n 100; seq 150000 | P workers -j2 --block 4K -- {stage} | sha256sum"
        ));
    }
    let output = in_bash(
        "ulimit -n 100; seq 150000 | P workers -j2 --block 4K --merge 'sort -m' -- sort; echo $?",
    );
    assert_eq!(output.stdout, b"125\n");
    assert!(stderr(&output).contains("ulimit -n"), "{}", stderr(&output));
}

#[test]
fn fewer_processes_than_workers_are_enough() {
    let _watchdog = watchdog();
    if !is_root() {
        println!("skipped: only root can become a user that has no processes yet");
        return;
    }
    let directory = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap();
    let program = directory.path().join("pipewright");
    copy_program(Path::new(env!("CARGO_BIN_EXE_pipewright")), &program);
    let text = format!(
        "ulimit -u 12; seq 60000 | {} workers -j 60 --block 4K -- sed s/1/x/ | sha256sum",
        program.display()
    );
    let output = Command::new("setpriv")
        .args(["--reuid=61234", "--regid=61234", "--clear-groups"])
        .args(["bash", "-c", &text])
        .current_dir("/")
        .output()
        .unwrap();
    let plain = in_bash("seq 60000 | sed s/1/x/ | sha256sum");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&plain.stdout),
        "{}",
        stderr(&output)
    );
}

/// Workers that nobody asked for by number must not make it slower: `cat` waits for its input.
#[test]
fn a_command_that_would_gain_nothing_runs_once() {
    let _watchdog = watchdog();
    let output = in_bash("yes 'some line' | head -c 3M | P workers -v -- cat | cksum");
    assert_eq!(
        output.stdout,
        in_bash("yes 'some line' | head -c 3M | cksum").stdout
    );
    let told = stderr(&output);
    assert!(told.contains("as one process"), "{told}");
}

/// While it runs as one process nothing of its output or input is held back.
#[test]
fn a_stage_that_is_alone_answers_each_line_at_once() {
    let _watchdog = watchdog();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut child = start(&["--", "sed", "-u", "s/x/y/"], reader);
    let mut answers = std::io::BufReader::new(child.stdout.take().unwrap());
    for number in 0..20 {
        writeln!(writer, "{number} x").unwrap();
        let mut answer = String::new();
        std::io::BufRead::read_line(&mut answers, &mut answer).unwrap();
        assert_eq!(answer, format!("{number} y\n"));
    }
    drop(writer);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_missing_directory_for_chunks_is_named() {
    let _watchdog = watchdog();
    let output =
        in_bash("seq 90000 | TMPDIR=/not/there P workers -j2 --memory 0 -- sed s/1/x/; echo $?");
    assert_eq!(output.stdout, b"125\n");
    assert!(
        stderr(&output).contains("/not/there"),
        "{}",
        stderr(&output)
    );
}

/// A real file system that is too small, and programs that notice and that do not.
#[test]
fn a_full_disk_loses_and_doubles_nothing_though_the_command_does_not_notice() {
    let _watchdog = watchdog();
    if !is_root() {
        println!("skipped: only root may mount a small file system");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let lines: String = (1..=60_000).map(|n| format!("{n}\n")).collect();
    let four: String = lines.lines().map(|n| format!("{n}{n}{n}{n}\n")).collect();
    let mut full = 0;
    for (size, stage, expected) in [
        ("128k", "-- sed s/x/y/", &lines),
        ("400k", "-- sed s/x/y/", &lines),
        (
            "300k",
            "--assume-local --shell 'while read -r n; do echo $n$n$n$n; done 2>/dev/null; true'",
            &four,
        ),
        (
            "64m",
            "--assume-local --shell 'while read -r n; do echo $n$n$n$n; done 2>/dev/null; true'",
            &four,
        ),
    ] {
        let text = format!(
            "mount -t tmpfs -o size={size} none '{0}' || exit 99; export TMPDIR='{0}'
             seq 60000 | '{1}' workers -j2 --block 64K --memory 0 {stage}; echo \" ${{PIPESTATUS[1]}}\"; ls -A '{0}' >&2",
            directory.path().display(),
            env!("CARGO_BIN_EXE_pipewright"),
        );
        let output = Command::new("unshare")
            .args(["-m", "bash", "-c", &text])
            .output()
            .unwrap();
        if output.status.code() == Some(99) || output.stdout.is_empty() {
            println!(
                "skipped: no file system may be mounted here: {}",
                stderr(&output)
            );
            return;
        }
        let shown = String::from_utf8(output.stdout.clone()).unwrap();
        let (bytes, status) = shown.rsplit_once(' ').unwrap();
        if status == "0\n" {
            assert!(bytes == expected, "{size} {stage}: {} bytes", bytes.len());
        } else {
            full += 1;
            assert_eq!(status, "125\n", "{}", stderr(&output));
            assert!(expected.starts_with(bytes), "{size} {stage}: a beginning");
            assert!(stderr(&output).contains("TMPDIR"), "{}", stderr(&output));
        }
    }
    assert!(
        (2..4).contains(&full),
        "small ones are full, and the large one is not: {full}"
    );
}

/// The bytes of all chunks that a process keeps in memory. They count as shared memory, not as the
/// process's own.
fn chunks_of(pid: u32) -> u64 {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd"));
    let files = files.into_iter().flatten().flatten();
    files
        .filter(|file| {
            std::fs::read_link(file.path())
                .is_ok_and(|target| target.to_string_lossy().contains("pipewright chunk"))
        })
        .filter_map(|file| std::fs::metadata(file.path()).ok())
        .map(|chunk| (chunk.ino(), chunk.blocks() * 512))
        .collect::<std::collections::BTreeMap<_, _>>()
        .values()
        .sum()
}

/// PIPEWRIGHT_STREAM is the length in MiB: 10240 for 10 GiB.
#[test]
fn memory_is_bounded_by_the_workers_and_not_by_the_stream() {
    const WORKERS: u64 = 2;
    const CHUNK: u64 = 1 << 20;
    let _watchdog = watchdog();
    let mib: u64 = std::env::var("PIPEWRIGHT_STREAM").map_or(192, |mib| mib.parse().unwrap());
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut child = start(&["-j2", "--block", "1M", "--", "tr", "a", "b"], reader);
    let mut stdout = child.stdout.take().unwrap();
    let pid = child.id();
    let line = [&b"a".repeat(1023)[..], b"\n"].concat().repeat(64);
    let over = AtomicBool::new(false);
    let mut length = 0;
    let (most, own) = std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..mib * 16 {
                writer.write_all(&line).unwrap();
            }
            drop(writer);
        });
        let watcher = scope.spawn(|| {
            let (mut most, mut own) = (0, 0);
            while !over.load(Relaxed) {
                most = most.max(chunks_of(pid));
                let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
                let status = status.unwrap_or_default();
                let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
                let peak = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse().ok());
                own = own.max(peak.unwrap_or(0_u64) * 1024);
            }
            (most, own)
        });
        let mut bytes = vec![0; 1 << 20];
        loop {
            match stdout.read(&mut bytes).unwrap() {
                0 => break,
                read => length += read as u64,
            }
        }
        over.store(true, Relaxed);
        watcher.join().unwrap()
    });
    assert!(child.wait().unwrap().success());
    assert_eq!(length, mib << 20);
    println!("{mib} MiB: {most} bytes of chunks, {own} bytes of its own at most");
    let output_in_flight = (WORKERS + 2) * CHUNK;
    assert!(
        most > 0 && most <= 2 * (WORKERS + 2) * CHUNK + output_in_flight,
        "{most}"
    );
    assert!(own < 64 << 20, "{own}");
}
