//! `pipewright watch`: which pipeline it takes, and what it has room for.

mod support;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use pipewright::Stdio;
use support::foreign::{Running, Watch, find, mark};
use support::pipewright;
use testing::{is_root, watchdog};

/// A user that nobody else is, so that all its pipelines are the test's.
const USER: u32 = 54_321;

/// A pipeline of that user, ended with the test.
struct Theirs(pipewright::Child);

impl Theirs {
    fn start(text: &str) -> Self {
        let shell = pipewright::Command::new("bash")
            .args(["-c", text])
            .stdin(Stdio::Null)
            .stdout(Stdio::Null)
            .stderr(Stdio::Null)
            .uid(USER)
            .gid(USER)
            .process_group(0)
            .spawn();
        Self(shell.unwrap())
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_raw(self.0.id() as i32).unwrap();
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.0.wait();
    }
}

fn copy() -> PathBuf {
    std::env::temp_dir().join(format!("pipewright-{}", std::process::id()))
}

/// `watch` without a number, by that user.
fn watch() -> Watch {
    // Where the checkout lies, that user may not be able to execute it.
    let program = copy();
    if !program.exists() {
        testing::copy_program(env!("CARGO_BIN_EXE_pipewright").as_ref(), &program);
    }
    let mut command = Command::new(program);
    command
        .env("LC_ALL", "C.UTF-8")
        .arg("watch")
        .uid(USER)
        .gid(USER);
    Watch::run(command)
}

#[test]
fn without_a_number_the_only_pipeline_is_watched_and_several_are_listed() {
    if !is_root() {
        eprintln!("skipped: only root can be a user that nobody else is");
        return;
    }
    let _watchdog = watchdog();
    let mut none = watch();
    none.wait_for(&["no pipeline of yours is running; pipewright ls"]);
    assert_eq!(none.child.wait().unwrap().code(), Some(1));

    // Others' do not count.
    let others = mark(2_718);
    let _others = Running::start(&format!("sleep {others} | cat"));
    find(&others, 2);
    let first = mark(2_719);
    let theirs = Theirs::start(&format!("sleep {first} | sort"));
    if std::fs::read_link(format!("/proc/{}/fd/0", theirs.0.id())).is_err() {
        println!("skipped: this root may not look at others' processes (CAP_SYS_PTRACE)");
        let _ = std::fs::remove_file(copy());
        return;
    }
    find(&first, 2);
    let mut only = watch();
    only.wait_for(&["pipewright watch", &first, "sort"]);
    only.press("q");
    assert!(only.child.wait().unwrap().success());

    let second = mark(2_720);
    let _second = Theirs::start(&format!("sleep {second} | tac | cat"));
    let found = find(&second, 3);
    let mut several = watch();
    let number = found["stages"][0]["pid"].to_string();
    let line = format!("{number}  sleep {second} | tac | cat");
    several.wait_for(&[
        "several pipelines of yours are running",
        &format!("sleep {first} | sort"),
        &line,
    ]);
    assert_eq!(several.child.wait().unwrap().code(), Some(2));
    let _ = std::fs::remove_file(copy());
}

#[test]
fn advice_is_broken_between_words_or_left_out_and_never_cut() {
    let _watchdog = watchdog();
    let mark = mark(3_142);
    let _running = Running::start(&format!("sleep {mark} | cat"));
    let pid = find(&mark, 2)["stages"][0]["pid"].to_string();
    let advice =
        "it pauses on purpose (a rate limit, a timer); only its own options can change that";
    for (lines, columns) in [(20, 100), (20, 90), (24, 44), (40, 30)] {
        let mut command = pipewright();
        command.args(["watch", &pid]);
        let mut watch = Watch::sized(command, lines, columns);
        // Row by row: the terminal itself breaks anywhere.
        let rows = |screen: &vt100::Screen| screen.rows(0, columns).collect::<Vec<_>>();
        let has_advice = |screen: &vt100::Screen| {
            let words = rows(screen).join(" ");
            let words: Vec<&str> = words.split_whitespace().collect();
            words.join(" ").contains(advice)
        };
        watch.wait_until(has_advice);
        watch.press("q");
        watch.wait_until(|screen| {
            let is_summary = rows(screen).iter().any(|row| row.starts_with("     stage"));
            is_summary && has_advice(screen)
        });
        watch.child.wait().unwrap();
    }
    let mut command = pipewright();
    command.args(["watch", &pid]);
    let mut low = Watch::sized(command, 7, 60);
    low.wait_for(&["cat", "is asleep", "0:0"]);
    let screen = low.screen.screen().contents();
    assert!(
        !screen.contains("purpose") && !screen.contains("options"),
        "{screen}"
    );
    low.press("q");
    low.child.wait().unwrap();
}

#[test]
fn the_time_left_is_told_of_a_pipeline_that_others_have_started() {
    let _watchdog = watchdog();
    let directory = tempfile::tempdir().unwrap();
    let input = directory.path().join("input");
    std::fs::File::create(&input)
        .unwrap()
        .set_len(40 << 20)
        .unwrap();
    let mark = mark(4);
    let _running = Running::start(&format!(
        "cat '{}' | sh -c 'while head -c 50000 >/dev/null; do sleep 0.02; done' {mark}; true",
        input.display()
    ));
    let found = find(&mark, 2);
    let mut watch = Watch::start(&found["stages"][0]["pid"].to_string());
    watch.wait_until(|screen| {
        let contents = screen.contents();
        let foot = contents
            .lines()
            .find(|line| line.contains("% of 40.0 MiB, "));
        foot.is_some_and(|foot| foot.contains(", average ") && foot.ends_with(" left"))
    });
    watch.press("q");
    watch.child.wait().unwrap();
}
