//! From a text to the commands that are started for it.

use std::ffi::OsString;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use pipewright::{Command, Pipeline, Stdio};
use rustix::fs::{Access, access};
use rustix::process::Resource;

use crate::forgiveness::Forgiven;
use crate::inherited;
use crate::shell::{self, Script, StageText, Start};
use crate::view::text;

/// The place that the pipeline comes from.
#[derive(Debug)]
pub(super) enum Source {
    Text(OsString),
    /// One stage's words after another's, with `|` as a word of its own.
    Words(Vec<OsString>),
    /// `-` is stdin.
    File {
        path: PathBuf,
        arguments: Vec<OsString>,
    },
}

/// A pipeline that can be started.
#[derive(Debug)]
pub(super) struct Work {
    script: Script,
    /// For the stages that need one; empty where none does.
    shell: String,
    /// `$0`, `$1`, … for these.
    arguments: Vec<OsString>,
}

impl Work {
    /// Reads and cuts the text. `shell`: the one that was asked for.
    pub(super) fn of(source: Source, shell: Option<String>) -> anyhow::Result<Self> {
        let (script, arguments) = match source {
            Source::Words(words) => (shell::from_words(&words), Vec::new()),
            Source::Text(text) => {
                let text = text.to_str().context(
                    "the pipeline is not UTF-8, which its parser needs; put its words behind --",
                )?;
                (shell::parse(text, by_shell), Vec::new())
            }
            Source::File { path, arguments } => {
                let text =
                    read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                let arguments = [vec![path.into_os_string()], arguments].concat();
                (shell::parse(&text, by_shell), arguments)
            }
        };
        let script = script.map_err(anyhow::Error::msg)?;
        let needs_shell = script
            .stages
            .iter()
            .any(|stage| stage.start == Start::Shell);
        let shell = shell.unwrap_or_else(|| {
            // Where no stage is for a shell, none is looked for.
            if needs_shell {
                usual_shell()
            } else {
                String::new()
            }
        });
        Ok(Self {
            script,
            shell,
            arguments,
        })
    }

    /// The commands, ready to be started.
    pub(super) fn pipeline(&self, forgiven: &[Forgiven]) -> Pipeline {
        let last = self.script.stages.len() - 1;
        let limit = inherited::raise_descriptor_limit();
        let stages = self.script.stages.iter().enumerate();
        stages
            .map(|(index, stage)| {
                let statuses = forgiven.iter().filter_map(|it| it.statuses(&stage.text));
                let mut command = statuses
                    .flatten()
                    .fold(self.command(stage), Command::forgive);
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
                command.rlimit(Resource::Nofile, limit)
            })
            .collect()
    }

    fn command(&self, stage: &StageText) -> Command {
        match &stage.start {
            Start::Direct(words) => Command::new(&words[0]).args(&words[1..]),
            Start::Shell => Command::new(&self.shell)
                .arg("-c")
                .arg(no_option(&stage.text))
                .args(&self.arguments),
        }
    }

    /// The status is inverted by a leading `!`.
    pub(super) fn inverted(&self) -> bool {
        self.script.negated
    }

    /// The stages as they were typed.
    pub(super) fn stages(&self) -> &[StageText] {
        &self.script.stages
    }

    /// The shell that runs a stage; `None` where it is run directly.
    pub(super) fn shell_of(&self, stage: &StageText) -> Option<&str> {
        (stage.start == Start::Shell).then_some(&self.shell)
    }
}

/// A stage in one line, safe to show.
pub(super) fn name(stage: &StageText) -> String {
    text::line(stage.text.trim_end())
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
            writeln!(f, "{number}  {start:<8}  {}{stderr}", name(stage))?;
        }
        if self.inverted() {
            writeln!(f, "!  the status is inverted")?;
        }
        Ok(())
    }
}

/// A program whose plain words are for a shell all the same: a function that was exported to us,
/// which the shell would run under that name; or a missing one in front of `|&`, since what a shell
/// says of it goes down the pipe.
fn by_shell(name: &str, stderr_too: bool) -> bool {
    std::env::var_os(format!("BASH_FUNC_{name}%%")).is_some() || (stderr_too && !is_there(name))
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

/// There is a program of this name, along PATH or at the path that it is.
fn is_there(name: &str) -> bool {
    let executable = |path: &Path| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    if name.contains('/') {
        return executable(Path::new(name));
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    std::env::split_paths(&path).any(|directory| executable(&directory.join(name)))
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
