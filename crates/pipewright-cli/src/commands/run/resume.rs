//! `pipewright resume`: what of a recorded pipeline did not finish, run again.

use std::ffi::OsString;
use std::fs::File;
use std::io::Seek;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::ValueEnum;
use pipewright::{Capacity, Stdio};

use super::kept::{self, Kept, KeptStage, stdin_is_pipe};
use super::plan::{Rules, Shown};
use super::programs::{Program, read_program};
use super::recorded;
use super::recorder::{Paths, Recorder};
use super::signals::Signals;
use super::wait::Limit;
use super::work::{Streams, Work};
use super::{adopt_orphans, conclude, once};
use crate::cli::{self, Progress, SpoolSync, Status, When};
use crate::commands::placed::Placed;
use crate::disposition;
use crate::recording::directory::Recording;
use crate::recording::manifest::{End, Input, Manifest, Words};
use crate::recording::plan::{Intake, Known, Plan, plan};
use crate::shell::{Script, StageText, Start};
use crate::view;
use crate::view::text;

pub(crate) fn resume(options: &cli::Resume) -> anyhow::Result<ExitCode> {
    let mut recording = Recording::open(&options.directory)?;
    let mut output = match &options.output {
        Some(path) => Some(Placed::beside(path)?),
        None => None,
    };
    let Some(plan) = decide(&recording, output.as_ref())? else {
        return Ok(nothing_left(&recording, options.talk.quiet));
    };
    let manifest = &recording.manifest;
    let input = stdin_of_first(&plan, manifest)?;
    let status = Status::from_str(&manifest.status, false);
    let status = status.map_err(|_| anyhow::anyhow!("its manifest has an unknown --status"))?;
    let shown = Shown {
        progress: Progress::Auto,
        quiet: options.talk.quiet,
        verbose: options.talk.verbose,
        summary: When::Auto,
        json_to_stderr: false,
        color: options.talk.color,
    };
    let rules = Rules {
        capacity: Capacity::Maximum,
        policy: status.into(),
        forgiven: Vec::new(),
        limit: Limit {
            timeout: options.limits.timeout,
            kill_after: options.limits.kill_after,
        },
    };
    let telling = shown.telling();
    let watch = shown.watch(true);

    enter(manifest);
    let others = other_programs(&plan, manifest)?;
    if !options.talk.quiet {
        others.iter().for_each(|told| view::complain(told));
    }
    if !options.talk.quiet {
        view::complain(&told(&plan, manifest));
    }
    recording.manifest.attempt += 1;
    recording.manifest.result = None;
    recording.write().context("cannot change the recording")?;
    for (index, intake) in (plan.first..).zip(&plan.intakes) {
        recording.forget(index + 1, (*intake == Intake::Anew).then_some(index))?;
    }
    let work = work(&recording, &plan)?;
    let streams = Streams {
        input,
        output: output.as_ref().map(Placed::stdout).transpose()?,
        ..Streams::default()
    };
    let mut recorder = Recorder::open(Paths::default())?;
    let mut signals = Signals::catch(watch.paints()).context("cannot catch signals")?;
    adopt_orphans();
    let mut outcome = once(
        work,
        &rules,
        watch,
        Some(streams),
        &mut signals,
        &mut recorder,
    )?;
    signals.release();
    let mut delivered = None;
    if let (0, Some(placed)) = (outcome.exit_code(), output.take()) {
        delivered = Some(placed.put()?);
    }
    recorded::end(
        &mut recording,
        &mut outcome,
        plan.first,
        delivered.as_deref().map(Words::from),
    );
    let code = conclude(&outcome, &telling, recorder);
    if let Some(signal) = outcome.signal {
        disposition::die_of(signal);
    }
    Ok(code)
}

/// What is to be run; `None` if nothing is left.
fn decide(recording: &Recording, output: Option<&Placed>) -> anyhow::Result<Option<Plan>> {
    let manifest = &recording.manifest;
    let result = manifest.result.as_ref();
    let is_placed = output.is_none_or(|output| {
        let had = result.and_then(|result| result.output.as_ref());
        had.is_some_and(|had| had.to_os() == output.path()) && output.path().exists()
    });
    if is_placed && result.is_some_and(|result| result.status == 0) {
        return Ok(None);
    }
    let ends = recording.ends()?;
    let known = manifest.stages.iter().zip(1..).map(|(stage, number)| {
        let ended = ends.get(&number);
        let well = |end: End| match end {
            End::Exited(status) => status == 0 || stage.forgive.contains(&(status as u8)),
            End::Signal(_) => false,
        };
        Known {
            end: ended.map(|ended| ended.end),
            saw_end: ended.is_some_and(|ended| ended.saw_end),
            well: ended.is_some_and(|ended| well(ended.end)),
        }
    });
    let known: Vec<Known> = known.collect();
    let links = manifest.links.iter().copied().collect();
    Ok(plan(&known, &links, &recording.contents()?, !is_placed))
}

fn nothing_left(recording: &Recording, quiet: bool) -> ExitCode {
    let manifest = &recording.manifest;
    let status = match &manifest.result {
        Some(result) => result.status,
        // Its run was killed behind the end of the last stage.
        None => u8::from(manifest.inverted),
    };
    if !quiet {
        view::complain(&format!(
            "nothing is left to do in {}: every stage has finished, and the status was {status}",
            recording.path.display()
        ));
    }
    ExitCode::from(status)
}

/// Says what is run again, and what with.
fn told(plan: &Plan, manifest: &Manifest) -> String {
    let last = manifest.stages.len();
    let first = plan.first + 1;
    let which = match last - plan.first {
        1 => format!("stage {last}"),
        _ => format!("stages {first} to {last}"),
    };
    let from = match plan.intakes.first() {
        Some(Intake::Stored) => ", with the recorded input",
        _ => "",
    };
    let compared: Vec<String> = (plan.first..)
        .zip(&plan.intakes)
        .filter(|(_, intake)| **intake == Intake::GoOn)
        .map(|(link, _)| match link {
            0 => "stdin".to_owned(),
            link => format!("the output of stage {link}"),
        })
        .collect();
    let compared = match compared.as_slice() {
        [] => String::new(),
        compared => format!(
            "; {} is compared with the recording",
            compared.join(" and ")
        ),
    };
    let pipewright = env!("CARGO_PKG_VERSION");
    let version = match manifest.pipewright_version == pipewright {
        true => String::new(),
        false => format!(
            "; the recording was made by pipewright {}, and this is {pipewright}",
            manifest.pipewright_version
        ),
    };
    format!("running {which} of {last}{from}{compared}{version}")
}

/// The stdin of the first stage that is run.
fn stdin_of_first(plan: &Plan, manifest: &Manifest) -> anyhow::Result<Option<Stdio>> {
    let intake = plan.intakes.first().copied().unwrap_or(Intake::Direct);
    if intake == Intake::Stored {
        return Ok(Some(Stdio::Null));
    }
    match &manifest.input {
        Input::File { path, offset } => {
            let path = PathBuf::from(path.to_os());
            let context = || {
                format!(
                    "stage 1 has to be run again, and cannot have its stdin: {}",
                    path.display()
                )
            };
            let mut file = File::open(&path).with_context(context)?;
            file.seek(std::io::SeekFrom::Start(*offset))
                .with_context(context)?;
            Ok(Some(file.into()))
        }
        Input::Pipe if !stdin_is_pipe() && !stdin_is_file() => anyhow::bail!(
            "stage 1 has to be run again, and read a pipe: give it its input again, as in \
             '… | pipewright resume DIR'"
        ),
        Input::Pipe | Input::Other => Ok(None),
    }
}

fn stdin_is_file() -> bool {
    let stdin = rustix::fs::fstat(rustix::stdio::stdin());
    stdin.is_ok_and(|it| {
        rustix::fs::FileType::from_raw_mode(it.st_mode) == rustix::fs::FileType::RegularFile
    })
}

/// Looks for the programs before anything starts, and says which are others than those that ran before.
///
/// # Errors
///
/// One is not here.
fn other_programs(plan: &Plan, manifest: &Manifest) -> anyhow::Result<Vec<String>> {
    let mut told = Vec::new();
    for (stage, number) in manifest.stages.iter().zip(1..).skip(plan.first) {
        let Some(name) = stage.command.first().map(Words::to_os) else {
            anyhow::bail!("stage {number} has no command: the manifest was changed");
        };
        let recorded = manifest.environment.get("PATH").map(Words::to_os);
        let path = recorded.map(with_own_path);
        let (found, path) = Program::along(&name, path.as_deref());
        let shown = text::line(&name.to_string_lossy());
        if matches!(found, Program::Missing | Program::Forbidden) {
            anyhow::bail!(
                "stage {number} needs {shown}, which cannot be executed here: install it, or add its directory \
                 to PATH; nothing was started"
            );
        }
        let Some(before) = &stage.program else {
            continue;
        };
        let now = read_program(&path);
        if now.is_some_and(|now| (now.bytes, now.crc32c) != (before.bytes, before.crc32c)) {
            told.push(format!(
                "{shown} of stage {number} is not the version that was recorded ({}); what it gives is \
                 compared as far as it is recorded",
                text::line(&before.path.to_string())
            ));
        }
    }
    Ok(told)
}

/// Goes where the pipeline was run, if that is here.
fn enter(manifest: &Manifest) {
    let directory = PathBuf::from(manifest.directory.to_os());
    if let Err(error) = std::env::set_current_dir(&directory) {
        view::complain(&format!(
            "cannot go to {}, where the pipeline was run: {error}; its stages run in the current \
             directory",
            directory.display()
        ));
    }
}

/// The stages that are run.
fn work(recording: &Recording, plan: &Plan) -> anyhow::Result<Work> {
    let manifest = &recording.manifest;
    let stages = manifest.stages.iter().enumerate().skip(plan.first);
    let texts = stages.clone().map(|(_, stage)| StageText {
        text: stage.text.to_os(),
        line: 1,
        stderr_too: stage.stderr_too,
        start: Start::Direct(stage.command.iter().map(Words::to_os).collect()),
    });
    let script = Script {
        negated: manifest.inverted,
        stages: texts.collect(),
        whole: None,
        ask: false,
    };
    let kept = stages.zip(&plan.intakes).map(|((index, stage), intake)| {
        let variables = manifest.environment.iter().chain(&stage.environment);
        let variables = variables.map(|(name, value)| (name.clone(), value.to_os()));
        let variables = variables.map(|(name, value)| match name.as_str() {
            "PATH" => (name, with_own_path(value)),
            _ => (name, value),
        });
        Ok(Some(KeptStage {
            told: kept::to_be_told(stage.restart_max)?,
            number: index + 1,
            name: stage.text.to_string(),
            intake: *intake,
            again: stage.restart_max,
            well: stage.forgive.clone(),
            stderr_too: stage.stderr_too,
            environment: variables.collect(),
        }))
    });
    let kept = Kept {
        recording: Some(recording.path.clone()),
        attempt: manifest.attempt,
        sync: match manifest.sync {
            true => SpoolSync::Disk,
            false => SpoolSync::None,
        },
        keep_going: manifest.keep_going,
        stages: kept.collect::<anyhow::Result<_>>()?,
    };
    Ok(Work::resumed(script, manifest.text.to_os(), kept))
}

/// On another machine programs may lie elsewhere.
fn with_own_path(recorded: OsString) -> OsString {
    match std::env::var_os("PATH") {
        Some(own) if own != recorded => [recorded, own].join(":".as_ref()),
        _ => recorded,
    }
}
