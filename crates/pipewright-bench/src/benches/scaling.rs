//! How much faster workers make a stage on more cores. Pure.

/// What a stage costs, as measured on one machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Costs {
    /// Seconds that the start of one run takes.
    pub(crate) start: f64,
    /// Seconds a byte to cut the input and to give the output: one thread does each.
    pub(crate) copy: f64,
    /// Seconds a byte in the command.
    pub(crate) compute: f64,
}

/// What bounds the speed on a number of cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    /// Another core would be used.
    Cores,
    /// The one thread that cuts the input, or the one that gives the outputs, is busy all the time.
    Copying,
}

/// A chunk takes this many times its start, as the workers see to.
const TIMES_THE_START: f64 = 50.0;

/// How many times as fast as one run the stage is with a worker for each core, and what bounds it.
pub(crate) fn speed_up(costs: Costs, cores: usize) -> (f64, Bound) {
    // The copying takes cores, too.
    let work = costs.compute * (1.0 + 1.0 / TIMES_THE_START) + 2.0 * costs.copy;
    let by_cores = costs.compute.max(costs.copy) * cores as f64 / work;
    let by_copying = costs.compute.max(costs.copy) / costs.copy;
    if by_cores < by_copying {
        (by_cores, Bound::Cores)
    } else {
        (by_copying, Bound::Copying)
    }
}

/// The curve from 4 to 64 cores as text, with where it saturates and why.
pub(crate) fn curve(stage: &str, costs: Costs) -> String {
    let cores = [4, 8, 16, 32, 64];
    let points: Vec<String> = cores
        .iter()
        .map(|&cores| format!("{cores} cores {:.1}", speed_up(costs, cores).0))
        .collect();
    let saturated = (1..=1024).find(|&cores| speed_up(costs, cores).1 == Bound::Copying);
    let end = saturated.map_or_else(
        || "it does not saturate up to 1024 cores".to_owned(),
        |cores| {
            format!(
                "it saturates at {cores} cores, where one thread copies all the time ({:.0} MB/s)",
                1e-6 / costs.copy
            )
        },
    );
    let chunk = TIMES_THE_START * costs.start / costs.compute;
    format!(
        "{stage}: times as fast by the model: {}; {end}; chunks of {:.1} MB hide the start of {:.1} ms",
        points.join(", "),
        chunk / 1e6,
        costs.start * 1e3
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Costs = Costs {
        start: 1e-3,
        copy: 1e-9,
        compute: 40e-9,
    };

    #[test]
    fn a_slow_stage_gains_with_each_core_until_the_copying_is_all_there_is() {
        let four = speed_up(SLOW, 4);
        assert!(
            (3.5..4.0).contains(&four.0) && four.1 == Bound::Cores,
            "{four:?}"
        );
        assert!(speed_up(SLOW, 16).0 > 3.9 * four.0);
        assert_eq!(speed_up(SLOW, 64), (40.0, Bound::Copying));
    }

    #[test]
    fn a_stage_that_is_as_fast_as_copying_gains_nothing() {
        let fast = Costs {
            compute: 1e-9,
            ..SLOW
        };
        assert_eq!(speed_up(fast, 64), (1.0, Bound::Copying));
        assert!(speed_up(fast, 1).0 < 1.0);
    }

    #[test]
    fn the_curve_says_where_it_saturates_and_why() {
        let text = curve("sed", SLOW);
        assert!(text.contains("64 cores 40.0"), "{text}");
        assert!(text.contains("saturates at 43 cores"), "{text}");
        assert!(
            text.contains("1000 MB/s") && text.contains("1.2 MB"),
            "{text}"
        );
    }
}
