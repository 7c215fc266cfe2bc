//! The live view in one line of a log, always of the same form. Pure.

use super::Frame;
use crate::view::text;
use crate::view::units::clock;

/// No line has more columns.
const WIDEST: usize = 120;

impl Frame {
    /// The frame in one line; `date` is the date and the time of day. What is unknown is a dash.
    pub(crate) fn line(&self, date: &str) -> String {
        let way = self.way();
        let known = |value: Option<String>, unknown: &str| value.unwrap_or(unknown.to_owned());
        let head = format!(
            "{date} {} {} of {}, {}, {}, {}, {}; ",
            clock(self.elapsed),
            known(way.percent, "- %"),
            known(way.total, "-"),
            known(way.bytes, "-"),
            known(way.rate, "-"),
            known(way.average, "average -"),
            known(way.left, "- left"),
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
