//! A run in the trace-event format that Perfetto (<https://ui.perfetto.dev>) and Chrome's
//! `chrome://tracing` open.
//!
//! Each stage is a thread with slices of what it did; each pipe has counters of its fill and rate.
//!
//! # References
//!
//! "Trace Event Format", the description of the JSON that Chrome's tracing reads.

use std::io::{self, Write};
use std::time::Duration;

use pipewright_observe::{Activity, Layout, Sample};
use serde_json::{Value, json};

use super::Export;
use crate::outcome::Outcome;
use crate::view::text;

/// The one process of the trace: the pipeline.
const PIPELINE: u32 = 1;

/// Writes each event when it is over.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    stages: Vec<Track>,
    /// For each pipe its bytes, its fill in percent, its rate.
    pipes: Vec<[Counter; 3]>,
    /// The time of the newest sample.
    now: Duration,
    any_event: bool,
}

/// The slices of a stage; the one that is not over yet is only here.
#[derive(Debug)]
struct Track {
    tid: usize,
    slice: Option<(Activity, Duration)>,
}

/// A value over time, named for viewers.
#[derive(Debug)]
struct Counter {
    name: String,
    /// Null: not known.
    last: Option<Value>,
}

impl Export for Trace {
    fn begin(&mut self, layout: &Layout, out: &mut dyn Write) -> io::Result<()> {
        self.stages = (1..=layout.stages.len())
            .map(|tid| Track { tid, slice: None })
            .collect();
        let counter = |name| Counter { name, last: None };
        let pipes = layout.pipes.iter().map(super::joined);
        self.pipes = pipes
            .map(|pipe| {
                ["fill, bytes", "fill, %", "rate, ≈ bytes/s"]
                    .map(|of| counter(format!("pipe {pipe} {of}")))
            })
            .collect();
        out.write_all(b"{\"displayTimeUnit\":\"ms\",\"traceEvents\":[")?;
        self.write(names(layout), out)
    }

    fn sample(&mut self, sample: &Sample, out: &mut dyn Write) -> io::Result<()> {
        self.now = sample.at;
        let mut events = Vec::new();
        for (track, &activity) in self.stages.iter_mut().zip(&sample.stages) {
            if track.slice.is_none_or(|(doing, _)| doing != activity) {
                events.extend(track.slice(sample.at));
                track.slice = Some((activity, sample.at));
            }
        }
        for (index, counters) in self.pipes.iter_mut().enumerate() {
            events.extend(fill(counters, index, sample).into_iter().flatten());
            events.extend(rate(&mut counters[2], index, sample));
        }
        self.write(events, out)
    }

    fn finish(&mut self, _: &Outcome, out: &mut dyn Write) -> io::Result<()> {
        if !self.any_event {
            self.begin(&Layout::default(), out)?;
        }
        // The last sample only tells when the one before it ended.
        let slices = self.stages.iter().filter_map(|track| track.slice(self.now));
        self.write(slices.collect(), out)?;
        out.write_all(b"\n]}\n")
    }
}

impl Trace {
    fn write(&mut self, events: Vec<Value>, out: &mut dyn Write) -> io::Result<()> {
        for event in events {
            let separator = if self.any_event { "," } else { "" };
            write!(out, "{separator}\n{event}")?;
            self.any_event = true;
        }
        Ok(())
    }
}

/// Events that name the process and its threads for viewers.
fn names(layout: &Layout) -> Vec<Value> {
    let metadata = |name: &str, tid: usize, args: Value| json!({"ph": "M", "name": name, "pid": PIPELINE, "tid": tid, "args": args});
    let stages = layout.stages.iter().map(|stage| text::line(&stage.command));
    let stages: Vec<String> = stages.collect();
    let pipeline = format!("pipewright: {}", stages.join(" | "));
    let mut events = vec![metadata("process_name", 0, json!({"name": pipeline}))];
    for (tid, stage) in (1..).zip(stages) {
        let name = json!({"name": format!("{tid} {stage}")});
        events.push(metadata("thread_name", tid, name));
        events.push(metadata(
            "thread_sort_index",
            tid,
            json!({"sort_index": tid}),
        ));
    }
    events
}

/// The changes of the first two counters of a pipe.
fn fill(counters: &mut [Counter; 3], pipe: usize, sample: &Sample) -> [Option<Value>; 2] {
    let level = sample.pipes.get(pipe).copied().flatten();
    let bytes = level.map(|level| json!({"unread": level.unread, "capacity": level.capacity}));
    let percent = level.filter(|level| level.capacity > 0).map(|level| {
        let percent = level.unread as f64 * 100.0 / level.capacity as f64;
        json!({"percent": percent})
    });
    [
        counters[0].change(sample.at, bytes),
        counters[1].change(sample.at, percent),
    ]
}

/// The change of a pipe's rate. A counter holds its value until the next one, so a rate belongs where
/// its interval began.
fn rate(counter: &mut Counter, pipe: usize, sample: &Sample) -> Option<Value> {
    let figures = sample.figures.as_ref()?;
    let began = sample.at.saturating_sub(figures.interval);
    let rate = figures.pipes.get(pipe).and_then(|pipe| pipe.rate);
    counter.change(began, rate.map(|rate| json!({"rate": rate})))
}

impl Track {
    /// The slice until now.
    fn slice(&self, now: Duration) -> Option<Value> {
        let (activity, since) = self.slice?;
        let (ts, end) = (microseconds(since), microseconds(now));
        (ts < end).then(|| {
            json!({
                "ph": "X", "name": activity.to_string(), "cat": "stage", "pid": PIPELINE,
                "tid": self.tid, "ts": ts, "dur": end - ts, "cname": colour(activity),
            })
        })
    }
}

impl Counter {
    /// The event of a change, if it is one. The format has no way to end a counter, so where a value
    /// is no longer known, a mark says so.
    fn change(&mut self, at: Duration, now: Option<Value>) -> Option<Value> {
        let now = now.unwrap_or(Value::Null);
        if self.last.as_ref() == Some(&now) {
            return None;
        }
        let (name, ts) = (&self.name, microseconds(at));
        let event = if now.is_null() {
            let name = format!("{name}: unknown from here");
            // Scope `p`: of the whole process.
            json!({"ph": "i", "name": name, "cat": "pipe", "pid": PIPELINE, "tid": 0, "ts": ts, "s": "p"})
        } else {
            json!({"ph": "C", "name": name, "cat": "pipe", "pid": PIPELINE, "ts": ts, "args": now})
        };
        self.last = Some(now);
        Some(event)
    }
}

/// Since the first look could have been taken.
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
        Activity::WaitingForPerson => "good",
        Activity::Polling => "olive",
        Activity::Elsewhere => "generic_work",
        Activity::Stopped => "black",
        Activity::Ended => "grey",
        _ => "thread_state_unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::recordings::{self, Recorded};
    use proptest::prelude::*;

    fn events(recording: &Recorded) -> Vec<Value> {
        let json = recording.written(&mut Trace::default());
        let mut loaded: Value = serde_json::from_str(&json).expect("what was written is JSON");
        assert_eq!(loaded["displayTimeUnit"], "ms");
        let events = match loaded["traceEvents"].take() {
            Value::Array(events) => events,
            other => panic!("traceEvents is a list, not {other}"),
        };
        events.iter().for_each(check);
        events
    }

    /// Fails unless an event is as the format asks of its kind.
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
            .sample(60, &[Running, Running]);
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
        let recording = Recorded::named(&["zcat log.gz", "grep \x1b[31m\"x\""]);
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
            .level(0, 4096, 4096);
        let events = events(&recording);
        let bytes = counters_of(&events, "pipe 1 → 2 fill, bytes");
        assert_eq!(bytes.len(), 2);
        assert_eq!(
            (bytes[1].0, &bytes[1].1["unread"], &bytes[1].1["capacity"]),
            (40_000, &4096.into(), &4096.into())
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
            .rate(0, Some(7e6));
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
        assert_eq!(events(&Recorded::new(0)).len(), 1);
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
