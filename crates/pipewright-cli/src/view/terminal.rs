//! The terminal: its size, and whether it can do more than show lines.

use std::os::fd::AsFd;

/// Columns and rows; `None` where there is no terminal, or one that does not know.
pub(crate) fn size(stream: impl AsFd) -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    (size.ws_col > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

/// The columns for a text on this stream; 80 where nothing is known.
pub(crate) fn columns(stream: impl AsFd) -> usize {
    size(stream).map_or(80, |(columns, _)| columns)
}

/// It moves no cursor and has no colours.
pub(crate) fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

/// Its user wants no colours (<https://no-color.org>).
pub(crate) fn has_no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}
