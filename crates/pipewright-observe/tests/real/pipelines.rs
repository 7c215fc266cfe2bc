//! Real pipelines whose bottleneck is known by construction.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pipewright_observe::topology::{Scan, Shape};
use pipewright_observe::verdict::{Bottleneck, Finding, History, Reason, Verdict};
use pipewright_observe::workspace::ProcessState;
use pipewright_observe::{Activity, Figures, Intervals, Process, Sample, Sampler};

use crate::common::{Stages, quick, shell};
use testing::{PATIENCE, watchdog};

/// Set in a test process that is to be a stage.
const SPLICE: &str = "OBSERVE_TEST_SPLICE";

/// Samples until the verdict on the recent past tells something. The watchdog ends a test for which
/// it never does.
fn wait_for<T>(
    sampler: &mut Sampler,
    history: &mut History,
    tells: impl Fn(&Bottleneck, &Verdict) -> Option<T>,
) -> T {
    loop {
        history.record(&sampler.tick());
        let verdict = history.recent();
        if let Finding::Bottleneck(found) = &verdict.finding
            && let Some(told) = tells(found, &verdict)
        {
            return told;
        }
        std::thread::sleep(sampler.due_in());
    }
}

/// Watches for half a second at a time and judges, until the judgement was as expected five times in
/// a row: before the programs are loaded it is another, and once in a while it may be by chance.
fn judge(line: &mut Stages, expected: impl Fn(&Bottleneck, &Verdict) -> bool) {
    const IN_A_ROW: u32 = 5;
    let _watchdog = watchdog();
    let begin = Instant::now();
    let mut sampler = line.sampler(quick());
    let mut right = 0;
    while right < IN_A_ROW {
        let mut samples: Vec<Sample> = Vec::new();
        while samples.len() < 125 {
            samples.push(sampler.tick());
            std::thread::sleep(sampler.due_in());
        }
        let verdict = Verdict::of(sampler.layout(), &samples);
        match &verdict.finding {
            Finding::Bottleneck(found) if expected(found, &verdict) => right += 1,
            _ => right = 0,
        }
        assert!(begin.elapsed() < PATIENCE, "{verdict:#?}");
    }
}

fn computes(reason: Reason) -> bool {
    // Which of the two depends on what else the machine does.
    matches!(reason, Reason::Cpu | Reason::NoCoreLeft)
}

#[test]
fn a_slow_first_stage_is_found() {
    let mut line = Stages::start(&["while sleep 1; do echo x; done", "exec cat", "exec wc"]);
    judge(&mut line, |found, verdict| {
        (found.stage, found.reason) == (0, Reason::Asleep)
            && verdict.stages[2].waiting_for_input > 0.8
            && verdict.pipes[1].is_some_and(|pipe| pipe.empty > 0.8)
    });
}

#[test]
fn a_slow_middle_stage_is_found() {
    let mut line = Stages::start(&["exec cat /dev/urandom", "exec gzip -9", "exec cat"]);
    judge(&mut line, |found, verdict| {
        (found.stage, found.program.as_deref()) == (1, Some("gzip"))
            && computes(found.reason)
            && verdict.pipes[0].is_some_and(|pipe| pipe.full > 0.5)
    });
}

#[test]
fn a_slow_last_stage_is_found() {
    let mut line = Stages::start(&["exec cat /dev/urandom", "exec cat", "exec gzip -9"]);
    judge(&mut line, |found, _| {
        found.stage == 2 && computes(found.reason)
    });
}

#[test]
fn a_rate_limited_stage_is_found_asleep() {
    let limited = "while read -r -N 4096 x; do printf %s \"$x\"; sleep 1; done";
    let mut line = Stages::start(&["exec yes", limited, "exec cat"]);
    judge(&mut line, |found, verdict| {
        (found.stage, found.reason) == (1, Reason::Asleep)
            && verdict.stages[0].blocked_on_output > 0.8
    });
}

#[test]
fn work_in_a_subshell_counts_for_its_stage() {
    let mut line = Stages::start(&["(while :; do :; done; echo x); true", "exec cat"]);
    judge(&mut line, |found, _| {
        found.stage == 0 && computes(found.reason)
    });
}

#[test]
fn a_slow_input_is_told_from_a_slow_stage() {
    let (mut line, feed) = Stages::fed(&["exec cat", "exec wc"]);
    judge(&mut line, |found, _| {
        (found.stage, found.reason) == (0, Reason::InputSlow)
    });
    drop(feed);
}

#[test]
fn a_slow_consumer_is_told_from_a_slow_stage() {
    let (mut line, output) = Stages::unread(&["exec yes", "exec cat"]);
    judge(&mut line, |found, _| {
        (found.stage, found.reason) == (1, Reason::ConsumerSlow)
    });
    drop(output);
}

#[test]
fn a_stopped_stage_is_found_stopped() {
    let mut line = Stages::start(&["exec yes", "exec cat", "exec wc"]);
    let stopped = rustix::process::Pid::from_child(&line.children[1]);
    rustix::process::kill_process(stopped, rustix::process::Signal::STOP).unwrap();
    judge(&mut line, |found, _| {
        (found.stage, found.reason) == (1, Reason::Stopped)
    });
}

#[test]
fn the_answer_for_sort_changes_with_the_phase() {
    let _watchdog = watchdog();
    // Between two looks it may have sorted few lines already.
    let mut lines = [600_000, 1_200_000, 2_400_000].into_iter();
    assert!(lines.any(all_phases_of_sort_are_seen));
}

/// `false`: nobody looked while it computed.
fn all_phases_of_sort_are_seen(lines: u32) -> bool {
    let (mut line, mut feed) = Stages::fed(&[
        &format!("read -r x; exec seq {lines}"),
        "exec sort -R --parallel=1",
        "while read -r -N 4096 x; do sleep 0.02; done",
    ]);
    let mut sampler = line.sampler(quick());
    let mut history = History::new(sampler.layout().clone(), Duration::from_secs(1));
    let waits = |found: &Bottleneck| found.stage == 0 && found.reason == Reason::InputSlow;
    let computing = |found: &Bottleneck| found.stage == 1 && computes(found.reason);
    let held_up = |found: &Bottleneck, verdict: &Verdict| {
        found.stage == 2 && verdict.pipes[1].is_some_and(|pipe| pipe.full > 0.5)
    };
    wait_for(&mut sampler, &mut history, |found, _| {
        waits(found).then_some(())
    });
    feed.write_all(b"go\n").unwrap();
    let seen = wait_for(&mut sampler, &mut history, |found, verdict| {
        let over = held_up(found, verdict);
        (over || computing(found)).then_some(!over)
    });
    wait_for(&mut sampler, &mut history, |found, verdict| {
        held_up(found, verdict).then_some(())
    });
    assert!(history.overall().samples > history.recent().samples);
    seen
}

#[test]
fn a_pipeline_that_somebody_else_started_is_found_and_watched() {
    let _watchdog = watchdog();
    let mut owner = shell("sleep 60 | cat | wc; true")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    let (pipeline, mut sampler) = loop {
        let pipeline = Scan::now().unwrap().pipeline_of(owner.id());
        // The shell starts its stages one after the other, and each becomes its program later:
        // perhaps when the scan has seen it already.
        if let Ok(pipeline) = &pipeline
            && pipeline.shape == Shape::Linear
            && let names = pipeline.stages.iter().map(|stage| &*stage.name)
            && names.eq(["sleep", "cat", "wc"])
            && let Ok(sampler) = Sampler::attach(pipeline, quick())
            && let commands = sampler.layout().stages.iter().map(|it| &*it.command)
            && commands.eq(["sleep 60", "cat", "wc"])
        {
            break (pipeline.clone(), sampler);
        }
        assert!(begin.elapsed() < PATIENCE, "{pipeline:?}");
        std::thread::sleep(Duration::from_millis(5));
    };
    let waiting = [
        Activity::Sleeping,
        Activity::WaitingForInput,
        Activity::WaitingForInput,
    ];
    while sampler.tick().stages != waiting {
        std::thread::sleep(sampler.due_in());
    }
    let pids: Vec<_> = pipeline
        .stages
        .iter()
        .map(|stage| stage.process.pid as i32)
        .collect();
    let first = rustix::process::Pid::from_raw(pids[0]).unwrap();
    rustix::process::kill_process(first, rustix::process::Signal::TERM).unwrap();
    assert!(owner.wait().unwrap().success());
    // All of its processes are gone, and so are the pipes.
    let sample = sampler.finish();
    assert_eq!(sample.stages, [Activity::Ended; 3]);
    assert!(sample.pipes.iter().all(|level| level.unwrap().reader_gone));
    assert!(Sampler::attach(&pipeline, quick()).unwrap_err().is_ended());
}

#[test]
fn the_final_figures_are_taken_from_zombies() {
    let _watchdog = watchdog();
    const BYTES: u64 = 10_000_000;
    let (mut line, mut feed) =
        Stages::fed(&["read -r x; exec head -c 10000000 /dev/zero", "exec cat"]);
    let mut sampler = line.sampler(Intervals::default());
    // What is asked of a process first when it has ended is root's to know.
    sampler.tick();
    feed.write_all(b"go\n").unwrap();
    let processes: Vec<_> = (0..2)
        .map(|stage| Process::open(line.pid(stage)).unwrap())
        .collect();
    while !processes
        .iter()
        .all(|process| process.stat().unwrap().state == ProcessState::Zombie)
    {
        sampler.tick();
        std::thread::sleep(Duration::from_millis(2));
    }
    let sample = sampler.finish();
    assert_eq!(sample.stages, [Activity::Ended; 2]);
    let figures = sample.figures.unwrap();
    let near = BYTES..BYTES + 200_000;
    assert!(
        near.contains(&figures.stages[0].written.unwrap()),
        "{figures:?}"
    );
    assert!(
        near.contains(&figures.stages[1].read.unwrap()),
        "{figures:?}"
    );
    assert!(
        near.contains(&figures.pipes[0].bytes.unwrap()),
        "{figures:?}"
    );
    assert_eq!(figures.stages[0].processes, 0);
    // Once waited for they are gone for good, and what was known stays known.
    for child in &mut line.children {
        assert!(child.wait().unwrap().success());
    }
    let after = sampler.finish().figures.unwrap();
    assert_eq!(after.stages[0].written, figures.stages[0].written);
    assert_eq!(after.stages[0].cpu_time, figures.stages[0].cpu_time);
}

#[test]
fn processes_that_vanish_during_a_sample_do_no_harm() {
    let _watchdog = watchdog();
    let mut line = Stages::start(&[
        "while :; do /bin/true & (:); (:) | (:); wait; done",
        "exec cat",
    ]);
    let mut sampler = line.sampler(Intervals {
        states: Duration::ZERO,
        figures: Duration::from_millis(1),
    });
    let (mut most, mut samples) = (0, 0);
    // The shell's children are part of its stage.
    while samples < 3000 || most < 2 {
        samples += 1;
        let sample = sampler.tick();
        assert_ne!(sample.stages[0], Activity::Ended);
        assert_eq!(sample.stages.len(), 2);
        if let Some(Figures { stages, .. }) = sample.figures {
            most = most.max(stages[0].processes);
        }
    }
    assert!(sampler.cpu_time() > Duration::ZERO);
}

#[test]
fn stages_that_splice_have_an_unknown_rate_and_not_zero() {
    let _watchdog = watchdog();
    let splicer = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "pipelines::a_stage_that_splices", "--nocapture"])
            .env(SPLICE, "1");
        command
    };
    let commands = vec![shell("exec yes"), splicer(), splicer(), shell("exec cat")];
    let mut line = Stages::connect(commands, Stdio::null(), Stdio::null());
    let mut sampler = line.sampler(Intervals {
        states: Duration::from_millis(1),
        figures: Duration::from_millis(100),
    });
    let mut seen = 0;
    while seen < 10 {
        let sample = sampler.tick();
        if let Some(figures) = sample.figures
            && figures.stages[1].splices
            && figures.stages[2].splices
        {
            // Between two that splice nobody counts; next to one that does not, that one counts.
            assert_eq!(figures.pipes[1].rate, None);
            assert_eq!(figures.pipes[1].bytes, None);
            let known = |pipe: usize| figures.pipes[pipe].rate.is_some_and(|rate| rate > 0.0);
            // They may wait for each other's start, and for a core.
            seen += usize::from(known(0) && known(2));
        }
        std::thread::sleep(sampler.due_in());
    }
}

/// Not a promise: a stage of the pipeline above. Run by itself it has nothing to move.
#[test]
fn a_stage_that_splices() {
    use rustix::pipe::{SpliceFlags, splice};

    if std::env::var_os(SPLICE).is_some() {
        let (input, output) = (std::io::stdin(), std::io::stdout());
        while splice(&input, None, &output, None, 65536, SpliceFlags::empty())
            .is_ok_and(|moved| moved > 0)
        {}
        return;
    }
    let (reader, mut writer) = std::io::pipe().unwrap();
    let (mut out, into) = std::io::pipe().unwrap();
    writer.write_all(b"HOLA!").unwrap();
    assert_eq!(
        splice(&reader, None, &into, None, 65536, SpliceFlags::empty()).unwrap(),
        5
    );
    let mut text = [0; 5];
    std::io::Read::read_exact(&mut out, &mut text).unwrap();
    assert_eq!(&text, b"HOLA!");
}
