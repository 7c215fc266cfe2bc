//! Here-documents: the delimiter where the `<<` stands, and the body below its line.

use super::{Document, ODD_DOCUMENT, Piece, Reader, Result, UNFINISHED};

impl Reader<'_> {
    /// A `<<` with its delimiter, which must be plain, or plain in quotes.
    pub(super) fn document(&mut self, tabs: bool) -> Result<()> {
        self.at += if tabs { 3 } else { 2 };
        let start = self.target()?;
        let word = std::str::from_utf8(&self.text[start..self.at]).map_err(|_| ODD_DOCUMENT)?;
        let inner = ['\'', '"'].iter().find_map(|&quote| {
            let inner = word.strip_prefix(quote)?.strip_suffix(quote)?;
            Some(inner)
        });
        let delimiter = inner.unwrap_or(word);
        let plain =
            |c: char| c.is_alphanumeric() || "_-.".contains(c) || (c == ' ' && inner.is_some());
        if delimiter.is_empty() || !delimiter.chars().all(plain) {
            return Err(ODD_DOCUMENT);
        }
        self.documents.push(Document {
            piece: self.outline.pieces.len(),
            delimiter: delimiter.to_owned(),
            quoted: inner.is_some(),
            tabs,
        });
        Ok(())
    }

    /// The bodies that follow this line.
    pub(super) fn bodies(&mut self, current: &mut Option<Piece>) -> Result<()> {
        for document in std::mem::take(&mut self.documents) {
            let start = self.at;
            loop {
                let rest = &self.text[self.at..];
                if rest.is_empty() {
                    return Err(ODD_DOCUMENT); // it goes on to the end of the text
                }
                let length = rest.iter().position(|&byte| byte == b'\n');
                let mut line = &rest[..length.unwrap_or(rest.len())];
                self.at += length.map_or(rest.len(), |length| length + 1);
                if document.tabs {
                    let tabs = line.iter().take_while(|&&byte| byte == b'\t').count();
                    line = &line[tabs..];
                }
                if line == document.delimiter.as_bytes() {
                    break;
                }
                // A line that is continued takes the next one in, the delimiter too.
                if !document.quoted && line.ends_with(b"\\") {
                    return Err(ODD_DOCUMENT);
                }
            }
            let body = start..self.at;
            if self.loose {
                continue;
            }
            match (self.outline.pieces.get_mut(document.piece), &mut *current) {
                (Some(piece), _) | (None, Some(piece)) => piece.bodies.push(body),
                (None, None) => return Err(UNFINISHED),
            }
        }
        Ok(())
    }
}
