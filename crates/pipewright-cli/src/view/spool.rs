//! A spool between two stages, or a stage's recorded input, in words. Pure.

use pipewright_observe::verdict::SpoolShares;
use pipewright_observe::{SpoolState, SpoolWait};

use super::text;
use super::units::{rate, size};

/// How far a spool is: `1.2 GiB to give, durable up to 3.4 GiB, full`.
pub(crate) fn state(state: &SpoolState) -> String {
    let durable = state
        .durable
        .map(|durable| format!(", durable up to {}", size(durable as f64)));
    format!(
        "{}{}{}",
        backlog(state),
        durable.unwrap_or_default(),
        waits(state),
    )
}

fn backlog(state: &SpoolState) -> String {
    let limit = state
        .limit
        .map(|limit| format!(" of {}", size(limit as f64)));
    let backlog = size(state.backlog() as f64);
    format!("{backlog}{} to give", limit.unwrap_or_default())
}

fn waits(state: &SpoolState) -> &'static str {
    match state.waits {
        SpoolWait::Full => ", full",
        SpoolWait::NoRoom => ", its disk has no room",
        _ => "",
    }
}

/// The same with its number and both rates.
pub(crate) fn told(spool: &SpoolShares) -> String {
    format!(
        "{}: in {}, out {}, {}",
        name(spool),
        rate(Some(spool.taken_rate)),
        rate(Some(spool.given_rate)),
        state(&spool.state)
    )
}

fn name(spool: &SpoolShares) -> String {
    let number = spool.stage + 1;
    match spool.state.is_input {
        true => format!("the input of stage {number} is recorded"),
        false => format!("stage {number} is a spool"),
    }
}

/// The same where there is room for so many columns: what matters less is left out, never half of it.
pub(crate) fn in_columns(spool: &SpoolShares, columns: usize) -> String {
    let head = format!("{}: ", name(spool));
    let now = format!("{}{}", backlog(&spool.state), waits(&spool.state));
    let [taken, given] = [spool.taken_rate, spool.given_rate].map(|bytes| rate(Some(bytes)));
    let shorter = [
        told(spool),
        format!("{head}in {taken}, out {given}, {now}"),
        format!("{head}{now}"),
    ];
    let fits = |it: &String| text::width(it) <= columns;
    let shorter = shorter.into_iter().find(fits);
    let word = if spool.state.is_input {
        "input"
    } else {
        "spool"
    };
    shorter.unwrap_or_else(|| format!("{word} {}: {now}", spool.stage + 1))
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

    #[test]
    fn a_narrow_terminal_shows_what_matters_most_and_nothing_by_halves() {
        let state = SpoolState {
            taken: 5 << 20,
            given: 1 << 20,
            durable: Some(3 << 20),
            limit: Some(4 << 20),
            waits: SpoolWait::Full,
            ..SpoolState::default()
        };
        let shares = serde_json::json!({
            "stage": 1, "state": state, "taken_rate": 2e6, "given_rate": 1e6,
            "full": 1.0, "no_room": 0.0, "disk": 0.0,
        });
        let spool: SpoolShares = serde_json::from_value(shares).unwrap();
        let wide = told(&spool);
        for (columns, shown) in [
            (text::width(&wide), &*wide),
            (
                text::width(&wide) - 1,
                "stage 2 is a spool: in ≈ 1.9 MiB/s, out ≈ 977 KiB/s, 4.0 MiB of 4.0 MiB to give, full",
            ),
            (60, "stage 2 is a spool: 4.0 MiB of 4.0 MiB to give, full"),
            (40, "spool 2: 4.0 MiB of 4.0 MiB to give, full"),
        ] {
            assert_eq!(in_columns(&spool, columns), shown);
        }
    }

    #[test]
    fn a_recorded_input_is_told_as_one() {
        let state = SpoolState {
            taken: 5 << 20,
            is_input: true,
            ..SpoolState::default()
        };
        let shares = serde_json::json!({
            "stage": 1, "state": state, "taken_rate": 2e6, "given_rate": 0.0,
            "full": 0.0, "no_room": 0.0, "disk": 0.0,
        });
        let spool: SpoolShares = serde_json::from_value(shares).unwrap();
        let now = "5.0 MiB to give";
        assert!(told(&spool).starts_with("the input of stage 2 is recorded: in "));
        assert_eq!(
            in_columns(&spool, 60),
            format!("the input of stage 2 is recorded: {now}")
        );
        assert_eq!(in_columns(&spool, 30), format!("input 2: {now}"));
    }
}
