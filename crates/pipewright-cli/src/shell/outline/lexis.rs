//! Words, quotes and expansions: where each ends.

use super::{
    CARRIAGE_RETURN, DEEP, DEEPEST, NESTED_DOCUMENT, ODD_DOCUMENT, Reader, Result, SHIFT,
    UNFINISHED, is_name,
};

impl Reader<'_> {
    /// A word, up to what ends it. `target`: of a redirection.
    pub(super) fn word(&mut self, target: bool) -> Result<()> {
        let start = self.at;
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b')' => break,
                b'<' | b'>' if self.text.get(self.at + 1) == Some(&b'(') => {
                    self.at += 2;
                    self.nested()?;
                }
                b'<' | b'>' => break,
                b'(' if self.loose && self.round_in_word(start)? => {}
                b'(' => return Err("it has '(' behind a word: a function, an array or a pattern"),
                b'\'' => self.single_quoted()?,
                b'"' => self.double_quoted()?,
                b'\\' => match self.text.get(self.at + 1) {
                    None => return Err("it ends in a backslash"),
                    Some(b'\n') if !self.loose => {
                        return Err("it has a line continued inside a word or an operator");
                    }
                    Some(_) => self.at += 2,
                },
                b'$' => self.dollar(false)?,
                b'`' => self.backquoted()?,
                b'\r' if !self.loose => return Err(CARRIAGE_RETURN),
                0 => return Err("it has a zero byte"),
                _ => self.at += 1,
            }
        }
        let word = &self.text[start..self.at];
        let count = |wanted: u8| word.iter().filter(|&&byte| byte == wanted).count();
        if !target && word.first().is_some_and(|&byte| is_name(byte)) && count(b'[') > count(b']') {
            return Err("it may have an array's subscript");
        }
        // Where bash reads the body of a document that begins before such a word is not obvious.
        if word.contains(&b'\n') && !self.documents.is_empty() && !self.loose {
            return Err(ODD_DOCUMENT);
        }
        Ok(())
    }

    pub(super) fn single_quoted(&mut self) -> Result<()> {
        let rest = &self.text[self.at + 1..];
        let length = rest.iter().position(|&byte| byte == b'\'');
        self.at += length.ok_or(UNFINISHED)? + 2;
        Ok(())
    }

    pub(super) fn double_quoted(&mut self) -> Result<()> {
        self.at += 1;
        loop {
            match self.peek().ok_or(UNFINISHED)? {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => self.at += 2,
                b'$' => self.dollar(true)?,
                b'`' => self.backquoted()?,
                _ => self.at += 1,
            }
        }
    }

    /// `$'…'`, or backquotes: up to the next such byte without a backslash before it.
    pub(super) fn escaped(&mut self, end: u8) -> Result<()> {
        let start = self.at;
        loop {
            match self.peek().ok_or(UNFINISHED)? {
                byte if byte == end => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        let inside = &self.text[start..self.at];
        if end == b'`' && inside.windows(2).any(|pair| pair == b"<<") {
            return Err(NESTED_DOCUMENT);
        }
        self.at += 1;
        Ok(())
    }

    pub(super) fn backquoted(&mut self) -> Result<()> {
        self.at += 1;
        self.escaped(b'`')
    }

    /// A `$` and what it expands.
    pub(super) fn dollar(&mut self, in_quotes: bool) -> Result<()> {
        let after = |offset: usize| self.text.get(self.at + offset);
        match after(1) {
            Some(b'(') if after(2) == Some(&b'(') => {
                self.at += 3;
                self.deeper(Self::arithmetic)
            }
            Some(b'(') => {
                self.at += 2;
                self.nested()
            }
            Some(b'{') => {
                self.at += 2;
                self.deeper(|reader| reader.parameter(in_quotes))
            }
            Some(b'[') => Err("it has '$['"),
            Some(b'\'') if !in_quotes => {
                self.at += 2;
                self.escaped(b'\'')
            }
            Some(b'"') if !in_quotes => {
                self.at += 1;
                self.double_quoted()
            }
            Some(byte) if b"$#!*@?-".contains(byte) => {
                self.at += 2;
                Ok(())
            }
            _ => {
                self.at += 1;
                Ok(())
            }
        }
    }

    /// `${…}`, up to its brace.
    fn parameter(&mut self, in_quotes: bool) -> Result<()> {
        loop {
            match self.peek().ok_or(UNFINISHED)? {
                b'}' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' if self.text.get(self.at + 1) != Some(&b'\n') => self.at += 2,
                b'\'' if !in_quotes => self.single_quoted()?,
                b'"' if !in_quotes => self.double_quoted()?,
                b'$' => self.dollar(in_quotes)?,
                b'`' => self.backquoted()?,
                b'"' if self.loose => self.double_quoted()?,
                b'<' | b'>' | b'(' | b')' | b'{' | b'\'' | b'"' | b'\\' | b'\n' | b'\r' | b';'
                    if !self.loose =>
                {
                    return Err("it has '${…}' with more than a plain expansion in it");
                }
                _ => self.at += 1,
            }
        }
    }

    /// `$((…))`, up to its end.
    pub(super) fn arithmetic(&mut self) -> Result<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek().ok_or(UNFINISHED)? {
                b'(' => depth += 1,
                b')' if depth > 0 => depth -= 1,
                b')' if self.text.get(self.at + 1) == Some(&b')') => {
                    self.at += 2;
                    return Ok(());
                }
                b'<' if self.text.get(self.at + 1) == Some(&b'<') => self.unless_loose(SHIFT)?,
                b'$' => {
                    self.dollar(false)?;
                    continue;
                }
                b')' | b';' | b'\'' | b'"' | b'\\' | b'`' | b'\n' | b'\r' | b'{' | b'}' => {
                    return Err("it has '$((…))' with more than plain arithmetic in it");
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    /// The commands of `$(…)`, `<(…)` or `>(…)`, and its `)`.
    pub(super) fn nested(&mut self) -> Result<()> {
        self.outline.nests = true;
        self.deeper(|reader| reader.commands(false))
    }

    pub(super) fn deeper(&mut self, read: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        if self.depth == DEEPEST {
            return Err(DEEP);
        }
        self.depth += 1;
        read(self)?;
        self.depth -= 1;
        Ok(())
    }
}
