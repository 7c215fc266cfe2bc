//! Rows held at the bottom of the terminal while everything else scrolls above them.
//!
//! The stages write their stderr straight to the terminal, as they would without pipewright: nothing
//! of theirs passes through here. So that they scroll *above* the rows, the terminal's scrolling
//! region is shortened by them (DECSTBM), as package managers do for their progress line. Each
//! repaint is one write, which the kernel does not mix with another process's, and saves and restores
//! the cursor around it, so that a stage's half line is continued where it stopped.

use std::fs::File;
use std::io::Write;
use std::sync::Once;

use rustix::termios::{LocalModes, tcgetattr, tcgetpgrp};

use super::charset;
use super::claim::Claim;
use super::guard::Guard;
use super::style::{Palette, Row};
use super::terminal;

/// Rows at the bottom of the terminal that is stderr.
#[derive(Debug)]
pub(crate) struct Inline {
    palette: Palette,
    /// The terminal under another name than stderr.
    own: Option<File>,
    /// The size of the terminal and the number of rows held, once something was painted.
    held: Option<Held>,
    /// The right to paint, from the first row to the last.
    claim: Option<Claim>,
    /// Gives the terminal back after a kill -9.
    guard: Option<Guard>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    lines: usize,
    columns: usize,
    rows: usize,
}

const SAVE: &str = "\x1b7";
const RESTORE: &str = "\x1b8";
const WHOLE_REGION: &str = "\x1b[r";
const CLEAR_BELOW: &str = "\x1b[J";

impl Inline {
    pub(crate) fn new(palette: Palette) -> Self {
        Self {
            palette,
            own: None,
            held: None,
            claim: None,
            guard: None,
        }
    }

    pub(crate) fn guard_id(&self) -> Option<u32> {
        self.guard.as_ref().map(Guard::id)
    }

    /// Paints through this file from now on, which is the terminal too.
    pub(crate) fn paint_through(&mut self, own: File) {
        self.own = Some(own);
    }

    /// Rows are on the terminal.
    pub(crate) fn is_shown(&self) -> bool {
        self.held.is_some()
    }

    /// Columns, and the rows that may be held: half of the terminal.
    pub(crate) fn room(&self) -> Option<(usize, usize)> {
        let (columns, rows) = terminal::size(std::io::stderr())?;
        (rows > 1).then_some((columns, rows / 2))
    }

    /// The looks of what is painted.
    pub(crate) fn palette(&self) -> Palette {
        self.palette
    }

    /// Tells whether the terminal is ours to paint on: this process is in its foreground, and no
    /// program has it in its hands, as an editor or a menu has that reads single keys.
    pub(crate) fn may_paint(&self) -> bool {
        let stderr = std::io::stderr();
        let foreground = tcgetpgrp(&stderr).is_ok_and(|group| group == rustix::process::getpgrp());
        let by_lines = tcgetattr(&stderr)
            .is_ok_and(|attributes| attributes.local_modes.contains(LocalModes::ICANON));
        foreground && by_lines
    }

    /// Paints the rows, making room for them first where there is none.
    pub(crate) fn paint(&mut self, rows: &[Row]) {
        let Some((columns, lines)) = terminal::size(std::io::stderr()) else {
            return;
        };
        restore_on_panic();
        let wanted = Held {
            lines,
            columns,
            rows: rows.len(),
        };
        if wanted.rows >= wanted.lines || !self.claims() {
            return;
        }
        let mut text = String::new();
        if self.held != Some(wanted) {
            text.push_str(&self.release());
            text.push_str(&hold(wanted));
            self.held = Some(wanted);
            // Set before anything is painted, so that there is no moment without it.
            self.guard = self.guard.take().or_else(Guard::start);
            if let Some(guard) = &mut self.guard {
                guard.set(&wanted.release());
            }
        }
        text.push_str(SAVE);
        for (row, line) in rows.iter().zip(wanted.lines - wanted.rows + 1..) {
            text.push_str(&format!("\x1b[{line};1H\x1b[2K"));
            for (tone, piece) in &row.0 {
                text.push_str(&self.palette.toned(*tone, piece));
            }
        }
        text.push_str(RESTORE);
        self.emit(&text);
    }

    /// In one write.
    fn emit(&mut self, text: &str) {
        match &mut self.own {
            Some(own) => drop(own.write_all(charset::in_locale(text).as_bytes())),
            None => super::tell(text),
        }
    }

    /// Gives the whole terminal back, and wipes the rows.
    pub(crate) fn restore(&mut self) {
        let text = self.release();
        if !text.is_empty() {
            self.emit(&text);
            if let Some(guard) = &mut self.guard {
                guard.set("");
            }
        }
        self.claim = None;
    }

    fn release(&mut self) -> String {
        self.held.take().map_or_else(String::new, Held::release)
    }

    /// Claims the terminal, unless that was done. False while another live view has it.
    fn claims(&mut self) -> bool {
        self.claim = self.claim.take().or_else(Claim::take);
        self.claim.is_some()
    }
}

impl Held {
    /// The sequence that undoes [`hold`].
    fn release(self) -> String {
        let first = self.lines - self.rows + 1;
        format!("{SAVE}{WHOLE_REGION}\x1b[{first};1H{CLEAR_BELOW}{RESTORE}")
    }
}

impl Drop for Inline {
    fn drop(&mut self) {
        self.restore();
    }
}

/// Scrolls the screen up by as many rows as are held, if the cursor stands that low, and shortens
/// the scrolling region by them. Setting the region moves the cursor, hence the save around it.
///
/// A step down by a vertical tab, and not by a new line, keeps the column at which a stage may have
/// stopped: terminals take it for a line feed, and the kernel puts no carriage return before it.
fn hold(held: Held) -> String {
    let room = "\x0b".repeat(held.rows);
    let last = held.lines - held.rows;
    format!("{room}\x1b[{}A{SAVE}\x1b[1;{last}r{RESTORE}", held.rows)
}

/// A panic must not leave the terminal with a shortened region.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            super::tell(&format!("{SAVE}{WHOLE_REGION}{RESTORE}{CLEAR_BELOW}"));
            before(panic);
        }));
    });
}
