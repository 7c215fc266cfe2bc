//! `pipewright workers`: one stage, run several times over one stream.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use pipewright::{Command, Guardian, Stdio};
use pipewright_workers::{
    ChunkSize, Class, Classified, End, Error, InSequence, Outcome, Records, Retries, Stage,
    classify, classify_in, for_terminal, run,
};

use super::on_hosts;
use crate::cli::{self, Auto};
use crate::inherited;
use crate::outcome::{ByWorkers, WorkersLimit};
use crate::shell::{self, Start};
use crate::view::{self, text};

pub(crate) fn workers(mut options: cli::Workers) -> anyhow::Result<ExitCode> {
    let explain = options.explain;
    let verbose = options.verbose;
    let told_to = options.told_to.take();
    let (on_hosts, jobs) = (options.on_hosts.clone(), options.jobs);
    #[cfg(feature = "nats")]
    let via = cli::Via {
        lease: on_hosts.lease,
        ..options.via.clone()
    };
    let mut work = Work::of(options);
    if let Some(slots) = on_hosts::slots(&on_hosts, &jobs)? {
        // At least two: what is to run elsewhere is not replaced by one run here.
        work.stage.workers = slots.max(2);
        work.stage.only_if_slow &= on_hosts.on.iter().all(|host| host.slots.is_none());
    }
    // Whoever asked for it may be gone; the stage goes on.
    let told_to = told_to.and_then(|path| File::options().write(true).open(path).ok());
    if explain {
        view::say(&format!("{work}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    // A command finds out itself that it has no input or output.
    let is_closed = (0..3).any(inherited::was_closed);
    // Somebody types, and waits for the answer to each line: nothing is gained by handing out chunks.
    let is_typed = std::io::stdin().is_terminal();
    if !work.is_split() || is_closed || is_typed {
        #[cfg(feature = "nats")]
        if via.via.is_some() {
            super::via::not_needed(via, &work.stage)?;
        }
        if told_to.is_none() && !is_closed && (verbose || work.stage.workers > 1) {
            if !work.is_split() {
                view::complain(&work.to_string());
            } else if verbose {
                view::complain("stdin is a terminal: the command runs once, as one process");
            }
        }
        return Ok(work.replace_this_process());
    }
    if verbose {
        view::complain(&work.to_string());
    }
    let input = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .context("stdin is not open")?;
    let output = std::io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .context("stdout is not open")?;
    let began = Instant::now();
    // Before there are threads. Where there can be none, the command is killed all the same, a little late.
    let guardian = Guardian::start();
    #[cfg(feature = "nats")]
    if via.via.is_some() {
        let outcome = super::via::run_via(via, &work.stage, &jobs, verbose, input, output)?;
        drop(guardian);
        let wall = began.elapsed();
        return Ok(told(&work, &outcome, wall, verbose, told_to));
    }
    let outcome = if on_hosts.on.is_empty() {
        run(&work.stage, input, output)
    } else {
        let fleet = on_hosts::begin(on_hosts, &jobs, &work.stage)?;
        work.stage.workers = fleet.slots().max(1);
        on_hosts::run_on(fleet, &work.stage, verbose, input, output)
    };
    drop(guardian);
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(Error::Start(error)) => return Ok(cannot_start(&error)),
        Err(error) => return Err(error.into()),
    };
    Ok(told(&work, &outcome, began.elapsed(), verbose, told_to))
}

/// Tells how it went, and ends as the command itself would have.
fn told(
    work: &Work,
    outcome: &Outcome,
    wall: Duration,
    verbose: bool,
    told_to: Option<File>,
) -> ExitCode {
    let why = outcome.in_sequence.as_ref().map(why);
    let is_news = matches!(
        outcome.in_sequence,
        Some(InSequence::Differs(_) | InSequence::NoTextAt(_))
    );
    let wall_seconds = wall.as_secs_f64();
    let share = |time: Duration| time.as_secs_f64() / wall_seconds.max(f64::EPSILON);
    let (at_work, on_cores) = (share(outcome.run_time), share(outcome.on_core));
    let told = ByWorkers {
        workers: work.stage.workers,
        chunks: outcome.chunks,
        again: outcome.again,
        wall_seconds,
        run_seconds: outcome.run_time.as_secs_f64(),
        // The time that a run waited for a core is no work that one worker would have had.
        speed_up: if on_cores > at_work / 2.0 {
            on_cores
        } else {
            at_work
        },
        limit: WorkersLimit::of(
            work.stage.workers,
            at_work,
            on_cores,
            share(outcome.reading),
            share(outcome.giving),
        ),
        in_sequence: why,
    };
    match told_to {
        // Likewise.
        Some(told_to) => drop(serde_json::to_writer(told_to, &told)),
        None if verbose || is_news => view::complain(&format!("the stage ran {told}")),
        None => {}
    }
    match outcome.end {
        End::Status(status) => ExitCode::from(status),
        End::Signal(signal) => {
            // By the same signal, as the command itself would have ended. It returns only when the
            // signal's default is not to end.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
            ExitCode::from(128_u8.saturating_add(signal as u8))
        }
    }
}

/// The stage and what is known of it.
struct Work {
    stage: Stage,
    /// The class before anybody assumed another.
    known: Classified,
}

impl Work {
    fn of(options: cli::Workers) -> Self {
        let (argv, known) = match options.shell {
            Some(text) => of_shell_text(text),
            None => {
                let known = of_words(&options.command);
                (options.command, known)
            }
        };
        let known = if matches!(options.records, Records::Nul) && known.may_be_cut() {
            let mut unknown = classify::<&str>(&[]);
            unknown.reason =
                "the table is of commands that look at lines, and these records end with NUL"
                    .to_owned();
            unknown
        } else {
            known
        };
        let merged = options.merge.is_some();
        let classified = if options.assume_local || merged {
            known.clone().assumed_local()
        } else {
            known.clone()
        };
        let argv = if std::io::stdout().is_terminal() {
            for_terminal(argv, std::env::var_os("TERM").as_deref())
        } else {
            argv
        };
        let mut stage = Stage::new(argv, classified);
        if let Auto::Given(workers) = options.jobs {
            stage.workers = workers;
            stage.only_if_slow = false;
        }
        if let Auto::Given(block) = options.block {
            stage.size = ChunkSize::Fixed(block);
        }
        if let Some(again) = options.retries {
            stage.retries = Retries {
                signal: again,
                status: again,
            };
        }
        if let Some(memory) = options.memory {
            stage.memory = memory as u64;
        }
        stage.records = options.records;
        stage.header = options.header;
        stage.unordered = options.unordered;
        // Its words are the shell's to split; the files stand behind them.
        stage.merge = options.merge.map(|command| {
            let shell = ["bash", "-c"].map(OsString::from);
            let text = OsString::from(format!("{command} \"$@\""));
            shell.into_iter().chain([text, "bash".into()]).collect()
        });
        Self { stage, known }
    }

    fn is_split(&self) -> bool {
        self.stage.workers > 1 && self.stage.classified.may_be_cut()
    }

    /// One run and nothing in between, as if it had been typed without us.
    fn replace_this_process(&self) -> ExitCode {
        let [program, arguments @ ..] = self.stage.argv.as_slice() else {
            unreachable!("clap asks for a command");
        };
        let mut command = Command::new(program).args(arguments).inherit_all();
        // What is closed stays closed, as in a shell.
        if inherited::was_closed(0) {
            command = command.stdin(Stdio::Closed);
        }
        if inherited::was_closed(1) {
            command = command.stdout(Stdio::Closed);
        }
        if inherited::was_closed(2) {
            command = command.stderr(Stdio::Closed);
        }
        cannot_start(&command.exec())
    }
}

fn cannot_start(error: &pipewright::Error) -> ExitCode {
    view::complain(&error.to_string());
    ExitCode::from(error.exit_code())
}

/// A stage in shell text: its words where they are plain, and else the shell with it.
fn of_shell_text(text: String) -> (Vec<OsString>, Classified) {
    let script = shell::parse(text.as_ref(), |_, _| false);
    if let [stage] = script.stages.as_slice()
        && let (Start::Direct(words), false) = (&stage.start, script.negated)
    {
        return (words.clone(), of_words(words));
    }
    let argv = ["bash".into(), "-c".into(), text.into()];
    let mut unknown = classify::<&str>(&[]);
    unknown.reason = "shell text is not looked into".to_owned();
    (argv.into(), unknown)
}

fn of_words(words: &[OsString]) -> Classified {
    let texts: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    classify_in(&texts, |name| std::env::var_os(name).is_some())
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stage, known } = self;
        let words: Vec<_> = stage
            .argv
            .iter()
            .map(|word| word.to_string_lossy())
            .collect();
        write!(
            f,
            "{} is {}: {}",
            text::line(&words.join(" ")),
            known.class,
            known.reason
        )?;
        if !self.stage.classified.may_be_cut() {
            f.write_str("; it runs once, as one process")?;
            if known.class == Class::Unknown {
                f.write_str(" (--assume-local, if it looks at each record by itself)")?;
            }
            return Ok(());
        }
        if stage.workers == 1 {
            return f.write_str("; with one worker it runs once, as one process");
        }
        write!(f, "; {} runs at once", stage.workers)?;
        match (&stage.merge, &stage.classified.class) {
            (Some(_), _) => f.write_str(", merged by the command given"),
            (None, Class::Mergeable(merge)) => write!(f, ", {merge}"),
            _ if stage.unordered => f.write_str(", outputs as they come"),
            _ => f.write_str(", outputs in order"),
        }
    }
}

/// Why the command ran as one process.
fn why(reason: &InSequence) -> String {
    match reason {
        InSequence::Small => "it was over too soon".to_owned(),
        InSequence::Waits => "it waits for its neighbours".to_owned(),
        InSequence::NoIdleCore => "other programs have the other cores".to_owned(),
        InSequence::Fast => "it is faster than chunks can be handed on".to_owned(),
        InSequence::MergedHeader => {
            "each part would have the header, and merged they would have it more than once"
                .to_owned()
        }
        InSequence::Fails => "it fails on the first records".to_owned(),
        InSequence::Differs(difference) => {
            format!("it does not do on parts what it does on the whole ({difference})")
        }
        InSequence::FailedAt(number) => format!("it failed on chunk {}", number + 1),
        InSequence::NoTextAt(_) => "its input is no text".to_owned(),
        // More reasons may come.
        _ => "that was right".to_owned(),
    }
}
