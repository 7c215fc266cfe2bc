//! Processes and files that do not answer: nobody waits for them.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pipewright_observe::topology::Scan;
use pipewright_observe::workspace::look_at;
use pipewright_observe::{Activity, Error, PipeHandle, Process, Sampler};
use testing::stubborn::{Unanswering, hold_own_memory, is_stubborn_at_last};
use testing::watchdog;

use crate::common::{quick, until};

/// Set in a test process that is to be a stage: the file that cannot be read.
const HOLD: &str = "OBSERVE_TEST_HOLD";

/// Far above what is promised, far below what the watchdog grants.
const LONG: Duration = Duration::from_secs(60);

/// Not a promise: a stage of the pipelines below. Run by itself it does nothing.
#[test]
fn a_stage_that_holds_its_own_memory() {
    if let Some(file) = std::env::var_os(HOLD) {
        hold_own_memory(&PathBuf::from(file));
    }
}

/// `sleep | stubborn`, and the file system that makes it so; `None` where it cannot be had.
struct Stubborn {
    children: [Child; 2],
    pipe: Option<PipeHandle>,
    _unanswering: Unanswering,
}

impl Stubborn {
    fn start() -> Option<Self> {
        let unanswering = match Unanswering::mount() {
            Ok(unanswering) => unanswering,
            Err(reason) => {
                eprintln!("skipped: no file system that does not answer ({reason})");
                return None;
            }
        };
        let (reader, writer) = std::io::pipe().unwrap();
        let pipe = Some(PipeHandle::of_end(&reader).unwrap());
        let sleep = Command::new("sleep").arg("1000").stdout(writer).spawn();
        let stubborn = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "stubborn::a_stage_that_holds_its_own_memory"])
            .env(HOLD, unanswering.file())
            .stdin(reader)
            .stdout(Stdio::null())
            .spawn();
        let children = [sleep.unwrap(), stubborn.unwrap()];
        let pid = children[1].id();
        let started = Self {
            children,
            pipe,
            _unanswering: unanswering,
        };
        if !is_stubborn_at_last(pid) {
            eprintln!("skipped: the process could not be kept from being read");
            return None;
        }
        Some(started)
    }

    fn process(&self, stage: usize) -> Process {
        Process::open(self.children[stage].id()).unwrap()
    }
}

impl Drop for Stubborn {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
        }
        // The one that is stuck ends when its file system is gone, which is after this.
        let _ = self.children[0].wait();
    }
}

#[test]
fn a_command_line_that_cannot_be_read_is_an_error_and_no_hang() {
    let _watchdog = watchdog();
    let Some(stubborn) = Stubborn::start() else {
        return;
    };
    let process = stubborn.process(1);
    let error = process.command_line().unwrap_err();
    assert!(matches!(error, Error::NoAnswer { .. }), "{error}");
    assert!(error.to_string().ends_with("it does not answer"));
    // What can be told without its memory is told.
    assert!(process.stat().is_ok() && process.io().is_ok());
}

#[test]
fn a_stage_that_cannot_be_read_is_watched_all_the_same() {
    let _watchdog = watchdog();
    let Some(mut stubborn) = Stubborn::start() else {
        return;
    };
    let stages = vec![stubborn.process(0), stubborn.process(1)];
    let pipes = vec![stubborn.pipe.take().unwrap()];
    let begin = Instant::now();
    let mut sampler = Sampler::linear(stages, pipes, quick()).unwrap();
    let names: Vec<String> = sampler
        .layout()
        .stages
        .iter()
        .map(|it| it.command.clone())
        .collect();
    assert_eq!(names[0], "sleep 1000");
    assert!(names[1].starts_with('['), "{names:?}");
    let mut sleeping = 0;
    for _ in 0..100 {
        sleeping += usize::from(sampler.tick().stages[0] == Activity::Sleeping);
        std::thread::sleep(sampler.due_in());
    }
    assert!(sleeping > 50, "the other stage is seen as ever: {sleeping}");
    assert!(sampler.finish().figures.is_some());
    assert!(begin.elapsed() < LONG);
}

#[test]
fn a_name_that_was_given_spares_the_question() {
    let _watchdog = watchdog();
    let Some(mut stubborn) = Stubborn::start() else {
        return;
    };
    let stages = vec![
        stubborn.process(0).named("one"),
        stubborn.process(1).named("other"),
    ];
    let pipes = vec![stubborn.pipe.take().unwrap()];
    let mut sampler = Sampler::linear(stages, pipes, quick()).unwrap();
    sampler.finish();
    assert_eq!(sampler.layout().stages[1].command, "other");
}

#[test]
fn a_list_of_pipelines_leaves_out_what_does_not_answer() {
    let _watchdog = watchdog();
    let Some(stubborn) = Stubborn::start() else {
        return;
    };
    let begin = Instant::now();
    let pipeline = Scan::now().unwrap().pipeline_of(stubborn.children[1].id());
    let now = look_at(&[pipeline.unwrap()]).unwrap();
    assert_eq!(now[0].stages[0].command.as_deref(), Some("sleep 1000"));
    assert!(now[0].stages[1].silent && now[0].stages[1].command.is_none());
    assert!(begin.elapsed() < LONG);
}

#[test]
fn a_file_that_does_not_answer_is_told_from_a_pipe_without_waiting() {
    let _watchdog = watchdog();
    let unanswering = match Unanswering::mount() {
        Ok(unanswering) => unanswering,
        Err(reason) => {
            eprintln!("skipped: no file system that does not answer ({reason})");
            return;
        }
    };
    let mut child = Command::new("sleep")
        .arg("1000")
        .stdin(std::fs::File::open(unanswering.file()).unwrap())
        .spawn()
        .unwrap();
    let process = Process::open(child.id()).unwrap();
    until(|| process.stat().unwrap().name == b"sleep");
    assert!(matches!(
        PipeHandle::of_process(child.id(), 0),
        Err(Error::NotAPipe { .. })
    ));
    // Some kernels remember its size, others may have to ask.
    let position = process.file_position(0).unwrap();
    assert!(position.is_none_or(|position| position.offset == 0 && position.size == 1 << 20));
    child.kill().unwrap();
    child.wait().unwrap();
}
