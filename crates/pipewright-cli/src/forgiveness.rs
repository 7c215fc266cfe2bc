//! The failures that `--forgive` names. Pure.

use std::str::FromStr;

/// A program, a status, or a program's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Forgiven {
    /// `None`: any program.
    program: Option<String>,
    /// `None`: any status.
    status: Option<u8>,
}

impl FromStr for Forgiven {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let status = |digits: &str| match digits.parse() {
            Ok(status) if status > 0 => Ok(Some(status)),
            _ => Err("a status is a number from 1 to 255, such as 23 or curl=23".to_owned()),
        };
        let named = |name: &str| match name {
            "" => Err("name a program, or a status from 1 to 255: curl, curl=23 or 23".to_owned()),
            name => Ok(Some(name.to_owned())),
        };
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty();
        let (program, status) = match text.rsplit_once('=') {
            Some((name, digits)) => (named(name)?, status(digits)?),
            None if is_number => (None, status(text)?),
            None => (named(text)?, None),
        };
        Ok(Self { program, status })
    }
}

impl Forgiven {
    /// The statuses that a stage of this text may end with.
    pub(crate) fn statuses(&self, stage: &str) -> Option<std::ops::RangeInclusive<u8>> {
        let matches = match &self.program {
            None => true,
            Some(wanted) => program(stage)
                .is_some_and(|word| word == wanted || word.rsplit('/').next() == Some(wanted)),
        };
        matches.then(|| self.status.map_or(1..=u8::MAX, |status| status..=status))
    }
}

/// The first word of a stage that is no assignment.
fn program(stage: &str) -> Option<&str> {
    let is_assignment = |word: &&str| {
        word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty()
                && !name.starts_with(|c: char| c.is_ascii_digit())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        })
    };
    stage.split_whitespace().find(|word| !is_assignment(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forgives(text: &str, stage: &str, status: u8) -> bool {
        let forgiven: Forgiven = text.parse().unwrap();
        let statuses = forgiven.statuses(stage);
        statuses.is_some_and(|statuses| statuses.contains(&status))
    }

    #[test]
    fn a_program_a_status_or_both_are_named() {
        assert!(forgives("23", "curl -s x", 23) && !forgives("23", "curl -s x", 22));
        assert!(forgives("curl", "curl -s x", 23) && forgives("curl", "curl", 141));
        assert!(!forgives("curl", "wget curl", 23));
        assert!(forgives("curl=23", "/usr/bin/curl -s x", 23));
        assert!(!forgives("curl=23", "curl", 22) && !forgives("curl=23", "cat", 23));
        assert!(forgives("grep=1", "LC_ALL=C _X1=2 grep a", 1));
        assert!(forgives("/opt/my=tool=3", "/opt/my=tool a", 3));
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for wrong in [
            "", "0", "256", "=3", "curl=", "curl=x", "curl=0", "curl=256",
        ] {
            assert!(wrong.parse::<Forgiven>().is_err(), "{wrong}");
        }
    }
}
