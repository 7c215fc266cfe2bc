//! A recording whose processes are killed at any moment can be resumed, and the result is the same.

mod support;

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use support::{pipewright, start_in_a_group};
use testing::{PATIENCE, campaign, stderr, watchdog};

const TEXT: &str = "seq 150000 | sed s/$/-b/ | { sed s/^/c-/; } | tr c C";

/// A number that differs from call to call, by a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % bound
    }
}

/// The processes that descend from one.
fn descendants(pid: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let number = entry.file_name().to_string_lossy().parse::<u32>();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| {
            let parent = rest.split_whitespace().nth(1)?;
            parent.parse::<u32>().ok()
        });
        parents.extend(number.ok().zip(parent));
    }
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&above) = found.get(next) {
        found.extend(parents.iter().filter(|it| it.1 == above).map(|it| it.0));
        next += 1;
    }
    found.split_off(1)
}

/// Kills somebody: the run, all, or one of its stages, their keepers and what they started.
fn kill_somebody(run: &mut Child, chance: &mut Chance) -> String {
    std::thread::sleep(Duration::from_micros(chance.below(200_000)));
    let pid = |number: u32| Pid::from_raw(number.try_into().unwrap()).unwrap();
    // What has ended meanwhile is not there to be killed.
    let victim = match chance.below(4) {
        0 => {
            let _ = kill_process(pid(run.id()), Signal::KILL);
            "the run".to_owned()
        }
        1 => {
            let _ = kill_process_group(pid(run.id()), Signal::KILL);
            "all".to_owned()
        }
        _ => {
            let all = descendants(run.id());
            match all.get(chance.below(all.len().max(1) as u64) as usize) {
                Some(&victim) => {
                    let name = std::fs::read(format!("/proc/{victim}/cmdline"));
                    let _ = kill_process(pid(victim), Signal::KILL);
                    let name = name.unwrap_or_default();
                    String::from_utf8_lossy(&name).replace('\0', " ")
                }
                None => "nobody".to_owned(),
            }
        }
    };
    run.wait().unwrap();
    victim
}

/// Resumes as soon as nobody of the earlier attempt is left.
fn resume(place: &Path) -> Output {
    let began = Instant::now();
    loop {
        let mut command = pipewright();
        command
            .current_dir(place)
            .args(["resume", "kept", "-o", "result"]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let told = stderr(&output);
        // What was killed may not be gone yet.
        let still = [
            "still runs, although",
            "runs already",
            "another process is writing it",
        ];
        if !still.iter().any(|it| told.contains(it)) {
            return output;
        }
        assert!(began.elapsed() < PATIENCE, "{told}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn whoever_is_killed_at_whatever_moment_the_result_is_that_of_an_undisturbed_run() {
    let expected = Command::new("bash")
        .args(["-c", TEXT])
        .output()
        .unwrap()
        .stdout;
    for round in 0..campaign(15, 1000) {
        let _watchdog = watchdog();
        let mut chance = Chance(0x9E37_79B9_7F4A_7C15 ^ u64::from(round + 1));
        let place = tempfile::tempdir().unwrap();
        let place = place.path();
        let mut run = start_in_a_group(place, &["run", "--record", "kept", TEXT]);
        let mut told = vec![kill_somebody(&mut run, &mut chance)];
        while chance.below(2) == 0 {
            let mut resumed = start_in_a_group(place, &["resume", "kept", "-o", "result"]);
            told.push(kill_somebody(&mut resumed, &mut chance));
        }
        let mut output = resume(place);
        if stderr(&output).contains("holds no recording") {
            // It was killed before it had begun, and can be run as if nothing had been.
            let mut command = pipewright();
            command
                .current_dir(place)
                .args(["run", "--record", "kept", TEXT]);
            let run = command.stdin(Stdio::null()).output().unwrap();
            assert!(
                run.status.success() && run.stdout == expected,
                "{}",
                stderr(&run)
            );
            output = resume(place);
        }
        let told = format!("round {round}, killed: {told:?}\n{}", stderr(&output));
        assert!(output.status.success(), "{told}");
        let result = std::fs::read(place.join("result")).unwrap();
        assert!(result == expected, "{told}");
    }
}
