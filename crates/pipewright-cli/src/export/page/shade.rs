//! The shades of a chart: activities as far as an eye tells them apart. Pure.

use pipewright_observe::Activity;

/// Activities, those that mean nearly the same put together: no eye tells eleven colours apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shade {
    Running,
    WaitingForInput,
    BlockedOnOutput,
    Disk,
    Network,
    Asleep,
    Person,
    Other,
    Unknown,
    Ended,
}

impl Shade {
    /// From the bottom of a band to its top; the index of each is its discriminant.
    pub(super) const ALL: [Self; 10] = [
        Self::Running,
        Self::WaitingForInput,
        Self::BlockedOnOutput,
        Self::Disk,
        Self::Network,
        Self::Asleep,
        Self::Person,
        Self::Other,
        Self::Unknown,
        Self::Ended,
    ];

    /// Its name in the style sheet and the patterns.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::WaitingForInput => "input",
            Self::BlockedOnOutput => "output",
            Self::Disk => "disk",
            Self::Network => "network",
            Self::Asleep => "asleep",
            Self::Person => "person",
            Self::Other => "other",
            Self::Unknown => "unknown",
            Self::Ended => "ended",
        }
    }

    /// The activities that it stands for, in words.
    pub(super) fn label(self) -> String {
        let activities = Activity::ALL.into_iter();
        let labels: Vec<&str> = activities
            .filter(|&activity| Self::from(activity) == self)
            .map(Activity::label)
            .collect();
        labels.join(" or ")
    }
}

impl From<Activity> for Shade {
    fn from(activity: Activity) -> Self {
        match activity {
            Activity::Running => Self::Running,
            Activity::WaitingForInput => Self::WaitingForInput,
            Activity::BlockedOnOutput => Self::BlockedOnOutput,
            Activity::Disk => Self::Disk,
            Activity::Network => Self::Network,
            Activity::Sleeping | Activity::Polling => Self::Asleep,
            Activity::WaitingForPerson => Self::Person,
            Activity::Elsewhere | Activity::Stopped => Self::Other,
            Activity::Ended => Self::Ended,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shade_is_found_at_its_index() {
        assert!(
            Shade::ALL
                .iter()
                .enumerate()
                .all(|(index, &shade)| shade as usize == index)
        );
    }
}
