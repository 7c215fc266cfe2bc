//! `pipewright spool` and `pipewright replay`: what was read is kept, whoever dies, and what was cut off
//! never looks complete.

mod support;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use support::pipewright;
use testing::{feed, is_root, stderr, watchdog};

/// Bytes that repeat nowhere.
fn stream(length: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(next)
        .take(length.div_ceil(8))
        .flatten()
        .collect();
    bytes.truncate(length);
    bytes
}

/// `pipewright spool` with these arguments.
fn spool<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = pipewright();
    command.arg("spool").args(arguments);
    command
}

fn replay(directory: &Path) -> Output {
    pipewright().arg("replay").arg(directory).output().unwrap()
}

/// By bash; `P` is pipewright, `D` the directory.
fn in_bash(directory: &Path, text: &str) -> Output {
    let text = format!(
        "P() {{ '{}' \"$@\"; }}; D='{}'; {text}",
        env!("CARGO_BIN_EXE_pipewright"),
        directory.display()
    );
    let mut bash = Command::new("bash");
    bash.args(["-c", &text]).stdin(Stdio::null());
    bash.output().unwrap()
}

/// The files of the stream, in its order.
fn segments(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths
        .filter(|path| path.extension() == Some(OsStr::new("data")))
        .collect();
    paths.sort();
    paths
}

/// A spool that is fed by a thread, through a pipe whose other end stays open here: what is in it when
/// the spool dies is not lost.
struct Fed {
    child: Child,
    pipe: PipeReader,
    producer: JoinHandle<()>,
}

impl Fed {
    fn start(mut command: Command, bytes: Vec<u8>) -> Self {
        let (pipe, mut writer) = std::io::pipe().unwrap();
        command.stdin(pipe.try_clone().unwrap());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = child.spawn().unwrap();
        drop(command);
        let producer = std::thread::spawn(move || {
            let _ = writer.write_all(&bytes);
        });
        Self {
            child,
            pipe,
            producer,
        }
    }

    /// Kills the spool, and gives what it had not taken from the pipe.
    fn kill(mut self) -> Vec<u8> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let mut rest = Vec::new();
        self.pipe.read_to_end(&mut rest).unwrap();
        self.producer.join().unwrap();
        rest
    }
}

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
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: u64 = peak
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    assert!(peak <= 16 << 10, "{peak} KiB");
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
fn a_directory_that_holds_something_is_refused_with_what_to_do() {
    let _watchdog = watchdog();
    let place = tempfile::tempdir().unwrap();
    let refused = |directory: &Path, word: &str| {
        let output = feed(&mut spool([directory]), b"more");
        assert_eq!(output.status.code(), Some(125));
        assert!(stderr(&output).contains(word), "{}", stderr(&output));
        assert!(output.stdout.is_empty());
    };
    let whole = place.path().join("whole");
    assert!(feed(&mut spool([&whole]), b"whole").status.success());
    refused(&whole, "complete stream of 5 bytes: `pipewright replay");

    let cut = place.path().join("cut");
    let mut child = spool([&cut])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut some = [0; 4];
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"part").unwrap();
    let stdout = child.stdout.as_mut().unwrap();
    stdout.read_exact(&mut some).unwrap();
    refused(&cut, "another process is using");
    assert!(stderr(&replay(&cut)).contains("another process is using"));
    child.kill().unwrap();
    child.wait().unwrap();
    refused(&cut, "--append");
    // It was refused, and not touched.
    assert_eq!(replay(&cut).status.code(), Some(1));

    refused(place.path(), "no spool's");
    assert!(!place.path().join("lock").exists());
    assert!(stderr(&replay(&place.path().join("nothing"))).contains("is no spool"));
    assert!(!place.path().join("nothing").exists());
}

/// What has left the pipe is in the spool, to the byte, whenever it is killed; and it goes on from there.
#[test]
fn a_kill_at_any_moment_loses_no_byte_and_the_cut_is_told() {
    let _watchdog = watchdog();
    let rounds = std::env::var("PIPEWRIGHT_ROUNDS");
    let rounds: u64 = rounds.map_or(12, |rounds| rounds.parse().unwrap());
    let bytes = stream(24 << 20);
    for round in 0..rounds {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("kept");
        let sync = if round % 2 == 0 { "none" } else { "disk" };
        let mut command = spool(["--sync", sync]);
        command.arg(&directory);
        let mut fed = Fed::start(command, bytes.clone());
        let mut stdout = fed.child.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut given = Vec::new();
            stdout.read_to_end(&mut given).unwrap();
            given
        });
        // Any moment: the round's number decides, and the machine.
        std::thread::sleep(Duration::from_micros(round * 7919 % 60_000));
        let rest = fed.kill();
        let given = reader.join().unwrap();

        let again = replay(&directory);
        if again.status.code() == Some(125) {
            // It was killed before it had made the directory, or its first file.
            assert!(rest == bytes && given.is_empty(), "{}", stderr(&again));
            continue;
        }
        let told = stderr(&again);
        let (status, kept) = (again.status, again.stdout);
        assert!(
            kept.len() + rest.len() == bytes.len()
                && bytes.starts_with(&kept)
                && bytes.ends_with(&rest),
            "round {round}: {} kept and {} in the pipe of {}",
            kept.len(),
            rest.len(),
            bytes.len()
        );
        assert!(kept.starts_with(&given), "round {round}: given, not kept");
        if status.success() {
            assert!(rest.is_empty());
            continue;
        }
        assert_eq!(status.code(), Some(1));
        assert!(told.contains("cut off"), "{told}");

        let mut command = spool(["--append"]);
        let appended = feed(command.arg(&directory), &rest);
        assert!(appended.status.success(), "{}", stderr(&appended));
        assert!(bytes.ends_with(&appended.stdout));
        assert!(appended.stdout.len() + given.len() >= bytes.len());
        let whole = replay(&directory);
        assert!(whole.status.success() && whole.stdout == bytes);
    }
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
