//! A finding in a few words. Pure.

use pipewright_observe::verdict::{Finding, Reason};

use crate::view::text;

/// With fewer columns, a command cannot be recognised.
const NAME: usize = 4;

/// The finding in a few words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Brief {
    /// Its number and command.
    pub(super) stage: Option<(usize, String)>,
    pub(super) word: &'static str,
}

impl Brief {
    pub(crate) fn of(finding: &Finding) -> Self {
        let (stage, word) = match finding {
            Finding::Bottleneck(it) => {
                let stage = (it.stage + 1, text::line(&it.command));
                (Some(stage), word(it.reason))
            }
            Finding::Balanced => (None, "balanced"),
            Finding::TooShort => (None, "too short to tell"),
            Finding::Ended => (None, "ended"),
            _ => (None, "unknown"),
        };
        Self { stage, word }
    }

    /// No stage, but this word.
    pub(crate) fn only(word: &'static str) -> Self {
        Self { stage: None, word }
    }

    /// It fits into so many columns.
    pub(super) fn in_columns(&self, room: usize) -> String {
        let Some((number, command)) = &self.stage else {
            return text::shortened(self.word, room);
        };
        let around = format!("stage {number} (): {}", self.word);
        let for_name = room.saturating_sub(text::width(&around));
        let short = format!("stage {number}: {}", self.word);
        if for_name >= NAME.min(text::width(command)) {
            let name = text::shortened(command, for_name);
            format!("stage {number} ({name}): {}", self.word)
        } else if text::width(&short) <= room {
            short
        } else {
            text::shortened(self.word, room)
        }
    }
}

/// What keeps the stage occupied.
fn word(reason: Reason) -> &'static str {
    match reason {
        Reason::Cpu => "cpu",
        Reason::NoCoreLeft => "all cores busy",
        Reason::Disk => "disk",
        Reason::Network => "network",
        Reason::Asleep => "asleep",
        Reason::Polling => "polling",
        Reason::Stopped => "stopped",
        Reason::InputSlow => "slow input",
        Reason::ConsumerSlow => "slow reader",
        _ => "waiting",
    }
}
