//! The measuring core: interleaved rounds, spreads, ratios within a round.
//!
//! Contenders take turns (A B C, A B C, …) so that a machine that slows down
//! slows all of them alike. Two contenders are compared by the ratio of their
//! values within each round, and the figure told is the median of these
//! ratios: a drift between rounds cancels, and a disturbed round is one vote.

use std::num::NonZeroUsize;

use anyhow::Context;
use serde::Serialize;

/// Something to be measured: a name, and a turn that yields one value.
pub(crate) struct Contender<'a> {
    name: String,
    turn: Box<dyn FnMut() -> anyhow::Result<f64> + 'a>,
}

impl<'a> Contender<'a> {
    /// `turn` does the work once and returns the value, in the unit of the
    /// group it is reported in.
    pub(crate) fn new(
        name: impl Into<String>,
        turn: impl FnMut() -> anyhow::Result<f64> + 'a,
    ) -> Self {
        Self {
            name: name.into(),
            turn: Box::new(turn),
        }
    }
}

/// The values of one contender, one a round.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) values: Vec<f64>,
}

impl Series {
    /// # Panics
    ///
    /// If the series is empty; [`interleave`] makes none that is.
    pub(crate) fn spread(&self) -> Spread {
        Spread::of(&self.values)
    }

    /// This series divided by `other`, round by round.
    ///
    /// # Panics
    ///
    /// If the two were not measured in the same rounds.
    pub(crate) fn ratio_to(&self, other: &Series) -> Spread {
        assert_eq!(self.values.len(), other.values.len(), "same rounds");
        let ratios: Vec<f64> = self
            .values
            .iter()
            .zip(&other.values)
            .map(|(over, under)| over / under)
            .collect();
        Spread::of(&ratios)
    }
}

/// Lets the contenders take turns for `rounds` rounds.
///
/// # Errors
///
/// The first turn that fails ends the measurement: a value that is missing in
/// one round would compare different moments.
pub(crate) fn interleave(
    contenders: &mut [Contender<'_>],
    rounds: NonZeroUsize,
) -> anyhow::Result<Vec<Series>> {
    let mut series: Vec<Series> = contenders
        .iter()
        .map(|contender| Series {
            name: contender.name.clone(),
            values: Vec::with_capacity(rounds.get()),
        })
        .collect();
    for round in 1..=rounds.get() {
        for (contender, series) in contenders.iter_mut().zip(&mut series) {
            let value = (contender.turn)()
                .with_context(|| format!("{}, round {round} of {rounds}", contender.name))?;
            series.values.push(value);
        }
    }
    Ok(series)
}

/// How values lie: the extremes, the quartiles, the median.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) minimum: f64,
    pub(crate) lower_quartile: f64,
    pub(crate) median: f64,
    pub(crate) upper_quartile: f64,
    pub(crate) maximum: f64,
}

impl Spread {
    /// # Panics
    ///
    /// If there are no values.
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self {
            minimum: quantile(&sorted, 0.0),
            lower_quartile: quantile(&sorted, 0.25),
            median: quantile(&sorted, 0.5),
            upper_quartile: quantile(&sorted, 0.75),
            maximum: quantile(&sorted, 1.0),
        }
    }
}

/// The value at `share` (0 to 1) of `sorted`, linear between neighbours.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use anyhow::bail;

    use super::*;

    fn series(name: &str, values: &[f64]) -> Series {
        Series {
            name: name.to_owned(),
            values: values.to_vec(),
        }
    }

    fn rounds(number: usize) -> NonZeroUsize {
        NonZeroUsize::new(number).unwrap()
    }

    #[test]
    fn contenders_take_turns_within_each_round() {
        let order = RefCell::new(String::new());
        let mut contenders = ["A", "B", "C"].map(|name| {
            let order = &order;
            Contender::new(name, move || {
                order.borrow_mut().push_str(name);
                Ok(order.borrow().len() as f64)
            })
        });
        let measured = interleave(&mut contenders, rounds(2)).unwrap();
        assert_eq!(*order.borrow(), "ABCABC");
        assert_eq!(measured[1], series("B", &[2.0, 5.0]));
    }

    #[test]
    fn a_failed_turn_names_its_contender_and_round() {
        let mut turns = 0;
        let mut contenders = [Contender::new("pv", || {
            turns += 1;
            if turns == 2 {
                bail!("ended with status 1");
            }
            Ok(1.0)
        })];
        let error = interleave(&mut contenders, rounds(3)).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "pv, round 2 of 3: ended with status 1"
        );
    }

    #[test]
    fn median_and_quartiles_lie_between_neighbours() {
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!(
            spread,
            Spread {
                minimum: 1.0,
                lower_quartile: 1.75,
                median: 2.5,
                upper_quartile: 3.25,
                maximum: 4.0,
            }
        );
    }

    #[test]
    fn one_value_is_its_own_spread() {
        let spread = Spread::of(&[7.0]);
        assert_eq!((spread.minimum, spread.maximum), (7.0, 7.0));
        assert_eq!(spread.median, 7.0);
    }

    #[test]
    fn an_outlier_does_not_move_the_median() {
        assert_eq!(Spread::of(&[1.0, 1.0, 1.0, 1.0, 900.0]).median, 1.0);
    }

    #[test]
    fn a_ratio_is_taken_within_rounds_so_drift_cancels() {
        let ours = series("ours", &[1.0, 2.0, 4.0]);
        let peer = series("peer", &[3.0, 6.0, 12.0]);
        let ratio = peer.ratio_to(&ours);
        assert_eq!(
            (ratio.minimum, ratio.median, ratio.maximum),
            (3.0, 3.0, 3.0)
        );
    }

    #[test]
    #[should_panic(expected = "same rounds")]
    fn series_of_different_rounds_have_no_ratio() {
        series("a", &[1.0]).ratio_to(&series("b", &[1.0, 2.0]));
    }
}
