//! A, a spool and B, killed at any moment: what was kept is the beginning of the stream, and what goes on
//! behind it makes it whole.

mod support;

use std::fs::File;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use support::spools::{Fed, replay, spool, stream};
use testing::{campaign, feed, stderr, watchdog};

/// What has left the pipe is in the spool, to the byte, whenever it is killed; and it goes on from there.
#[test]
fn a_kill_at_any_moment_loses_no_byte_and_the_cut_is_told() {
    let bytes = stream(24 << 20);
    for round in 0..u64::from(campaign(12, 300)) {
        let _watchdog = watchdog();
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

/// Who is killed in a round.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Victim {
    A,
    Spool,
    B,
    All,
}

/// `cat FILE | pipewright spool … DIR | cat >OUT`.
struct Pipeline([Child; 3]);

impl Pipeline {
    fn start(mut spool: Command, from: &Path, to: &Path) -> Self {
        let (first_reader, first_writer) = std::io::pipe().unwrap();
        let (second_reader, second_writer) = std::io::pipe().unwrap();
        let a = Command::new("cat").arg(from).stdout(first_writer).spawn();
        let spool = spool
            .stdin(first_reader)
            .stdout(second_writer)
            .stderr(Stdio::null())
            .spawn();
        let b = Command::new("cat")
            .stdin(second_reader)
            .stdout(File::create(to).unwrap())
            .spawn();
        Self([a.unwrap(), spool.unwrap(), b.unwrap()])
    }

    fn kill(&mut self, victim: Victim) {
        let chosen = match victim {
            Victim::A => 0..1,
            Victim::Spool => 1..2,
            Victim::B => 2..3,
            Victim::All => 0..3,
        };
        for child in &mut self.0[chosen] {
            child.kill().unwrap();
        }
    }

    fn wait(&mut self) -> [ExitStatus; 3] {
        [0, 1, 2].map(|index: usize| self.0[index].wait().unwrap())
    }
}

/// Whoever is killed, at whatever moment, and however the stream is kept.
#[test]
fn whoever_of_a_the_spool_and_b_is_killed_the_stream_is_made_whole() {
    let bytes = stream(6 << 20);
    let source = tempfile::tempdir().unwrap();
    let source = source.path().join("source");
    std::fs::write(&source, &bytes).unwrap();
    let kinds: [&[&str]; 4] = [
        &["--sync", "none"],
        &["--sync", "disk"],
        &["--sync", "none", "--limit", "1M"],
        &["--sync", "disk", "--limit", "1M"],
    ];
    // About as long as a round takes that nobody disturbs.
    let mut whole = Duration::from_millis(30);
    for round in 0..campaign(16, 1000) {
        let _watchdog = watchdog();
        let victim = [Victim::A, Victim::Spool, Victim::B, Victim::All][round as usize % 4];
        let kind = kinds[round as usize / 4 % 4];
        let place = tempfile::tempdir().unwrap();
        let (directory, out) = (place.path().join("kept"), place.path().join("out"));
        let mut command = spool(kind);
        command.arg(&directory);
        let begin = Instant::now();
        let mut pipeline = Pipeline::start(command, &source, &out);
        std::thread::sleep(whole * (round * 7919 % 1000) / 1000);
        pipeline.kill(victim);
        let [_, ended, _] = pipeline.wait();
        whole = whole.max(begin.elapsed());

        let mut given = Vec::new();
        File::open(&out).unwrap().read_to_end(&mut given).unwrap();
        let what = format!("round {round}: {victim:?} killed, {kind:?}, {ended:?}");
        assert!(bytes.starts_with(&given), "{what}: B has other bytes");
        match victim {
            Victim::A => assert!(ended.success(), "{what}"),
            Victim::B => assert!(ended.success() || ended.signal() == Some(13), "{what}"),
            Victim::Spool | Victim::All => {
                assert!(ended.success() || ended.signal() == Some(9), "{what}");
            }
        }

        let again = replay(&directory);
        let (status, kept, told) = (again.status.code(), &again.stdout, stderr(&again));
        if status == Some(125) {
            // It was killed before it had made the directory, or its first file.
            assert!(!ended.success() && given.is_empty(), "{what}: {told}");
            continue;
        }
        // With a limit what B has taken is gone; what is left goes on from there.
        let beheaded = kind.len() > 2;
        let end = position(&bytes, kept, &told);
        assert!(beheaded || end == kept.len(), "{what}: {told}");
        assert!(
            end >= given.len() || kept.is_empty(),
            "{what}: given, not kept"
        );
        assert!(matches!(status, Some(0 | 1)), "{what}: {told}");
        if ended.success() {
            // The end of the stream was seen, and B has all of it.
            assert!(!told.contains("cut off"), "{what}: {told}");
            let reader_lives = matches!(victim, Victim::A | Victim::Spool);
            assert!(!reader_lives || end == given.len(), "{what}");
            continue;
        }
        assert!(
            told.contains("cut off") || end == bytes.len(),
            "{what}: {told}"
        );
        if !told.contains("cut off") {
            continue;
        }

        let mut command = spool(kind);
        let appended = feed(command.arg("--append").arg(&directory), &bytes[end..]);
        assert!(appended.status.success(), "{what}: {}", stderr(&appended));
        assert!(bytes.ends_with(&appended.stdout), "{what}");
        if victim == Victim::Spool {
            let both = given.len() + appended.stdout.len();
            assert!(both >= bytes.len(), "{what}: B has not got all");
        }
        if !beheaded {
            let whole = replay(&directory);
            assert!(whole.status.success() && whole.stdout == bytes, "{what}");
        }
    }
}

/// Where in the stream what was kept ends; what was removed is told.
fn position(bytes: &[u8], kept: &[u8], told: &str) -> usize {
    let removed = told.lines().find_map(|line| {
        let rest = line.split_once("the first ")?.1;
        rest.split_once(" bytes of ")?.0.parse().ok()
    });
    let removed: usize = removed.unwrap_or(0);
    assert_eq!(
        bytes.get(removed..removed + kept.len()),
        Some(kept),
        "{told}"
    );
    removed + kept.len()
}
