//! What the verdict says beyond the name of the slow stage, in the summary, the JSON and the page.

mod support;

use serde_json::Value;
use support::run;
use testing::{stderr, watchdog, with_time_enough};

struct Told {
    summary: String,
    verdict: Value,
    page: String,
}

/// Everything that is told of a pipeline.
fn told(text: &str) -> Told {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let (json, page) = (file("run.json"), file("run.html"));
    let json_option = format!("--json={json}");
    let output = run(&[
        "--summary",
        "always",
        "--progress",
        "never",
        &json_option,
        "--report",
        &page,
        text,
    ]);
    let read = |path| std::fs::read_to_string(path).unwrap();
    let mut run: Value = serde_json::from_str(&read(json)).unwrap();
    Told {
        summary: stderr(&output),
        verdict: run["verdict"].take(),
        page: read(page),
    }
}

#[test]
fn the_pipeline_without_its_slow_stage_is_foretold_everywhere() {
    let _watchdog = watchdog();
    // On a busy machine the start of the rest takes its part of the time.
    let told = with_time_enough(|time| {
        let lines = time.as_secs() * 10 + 15;
        let text = format!("seq {lines} | while read -r x; do sleep 0.1; echo $x; done | cat");
        let told = told(&text);
        let share = told.verdict["prediction"]["time_share"].as_f64();
        let still = told.verdict["phases"] == Value::Array(Vec::new());
        (share.is_some_and(|share| (0.0..0.3).contains(&share)) && still).then_some(told)
    });
    let sentence = told.verdict["prediction"]["sentence"].as_str().unwrap();
    assert!(
        sentence.starts_with("without it the pipeline would take at best ")
            && sentence.contains("; then "),
        "{sentence}"
    );
    assert!(told.summary.contains(sentence), "{}", told.summary);
    assert!(told.page.contains(&sentence[1..]), "{sentence}");
    assert!(!told.summary.contains("moved"), "{}", told.summary);
}

#[test]
fn a_bottleneck_that_moves_is_told_with_its_times_everywhere() {
    let _watchdog = watchdog();
    let (told, seconds) = with_time_enough(|time| {
        let seconds = time.as_secs() + 2;
        let told = told(&format!(
            "{{ sleep {seconds}; echo; }} | {{ cat; sleep {seconds}; }} | cat"
        ));
        let phases = told.verdict["phases"].as_array().unwrap();
        let stages: Vec<_> = phases.iter().map(|phase| phase["stage"].as_u64()).collect();
        (stages == [Some(1), Some(2)]).then_some((told, seconds))
    });
    let phases = told.verdict["phases"].as_array().unwrap();
    assert_eq!(phases[0]["until_seconds"], phases[1]["from_seconds"]);
    assert_eq!(phases[1]["reason"], "asleep");
    let moved = "the bottleneck moved: 0–";
    let line = told.summary.lines().find_map(|line| {
        let line = line.trim();
        line.starts_with(moved).then_some(line)
    });
    let line = line.unwrap_or_else(|| panic!("{}", told.summary));
    assert!(
        line.contains(&format!(" s {{ sleep {seconds}; echo; }}; "))
            && line.ends_with(&format!(" s {{ cat; sleep {seconds}; }}")),
        "{line}"
    );
    assert!(told.page.contains(&line[1..]), "{line}");
}
