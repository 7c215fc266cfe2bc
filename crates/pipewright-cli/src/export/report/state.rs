//! The states of a stage as a chart tells them apart. Pure.

use pipewright_observe::Activity;

/// Activities, those that mean nearly the same put together: no eye tells eleven colours apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Running,
    WaitingForInput,
    BlockedOnOutput,
    Disk,
    Network,
    Asleep,
    Other,
    Unknown,
    Ended,
}

impl State {
    /// From the bottom of a band to its top; the index of each is its discriminant.
    pub(super) const ALL: [State; 9] = [
        State::Running,
        State::WaitingForInput,
        State::BlockedOnOutput,
        State::Disk,
        State::Network,
        State::Asleep,
        State::Other,
        State::Unknown,
        State::Ended,
    ];

    /// What the style sheet and the patterns call it.
    pub(super) fn class(self) -> &'static str {
        match self {
            State::Running => "running",
            State::WaitingForInput => "input",
            State::BlockedOnOutput => "output",
            State::Disk => "disk",
            State::Network => "network",
            State::Asleep => "asleep",
            State::Other => "other",
            State::Unknown => "unknown",
            State::Ended => "ended",
        }
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            State::Running => "running",
            State::WaitingForInput => "waiting for input",
            State::BlockedOnOutput => "blocked on output",
            State::Disk => "waiting for a disk",
            State::Network => "waiting for the network",
            State::Asleep => "asleep or polling",
            State::Other => "waiting for something else, or stopped",
            State::Unknown => "not known",
            State::Ended => "ended",
        }
    }
}

impl From<Activity> for State {
    fn from(activity: Activity) -> State {
        match activity {
            Activity::Running => State::Running,
            Activity::WaitingForInput => State::WaitingForInput,
            Activity::BlockedOnOutput => State::BlockedOnOutput,
            Activity::Disk => State::Disk,
            Activity::Network => State::Network,
            Activity::Sleeping | Activity::Polling => State::Asleep,
            Activity::Elsewhere | Activity::Stopped => State::Other,
            Activity::Unknown => State::Unknown,
            Activity::Ended => State::Ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_found_at_its_index() {
        assert!(
            State::ALL
                .iter()
                .enumerate()
                .all(|(index, &state)| state as usize == index)
        );
    }
}
