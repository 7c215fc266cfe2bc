//! Watches the running pipeline that a process is part of: the samples go to standard output as
//! JSON, `[layout, [sample, …]]`, the verdict and the sampler's own cost to standard error.
//!
//! ```text
//! cargo run --release -p pipewright-observe --example record -- PID [SECONDS [MILLISECONDS]]
//! ```
//!
//! The recordings in `tests/recorded` were made with it.

use std::error::Error;
use std::thread::sleep;
use std::time::{Duration, Instant};

use pipewright_observe::topology::Scan;
use pipewright_observe::verdict::Verdict;
use pipewright_observe::{Activity, Intervals, Sampler};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let pid = arguments
        .next()
        .ok_or("usage: record PID [SECONDS [MILLISECONDS]]")?
        .parse()?;
    let seconds = arguments.next().map_or(Ok(3.0), |text| text.parse())?;
    let mut intervals = Intervals::default();
    if let Some(milliseconds) = arguments.next() {
        intervals.states = Duration::from_millis(milliseconds.parse()?);
    }

    let pipeline = Scan::now()?.pipeline_of(pid)?;
    let mut sampler = Sampler::attach(&pipeline, intervals)?;
    let begin = Instant::now();
    let end = begin + Duration::from_secs_f64(seconds);
    let mut samples = Vec::new();
    while Instant::now() < end {
        samples.push(sampler.tick());
        if samples
            .last()
            .is_some_and(|sample| sample.stages.iter().all(|stage| *stage == Activity::Ended))
        {
            break;
        }
        sleep(sampler.due_in());
    }
    samples.push(sampler.finish());

    let verdict = Verdict::of(sampler.layout(), &samples);
    for (stage, shares) in sampler.layout().stages.iter().zip(&verdict.stages) {
        eprintln!(
            "{:40.40}  in {:3.0} %  out {:3.0} %  cpu {:3.0} %  no cpu {:3.0} %  else {:3.0} %",
            stage.command,
            shares.waiting_for_input * 100.0,
            shares.blocked_on_output * 100.0,
            shares.on_cpu * 100.0,
            shares.waiting_for_cpu * 100.0,
            shares.waiting_for_something_else() * 100.0,
        );
    }
    let figures = samples
        .iter()
        .rev()
        .find_map(|sample| sample.figures.as_ref());
    for (index, shares) in verdict.pipes.iter().enumerate() {
        let figures = figures
            .map(|figures| figures.pipes[index])
            .unwrap_or_default();
        if let Some(shares) = shares {
            eprintln!(
                "pipe {}: full {:.0} %, empty {:.0} %, rate {}",
                index + 1,
                shares.full * 100.0,
                shares.empty * 100.0,
                figures
                    .rate
                    .map_or("unknown".into(), |rate| format!("≈ {:.1} MB/s", rate / 1e6)),
            );
        }
    }
    eprintln!("{}", verdict.sentence());
    if let Some(advice) = verdict.advice() {
        eprintln!("{advice}");
    }
    let (used, elapsed) = (sampler.cpu_time(), begin.elapsed());
    eprintln!(
        "{} samples cost {used:.1?} of CPU time in {elapsed:.2?}: {:.3} % of one core",
        samples.len(),
        used.as_secs_f64() / elapsed.as_secs_f64() * 100.0
    );
    serde_json::to_writer(std::io::stdout().lock(), &(sampler.layout(), &samples))?;
    println!();
    Ok(())
}
