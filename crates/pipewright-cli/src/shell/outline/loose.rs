//! What is read only to count the stages of a text that a shell has accepted.

use super::{Closer, Doubt, Reader, Result, Token, UNFINISHED};

impl Reader<'_> {
    /// A doubt ends a strict reading.
    pub(super) fn unless_loose(&self, doubt: Doubt) -> Result<()> {
        if self.loose { Ok(()) } else { Err(doubt) }
    }

    /// Behind a `(`: the rest of `((…))`, or the `)` of a function's name. `false`: it opens commands.
    pub(super) fn round(&mut self, reserved: bool) -> Result<bool> {
        let start = self.at;
        if !reserved {
            return match self.token()? {
                Token::Operator(")") => {
                    self.at += 1;
                    Ok(true)
                }
                _ => Err(UNFINISHED),
            };
        }
        if self.peek() != Some(b'(') {
            return Ok(false);
        }
        self.at += 1;
        // Where no `))` ends it, these are two subshells.
        if self.balanced().is_ok() && self.peek() == Some(b')') {
            self.at += 1;
            return Ok(true);
        }
        self.at = start;
        Ok(false)
    }

    /// A `(` inside a word: of a function, an array, or a pattern.
    pub(super) fn round_in_word(&mut self, start: usize) -> Result<bool> {
        let before = self.at.checked_sub(1).filter(|&before| before >= start);
        let Some(before) = before.map(|before| self.text[before]) else {
            return Ok(false);
        };
        self.at += 1;
        if self.peek() == Some(b')') || b"=?*+@!".contains(&before) {
            self.balanced()?;
            return Ok(true);
        }
        Err(UNFINISHED)
    }

    /// Up to the `)` that belongs to a `(` before this place.
    fn balanced(&mut self) -> Result<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek().ok_or(UNFINISHED)? {
                b'\'' => self.single_quoted()?,
                b'"' => self.double_quoted()?,
                b'$' => self.dollar(false)?,
                b'`' => self.backquoted()?,
                b'\\' => self.at += 2,
                b')' if depth == 0 => {
                    self.at += 1;
                    return Ok(());
                }
                byte => {
                    depth = match byte {
                        b'(' => depth + 1,
                        b')' => depth - 1,
                        _ => depth,
                    };
                    self.at += 1;
                }
            }
        }
    }

    /// `WORD in` behind a `case`.
    pub(super) fn case_in(&mut self) -> Result<()> {
        self.token()?;
        self.word(false)?;
        while let Token::Operator("\n") = self.token()? {
            self.at += 1;
        }
        let start = self.at;
        self.word(false)?;
        if &self.text[start..self.at] == b"in" {
            Ok(())
        } else {
            Err(UNFINISHED)
        }
    }

    /// One token of a pattern of `case`, or its `esac`. Whether a reserved word may follow.
    pub(super) fn pattern(&mut self, token: &Token, open: &mut Vec<Closer>) -> Result<bool> {
        let start = self.at;
        match token {
            Token::Operator("\n" | "|" | "(") => self.at += 1,
            Token::Operator(")") => {
                self.at += 1;
                if let Some(closer) = open.last_mut() {
                    *closer = Closer::Clause;
                }
            }
            Token::Word => {
                self.word(false)?;
                if &self.text[start..self.at] == b"esac" {
                    open.pop();
                }
            }
            _ => return Err(UNFINISHED),
        }
        Ok(true)
    }

    /// The rest of `[[ … ]]`.
    pub(super) fn test(&mut self) -> Result<()> {
        loop {
            match self.peek().ok_or(UNFINISHED)? {
                b']' if self.text[self.at..].starts_with(b"]]")
                    && matches!(self.text[self.at - 1], b' ' | b'\t' | b'\n') =>
                {
                    self.at += 2;
                    return Ok(());
                }
                b'\'' => self.single_quoted()?,
                b'"' => self.double_quoted()?,
                b'$' => self.dollar(false)?,
                b'`' => self.backquoted()?,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
    }
}
