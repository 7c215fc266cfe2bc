//! Looks a command line up: the first row of its command that knows all of its arguments decides.

use super::arguments::Arguments;
use super::class::{Class, Classified, Merge};
use super::row::{Kind, Operands};
use super::rows::{COSTLY, GREP, ROWS, WHOLE};
use crate::order::StatusRule;

/// Classifies the program `name` with these arguments.
pub(super) fn classify(name: &str, arguments: &[&str]) -> Classified {
    if name == "env" {
        let assignments = arguments
            .iter()
            .take_while(|word| is_assignment(word))
            .count();
        return match &arguments[assignments..] {
            [program, rest @ ..] if !program.starts_with('-') => {
                classify(program.rsplit('/').next().unwrap_or(program), rest)
            }
            _ => Classified::unknown("env is understood with assignments and a program only"),
        };
    }
    if let Some((_, reason)) = WHOLE.iter().find(|(names, _)| names.contains(&name)) {
        return classified(Class::Whole, *reason);
    }
    let mut against: Option<Classified> = None;
    let mut known = false;
    for row in ROWS.iter().filter(|row| row.names.contains(&name)) {
        known = true;
        let read = match Arguments::read(arguments, row.flags) {
            Ok(read) if row.needs.is_empty() || read.has(row.needs) => read,
            Ok(_) => continue,
            Err(argument) => {
                against.get_or_insert_with(|| {
                    Classified::unknown(format!("{name} with {argument} is not in the table"))
                });
                continue;
            }
        };
        if !operands_fit(&read, row.operands) {
            against = Some(classified(
                Class::Whole,
                "a file among its operands is read in place of its input",
            ));
            continue;
        }
        match (row.check)(&read) {
            Ok(()) => {}
            Err(reason) if reason.is_empty() => continue,
            Err(reason) => {
                against = Some(classified(Class::Whole, reason));
                continue;
            }
        }
        let mut found = classified(class_of(row.kind, &read), row.reason);
        if GREP.contains(&name) {
            found.status = StatusRule::Grep;
            found.only_text = !read.has(&["a", "text"]);
        }
        found.is_costly = COSTLY.contains(&name) || read.has(&["P", "perl-regexp"]);
        // What rev does with a NUL depends on the lines before.
        found.only_text |= name == "rev";
        if name == "xargs" {
            found.status = StatusRule::Xargs;
            found.repeatable = false;
        }
        return found;
    }
    against.unwrap_or_else(|| {
        Classified::unknown(if known {
            format!("{name} is not in the table with these arguments")
        } else {
            format!("{name} is not in the table")
        })
    })
}

fn classified(class: Class, reason: impl Into<String>) -> Classified {
    Classified {
        class,
        ..Classified::unknown(reason)
    }
}

fn class_of(kind: Kind, read: &Arguments<'_>) -> Class {
    Class::Mergeable(match kind {
        Kind::Local => return Class::Local,
        Kind::Offset => return Class::Offset,
        Kind::Sort => Merge::Sort(read.flags.iter().map(written).collect()),
        Kind::Again => Merge::Again,
        Kind::Add => Merge::Add,
        Kind::Largest => Merge::Largest,
        Kind::AddAtSeams => Merge::AddAtSeams,
        Kind::Reverse => Merge::Reverse,
    })
}

/// A flag as one word.
fn written((flag, value): &(&str, Option<&str>)) -> String {
    let value = value.unwrap_or_default();
    match flag.chars().nth(1) {
        None => format!("-{flag}{value}"),
        Some(_) if value.is_empty() => format!("--{flag}"),
        Some(_) => format!("--{flag}={value}"),
    }
}

fn operands_fit(read: &Arguments<'_>, allowed: Operands) -> bool {
    let (least, most) = match allowed {
        Operands::Any => return true,
        Operands::None => (0, 0),
        Operands::Text(_, _, flags) if read.has(flags) => (0, 0),
        Operands::Text(least, most, _) => (least, most),
    };
    let count = read.operands.len();
    let text = count.min(most);
    count >= least && read.operands[text..].iter().all(|operand| *operand == "-")
}

pub(super) fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}
