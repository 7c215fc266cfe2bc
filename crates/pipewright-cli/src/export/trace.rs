//! A run in the trace-event format that Perfetto (<https://ui.perfetto.dev>) and Chrome's
//! `chrome://tracing` open.
//!
//! Each stage is a thread with slices of what it did; each pipe has counters of its fill and rate.
//!
//! # References
//!
//! "Trace Event Format", the description of the JSON that Chrome's tracing reads.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use pipewright_observe::{Activity, Layout, Sample};
use serde::Serialize;

use super::Export;
use crate::outcome::Outcome;
use crate::view::text;

/// The one process of the trace: the pipeline.
const PIPELINE: u32 = 1;

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
        args: &'a Values,
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

/// Writes each event when it is over.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// `None` before the first event.
    tracks: Option<Tracks>,
}

#[derive(Debug)]
struct Tracks {
    stages: Vec<StageTrack>,
    pipes: Vec<PipeTrack>,
    /// The time of the newest sample.
    now: Duration,
    events: Events,
}

/// The list of events, as far as it is written.
#[derive(Debug, Default)]
struct Events {
    any: bool,
}

/// A stage: what it does, and since when.
#[derive(Debug)]
struct StageTrack {
    tid: usize,
    doing: Option<(Activity, Duration)>,
}

/// The counters of a pipe.
#[derive(Debug)]
struct PipeTrack {
    bytes: Counter,
    percent: Counter,
    rate: Counter,
}

#[derive(Debug)]
struct Counter {
    name: String,
    /// Written last; `Some(None)`: that the value is not known.
    last: Option<Option<Values>>,
}

impl Export for Trace {
    fn begin(&mut self, layout: &Layout, out: &mut dyn Write) -> io::Result<()> {
        let tracks = self.tracks.insert(Tracks::new(layout));
        out.write_all(b"{\"displayTimeUnit\":\"ms\",\"traceEvents\":[")?;
        tracks.name(layout, out)
    }

    fn sample(&mut self, sample: &Sample, out: &mut dyn Write) -> io::Result<()> {
        self.tracks
            .as_mut()
            .map_or(Ok(()), |tracks| tracks.follow(sample, out))
    }

    fn finish(&mut self, _: &Outcome, out: &mut dyn Write) -> io::Result<()> {
        if self.tracks.is_none() {
            self.begin(&Layout::default(), out)?;
        }
        if let Some(tracks) = &mut self.tracks {
            tracks.end(out)?;
        }
        out.write_all(b"\n]}\n")
    }
}

impl Tracks {
    fn new(layout: &Layout) -> Self {
        let stages = (1..=layout.stages.len()).map(|tid| StageTrack { tid, doing: None });
        let pipes = layout.pipes.iter().map(|pipe| {
            let pipe = super::joined(pipe);
            let counter = |of: &str| Counter {
                name: format!("pipe {pipe} {of}"),
                last: None,
            };
            PipeTrack {
                bytes: counter("fill, bytes"),
                percent: counter("fill, %"),
                rate: counter("rate, ≈ bytes/s"),
            }
        });
        Self {
            stages: stages.collect(),
            pipes: pipes.collect(),
            now: Duration::ZERO,
            events: Events::default(),
        }
    }

    /// Writes what viewers are to call the process and its threads.
    fn name(&mut self, layout: &Layout, out: &mut dyn Write) -> io::Result<()> {
        let names = layout.stages.iter().map(|stage| text::line(&stage.command));
        let names: Vec<String> = names.collect();
        let mut metadata = |name, tid, args| {
            let event = Event::Metadata {
                name,
                pid: PIPELINE,
                tid,
                args,
            };
            self.events.write(&event, out)
        };
        let pipeline = format!("pipewright: {}", names.join(" | "));
        metadata("process_name", 0, Metadata::Name(pipeline))?;
        for (tid, name) in (1..).zip(names) {
            metadata("thread_name", tid, Metadata::Name(format!("{tid} {name}")))?;
            metadata("thread_sort_index", tid, Metadata::SortIndex(tid))?;
        }
        Ok(())
    }

    fn follow(&mut self, sample: &Sample, out: &mut dyn Write) -> io::Result<()> {
        self.now = sample.at;
        let activities = sample.stages.iter().copied();
        for (stage, activity) in self.stages.iter_mut().zip(activities) {
            if stage.doing.is_none_or(|(doing, _)| doing != activity) {
                stage.end_slice(sample.at, &mut self.events, out)?;
                stage.doing = Some((activity, sample.at));
            }
        }
        for (index, pipe) in self.pipes.iter_mut().enumerate() {
            pipe.follow(sample, index, &mut self.events, out)?;
        }
        Ok(())
    }

    /// The last sample only tells when the one before it ended.
    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.stages
            .iter()
            .try_for_each(|stage| stage.end_slice(self.now, &mut self.events, out))
    }
}

impl Events {
    fn write(&mut self, event: &Event<'_>, out: &mut dyn Write) -> io::Result<()> {
        let separator = if self.any { ",\n" } else { "\n" };
        self.any = true;
        out.write_all(separator.as_bytes())?;
        Ok(serde_json::to_writer(out, event)?)
    }
}

impl StageTrack {
    /// Writes what the stage did until now.
    fn end_slice(&self, now: Duration, events: &mut Events, out: &mut dyn Write) -> io::Result<()> {
        let Some((activity, since)) = self.doing else {
            return Ok(());
        };
        let (ts, end) = (microseconds(since), microseconds(now));
        if ts == end {
            return Ok(());
        }
        let slice = Event::Slice {
            name: activity.to_string(),
            cat: "stage",
            pid: PIPELINE,
            tid: self.tid,
            ts,
            dur: end - ts,
            cname: colour(activity),
        };
        events.write(&slice, out)
    }
}

impl PipeTrack {
    fn follow(
        &mut self,
        sample: &Sample,
        index: usize,
        events: &mut Events,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let level = sample.pipes.get(index).copied().flatten();
        let bytes = level.map(|level| {
            let (unread, capacity) = (level.unread as f64, level.capacity as f64);
            Values::from([("unread", unread), ("capacity", capacity)])
        });
        let percent = level.filter(|level| level.capacity > 0).map(|level| {
            let percent = level.unread as f64 * 100.0 / level.capacity as f64;
            Values::from([("percent", percent)])
        });
        self.bytes.tell(sample.at, bytes, events, out)?;
        self.percent.tell(sample.at, percent, events, out)?;
        let Some(figures) = &sample.figures else {
            return Ok(());
        };
        // A counter holds its value until the next one: a rate belongs where its interval began.
        let began = sample.at.saturating_sub(figures.interval);
        let rate = figures.pipes.get(index).and_then(|pipe| pipe.rate);
        let rate = rate.map(|rate| Values::from([("rate", rate)]));
        self.rate.tell(began, rate, events, out)
    }
}

impl Counter {
    /// Writes the value if it has changed. The format has no way to end a counter, so where a value
    /// is no longer known, a mark says so.
    fn tell(
        &mut self,
        at: Duration,
        now: Option<Values>,
        events: &mut Events,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        if self.last.as_ref() == Some(&now) {
            return Ok(());
        }
        let ts = microseconds(at);
        let event = match &now {
            Some(values) => Event::Counter {
                name: &self.name,
                cat: "pipe",
                pid: PIPELINE,
                ts,
                args: values,
            },
            None => Event::Instant {
                name: format!("{}: unknown from here", self.name),
                cat: "pipe",
                pid: PIPELINE,
                tid: 0,
                ts,
                s: "p",
            },
        };
        events.write(&event, out)?;
        self.last = Some(now);
        Ok(())
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
        Activity::Ended => "grey",
        _ => "thread_state_unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::recordings::{self, Recorded};
    use proptest::prelude::*;
    use serde_json::Value;

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
