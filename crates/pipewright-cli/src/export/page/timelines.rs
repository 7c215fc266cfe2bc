//! The part of the page that is drawn over time. Pure.

use maud::{Markup, PreEscaped, html};
use pipewright_observe::verdict::StageShares;

use super::shade::Shade;
use super::table::bottleneck_mark;
use super::timeline::{Shares, Timeline};
use super::words::percent;
use super::{axis, charts};
use crate::export::joined;
use crate::outcome::Observed;
use crate::view::text;
use crate::view::units::{rate, size};

/// Bytes that all charts together may take: a page has to go into a ticket.
const LARGEST: usize = 600_000;

/// Draws stages and pipes, in the order of the data's way, on one axis of time.
pub(super) fn section(observed: &Observed, timeline: &Timeline) -> Markup {
    let span = timeline.span();
    let ticks = axis::ticks(span);
    // One mark alone has no next one to tell the step.
    let step = ticks.get(1).map_or(100.0, |(share, _)| share * 100.0);
    html! {
        section {
            h2 { "Over time" }
            @if span.is_zero() {
                p { "There are too few samples to draw anything." }
            } @else {
                (charts::patterns())
                (legend())
                div.timelines style=(format!("--step:{step:.4}%")) {
                    (axis::row(&ticks))
                    (phases(observed, span.as_secs_f64()))
                    (finest_rows(observed, timeline))
                }
            }
        }
    }
}

/// The stages that held the others up in turn, by their numbers, where there are several.
fn phases(observed: &Observed, span: f64) -> Markup {
    let phases = &observed.verdict.phases;
    let place = |from: f64, until: f64| {
        let (left, width) = (from / span * 100.0, (until - from) / span * 100.0);
        format!("left:{left:.3}%;width:{width:.3}%")
    };
    html! {
        @if !phases.is_empty() {
            figure.row {
                figcaption { "Bottleneck, by the number of the stage" }
                div.phases {
                    @for phase in phases {
                        span style=(place(phase.from_seconds, phase.until_seconds.min(span))) {
                            @match &phase.bottleneck {
                                Some(found) => { (found.stage + 1) }
                                None => { "–" }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn legend() -> Markup {
    let label = |shade| match shade {
        Shade::Ended => "blank: ended".to_owned(),
        shade => shade.label(),
    };
    html! {
        ul.legend aria-label="Legend" {
            @for shade in Shade::ALL {
                li { (charts::swatch(shade.class(), 12)) (label(shade)) }
            }
            li { (charts::swatch("full", 4)) "pipe full: its writer has to wait" }
        }
    }
}

/// With as many columns as the page has room for.
fn finest_rows(observed: &Observed, timeline: &Timeline) -> Markup {
    let stages = observed.layout.stages.iter();
    let names: Vec<String> = stages
        .map(|stage| text::shortened(&text::line(&stage.command), 60))
        .collect();
    let mut drawn = PreEscaped(String::new());
    for columns in charts::COLUMNS {
        drawn = rows(observed, timeline, &names, columns);
        if drawn.0.len() <= LARGEST {
            break;
        }
    }
    drawn
}

fn rows(observed: &Observed, timeline: &Timeline, names: &[String], columns: usize) -> Markup {
    // Of several writers the first stands for them; `None` is one outside the pipeline.
    let behind = |stage: Option<usize>| {
        let pipes = observed.layout.pipes.iter().enumerate();
        pipes.filter(move |(_, pipe)| pipe.writers.first().copied() == stage)
    };
    html! {
        @for (index, name) in names.iter().enumerate() {
            (stage(observed, index, name, &timeline.shares(index, columns)))
            @for (index, _) in behind(Some(index)) { (pipe(observed, timeline, index, columns)) }
        }
        @for (index, _) in behind(None) { (pipe(observed, timeline, index, columns)) }
    }
}

fn stage(observed: &Observed, index: usize, name: &str, columns: &[Shares]) -> Markup {
    let number = index + 1;
    let shares = observed.verdict.stages.get(index).map(most);
    let shares = shares.unwrap_or_default();
    let label = format!("Stage {number} over time: {shares}");
    html! {
        figure.row.stage {
            figcaption {
                p {
                    (number) " " code { (name) }
                    @if observed.bottleneck() == Some(index) { (bottleneck_mark()) }
                }
                p.faint { (shares) }
            }
            div.plot { (charts::band(&label, columns)) }
        }
    }
}

/// A stage's main doings, in words.
fn most(shares: &StageShares) -> String {
    let mut told = [
        (shares.on_cpu + shares.waiting_for_cpu, Shade::Running),
        (shares.waiting_for_input, Shade::WaitingForInput),
        (shares.blocked_on_output, Shade::BlockedOnOutput),
        (shares.disk, Shade::Disk),
        (shares.network, Shade::Network),
        (shares.sleeping + shares.polling, Shade::Asleep),
        (shares.person, Shade::Person),
        (shares.elsewhere + shares.stopped, Shade::Other),
        (shares.unknown, Shade::Unknown),
    ];
    told.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let told: Vec<String> = told[..3]
        .iter()
        .chain([&(shares.ended, Shade::Ended)])
        .filter(|(share, _)| *share >= 0.01)
        .map(|&(share, shade)| format!("{} {}", shade.label(), percent(share)))
        .collect();
    told.join(", ")
}

fn pipe(observed: &Observed, timeline: &Timeline, index: usize, columns: usize) -> Markup {
    let joined = joined(&observed.layout.pipes[index]);
    let figures = observed.figures.as_ref();
    let bytes = figures.and_then(|figures| figures.pipes.get(index)?.bytes);
    let total = bytes.map_or_else(
        || "bytes not known".to_owned(),
        |bytes| format!("≈ {} in all", size(bytes as f64)),
    );
    let shares = observed.verdict.pipes.get(index).copied().flatten();
    let capacity = shares.map_or_else(
        || "capacity not known".to_owned(),
        |shares| size(shares.capacity as f64),
    );
    let levels = shares.map_or_else(
        || "fill not known".to_owned(),
        |shares| {
            format!(
                "full {}, empty {}",
                percent(shares.full),
                percent(shares.empty)
            )
        },
    );
    let rates = timeline.rates(index, columns);
    let most = rates.iter().flatten().copied().reduce(f64::max);
    let rate = most.map_or_else(
        || "rate not known".to_owned(),
        |most| format!("rate, up to {}", rate(Some(most))),
    );
    let fill_label = format!("Pipe {joined}, fill over time: {levels}");
    let rate_label = format!("Pipe {joined}, {rate}");
    html! {
        figure.row.pipe {
            figcaption {
                p { "Pipe " (joined) }
                p.faint { (total) }
                p.faint { (levels) }
            }
            div.plot {
                div.lane {
                    span { "fill of " (capacity) }
                    (charts::fill(&fill_label, &timeline.fills(index, columns)))
                }
                div.lane {
                    span { (rate) }
                    (charts::rate(&rate_label, &rates, most.unwrap_or_default()))
                }
            }
        }
    }
}
