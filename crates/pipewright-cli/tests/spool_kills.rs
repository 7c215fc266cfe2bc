//! A, a spool and B, killed at any moment: what was kept is the beginning of the stream, and what goes on
//! behind it makes it whole.

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use support::spools::{Fed, replay, spool, stream};
use testing::{feed, rounds, stderr, watchdog};

/// Moments in which to kill, all over what a round takes that nobody disturbs, on this machine and as busy
/// as it is now.
#[derive(Default)]
struct Moments {
    whole: Vec<Duration>,
    chance: u64,
}

impl Moments {
    /// Takes note of what a whole round took.
    fn took(&mut self, whole: Duration) {
        // Of the last few: others come and go.
        if self.whole.len() == 5 {
            self.whole.remove(0);
        }
        self.whole.push(whole);
    }

    /// From the start to a little behind the end.
    fn next(&mut self) -> Duration {
        let mut sorted = self.whole.clone();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        // splitmix64: neighbouring rounds have nothing to do with each other.
        self.chance = self.chance.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.chance;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        median.mul_f64((mixed >> 11) as f64 / (1_u64 << 53) as f64 * 1.05)
    }
}

/// What has left the pipe is in the spool, to the byte, whenever it is killed; and it goes on from there.
#[test]
fn a_kill_at_any_moment_loses_no_byte_and_the_cut_is_told() {
    let bytes = stream(4 << 20);
    let mut moments: [Moments; 2] = Default::default();
    for round in rounds(12, 300) {
        let _watchdog = watchdog();
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("kept");
        let sync = ["none", "disk"][round as usize % 2];
        let moments = &mut moments[round as usize % 2];
        let mut command = spool(["--sync", sync]);
        command.arg(&directory);
        if round % 50 < 2 {
            let begin = Instant::now();
            assert!(feed(&mut command, &bytes).status.success());
            moments.took(begin.elapsed());
            std::fs::remove_dir_all(&directory).unwrap();
        }
        let mut fed = Fed::start(command, bytes.clone());
        let mut stdout = fed.child.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut given = Vec::new();
            stdout.read_to_end(&mut given).unwrap();
            given
        });
        std::thread::sleep(moments.next());
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
    let bytes = stream(2 << 20);
    let source = tempfile::tempdir().unwrap();
    let source = source.path().join("source");
    std::fs::write(&source, &bytes).unwrap();
    let kinds: [&[&str]; 4] = [
        &["--sync", "none"],
        &["--sync", "disk"],
        &["--sync", "none", "--limit", "256K"],
        &["--sync", "disk", "--limit", "256K"],
    ];
    // Until all have ended, and until A has.
    let mut moments: [(Moments, Moments); 4] = Default::default();
    // Of each kind of victim: killed, and how many of them had not ended by themselves.
    let mut hit = [(0, 0); 4];
    for round in rounds(16, 1000) {
        let _watchdog = watchdog();
        let victim = [Victim::A, Victim::Spool, Victim::B, Victim::All][round as usize % 4];
        let kind = kinds[round as usize / 4 % 4];
        let (moments, moments_of_a) = &mut moments[round as usize / 4 % 4];
        let place = tempfile::tempdir().unwrap();
        let (directory, out) = (place.path().join("kept"), place.path().join("out"));
        let mut command = spool(kind);
        command.arg(&directory);
        if round % 4 == 0 && round % 128 < 16 {
            let begin = Instant::now();
            let mut pipeline = Pipeline::start(command, &source, &out);
            assert!(pipeline.0[0].wait().unwrap().success(), "{kind:?}");
            moments_of_a.took(begin.elapsed());
            assert!(pipeline.wait().iter().all(ExitStatus::success), "{kind:?}");
            moments.took(begin.elapsed());
            assert!(std::fs::read(&out).unwrap() == bytes, "{kind:?}");
            std::fs::remove_dir_all(&directory).unwrap();
            command = spool(kind);
            command.arg(&directory);
        }
        let mut pipeline = Pipeline::start(command, &source, &out);
        std::thread::sleep(match victim {
            Victim::A => moments_of_a.next(),
            _ => moments.next(),
        });
        pipeline.kill(victim);
        let all = pipeline.wait();
        let ended = all[1];
        let (killed, alive) = &mut hit[round as usize % 4];
        *killed += 1;
        *alive += usize::from(all.iter().any(|status| status.signal() == Some(9)));

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
    // Past the harness: it is the campaign's result.
    let told = format!("killed, and before the end: A, the spool, B, all of them: {hit:?}\n");
    let _ = std::io::stderr().write_all(told.as_bytes());
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
