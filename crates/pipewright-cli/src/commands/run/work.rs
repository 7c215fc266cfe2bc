//! From a text to the commands that are started for it.

mod away;
mod held_back;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use pipewright::{Command, PipeWriter, Pipeline, Policy, Stdio};
use pipewright_observe::verdict::Verdict;
use rustix::process::Resource;

use super::asking::{Answer, ask, no_option};
use super::elsewhere::Elsewhere;
use super::kept::Kept;
use super::programs::{Program, usual_shell};
use super::statuses::Statuses;
use super::texts::{WholeText, joined, may_see_words, quoted, read};
use super::variables;
use super::wide::Wide;
use crate::cli::Widening;
use crate::forgiveness::Forgiven;
use crate::inherited;
use crate::outcome::{ByWorkers, Observed, Whole};
use crate::progress::words::Named;
use crate::shell::{self, Reason, Script, StageText, Start, WholePipeline};
use crate::view::text;

/// The place that the pipeline comes from.
#[derive(Debug)]
pub(super) enum Source {
    Text {
        text: OsString,
        /// `$0` and what follows, as `bash -c` has it.
        arguments: Vec<OsString>,
    },
    /// One stage's words after another's, with the separator as a word of its own.
    Words {
        words: Vec<OsString>,
        separator: OsString,
    },
    /// `-` is stdin.
    File {
        path: PathBuf,
        arguments: Vec<OsString>,
    },
}

/// How the text is to be run.
#[derive(Debug, Clone)]
pub(super) struct Manner {
    /// `None`: the usual one.
    pub(super) shell: Option<PathBuf>,
    /// By one shell.
    pub(super) whole: bool,
    /// Shells get `-o pipefail`.
    pub(super) pipefail: bool,
    /// The other stages are started where a program is missing.
    pub(super) start_without: bool,
}

/// A pipeline that can be started.
#[derive(Debug)]
pub(super) struct Work {
    script: Script,
    /// As it was given; of words, those of each stage as a shell would take them.
    given: OsString,
    /// For the stages that need one; empty where none does.
    shell: PathBuf,
    pipefail: bool,
    start_without: bool,
    /// It is not made of words.
    from_text: bool,
    /// `$0`, `$1`, … for these.
    arguments: Vec<OsString>,
    text: WholeText,
    statuses: Option<Statuses>,
    /// What may be wrong with the text.
    hint: Option<&'static str>,
    /// The stages that workers run.
    wide: Wide,
    /// The stages on other hosts.
    elsewhere: Elsewhere,
    /// The stages that have keepers.
    kept: Kept,
}

/// The ends of a pipeline that is not to have pipewright's own.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// `None`: pipewright's own.
    pub(super) input: Option<Stdio>,
    pub(super) output: Option<Stdio>,
    /// The stderr of each stage; empty: pipewright's own for all.
    pub(super) errors: Vec<PipeWriter>,
}

/// Variables that make bash do other things than the text says, a function that does, and variables
/// that bash gives its programs with a value of its own.
const VARIABLES: [&str; 12] = [
    "BASH_ENV",
    "BASHOPTS",
    "SHELLOPTS",
    "EXECIGNORE",
    "BASH_FUNC_command_not_found_handle%%",
    "BASH",
    "BASHPID",
    "BASH_VERSION",
    "IFS",
    "LINENO",
    "PPID",
    "RANDOM",
];

impl Work {
    /// Reads the text and cuts it.
    pub(super) fn of(source: Source, manner: Manner) -> anyhow::Result<Self> {
        let start_without = manner.start_without;
        let (source, path, arguments) = match source {
            Source::Words { words, separator } => {
                let script = shell::from_words(&words, &separator)?;
                if has_room_for(&script) {
                    let given = joined(&script);
                    return Ok(Self::new(script, given, PathBuf::new(), start_without));
                }
                (quoted(&script), None, Vec::new())
            }
            Source::Text { text, arguments } => (text, None, arguments),
            Source::File { path, arguments } => {
                let text =
                    read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                let arguments = [vec![path.clone().into_os_string()], arguments].concat();
                (OsString::from_vec(text), Some(path), arguments)
            }
        };
        // Another shell than bash knows nothing of these.
        let is_other = manner.shell.as_ref().is_some_and(|it| !is_bash(it));
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let variable = VARIABLES.into_iter().find(|name| !is_other && is_set(name));
        let script = match variable {
            _ if manner.whole => Script::whole(&source, Reason::Asked),
            Some(name) => Script::whole(&source, Reason::Variable(name)),
            None => shell::parse(&source, by_shell),
        };
        let shell = manner.shell.unwrap_or_else(|| {
            // Where nothing is for a shell, none is looked for.
            let mut starts = script.stages.iter().map(|stage| &stage.start);
            if starts.any(|start| *start == Start::Shell) || !has_room_for(&script) {
                usual_shell()
            } else {
                PathBuf::new()
            }
        });
        let is_bash = is_bash(&shell);
        let answer = (script.ask || script.whole.is_some()).then(|| ask(&shell, &source));
        let script = match answer {
            Some(Answer::No) => script.into_whole(&source, Reason::Refused),
            _ if !has_room_for(&script) => script.into_whole(&source, Reason::Descriptors),
            _ => script,
        };

        let mut work = Self::new(script, source.clone(), shell, start_without);
        work.from_text = true;
        work.pipefail = manner.pipefail && is_bash;
        work.arguments = arguments;
        work.hint = shell::hint(source.as_bytes());
        if work.script.whole.is_some() {
            // Words behind the text are safe where nothing before them is left open.
            let pipeline = WholePipeline::of(&source);
            if let (Some(pipeline), None, Some(Answer::Yes)) = (pipeline, variable, answer)
                && is_bash
                && !may_see_words(source.as_bytes())
            {
                work.statuses = Statuses::new(pipeline);
            }
            work.text = WholeText::of(&source, path.as_deref(), work.statuses.is_some())?;
        }
        Ok(work)
    }

    fn new(script: Script, given: OsString, shell: PathBuf, start_without: bool) -> Self {
        Self {
            script,
            given,
            shell,
            start_without,
            from_text: false,
            pipefail: false,
            arguments: Vec::new(),
            text: WholeText::Argument,
            statuses: None,
            hint: None,
            wide: Wide::default(),
            elsewhere: Elsewhere::default(),
            kept: Kept::default(),
        }
    }

    /// Stages that were recorded, as commands of plain words.
    pub(super) fn resumed(script: Script, given: OsString, kept: Kept) -> Self {
        Self {
            kept,
            ..Self::new(script, given, PathBuf::new(), false)
        }
    }

    /// Gives stages keepers.
    pub(super) fn keep(&mut self, kept: Kept) {
        self.kept = kept;
    }

    /// How the stages are kept.
    pub(super) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Has workers run the stages that were asked for.
    pub(super) fn widen(&mut self, asked: &Widening) -> anyhow::Result<()> {
        if self.script.whole.is_some() {
            if *asked == Widening::Auto {
                return Ok(());
            }
            self.refuse_whole("--workers")?;
        }
        self.wide = Wide::of(&self.script.stages, asked)?;
        Ok(())
    }

    /// Fails for a text without stages, which an option is for.
    pub(super) fn refuse_whole(&self, option: &str) -> anyhow::Result<()> {
        if let Some(reason) = &self.script.whole {
            anyhow::bail!(
                "{option} is for the stages of one pipeline, and a shell runs this text as a whole: {reason}; \
                 give the pipeline alone, or write 'pipewright run {option} …' where it stands in the text"
            );
        }
        Ok(())
    }

    /// Says what workers would gain at the bottleneck, or why they cannot run it.
    pub(super) fn workers_advice(&self, verdict: &Verdict) -> Option<String> {
        self.wide.advice(&self.script.stages, verdict)
    }

    /// The stages' names, as they are shown.
    pub(super) fn names(&self) -> Vec<String> {
        self.stages().iter().map(name).collect()
    }

    /// The names for the live view: a stage that workers run has their number behind it.
    pub(super) fn names_with_workers(&self, names: &[String]) -> Vec<String> {
        let numbered = names.iter().enumerate();
        let named = numbered.map(|(index, name)| match self.wide.count(index) {
            Some(workers) => format!("{name} × {workers}"),
            None => match self.elsewhere.host(index) {
                Some(host) => format!("{name} on {host}"),
                None => name.clone(),
            },
        });
        named.collect()
    }

    /// Reads what the workers of each stage have told, once they have ended.
    pub(super) fn by_workers(&mut self) -> BTreeMap<usize, ByWorkers> {
        self.wide.told()
    }

    /// The commands, ready to be started.
    pub(super) fn pipeline(&self, forgiven: &[Forgiven], streams: Option<Streams>) -> Pipeline {
        let Streams {
            input,
            output,
            errors,
        } = streams.unwrap_or_default();
        let mut errors = errors.into_iter();
        // What the caller closed stays closed, as in a shell.
        let closed = |number| inherited::was_closed(number).then_some(Stdio::Closed);
        let (mut input, mut output) = (input.or(closed(0)), output.or(closed(1)));
        let last = self.script.stages.len() - 1;
        let limit = inherited::raise_descriptor_limit();
        let stages = self.script.stages.iter().enumerate();
        stages
            .map(|(index, stage)| {
                let text = stage.text.to_string_lossy();
                // Whose name it is that a whole text begins with says nothing of its status.
                let text = self.script.whole.as_ref().map_or(&*text, |_| "");
                let statuses = forgiven.iter().filter_map(|it| it.statuses(text));
                let mut command = statuses
                    .flatten()
                    .chain(self.kept.well(index).iter().copied())
                    .fold(self.command(index, stage), Command::forgive)
                    // What the caller has open from 3 on is for the stages, as in a shell; all of
                    // pipewright's own is close-on-exec.
                    .inherit_all();
                if index == 0
                    && let Some(input) = input.take()
                {
                    command = command.stdin(input);
                }
                if index == last
                    && let Some(output) = output.take()
                {
                    command = command.stdout(output);
                }
                let error = errors.next();
                if self.sends_stderr_too(index, stage) {
                    command = command.stderr(Stdio::SameAsStdout);
                } else if inherited::was_closed(2) {
                    command = command.stderr(Stdio::Closed);
                } else if let Some(error) = error {
                    command = command.stderr(error);
                }
                if limit.current == limit.maximum {
                    return command;
                }
                command.rlimit(Resource::Nofile, limit)
            })
            .collect()
    }

    /// Tells whether a stage started as it is needs its stderr led down the pipe: a shell does that
    /// itself, and so does a keeper.
    fn sends_stderr_too(&self, index: usize, stage: &StageText) -> bool {
        stage.start != Start::Shell && stage.stderr_too && !self.kept.has(index)
    }

    fn command(&self, index: usize, stage: &StageText) -> Command {
        let kept = self.kept.command(index, &self.argv(index, stage));
        kept.map_or_else(
            || self.bare_command(index, stage),
            |command| self.with_environment(command, index, stage),
        )
    }

    /// Without a keeper.
    fn bare_command(&self, index: usize, stage: &StageText) -> Command {
        let argv = self.argv(index, stage);
        let command = Command::new(&argv[0]).args(&argv[1..]);
        self.with_environment(command, index, stage)
    }

    fn with_environment(&self, command: Command, index: usize, stage: &StageText) -> Command {
        let variables = self.environment(index, stage).into_iter();
        let command = variables.fold(command, |command, (name, value)| command.env(name, value));
        if !self.stands_for_bash(index, stage) {
            return command;
        }
        let command = match variables::directory(std::env::var_os("PWD").as_deref()) {
            Some(directory) => command.env("PWD", directory),
            None => command,
        };
        let former = std::env::var_os("OLDPWD");
        if former.is_some_and(|path| !Path::new(&path).is_dir()) {
            return command.env_remove("OLDPWD");
        }
        command
    }

    /// Tells whether a stage is started directly that bash would have started. Behind -- there is no
    /// bash.
    fn stands_for_bash(&self, index: usize, stage: &StageText) -> bool {
        let is_own = self.wide.count(index).is_some() || self.elsewhere.host(index).is_some();
        self.from_text && !is_own && stage.start != Start::Shell
    }

    /// The program of a stage, and its arguments.
    pub(super) fn argv(&self, index: usize, stage: &StageText) -> Vec<OsString> {
        self.elsewhere
            .argv(index, stage, self.argv_here(index, stage))
    }

    /// Those that would run it here.
    fn argv_here(&self, index: usize, stage: &StageText) -> Vec<OsString> {
        if let Start::Direct(words) = &stage.start {
            return self
                .wide
                .argv(index, words)
                .unwrap_or_else(|| words.clone());
        }
        let mut argv = vec![self.shell.clone().into_os_string()];
        if self.pipefail {
            argv.extend(["-o", "pipefail"].map(OsString::from));
        }
        let text = match (&self.text, &self.statuses) {
            // The file's name is the first of the arguments.
            (WholeText::File, _) => None,
            (WholeText::Copied(file), _) => {
                let (pid, descriptor) = (std::process::id(), file.as_raw_fd());
                Some(format!(". /proc/{pid}/fd/{descriptor}").into())
            }
            (WholeText::Argument, Some(statuses)) => Some(no_option(statuses.behind(&stage.text))),
            (WholeText::Argument, None) => {
                // What the shell says of a line names the line that it has in the whole text.
                let above = OsString::from("\n".repeat(stage.line - 1));
                Some(no_option([above, stage.text.clone()].join(OsStr::new(""))))
            }
        };
        match text {
            Some(text) => argv.extend(["-c".into(), text]),
            None => argv.push("--".into()),
        }
        argv.extend(self.arguments.iter().cloned());
        argv
    }

    /// What a program finds in its environment that bash has started in a pipeline.
    pub(super) fn environment(&self, index: usize, stage: &StageText) -> Vec<(String, OsString)> {
        let Start::Direct(words) = &stage.start else {
            return Vec::new();
        };
        if !self.stands_for_bash(index, stage) {
            return Vec::new();
        }
        let path = Program::path_of(&words[0]);
        let path = path.map(|path| ("_".to_owned(), path.into_os_string()));
        let found = std::env::var("SHLVL").ok();
        let is_only = self.script.stages.len() == 1 && !self.script.negated;
        let level = variables::level(found.as_deref(), is_only);
        let level = ("SHLVL".to_owned(), level.to_string().into());
        path.into_iter().chain([level]).collect()
    }

    /// The text as it was given.
    pub(super) fn text(&self) -> String {
        self.given.to_string_lossy().into_owned()
    }

    /// Why one shell runs the whole text.
    pub(super) fn reason_for_whole(&self) -> Option<&Reason> {
        self.script.whole.as_ref()
    }

    /// The stages that workers run, to have others run by them, too.
    pub(super) fn wide(&mut self) -> (&mut Wide, &[StageText]) {
        (&mut self.wide, &self.script.stages)
    }

    /// The status is inverted by a leading `!`.
    pub(super) fn inverted(&self) -> bool {
        self.script.negated
    }

    /// The stages as they were typed.
    pub(super) fn stages(&self) -> &[StageText] {
        &self.script.stages
    }

    /// What is known of the files that the first stage reads.
    pub(super) fn named_input(&self) -> Named {
        let first = &self.stages()[0];
        match first.start {
            Start::Direct(_) => Named::ByArguments,
            Start::Shell => Named::of(&first.text.to_string_lossy()),
        }
    }

    /// The shell that runs a stage; `None` where it is run directly.
    pub(super) fn shell_of(&self, stage: &StageText) -> Option<String> {
        let shell = || self.shell.display().to_string();
        (stage.start == Start::Shell).then(shell)
    }

    /// One shell runs the whole text.
    pub(super) fn is_whole(&self) -> bool {
        self.script.whole.is_some()
    }

    /// What is known, at the end, of a text that was run whole.
    pub(super) fn into_whole(
        self,
        policy: Policy,
        forgiven: &[Forgiven],
        pipelines: Vec<Observed>,
    ) -> Option<Whole> {
        let reason = self.script.whole?.to_string();
        let found = self.statuses.and_then(Statuses::found);
        let forgiven: Vec<u8> = forgiven
            .iter()
            .filter_map(|it| it.statuses(""))
            .flatten()
            .collect();
        Some(Whole {
            reason,
            status: found.as_ref().map(|found| found.status(policy, &forgiven)),
            statuses: found.map_or_else(Vec::new, |found| found.stages),
            pipelines,
            hint: self.hint,
        })
    }
}

/// Descriptors that this process needs besides one for each stage.
const OWN_DESCRIPTORS: u64 = 16;

/// Tells whether a handle of each stage can be held.
fn has_room_for(script: &Script) -> bool {
    let needed = script.stages.len() as u64 + OWN_DESCRIPTORS;
    inherited::most_descriptors().is_none_or(|most| needed <= most)
}

/// A stage in one line, safe to show.
pub(super) fn name(stage: &StageText) -> String {
    text::line(stage.text.to_string_lossy().trim_end())
}

/// The output of `--dry-run`: the stages, and how each would be started.
impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (stage, number) in self.stages().iter().zip(1..) {
            let start = self
                .shell_of(stage)
                .map_or_else(|| "direct".to_owned(), |shell| format!("{shell} -c"));
            let stderr = if stage.stderr_too {
                "  (stderr too)"
            } else {
                ""
            };
            let host = self
                .elsewhere
                .host(number - 1)
                .map(|host| format!("  (on {host})"));
            let workers = self.wide.of_stage(number - 1).or(host).unwrap_or_default();
            writeln!(f, "{number}  {start:<8}  {}{stderr}{workers}", name(stage))?;
        }
        if self.inverted() {
            writeln!(f, "!  the status is inverted")?;
        }
        if let Some(reason) = &self.script.whole {
            writeln!(f, "   run as a whole: {reason}")?;
        }
        Ok(())
    }
}

/// Tells whether a shell is bash, by its name.
fn is_bash(shell: &Path) -> bool {
    shell.file_name() == Some(OsStr::new("bash"))
}

/// A program whose plain words are for a shell all the same: a function that was exported to us,
/// which the shell would run under that name; a file that only a shell knows what to do with; or one
/// that cannot be started in front of `|&`, since what a shell says of it goes down the pipe.
fn by_shell(name: &str, stderr_too: bool) -> bool {
    std::env::var_os(format!("BASH_FUNC_{name}%%")).is_some()
        || match Program::find(name) {
            Program::Executable => false,
            Program::Foreign => true,
            Program::Forbidden | Program::Missing => stderr_too,
        }
}
