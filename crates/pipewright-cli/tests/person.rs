//! Stages that wait for somebody at the keyboard, in a real terminal.

mod support;

use std::time::Instant;

use pipewright_observe::{Activity, Intervals, Process, Sampler};
use support::USUAL;
use testing::terminals::{Setup, Terminal};
use testing::{PATIENCE, watchdog};

/// Looks that have to find a stage waiting before a key is typed: a verdict needs no more.
const LOOKS: u32 = 100;

/// The processes that pipewright has started, in the order of their start.
fn stages(pid: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let numbers = children.split_whitespace();
    numbers.filter_map(|number| number.parse().ok()).collect()
}

/// Waits until one of the stages was seen to wait for a person this often.
fn wait_for_the_person(terminal: &Terminal, text: &str) {
    let begin = Instant::now();
    let mut seen = 0;
    while seen < LOOKS {
        assert!(
            begin.elapsed() < PATIENCE,
            "{text} waits for nobody:\n{}",
            terminal.screen()
        );
        let processes = stages(terminal.pid).into_iter();
        let processes: Vec<Process> = processes.filter_map(|it| Process::open(it).ok()).collect();
        let Ok(mut sampler) = Sampler::new(processes, Vec::new(), Intervals::default()) else {
            continue;
        };
        // Anew after a while: a stage may have come since.
        for _ in 0..25 {
            let sample = sampler.tick();
            seen += u32::from(sample.stages.contains(&Activity::WaitingForPerson));
            std::thread::sleep(sampler.due_in());
        }
    }
}

/// Runs a pipeline with the terminal at all its ends, types the keys once it waits for them, and
/// returns the sentence of the verdict.
fn verdict(text: &str, keys: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("run.json");
    let option: &'static str = format!("--json={}", json.display()).leak();
    let setup = Setup {
        output: ">&0 2>&0",
        options: vec![option, "--summary=never", "--progress=never"].leak(),
        ..USUAL
    };
    let terminal = Terminal::start(&setup, text);
    wait_for_the_person(&terminal, text);
    terminal.type_in(keys);
    terminal.end();
    let run: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    run["verdict"]["sentence"].as_str().unwrap().to_owned()
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|it| it.join(program).is_file());
    if !found {
        println!("skipped: there is no {program}");
    }
    found
}

fn check(program: &str, text: &str, keys: &str, number: usize) {
    let _watchdog = watchdog();
    if !is_there(program) {
        return;
    }
    let sentence = verdict(text, keys);
    assert!(
        sentence.starts_with(&format!("stage {number} (")),
        "{sentence}"
    );
    assert!(sentence.ends_with(" is waiting for a person"), "{sentence}");
}

#[test]
fn a_question_at_the_terminal_waits_for_a_person() {
    let text = "seq 100000 | { read -r answer </dev/tty; cat; } | tail -n 1";
    check("bash", text, "yes\n", 2);
}

#[test]
fn a_first_stage_that_reads_the_keyboard_waits_for_a_person() {
    check("cat", "cat | wc -l", "one\n\x04", 1);
}

#[test]
fn a_pager_waits_for_a_person() {
    check("less", "seq 100000 | LESS= less", "q", 2);
}

#[test]
fn a_pager_that_has_read_all_of_its_input_waits_for_a_person() {
    check("less", "seq 1000 | LESS= less +G", "q", 2);
}

#[test]
fn a_menu_waits_for_a_person() {
    check("fzf", "seq 9999 | fzf", "\r", 2);
}

#[test]
fn an_editor_waits_for_a_person() {
    // Where it is hung up on, it saves a file.
    let directory = tempfile::tempdir().unwrap();
    let text = format!("seq 10 | (cd '{}' && nano -)", directory.path().display());
    check("nano", &text, "\x18n", 2);
}

#[test]
fn an_editor_in_the_middle_waits_for_a_person() {
    if is_there("nano") {
        check("vipe", "seq 10 | EDITOR=nano vipe | cat", "\x18", 2);
    }
}
