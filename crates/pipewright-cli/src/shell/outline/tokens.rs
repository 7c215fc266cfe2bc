//! What comes next in a text: an operator, a redirection with its target, or a word. Pure.

use super::{Reader, Result, Token, UNFINISHED};

impl Reader<'_> {
    /// The kind of what comes next, with blanks and comments before it skipped.
    pub(super) fn token(&mut self) -> Result<Token> {
        loop {
            match self.peek() {
                Some(b' ' | b'\t') => self.at += 1,
                Some(b'\\') if self.text.get(self.at + 1) == Some(&b'\n') => {
                    let before = self.at.checked_sub(1).map(|before| self.text[before]);
                    let joins = !matches!(before, None | Some(b' ' | b'\t' | b'\n'));
                    if self.loose {
                        self.at += 2;
                        continue;
                    }
                    if joins
                        || !self.documents.is_empty()
                        || self.text.get(self.at + 2) == Some(&b'#')
                    {
                        return Err("it has a line continued inside a word or an operator");
                    }
                    self.at += 2;
                }
                Some(b'#') => {
                    let rest = &self.text[self.at..];
                    self.at += rest
                        .iter()
                        .position(|&byte| byte == b'\n')
                        .unwrap_or(rest.len());
                }
                _ => break,
            }
        }
        let rest = &self.text[self.at..];
        let starts = |text: &str| rest.starts_with(text.as_bytes());
        let Some(&first) = rest.first() else {
            return Ok(Token::End);
        };
        Ok(match first {
            b'<' | b'>' if rest.get(1) == Some(&b'(') => Token::Word,
            b'<' if starts("<<<") => Token::Redirection,
            b'<' if starts("<<") => Token::Document {
                tabs: starts("<<-"),
            },
            b'<' | b'>' => Token::Redirection,
            b'&' if starts("&>") => Token::Redirection,
            b'|' | b'&' | b';' | b'\n' | b'(' | b')' => {
                let operators = [
                    ";;&", ";;", ";&", "|&", "||", "|", "&&", "&", ";", "\n", "(", ")",
                ];
                if starts(";;") || starts(";&") {
                    self.unless_loose(UNFINISHED)?;
                }
                let found = operators.into_iter().find(|operator| starts(operator));
                Token::Operator(found.ok_or(UNFINISHED)?)
            }
            _ => Token::Word,
        })
    }

    /// A redirection's operator and its target.
    pub(super) fn redirection(&mut self) -> Result<()> {
        let operators = ["<<<", "&>>", "&>", ">>", ">|", "<>", ">&", "<&", "<", ">"];
        let rest = &self.text[self.at..];
        let operator = operators
            .into_iter()
            .find(|operator| rest.starts_with(operator.as_bytes()));
        self.at += operator.ok_or(UNFINISHED)?.len();
        self.target()?;
        Ok(())
    }

    /// A word that must follow in the same line. Returns where it begins.
    pub(super) fn target(&mut self) -> Result<usize> {
        while let Some(b' ' | b'\t') = self.peek() {
            self.at += 1;
        }
        let start = self.at;
        self.word(true)?;
        // `2` in `<>2>&1` is no target: it belongs to the redirection that follows.
        let next = matches!(self.peek(), Some(b'<' | b'>'));
        if self.at == start || next {
            return Err(UNFINISHED);
        }
        Ok(start)
    }
}
