//! Shell text cut into the stages of one pipeline, or left whole. Pure: nothing is run here.
//!
//! A cut must be proven. Three witnesses have to agree, or bash runs the text as a whole:
//!
//! 1. [`outline`] reads the text with a grammar of its own, small and strict, and its stages,
//!    operators and here-documents cover every byte exactly once.
//! 2. `brush-parser`, a bash grammar by others, sees one pipeline of as many stages.
//! 3. Each stage, parsed alone, is one command, and the same command as in the whole text.
//!
//! Where a stage holds other commands, the shell itself is the fourth: it is asked with `-n`
//! whether it takes the text ([`Script::ask`]). A shell reads from left to right, so stages that it
//! takes alone, and a text that it takes whole, can be divided only in this way.

mod one_shell;
mod outline;
mod words;

use std::ffi::{OsStr, OsString};
use std::fmt;

use brush_parser::ast::{self, Pipeline, SeparatorOperator};
use brush_parser::{Parser, ParserOptions};

use outline::Outline;

/// A text, cut into stages or whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Script {
    /// Whether a leading `!` turns the status around.
    pub(crate) negated: bool,
    /// From the first to the last; never empty. A whole text is one stage.
    pub(crate) stages: Vec<StageText>,
    /// Why a shell gets the text as a whole.
    pub(crate) whole: Option<Reason>,
    /// Whether the shell has to be asked, before anything starts, if it takes the text.
    pub(crate) ask: bool,
}

/// One stage as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StageText {
    /// The shell text, with the bodies of its here-documents, and with the redirection that a `|&`
    /// behind it means.
    pub(crate) text: OsString,
    /// The line of the whole text in which it begins, from 1.
    pub(crate) line: usize,
    /// Whether `|&` follows: stderr goes down the pipe too.
    pub(crate) stderr_too: bool,
    /// How it is to be started.
    pub(crate) start: Start,
}

/// How a stage is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    /// Executed directly with these words: they are plain, and the first is no builtin.
    Direct(Vec<OsString>),
    /// By a shell, which gets the text.
    Shell,
}

/// Why a text is run whole. Displayed, it completes "bash runs the text whole: …".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reason {
    /// `--whole`.
    Asked,
    /// It has something that is not cut on principle, or is not one pipeline.
    Contains(&'static str),
    /// It refers to what only one shell for all stages has.
    RefersTo(&'static str),
    /// The parser does not take it for bash, or takes it for something else.
    Unread,
    /// The shell does not take it.
    Refused,
    /// This variable changes what bash does.
    Variable(&'static str),
    /// It is too long for an argument.
    Long,
    /// Fewer descriptors may be open than are needed to hold its stages.
    Descriptors,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("--whole asks for it"),
            Self::Contains(what) => f.write_str(what),
            Self::RefersTo(what) => write!(f, "it refers to {what}"),
            Self::Unread => f.write_str("its stages cannot be told apart with certainty"),
            Self::Refused => f.write_str("the shell finds a fault in it"),
            Self::Variable(name) => write!(f, "{name} is set"),
            Self::Long => f.write_str("it is too long for an argument"),
            Self::Descriptors => {
                f.write_str("too few descriptors may be open to hold its stages (ulimit -Hn)")
            }
        }
    }
}

/// A command line of separate words from which no stages can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WordsError {
    #[error("there is no command to run")]
    Empty,
    #[error("a stage has no words: the separator needs a command on both sides")]
    EmptyStage,
}

/// The longest text that is given to a shell as an argument; the kernel takes one of 128 KiB.
pub(crate) const LONGEST_ARGUMENT: usize = 100 << 10;

impl Script {
    /// The same text for one shell.
    pub(crate) fn into_whole(self, text: &OsStr, reason: Reason) -> Self {
        if self.whole.is_some() {
            return self;
        }
        Self::whole(text, reason)
    }

    /// A text for one shell.
    pub(crate) fn whole(text: &OsStr, reason: Reason) -> Self {
        Self {
            negated: false,
            stages: vec![StageText {
                text: text.to_owned(),
                line: 1,
                stderr_too: false,
                start: Start::Shell,
            }],
            whole: Some(reason),
            ask: false,
        }
    }
}

/// A text that is one pipeline of several stages, although it is not cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WholePipeline {
    pub(crate) stages: usize,
    /// By a leading `!`.
    pub(crate) inverted: bool,
}

impl WholePipeline {
    /// `None`: it is something else, or cannot be told.
    pub(crate) fn of(text: &OsStr) -> Option<Self> {
        let outline = Outline::loosely(text.to_str()?)?;
        let stages = outline.pieces.len();
        (stages > 1).then_some(Self {
            stages,
            inverted: outline.bang.is_some(),
        })
    }
}

/// Cuts a text into the stages of the one pipeline that it is, or leaves it whole.
///
/// `by_shell` tells of a program's name, and whether its stderr goes down the pipe, whether it has to
/// be left to a shell although its words are plain.
pub(crate) fn parse(text: &OsStr, by_shell: impl Fn(&str, bool) -> bool) -> Script {
    match cut(text, by_shell) {
        Ok(script) => script,
        Err(reason) => Script::whole(text, reason),
    }
}

fn cut(text: &OsStr, by_shell: impl Fn(&str, bool) -> bool) -> Result<Script, Reason> {
    if text.len() > LONGEST_ARGUMENT {
        return Err(Reason::Long);
    }
    let Some(text) = text.to_str() else {
        return Err(Reason::Contains("it is not UTF-8"));
    };
    if text.starts_with('\u{feff}') {
        return Err(Reason::Contains("it begins with a byte order mark"));
    }
    let outline = Outline::of(text).map_err(Reason::Contains)?;
    // The parser is asked last: text that is no shell's can make it panic, or take for ever.
    let program = parsed(text).ok_or(Reason::Unread)?;
    let pipeline = only_pipeline(&program).ok_or(Reason::Unread)?;
    let agree =
        pipeline.bang == outline.bang.is_some() && pipeline.seq.len() == outline.pieces.len();
    if !agree {
        return Err(Reason::Unread);
    }

    let mut stages = Vec::with_capacity(outline.pieces.len());
    for (piece, command) in outline.pieces.iter().zip(&pipeline.seq) {
        let code = &text[piece.code.clone()];
        let mut bodies = String::new();
        for body in &piece.bodies {
            bodies.push('\n');
            bodies.push_str(text[body.clone()].trim_end_matches('\n'));
        }
        if !bodies.is_empty() {
            bodies.push('\n');
        }
        let words = piece.words.as_ref().and_then(|ranges| {
            let words = ranges.iter().map(|range| &text[range.clone()]);
            words::plain(words).filter(|words| !by_shell(&words[0], piece.stderr_too))
        });
        // `|&` is `2>&1 |`, behind the redirections that are there already.
        let redirection = if piece.stderr_too { " 2>&1" } else { "" };
        let written = format!("{code}{redirection}{bodies}");
        if !is_the_command(&written, command) {
            return Err(Reason::Unread);
        }
        if words.is_none()
            && let Some(what) = one_shell::needed(&written)
        {
            return Err(Reason::RefersTo(what));
        }
        let shown = if words.is_some() { code } else { &written };
        stages.push(StageText {
            text: shown.into(),
            line: text[..piece.code.start].matches('\n').count() + 1,
            stderr_too: piece.stderr_too,
            start: words.map_or(Start::Shell, |words| {
                Start::Direct(words.into_iter().map(OsString::from).collect())
            }),
        });
    }
    // The shell runs a single command itself, and what ends it there is not inverted.
    if let ([StageText { start, .. }], true) = (&stages[..], pipeline.bang)
        && *start == Start::Shell
    {
        return Err(Reason::Contains("its '!' is before a single command"));
    }
    Ok(Script {
        negated: pipeline.bang,
        stages,
        whole: None,
        ask: outline.nests,
    })
}

/// What may be wrong with a text, for whoever has no eye for invisible characters.
pub(crate) fn hint(text: &[u8]) -> Option<&'static str> {
    if text.starts_with(b"\xef\xbb\xbf") {
        return Some(
            "it begins with a byte order mark, which bash takes for a part of the first word: remove it \
             with sed -i '1s/^\\xef\\xbb\\xbf//'",
        );
    }
    let from_windows = text.windows(2).any(|pair| pair == b"\r\n");
    from_windows.then_some(
        "its lines end in \\r\\n, as on Windows, and bash takes the \\r for a part of the last word: \
         remove it with sed -i 's/\\r$//'",
    )
}

/// The stages of a command line that names them word by word, with the separator, `|` if no other
/// is asked for, as a word of its own. No shell is involved.
pub(crate) fn from_words(words: &[OsString], separator: &OsStr) -> Result<Script, WordsError> {
    if words.is_empty() {
        return Err(WordsError::Empty);
    }
    let both = [separator, "&".as_ref()].join(OsStr::new(""));
    let mut stages = Vec::new();
    let mut rest = words;
    loop {
        let end = rest
            .iter()
            .position(|word| *word == separator || *word == both);
        let (stage, stderr_too) = match end {
            Some(end) => (&rest[..end], rest[end] == both),
            None => (rest, false),
        };
        if stage.is_empty() {
            return Err(WordsError::EmptyStage);
        }
        let quoted: Vec<String> = stage.iter().map(|word| words::quoted(word)).collect();
        stages.push(StageText {
            text: quoted.join(" ").into(),
            line: 1,
            stderr_too,
            start: Start::Direct(stage.to_vec()),
        });
        match end {
            Some(end) => rest = &rest[end + 1..],
            None => break,
        }
    }
    Ok(Script {
        negated: false,
        stages,
        whole: None,
        ask: false,
    })
}

fn parsed(text: &str) -> Option<ast::Program> {
    Parser::new(text.as_bytes(), &ParserOptions::default())
        .parse_program()
        .ok()
}

/// Tells whether a stage's own text is this one command and nothing else.
fn is_the_command(text: &str, command: &ast::Command) -> bool {
    let program = parsed(text);
    let pipeline = program.as_ref().and_then(only_pipeline);
    pipeline.is_some_and(|pipeline| {
        !pipeline.bang
            && pipeline.seq.len() == 1
            && pipeline.seq[0].to_string() == command.to_string()
    })
}

/// The pipeline of a program that is nothing else.
fn only_pipeline(program: &ast::Program) -> Option<&Pipeline> {
    let mut items = program.complete_commands.iter().flat_map(|list| &list.0);
    let (list, separator) = items.next().map(|item| (&item.0, &item.1))?;
    let only = items.next().is_none()
        && list.additional.is_empty()
        && list.first.timed.is_none()
        && matches!(separator, SeparatorOperator::Sequence);
    only.then_some(&list.first)
}

#[cfg(test)]
mod tests;
