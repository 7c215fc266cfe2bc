//! `pipewright spool` and `pipewright replay`: what was read is kept, whoever dies, and what was cut off
//! never looks complete.

mod support;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::pipewright;
use support::spools::{Fed, in_bash, replay, segments, spool, stream};
use testing::{feed, is_root, stderr, watchdog};

#[test]
fn a_stream_goes_through_whole_however_it_is_kept() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let bytes = stream(20 << 20);
    let arguments: [&[&str]; 7] = [
        &[],
        &["--limit", "8M"],
        &["--sync", "disk"],
        &["a"],
        &["b", "--sync", "disk"],
        &["c", "--limit", "8M"],
        &["d", "--limit", "8M", "--sync", "disk", "--verbose"],
    ];
    for arguments in arguments {
        let mut command = spool(arguments);
        let output = feed(command.current_dir(&place), &bytes);
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(output.stdout == bytes, "{arguments:?}");
    }
    for name in ["a", "b"] {
        let directory = place.path().join(name);
        let files = segments(&directory);
        let kept: Vec<u8> = files
            .iter()
            .flat_map(|file| std::fs::read(file).unwrap())
            .collect();
        assert!(kept == bytes, "cat of the segments is the stream");
        let again = replay(&directory);
        assert!(again.status.success() && again.stdout == bytes);
    }
    let held: u64 = segments(&place.path().join("c"))
        .iter()
        .map(|file| file.metadata().unwrap().len())
        .sum();
    assert!(held <= 8 << 20, "{held} bytes of what was read are left");
    let beheaded = replay(&place.path().join("c"));
    assert_eq!(beheaded.status.code(), Some(1));
    assert!(stderr(&beheaded).contains("removed for --limit"));
}

#[test]
fn an_empty_stream_is_complete_too() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("empty");
    assert!(feed(&mut spool([&directory]), b"").status.success());
    let again = replay(&directory);
    assert!(again.status.success() && again.stdout.is_empty());
}

#[test]
fn a_producer_that_is_no_pipe_and_a_reader_that_appends_are_served() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("in"), stream(3 << 20)).unwrap();
    let output = in_bash(
        place.path(),
        "P spool \"$D/kept\" <$D/in >>$D/out && cmp $D/in $D/out",
    );
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn the_producer_is_done_before_its_reader_has_read_a_byte_and_memory_is_bounded() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let output = in_bash(
        place.path(),
        "{ head -c 64M /dev/zero; : >$D/done; } | P spool |
         { until [ -e $D/done ]; do sleep 0.01; done; wc -c; }",
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "67108864");

    let mut fed = Fed::start(spool::<&str>([]), vec![1; 64 << 20]);
    while !fed.producer.is_finished() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", fed.child.id())).unwrap();
    let kib = |name: &str| -> u64 {
        let value = status.lines().find_map(|line| line.strip_prefix(name));
        let value = value.unwrap().trim().trim_end_matches(" kB");
        value.parse().unwrap()
    };
    // The pages of an unoptimised program with its debug information come on top of what it holds:
    // 16 MiB in all is for the release build, in the benchmark.
    assert!(kib("RssAnon:") <= 16 << 10, "{status}");
    assert!(kib("VmHWM:") <= 32 << 10, "{status}");
    let mut given = Vec::new();
    fed.child
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut given)
        .unwrap();
    assert!(given == vec![1; 64 << 20] && fed.child.wait().unwrap().success());
}

#[test]
fn a_full_spool_holds_up_its_producer_and_drops_nothing() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let output = in_bash(
        place.path(),
        "{ head -c 8M /dev/zero; : >$D/done; } | P spool --limit 1M $D/kept |
         { until [ $(cat $D/kept/*.data 2>/dev/null | wc -c) -ge 1000000 ]; do sleep 0.01; done
           [ -e $D/done ] && echo early; wc -c; }",
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "8388608");
}

#[test]
fn a_reader_that_goes_ends_everything_even_while_nothing_comes() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let output = in_bash(
        place.path(),
        "yes | P spool | head -n 1; echo ${PIPESTATUS[@]}",
    );
    assert_eq!(output.stdout, b"y\n141 141 0\n");

    let mut child = spool([place.path().join("kept")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = child.stdin.take();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGPIPE));
    drop(stdin);
}

#[test]
fn a_smaller_limit_than_what_is_there_lets_everybody_go_on() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("kept");
    let mut command = spool([&directory]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&stream(6 << 20)).unwrap();
    // All of it is there, in one segment, and no end.
    while segments(&directory)
        .first()
        .is_none_or(|first| first.metadata().unwrap().len() < 6 << 20)
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    drop(stdin);
    let more = stream(3 << 20);
    let mut command = spool(["--append", "--limit", "1M"]);
    let output = feed(command.arg(&directory), &more);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(output.stdout.ends_with(&more));
}

#[test]
fn each_byte_comes_through_although_no_more_follows() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    for how in [
        "",
        "--sync disk",
        "$D/a",
        "--sync disk $D/b",
        "--limit 256K $D/c",
    ] {
        // A says no more before B has answered.
        let output = in_bash(
            place.path(),
            &format!(
                "mkfifo $D/answers; {{ for n in 1 2 3; do echo $n; read answer; [ $n = $answer ]; done; }} <$D/answers |
                 P spool {how} | tee $D/answers; rm $D/answers"
            ),
        );
        assert_eq!(output.stdout, b"1\n2\n3\n", "{how}: {}", stderr(&output));
    }
}

#[test]
fn a_reader_as_slow_as_it_likes_gets_every_byte() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let bytes = stream(3 << 20);
    std::fs::write(place.path().join("in"), &bytes).unwrap();
    for (number, how) in ["", "--limit 256K", "--sync disk --limit 1M"]
        .iter()
        .enumerate()
    {
        let output = in_bash(
            place.path(),
            &format!(
                "cat $D/in | P spool {how} $D/{number} |
                 while dd bs=64K count=1 iflag=fullblock status=none >$D/piece; [ -s $D/piece ]; do cat $D/piece; sleep 0.01; done"
            ),
        );
        assert!(output.stdout == bytes, "{how}: {}", stderr(&output));
    }
}

/// With `cp`, whole or cut off; on this machine, or on another, which the boot in `lock` tells.
#[test]
fn a_copied_directory_is_a_spool_of_its_own() {
    let _watchdog = watchdog();
    let bytes = stream(12 << 20);
    for (sync, cut, elsewhere) in [
        ("none", false, false),
        ("none", true, false),
        ("none", true, true),
        ("disk", false, true),
        ("disk", true, true),
    ] {
        let what = format!("--sync {sync}, cut {cut}, elsewhere {elsewhere}");
        let place = tempfile::tempdir().unwrap();
        let (original, copy) = (place.path().join("kept"), place.path().join("copy"));
        let mut command = spool(["--sync", sync]);
        command.arg(&original);
        if cut {
            let mut fed = Fed::start_without_end(command, bytes.clone());
            let mut some = vec![0; 1 << 20];
            let stdout = fed.child.stdout.as_mut().unwrap();
            stdout.read_exact(&mut some).unwrap();
            fed.kill();
        } else {
            assert!(feed(&mut command, &bytes).status.success());
        }
        let copied = Command::new("cp")
            .arg("-r")
            .args([&original, &copy])
            .status();
        assert!(copied.unwrap().success());
        if elsewhere {
            std::fs::write(copy.join("lock"), "the boot of another machine").unwrap();
        }
        let (first, second) = (replay(&original), replay(&copy));
        assert_eq!(first.status.code(), second.status.code(), "{what}");
        assert_eq!(first.status.success(), !cut, "{what}");
        assert!(bytes.starts_with(&first.stdout), "{what}");
        // Elsewhere only what an entry covers is known to be right.
        assert!(first.stdout.starts_with(&second.stdout), "{what}");
        assert!(second.stdout.len() >= 1 << 20, "{what}");
        if cut {
            let rest = &bytes[second.stdout.len()..];
            let appended = feed(spool(["--append"]).arg(&copy), rest);
            assert!(appended.status.success(), "{what}: {}", stderr(&appended));
            assert!(replay(&copy).stdout == bytes, "{what}");
            // The copy is not the original.
            assert!(replay(&original).stdout == first.stdout, "{what}");
        } else {
            assert!(second.stdout == bytes, "{what}");
        }
    }
}

/// A copy made while the spool writes holds files of different moments.
#[test]
fn a_copy_made_meanwhile_is_a_beginning_or_an_error_and_never_anything_else() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let bytes = stream(24 << 20);
    for (number, sync) in ["none", "disk", "none", "disk"].iter().enumerate() {
        let original = place.path().join(number.to_string());
        let copy = place.path().join(format!("copy{number}"));
        let mut command = spool(["--sync", sync]);
        let fed = Fed::start(
            std::mem::replace(command.arg(&original), spool(["x"])),
            bytes.clone(),
        );
        while segments(&original).is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = Command::new("cp")
            .arg("-r")
            .args([&original, &copy])
            .status();
        let again = replay(&copy);
        assert!(bytes.starts_with(&again.stdout), "{}", stderr(&again));
        let told = stderr(&again);
        match again.status.code() {
            Some(0) => assert!(again.stdout == bytes),
            Some(1) => assert!(told.contains("cut off"), "{told}"),
            Some(125) => assert!(
                told.contains("damaged") || told.contains("no spool"),
                "{told}"
            ),
            other => panic!("{other:?}: {told}"),
        }
        fed.kill();
    }
}

/// The one stage that knows tells it: the counters of its process do not count what the kernel moves.
#[test]
fn a_spool_is_seen_by_run_and_ls() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_pipewright");
    let samples = place.path().join("samples");
    let output = support::run(&[
        "--verbose",
        "--samples",
        samples.to_str().unwrap(),
        &format!(
            "seq 1000000 | '{program}' spool --limit 1M --sync disk '{}/kept' | {{ sleep 2; cat; }} | wc -l",
            place.path().display()
        ),
    ]);
    let told = stderr(&output);
    assert_eq!(output.stdout, b"1000000\n", "{told}");
    for word in [
        "stage 2 is a spool: in ",
        "0 B of 1.0 MiB to give, durable up to 6.6 MiB",
        "the spool (stage 2) was full, ",
    ] {
        assert!(told.contains(word), "{word}: {told}");
    }
    let samples = std::fs::read_to_string(samples).unwrap();
    let samples = samples
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let spools: Vec<serde_json::Value> = samples
        .map(|sample: serde_json::Value| sample["figures"]["stages"][1]["spool"].clone())
        .filter(|spool| !spool.is_null())
        .collect();
    let was_full =
        |spool: &serde_json::Value| spool["waits"] == "full" && spool["limit_bytes"] == 1 << 20;
    assert!(spools.iter().any(was_full), "{spools:#?}");
    let last = spools.last().unwrap();
    assert_eq!(last["given_bytes"], 6_888_896, "{last:#}");
    assert_eq!(last["durable_bytes"], 6_888_896, "{last:#}");

    let mark = support::foreign::mark(2003);
    let text = format!("yes {mark} | '{program}' spool --limit 1M | sleep {mark}; true");
    let _running = support::foreign::Running::start(&text);
    loop {
        let list = pipewright().arg("ls").output().unwrap();
        let list = String::from_utf8_lossy(&list.stdout).into_owned();
        let full = |line: &str| line.contains(" of 1.0 MiB to give, full");
        if list.contains(&mark) && list.lines().any(full) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn without_a_directory_nothing_is_left_behind_whoever_is_killed() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let mut command = spool::<&str>([]);
    command.env("TMPDIR", place.path());
    let mut fed = Fed::start(command, stream(4 << 20));
    let mut some = [0; 1000];
    fed.child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut some)
        .unwrap();
    fed.kill();
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0);
}

#[test]
fn one_bit_turned_over_is_an_error_with_file_and_offset_and_no_wrong_byte_is_given() {
    let _watchdog = watchdog();
    let bytes = stream(20 << 20);
    for at in [0, 9_000_000, (20 << 20) - 1] {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("kept");
        assert!(feed(&mut spool([&directory]), &bytes).status.success());
        let segment = segments(&directory).remove(0);
        let file = File::options()
            .read(true)
            .write(true)
            .open(&segment)
            .unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 16], at).unwrap();
        let again = replay(&directory);
        assert_eq!(again.status.code(), Some(125));
        let told = stderr(&again);
        let name = segment.file_name().unwrap().to_str().unwrap();
        assert!(told.contains(name) && told.contains("at byte"), "{told}");
        assert!(again.stdout.len() as u64 <= at && bytes.starts_with(&again.stdout));
    }
}

#[test]
fn a_replay_goes_into_a_command_whose_status_is_given() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("kept");
    assert!(
        feed(&mut spool([&directory]), b"one\ntwo\n")
            .status
            .success()
    );
    let into = |text: &str| {
        let mut command = pipewright();
        command.arg("replay").arg(&directory).args(["--into", text]);
        command.output().unwrap()
    };
    let output = into("tr a-z A-Z; exit 3");
    assert_eq!(output.stdout, b"ONE\nTWO\n");
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(into("exit 0").status.code(), Some(0));
    assert_eq!(into("kill -9 $$").status.code(), Some(137));
}

/// Takes a file system away when the test is over.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_holds_everybody_up_until_it_has_room() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let mut mount = Command::new("mount");
    mount
        .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
        .arg(place.path());
    if !is_root() || !mount.status().is_ok_and(|status| status.success()) {
        println!("skipped: this user may not mount a file system here");
        return;
    }
    let _mounted = Mounted(place.path());
    let filler = place.path().join("filler");
    std::fs::write(&filler, vec![1; 3 << 20]).unwrap();
    let bytes = stream(3 << 20);
    let directory = place.path().join("kept");
    let mut fed = Fed::start(spool([&directory]), bytes.clone());
    let mut told = String::new();
    let mut complaints = BufReader::new(fed.child.stderr.take().unwrap());
    complaints.read_line(&mut told).unwrap();
    assert!(told.contains("is full"), "{told}");
    assert!(fed.child.try_wait().unwrap().is_none());
    std::fs::remove_file(&filler).unwrap();
    let mut given = Vec::new();
    fed.child
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut given)
        .unwrap();
    assert!(fed.child.wait().unwrap().success());
    assert!(given == bytes);
    let again = replay(&directory);
    assert!(again.status.success() && again.stdout == bytes);
}
