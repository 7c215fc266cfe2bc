//! `observe`: what it costs to watch a pipeline, and to list all that run.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, ensure};
use pipewright::{Command, Pipeline, RunningPipeline, Stdio};

use super::throughput::bytes;
use crate::measure::{Contender, interleave};
use crate::peers::OURS;
use crate::peers::find_program;
use crate::report::{Group, Limit, Report, Target, Unit};
use crate::timed_command::TimedCommand;
use crate::{executable, terminal};

const NO_VIEW: &str = "pipewright, no view";
const LSOF: &str = "lsof -nP +E -p";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds to run.
    #[arg(long, default_value = "11")]
    rounds: NonZeroUsize,
    /// Bytes to move under the live view; K, M and G count in powers of 1024.
    #[arg(long, default_value = "10G", value_parser = bytes)]
    size: u64,
    /// Pipelines of two processes to list; 2500 are 5,000 processes.
    #[arg(long, default_value = "1000")]
    pipelines: NonZeroUsize,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Report> {
    let mut report = Report::new("observe");
    let pipewright = executable::pipewright()?;
    view(options, &pipewright, &mut report)?;
    list(options, &pipewright, &mut report)?;
    Ok(report)
}

/// A pipeline under the live view, against the same with none. All contenders have a terminal, so
/// that they differ in nothing else.
fn view(options: &Options, pipewright: &Path, report: &mut Report) -> anyhow::Result<()> {
    let pipewright = pipewright
        .to_str()
        .context("the command's path is no text")?;
    let pipeline = format!("head -c {} /dev/zero | cat >/dev/null", options.size);
    let with_pv = pipeline.replace(" | ", " | pv -q | ");
    let quiet = ["--progress", "never", "--summary", "never"];
    let mut contenders = vec![
        in_terminal(OURS, [&[pipewright, "run"], &[&*pipeline][..]].concat()),
        in_terminal(
            NO_VIEW,
            [&[pipewright, "run"], &quiet[..], &[&*pipeline]].concat(),
        ),
    ];
    match (find_program("bash"), find_program("pv")) {
        (None, _) => report.missing("bash, with and without pv: there is no `bash` on PATH"),
        (Some(_), pv) => {
            contenders.push(in_terminal("bash", vec!["bash", "-c", &pipeline]));
            if pv.is_some() {
                let words = vec!["bash", "-c", &with_pv];
                contenders.push(in_terminal("bash, pv -q in the middle", words));
            } else {
                report.missing("pv: there is no `pv` on PATH");
            }
        }
    }
    eprintln!("measuring {pipeline}, in a terminal");
    let series = interleave(&mut contenders, options.rounds)?;
    let title = format!("{pipeline}, with the live view");
    let group = Group::new(title, Unit::Seconds, OURS, series);
    report.target(Target::new(
        "the live view, times the same run with none",
        Limit::AtMost(1.02),
        group.ratio(OURS, NO_VIEW).map(|ratio| ratio.median),
    ));
    report.group(group);
    Ok(())
}

fn in_terminal<'a>(name: &str, words: Vec<&'a str>) -> Contender<'a> {
    let has_view = name == OURS;
    Contender::new(name, move || {
        let begin = Instant::now();
        let ran = terminal::run(&words)?;
        let seconds = begin.elapsed().as_secs_f64();
        let shown = String::from_utf8_lossy(&ran.shown);
        ensure!(ran.status.success(), "ended with {}: {shown}", ran.status);
        // A view that was not there would cost nothing.
        ensure!(shown.contains("head -c") == has_view, "shown was: {shown}");
        Ok(seconds)
    })
}

/// Where the processes that are listed write what went wrong.
#[derive(Clone, Copy)]
enum Complaints {
    /// Nowhere: the processes share no pipe but that of their pipeline.
    Nowhere,
    /// Into one pipe of them all, as under a supervisor that keeps a log.
    OneLog,
}

/// `ls` of many pipelines, against lsof of the same processes.
fn list(options: &Options, pipewright: &Path, report: &mut Report) -> anyhow::Result<()> {
    let lsof = find_program("lsof");
    if lsof.is_none() {
        report.missing("lsof: there is no `lsof` on PATH");
    }
    for complaints in [Complaints::Nowhere, Complaints::OneLog] {
        list_once(options, pipewright, lsof.as_deref(), complaints, report)?;
    }
    Ok(())
}

fn list_once(
    options: &Options,
    pipewright: &Path,
    lsof: Option<&Path>,
    complaints: Complaints,
    report: &mut Report,
) -> anyhow::Result<()> {
    let processes = 2 * options.pipelines.get();
    let with_log = match complaints {
        Complaints::Nowhere => "",
        Complaints::OneLog => ", all with one log pipe",
    };
    eprintln!("measuring the list of {processes} processes{with_log}");
    let (_log, to_log) = pipewright::pipe().context("cannot make the log pipe")?;
    let running = (0..options.pipelines.get())
        .map(|_| {
            sleeping(|| match complaints {
                Complaints::Nowhere => Ok(Stdio::Null),
                Complaints::OneLog => to_log.try_clone().map(Stdio::from),
            })
        })
        .collect::<anyhow::Result<Vec<_>>>()
        .context("cannot start the processes to list")?;
    let pids: Vec<String> = running
        .iter()
        .flat_map(RunningPipeline::stages)
        .filter_map(|stage| Some(stage.child()?.id().to_string()))
        .collect();
    ensure!(pids.len() == processes, "{} of {processes} run", pids.len());

    let mut ls = TimedCommand::new(pipewright, ["ls"])?;
    let mut contenders = vec![Contender::new(OURS, move || ls.wall_time())];
    if let Some(lsof) = lsof {
        let mut lsof = TimedCommand::new(lsof, ["-nP", "+E", "-p", &pids.join(",")])?;
        contenders.push(Contender::new(LSOF, move || lsof.wall_time()));
    }
    let series = interleave(&mut contenders, options.rounds)?;
    let group = Group::new(
        format!("a list of {processes} processes in pipelines{with_log}"),
        Unit::Seconds,
        OURS,
        series,
    );
    report.target(Target::new(
        format!("ls{with_log}, times as fast as lsof"),
        Limit::AtLeast(20.0),
        group.ratio(LSOF, OURS).map(|ratio| ratio.median),
    ));
    report.group(group);
    Ok(())
}

/// `sleep | sleep`, which ends with what is returned.
fn sleeping(stderr: impl Fn() -> std::io::Result<Stdio>) -> anyhow::Result<RunningPipeline> {
    let sleep = || Command::new("sleep").arg("1h");
    let stages = [
        sleep().stdin(Stdio::Null).stderr(stderr()?),
        sleep().stdout(Stdio::Null).stderr(stderr()?),
    ];
    Ok(Pipeline::new(stages).kill_on_drop().spawn()?)
}
