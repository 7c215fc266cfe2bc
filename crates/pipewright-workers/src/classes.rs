//! Which commands give the same bytes when their input is cut behind a record: a table, and a reader of
//! command lines that answers "unknown" to whatever it does not know. Pure.
//!
//! A command is **local** if its output on two inputs, one behind the other, is its outputs on each,
//! one behind the other; **mergeable** if a known step makes the one from the other two; else it needs
//! what stands before a record, or all of its input. The classes were found by trying commands on
//! random inputs cut at random places and at every line.

mod arguments;
mod awk;
mod class;
mod colour;
mod perl;
mod row;
mod rows;
mod sed;
mod table;

pub use class::{Class, Classified, Merge};
pub use colour::for_terminal;

/// Classifies a command line: the program and its arguments.
///
/// ```
/// use pipewright_workers::{Class, classify};
///
/// assert_eq!(classify(&["grep", "-v", "debug"]).class, Class::Local);
/// assert_eq!(classify(&["grep", "-n", "debug"]).class, Class::Offset);
/// assert_eq!(classify(&["grep", "--new-flag"]).class, Class::Unknown);
/// ```
#[must_use]
pub fn classify<S: AsRef<str>>(argv: &[S]) -> Classified {
    let argv: Vec<&str> = argv.iter().map(AsRef::as_ref).collect();
    let Some((program, arguments)) = argv.split_first() else {
        return Classified::unknown("there is no command");
    };
    let name = program.rsplit('/').next().unwrap_or(program);
    table::classify(name, arguments)
}
