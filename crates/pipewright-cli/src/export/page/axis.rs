//! The axis of time above the charts. Pure.

use std::time::Duration;

use maud::{Markup, html};

/// A row with the marks, each in the middle of its label unless that would stick out of the page.
pub(super) fn row(ticks: &[(f64, String)]) -> Markup {
    let place = |share: f64| {
        let left = share * 100.0;
        let side = match left {
            0.0 => "",
            ..98.0 => "translate:-50%",
            _ => "translate:-100%",
        };
        format!("left:{left:.3}%;{side}")
    };
    html! {
        div.row.axis {
            span {}
            div {
                @for (share, label) in ticks {
                    span style=(place(*share)) { (label) }
                }
            }
        }
    }
}

/// The marks of a time axis, at most ten: their places as shares of the span, and their labels.
pub(super) fn ticks(span: Duration) -> Vec<(f64, String)> {
    const STEPS: [f64; 28] = [
        0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0,
        60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 10800.0, 21600.0, 43200.0,
        86400.0, 604800.0,
    ];
    let span = span.as_secs_f64();
    let step = STEPS
        .into_iter()
        .find(|step| span / step < 10.0)
        .unwrap_or(span / 9.0);
    if span <= 0.0 {
        return vec![(0.0, "0".to_owned())];
    }
    let label = |time: f64| {
        let whole = time.round() as u64;
        match step {
            _ if time == 0.0 => "0".to_owned(),
            ..0.1 => format!("{:.0} ms", time * 1e3),
            ..1.0 => format!("{time:.1} s"),
            _ if span < 120.0 => format!("{whole} s"),
            _ if span < 3600.0 => format!("{}:{:02}", whole / 60, whole % 60),
            _ => format!("{}h{:02}m", whole / 3600, whole / 60 % 60),
        }
    };
    (0..10)
        .map(|index| f64::from(index) * step)
        .take_while(|&time| time <= span * (1.0 + 1e-9))
        .map(|time| (time / span, label(time)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_few_round_marks() {
        let labels = |millis: u64| -> Vec<String> {
            ticks(Duration::from_millis(millis))
                .into_iter()
                .map(|(_, label)| label)
                .collect()
        };
        assert_eq!(labels(0), ["0"]);
        assert_eq!(
            labels(45),
            [
                "0", "5 ms", "10 ms", "15 ms", "20 ms", "25 ms", "30 ms", "35 ms", "40 ms", "45 ms"
            ]
        );
        assert_eq!(
            labels(700),
            [
                "0", "0.1 s", "0.2 s", "0.3 s", "0.4 s", "0.5 s", "0.6 s", "0.7 s"
            ]
        );
        assert_eq!(
            labels(6100),
            ["0", "1 s", "2 s", "3 s", "4 s", "5 s", "6 s"]
        );
        assert_eq!(
            labels(300_000),
            ["0", "1:00", "2:00", "3:00", "4:00", "5:00"]
        );
        assert_eq!(
            labels(7_200_000),
            ["0", "0h20m", "0h40m", "1h00m", "1h20m", "1h40m", "2h00m"]
        );
    }
}
