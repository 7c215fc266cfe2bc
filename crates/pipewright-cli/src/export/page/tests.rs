//! Pages of made-up and real recordings: complete, well formed, bounded, and safe.

use pipewright::StageEnd;
use pipewright_observe::Activity;
use proptest::prelude::*;

use super::Page;
use crate::export::recordings::{self, Recorded};

/// Fails unless each tag that is opened is closed in turn, and no attribute's quote is left open.
fn check_well_formed(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page
        .strip_prefix("<!DOCTYPE html>")
        .expect("a page says what it is");
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let mut quoted = false;
        let end = rest
            .find(|c| {
                quoted ^= c == '"';
                c == '>' && !quoted
            })
            .expect("each tag has an end");
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        let name_of = |tag: &'_ str| tag.split([' ', '/', '\n']).next().map(str::len);
        let name = &tag[..name_of(tag).expect("a tag has a name")];
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(
                open.pop(),
                Some(closed),
                "near {}",
                &rest[..rest.len().min(80)]
            );
        } else if !tag.ends_with('/') && !["meta", "br"].contains(&name) {
            open.push(name);
        }
        if name == "style" {
            rest = &rest[rest.find("</style>").expect("the style sheet ends")..];
        }
    }
    assert_eq!(open, Vec::<&str>::new());
}

fn page(recording: &Recorded) -> String {
    let page = recording.written(&mut Page::default());
    check_well_formed(&page);
    for outside in [
        "http:",
        "https:",
        "src=",
        "@import",
        "<script",
        "<link",
        "javascript:",
    ] {
        let style = page.find("<style>").expect("a style sheet");
        assert!(!page[style..].contains(outside), "{outside}");
    }
    page
}

#[test]
fn a_real_run_has_its_verdict_table_and_charts() {
    let page = page(&recordings::real());
    assert_eq!(page.matches("class=\"chart band\"").count(), 3);
    assert_eq!(page.matches("class=\"chart fill\"").count(), 2);
    assert_eq!(page.matches("class=\"chart rate\"").count(), 2);
    assert_eq!(page.matches("<th scope=\"row\">").count(), 3);
    assert!(page.contains("class=\"f-running\" d="));
    assert!(page.contains("class=\"curve\" d="));
    assert!(page.contains("300 MiB"), "what head wrote");
    assert!(page.len() < 300_000, "{}", page.len());
}

#[test]
fn hostile_text_stays_text() {
    let hostile = "</script><img src=x onerror=\"alert('1')\">\x1b]0;title\x07\u{202e}";
    let recording = Recorded::named(&[hostile; 2])
        .sample(0, &[Activity::Running; 2])
        .sample(20, &[Activity::Running; 2]);
    let page = recording.written(&mut Page::default());
    check_well_formed(&page);
    assert!(!page.contains("<img") && !page.contains("</script"));
    assert!(!page.contains("onerror=\"") && !page.contains("onerror='"));
    assert!(!page.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}'));
    assert!(page.contains("&lt;/script&gt;"));
}

#[test]
fn a_failure_is_told_by_word_and_sign() {
    let recording = Recorded::named(&["true", "false"]);
    let mut outcome = recording.outcome();
    outcome.stages[1].end = StageEnd::Exited(1);
    outcome.failed = Some(1);
    let page = recording.written_of(&mut Page::default(), &outcome);
    assert!(page.contains("✗ status 1") && page.contains("✗ exit 1"));
    assert!(page.contains("✗ Stage 2 failed: exit 1."));
}

#[test]
fn an_empty_recording_still_tells_how_the_stages_ended() {
    let page = page(&Recorded::named(&["true", "cat"]));
    assert!(page.contains("Too short to tell"));
    assert!(page.contains("too few samples to draw"));
    assert_eq!(page.matches("<th scope=\"row\">").count(), 2);
    assert!(page.contains("not known") && !page.contains("<td>0\u{a0}%</td>"));
}

#[test]
fn one_stage_has_a_band_and_no_pipe() {
    let recording = Recorded::new(1)
        .sample(0, &[Activity::Running])
        .sample(1000, &[Activity::Ended]);
    let page = page(&recording);
    assert_eq!(page.matches("<figure").count(), 1);
}

#[test]
fn an_unknown_rate_is_said_to_be_unknown() {
    let recording = Recorded::new(2)
        .sample(0, &[Activity::Running; 2])
        .sample(1000, &[Activity::Running; 2])
        .rate(0, None);
    let page = page(&recording);
    assert!(page.contains("rate not known") && page.contains("fill not known"));
    assert!(!page.contains("0 B/s"));
    assert!(!page.contains("class=\"curve\" d="), "no line at zero");
}

#[test]
fn an_hour_of_samples_fits_into_a_page() {
    let names: Vec<String> = (0..8).map(|stage| format!("stage {stage}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let page = page(&recordings::hour(&names, 180_000));
    assert!(page.len() < 1 << 20, "{}", page.len());
}

#[test]
fn three_hundred_stages_with_long_names_fit_into_a_page() {
    let long = "x'<&\"".repeat(13_000);
    let page = page(&recordings::hour(&vec![long.as_str(); 300], 400));
    assert_eq!(page.matches("class=\"chart band\"").count(), 300);
    assert!(page.len() < 1 << 20, "{}", page.len());
}

#[test]
fn many_stages_have_an_overview_and_few_have_none() {
    for (stages, shown) in [(5, false), (6, true), (12, true), (150, true)] {
        let page = page(&recordings::hour(&vec!["<cat>"; stages], 400));
        assert_eq!(page.contains("class=\"overview\""), shown, "{stages}");
        let strips = page.matches("class=\"chart strip\"").count();
        assert_eq!(strips, if shown { stages } else { 0 });
        assert!(page.len() < 1 << 20, "{stages}: {}", page.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_text_and_any_samples_make_a_well_formed_page(
        mut recording in recordings::any(4, 40),
        names in prop::collection::vec(any::<String>(), 4),
    ) {
        for (stage, name) in recording.layout.stages.iter_mut().zip(names) {
            stage.command = name;
        }
        check_well_formed(&recording.written(&mut Page::default()));
    }
}
