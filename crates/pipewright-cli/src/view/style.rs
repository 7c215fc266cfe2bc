//! Colours, and whether there are any.

use std::fmt::Display;
use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};

use super::live::Tone;
use crate::cli::When;

/// Decides about colour once, and lays styles over text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Palette {
    coloured: bool,
}

impl Palette {
    /// For stderr.
    pub(crate) fn new(when: When) -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let coloured = match when {
            When::Always => true,
            When::Never => false,
            // https://no-color.org
            When::Auto => {
                set("NO_COLOR").is_none()
                    && set("TERM").is_some_and(|term| term != "dumb")
                    && std::io::stderr().is_terminal()
            }
        };
        Self { coloured }
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

    /// What matters less.
    pub(crate) fn faint(self, text: impl Display) -> String {
        self.styled(Style::new().dimmed(), text)
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
        match self.coloured {
            true => format!("{style}{text}{style:#}"),
            false => text.to_string(),
        }
    }
}
