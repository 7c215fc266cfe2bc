//! The rows of the live view: one per stage, one per pipe, the verdict below. Pure.

use pipewright_observe::Activity;

use super::{Frame, PipeRow, StageRow};
use crate::progress::Progress;
use crate::view::style::{Row, Tone};
use crate::view::text;
use crate::view::units::{clock, percent, rate, size};

impl Frame {
    /// The frame in at most `height` rows of `width` columns. Where there is less room, columns go
    /// first, then the rows of pipes, then those of stages that are not the bottleneck.
    pub(crate) fn rows(&self, width: usize, height: usize) -> Vec<Row> {
        let foot = self.foot(width, height);
        let body = height.saturating_sub(foot.len());
        let with_pipes = self.stages.len() + self.pipes.len() <= body;
        let hidden = self.hidden_stages(body);
        let mut rows = Vec::new();
        for (index, stage) in self.stages.iter().enumerate() {
            if hidden.contains(&index) {
                continue;
            }
            rows.push(self.stage_row(index, stage, width));
            if with_pipes {
                rows.extend(self.pipes_below(index).map(|pipe| pipe.row(index, width)));
            }
        }
        if !hidden.is_empty() {
            let note = format!(
                "     … {} more stages: make the terminal taller",
                hidden.len()
            );
            rows.push(Row::fitted(vec![(Tone::Faint, note)], width));
        }
        rows.truncate(body);
        rows.extend(foot);
        // Never half of it, and never in place of something that happens now.
        let worth = self.worth.as_ref().filter(|worth| {
            hidden.is_empty() && rows.len() < height && text::width(worth) + 2 <= width
        });
        rows.extend(
            worth.map(|worth| Row::fitted(vec![(Tone::Faint, format!("  {worth}"))], width)),
        );
        rows
    }

    /// The stages to leave out: the bottleneck stays, and of the others the first ones.
    fn hidden_stages(&self, body: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.stages.len()).collect();
        if order.len() <= body {
            return Vec::new();
        }
        let room = body.saturating_sub(1); // one row says how many are missing
        let matters = |stage: &StageRow| stage.bottleneck || stage.selected;
        order.sort_by_key(|&index| !matters(&self.stages[index]));
        order.split_off(room)
    }

    fn stage_row(&self, index: usize, stage: &StageRow, width: usize) -> Row {
        let digits = self.stages.len().to_string().len();
        let (mark, word, emphasis) = if stage.bottleneck {
            ("▶", "  ◀ bottleneck", Tone::Warning)
        } else {
            (" ", "", Tone::Plain)
        };
        let head = format!("{mark} {:>digits$}  ", index + 1);
        // Number and command stay; the state goes first, then the CPU.
        let (with_cpu, with_state) = (width >= 40, width >= 60);
        let cpu = format!("  {:>10}", stage.cpu());
        let state = format!("  {:<17}", stage.state());
        let names = self.stages.iter().map(|stage| text::width(&stage.command));
        let others = text::width(&head)
            + text::width(&cpu)
            + if with_state { text::width(&state) } else { 0 }
            + text::width(word);
        let longest = names.max().unwrap_or(0);
        let room = longest.min(width.saturating_sub(others).max(8));
        let name = text::padded(&text::shortened(&stage.command, room), room);
        let name_tone = if stage.selected {
            Tone::Selected
        } else {
            Tone::Bold
        };

        let mut pieces = vec![(emphasis, head), (name_tone, name)];
        if with_cpu {
            pieces.push((Tone::Plain, cpu));
        }
        if with_state {
            pieces.push((stage.tone(), state));
        }
        pieces.push((Tone::Warning, word.to_owned()));
        Row::fitted(pieces, width)
    }

    /// Time, progress and verdict: in one row if they fit, or in two.
    fn foot(&self, width: usize, height: usize) -> Vec<Row> {
        let mut pieces = vec![(Tone::Bold, format!("  {}  ", clock(self.elapsed)))];
        if let Some(progress) = self.progress {
            let left = progress
                .left
                .map_or_else(String::new, |left| format!(", {} left", clock(left)));
            let percent = percent(progress.fraction());
            pieces.push((Tone::Bold, format!("{percent} of the input{left}  ")));
            let more = (Tone::Plain, progress.rates());
            let all = pieces.iter().chain([&more]);
            if all.map(|(_, piece)| text::width(piece)).sum::<usize>() <= width {
                pieces.push(more);
            }
        }
        let taken: usize = pieces.iter().map(|(_, piece)| text::width(piece)).sum();
        let finding = (Tone::Warning, self.finding.clone());
        if taken + text::width(&self.finding) <= width || height < self.stages.len() + 2 {
            pieces.push(finding);
            return vec![Row::fitted(pieces, width)];
        }
        let indented = vec![(Tone::Plain, "  ".to_owned()), finding];
        vec![Row::fitted(pieces, width), Row::fitted(indented, width)]
    }
}

impl Progress {
    /// The size of the input, and how fast it is read.
    fn rates(&self) -> String {
        let told = |word: &str, rate: Option<f64>| {
            rate.map_or_else(String::new, |rate| format!(", {word} {}/s", size(rate)))
        };
        let (now, average) = (told("now", self.current), told("average", self.average));
        format!("{}{now}{average}  ", size(self.total as f64))
    }
}

impl StageRow {
    fn tone(&self) -> Tone {
        match self.activity {
            Some(Activity::Running) => Tone::Good,
            Some(Activity::Ended | Activity::WaitingForInput | Activity::BlockedOnOutput) => {
                Tone::Faint
            }
            _ => Tone::Plain,
        }
    }
}

impl PipeRow {
    fn row(&self, stage: usize, width: usize) -> Row {
        let total = self.bytes.map(|bytes| format!("≈ {}", size(bytes as f64)));
        let capacity = self.level.map(|level| size(level.capacity as f64));
        let mut pieces = vec![
            (Tone::Faint, format!("     │ {}", self.ends(stage))),
            (Tone::Plain, format!("{:>14}", rate(self.rate))),
        ];
        if width >= 72 {
            let total = total.unwrap_or_default();
            pieces.push((Tone::Faint, format!("  {total:>12}")));
        }
        if width >= 50 {
            pieces.push((Tone::Plain, format!("  {}", self.bar(10))));
        }
        if width >= 80 {
            let capacity = capacity.unwrap_or_default();
            pieces.push((Tone::Faint, format!(" {capacity:>8}")));
        }
        if let Some(pressure) = self.pressure() {
            pieces.push((Tone::Plain, format!("  {pressure}")));
        }
        Row::fitted(pieces, width)
    }

    /// The stages at its ends, unless it just leads from the one above to the one below.
    fn ends(&self, stage: usize) -> String {
        if self.readers == [stage + 1] && self.writers == [stage] {
            return String::new();
        }
        let numbers = |stages: &[usize]| {
            let numbers = stages.iter().map(|stage| (stage + 1).to_string());
            numbers.collect::<Vec<_>>().join(",")
        };
        format!("{} → {}  ", numbers(&self.writers), numbers(&self.readers))
    }

    /// Its fill. "Full" is what poll says: a pipe can be so with fewer bytes than its capacity.
    fn bar(&self, cells: usize) -> String {
        let Some(level) = self.level else {
            return "?".repeat(cells);
        };
        let share = level.unread as f64 / level.capacity.max(1) as f64;
        let filled = match (level.full, level.empty()) {
            (true, _) => cells,
            (false, true) => 0,
            // Never quite empty, never quite full.
            (false, false) => ((share * cells as f64) as usize).clamp(1, cells - 1),
        };
        "█".repeat(filled) + &"░".repeat(cells - filled)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::view::live::brief::Brief;
    use pipewright_observe::PipeLevel;
    use pipewright_observe::verdict::{Bottleneck, Finding, Reason};
    use std::time::Duration;

    pub(in crate::view::live) fn frame(stages: usize) -> Frame {
        let stage = |index: usize| StageRow {
            command: ["head -c 4G /dev/zero", "gzip -6", "cat"][index.min(2)].to_owned(),
            cpus: Some([0.2, 1.0, 0.0][index.min(2)]),
            activity: Some(
                [
                    Activity::BlockedOnOutput,
                    Activity::Running,
                    Activity::WaitingForInput,
                ][index.min(2)],
            ),
            bottleneck: index == 1,
            selected: false,
        };
        let level = PipeLevel {
            unread: 512 << 10,
            capacity: 1 << 20,
            full: false,
            reader_gone: false,
        };
        let pipe = |index: usize| PipeRow {
            writers: vec![index],
            readers: vec![index + 1],
            rate: (index == 0).then_some(48.2 * 1048576.0),
            bytes: Some(1_288_490_189),
            level: Some(level),
            full: [0.91, 0.0][index.min(1)],
            empty: [0.0, 0.88][index.min(1)],
        };
        Frame {
            elapsed: Duration::from_secs(83),
            stages: (0..stages).map(stage).collect(),
            pipes: (0..stages - 1).map(pipe).collect(),
            finding: "stage 2 (gzip -6) is the bottleneck".to_owned(),
            brief: Brief::of(&Finding::Bottleneck(Bottleneck {
                stage: 1,
                command: "gzip -6".to_owned(),
                program: None,
                reason: Reason::Cpu,
                own: 1.0,
                cpus: None,
            })),
            since_start: true,
            advice: None,
            worth: None,
            progress: Some(Progress {
                read: 430 << 20,
                total: 1000 << 20,
                left: Some(Duration::from_secs(110)),
                average: Some((5 << 20) as f64),
                current: Some((4 << 20) as f64),
            }),
        }
    }

    fn drawn(frame: &Frame, width: usize, height: usize) -> Vec<String> {
        frame.rows(width, height).iter().map(Row::plain).collect()
    }

    #[test]
    fn a_wide_terminal_shows_everything() {
        let rows = drawn(&frame(3), 100, 24);
        assert_eq!(rows.len(), 7);
        assert!(
            rows[0].starts_with("  1  head -c 4G /dev/zero"),
            "{rows:#?}"
        );
        assert!(rows[0].contains("20 % cpu  blocked on output"), "{rows:#?}");
        assert!(
            rows[1].contains("≈ 48.2 MiB/s") && rows[1].contains("█████░░░░░  1.0 MiB"),
            "{rows:#?}"
        );
        assert!(rows[1].contains("writer blocked 91 %"), "{rows:#?}");
        assert!(
            rows[2].starts_with("▶ 2") && rows[2].contains("bottleneck"),
            "{rows:#?}"
        );
        assert!(
            rows[3].contains("rate unknown") && rows[3].contains("reader waiting 88 %"),
            "{rows:#?}"
        );
        assert!(
            rows[5].contains("1:23")
                && rows[5].contains("43 % of the input, 1:50 left")
                && rows[5].contains("1000 MiB, now 4.0 MiB/s, average 5.0 MiB/s"),
            "{rows:#?}"
        );
    }

    #[test]
    fn the_worth_of_the_bottleneck_is_shown_where_a_row_is_left_for_all_of_it() {
        let worth = "without it the pipeline would take at best less than 1/20 of the time";
        let mut frame = frame(3);
        frame.worth = Some(worth.to_owned());
        let rows = drawn(&frame, 100, 24);
        assert!(
            rows.last().is_some_and(|row| row.contains(worth)),
            "{rows:#?}"
        );
        for (width, height) in [(100, 5), (40, 24), (60, 24)] {
            let rows = drawn(&frame, width, height);
            assert!(!rows.iter().any(|row| row.contains("without")), "{rows:#?}");
        }
    }

    #[test]
    fn no_row_is_wider_and_no_frame_higher_than_the_terminal() {
        for stages in [1, 3, 12, 300] {
            for width in [1, 10, 20, 39, 40, 59, 71, 80, 200] {
                for height in [1, 2, 5, 10, 24] {
                    let rows = drawn(&frame(stages), width, height);
                    assert!(rows.len() <= height, "{stages} stages in {width}x{height}");
                    assert!(
                        rows.iter().all(|row| text::width(row) <= width),
                        "{width}: {rows:#?}"
                    );
                }
            }
        }
    }

    #[test]
    fn where_there_is_little_room_pipes_go_first_and_the_bottleneck_last() {
        let rows = drawn(&frame(3), 80, 4);
        assert_eq!(rows.len(), 4);
        assert!(!rows.iter().any(|row| row.contains('│')));
        let rows = drawn(&frame(300), 80, 4);
        assert!(rows.iter().any(|row| row.starts_with('▶')), "{rows:#?}");
        assert!(
            rows.iter().any(|row| row.contains("298 more stages")),
            "{rows:#?}"
        );
    }

    #[test]
    fn a_full_pipe_is_what_poll_calls_full() {
        let mut pipe = frame(2).pipes.remove(0);
        let level = |unread, full| PipeLevel {
            unread,
            capacity: 65536,
            full,
            reader_gone: false,
        };
        for (unread, full, bar) in [
            (33000, true, "██████████"),
            (1, false, "█░░░░░░░░░"),
            (65535, false, "█████████░"),
            (0, false, "░░░░░░░░░░"),
        ] {
            pipe.level = Some(level(unread, full));
            assert_eq!(pipe.bar(10), bar);
        }
        pipe.level = None;
        assert_eq!(pipe.bar(3), "???");
    }
}
