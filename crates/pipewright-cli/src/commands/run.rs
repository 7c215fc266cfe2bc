//! `pipewright run`: one pipeline, from its text to the status that pipewright ends with.

mod files;
mod signals;
mod wait;
mod watching;

use std::ffi::OsString;
use std::fmt::Write;
use std::io::{IsTerminal, Read};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use pipewright::{Command, Pipeline, PipelineStatus, StageEnd, Stdio};
use pipewright_observe::verdict::{PipeShares, Verdict};
use pipewright_observe::{Figures, Layout};
use rustix::fs::{Access, access};
use rustix::process::Resource;

use crate::cli::{self, OWN_ERROR, When};
use crate::inherited;
use crate::shell::{self, Script, Start};
use crate::view::{self, json, live, style::Palette, summary, text};
use files::Files;
use signals::Signals;
use watching::Watching;
pub(super) use watching::progress;

/// What is known at the end of a run.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    pub(crate) script: &'a Script,
    pub(crate) shell: &'a str,
    pub(crate) status: &'a PipelineStatus,
    pub(crate) pids: Vec<Option<u32>>,
    /// Bytes of each pipe between two stages.
    pub(crate) capacities: &'a [usize],
    /// The limit that was reached.
    pub(crate) timed_out: Option<Duration>,
    /// The signal that reached pipewright.
    pub(crate) signal: Option<i32>,
    /// What was seen of it, if it ran long enough to be looked at.
    pub(crate) seen: Option<Seen>,
}

/// What watching a run has shown.
#[derive(Debug)]
pub(crate) struct Seen {
    /// It calls the stages by their text.
    pub(crate) verdict: Verdict,
    /// The totals at the end.
    pub(crate) figures: Option<Figures>,
    /// What the indices in both mean.
    pub(crate) layout: Layout,
}

impl Seen {
    /// What the stage handed to the next one, estimated; `None` is unknown.
    pub(crate) fn bytes_after(&self, stage: usize) -> Option<u64> {
        self.figures
            .as_ref()?
            .pipes
            .get(self.index_after(stage)?)?
            .bytes
    }

    /// The pipe behind the stage; `None` where it could not be looked at.
    pub(crate) fn pipe_after(&self, stage: usize) -> Option<&PipeShares> {
        self.verdict.pipes.get(self.index_after(stage)?)?.as_ref()
    }

    fn index_after(&self, stage: usize) -> Option<usize> {
        self.layout
            .pipes
            .iter()
            .position(|pipe| pipe.writers == [stage])
    }
}

impl Report<'_> {
    /// What pipewright ends with, unless it ends by a signal.
    pub(crate) fn exit_code(&self) -> u8 {
        match (self.timed_out, self.status.exit_code(), self.script.negated) {
            (Some(_), _, _) => cli::TIMED_OUT,
            (None, code, false) => code,
            (None, 0, true) => 1,
            (None, _, true) => 0,
        }
    }
}

pub(crate) fn run(options: &cli::Run) -> anyhow::Result<ExitCode> {
    let (script, arguments) = match script(options)? {
        Ok(found) => found,
        Err(refusal) => {
            view::complain(&refusal.to_string());
            return Ok(ExitCode::from(OWN_ERROR));
        }
    };
    let shell = options.shell.clone().unwrap_or_else(|| {
        // Where no stage is for a shell, none is looked for.
        let wanted = script
            .stages
            .iter()
            .any(|stage| stage.start == Start::Shell);
        if wanted { usual_shell() } else { String::new() }
    });
    if options.dry_run {
        view::print(plan(&script, &shell).as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    // Opened before anything runs: a file that cannot be written is an error now, not at the end.
    let files = Files::create(options)?;

    let mut signals = Signals::catch().context("cannot catch signals")?;
    let running = pipeline(&script, &shell, &arguments)
        .capacity(options.pipe_size)
        .policy(options.status.into())
        .spawn()?;
    let watching = Watching::new(&running, &script, options);
    if watching.paints() {
        signals.catch_stop().context("cannot catch signals")?;
    }
    let waited = wait::wait(&running, &mut signals, watching, options)?;
    let (status, timed_out) = (waited.status, waited.timed_out);
    let names: Vec<String> = script
        .stages
        .iter()
        .map(|stage| stage.text.clone())
        .collect();
    let seen = waited.observation.as_ref().map(|observation| Seen {
        verdict: live::named(observation.overall(), &names),
        figures: observation.figures().cloned(),
        layout: observation.layout().clone(),
    });

    let report = Report {
        script: &script,
        shell: &shell,
        status: &status,
        pids: running
            .stages()
            .iter()
            .map(|stage| stage.child().map(|child| child.id()))
            .collect(),
        capacities: running.capacities(),
        timed_out,
        signal: signals.first(),
        seen,
    };
    tell(&report, options)?;
    files.write(&report, &names, waited.observation)?;
    if let Some(signal) = report.signal {
        // Ended by the same signal, so that whoever sent it, or waits for us, sees that it worked.
        signals.die_of(signal);
    }
    Ok(ExitCode::from(report.exit_code()))
}

/// The pipeline that was asked for, and the arguments for it.
fn script(options: &cli::Run) -> anyhow::Result<Result<(Script, Vec<OsString>), shell::Refusal>> {
    if !options.words.is_empty() {
        return Ok(shell::from_words(&options.words).map(|script| (script, Vec::new())));
    }
    // A function that was exported to us would be run by the shell under that name.
    let is_function = |name: &str| std::env::var_os(format!("BASH_FUNC_{name}%%")).is_some();
    // What a shell says of a missing program goes down the pipe of `|&`.
    let by_shell = |name: &str, stderr_too| is_function(name) || (stderr_too && !is_there(name));
    let (text, arguments) = match (&options.file, options.text.as_slice()) {
        (Some(path), arguments) => {
            let text = read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let name = path.clone().into_os_string();
            (text, [&[name][..], arguments].concat())
        }
        (None, [text]) => {
            let text = text.to_str().context(
                "the pipeline is not UTF-8, which its parser needs; put its words behind --",
            )?;
            (text.to_owned(), Vec::new())
        }
        (None, []) => anyhow::bail!(
            "there is no pipeline: give it as one argument, 'sort names | uniq -c', or with -f FILE"
        ),
        (None, words) => anyhow::bail!(
            "the pipeline is given as {} arguments, and the shell has taken its quotes and | away; put \
             it into quotes, '…', or its words behind --",
            words.len()
        ),
    };
    Ok(shell::parse(&text, by_shell).map(|script| (script, arguments)))
}

fn read(path: &Path) -> std::io::Result<String> {
    if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(path)
}

/// bash, or sh where there is none.
fn usual_shell() -> String {
    if is_there("bash") { "bash" } else { "sh" }.to_owned()
}

/// Whether there is a program of this name, along PATH or at the path that it is.
fn is_there(name: &str) -> bool {
    let executable = |path: &Path| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    if name.contains('/') {
        return executable(Path::new(name));
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    std::env::split_paths(&path).any(|directory| executable(&directory.join(name)))
}

fn pipeline(script: &Script, shell: &str, arguments: &[OsString]) -> Pipeline {
    let last = script.stages.len() - 1;
    let limit = inherited::raise_descriptor_limit();
    let stages = script.stages.iter().enumerate();
    stages
        .map(|(index, stage)| {
            let mut command = match &stage.start {
                Start::Direct(words) => Command::new(&words[0]).args(&words[1..]),
                Start::Shell => Command::new(shell)
                    .arg("-c")
                    .arg(no_option(&stage.text))
                    .args(arguments),
            };
            // What the caller closed stays closed, as in a shell.
            if index == 0 && inherited::was_closed(0) {
                command = command.stdin(Stdio::Closed);
            }
            if index == last && inherited::was_closed(1) {
                command = command.stdout(Stdio::Closed);
            }
            if stage.start != Start::Shell && stage.stderr_too {
                command = command.stderr(Stdio::SameAsStdout);
            } else if inherited::was_closed(2) {
                command = command.stderr(Stdio::Closed);
            }
            if limit.current == limit.maximum {
                return command;
            }
            command.rlimit(Resource::Nofile, limit.clone())
        })
        .collect()
}

/// The text so that a shell does not take it for options of its own: it would, behind -c, too.
fn no_option(text: &str) -> String {
    let guard = if text.starts_with(['-', '+']) {
        " "
    } else {
        ""
    };
    format!("{guard}{text}")
}

/// What `--dry-run` prints.
fn plan(script: &Script, shell: &str) -> String {
    let mut plan = String::new();
    for (index, stage) in script.stages.iter().enumerate() {
        let start = match &stage.start {
            Start::Direct(_) => "direct".to_owned(),
            Start::Shell => format!("{shell} -c"),
        };
        let stderr = if stage.stderr_too {
            "  (stderr too)"
        } else {
            ""
        };
        let text = text::line(stage.text.trim_end());
        // Writing to a string does not fail.
        let _ = writeln!(plan, "{}  {start:<8}  {text}{stderr}", index + 1);
    }
    if script.negated {
        plan.push_str("!  the status is turned around\n");
    }
    plan
}

/// The summary or the JSON, by the options.
fn tell(report: &Report<'_>, options: &cli::Run) -> anyhow::Result<()> {
    if let Some(None) = options.json {
        view::tell(&json::run(report)?);
        return Ok(());
    }
    let failed = !report.status.success() || report.timed_out.is_some();
    let summary = match options.summary {
        _ if options.quiet => false,
        When::Always => true,
        When::Never => false,
        When::Auto => failed || options.verbose || std::io::stderr().is_terminal(),
    };
    if summary {
        let palette = Palette::new(options.color);
        view::tell(&summary::summary(report, palette, width(), options.verbose));
        return Ok(());
    }
    // Without a summary a stage that could not start would fail in silence: nobody else tells.
    for stage in report.status.stages() {
        if let StageEnd::NotStarted(error) = &stage.end {
            view::complain(&error.to_string());
        }
    }
    Ok(())
}

/// The terminal's width in columns; 80 where there is none.
fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr());
    size.ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|&columns| columns > 0)
        .unwrap_or(80)
}
