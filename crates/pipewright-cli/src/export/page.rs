//! A run as one page that can be read anywhere: offline, in light and dark, on paper.
//!
//! Everything is within the page, and its content security policy lets nothing else in: no script, no
//! font, no picture.

mod axis;
mod charts;
mod overview;
mod shade;
mod table;
#[cfg(test)]
mod tests;
mod timeline;
mod timelines;
mod words;

use std::io::{self, Write};

use maud::{DOCTYPE, Markup, PreEscaped, html};
use pipewright_observe::verdict::Phase;
use pipewright_observe::{Layout, Sample};

use self::timeline::Timeline;
use self::words::capitalized;
use super::Export;
use crate::outcome::{Observed, Outcome};
use crate::view::text;
use crate::view::units::seconds;

/// Writes the page at the end. Until then it keeps the samples as sums, in so many columns of time
/// that their number does not grow with the run.
#[derive(Debug, Default)]
pub(crate) struct Page {
    timeline: Timeline,
}

impl Export for Page {
    fn begin(&mut self, layout: &Layout, _: &mut dyn Write) -> io::Result<()> {
        self.timeline = Timeline::new(layout);
        Ok(())
    }

    fn sample(&mut self, sample: &Sample, _: &mut dyn Write) -> io::Result<()> {
        self.timeline.record(sample);
        Ok(())
    }

    fn finish(&mut self, outcome: &Outcome, out: &mut dyn Write) -> io::Result<()> {
        let nothing = Observed::nothing();
        let observed = outcome.observed.as_ref().unwrap_or(&nothing);
        let page = page(outcome, observed, &self.timeline);
        out.write_all(page.into_string().as_bytes())
    }
}

fn page(outcome: &Outcome, observed: &Observed, timeline: &Timeline) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; style-src 'unsafe-inline'";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (text::shortened(&outcome.pipeline(), 80)) " · pipewright" }
                style { (PreEscaped(include_str!("page/page.css"))) }
            }
            body {
                (header(outcome, observed))
                main {
                    (verdict(outcome, observed))
                    (overview::section(observed, timeline))
                    (table::table(outcome, observed))
                    (timelines::section(observed, timeline))
                }
                footer {
                    "≈ Byte counts are those of the processes at a pipe's ends, over all their \
                     descriptors. What is not known is left out and marked, and never shown as zero. \
                     Written by pipewright " (env!("CARGO_PKG_VERSION")) "."
                }
            }
        }
    }
}

fn header(outcome: &Outcome, observed: &Observed) -> Markup {
    let status = outcome.exit_code();
    html! {
        header {
            p.kind { "pipewright report" }
            h1 { code { (text::shortened(&outcome.pipeline(), 4000)) } }
            p {
                "Started " (started(outcome)) " · took " (seconds(outcome.wall)) " · ended with "
                @if status == 0 { "status 0" } @else { span.bad { "✗ status " (status) } }
                " · " (observed.verdict.samples) " samples"
            }
        }
    }
}

/// The time of the start, for people.
fn started(outcome: &Outcome) -> String {
    jiff::Zoned::try_from(outcome.started).map_or_else(
        |_| String::new(),
        |time| time.strftime("%Y-%m-%d %H:%M:%S %Z").to_string(),
    )
}

fn verdict(outcome: &Outcome, observed: &Observed) -> Markup {
    let sentence = text::line(&observed.verdict.sentence());
    html! {
        section.verdict aria-label="Verdict" {
            p.finding { (capitalized(&sentence)) "." }
            @if let Some(prediction) = &observed.verdict.prediction {
                p.advice { (capitalized(&text::line(&prediction.sentence()))) "." }
            }
            @if !observed.verdict.phases.is_empty() {
                p.advice {
                    "The bottleneck moved: "
                    (text::line(&Phase::sentence(&observed.verdict.phases))) "."
                }
            }
            @if let Some(advice) = observed.verdict.advice() {
                p.advice { "Advice: " (advice) "." }
            }
            @if let Some(advice) = &outcome.workers_advice {
                p.advice { "Advice: " (text::line(advice)) "." }
            }
            @for (index, stage) in outcome.stages.iter().enumerate() {
                @if let Some(workers) = &stage.workers {
                    p.advice { "Stage " (index + 1) " ran " (text::line(&workers.to_string())) "." }
                }
            }
            @if let Some(index) = outcome.failed {
                p.advice.bad {
                    "✗ Stage " (index + 1) " failed: " (outcome.stages[index].ended()) "."
                }
            }
        }
    }
}
