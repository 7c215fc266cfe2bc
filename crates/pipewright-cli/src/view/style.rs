//! Colours, and whether there are any.

use std::fmt::Display;
use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};
use clap::builder::StyledStr;

use super::{terminal, text};
use crate::cli::When;

/// The look of a piece of text. Nothing that matters is told by it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Bold,
    Faint,
    Good,
    Warning,
    /// The row that keys act on.
    Selected,
}

/// One line, in pieces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Row(pub(crate) Vec<(Tone, String)>);

impl Row {
    /// Cut at the width.
    pub(crate) fn fitted(pieces: Vec<(Tone, String)>, width: usize) -> Self {
        let mut left = width;
        let mut kept = Vec::new();
        for (tone, piece) in pieces {
            let piece = text::shortened(&piece, left);
            left -= text::width(&piece).min(left);
            kept.push((tone, piece));
        }
        Self(kept)
    }

    /// Without tones.
    #[cfg(test)]
    pub(super) fn plain(&self) -> String {
        self.0.iter().map(|(_, piece)| piece.as_str()).collect()
    }
}

/// Decides about colour once, and lays styles over text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Palette {
    coloured: bool,
}

impl Palette {
    /// For texts that go to this stream.
    pub(crate) fn new(when: When, stream: &impl IsTerminal) -> Self {
        let able = || !terminal::has_no_color() && !terminal::is_dumb() && stream.is_terminal();
        let coloured = match when {
            When::Always => true,
            When::Never => false,
            When::Auto => able(),
        };
        Self { coloured }
    }

    /// A text of the command line's parser, which has styles of its own.
    pub(crate) fn parsed(self, text: &StyledStr) -> String {
        if self.coloured {
            text.ansi().to_string()
        } else {
            text.to_string()
        }
    }

    /// A name, or the one figure of a line.
    pub(crate) fn bold(self, text: impl Display) -> String {
        self.styled(Style::new().bold(), text)
    }

    pub(crate) fn good(self, text: impl Display) -> String {
        self.styled(AnsiColor::Green.on_default(), text)
    }

    pub(crate) fn bad(self, text: impl Display) -> String {
        self.styled(AnsiColor::Red.on_default().bold(), text)
    }

    /// Advice.
    pub(crate) fn warning(self, text: impl Display) -> String {
        self.styled(AnsiColor::Yellow.on_default(), text)
    }

    /// A text that matters less.
    pub(crate) fn faint(self, text: impl Display) -> String {
        self.styled(Style::new().dimmed(), text)
    }

    /// What stands in front of a stage's lines: each stage has a colour, as far as there are some.
    pub(crate) fn tag(self, stage: usize, text: impl Display) -> String {
        let colours = [
            AnsiColor::Cyan,
            AnsiColor::Yellow,
            AnsiColor::Green,
            AnsiColor::Magenta,
            AnsiColor::Blue,
        ];
        self.styled(colours[stage % colours.len()].on_default(), text)
    }

    pub(crate) fn toned(self, tone: Tone, text: impl Display) -> String {
        match tone {
            Tone::Plain => text.to_string(),
            Tone::Bold | Tone::Selected => self.bold(text),
            Tone::Faint => self.faint(text),
            Tone::Good => self.good(text),
            Tone::Warning => self.warning(text),
        }
    }

    fn styled(self, style: Style, text: impl Display) -> String {
        if self.coloured {
            format!("{style}{text}{style:#}")
        } else {
            text.to_string()
        }
    }
}
