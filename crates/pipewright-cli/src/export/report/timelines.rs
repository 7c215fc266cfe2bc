//! The part of the page that is drawn over time. Pure.

use std::fmt::Write;

use pipewright_observe::verdict::StageShares;

use super::charts;
use super::html::Escaped;
use super::percent;
use super::state::State;
use super::timeline::{self, Shares, Timeline};
use crate::outcome::Observed;
use crate::view::text;
use crate::view::units;

/// Bytes that all charts together may take: a page has to go into a ticket.
const LARGEST: usize = 700_000;

/// Draws stages and pipes, in the order of the data's way, on one axis of time.
pub(super) fn draw(page: &mut String, recording: &Observed) {
    page.push_str("<section>\n<h2>Over time</h2>\n");
    let span = Timeline::new(&recording.samples, 1).span();
    if span.is_zero() {
        page.push_str("<p>There are too few samples to draw anything.</p>\n</section>\n");
        return;
    }
    page.push_str(&charts::patterns());
    let ticks = timeline::ticks(span);
    // One mark alone has no next one to tell the step.
    let step = ticks.get(1).map_or(100.0, |(share, _)| share * 100.0);
    legend(page);
    // Writing to a string does not fail.
    let _ = writeln!(
        page,
        "<div class=\"timelines\" style=\"--step:{step:.4}%\">"
    );
    axis(page, &ticks);
    let names: Vec<String> = recording
        .layout
        .stages
        .iter()
        .map(|stage| text::shortened(&text::line(&stage.command), 60))
        .collect();
    let mut drawn = String::new();
    for columns in charts::COLUMNS {
        drawn = rows(recording, &names, columns);
        if drawn.len() <= LARGEST {
            break;
        }
    }
    page.push_str(&drawn);
    page.push_str("</div>\n</section>\n");
}

fn legend(page: &mut String) {
    page.push_str("<ul class=\"legend\" aria-label=\"Legend\">\n");
    for state in State::ALL {
        let label = match state {
            State::Ended => "blank: ended",
            state => state.label(),
        };
        let _ = writeln!(page, "<li>{}{label}</li>", charts::swatch(state));
    }
    page.push_str(
        "<li><svg class=\"swatch\" width=\"24\" height=\"12\" aria-hidden=\"true\" focusable=\"false\">\
         <rect class=\"f-full\" width=\"24\" height=\"4\"/></svg>pipe full: its writer has to wait</li>\n</ul>\n",
    );
}

fn axis(page: &mut String, ticks: &[(f64, String)]) {
    page.push_str("<div class=\"row axis\"><span></span><div>");
    for (share, label) in ticks {
        let left = share * 100.0;
        // In the middle of its mark, unless it would stick out of the page there.
        let side = match left {
            0.0 => "",
            ..98.0 => "translate:-50%",
            _ => "translate:-100%",
        };
        let _ = write!(
            page,
            "<span style=\"left:{left:.3}%;{side}\">{label}</span>"
        );
    }
    page.push_str("</div></div>\n");
}

fn rows(recording: &Observed, names: &[String], columns: usize) -> String {
    let timeline = Timeline::new(&recording.samples, columns);
    let layout = &recording.layout;
    let mut told = String::new();
    for (index, name) in names.iter().enumerate() {
        stage(&mut told, recording, index, name, &timeline.shares(index));
        for (pipe, _) in layout
            .pipes
            .iter()
            .enumerate()
            .filter(|(_, pipe)| pipe.writers.first() == Some(&index))
        {
            self::pipe(&mut told, recording, pipe, timeline);
        }
    }
    // Those whose writer is no stage.
    for (pipe, _) in layout
        .pipes
        .iter()
        .enumerate()
        .filter(|(_, pipe)| pipe.writers.is_empty())
    {
        self::pipe(&mut told, recording, pipe, timeline);
    }
    told
}

fn stage(page: &mut String, recording: &Observed, index: usize, name: &str, columns: &[Shares]) {
    let number = index + 1;
    let mark = match recording.bottleneck() == Some(index) {
        true => " <span class=\"mark\">◀ bottleneck</span>",
        false => "",
    };
    let shares = recording
        .verdict
        .stages
        .get(index)
        .map(most)
        .unwrap_or_default();
    let chart = charts::band(&format!("Stage {number} over time: {shares}"), columns);
    let _ = writeln!(
        page,
        "<figure class=\"row stage\"><figcaption><p>{number} <code>{}</code>{mark}</p>\
         <p class=\"faint\">{}</p></figcaption><div class=\"plot\">{chart}</div></figure>",
        Escaped(name),
        Escaped(&shares),
    );
}

/// What a stage did most of the time, in words.
fn most(shares: &StageShares) -> String {
    let mut told = [
        (shares.on_cpu + shares.waiting_for_cpu, State::Running),
        (shares.waiting_for_input, State::WaitingForInput),
        (shares.blocked_on_output, State::BlockedOnOutput),
        (shares.disk, State::Disk),
        (shares.network, State::Network),
        (shares.sleeping + shares.polling, State::Asleep),
        (shares.elsewhere + shares.stopped, State::Other),
        (shares.unknown, State::Unknown),
    ];
    told.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let told: Vec<String> = told[..3]
        .iter()
        .chain([&(shares.ended, State::Ended)])
        .filter(|(share, _)| *share >= 0.01)
        .map(|&(share, state)| format!("{} {}", state.label(), percent(share)))
        .collect();
    told.join(", ")
}

fn pipe(page: &mut String, recording: &Observed, index: usize, timeline: Timeline<'_>) {
    let joined = crate::export::joined(&recording.layout.pipes[index]);
    let rates = timeline.rates(index);
    let most = rates
        .iter()
        .flatten()
        .copied()
        .fold(None, |most: Option<f64>, rate| {
            Some(most.map_or(rate, |most| most.max(rate)))
        });
    let figures = recording
        .samples
        .iter()
        .rev()
        .find_map(|sample| sample.figures.as_ref());
    let bytes = figures
        .and_then(|figures| figures.pipes.get(index))
        .and_then(|pipe| pipe.bytes);
    let total = match bytes {
        Some(bytes) => format!("≈ {} in all", units::size(bytes as f64)),
        None => "bytes not known".to_owned(),
    };
    let (capacity, levels) = match recording.verdict.pipes.get(index).copied().flatten() {
        Some(shares) => (
            units::size(shares.capacity as f64),
            format!(
                "full {}, empty {}",
                percent(shares.full),
                percent(shares.empty)
            ),
        ),
        None => ("capacity not known".to_owned(), "fill not known".to_owned()),
    };
    let rate = match most {
        Some(most) => format!("rate, up to {}", units::rate(Some(most))),
        None => "rate not known".to_owned(),
    };
    let fill_chart = charts::fill(
        &format!("Pipe {joined}, fill over time: {levels}"),
        &timeline.fills(index),
    );
    let rate_chart = charts::rate(
        &format!("Pipe {joined}, {rate}"),
        &rates,
        most.unwrap_or_default(),
    );
    let _ = writeln!(
        page,
        "<figure class=\"row pipe\"><figcaption><p>Pipe {joined}</p><p class=\"faint\">{total}</p>\
         <p class=\"faint\">{}</p></figcaption><div class=\"plot\">\
         <div class=\"lane\"><span>fill of {capacity}</span>{fill_chart}</div>\
         <div class=\"lane\"><span>{rate}</span>{rate_chart}</div></div></figure>",
        Escaped(&levels),
    );
}
