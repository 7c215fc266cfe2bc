//! What of a recorded pipeline has to be run again. Pure.
//!
//! Stages and links are counted from 0 here: link n is the input of stage n.
//!
//! A stage is *good* if it ended well and its input was right: whole, from a good stage, or left by its
//! own will before the end. The stages that are run are the last ones: back to the first whose input is
//! in the recording, complete, from a good stage.
//!
//! What a stage gave before is the beginning of what it gives next, so long as nobody told it that its
//! input was over too early. So it is compared then, and kept; else it is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use crate::recording::manifest::{Contents, End};

/// What is known of a stage.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    /// `None`: its keeper was killed before it could say.
    pub(crate) end: Option<End>,
    /// It was told that its input was over.
    pub(crate) saw_end: bool,
    /// Its end is a success, by the rules of the run.
    pub(crate) well: bool,
}

/// Where a stage that is run again has its input from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Intake {
    /// Its stdin, which nobody records.
    Direct,
    /// Its stdin, recorded anew; what was recorded is forgotten.
    Anew,
    /// Its stdin, whose beginning has to be what was recorded.
    GoOn,
    /// The recording.
    Stored,
}

/// The stages to be run, from this one to the last, with their inputs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) first: usize,
    pub(crate) intakes: Vec<Intake>,
}

/// Decides. `links` are those that are recorded. `again`: the last stage is run although it is good.
pub(crate) fn plan(
    stages: &[Known],
    links: &BTreeSet<usize>,
    contents: &BTreeMap<usize, Contents>,
    again: bool,
) -> Option<Plan> {
    let look = Look {
        stages,
        links,
        contents,
    };
    let last = stages.len() - 1;
    if look.good(last) && !again {
        return None;
    }
    let first = (0..=last)
        .rev()
        .find(|&stage| stage == 0 || look.is_stored(stage));
    let first = first.unwrap_or(0);
    let intake = |stage: usize| match look.links.contains(&stage) {
        false => Intake::Direct,
        true if stage == first && look.is_stored(stage) => Intake::Stored,
        true if look.is_beginning(stage) => Intake::GoOn,
        true => Intake::Anew,
    };
    Some(Plan {
        first,
        intakes: (first..=last).map(intake).collect(),
    })
}

struct Look<'a> {
    stages: &'a [Known],
    links: &'a BTreeSet<usize>,
    contents: &'a BTreeMap<usize, Contents>,
}

impl Look<'_> {
    fn good(&self, stage: usize) -> bool {
        self.stages[stage].well && (self.left_early(stage) || self.source_is_good(stage))
    }

    /// Whatever it read last, it was not told that this was all.
    fn left_early(&self, stage: usize) -> bool {
        if self.links.contains(&stage) {
            return !self.stages[stage].saw_end;
        }
        // Nobody stood between the two, but the one before has felt it.
        let before = stage.checked_sub(1).and_then(|it| self.stages[it].end);
        before.is_some_and(End::is_sigpipe)
    }

    fn source_is_good(&self, stage: usize) -> bool {
        stage == 0 || self.good(stage - 1)
    }

    /// All of the stage's input is there.
    fn is_stored(&self, stage: usize) -> bool {
        let complete = self.contents.get(&stage).is_some_and(|it| it.complete);
        complete && self.source_is_good(stage)
    }

    /// What link `link` holds is the beginning of what it has to hold.
    fn is_beginning(&self, link: usize) -> bool {
        let Some(source) = link.checked_sub(1) else {
            return true;
        };
        let is_recorded = self.links.contains(&source);
        if source == 0 && !is_recorded {
            return true;
        }
        let known = &self.stages[source];
        // A keeper that is killed closes the stage's input before it ends the stage.
        let input_was_right = known.end.is_some()
            && if is_recorded {
                !known.saw_end || self.source_is_good(source)
            } else {
                self.left_early(source) || self.source_is_good(source)
            };
        input_was_right && self.is_beginning(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: Known = Known {
        end: Some(End::Exited(1)),
        saw_end: false,
        well: false,
    };
    const GOOD: Known = Known {
        end: Some(End::Exited(0)),
        saw_end: true,
        well: true,
    };
    const KILLED: Known = Known {
        end: None,
        saw_end: false,
        well: false,
    };
    const SIGPIPE: Known = Known {
        end: Some(End::Signal(13)),
        saw_end: false,
        well: false,
    };
    /// It failed behind the end of its input.
    const LATE: Known = Known {
        end: Some(End::Exited(1)),
        saw_end: true,
        well: false,
    };
    /// It wanted no more, and ended well.
    const LEFT: Known = Known {
        end: Some(End::Exited(0)),
        saw_end: false,
        well: true,
    };

    /// Of three stages with both links recorded, each complete or not.
    fn planned(stages: [Known; 3], complete: [bool; 2]) -> Option<Plan> {
        planned_with(&[1, 2], &stages, &complete, false)
    }

    fn planned_with(
        links: &[usize],
        stages: &[Known],
        complete: &[bool],
        again: bool,
    ) -> Option<Plan> {
        let contents = links.iter().zip(complete).map(|(&link, &complete)| {
            let contents = Contents {
                bytes: 10,
                crc32c: 0,
                complete,
            };
            (link, contents)
        });
        plan(
            stages,
            &links.iter().copied().collect(),
            &contents.collect(),
            again,
        )
    }

    fn from(first: usize, intakes: &[Intake]) -> Option<Plan> {
        Some(Plan {
            first,
            intakes: intakes.to_vec(),
        })
    }

    #[test]
    fn only_what_did_not_finish_is_run_again_and_nothing_right_is_forgotten() {
        use Intake::{Anew, Direct, GoOn, Stored};
        let rows: [([Known; 3], [bool; 2], Option<Plan>); 13] = [
            ([GOOD, GOOD, GOOD], [true, true], None),
            // The last one failed, early and late: its input is there.
            ([GOOD, GOOD, FAILED], [true, true], from(2, &[Stored])),
            ([GOOD, GOOD, LATE], [true, true], from(2, &[Stored])),
            // The one in the middle failed, and the last took what there was for all.
            ([GOOD, FAILED, GOOD], [true, true], from(1, &[Stored, GoOn])),
            ([GOOD, LATE, GOOD], [true, true], from(1, &[Stored, GoOn])),
            // The first failed; the second took that for all, so what it gave is worth nothing.
            (
                [FAILED, GOOD, GOOD],
                [true, true],
                from(0, &[Direct, GoOn, Anew]),
            ),
            // The first failed, and the second was killed before it saw the end.
            (
                [FAILED, FAILED, GOOD],
                [true, true],
                from(0, &[Direct, GoOn, GoOn]),
            ),
            // The last failed while the others were at work.
            (
                [SIGPIPE, SIGPIPE, FAILED],
                [false, false],
                from(0, &[Direct, GoOn, GoOn]),
            ),
            (
                [GOOD, SIGPIPE, FAILED],
                [true, false],
                from(1, &[Stored, GoOn]),
            ),
            // All keepers were killed: the second may have seen an end too early.
            (
                [KILLED, KILLED, KILLED],
                [false, false],
                from(0, &[Direct, GoOn, Anew]),
            ),
            // Who wants no more makes the others end, and that is well.
            ([SIGPIPE, LEFT, GOOD], [false, true], None),
            ([SIGPIPE, LEFT, FAILED], [false, true], from(2, &[Stored])),
            ([FAILED, SIGPIPE, LEFT], [true, false], None),
        ];
        for (number, (stages, complete, expected)) in rows.into_iter().enumerate() {
            assert_eq!(planned(stages, complete), expected, "row {number}");
        }
    }

    #[test]
    fn stages_without_a_recording_between_them_are_run_together() {
        use Intake::{Direct, GoOn, Stored};
        let plan = |stages: [Known; 3], complete| planned_with(&[2], &stages, &[complete], false);
        assert_eq!(plan([GOOD, GOOD, FAILED], true), from(2, &[Stored]));
        let both = from(0, &[Direct, Direct, GoOn]);
        assert_eq!(plan([SIGPIPE, FAILED, FAILED], false), both);
        assert_eq!(plan([GOOD, FAILED, GOOD], true), both);
        // The second took the end of a failed one for all of its input.
        let anew = from(0, &[Direct, Direct, Intake::Anew]);
        assert_eq!(plan([FAILED, GOOD, GOOD], true), anew);
        let only_second = planned_with(&[1], &[GOOD, GOOD, FAILED], &[true], false);
        assert_eq!(only_second, from(1, &[Stored, Direct]));
    }

    #[test]
    fn a_recorded_stdin_is_gone_on_with_or_given_from_the_recording() {
        use Intake::{GoOn, Stored};
        let plan = |stages: [Known; 2], complete: [bool; 2]| {
            planned_with(&[0, 1], &stages, &complete, false)
        };
        assert_eq!(plan([FAILED, GOOD], [true, true]), from(0, &[Stored, GoOn]));
        assert_eq!(
            plan([SIGPIPE, FAILED], [false, false]),
            from(0, &[GoOn, GoOn])
        );
    }

    #[test]
    fn what_is_done_can_be_asked_for_again() {
        let plan = planned_with(&[1, 2], &[GOOD; 3], &[true, true], true);
        assert_eq!(plan, from(2, &[Intake::Stored]));
    }
}
