//! Timelines drawn as SVG: bands of states, areas of fill, steps of rate. Pure.
//!
//! A chart is [`WIDTH`] units wide whatever the page's width: the page stretches it, and all words are
//! outside of it, where nothing is stretched.

use std::fmt::{self, Display};

use maud::{Markup, PreEscaped, html};

use super::shade::Shade;
use super::timeline::{Fill, Shares};

/// Units from left to right. Each number of columns divides it.
const WIDTH: usize = 960;
const BAND_HEIGHT: i64 = 24;
const CURVE_HEIGHT: i64 = 40;

/// Numbers of columns to draw with, the finest first.
pub(super) const COLUMNS: [usize; 10] = [480, 320, 240, 160, 96, 64, 40, 24, 12, 6];

/// The patterns of the shades: each differs from the others without its colour, too.
pub(super) fn patterns() -> Markup {
    let marks = |shade: Shade| match shade {
        Shade::WaitingForInput => Some("M-2 2 2-2M0 8 8 0M6 10 10 6"),
        Shade::BlockedOnOutput => Some("M-2 6 2 10M0 0 8 8M6-2 10 2"),
        Shade::Disk => Some("M0 2H8M0 6H8"),
        Shade::Network => Some("M2 1V3M6 5V7"),
        Shade::Asleep => Some("M2 0V8M6 0V8"),
        Shade::Person => Some("M4 0 8 4 4 8 0 4Z"),
        Shade::Other => Some("M0 0 8 8M8 0 0 8"),
        Shade::Unknown => Some("M4 3V5"),
        Shade::Running | Shade::Ended => None,
    };
    html! {
        svg.patterns width="0" height="0" aria-hidden="true" focusable="false" {
            defs {
                @for shade in Shade::ALL.into_iter().filter(|&shade| shade != Shade::Ended) {
                    pattern id=(shade.class()) class=(shade.class())
                        width="8" height="8" patternUnits="userSpaceOnUse" {
                        rect width="8" height="8" {}
                        @if let Some(marks) = marks(shade) { path d=(marks) {} }
                    }
                }
            }
        }
    }
}

/// A small picture of a shade, for the legend; `full` is that of a full pipe.
pub(super) fn swatch(class: &str, height: u8) -> Markup {
    html! {
        svg.swatch width="24" height="12" aria-hidden="true" focusable="false" {
            rect class={ "f-" (class) } width="24" height=(height) {}
        }
    }
}

/// The band of a stage: the shades of a column stand on one another, as high as their share.
pub(super) fn band(label: &str, columns: &[Shares]) -> Markup {
    let mut paths: [Rectangles; Shade::ALL.len()] = Default::default();
    let width = column_width(columns.len());
    for (column, shares) in columns.iter().enumerate() {
        let mut sum = 0.0;
        let mut bottom = 0;
        for (path, share) in paths.iter_mut().zip(shares) {
            sum += share;
            // Rounding the sum, and not each share, leaves no hole and no overlap.
            let top = (sum * BAND_HEIGHT as f64).round() as i64;
            path.add(column * width, BAND_HEIGHT - top, width, top - bottom);
            bottom = top;
        }
    }
    let drawn = Shade::ALL.into_iter().zip(&paths);
    let drawn = drawn.filter(|(shade, _)| *shade != Shade::Ended);
    let bands = html! { @for (shade, path) in drawn { (path.filled(shade.class())) } };
    chart("band", BAND_HEIGHT, label, &bands)
}

/// The same, lower and of few columns, for an overview.
pub(super) fn strip(label: &str, columns: &[Shares]) -> Markup {
    let drawn = band(label, columns).into_string();
    PreEscaped(drawn.replacen("chart band", "chart strip", 1))
}

/// The fill of a pipe, from empty to its capacity, and a strip on top of it where it was full.
pub(super) fn fill(label: &str, columns: &[Option<Fill>]) -> Markup {
    let width = column_width(columns.len());
    let heights = columns
        .iter()
        .map(|fill| Some(height(fill.as_ref()?.unread)));
    let mut full = Rectangles::default();
    for (column, fill) in columns.iter().enumerate() {
        if fill.is_some_and(|fill| fill.full >= 0.5) {
            full.add(column * width, 0, width, 4);
        }
    }
    let drawn = html! { (curve(&heights.collect::<Vec<_>>())) (full.filled("full")) };
    chart("fill", CURVE_HEIGHT, label, &drawn)
}

/// Bytes a second through a pipe, from none to `most`.
pub(super) fn rate(label: &str, columns: &[Option<f64>], most: f64) -> Markup {
    let share = |rate: f64| if most > 0.0 { rate / most } else { 0.0 };
    let heights = columns.iter().map(|rate| Some(height(share((*rate)?))));
    chart(
        "rate",
        CURVE_HEIGHT,
        label,
        &curve(&heights.collect::<Vec<_>>()),
    )
}

fn chart(class: &str, height: i64, label: &str, drawn: &Markup) -> Markup {
    html! {
        svg class={ "chart " (class) } viewBox={ "0 0 " (WIDTH) " " (height) }
            preserveAspectRatio="none" role="img" aria-label=(label) { (drawn) }
    }
}

/// Steps with the area below them; where nothing is known, the pattern that says so.
fn curve(heights: &[Option<i64>]) -> Markup {
    let width = column_width(heights.len());
    let mut steps = String::new();
    let mut unknown = Rectangles::default();
    let mut x = 0;
    let mut known = false;
    for equal in heights.chunk_by(|one, next| one == next) {
        let next = x + equal.len() * width;
        match equal[0] {
            Some(height) => {
                if !known {
                    steps += &format!("M{x} {CURVE_HEIGHT}");
                }
                steps += &format!("V{}H{next}", CURVE_HEIGHT - height);
            }
            None => {
                if known {
                    steps += &format!("V{CURVE_HEIGHT}");
                }
                unknown.add(x, 0, next - x, CURVE_HEIGHT);
            }
        }
        known = equal[0].is_some();
        x = next;
    }
    if known {
        steps += &format!("V{CURVE_HEIGHT}");
    }
    html! {
        (unknown.filled(Shade::Unknown.class()))
        @if !steps.is_empty() { path.curve d=(steps) {} }
    }
}

/// The height of a curve at a share of its most; what is there at all is seen.
fn height(share: f64) -> i64 {
    match (share.clamp(0.0, 1.0) * CURVE_HEIGHT as f64).ceil() as i64 {
        CURVE_HEIGHT => CURVE_HEIGHT - 1,
        height => height,
    }
}

fn column_width(columns: usize) -> usize {
    WIDTH / columns.max(1)
}

/// Rectangles of one colour, neighbours of equal height being one.
#[derive(Debug, Default)]
struct Rectangles(Vec<Rectangle>);

#[derive(Debug)]
struct Rectangle {
    x: usize,
    y: i64,
    width: usize,
    height: i64,
}

impl Rectangles {
    fn add(&mut self, x: usize, y: i64, width: usize, height: i64) {
        if height == 0 {
            return;
        }
        match self.0.last_mut() {
            Some(last) if (last.x + last.width, last.y, last.height) == (x, y, height) => {
                last.width += width;
            }
            _ => self.0.push(Rectangle {
                x,
                y,
                width,
                height,
            }),
        }
    }

    /// All of them as one path.
    fn filled(&self, class: &str) -> Markup {
        html! {
            @if !self.0.is_empty() { path class={ "f-" (class) } d=(PreEscaped(self.to_string())) {} }
        }
    }
}

impl Display for Rectangles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|rectangle| {
            let Rectangle {
                x,
                y,
                width,
                height,
            } = rectangle;
            write!(f, "M{x} {y}h{width}v{height}h-{width}z")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fill_the_width() {
        assert!(COLUMNS.iter().all(|columns| WIDTH.is_multiple_of(*columns)));
    }

    #[test]
    fn shades_of_a_column_stand_on_one_another() {
        let mut half = Shares::default();
        half[Shade::Running as usize] = 0.5;
        half[Shade::WaitingForInput as usize] = 0.5;
        let mut whole = Shares::default();
        whole[Shade::Running as usize] = 1.0;
        let svg = band("a", &[half, half, whole]).into_string();
        assert!(
            svg.contains(r#"class="f-running" d="M0 12h640v12h-640zM640 0h320v24h-320z""#),
            "{svg}"
        );
        assert!(
            svg.contains(r#"class="f-input" d="M0 0h640v12h-640z""#),
            "{svg}"
        );
    }

    #[test]
    fn an_ended_stage_leaves_its_band_blank() {
        let mut ended = Shares::default();
        ended[Shade::Ended as usize] = 1.0;
        assert!(!band("a", &[ended]).into_string().contains("<path"));
    }

    #[test]
    fn an_unknown_rate_interrupts_the_line() {
        let svg = rate("a", &[Some(5.0), None, Some(10.0), Some(10.0)], 10.0).into_string();
        assert!(
            svg.contains(r#"class="curve" d="M0 40V20H240V40M480 40V1H960V40""#),
            "{svg}"
        );
        assert!(
            svg.contains(r#"class="f-unknown" d="M240 0h240v40h-240z""#),
            "{svg}"
        );
    }

    #[test]
    fn a_label_is_text() {
        assert!(
            rate("a\"><img>", &[], 0.0)
                .into_string()
                .contains("aria-label=\"a&quot;&gt;&lt;img&gt;\"")
        );
    }
}
