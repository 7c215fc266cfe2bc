//! The live view in one line of a log, always of the same form. Pure.

use super::Frame;
use crate::view::text;
use crate::view::units::{clock, percent, size};

/// No line has more columns.
const WIDEST: usize = 120;

impl Frame {
    /// The frame in one line; `date` is the date and the time of day. What is unknown is a dash.
    pub(crate) fn line(&self, date: &str) -> String {
        let known = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let rate = |rate: Option<f64>| known(rate.map(|rate| format!("{}/s", size(rate))));
        let progress = self.progress.as_ref();
        // Where the input is not known, it is the first pipe.
        let first = self.pipes.first();
        let bytes = match progress {
            Some(progress) => Some(progress.read),
            None => first.and_then(|pipe| pipe.bytes),
        };
        let elapsed = self.elapsed.as_secs_f64();
        let overall = |bytes: u64| bytes as f64 / elapsed.max(f64::EPSILON);
        let (current, average) = match progress {
            Some(progress) => (progress.current, progress.average),
            None => (
                first.and_then(|pipe| pipe.rate),
                bytes.filter(|_| self.since_start).map(overall),
            ),
        };
        let head = format!(
            "{date} {} {} of {}, {}, {}, average {}, {} left; ",
            clock(self.elapsed),
            progress.map_or_else(|| "- %".to_owned(), |it| percent(it.fraction())),
            known(progress.map(|it| size(it.total as f64))),
            known(bytes.map(|bytes| size(bytes as f64))),
            rate(current),
            rate(average),
            known(progress.and_then(|it| it.left).map(clock)),
        );
        let room = WIDEST.saturating_sub(text::width(&head));
        head + &self.brief.in_columns(room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::live::rows::tests::frame;

    #[test]
    fn one_line_of_one_form_tells_it_to_a_log() {
        let mut frame = frame(3);
        let date = "2026-11-25 06:31:44";
        assert_eq!(
            frame.line(date),
            "2026-11-25 06:31:44 1:23 43 % of 1000 MiB, 430 MiB, 4.0 MiB/s, average 5.0 MiB/s, 1:50 left; \
             stage 2 (gzip -6): cpu"
        );
        frame.progress = None;
        assert_eq!(
            frame.line(date),
            "2026-11-25 06:31:44 1:23 - % of -, 1.2 GiB, 48.2 MiB/s, average 14.8 MiB/s, - left; \
             stage 2 (gzip -6): cpu"
        );
    }

    #[test]
    fn no_line_is_wider_than_a_log_should_be() {
        let mut frame = frame(2);
        for name in ["x".repeat(300), "日本".repeat(100)] {
            frame.brief.stage = Some((2, name));
            let line = frame.line("2026-11-25 06:31:44");
            assert!(text::width(&line) <= WIDEST, "{line}");
            assert!(line.ends_with("…): cpu"), "{line}");
        }
    }
}
