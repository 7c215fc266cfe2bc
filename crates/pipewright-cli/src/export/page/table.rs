//! The table of stages. Pure.

use maud::{Markup, html};
use pipewright_observe::verdict::StageShares;

use super::words::percent;
use crate::outcome::{Observed, Outcome, Stage};
use crate::view::text;
use crate::view::units::{seconds, size};

/// Columns of text that all names in the table may take together, and those of one.
const ALL_NAMES: usize = 20_000;
const NAME: std::ops::RangeInclusive<usize> = 60..=400;

pub(super) fn table(outcome: &Outcome, observed: &Observed) -> Markup {
    let room = (ALL_NAMES / outcome.stages.len().max(1)).clamp(*NAME.start(), *NAME.end());
    html! {
        section {
            h2 { "Stages" }
            div.scroll {
                table aria-describedby="shares" {
                    thead {
                        tr {
                            th.text scope="col" { "#" }
                            th.text scope="col" { "Stage" }
                            th.text scope="col" { "Ended" }
                            th scope="col" { "Wall" }
                            th scope="col" { "CPU" }
                            th scope="col" { "Waiting" br; "for input" }
                            th scope="col" { "Blocked" br; "on output" }
                            th scope="col" { "On CPU" }
                            th scope="col" { "Else" }
                            th scope="col" { "Read ≈" }
                            th scope="col" { "Written ≈" }
                        }
                    }
                    tbody {
                        @for (index, stage) in outcome.stages.iter().enumerate() {
                            (row(index, stage, outcome, observed, room))
                        }
                    }
                }
            }
            p.faint #shares {
                "Percentages are shares of the whole time that was watched; the rest, up to \
                 100 %, is the time after the stage's end. Else: waiting for a CPU, a disk, \
                 the network, the clock, a person or a child, stopped, or not known."
            }
        }
    }
}

fn row(index: usize, stage: &Stage, outcome: &Outcome, observed: &Observed, room: usize) -> Markup {
    let watched = observed.verdict.samples > 0;
    let shares = observed.verdict.stages.get(index).filter(|_| watched);
    let share = |of: fn(&StageShares) -> f64| shares.map(|shares| percent(of(shares)));
    let figures = observed
        .figures
        .as_ref()
        .and_then(|figures| figures.stages.get(index))
        .filter(|figures| !figures.splices);
    let bytes = |count: Option<u64>| count.map(|bytes| size(bytes as f64));
    html! {
        tr {
            th scope="row" { (index + 1) }
            td.text.command {
                code { (text::shortened(&stage.name, room)) }
                @if observed.bottleneck() == Some(index) { (bottleneck_mark()) }
            }
            td.text {
                @if outcome.failed == Some(index) { span.bad { "✗ " (stage.ended()) } }
                @else { (stage.ended()) }
            }
            td { (seconds(stage.wall)) }
            td { (seconds(stage.usage.cpu())) }
            (cell(share(|shares| shares.waiting_for_input)))
            (cell(share(|shares| shares.blocked_on_output)))
            (cell(share(|shares| shares.on_cpu)))
            (cell(share(|shares| {
                shares.waiting_for_something_else() + shares.waiting_for_cpu + shares.unknown
            })))
            (cell(bytes(figures.and_then(|figures| figures.read))))
            (cell(bytes(figures.and_then(|figures| figures.written))))
        }
    }
}

/// The sign behind the name of the stage that the others wait for.
pub(super) fn bottleneck_mark() -> Markup {
    html! { " " span.mark { "◀ bottleneck" } }
}

fn cell(text: Option<String>) -> Markup {
    html! {
        @match text {
            Some(text) => td { (text) },
            None => td.faint { "not known" },
        }
    }
}
