//! How far a pipeline is, in words that are the same wherever it is shown. Pure.

use super::Frame;
use crate::view::text;
use crate::view::units::{clock, percent, size};

/// How far it is: each is `None` where it is not known.
#[derive(Debug)]
pub(super) struct Way {
    /// `43 %`
    pub(super) percent: Option<String>,
    /// `1000 MiB`
    pub(super) total: Option<String>,
    /// `430 MiB`
    pub(super) bytes: Option<String>,
    /// `4.0 MiB/s`
    pub(super) rate: Option<String>,
    /// `average 5.0 MiB/s`
    pub(super) average: Option<String>,
    /// `1:50 left`
    pub(super) left: Option<String>,
}

impl Frame {
    /// How far it is in its input; where that is not known, what has gone through the first pipe.
    pub(super) fn way(&self) -> Way {
        let per_second = |rate: f64| format!("{}/s", size(rate));
        let average = |rate: f64| format!("average {}", per_second(rate));
        if let Some(progress) = &self.progress {
            return Way {
                percent: Some(percent(progress.fraction())),
                total: Some(size(progress.total as f64)),
                bytes: Some(size(progress.read as f64)),
                rate: progress.current.map(per_second),
                average: progress.average.map(average),
                left: progress.left.map(|left| format!("{} left", clock(left))),
            };
        }
        let first = self.pipes.first();
        let bytes = first.and_then(|pipe| pipe.bytes).map(|it| it as f64);
        let elapsed = self.elapsed.as_secs_f64().max(f64::EPSILON);
        // Who came later knows no average.
        let overall = bytes.filter(|_| self.since_start).map(|it| it / elapsed);
        Way {
            percent: None,
            total: None,
            bytes: bytes.map(size),
            rate: first.and_then(|pipe| pipe.rate).map(per_second),
            average: overall.map(average),
            left: None,
        }
    }
}

impl Way {
    /// As much of it as fits: percent and time left stay longest, then the rate.
    pub(super) fn in_columns(self, room: usize) -> String {
        let is_estimate = self.percent.is_none();
        let percent = match (self.percent, self.total) {
            (Some(percent), Some(total)) => Some(format!("{percent} of {total}")),
            (percent, _) => percent,
        };
        // In the order in which they are read, each with its rank.
        let all = [
            (0, percent),
            (if is_estimate { 2 } else { 4 }, self.bytes),
            (2, self.rate),
            (3, self.average),
            (1, self.left),
        ];
        let told = |lowest: usize| {
            let kept = all.iter().filter(|(rank, _)| *rank <= lowest);
            let kept: Vec<&str> = kept.filter_map(|(_, it)| it.as_deref()).collect();
            let mark = if is_estimate && !kept.is_empty() {
                "≈ "
            } else {
                ""
            };
            mark.to_owned() + &kept.join(", ")
        };
        let mut ranks = (0..5).rev().map(told);
        ranks
            .find(|told| text::width(told) <= room)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use crate::view::live::rows::tests::frame;

    #[test]
    fn what_matters_less_goes_first() {
        let mut frame = frame(3);
        for (room, told) in [
            (
                80,
                "43 % of 1000 MiB, 430 MiB, 4.0 MiB/s, average 5.0 MiB/s, 1:50 left",
            ),
            (
                60,
                "43 % of 1000 MiB, 4.0 MiB/s, average 5.0 MiB/s, 1:50 left",
            ),
            (40, "43 % of 1000 MiB, 4.0 MiB/s, 1:50 left"),
            (30, "43 % of 1000 MiB, 1:50 left"),
            (20, "43 % of 1000 MiB"),
            (4, ""),
        ] {
            assert_eq!(frame.way().in_columns(room), told);
        }
        frame.progress = None;
        for (room, told) in [
            (60, "≈ 1.2 GiB, 48.2 MiB/s, average 14.8 MiB/s"),
            (30, "≈ 1.2 GiB, 48.2 MiB/s"),
            (20, ""),
        ] {
            assert_eq!(frame.way().in_columns(room), told);
        }
    }
}
