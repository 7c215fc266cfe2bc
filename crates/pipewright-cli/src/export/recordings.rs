//! Recordings for tests: made up, arbitrary, and real ones.

use std::io::Read;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use pipewright::{ResourceUsage, StageEnd};
use pipewright_observe::verdict::Verdict;
use pipewright_observe::{
    Activity, Figures, Intervals, Layout, PipeFigures, PipeHandle, PipeId, PipeLayout, PipeLevel,
    Process, ProcessId, Sample, Sampler, StageFigures, StageLayout,
};
use proptest::prelude::*;
use rustix::fs::{OFlags, fcntl_setfl};

use super::Export;
use crate::outcome::{Observed, Outcome, Stage};
use crate::view::text;

/// A recording of stages in a line.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) layout: Layout,
    pub(super) samples: Vec<Sample>,
}

impl Recorded {
    pub(super) fn new(stages: usize) -> Self {
        Self::named(&vec!["stage"; stages])
    }

    /// Of stages that were typed so.
    pub(super) fn named(names: &[&str]) -> Self {
        let stage = |(pid, name): (u32, &&str)| StageLayout {
            process: ProcessId { pid, start_time: 1 },
            command: (*name).to_owned(),
        };
        let pipe = |index: usize| PipeLayout {
            pipe: PipeId(index as u64),
            writers: vec![index],
            readers: vec![index + 1],
        };
        let layout = Layout {
            stages: (100..).zip(names).map(stage).collect(),
            pipes: (0..names.len().saturating_sub(1)).map(pipe).collect(),
        };
        Self {
            layout,
            samples: Vec::new(),
        }
    }

    /// A sample, so many milliseconds after the start, in which nothing is known of the pipes.
    pub(super) fn sample(mut self, at: u64, stages: &[Activity]) -> Self {
        self.samples.push(Sample {
            at: Duration::from_millis(at),
            stages: stages.to_vec(),
            pipes: vec![None; self.layout.pipes.len()],
            figures: None,
        });
        self
    }

    /// Adds the fill of a pipe to the newest sample.
    pub(super) fn level(mut self, pipe: usize, unread: u64, capacity: u64) -> Self {
        let full = unread == capacity;
        let level = PipeLevel {
            unread,
            capacity,
            full,
            reader_gone: false,
        };
        self.newest().pipes[pipe] = Some(level);
        self
    }

    /// The rate of a pipe in the figures of the newest sample, which are those of one second.
    pub(super) fn rate(mut self, pipe: usize, rate: Option<f64>) -> Self {
        let figures = Figures {
            interval: Duration::from_secs(1),
            stages: vec![StageFigures::default(); self.layout.stages.len()],
            pipes: vec![PipeFigures::default(); self.layout.pipes.len()],
            cores: None,
        };
        self.newest().figures.get_or_insert(figures).pipes[pipe].rate = rate;
        self
    }

    fn newest(&mut self) -> &mut Sample {
        self.samples.last_mut().expect("a sample comes first")
    }

    /// The run that was recorded, in which every stage ended well.
    pub(super) fn outcome(&self) -> Outcome {
        let wall = Duration::from_millis(2500);
        let stages = self.layout.stages.iter().map(|stage| Stage {
            name: text::line(&stage.command),
            text: stage.command.clone(),
            shell: None,
            pid: None,
            end: StageEnd::Exited(0),
            wall,
            usage: ResourceUsage::default(),
            killed_for_memory: false,
            reader_gone: false,
            forgiven: false,
            restarts: None,
            workers: None,
            on_host: None,
        });
        let figures = self.samples.iter().rev();
        Outcome {
            before: 0,
            text: self
                .layout
                .stages
                .iter()
                .map(|it| &*it.command)
                .collect::<Vec<_>>()
                .join(" | "),
            stages: stages.collect(),
            pipes: Vec::new(),
            inverted: false,
            failed: None,
            started: SystemTime::UNIX_EPOCH,
            wall,
            timed_out: None,
            signal: None,
            whole: None,
            workers_advice: None,
            observed: Some(Observed {
                layout: self.layout.clone(),
                verdict: Verdict::of(&self.layout, &self.samples),
                figures: figures
                    .into_iter()
                    .find_map(|sample| sample.figures.clone()),
                input: None,
                before: 0,
            }),
        }
    }

    /// The text that an export writes of it.
    pub(super) fn written(&self, export: &mut dyn Export) -> String {
        self.written_of(export, &self.outcome())
    }

    /// The same, of a run that ended otherwise.
    pub(super) fn written_of(&self, export: &mut dyn Export, outcome: &Outcome) -> String {
        let mut out = Vec::new();
        export
            .begin(&self.layout, &mut out)
            .expect("room in memory");
        for sample in &self.samples {
            export.sample(sample, &mut out).expect("room in memory");
        }
        export.finish(outcome, &mut out).expect("room in memory");
        String::from_utf8(out).expect("text")
    }
}

/// Of up to so many stages and samples, each later than the one before.
pub(super) fn any(stages: usize, samples: usize) -> impl Strategy<Value = Recorded> {
    let activity = prop::sample::select(&[
        Activity::Ended,
        Activity::Unknown,
        Activity::Sleeping,
        Activity::WaitingForInput,
        Activity::BlockedOnOutput,
        Activity::Running,
    ]);
    (1..=stages).prop_flat_map(move |stages| {
        let sample = (
            1..50_u64,
            prop::collection::vec(activity.clone(), stages),
            prop::collection::vec(prop::option::of(0..=4096_u64), stages - 1),
            prop::option::of(prop::option::of(0.0..1e10)),
        );
        prop::collection::vec(sample, 0..samples).prop_map(move |samples| {
            let mut at = 0;
            let mut recorded = Recorded::new(stages);
            for (later, activities, levels, figures) in samples {
                at += later;
                recorded = recorded.sample(at, &activities);
                for (pipe, level) in levels.into_iter().enumerate() {
                    if let Some(unread) = level {
                        recorded = recorded.level(pipe, unread, 4096);
                    }
                    if let Some(rate) = figures {
                        recorded = recorded.rate(pipe, rate);
                    }
                }
            }
            recorded
        })
    })
}

/// An hour in so many samples, in which every stage does something else each time.
pub(super) fn hour(names: &[&str], samples: u64) -> Recorded {
    let states = [
        Activity::Running,
        Activity::WaitingForInput,
        Activity::BlockedOnOutput,
        Activity::Disk,
        Activity::Sleeping,
        Activity::Network,
        Activity::Unknown,
        Activity::Elsewhere,
    ];
    let mut state = 12345_u64;
    let mut random = move || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        state >> 40
    };
    let stages = names.len();
    let mut recorded = Recorded::named(names);
    for sample in 0..samples {
        let activities: Vec<Activity> = (0..stages)
            .map(|_| states[random() as usize % states.len()])
            .collect();
        recorded = recorded.sample(sample * 3_600_000 / samples, &activities);
        for pipe in 0..stages - 1 {
            recorded = recorded.level(pipe, random() % 65537, 65536);
            if sample % 50 == 49 {
                recorded = recorded.rate(pipe, Some(random() as f64 * 1e3));
            }
        }
    }
    recorded
}

/// `head -c 300M /dev/zero | gzip -1 | cat`, watched to its end. What comes out is read between two
/// looks, a little at a time: so it is not over before it was looked at often.
pub(super) fn real() -> Recorded {
    let pipe = || {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let handle = PipeHandle::of_end(&reader).expect("a handle of it");
        (reader, writer, handle)
    };
    let (from_head, head_out, first) = pipe();
    let (from_gzip, gzip_out, second) = pipe();
    let mut head = Command::new("head");
    head.args(["-c", "300M", "/dev/zero"]).stdout(head_out);
    let mut gzip = Command::new("gzip");
    gzip.arg("-1").stdin(from_head).stdout(gzip_out);
    let mut cat = Command::new("cat");
    let (mut out, cat_out) = std::io::pipe().expect("a pipe");
    fcntl_setfl(&out, OFlags::NONBLOCK).expect("a pipe of our own");
    cat.stdin(from_gzip).stdout(cat_out);
    let mut children: Vec<_> = [head, gzip, cat]
        .into_iter()
        // The command holds its ends of the pipes, and goes here.
        .map(|mut command| command.spawn().expect("a program of every system"))
        .collect();

    let intervals = Intervals {
        states: Duration::from_millis(2),
        figures: Duration::from_millis(50),
    };
    let stages = children
        .iter()
        .map(|child| Process::open(child.id()).expect("it runs"))
        .collect();
    let mut sampler = Sampler::linear(stages, vec![first, second], intervals).expect("a line");
    let mut samples = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(300);
    let mut bytes = [0; 16 << 10];
    loop {
        let sample = sampler.tick();
        let ended = sample
            .stages
            .iter()
            .all(|&activity| activity == Activity::Ended);
        samples.push(sample);
        if ended {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "300 MB of zeros are packed within five minutes"
        );
        // There may be nothing to read yet.
        let _ = out.read(&mut bytes);
        std::thread::sleep(sampler.due_in());
    }
    samples.push(sampler.finish());
    for child in &mut children {
        assert!(child.wait().expect("it is ours to wait for").success());
    }
    Recorded {
        layout: sampler.layout().clone(),
        samples,
    }
}
