//! The classes, and what belongs to one.

use std::fmt;

use crate::order::StatusRule;

/// What a command does with its input, as far as cutting it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Class {
    /// The outputs of the parts, one behind the other, are the output of the whole.
    Local,
    /// A step makes the output of the whole out of those of the parts.
    Mergeable(Merge),
    /// It needs the number of lines or bytes before a record.
    Offset,
    /// It needs all of its input, or carries something from record to record.
    Whole,
    /// The table does not know the command, or not with these arguments.
    Unknown,
}

/// The step that makes one output of those of the parts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Merge {
    /// `sort -m` with these arguments; it gets the parts as files.
    Sort(Vec<String>),
    /// The command itself, over the parts one behind the other.
    Again,
    /// Each column of numbers is added up.
    Add,
    /// The largest number.
    Largest,
    /// `uniq -c`: where a part ends with the line that the next begins with, their counts are added.
    AddAtSeams,
    /// The parts from the last to the first.
    Reverse,
}

/// The answer for one command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classified {
    /// Its class.
    pub class: Class,
    /// Why, as a sentence without a full stop.
    pub reason: String,
    /// What its statuses come to.
    pub status: StatusRule,
    /// It holds only while the input is text: no NUL, and valid in the locale.
    pub only_text: bool,
    /// It usually takes a core's time, so that workers are worth it without being asked for.
    pub is_costly: bool,
    /// It may be run on the same input more than once. Not so where it runs programs that nobody knows.
    pub repeatable: bool,
}

impl Classified {
    pub(crate) fn unknown(reason: impl Into<String>) -> Self {
        Self {
            class: Class::Unknown,
            reason: reason.into(),
            status: StatusRule::Zero,
            only_text: false,
            is_costly: false,
            repeatable: true,
        }
    }

    /// Takes a command for local on its user's word.
    #[must_use]
    pub fn assumed_local(self) -> Self {
        Self {
            class: Class::Local,
            reason: "its user says so".to_owned(),
            ..self
        }
    }

    /// Tells whether its input may be cut at all.
    #[must_use]
    pub fn may_be_cut(&self) -> bool {
        matches!(self.class, Class::Local | Class::Mergeable(_))
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "local",
            Self::Mergeable(_) => "mergeable",
            Self::Offset => "offset",
            Self::Whole => "neither",
            Self::Unknown => "unknown",
        })
    }
}

impl fmt::Display for Merge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sort(flags) if flags.is_empty() => f.write_str("merged by sort -m"),
            Self::Sort(flags) => write!(f, "merged by sort -m {}", flags.join(" ")),
            Self::Again => f.write_str("run once more over the outputs"),
            Self::Add => f.write_str("the numbers are added up"),
            Self::Largest => f.write_str("the largest number is taken"),
            Self::AddAtSeams => f.write_str("counts are added where two outputs meet"),
            Self::Reverse => f.write_str("outputs are given from the last to the first"),
        }
    }
}
