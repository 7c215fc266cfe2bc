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

use std::ffi::OsString;

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

/// Classifies a command line as it runs where these variables of the environment are set: some change how
/// programs read their arguments.
///
/// ```
/// use pipewright_workers::{Class, classify_in};
///
/// let sorted = ["sort", "-k", "2", "-r"];
/// assert!(classify_in(&sorted, |_| false).may_be_cut());
/// // Options end at the first operand, then, and behind it stand files.
/// assert!(!classify_in(&sorted, |name| name == "POSIXLY_CORRECT").may_be_cut());
/// ```
#[must_use]
pub fn classify_in<S: AsRef<str>>(argv: &[S], is_set: impl Fn(&str) -> bool) -> Classified {
    let words: Vec<&str> = argv.iter().map(AsRef::as_ref).collect();
    let at = program_at(&words);
    let known = classify(argv);
    if !known.may_be_cut() {
        return known;
    }
    let given = |name: &str| {
        let assigned = |word: &&str| word.split_once('=').is_some_and(|(word, _)| word == name);
        is_set(name) || words[..at].iter().any(assigned)
    };
    let is = |name: &str| words[at].rsplit('/').next() == Some(name);
    let options = |word: &&str| word.len() > 1 && word.starts_with('-');
    let behind = words[at + 1..]
        .iter()
        .skip_while(|word| options(word) && **word != "--");
    if given("POSIXLY_CORRECT") && behind.skip_while(|word| **word == "--").any(options) {
        return Classified::unknown("with POSIXLY_CORRECT options end at the first operand");
    }
    let by_program = [("grep", "GREP_OPTIONS"), ("perl", "PERL5OPT")];
    match by_program
        .iter()
        .find(|(program, name)| is(program) && given(name))
    {
        Some((_, name)) => Classified::unknown(format!("{name} is set and changes what it does")),
        None => known,
    }
}

/// Where the program stands in a command line that may begin with `env` and assignments.
fn program_at(words: &[&str]) -> usize {
    let mut at = 0;
    while words
        .get(at)
        .is_some_and(|word| word.rsplit('/').next() == Some("env"))
    {
        at += 1;
        at += words[at..]
            .iter()
            .take_while(|word| table::is_assignment(word))
            .count();
    }
    at.min(words.len().saturating_sub(1))
}

/// The program of a command line, with what stands before it: `env LC_ALL=C sort`.
pub(crate) fn up_to_program(argv: &[OsString]) -> Vec<OsString> {
    let words: Vec<_> = argv.iter().map(|word| word.to_string_lossy()).collect();
    let words: Vec<&str> = words.iter().map(|word| &**word).collect();
    argv[..=program_at(&words)].to_vec()
}
