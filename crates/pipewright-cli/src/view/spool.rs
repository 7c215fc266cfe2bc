//! A spool between two stages, in words. Pure.

use pipewright_observe::verdict::SpoolShares;
use pipewright_observe::{SpoolState, SpoolWait};

use super::units::{rate, size};

/// How far a spool is: `1.2 GiB to give, durable up to 3.4 GiB, full`.
pub(crate) fn state(state: &SpoolState) -> String {
    let bytes = |bytes: u64| size(bytes as f64);
    let limit = state.limit.map(|limit| format!(" of {}", bytes(limit)));
    let durable = state
        .durable
        .map(|durable| format!(", durable up to {}", bytes(durable)));
    let waits = match state.waits {
        SpoolWait::Full => ", full",
        SpoolWait::NoRoom => ", its disk has no room",
        _ => "",
    };
    format!(
        "{}{} to give{}{waits}",
        bytes(state.backlog()),
        limit.unwrap_or_default(),
        durable.unwrap_or_default(),
    )
}

/// The same with its number and both rates.
pub(crate) fn told(spool: &SpoolShares) -> String {
    format!(
        "stage {} is a spool: in {}, out {}, {}",
        spool.stage + 1,
        rate(Some(spool.taken_rate)),
        rate(Some(spool.given_rate)),
        state(&spool.state)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spool_is_told_with_what_it_promises_and_no_more() {
        let mut spool = SpoolState {
            taken: 5 << 20,
            given: 1 << 20,
            ..SpoolState::default()
        };
        assert_eq!(state(&spool), "4.0 MiB to give");
        spool.limit = Some(8 << 20);
        spool.durable = Some(3 << 20);
        spool.waits = SpoolWait::Full;
        assert_eq!(
            state(&spool),
            "4.0 MiB of 8.0 MiB to give, durable up to 3.0 MiB, full"
        );
    }
}
