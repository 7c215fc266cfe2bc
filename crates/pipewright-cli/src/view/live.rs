//! What a pipeline looks like at one moment, and that as lines of text: a row a stage, a row a pipe,
//! the verdict under them. Pure.

use std::time::Duration;

use pipewright_observe::verdict::{Finding, Verdict};
use pipewright_observe::{Activity, PipeLevel};

use super::summary;
use super::text;
use crate::observation::Observation;

/// How a piece of text is to look. What matters is never told by it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Bold,
    Faint,
    Good,
    Warning,
    /// The row that keys act on.
    Selected,
}

/// One line, in pieces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Row(pub(crate) Vec<(Tone, String)>);

/// A pipeline at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) elapsed: Duration,
    pub(crate) stages: Vec<StageRow>,
    pub(crate) pipes: Vec<PipeRow>,
    pub(crate) finding: String,
    pub(crate) advice: Option<String>,
    pub(crate) progress: Option<Progress>,
}

/// One stage.
#[derive(Debug, Clone)]
pub(crate) struct StageRow {
    /// The command, safe for a terminal.
    pub(crate) command: String,
    /// Cores used over the last interval.
    pub(crate) cpus: Option<f64>,
    pub(crate) activity: Option<Activity>,
    pub(crate) bottleneck: bool,
    pub(crate) selected: bool,
}

/// One pipe, from and to stages by index.
#[derive(Debug, Clone)]
pub(crate) struct PipeRow {
    pub(crate) writers: Vec<usize>,
    pub(crate) readers: Vec<usize>,
    /// Bytes a second, estimated; unknown is not zero.
    pub(crate) rate: Option<f64>,
    /// Bytes so far, estimated.
    pub(crate) bytes: Option<u64>,
    pub(crate) level: Option<PipeLevel>,
    /// Shares of the recent past.
    pub(crate) full: f64,
    pub(crate) empty: f64,
}

/// How far the first stage is in the file it reads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Progress {
    /// 0 to 1.
    pub(crate) fraction: f64,
    pub(crate) left: Option<Duration>,
}

impl Frame {
    /// The newest of an observation. `names` are the commands as they are to be called.
    pub(crate) fn of(
        observation: &Observation,
        names: &[String],
        elapsed: Duration,
        progress: Option<Progress>,
    ) -> Self {
        let verdict = named(observation.recent(), names);
        let figures = observation.figures();
        let latest = observation.latest();
        let bottleneck = match &verdict.finding {
            Finding::Bottleneck(bottleneck) => Some(bottleneck.stage),
            _ => None,
        };
        let stages = names.iter().enumerate().map(|(index, name)| StageRow {
            command: text::line(name.trim_end()),
            cpus: figures.and_then(|figures| Some(figures.stages.get(index)?.cpus)),
            activity: latest.and_then(|sample| sample.stages.get(index).copied()),
            bottleneck: bottleneck == Some(index),
            selected: false,
        });
        let pipes = observation
            .layout()
            .pipes
            .iter()
            .enumerate()
            .map(|(index, pipe)| {
                let shares = verdict.pipes.get(index).and_then(Option::as_ref);
                let figures = figures.and_then(|figures| figures.pipes.get(index));
                PipeRow {
                    writers: pipe.writers.clone(),
                    readers: pipe.readers.clone(),
                    rate: figures.and_then(|figures| figures.rate),
                    bytes: figures.and_then(|figures| figures.bytes),
                    level: latest.and_then(|sample| *sample.pipes.get(index)?),
                    full: shares.map_or(0.0, |shares| shares.full),
                    empty: shares.map_or(0.0, |shares| shares.empty),
                }
            });
        Self {
            elapsed,
            stages: stages.collect(),
            pipes: pipes.collect(),
            finding: text::line(&verdict.sentence()),
            advice: verdict.advice(),
            progress,
        }
    }

    /// The frame with one stage marked as the one that keys act on.
    pub(crate) fn selected(&self, stage: usize) -> Self {
        let mut marked = self.clone();
        if let Some(stage) = marked.stages.get_mut(stage) {
            stage.selected = true;
        }
        marked
    }

    /// The frame in at most `height` rows of `width` columns. Where there is less room, columns go
    /// first, then the rows of pipes, then those of stages that are not the bottleneck.
    pub(crate) fn rows(&self, width: usize, height: usize) -> Vec<Row> {
        let foot = self.foot(width, height);
        let body = height.saturating_sub(foot.len());
        let with_pipes = self.stages.len() + self.pipes.len() <= body;
        let mut rows = Vec::new();
        let hidden = match self.stages.len() <= body {
            true => Vec::new(),
            false => self.hidden_stages(body),
        };
        for (index, stage) in self.stages.iter().enumerate() {
            if hidden.contains(&index) {
                continue;
            }
            rows.push(self.stage_row(index, stage, width));
            if with_pipes {
                let leaving = |pipe: &&PipeRow| pipe.writers.iter().min() == Some(&index);
                rows.extend(
                    self.pipes
                        .iter()
                        .filter(leaving)
                        .map(|pipe| pipe.row(index, width)),
                );
            }
        }
        if !hidden.is_empty() && body > 0 {
            let note = format!(
                "     … {} more stages: make the terminal taller",
                hidden.len()
            );
            rows.push(Row::fitted(vec![(Tone::Faint, note)], width));
        }
        rows.truncate(body);
        rows.extend(foot);
        rows
    }

    /// Which stages to leave out: the bottleneck stays, and else the first ones.
    fn hidden_stages(&self, body: usize) -> Vec<usize> {
        let room = body.saturating_sub(1); // one row says how many are missing
        let mut order: Vec<usize> = (0..self.stages.len()).collect();
        let matters = |stage: &StageRow| stage.bottleneck || stage.selected;
        order.sort_by_key(|&index| !matters(&self.stages[index]));
        order.split_off(room.min(order.len()))
    }

    fn stage_row(&self, index: usize, stage: &StageRow, width: usize) -> Row {
        let digits = self.stages.len().to_string().len();
        let mark = if stage.bottleneck { "▶" } else { " " };
        let cpu = stage
            .cpus
            .map_or_else(String::new, |cpus| format!("{:.0} % cpu", cpus * 100.0));
        let state = stage
            .activity
            .map_or_else(String::new, |activity| activity.to_string());
        let word = if stage.bottleneck {
            "  ◀ bottleneck"
        } else {
            ""
        };
        let tone = match stage.activity {
            Some(Activity::Running) => Tone::Good,
            Some(Activity::Ended | Activity::WaitingForInput | Activity::BlockedOnOutput) => {
                Tone::Faint
            }
            _ => Tone::Plain,
        };
        let head = format!("{mark} {:>digits$}  ", index + 1);
        // Number and command stay; the state goes first, then the CPU.
        let longest = self
            .stages
            .iter()
            .map(|stage| text::width(&stage.command))
            .max()
            .unwrap_or(0);
        let fixed = text::width(&head) + 2 + 10 + 2 + 17 + text::width(word);
        let (with_cpu, with_state) = (width >= 40, width >= 60);
        let others = if with_state {
            fixed
        } else {
            text::width(&head) + 12 + text::width(word)
        };
        let room = longest.min(width.saturating_sub(others).max(8));
        let name = text::padded(&text::shortened(&stage.command, room), room);
        let mut pieces = vec![
            (
                if stage.bottleneck {
                    Tone::Warning
                } else {
                    Tone::Plain
                },
                head,
            ),
            (
                if stage.selected {
                    Tone::Selected
                } else {
                    Tone::Bold
                },
                name,
            ),
        ];
        if with_cpu {
            pieces.push((Tone::Plain, format!("  {cpu:>10}")));
        }
        if with_state {
            pieces.push((tone, format!("  {state:<17}")));
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
            let percent = progress.fraction * 100.0;
            let told = format!("{percent:.0} % of the input{left}  ");
            pieces.push((Tone::Bold, told));
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

    /// The frame in one line, for logs.
    pub(crate) fn line(&self) -> String {
        let mut parts = vec![clock(self.elapsed)];
        if let Some(progress) = self.progress {
            parts.push(format!("{:.0} %", progress.fraction * 100.0));
        }
        for (index, stage) in self.stages.iter().enumerate() {
            let cpu = stage
                .cpus
                .map_or_else(String::new, |cpus| format!(" {:.0} % cpu", cpus * 100.0));
            let state = stage
                .activity
                .map_or_else(String::new, |activity| format!(" {activity}"));
            parts.push(format!(
                "{} {}{cpu}{state}",
                index + 1,
                text::shortened(&stage.command, 24)
            ));
            for pipe in self
                .pipes
                .iter()
                .filter(|pipe| pipe.writers.iter().min() == Some(&index))
            {
                parts.push(format!(
                    "{}{}",
                    rate(pipe.rate),
                    pipe.pressure()
                        .map_or_else(String::new, |it| format!(" {it}"))
                ));
            }
        }
        parts.push(self.finding.clone());
        parts.join(" · ")
    }
}

impl PipeRow {
    fn row(&self, stage: usize, width: usize) -> Row {
        let plain = self.readers.as_slice() == [stage + 1] && self.writers.as_slice() == [stage];
        let number = |index: &usize| (index + 1).to_string();
        let join = |stages: &[usize]| stages.iter().map(number).collect::<Vec<_>>().join(",");
        let ends = match plain {
            true => String::new(),
            false => format!("{} → {}  ", join(&self.writers), join(&self.readers)),
        };
        let total = self
            .bytes
            .map_or_else(String::new, |bytes| format!("≈ {}", size(bytes as f64)));
        let capacity = self
            .level
            .map_or_else(String::new, |level| size(level.capacity as f64));
        let mut pieces = vec![
            (Tone::Faint, format!("     │ {ends}")),
            (Tone::Plain, format!("{:>14}", rate(self.rate))),
        ];
        if width >= 72 {
            pieces.push((Tone::Faint, format!("  {total:>12}")));
        }
        if width >= 50 {
            pieces.push((Tone::Plain, format!("  {}", self.bar(10))));
        }
        if width >= 80 {
            pieces.push((Tone::Faint, format!(" {capacity:>8}")));
        }
        if let Some(pressure) = self.pressure() {
            pieces.push((Tone::Plain, format!("  {pressure}")));
        }
        Row::fitted(pieces, width)
    }

    /// How full it is. "Full" is what poll says: a pipe can be so with fewer bytes than its capacity.
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

    /// Which of its neighbours it holds up, if it does so for a noteworthy time.
    fn pressure(&self) -> Option<String> {
        let percent = |share: f64| (share * 100.0).round();
        if self.full >= 0.1 && self.full >= self.empty {
            Some(format!("writer blocked {} %", percent(self.full)))
        } else if self.empty >= 0.1 {
            Some(format!("reader waiting {} %", percent(self.empty)))
        } else {
            None
        }
    }
}

impl Row {
    /// Cut at the width.
    fn fitted(pieces: Vec<(Tone, String)>, width: usize) -> Self {
        let mut left = width;
        let mut kept = Vec::new();
        for (tone, piece) in pieces {
            let piece = text::shortened(&piece, left);
            left -= text::width(&piece).min(left);
            kept.push((tone, piece));
        }
        Self(kept)
    }

    /// Without tones.
    #[cfg(test)]
    fn plain(&self) -> String {
        self.0.iter().map(|(_, piece)| piece.as_str()).collect()
    }
}

/// A verdict whose sentence calls the stages by these names.
pub(crate) fn named(mut verdict: Verdict, names: &[String]) -> Verdict {
    if let Finding::Bottleneck(bottleneck) = &mut verdict.finding
        && let Some(name) = names.get(bottleneck.stage)
    {
        bottleneck.command = text::shortened(&text::line(name.trim_end()), 40);
    }
    verdict
}

/// Bytes a second; what is not known is said to be so.
pub(crate) fn rate(rate: Option<f64>) -> String {
    match rate {
        Some(rate) => format!("≈ {}/s", size(rate)),
        None => "rate unknown".to_owned(),
    }
}

/// Bytes in the unit that reads best.
pub(crate) fn size(bytes: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    match value {
        value if unit == 0 || value >= 100.0 => format!("{value:.0} {}", units[unit]),
        value => format!("{value:.1} {}", units[unit]),
    }
}

/// Minutes and seconds.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..3600 => format!("{}:{:02}", seconds / 60, seconds % 60),
        _ => summary::seconds(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stages: usize) -> Frame {
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
            advice: None,
            progress: Some(Progress {
                fraction: 0.43,
                left: Some(Duration::from_secs(110)),
            }),
        }
    }

    fn drawn(frame: &Frame, width: usize, height: usize) -> Vec<String> {
        frame.rows(width, height).iter().map(Row::plain).collect()
    }

    #[test]
    fn a_wide_terminal_shows_everything() {
        let rows = drawn(&frame(3), 100, 24);
        assert_eq!(rows.len(), 6);
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
            rows[5].contains("1:23") && rows[5].contains("43 % of the input, 1:50 left"),
            "{rows:#?}"
        );
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

    #[test]
    fn sizes_have_the_unit_that_reads_best() {
        assert_eq!(size(512.0), "512 B");
        assert_eq!(size(65536.0), "64.0 KiB");
        assert_eq!(size(1048576.0 * 250.0), "250 MiB");
        assert_eq!(rate(None), "rate unknown");
    }

    #[test]
    fn one_line_tells_it_to_a_log() {
        let line = frame(3).line();
        assert!(line.starts_with("1:23 · 43 % · 1 head -c 4G /dev/zero 20 % cpu blocked on output · ≈ 48.2 MiB/s writer blocked 91 %"), "{line}");
        assert!(!line.contains('\n'));
    }
}
