//! The names of a job's streams and subjects. Pure.

use std::fmt;
use std::str::FromStr;

/// The name of a job, as it stands in subjects: letters, digits, `-` and `_`, up to 64 of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobName(String);

/// A text that cannot name a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot name a job: use 1 to 64 letters, digits, - and _")]
pub struct BadName(String);

impl FromStr for JobName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if text.is_empty() || text.len() > 64 || !text.bytes().all(fits) {
            return Err(BadName(text.chars().take(80).collect()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A stream of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Pieces of chunks, until their results are there.
    Input,
    /// Tickets: each is taken by one worker.
    Work,
    /// The job itself, where its input was cut, results and their pieces.
    Results,
}

impl Kind {
    /// All of them, the results last: who sees them gone sees no work.
    pub(crate) const ALL: [Self; 3] = [Self::Work, Self::Input, Self::Results];
}

impl JobName {
    pub(crate) fn stream(&self, kind: Kind) -> String {
        let kind = match kind {
            Kind::Input => "input",
            Kind::Work => "work",
            Kind::Results => "results",
        };
        format!("pipewright-{self}-{kind}")
    }

    /// The subjects of a stream.
    pub(crate) fn subjects(&self, kind: Kind) -> Vec<String> {
        let subjects: &[&str] = match kind {
            Kind::Input => &["in.>"],
            Kind::Work => &["work.>"],
            Kind::Results => &["job", "cut.>", "done.>", "out.>"],
        };
        subjects
            .iter()
            .map(|subject| format!("pipewright.{self}.{subject}"))
            .collect()
    }

    pub(crate) fn job(&self) -> String {
        format!("pipewright.{self}.job")
    }

    pub(crate) fn cut(&self, chunk: u64) -> String {
        format!("pipewright.{self}.cut.{chunk}")
    }

    /// A piece of a chunk; or all of them.
    pub(crate) fn input(&self, chunk: u64, piece: Option<u64>) -> String {
        match piece {
            Some(piece) => format!("pipewright.{self}.in.{chunk}.{piece}"),
            None => format!("pipewright.{self}.in.{chunk}.>"),
        }
    }

    pub(crate) fn ticket(&self, chunk: u64, attempt: u32, given_back: u32) -> String {
        format!("pipewright.{self}.work.{chunk}.{attempt}.{given_back}")
    }

    pub(crate) fn done(&self, chunk: u64, attempt: u32) -> String {
        format!("pipewright.{self}.done.{chunk}.{attempt}")
    }

    /// All results, as they come.
    pub(crate) fn all_done(&self) -> String {
        format!("pipewright.{self}.done.>")
    }

    /// The chunk whose result has this subject.
    pub(crate) fn chunk_of(&self, done: &str) -> Option<u64> {
        let rest = done.strip_prefix(&format!("pipewright.{self}.done."))?;
        rest.split('.').next()?.parse().ok()
    }

    /// A piece of what a run wrote; or all of them.
    pub(crate) fn output(&self, run: &str, stream: &str, piece: u64) -> String {
        format!("pipewright.{self}.out.{run}.{stream}.{piece}")
    }

    pub(crate) fn outputs(&self, run: &str) -> String {
        format!("pipewright.{self}.out.{run}.>")
    }

    /// Where a coordinator answers, and where it says that the job is over. Neither is in a stream.
    pub(crate) fn coordinator(&self) -> String {
        format!("pipewright.{self}.coordinator")
    }

    pub(crate) fn over(&self) -> String {
        format!("pipewright.{self}.over")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_be_more_than_one_word_of_a_subject_is_refused() {
        for bad in ["", "a.b", "a b", "*", ">", "ä", "a\n", &"x".repeat(65)] {
            assert!(bad.parse::<JobName>().is_err(), "{bad:?}");
        }
        for good in ["a", "logs-2024_1", &"x".repeat(64)] {
            assert!(good.parse::<JobName>().is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_result_names_its_chunk_and_nothing_else_does() {
        let job: JobName = "j".parse().unwrap();
        assert_eq!(job.chunk_of(&job.done(17, 2)), Some(17));
        for other in ["pipewright.k.done.1.0", "pipewright.j.done.x.0", "x", ""] {
            assert_eq!(job.chunk_of(other), None, "{other}");
        }
    }
}
