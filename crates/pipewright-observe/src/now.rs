//! What many pipelines do at this moment, for a list of them.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::parallel::in_parallel;
use crate::patience;
use crate::pipe::PipeLevel;
use crate::proc::{self, BlockedOn, Process, ProcessId, ProcessState, Target, root};
use crate::sampler::Activity;
use crate::sampler::activity::{self, Neighbour, Neighbours};
use crate::spool_state::{self, Board, SpoolState};
use crate::topology::{FoundPipe, Pipeline};

/// A pipeline at this moment.
#[derive(Debug, Clone)]
pub struct PipelineNow {
    /// One for each stage.
    pub stages: Vec<StageNow>,
    /// One for each pipe; `None` where this user may not look.
    pub levels: Vec<Option<PipeLevel>>,
}

/// A stage at this moment.
#[derive(Debug, Clone)]
pub struct StageNow {
    /// The command line of its first process, safe to show; `None` if it has none or does not let it
    /// be read.
    pub command: Option<String>,
    /// The activity of the busiest of its processes.
    pub activity: Activity,
    /// It did not answer in time.
    pub silent: bool,
    /// What it tells of itself, if it is a `pipewright spool`; of its recorded input, if it has one.
    pub spool: Option<SpoolState>,
}

/// A process for a moment: its state, what it waits for, and where the descriptors lead by which it
/// waits.
type Moment = (ProcessState, BlockedOn, Vec<(u32, Target)>);

/// Looks once at each of the pipelines. Few files are open at a time, and nobody is waited for longer
/// than half a second.
///
/// # Errors
///
/// [`Error::NoProc`] if `/proc` cannot tell.
pub fn look_at(pipelines: &[Pipeline]) -> Result<Vec<PipelineNow>> {
    let level = |pipe: &FoundPipe| pipe.open().ok()?.level().ok();
    let levels = in_parallel(pipelines, |pipeline| {
        pipeline.pipes.iter().map(level).collect::<Vec<_>>()
    });
    let stages = || pipelines.iter().flat_map(|pipeline| &pipeline.stages);
    let proc = Arc::new(root::open_own()?);
    // The processes of each stage, the first one with proof that it is the one that was found.
    let questions = stages()
        .map(|stage| (Arc::clone(&proc), stage.process, stage.members.clone()))
        .collect();
    let mut moments = patience::ask_each(questions, |(proc, root, members)| {
        let root = Process::open_same_in(&proc, root);
        let members = members
            .into_iter()
            .map(|member| Process::open_in(&proc, member));
        let processes = std::iter::once(root).chain(members).filter_map(Result::ok);
        let processes: Vec<Process> = processes.collect();
        let at = |name: &str, process: &Process| {
            let file = process.memory_file(name)?;
            file.read(Board::decode)?.spool
        };
        let spool = processes
            .iter()
            .find_map(|process| at(spool_state::NAME, process));
        let spool = spool.or_else(|| at(spool_state::KEEPER, processes.first()?));
        let moments: Vec<Moment> = processes.iter().filter_map(moment).collect();
        (moments, spool)
    })
    .into_iter();
    let roots: Vec<ProcessId> = stages().map(|stage| stage.process).collect();
    let mut commands = proc::command_lines(&roots)?.into_iter();
    let mut stage_now = |near: Neighbours<'_>| {
        let (moments, spool) = moments.next().flatten().unzip();
        let command = commands.next();
        let no_answer = |error: &Error| matches!(error, Error::NoAnswer { .. });
        StageNow {
            silent: moments.is_none() || matches!(&command, Some(Err(error)) if no_answer(error)),
            activity: moments.map_or(Activity::Unknown, |moments| busiest(moments, near)),
            command: command
                .and_then(Result::ok)
                .map(|line| line.shortened())
                .filter(|line| !line.is_empty()),
            spool: spool.flatten(),
        }
    };
    Ok(pipelines
        .iter()
        .zip(levels)
        .map(|(pipeline, levels)| {
            let near = |stage: usize, ends: fn(&FoundPipe) -> &[usize]| -> Vec<Neighbour> {
                let pipes = pipeline.pipes.iter().zip(&levels);
                pipes
                    .filter(|(pipe, _)| ends(pipe).contains(&stage))
                    .map(|(pipe, level)| (pipe.pipe, *level))
                    .collect()
            };
            let stages = (0..pipeline.stages.len()).map(|stage| {
                stage_now(Neighbours {
                    inputs: &near(stage, |pipe| &pipe.readers),
                    outputs: &near(stage, |pipe| &pipe.writers),
                })
            });
            PipelineNow {
                stages: stages.collect(),
                levels,
            }
        })
        .collect())
}

fn moment(process: &Process) -> Option<Moment> {
    let blocked = process.blocked_on();
    let state = process.stat().ok()?.state;
    let descriptors = match blocked {
        BlockedOn::Read(descriptor) | BlockedOn::Write(descriptor) => [descriptor, None],
        BlockedOn::Splice { from, to } => [from, to],
        _ => [None, None],
    };
    let targets = descriptors
        .into_iter()
        .flatten()
        .filter_map(|descriptor| Some((descriptor, process.descriptor(descriptor).ok()?)));
    Some((state, blocked, targets.collect()))
}

fn busiest(moments: Vec<Moment>, near: Neighbours<'_>) -> Activity {
    let activities = moments.into_iter().map(|(state, blocked, targets)| {
        let target = |wanted: u32| {
            let mut targets = targets.iter();
            let (_, target) = targets.find(|(descriptor, _)| *descriptor == wanted)?;
            Some(target.clone())
        };
        if blocked == BlockedOn::Nothing {
            return Activity::Running;
        }
        activity::of_state(state, blocked, target, near)
    });
    activities.max().unwrap_or(Activity::Ended)
}
