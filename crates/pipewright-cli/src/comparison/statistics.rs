//! Times summed up, and compared pair by pair. Pure.

/// A series of times summed up, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    pub(crate) mean: f64,
    /// The standard deviation of a sample; `None` of a single time.
    pub(crate) deviation: Option<f64>,
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Summary {
    /// `None` of no times.
    pub(crate) fn of(times: &[f64]) -> Option<Self> {
        let mut sorted = times.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Self {
            mean: mean(times),
            deviation: deviation(times),
            median,
            min,
            max,
        })
    }
}

/// One series of times over another, pair by pair: what slows the machine down for a while slows both
/// of a pair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ratio {
    /// The geometric mean of the pairs' ratios.
    pub(crate) factor: f64,
    /// Their standard deviation; `None` of a single pair.
    pub(crate) deviation: Option<f64>,
    /// The true ratio is hardly 1: the interval that holds it with a probability of 95 % does not.
    pub(crate) clear: bool,
}

impl Ratio {
    /// `None` of no pairs, or of a time of zero.
    pub(crate) fn of(times: &[f64], others: &[f64]) -> Option<Self> {
        let ratios: Vec<f64> = times
            .iter()
            .zip(others)
            .map(|(time, other)| time / other)
            .collect();
        let logarithms: Vec<f64> = ratios.iter().map(|ratio| ratio.ln()).collect();
        if logarithms.is_empty() || logarithms.iter().any(|it| !it.is_finite()) {
            return None;
        }
        let middle = mean(&logarithms);
        let pairs = logarithms.len();
        let clear = deviation(&logarithms).is_some_and(|deviation| {
            middle.abs() > quantile(pairs - 1) * deviation / (pairs as f64).sqrt()
        });
        Some(Self {
            factor: middle.exp(),
            deviation: deviation(&ratios),
            clear,
        })
    }
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

/// Student's t for a two-sided interval of 95 %.
fn quantile(degrees_of_freedom: usize) -> f64 {
    const UP_TO_TEN: [f64; 10] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    ];
    match degrees_of_freedom {
        0 => f64::INFINITY,
        few @ 1..=10 => UP_TO_TEN[few - 1],
        // Each is that of the fewest it stands for, so that none is too small.
        11..=14 => 2.201,
        15..=19 => 2.131,
        20..=29 => 2.086,
        30..=59 => 2.042,
        _ => 2.000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_summed_up() {
        let summary = Summary::of(&[4.0, 2.0, 6.0, 8.0]).unwrap();
        assert_eq!((summary.mean, summary.median), (5.0, 5.0));
        assert_eq!((summary.min, summary.max), (2.0, 8.0));
        assert!((summary.deviation.unwrap() - 2.582).abs() < 1e-3);
        let one = Summary::of(&[3.0]).unwrap();
        assert_eq!((one.median, one.deviation), (3.0, None));
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn a_machine_that_slows_down_does_not_blur_a_ratio() {
        let (fast, slow) = ([1.0, 2.0, 4.0, 8.0], [2.0, 4.0, 8.1, 16.0]);
        let ratio = Ratio::of(&slow, &fast).unwrap();
        assert!((ratio.factor - 2.0).abs() < 0.01, "{ratio:?}");
        assert!(ratio.deviation.unwrap() < 0.02 && ratio.clear);
    }

    #[test]
    fn noise_is_no_difference_and_neither_is_one_pair() {
        let ratio = Ratio::of(&[1.0, 1.2, 0.9, 1.1], &[1.1, 1.0, 1.0, 1.0]).unwrap();
        assert!(!ratio.clear, "{ratio:?}");
        let one = Ratio::of(&[2.0], &[1.0]).unwrap();
        assert_eq!((one.factor, one.deviation, one.clear), (2.0, None, false));
        assert_eq!(Ratio::of(&[], &[]), None);
        assert_eq!(Ratio::of(&[1.0], &[0.0]), None);
        // No spread at all is as clear as can be, and equal times differ in nothing.
        assert!(Ratio::of(&[2.0, 2.0], &[1.0, 1.0]).unwrap().clear);
        assert!(!Ratio::of(&[1.0, 1.0], &[1.0, 1.0]).unwrap().clear);
    }
}
