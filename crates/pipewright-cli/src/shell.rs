//! Shell text cut into the stages of one pipeline. Pure: nothing is run here.
//!
//! The grammar is bash's, by `brush-parser`. Its syntax tree says whether the text is one pipeline
//! and how many stages that has; the *text* of each stage is cut from the tokens, because the
//! tree's positions leave out trailing redirections, and the body of a here-document stands behind
//! the whole line, beyond the stages that follow.

mod words;

use std::ffi::OsString;
use std::fmt;
use std::ops::Range;

use brush_parser::ast::{Pipeline, SeparatorOperator};
use brush_parser::{ParseError, Parser, ParserOptions, SourcePosition, Token, tokenize_str};
use unicode_width::UnicodeWidthStr;

/// One pipeline, cut into stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Script {
    /// Whether a leading `!` turns the status around.
    pub(crate) negated: bool,
    /// From the first to the last; never empty.
    pub(crate) stages: Vec<StageText>,
}

/// One stage as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StageText {
    /// The shell text, with the bodies of its here-documents, and with the redirection that a `|&`
    /// behind it means.
    pub(crate) text: String,
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

/// Why a text is not one pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no command in it.
    Empty,
    /// It is several commands; this is the operator between the first two.
    List(&'static str),
    /// It starts with the keyword `time`.
    Time,
    /// The parser does not take it for bash. There is bash that it does not know, such as `select`.
    Syntax {
        reason: String,
        /// The line of the text, and how many characters of it stand before the fault.
        place: Option<(String, usize)>,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str(
                "there is no command to run; give a pipeline, such as 'sort names | uniq -c'",
            ),
            Self::List(operator) => write!(
                f,
                "this is a list of commands ({operator}), and run takes one pipeline; put the list into \
                 braces as one stage, '{{ a; b; }} | c', or run it with bash -c"
            ),
            Self::Time => f.write_str(
                "leave out the keyword time: the summary tells the time of every stage \
                 (--summary always), and /usr/bin/time can be a stage",
            ),
            Self::Syntax { reason, place } => {
                f.write_str(reason)?;
                if let Some((line, before)) = place {
                    let columns = line.chars().take(*before).collect::<String>().width();
                    write!(f, "\n  {line}\n  {:columns$}^", "")?;
                }
                Ok(())
            }
        }
    }
}

/// Cuts a text into the stages of the one pipeline it must be.
///
/// `by_shell` tells of a program's name, and whether its stderr goes down the pipe, whether it has to
/// be left to a shell although its words are plain.
pub(crate) fn parse(text: &str, by_shell: impl Fn(&str, bool) -> bool) -> Result<Script, Refusal> {
    let program = Parser::new(text.as_bytes(), &ParserOptions::default())
        .parse_program()
        .map_err(|error| syntax(text, &error))?;
    let pipeline = only_pipeline(&program)?;
    let tokens = tokenize_str(text).map_err(|inner| {
        syntax(
            text,
            &ParseError::Tokenizing {
                inner,
                position: None,
            },
        )
    })?;

    let source = Source {
        characters: text.chars().collect(),
        tokens,
    };
    let stages = source.stages(pipeline).ok_or_else(|| Refusal::Syntax {
        reason: "cannot tell where its stages end; run it with bash -c".to_owned(),
        place: None,
    })?;
    let stages = stages.into_iter().map(|stage| {
        let words =
            words::plain(&stage.tokens).filter(|words| !by_shell(&words[0], stage.stderr_too));
        // `|&` is `2>&1 |`, behind the redirections that are there already.
        let redirection = match (&words, stage.stderr_too) {
            (None, true) => " 2>&1",
            _ => "",
        };
        StageText {
            text: stage.code + redirection + &stage.bodies,
            stderr_too: stage.stderr_too,
            start: words.map_or(Start::Shell, |words| {
                Start::Direct(words.into_iter().map(OsString::from).collect())
            }),
        }
    });
    Ok(Script {
        negated: pipeline.bang,
        stages: stages.collect(),
    })
}

/// The stages of a command line that names them word by word, with `|` as a word of its own. No
/// shell is involved.
pub(crate) fn from_words(words: &[OsString]) -> Result<Script, Refusal> {
    if words.is_empty() {
        return Err(Refusal::Empty);
    }
    let cut = |after: &[OsString]| after.iter().position(|word| word == "|" || word == "|&");
    let mut stages = Vec::new();
    let mut rest = words;
    loop {
        let end = cut(rest);
        let (stage, stderr_too) = match end {
            Some(end) => (&rest[..end], rest[end] == "|&"),
            None => (rest, false),
        };
        if stage.is_empty() {
            return Err(Refusal::Syntax {
                reason: "a stage has no words: '|' needs a command on both sides".to_owned(),
                place: None,
            });
        }
        stages.push(StageText {
            text: stage
                .iter()
                .map(|word| words::quoted(word))
                .collect::<Vec<_>>()
                .join(" "),
            stderr_too,
            start: Start::Direct(stage.to_vec()),
        });
        match end {
            Some(end) => rest = &rest[end + 1..],
            None => {
                return Ok(Script {
                    negated: false,
                    stages,
                });
            }
        }
    }
}

/// The one pipeline of a program, or why it is not one.
fn only_pipeline(program: &brush_parser::ast::Program) -> Result<&Pipeline, Refusal> {
    let mut items = program.complete_commands.iter().flat_map(|list| &list.0);
    let Some(first) = items.next() else {
        return Err(Refusal::Empty);
    };
    if let Some(next) = first.0.additional.first() {
        return Err(Refusal::List(match next {
            brush_parser::ast::AndOr::And(_) => "'&&'",
            brush_parser::ast::AndOr::Or(_) => "'||'",
        }));
    }
    if matches!(first.1, SeparatorOperator::Async) {
        return Err(Refusal::List("'&'"));
    }
    if items.next().is_some() {
        return Err(Refusal::List("';' or a new line"));
    }
    let pipeline = &first.0.first;
    if pipeline.timed.is_some() {
        return Err(Refusal::Time);
    }
    if pipeline.seq.is_empty() {
        return Err(Refusal::Empty);
    }
    Ok(pipeline)
}

fn syntax(text: &str, error: &ParseError) -> Refusal {
    let place = |position: &SourcePosition| {
        let line = text.lines().nth(position.line.saturating_sub(1))?;
        // Tabs would move the caret.
        Some((line.replace('\t', " "), position.column.saturating_sub(1)))
    };
    let (reason, place) = match error {
        ParseError::ParsingNear(position) => (
            "cannot read this as bash syntax: unexpected here; if bash takes it, run it with bash -c"
                .to_owned(),
            place(position),
        ),
        ParseError::ParsingAtEndOfInput => {
            let line = text.lines().last().unwrap_or_default().replace('\t', " ");
            let end = line.chars().count();
            (
                "cannot read this as bash syntax: something is missing at the end".to_owned(),
                Some((line, end)),
            )
        }
        ParseError::Tokenizing { inner, position } => (
            format!("cannot read this as bash syntax: {inner}"),
            position.as_ref().and_then(place),
        ),
    };
    Refusal::Syntax { reason, place }
}

/// A text and its tokens, whose positions count characters.
struct Source {
    characters: Vec<char>,
    tokens: Vec<Token>,
}

/// A stage with its tokens, but for operators and bodies between stages.
struct Cut<'a> {
    code: String,
    /// The bodies of its here-documents that stand behind the code, from the new line on.
    bodies: String,
    stderr_too: bool,
    tokens: Vec<&'a Token>,
}

/// The body of a here-document, up to and with the line that ends it.
struct Body {
    /// The stage that has the `<<`.
    owner: usize,
    /// The indices of the body's and the closing tag's tokens.
    tokens: Range<usize>,
    start: usize,
    end: usize,
}

impl Source {
    /// Cuts the text. `None` when tree and tokens do not agree.
    fn stages(&self, pipeline: &Pipeline) -> Option<Vec<Cut<'_>>> {
        let operators = self.operators(pipeline)?;
        let bodies = self.bodies(&operators);
        let mut ranges = Vec::new();
        let mut next = self.first_word(pipeline);
        for index in 0..pipeline.seq.len() {
            let end = operators.get(index).copied().unwrap_or(self.tokens.len());
            // The tokens of a body come with its `<<`, though it stands behind the line.
            let code = |at: &usize| !bodies.iter().any(|body| body.tokens.contains(at));
            let own: Vec<usize> = self.trimmed(next..end).filter(code).collect();
            ranges.push(own);
            next = end + 1;
        }
        let places: Vec<(usize, usize)> = ranges
            .iter()
            .map(|own| {
                let begin = start(&self.tokens[*own.first()?]);
                Some((begin, own.iter().map(|&at| finish(&self.tokens[at])).max()?))
            })
            .collect::<Option<_>>()?;
        let cuts = ranges.iter().enumerate().map(|(index, own)| {
            let (code, bodies) = self.text_of(index, &places, &bodies);
            Cut {
                code,
                bodies,
                stderr_too: operators
                    .get(index)
                    .is_some_and(|&at| self.tokens[at].to_str() == "|&"),
                tokens: own.iter().map(|&at| &self.tokens[at]).collect(),
            }
        });
        Some(cuts.collect())
    }

    /// The indices of the tokens `|` and `|&` between the stages: each is the last such operator
    /// before the stage to its right begins, with at most new lines between.
    fn operators(&self, pipeline: &Pipeline) -> Option<Vec<usize>> {
        use brush_parser::ast::SourceLocation;
        let is = |at: usize, texts: &[&str]| matches!(&self.tokens[at], Token::Operator(text, _) if texts.contains(&text.as_str()));
        let mut operators = Vec::new();
        let mut end = self.tokens.len();
        for command in pipeline.seq.iter().skip(1).rev() {
            let begin = command.location().map(|place| place.start.index);
            let at = (0..end).rfind(|&at| {
                is(at, &["|", "|&"]) && begin.is_none_or(|begin| finish(&self.tokens[at]) <= begin)
            })?;
            // The tree has no place for a stage of nothing but redirections. There is no other `|`
            // in one, unless it redirects to a process substitution.
            if begin.is_none() && (at..end).any(|at| is(at, &[")"])) {
                return None;
            }
            operators.push(at);
            end = at;
        }
        operators.reverse();
        Some(operators)
    }

    /// A range of tokens without new lines around, and without the `;` that may end the last stage.
    fn trimmed(&self, range: Range<usize>) -> Range<usize> {
        let blank = |at: &usize| matches!(&self.tokens[*at], Token::Operator(text, _) if text == "\n" || text == ";");
        let first = range.clone().find(|at| !blank(at)).unwrap_or(range.end);
        let last = range.rev().find(|at| !blank(at));
        first..last.map_or(first, |last| last + 1)
    }

    /// The first token behind new lines and a `!`.
    fn first_word(&self, pipeline: &Pipeline) -> usize {
        let skip = |token: &Token| match token {
            Token::Operator(text, _) => text == "\n",
            Token::Word(text, _) => pipeline.bang && text == "!",
        };
        self.tokens.iter().take_while(|token| skip(token)).count()
    }

    /// The here-documents, in their order.
    fn bodies(&self, operators: &[usize]) -> Vec<Body> {
        let mut bodies: Vec<Body> = Vec::new();
        for (at, token) in self.tokens.iter().enumerate() {
            let strip_tabs = match token {
                Token::Operator(text, _) if text == "<<" => false,
                Token::Operator(text, _) if text == "<<-" => true,
                _ => continue,
            };
            // The tokenizer lays them out as: operator, tag, body, closing tag.
            let (Some(tag), Some(body)) = (self.tokens.get(at + 1), self.tokens.get(at + 2)) else {
                continue;
            };
            // Behind the tag's line; of several in one line, behind the one before.
            let reached = bodies.last().map_or(0, |before| before.end);
            let begin = self.line_end(finish(tag)).max(reached);
            let begin = begin.max(self.line_start(start(body)));
            bodies.push(Body {
                owner: operators.iter().filter(|&&operator| operator < at).count(),
                tokens: at + 2..at + 4,
                start: begin,
                end: self.body_end(begin, tag, strip_tabs),
            });
        }
        bodies
    }

    /// Where the line ends that holds the closing tag.
    fn body_end(&self, mut at: usize, tag: &Token, tabs: bool) -> usize {
        let tag = brush_parser::unquote_str(tag.to_str());
        while at < self.characters.len() {
            let end = self.line_end(at);
            let line: String = self.characters[at..end].iter().collect();
            let line = line.strip_suffix('\n').unwrap_or(&line);
            if (if tabs {
                line.trim_start_matches('\t')
            } else {
                line
            }) == tag.trim_end_matches('\n')
            {
                return end;
            }
            at = end;
        }
        at
    }

    /// The place behind the next new line.
    fn line_end(&self, at: usize) -> usize {
        let rest = self.characters.get(at..).unwrap_or_default();
        rest.iter()
            .position(|&c| c == '\n')
            .map_or(self.characters.len(), |length| at + length + 1)
    }

    /// The beginning of the line.
    fn line_start(&self, at: usize) -> usize {
        let before = self.characters.get(..at).unwrap_or(&self.characters);
        before
            .iter()
            .rposition(|&c| c == '\n')
            .map_or(0, |place| place + 1)
    }

    /// A stage's range without the bodies in it that belong to others; and those of its own that
    /// stand outside of it.
    fn text_of(
        &self,
        index: usize,
        ranges: &[(usize, usize)],
        bodies: &[Body],
    ) -> (String, String) {
        let (begin, end) = ranges[index];
        let inside = |body: &Body| begin <= body.start && body.start < end;
        let foreign = |at: usize| {
            bodies
                .iter()
                .any(|body| body.owner != index && body.holds(at))
        };
        let code = (begin..end)
            .filter(|&at| !foreign(at))
            .map(|at| self.characters[at])
            .collect();
        let mut outside = String::new();
        for body in bodies {
            if body.owner == index && !inside(body) {
                if outside.is_empty() {
                    outside.push('\n');
                }
                outside.extend(&self.characters[body.start..body.end]);
            }
        }
        (code, outside)
    }
}

impl Body {
    fn holds(&self, at: usize) -> bool {
        self.start <= at && at < self.end
    }
}

fn start(token: &Token) -> usize {
    token.location().start.index
}

fn finish(token: &Token) -> usize {
    token.location().end.index
}

#[cfg(test)]
mod tests;
