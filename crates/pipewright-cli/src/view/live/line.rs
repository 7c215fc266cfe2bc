//! The live view in one line, for logs. Pure.

use super::{Frame, StageRow};
use crate::view::text;
use crate::view::units::{clock, percent, rate};

impl Frame {
    /// The frame in one line.
    pub(crate) fn line(&self) -> String {
        let mut parts = vec![clock(self.elapsed)];
        parts.extend(self.progress.map(|progress| percent(progress.fraction)));
        for (index, stage) in self.stages.iter().enumerate() {
            parts.push(stage.told(index + 1));
            parts.extend(self.pipes_below(index).map(|pipe| {
                let rate = rate(pipe.rate);
                spaced([Some(rate), pipe.pressure()])
            }));
        }
        parts.push(self.finding.clone());
        parts.join(" · ")
    }
}

impl StageRow {
    fn told(&self, number: usize) -> String {
        let name = format!("{number} {}", text::shortened(&self.command, 24));
        spaced([Some(name), Some(self.cpu()), Some(self.state())])
    }
}

/// Those that are there, with a space between them.
fn spaced<const MOST: usize>(pieces: [Option<String>; MOST]) -> String {
    let pieces = pieces.into_iter().flatten();
    let there: Vec<String> = pieces.filter(|piece| !piece.is_empty()).collect();
    there.join(" ")
}

#[cfg(test)]
mod tests {
    use crate::view::live::rows::tests::frame;

    #[test]
    fn one_line_tells_it_to_a_log() {
        let line = frame(3).line();
        assert!(
            line.starts_with(
                "1:23 · 43 % · 1 head -c 4G /dev/zero 20 % cpu blocked on output \
                 · ≈ 48.2 MiB/s writer blocked 91 %"
            ),
            "{line}"
        );
        assert!(!line.contains('\n'));
    }
}
