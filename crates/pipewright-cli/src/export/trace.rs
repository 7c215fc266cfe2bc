//! A run in the trace-event format that Perfetto (<https://ui.perfetto.dev>) and Chrome's
//! `chrome://tracing` open. Pure.
//!
//! A thread track a stage, with what it did as slices; counters a pipe, for its fill and its rate.
//!
//! # References
//!
//! "Trace Event Format", the description of the JSON that Chrome's tracing reads.

use std::collections::BTreeMap;
use std::time::Duration;

use pipewright_observe::{Activity, Sample};
use serde::Serialize;

use crate::outcome::Observed;
use crate::view::text;

/// The one process of the trace: the pipeline.
const PIPELINE: u32 = 1;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Trace<'a> {
    trace_events: Vec<Event<'a>>,
    display_time_unit: &'static str,
}

/// One event. Times are microseconds since the first look could have been taken.
#[derive(Debug, Serialize)]
#[serde(tag = "ph")]
enum Event<'a> {
    #[serde(rename = "M")]
    Metadata {
        name: &'static str,
        pid: u32,
        tid: usize,
        args: Metadata,
    },
    #[serde(rename = "X")]
    Slice {
        name: String,
        cat: &'static str,
        pid: u32,
        tid: usize,
        ts: u64,
        dur: u64,
        cname: &'static str,
    },
    #[serde(rename = "C")]
    Counter {
        name: &'a str,
        cat: &'static str,
        pid: u32,
        ts: u64,
        args: Values,
    },
    /// Scope `p`: of the whole process.
    #[serde(rename = "i")]
    Instant {
        name: String,
        cat: &'static str,
        pid: u32,
        tid: usize,
        ts: u64,
        s: &'static str,
    },
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Metadata {
    Name(String),
    SortIndex(usize),
}

/// The series of a counter at one moment.
type Values = BTreeMap<&'static str, f64>;

/// The recording as JSON.
pub(crate) fn trace(recording: &Observed) -> serde_json::Result<String> {
    let layout = &recording.layout;
    let names: Vec<String> = layout
        .stages
        .iter()
        .map(|stage| text::line(&stage.command))
        .collect();
    let counters: Vec<[String; 3]> = layout
        .pipes
        .iter()
        .map(|pipe| {
            let pipe = format!("pipe {}", super::joined(pipe));
            [
                format!("{pipe} fill, bytes"),
                format!("{pipe} fill, %"),
                format!("{pipe} rate, ≈ bytes/s"),
            ]
        })
        .collect();

    let mut events = vec![Event::Metadata {
        name: "process_name",
        pid: PIPELINE,
        tid: 0,
        args: Metadata::Name(format!("pipewright: {}", names.join(" | "))),
    }];
    for (stage, name) in names.iter().enumerate() {
        let tid = stage + 1;
        let named = Metadata::Name(format!("{tid} {name}"));
        events.push(Event::Metadata {
            name: "thread_name",
            pid: PIPELINE,
            tid,
            args: named,
        });
        let sorted = Metadata::SortIndex(tid);
        events.push(Event::Metadata {
            name: "thread_sort_index",
            pid: PIPELINE,
            tid,
            args: sorted,
        });
    }
    for stage in 0..names.len() {
        slices(&mut events, &recording.samples, stage);
    }
    for (pipe, [bytes, percent, rate]) in counters.iter().enumerate() {
        let levels = || {
            recording
                .samples
                .iter()
                .map(move |sample| (sample.at, sample.pipes.get(pipe).copied().flatten()))
        };
        counter(
            &mut events,
            bytes,
            levels().map(|(at, level)| {
                let values = level.map(|level| {
                    Values::from([
                        ("unread", level.unread as f64),
                        ("capacity", level.capacity as f64),
                    ])
                });
                (at, values)
            }),
        );
        counter(
            &mut events,
            percent,
            levels().map(|(at, level)| {
                let values = level.filter(|level| level.capacity > 0).map(|level| {
                    Values::from([(
                        "percent",
                        level.unread as f64 * 100.0 / level.capacity as f64,
                    )])
                });
                (at, values)
            }),
        );
        // A counter holds its value until the next one: a rate belongs where its interval began.
        let rates = recording.samples.iter().filter_map(|sample| {
            let figures = sample.figures.as_ref()?;
            let rate = figures.pipes.get(pipe).and_then(|pipe| pipe.rate);
            let began = sample.at.saturating_sub(figures.interval);
            Some((began, rate.map(|rate| Values::from([("rate", rate)]))))
        });
        counter(&mut events, rate, rates);
    }
    serde_json::to_string(&Trace {
        trace_events: events,
        display_time_unit: "ms",
    })
}

/// What a stage did, from each sample to the next, equal neighbours as one slice.
fn slices(events: &mut Vec<Event<'_>>, samples: &[Sample], stage: usize) {
    let doing = |sample: &Sample| sample.stages.get(stage).copied();
    let mut runs = samples
        .chunk_by(|one, next| doing(one) == doing(next))
        .peekable();
    while let Some(run) = runs.next() {
        // The last sample only tells when the one before it ended.
        let until = runs.peek().map_or(&run[run.len() - 1], |next| &next[0]);
        let (ts, end) = (microseconds(run[0].at), microseconds(until.at));
        if let (Some(activity), true) = (doing(&run[0]), ts < end) {
            events.push(Event::Slice {
                name: activity.to_string(),
                cat: "stage",
                pid: PIPELINE,
                tid: stage + 1,
                ts,
                dur: end - ts,
                cname: colour(activity),
            });
        }
    }
}

/// A counter's changes. The format has no way to end one, so where a value is no longer known, a
/// mark says so.
fn counter<'a>(
    events: &mut Vec<Event<'a>>,
    name: &'a str,
    values: impl Iterator<Item = (Duration, Option<Values>)>,
) {
    let mut last = None;
    for (at, now) in values {
        if last.as_ref() == Some(&now) {
            continue;
        }
        let ts = microseconds(at);
        events.push(match &now {
            Some(values) => {
                let args = values.clone();
                Event::Counter {
                    name,
                    cat: "pipe",
                    pid: PIPELINE,
                    ts,
                    args,
                }
            }
            None => Event::Instant {
                name: format!("{name}: unknown from here"),
                cat: "pipe",
                pid: PIPELINE,
                tid: 0,
                ts,
                s: "p",
            },
        });
        last = Some(now);
    }
}

fn microseconds(time: Duration) -> u64 {
    time.as_micros() as u64
}

/// One of the viewer's own colour names: it knows no others.
fn colour(activity: Activity) -> &'static str {
    match activity {
        Activity::Running => "thread_state_running",
        Activity::WaitingForInput => "thread_state_sleeping",
        Activity::BlockedOnOutput => "terrible",
        Activity::Disk => "thread_state_iowait",
        Activity::Network => "rail_load",
        Activity::Sleeping => "yellow",
        Activity::Polling => "olive",
        Activity::Elsewhere => "generic_work",
        Activity::Stopped => "black",
        Activity::Unknown => "thread_state_unknown",
        Activity::Ended => "grey",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::recordings::{self, Recorded};
    use proptest::prelude::*;
    use serde_json::Value;

    fn events(recording: &Observed) -> Vec<Value> {
        let json = trace(recording).expect("plain values become JSON");
        let mut loaded: Value = serde_json::from_str(&json).expect("what was written is JSON");
        assert_eq!(loaded["displayTimeUnit"], "ms");
        let events = match loaded["traceEvents"].take() {
            Value::Array(events) => events,
            other => panic!("traceEvents is a list, not {other}"),
        };
        events.iter().for_each(check);
        events
    }

    /// What the format asks of each kind of event.
    fn check(event: &Value) {
        assert!(event["name"].is_string(), "{event}");
        assert_eq!(event["pid"], PIPELINE, "{event}");
        let phase = event["ph"].as_str().expect("each event has a phase");
        assert!(phase == "M" || event["ts"].is_u64(), "{event}");
        match phase {
            "M" => assert!(
                event["args"]["name"].is_string() || event["args"]["sort_index"].is_u64(),
                "{event}"
            ),
            "X" => {
                assert!(event["dur"].as_u64().is_some_and(|dur| dur > 0), "{event}");
                assert!(event["tid"].as_u64().is_some_and(|tid| tid > 0), "{event}");
                assert!(event["cname"].is_string(), "{event}");
            }
            "C" => {
                let series = event["args"].as_object().expect("a counter has series");
                assert!(
                    !series.is_empty() && series.values().all(Value::is_number),
                    "{event}"
                );
            }
            "i" => assert_eq!(event["s"], "p"),
            other => panic!("no phase {other} is written"),
        }
    }

    fn slices_of(events: &[Value], stage: usize) -> Vec<(u64, u64, String)> {
        let number = |value: &Value| value.as_u64().expect("a whole number");
        events
            .iter()
            .filter(|event| event["ph"] == "X" && event["tid"] == stage + 1)
            .map(|event| {
                let name = event["name"].as_str().expect("a name").to_owned();
                (number(&event["ts"]), number(&event["dur"]), name)
            })
            .collect()
    }

    fn counters_of<'a>(events: &'a [Value], named: &str) -> Vec<(u64, &'a Value)> {
        events
            .iter()
            .filter(|event| event["ph"] == "C" && event["name"] == named)
            .map(|event| (event["ts"].as_u64().expect("a time"), &event["args"]))
            .collect()
    }

    #[test]
    fn equal_neighbours_become_one_slice() {
        use Activity::{BlockedOnOutput, Running, WaitingForInput};
        let recording = Recorded::new(2)
            .sample(0, &[Running, WaitingForInput])
            .sample(20, &[Running, WaitingForInput])
            .sample(45, &[BlockedOnOutput, WaitingForInput])
            .sample(60, &[Running, Running])
            .finish();
        let events = events(&recording);
        assert_eq!(
            slices_of(&events, 0),
            [
                (0, 45_000, "running".to_owned()),
                (45_000, 15_000, "blocked on output".to_owned())
            ]
        );
        assert_eq!(
            slices_of(&events, 1),
            [(0, 60_000, "waiting for input".to_owned())]
        );
    }

    #[test]
    fn tracks_are_named_after_the_stages_without_control_characters() {
        let recording = Recorded::named(&["zcat log.gz", "grep \x1b[31m\"x\""]).finish();
        let events = events(&recording);
        let named = |kind: &str| -> Vec<&str> {
            let of_kind = events.iter().filter(|event| event["name"] == kind);
            of_kind
                .filter_map(|event| event["args"]["name"].as_str())
                .collect()
        };
        assert_eq!(
            named("process_name"),
            ["pipewright: zcat log.gz | grep [31m\"x\""]
        );
        assert_eq!(named("thread_name"), ["1 zcat log.gz", "2 grep [31m\"x\""]);
    }

    #[test]
    fn fill_is_told_when_it_changes() {
        let running = [Activity::Running; 2];
        let recording = Recorded::new(2)
            .sample(0, &running)
            .level(0, 1024, 4096)
            .sample(20, &running)
            .level(0, 1024, 4096)
            .sample(40, &running)
            .level(0, 4096, 4096)
            .finish();
        let events = events(&recording);
        let bytes = counters_of(&events, "pipe 1 → 2 fill, bytes");
        assert_eq!(bytes.len(), 2);
        assert_eq!(
            (bytes[1].0, &bytes[1].1["unread"], &bytes[1].1["capacity"]),
            (40_000, &4096.0.into(), &4096.0.into())
        );
        let percent = counters_of(&events, "pipe 1 → 2 fill, %");
        assert_eq!((percent[0].0, &percent[0].1["percent"]), (0, &25.0.into()));
    }

    #[test]
    fn an_unknown_rate_is_a_gap_with_a_mark_and_not_zero() {
        let running = [Activity::Running; 2];
        let recording = Recorded::new(2)
            .sample(1000, &running)
            .rate(0, Some(5e6))
            .sample(2000, &running)
            .rate(0, None)
            .sample(3000, &running)
            .rate(0, None)
            .sample(4000, &running)
            .rate(0, Some(7e6))
            .finish();
        let events = events(&recording);
        let name = "pipe 1 → 2 rate, ≈ bytes/s";
        let rates = counters_of(&events, name);
        let told: Vec<_> = rates
            .iter()
            .map(|(at, args)| (*at, args["rate"].as_f64()))
            .collect();
        assert_eq!(told, [(0, Some(5e6)), (3_000_000, Some(7e6))]);
        let unknown = format!("{name}: unknown from here");
        let marks: Vec<_> = events
            .iter()
            .filter(|event| event["name"] == unknown.as_str())
            .collect();
        assert_eq!(marks.len(), 1);
        assert_eq!(marks[0]["ts"], 1_000_000);
    }

    #[test]
    fn an_empty_recording_is_a_trace_too() {
        assert_eq!(events(&Recorded::new(0).finish()).len(), 1);
    }

    #[test]
    fn a_real_pipeline_is_traced() {
        let recording = recordings::real();
        let events = events(&recording);
        assert!((0..3).all(|stage| !slices_of(&events, stage).is_empty()));
        assert!(!counters_of(&events, "pipe 1 → 2 fill, bytes").is_empty());
        assert!(!counters_of(&events, "pipe 2 → 3 rate, ≈ bytes/s").is_empty());
    }

    proptest! {
        #[test]
        fn slices_follow_each_other_and_cover_the_time_of_the_samples(
            recording in recordings::any(4, 60)
        ) {
            let stages = recording.layout.stages.len();
            let events = events(&recording);
            let first = recording.samples.first().map_or(0, |sample| microseconds(sample.at));
            let last = recording.samples.last().map_or(0, |sample| microseconds(sample.at));
            for stage in 0..stages {
                let mut end = first;
                let mut before = None;
                for (ts, dur, name) in slices_of(&events, stage) {
                    prop_assert_eq!(ts, end, "no overlap and no hole");
                    prop_assert_ne!(Some(&name), before.as_ref(), "neighbours differ");
                    end = ts + dur;
                    before = Some(name);
                }
                prop_assert_eq!(end, last);
            }
        }
    }
}
