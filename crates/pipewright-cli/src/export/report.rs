//! A run as one page that can be read anywhere: offline, in light and dark, on paper. Pure.
//!
//! Everything is within the page, and its content security policy lets nothing else in: no script, no
//! font, no picture.

#[cfg(test)]
mod browser;
mod charts;
mod html;
mod state;
#[cfg(test)]
mod tests;
mod timeline;
mod timelines;

use std::fmt::Write;

use pipewright_observe::StageFigures;
use pipewright_observe::verdict::StageShares;

use self::html::Escaped;
use crate::outcome::{Observed, Outcome};
use crate::view::text;
use crate::view::units::{seconds, size};

/// Columns of text that all names in the table may take together, and those of one.
const ALL_NAMES: usize = 20_000;
const NAME: std::ops::RangeInclusive<usize> = 60..=400;

/// The page.
pub(crate) fn report(recording: &Observed, run: &Outcome) -> String {
    let mut page = String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n");
    let title = text::shortened(&run.pipeline(), 80);
    // Writing to a string does not fail.
    let _ = write!(
        page,
        "<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{} · pipewright</title>\n<style>\n{}</style>\n</head>\n<body>\n",
        Escaped(&title),
        include_str!("report/page.css"),
    );
    header(&mut page, recording, run);
    page.push_str("<main>\n");
    verdict(&mut page, recording, run);
    table(&mut page, recording, run);
    timelines::draw(&mut page, recording);
    let _ = write!(
        page,
        "</main>\n<footer>≈ Byte counts are those of the processes at a pipe's ends, over all their \
         descriptors. What is not known is left out and marked, and never shown as zero. \
         Written by pipewright {}.</footer>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION"),
    );
    page
}

fn header(page: &mut String, recording: &Observed, run: &Outcome) {
    let pipeline = text::shortened(&run.pipeline(), 4000);
    let status = match run.exit_code() {
        0 => "status 0".to_owned(),
        code => format!("<span class=\"bad\">✗ status {code}</span>"),
    };
    let _ = write!(
        page,
        "<header>\n<p class=\"kind\">pipewright report</p>\n<h1><code>{}</code></h1>\n\
         <p>Started {} · took {} · ended with {status} · {} samples</p>\n</header>\n",
        Escaped(&pipeline),
        Escaped(&started(run)),
        seconds(run.wall),
        recording.samples.len(),
    );
}

fn verdict(page: &mut String, recording: &Observed, run: &Outcome) {
    let verdict = &recording.verdict;
    let _ = write!(
        page,
        "<section class=\"verdict\" aria-label=\"Verdict\">\n<p class=\"finding\">{}.</p>\n",
        Escaped(&capitalized(&verdict.sentence())),
    );
    if let Some(advice) = verdict.advice() {
        let _ = writeln!(
            page,
            "<p class=\"advice\">Advice: {}.</p>",
            Escaped(&advice)
        );
    }
    if let Some(index) = run.failed {
        let _ = writeln!(
            page,
            "<p class=\"advice bad\">✗ Stage {} failed: {}.</p>",
            index + 1,
            Escaped(&run.stages[index].ended()),
        );
    }
    page.push_str("</section>\n");
}

fn capitalized(sentence: &str) -> String {
    let mut letters = sentence.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).collect()
}

const TABLE_HEAD: &str = "<section>\n<h2>Stages</h2>\n<div class=\"scroll\">\n<table>\n\
    <caption>Percentages are shares of the whole time that was watched; what is missing to 100 % is the \
    time after the stage's end. Else: waiting for a CPU, a disk, the network, the clock or a child, \
    stopped, or not known.</caption>\n<thead><tr><th scope=\"col\" class=\"text\">#</th>\
    <th scope=\"col\" class=\"text\">Stage</th><th scope=\"col\" class=\"text\">Ended</th>\
    <th scope=\"col\">Wall</th><th scope=\"col\">CPU</th><th scope=\"col\">Waiting<br>for input</th>\
    <th scope=\"col\">Blocked<br>on output</th><th scope=\"col\">On CPU</th><th scope=\"col\">Else</th>\
    <th scope=\"col\">Read ≈</th><th scope=\"col\">Written ≈</th></tr></thead>\n<tbody>\n";

fn table(page: &mut String, recording: &Observed, run: &Outcome) {
    page.push_str(TABLE_HEAD);
    let bottleneck = recording.bottleneck();
    let room = (ALL_NAMES / run.stages.len().max(1)).clamp(*NAME.start(), *NAME.end());
    let figures = recording.figures.as_ref();
    for (index, stage) in run.stages.iter().enumerate() {
        let command = text::shortened(&stage.name, room);
        let mark = match bottleneck == Some(index) {
            true => " <span class=\"mark\">◀ bottleneck</span>",
            false => "",
        };
        let ended = match run.failed == Some(index) {
            true => format!("<span class=\"bad\">✗ {}</span>", Escaped(&stage.ended())),
            false => Escaped(&stage.ended()).to_string(),
        };
        let _ = write!(
            page,
            "<tr><th scope=\"row\">{}</th><td class=\"text command\"><code>{}</code>{mark}</td>\
             <td class=\"text\">{ended}</td><td>{}</td><td>{}</td>",
            index + 1,
            Escaped(&command),
            seconds(stage.wall),
            seconds(stage.usage.cpu()),
        );
        let shares = recording
            .verdict
            .stages
            .get(index)
            .filter(|_| recording.verdict.samples > 0);
        let told = |share: fn(&StageShares) -> f64| shares.map(|shares| percent(share(shares)));
        let stage = figures.and_then(|figures| figures.stages.get(index));
        let bytes = |count: fn(&StageFigures) -> Option<u64>| {
            stage
                .filter(|stage| !stage.splices)
                .and_then(count)
                .map(|bytes| size(bytes as f64))
        };
        let cells = [
            told(|shares| shares.waiting_for_input),
            told(|shares| shares.blocked_on_output),
            told(|shares| shares.on_cpu),
            told(|shares| {
                shares.waiting_for_something_else() + shares.waiting_for_cpu + shares.unknown
            }),
            bytes(|stage| stage.read),
            bytes(|stage| stage.written),
        ];
        for cell in cells {
            let _ = match cell {
                Some(cell) => write!(page, "<td>{}</td>", Escaped(&cell)),
                None => write!(page, "<td class=\"faint\">not known</td>"),
            };
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table>\n</div>\n</section>\n");
}

/// When the run started, for people.
fn started(run: &Outcome) -> String {
    jiff::Zoned::try_from(run.started).map_or_else(
        |_| String::new(),
        |time| time.strftime("%Y-%m-%d %H:%M:%S %Z").to_string(),
    )
}

/// A share in percent; the space in it does not break.
fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent > 0.0 && percent < 1.0 => "< 1\u{a0}%".to_owned(),
        percent => format!("{percent:.0}\u{a0}%"),
    }
}
