//! All stages at a glance, where there are too many for one screen of charts. Pure.

use maud::{Markup, html};

use super::charts;
use super::table::bottleneck_mark;
use super::timeline::Timeline;
use crate::outcome::Observed;
use crate::view::text;

/// With fewer stages the charts themselves are overview enough; more are none in one list, and the
/// page has no room for them.
const STAGES: std::ops::RangeInclusive<usize> = 6..=150;
/// Columns of all stages together, and the numbers to choose from: they divide the width of a band.
const ALL_COLUMNS: usize = 600;
const COLUMNS: [usize; 6] = [96, 40, 24, 12, 6, 1];

/// Columns of text of all names together.
const ALL_NAMES: usize = 2000;

/// Each stage in one line: its number, its name, and what it did over time.
pub(super) fn section(observed: &Observed, timeline: &Timeline) -> Markup {
    let stages = &observed.layout.stages;
    let room = ALL_COLUMNS / stages.len().max(1);
    let columns = COLUMNS.into_iter().find(|&columns| columns <= room);
    let columns = columns.unwrap_or(1);
    let name = (ALL_NAMES / stages.len().max(1)).clamp(8, 28);
    html! {
        @if STAGES.contains(&stages.len()) && !timeline.span().is_zero() {
            section {
                h2 { "Overview" }
                ol.overview {
                    @for (index, stage) in stages.iter().enumerate() {
                        @let name = text::shortened(&text::line(&stage.command), name);
                        @let label = format!("Stage {} at a glance", index + 1);
                        li {
                            span {
                                (index + 1) " " code { (name) }
                                @if observed.bottleneck() == Some(index) { (bottleneck_mark()) }
                            }
                            (charts::strip(&label, &timeline.shares(index, columns)))
                        }
                    }
                }
            }
        }
    }
}
