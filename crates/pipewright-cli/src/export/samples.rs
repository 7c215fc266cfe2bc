//! A run as JSON lines: first the layout, then every sample.

use std::io::{self, Write};

use pipewright_observe::{
    Activity, Figures, Layout, PipeFigures, PipeLayout, Sample, StageFigures, StageLayout,
};
use serde::Serialize;

use super::Export;
use super::json::Input;
use super::json::values::{Level, Spool, VERSION, Word, numbers, rate, seconds};
use crate::outcome::Outcome;
use crate::progress::Progress;

/// Writes each sample as it comes.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    begun: bool,
    input: Option<Progress>,
}

impl Export for Samples {
    fn begin(&mut self, layout: &Layout, out: &mut dyn Write) -> io::Result<()> {
        self.begun = true;
        let first = First {
            version: VERSION,
            stages: layout.stages.iter().zip(1..).map(Stage::of).collect(),
            pipes: layout.pipes.iter().map(Pipe::of).collect(),
        };
        line(&first, out)
    }

    fn progress(&mut self, input: Option<Progress>) {
        self.input = input;
    }

    fn sample(&mut self, sample: &Sample, out: &mut dyn Write) -> io::Result<()> {
        line(&Seen::of(sample, self.input.as_ref()), out)
    }

    fn finish(&mut self, _: &Outcome, out: &mut dyn Write) -> io::Result<()> {
        if self.begun {
            return Ok(());
        }
        self.begin(&Layout::default(), out)
    }
}

fn line(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// The first line.
#[derive(Debug, Serialize)]
struct First<'a> {
    version: u32,
    stages: Vec<Stage<'a>>,
    pipes: Vec<Pipe>,
}

#[derive(Debug, Serialize)]
struct Stage<'a> {
    number: usize,
    pid: u32,
    command: &'a str,
}

#[derive(Debug, Serialize)]
struct Pipe {
    inode: u64,
    writers: Vec<usize>,
    readers: Vec<usize>,
}

/// Each other line.
#[derive(Debug, Serialize)]
struct Seen<'a> {
    /// Since it is watched.
    at_seconds: f64,
    stages: Vec<Word<Activity>>,
    /// Null: nobody may look.
    pipes: Vec<Option<Level>>,
    /// Absent where none were due.
    #[serde(skip_serializing_if = "Option::is_none")]
    figures: Option<Counted<'a>>,
}

#[derive(Debug, Serialize)]
struct Counted<'a> {
    interval_seconds: f64,
    /// Null: it is not known how far it is.
    input: Option<Input>,
    stages: Vec<StageCounted<'a>>,
    pipes: Vec<PipeCounted>,
}

#[derive(Debug, Serialize)]
struct StageCounted<'a> {
    program: &'a str,
    processes: usize,
    cpu_seconds: f64,
    cpus: f64,
    /// Of the interval, thread by thread added up; null: the kernel keeps no account.
    on_cpu_seconds: Option<f64>,
    waiting_for_cpu_seconds: Option<f64>,
    /// Null: nobody may know.
    read_bytes: Option<u64>,
    written_bytes: Option<u64>,
    splices: bool,
    /// Null: it is no `pipewright spool`, or may not be looked at.
    spool: Option<Spool>,
}

/// Null is unknown.
#[derive(Debug, Serialize)]
struct PipeCounted {
    estimated_bytes: Option<u64>,
    bytes_per_second: Option<f64>,
}

impl<'a> Stage<'a> {
    fn of((stage, number): (&'a StageLayout, usize)) -> Self {
        Self {
            number,
            pid: stage.process.pid,
            command: &stage.command,
        }
    }
}

impl Pipe {
    fn of(pipe: &PipeLayout) -> Self {
        Self {
            inode: pipe.pipe.0,
            writers: numbers(&pipe.writers),
            readers: numbers(&pipe.readers),
        }
    }
}

impl<'a> Seen<'a> {
    fn of(sample: &'a Sample, input: Option<&Progress>) -> Self {
        let pipes = sample.pipes.iter();
        Self {
            at_seconds: seconds(sample.at),
            stages: sample.stages.iter().copied().map(Word).collect(),
            pipes: pipes.map(|level| level.map(Level::from)).collect(),
            figures: sample.figures.as_ref().map(|it| Counted::of(it, input)),
        }
    }
}

impl<'a> Counted<'a> {
    fn of(figures: &'a Figures, input: Option<&Progress>) -> Self {
        Self {
            interval_seconds: seconds(figures.interval),
            input: input.map(|it| Input::of(it, it.average)),
            stages: figures.stages.iter().map(StageCounted::of).collect(),
            pipes: figures.pipes.iter().map(PipeCounted::of).collect(),
        }
    }
}

impl<'a> StageCounted<'a> {
    fn of(figures: &'a StageFigures) -> Self {
        let scheduled = figures.scheduled.as_ref();
        Self {
            program: &figures.program,
            processes: figures.processes,
            cpu_seconds: seconds(figures.cpu_time),
            cpus: rate(figures.cpus),
            on_cpu_seconds: scheduled.map(|it| seconds(it.on_cpu)),
            waiting_for_cpu_seconds: scheduled.map(|it| seconds(it.waiting_for_cpu)),
            read_bytes: figures.read,
            written_bytes: figures.written,
            splices: figures.splices,
            spool: figures.spool.as_ref().map(Spool::from),
        }
    }
}

impl PipeCounted {
    fn of(figures: &PipeFigures) -> Self {
        Self {
            estimated_bytes: figures.bytes,
            bytes_per_second: figures.rate.map(rate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::page::Page;
    use crate::export::recordings;
    use crate::export::trace::Trace;

    #[test]
    fn an_hour_grows_a_file_by_no_more_than_the_help_says() {
        // A tenth of an hour's samples, of stages that do something else each time.
        let recording = recordings::hour(&["cat access.log", "gzip -6", "wc -c"], 18_000);
        let exports: [(&str, Box<dyn Export>, usize); 3] = [
            ("samples", Box::new(Samples::default()), 50),
            ("trace", Box::new(Trace::default()), 150),
            ("report", Box::new(Page::default()), 1),
        ];
        for (name, mut export, most) in exports {
            let bytes = recording.written(&mut *export).len();
            let hour = if name == "report" { bytes } else { 10 * bytes };
            println!("{name}: {:.1} MB an hour", hour as f64 / 1e6);
            assert!(hour < most * 1_000_000, "{name}: {hour} bytes an hour");
        }
    }
}
