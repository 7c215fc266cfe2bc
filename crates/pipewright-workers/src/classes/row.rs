//! One row of the table.

use super::arguments::{Arguments, Flags};

/// A command, and the flags with which it belongs to a class.
pub(super) struct Row {
    pub(super) names: &'static [&'static str],
    pub(super) flags: Flags,
    /// Of these at least one must be given; none is needed where it is empty.
    pub(super) needs: &'static [&'static str],
    pub(super) operands: Operands,
    pub(super) kind: Kind,
    /// Looks closer where flags do not tell; the error is the reason against it.
    pub(super) check: fn(&Arguments<'_>) -> Result<(), String>,
    pub(super) reason: &'static str,
}

#[derive(Clone, Copy)]
pub(super) enum Operands {
    /// Nothing but `-`: an operand would be a file that is read in place of the input.
    None,
    /// So many at least and at most, then as `None`; none where one of the flags is given.
    Text(usize, usize, &'static [&'static str]),
    /// Any: they are what the program runs.
    Any,
}

#[derive(Clone, Copy)]
pub(super) enum Kind {
    Local,
    Sort,
    Again,
    Add,
    Largest,
    AddAtSeams,
    Reverse,
    Offset,
}

pub(super) const fn flags(short: &'static str, long: &'static str) -> Flags {
    Flags {
        short,
        long,
        ends_at_operand: false,
        numbers: false,
    }
}

pub(super) const fn with_numbers(flags: Flags) -> Flags {
    Flags {
        numbers: true,
        ..flags
    }
}

pub(super) const fn that_end(flags: Flags) -> Flags {
    Flags {
        ends_at_operand: true,
        ..flags
    }
}

fn always(_: &Arguments<'_>) -> Result<(), String> {
    Ok(())
}

pub(super) const ROW: Row = Row {
    names: &[],
    flags: flags("", ""),
    needs: &[],
    operands: Operands::None,
    kind: Kind::Local,
    check: always,
    reason: "it looks at each line by itself",
};
