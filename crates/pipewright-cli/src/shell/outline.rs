//! Where the stages of one pipeline begin and end, found without the parser.
//!
//! This reader knows a part of bash's grammar, and that part exactly: simple commands, `{ … }`,
//! `( … )`, `if`, `while`, `until`, `for … in`, redirections, quotes, expansions and
//! here-documents. At anything else it gives up, and the text is run whole. So an outline is right
//! for two reasons that do not depend on each other: this reader understood every byte of the text
//! ([`Outline::covers`]), and the parser, which was written by others, agrees with it.

mod documents;
mod lexis;
mod loose;
mod tokens;

use std::ops::Range;

/// Why the text has no outline. Completes "bash runs the text whole: …".
pub(super) type Doubt = &'static str;

type Result<T> = std::result::Result<T, Doubt>;

const EMPTY: Doubt = "there is no command in it";
const SEQUENCE: Doubt = "it is a list of commands (';' or a new line)";
const UNFINISHED: Doubt = "a quote or a command is not finished";
const NO_COMMAND: Doubt = "a '|' has no command on one side";
const NESTED_DOCUMENT: Doubt = "it has a here-document inside another command";
const ODD_DOCUMENT: Doubt = "it has a here-document whose end is not plain";
const DEEP: Doubt = "its commands are nested very deeply";
const SHIFT: Doubt = "it has '<<' inside an expression";
pub(super) const CARRIAGE_RETURN: Doubt = "it has carriage returns (\\r)";

/// The places of everything that makes up one pipeline, in bytes of its text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outline {
    /// From the first to the last; never empty.
    pub(super) pieces: Vec<Piece>,
    /// The `|` and `|&` between the pieces.
    operators: Vec<Range<usize>>,
    /// A leading `!`.
    pub(super) bang: Option<Range<usize>>,
    /// A `;` at the end.
    semicolon: Option<Range<usize>>,
    /// Whether there is something in it that only a shell can tell to be complete.
    pub(super) nests: bool,
}

/// One stage.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Piece {
    /// The command with its redirections.
    pub(super) code: Range<usize>,
    /// The bodies of its here-documents, each with the line that ends it.
    pub(super) bodies: Vec<Range<usize>>,
    /// Whether `|&` follows.
    pub(super) stderr_too: bool,
    /// Its words, if it has nothing but words.
    pub(super) words: Option<Vec<Range<usize>>>,
}

impl Outline {
    /// Reads the whole text, which must be one pipeline.
    pub(super) fn of(text: &str) -> Result<Self> {
        let outline = Reader::read(text, false)?;
        if !outline.covers(text) {
            return Err("its stages do not cover its text");
        }
        Ok(outline)
    }

    /// Reads a text of any grammar that a shell has accepted, to count its stages. Nothing may be
    /// cut by it.
    pub(super) fn loosely(text: &str) -> Option<Self> {
        Reader::read(text, true).ok()
    }

    /// Tells whether stages, operators and bodies cover every byte of the text exactly once, but for
    /// blanks, new lines and comments.
    fn covers(&self, text: &str) -> bool {
        let codes = self.pieces.iter().map(|piece| &piece.code);
        let bodies = self.pieces.iter().flat_map(|piece| &piece.bodies);
        let marks = self.bang.iter().chain(&self.semicolon);
        let mut ranges: Vec<&Range<usize>> = codes
            .chain(bodies)
            .chain(marks)
            .chain(&self.operators)
            .collect();
        ranges.sort_by_key(|range| range.start);
        let mut reached = 0;
        for range in ranges {
            let gap = text.get(reached..range.start);
            if range.is_empty() || !gap.is_some_and(is_blank) {
                return false;
            }
            reached = range.end;
        }
        text.get(reached..).is_some_and(is_blank)
    }
}

/// Tells whether a text is nothing but blanks, new lines, continued lines and comments.
fn is_blank(gap: &str) -> bool {
    let mut rest = gap;
    while let Some(first) = rest.chars().next() {
        rest = match first {
            ' ' | '\t' | '\n' => &rest[1..],
            '\\' if rest.starts_with("\\\n") => &rest[2..],
            '#' => rest.find('\n').map_or("", |end| &rest[end..]),
            _ => return false,
        };
    }
    true
}

/// What ends an open compound command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Closer {
    /// The list behind a pattern of `case`: `;;` or `esac`.
    Clause,
    /// A pattern, or `esac`.
    Pattern,
    Brace,
    Parenthesis,
    Fi,
    Done,
}

/// The kind of what comes next.
enum Token {
    /// One of `|`, `|&`, `||`, `&&`, `&`, `;`, a new line, `(`, `)`; loosely, `;;` and its like.
    Operator(&'static str),
    /// The operator; its target follows.
    Redirection,
    Document {
        tabs: bool,
    },
    Word,
    End,
}

/// A here-document whose body has not been reached.
#[derive(Debug)]
struct Document {
    piece: usize,
    delimiter: String,
    quoted: bool,
    tabs: bool,
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    /// How many substitutions are open.
    depth: usize,
    /// Read what is not exactly known too.
    loose: bool,
    documents: Vec<Document>,
    outline: Outline,
}

/// More open commands than anybody writes; each takes stack here or in the parser.
const DEEPEST: usize = 40;

impl<'a> Reader<'a> {
    fn read(text: &'a str, loose: bool) -> Result<Outline> {
        let mut reader = Self {
            text: text.as_bytes(),
            at: 0,
            depth: 0,
            loose,
            documents: Vec::new(),
            outline: Outline::default(),
        };
        reader.commands(true)?;
        Ok(reader.outline)
    }

    /// Reads commands up to the end of the text, or, inside of another command, to its `)`.
    fn commands(&mut self, outermost: bool) -> Result<()> {
        let mut open: Vec<Closer> = Vec::new();
        // Whether a reserved word would be taken for one here.
        let mut reserved = true;
        let mut piece: Option<Piece> = None;
        let mut over = false;
        loop {
            if open.len() > DEEPEST {
                return Err(DEEP);
            }
            let token = self.token()?;
            let start = self.at;
            let top = outermost && open.is_empty();
            if let Some(Closer::Pattern) = open.last() {
                reserved = self.pattern(&token, &mut open)?;
                if let Some(piece) = &mut piece {
                    piece.code.end = self.at;
                }
                continue;
            }
            match token {
                Token::End => {
                    if !outermost || !open.is_empty() || !self.documents.is_empty() {
                        return Err(UNFINISHED);
                    }
                    return self.close(piece);
                }
                Token::Operator("\n") => {
                    self.at += 1;
                    reserved = true;
                    if top {
                        let only_bang =
                            self.outline.bang.is_some() && self.outline.pieces.is_empty();
                        if only_bang && piece.is_none() {
                            return Err(SEQUENCE);
                        }
                        over |= piece.is_some();
                        self.bodies(&mut piece)?;
                    } else if !self.documents.is_empty() {
                        self.unless_loose(NESTED_DOCUMENT)?;
                        self.bodies(&mut piece)?;
                    }
                    continue;
                }
                Token::Operator(operator @ ("(" | ")")) => {
                    self.at += 1;
                    let opens = operator == "(";
                    if opens && self.loose && self.round(reserved)? {
                        reserved = true;
                    } else if opens && (!reserved || self.peek() == Some(b'(')) {
                        return Err("it has '((' or '(' inside a word");
                    } else {
                        match (opens, open.last()) {
                            (true, _) => {
                                open.push(Closer::Parenthesis);
                                self.outline.nests = true;
                            }
                            (false, Some(Closer::Parenthesis)) => _ = open.pop(),
                            (false, None) if !outermost => return Ok(()),
                            (false, _) => return Err(UNFINISHED),
                        }
                        // Behind `(` and behind `)` a reserved word is one.
                        reserved = true;
                    }
                }
                Token::Operator(operator @ (";;" | ";&" | ";;&")) => {
                    self.at += operator.len();
                    match open.last_mut() {
                        Some(closer @ Closer::Clause) => *closer = Closer::Pattern,
                        _ => return Err(UNFINISHED),
                    }
                    continue;
                }
                Token::Operator(operator) => {
                    self.at += operator.len();
                    reserved = true;
                    if top {
                        match operator {
                            "|" | "|&" => {
                                if over {
                                    return Err(SEQUENCE);
                                }
                                let mut ended = piece.take().ok_or(NO_COMMAND)?;
                                ended.stderr_too = operator == "|&";
                                self.outline.pieces.push(ended);
                                self.outline.operators.push(start..self.at);
                            }
                            ";" if piece.is_some() && !over => {
                                self.outline.semicolon = Some(start..self.at);
                                over = true;
                            }
                            "&&" => return Err("it is a list of commands ('&&')"),
                            "||" => return Err("it is a list of commands ('||')"),
                            "&" => return Err("it is a list of commands ('&')"),
                            _ => return Err(SEQUENCE),
                        }
                    }
                    continue;
                }
                Token::Redirection => {
                    self.redirection()?;
                    reserved = false;
                }
                Token::Document { tabs } => {
                    if !top {
                        self.unless_loose(NESTED_DOCUMENT)?;
                    }
                    self.document(tabs)?;
                    reserved = false;
                }
                Token::Word => {
                    self.word(false)?;
                    let word = &self.text[start..self.at];
                    let number = word.iter().all(u8::is_ascii_digit)
                        && matches!(self.peek(), Some(b'<' | b'>'));
                    if number {
                        // It is part of the redirection that follows.
                    } else if reserved && word == b"!" && top && piece.is_none() {
                        if over || !self.outline.pieces.is_empty() || self.outline.bang.is_some() {
                            return Err("it has a second '!'");
                        }
                        self.outline.bang = Some(start..self.at);
                        continue;
                    } else {
                        reserved = reserved && self.keyword(start..self.at, &mut open)?
                            || self.text[..self.at].ends_with(b"()");
                    }
                    let compound = reserved || number;
                    if top && !over && !compound {
                        let piece = piece.get_or_insert_with(|| Piece {
                            code: start..start,
                            words: Some(Vec::new()),
                            ..Piece::default()
                        });
                        if let Some(words) = &mut piece.words {
                            words.push(start..self.at);
                        }
                        piece.code.end = self.at;
                        continue;
                    }
                }
            }
            if outermost {
                if over {
                    return Err(SEQUENCE);
                }
                // Something else than a word, or deeper: a shell must look at it.
                let piece = piece.get_or_insert_with(|| Piece {
                    code: start..start,
                    ..Piece::default()
                });
                piece.words = None;
                piece.code.end = self.at;
            }
        }
    }

    /// The last piece, at the end of the text.
    fn close(&mut self, piece: Option<Piece>) -> Result<()> {
        let started = self.outline.bang.is_some() || !self.outline.pieces.is_empty();
        let nothing = if started { UNFINISHED } else { EMPTY };
        self.outline.pieces.push(piece.ok_or(nothing)?);
        Ok(())
    }

    /// Opens and closes compound commands. Whether a reserved word may follow.
    fn keyword(&mut self, word: Range<usize>, open: &mut Vec<Closer>) -> Result<bool> {
        let mut close = |closer| {
            if open.pop() == Some(closer) {
                Ok(true)
            } else {
                Err(UNFINISHED)
            }
        };
        match &self.text[word] {
            b"}" => return close(Closer::Brace),
            b"fi" => return close(Closer::Fi),
            b"done" => return close(Closer::Done),
            b"{" => open.push(Closer::Brace),
            b"if" => open.push(Closer::Fi),
            b"while" | b"until" => open.push(Closer::Done),
            b"for" => {
                open.push(Closer::Done);
                self.outline.nests = true;
                return self.for_name();
            }
            // Where they do not belong, the shell refuses the text.
            b"!" | b"then" | b"elif" | b"else" | b"do" => {}
            b"esac" => return close(Closer::Clause),
            b"coproc" => return Err("it has 'coproc'"),
            b"time" => return Err("it has the keyword 'time'"),
            b"case" => {
                self.unless_loose("it has 'case'")?;
                open.push(Closer::Pattern);
                self.case_in()?;
            }
            b"select" => {
                self.unless_loose("it has 'select'")?;
                open.push(Closer::Done);
                return self.for_name();
            }
            b"function" => {
                self.unless_loose("it has 'function'")?;
                self.token()?;
                self.word(false)?;
            }
            b"[[" => {
                self.unless_loose("it has '[['")?;
                self.test()?;
            }
            _ => return Ok(false),
        }
        self.outline.nests = true;
        Ok(true)
    }

    /// `NAME in` behind a `for`. Whether a reserved word may follow.
    fn for_name(&mut self) -> Result<bool> {
        for wanted in [None, Some("in")] {
            let token = self.token()?;
            let start = self.at;
            let fits = match token {
                Token::Word => {
                    self.word(false)?;
                    let word = &self.text[start..self.at];
                    match wanted {
                        Some(wanted) => word == wanted.as_bytes(),
                        None => word.iter().all(|&byte| is_name(byte)),
                    }
                }
                _ => false,
            };
            if !fits {
                self.unless_loose("it has a 'for' without 'in'")?;
                self.at = start;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }
}

fn is_name(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}
