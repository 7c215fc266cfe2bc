//! The rows of the live view: one per stage, one per pipe, the verdict below. Pure.

use std::ops::Range;

use pipewright_observe::Activity;

use super::fold::{Shown, fold};
use super::{Frame, PipeRow, StageRow};
use crate::view::style::{Row, Tone};
use crate::view::units::{clock, percent, rate, size};
use crate::view::{spool, text};

/// A lower frame has one row for time and finding.
const LOW: usize = 5;

impl Frame {
    /// The frame in at most `height` rows of `width` columns. Where there is less room, columns go
    /// first, then the rows of pipes that are not the bottleneck's, then those of quiet stages.
    pub(crate) fn rows(&self, width: usize, height: usize) -> Vec<Row> {
        let foot = self.foot(width, height);
        let body = height.saturating_sub(foot.len());
        let near = self.pipes_by_interest();
        let wanted = near.iter().filter(|(is_near, _)| *is_near).count();
        let for_stages = if self.stages.len() <= body || body < wanted + 5 {
            body
        } else {
            body - wanted
        };
        let shown = fold(&self.stages, for_stages);
        let with_pipes = near.iter().take(body - shown.len());
        let with_pipes: Vec<usize> = with_pipes.map(|(_, pipe)| *pipe).collect();
        let is_folded = shown.iter().any(|it| matches!(it, Shown::Folded(_)));

        let mut rows = Vec::new();
        for it in &shown {
            let (row, stages) = match it {
                Shown::Stage(index) => (&self.stages[*index], *index..index + 1),
                Shown::Folded(range) => (&self.folded(range), range.clone()),
            };
            rows.push(self.stage_row(it, row, &shown, width));
            for (index, pipe) in self.pipes.iter().enumerate() {
                let first = pipe.writers.iter().min();
                if with_pipes.contains(&index) && first.is_some_and(|it| stages.contains(it)) {
                    let above = (!is_folded).then_some(stages.start);
                    rows.push(pipe.row(above, self.before, width));
                }
            }
        }
        rows.extend(foot);
        // Never half of it, and never in place of something that happens now.
        let fits = |worth: &&String| !is_folded && text::width(worth) + 2 <= width;
        let worth = self.worth.as_ref().filter(fits).cloned();
        let spools = self.spools.iter();
        let spools = spools.map(|it| spool::in_columns(it, width.saturating_sub(2)));
        let room = height.saturating_sub(rows.len());
        let below = spools.chain(worth).take(room);
        rows.extend(below.map(|text| Row::fitted(vec![(Tone::Faint, format!("  {text}"))], width)));
        rows
    }

    /// The pipes by their indices, those at the bottleneck first.
    fn pipes_by_interest(&self) -> Vec<(bool, usize)> {
        let marked = |stage: &usize| self.stages.get(*stage).is_some_and(|it| it.bottleneck);
        let pipes = self.pipes.iter().enumerate();
        let is_near = |pipe: &PipeRow| pipe.writers.iter().chain(&pipe.readers).any(marked);
        let mut pipes: Vec<_> = pipes.map(|(index, pipe)| (is_near(pipe), index)).collect();
        pipes.sort_by_key(|(is_near, _)| !is_near);
        pipes
    }

    /// Several stages in one row: what they use together, and what all of them do.
    fn folded(&self, range: &Range<usize>) -> StageRow {
        let stages = &self.stages[range.clone()];
        let names = stages.iter().map(|stage| stage.command.as_str());
        let names: Vec<&str> = names.take(20).collect();
        let activity = stages[0].activity;
        StageRow {
            command: format!("{} stages: {}", stages.len(), names.join(" | ")),
            cpus: stages.iter().map(|stage| stage.cpus).sum(),
            activity: activity.filter(|_| stages.iter().all(|it| it.activity == activity)),
            bottleneck: false,
            selected: false,
        }
    }

    fn stage_row(&self, which: &Shown, stage: &StageRow, shown: &[Shown], width: usize) -> Row {
        let mark = if stage.bottleneck { "▶" } else { " " };
        let digits = shown
            .iter()
            .map(|it| number(it, self.before).len())
            .max()
            .unwrap_or(0);
        let head = format!("{mark} {:>digits$}  ", number(which, self.before));
        // Number and command stay; the state goes first, then the word, then the CPU.
        let (with_cpu, with_word, with_state) = (width >= 18, width >= 40, width >= 60);
        let (word, emphasis) = match stage.bottleneck {
            true if with_word => ("  ◀ bottleneck", Tone::Warning),
            true => ("", Tone::Warning),
            false => ("", Tone::Plain),
        };
        let cpu = match (with_cpu, with_word) {
            (true, true) => format!("  {:>10}", stage.cpu()),
            (true, false) => format!(" {:>5}", stage.cpus.map(percent).unwrap_or_default()),
            _ => String::new(),
        };
        let state = format!("  {:<17}", stage.state());
        let own = shown.iter().filter_map(|it| match it {
            Shown::Stage(index) => Some(text::width(&self.stages[*index].command)),
            Shown::Folded(_) => None,
        });
        let folded = shown.iter().any(|it| matches!(it, Shown::Folded(_)));
        let longest = own.max().unwrap_or(0).max(if folded { 24 } else { 0 });
        // Of the bottleneck's word, which any row may have.
        let others = text::width(&head)
            + text::width(&cpu)
            + if with_state { text::width(&state) } else { 0 }
            + text::width(word);
        let room = longest.min(width.saturating_sub(others).max(8));
        let name = text::padded(&text::shortened(&stage.command, room), room);
        let name_tone = match which {
            Shown::Folded(_) => Tone::Faint,
            Shown::Stage(_) if stage.selected => Tone::Selected,
            Shown::Stage(_) => Tone::Bold,
        };

        let mut pieces = vec![(emphasis, head), (name_tone, name), (Tone::Plain, cpu)];
        if with_state {
            pieces.push((stage.tone(), state));
        }
        pieces.push((Tone::Warning, word.to_owned()));
        Row::fitted(pieces, width)
    }

    /// Time, progress and verdict: in one row if they fit, or in two.
    fn foot(&self, width: usize, height: usize) -> Vec<Row> {
        let clock = format!("  {}", clock(self.elapsed));
        let is_low = height < LOW;
        let brief = self.brief.in_columns(width);
        let beside = if is_low { text::width(&brief) + 2 } else { 0 };
        let room = width.saturating_sub(text::width(&clock) + 2 + beside);
        let mut way = self.way().in_columns(room);
        if way.is_empty() {
            way = self.way().percent.unwrap_or_default();
        }
        if !way.is_empty() {
            way.insert_str(0, "  ");
        }
        let mut pieces = vec![(Tone::Bold, clock + &way)];
        let taken: usize = pieces.iter().map(|(_, piece)| text::width(piece)).sum();
        let left = width.saturating_sub(taken + 2);
        let finding = |text: String| (Tone::Warning, format!("  {text}"));
        if text::width(&self.finding) <= left {
            pieces.push(finding(self.finding.clone()));
            return vec![Row::fitted(pieces, width)];
        }
        let sentence = text::wrapped(&self.finding, width);
        let lines = sentence.lines().count();
        // A sentence that is cut says less than a word.
        let sentence = match lines {
            _ if is_low => {
                pieces.push(finding(self.brief.in_columns(left)));
                return vec![Row::fitted(pieces, width)];
            }
            1 => sentence,
            2 if height >= 2 * LOW => sentence,
            _ => format!("  {brief}"),
        };
        let sentence = sentence
            .lines()
            .map(|line| Row::fitted(vec![(Tone::Warning, line.to_owned())], width));
        [Row::fitted(pieces, width)]
            .into_iter()
            .chain(sentence)
            .collect()
    }
}

/// The number in front of a row: `7`, and `8-11` for several.
fn number(shown: &Shown, before: usize) -> String {
    match shown {
        Shown::Stage(index) => (before + index + 1).to_string(),
        Shown::Folded(range) => format!("{}-{}", before + range.start + 1, before + range.end),
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
    /// `above`: the stage in the row above, if the next one is in the row below.
    fn row(&self, above: Option<usize>, before: usize, width: usize) -> Row {
        let total = self.bytes.map(|bytes| format!("≈ {}", size(bytes as f64)));
        let capacity = self.level.map(|level| size(level.capacity as f64));
        let mut pieces = vec![
            (Tone::Faint, format!("     │ {}", self.ends(above, before))),
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
    fn ends(&self, above: Option<usize>, before: usize) -> String {
        let leads_on = |stage| self.readers == [stage + 1] && self.writers == [stage];
        if above.is_some_and(leads_on) {
            return String::new();
        }
        let numbers = |stages: &[usize]| {
            let numbers = stages.iter().map(|stage| (before + stage + 1).to_string());
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
    use crate::progress::Progress;
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
            spools: Vec::new(),
            before: 0,
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
            rows[5] == "  1:23  43 % of 1000 MiB, 430 MiB, 4.0 MiB/s, average 5.0 MiB/s, 1:50 left",
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
        assert_eq!(
            rows,
            [
                "      1  head -c 4G /dev/zero        20 % cpu  blocked on output",
                "▶     2  gzip -6                    100 % cpu  running            ◀ bottleneck",
                "  3-300  298 stages: cat | cat |…     0 % cpu  waiting for input",
                "  1:23  43 % of 1000 MiB, 4.0 MiB/s, 1:50 left  stage 2 (gzip -6): cpu",
            ]
        );
        // Smaller still, one row says what matters.
        assert_eq!(
            drawn(&frame(300), 20, 2),
            ["▶ 2  gzip -6 100 %", "  1:23  43 %  cpu"]
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
