//! The child's descriptor table, and the moves that build it. Pure: not one system call is made
//! here; the child carries the moves out between clone and exec.
//!
//! # The problem
//!
//! The child starts with a copy of the parent's table and must end with exactly the entries that
//! were asked for: "the file that is 7 in the parent is to be 3, the one that is 3 is to be 0, …".
//! `dup3(source, target)` does one entry, and overwrites whatever `target` was. If `target` was the
//! source of an entry still to be made, that entry is lost. The table may hold swaps (3→4, 4→3),
//! longer cycles, one source for several targets, and any of 0, 1, 2 may be closed.
//!
//! # Why the plan is right
//!
//! Draw an arrow from each source number to each of its targets. A number has at most one arrow
//! coming in (one source for each target), so every connected part is a tree growing out of a root,
//! or a single cycle with trees growing out of it. An arrow from a number to itself only needs its
//! close-on-exec flag cleared, and never changes what the number refers to.
//!
//! 1. *Trees, leaves first.* A target that is the source of no entry still to be made can be
//!    overwritten without loss. Making it may free its own source in turn. Repeating this ends when
//!    every target left is the source of some entry left. Each number has at most one arrow coming
//!    in, so then each has exactly one going out as well: only bare cycles are left.
//! 2. *Cycles.* One member is saved to a free number at or above 3. Its place may now be
//!    overwritten, the next member's after it, and so on around; the last takes the saved copy. The
//!    saved number cannot be a member of any cycle, since all those are open, nor a target already
//!    made, since those are open too. So nothing overwrites the copy before it is used, and it
//!    overwrites nothing. It is close-on-exec and disappears with the exec.
//!
//! Every entry is made once, from a number that still refers to what it did in the parent: the
//! table is as asked for. What was not asked for is marked close-on-exec in the gaps between the
//! targets, [`Plan::gaps`].

use std::collections::{BTreeMap, BTreeSet};

/// Where one number of the child's table comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A descriptor of the parent that the command owns.
    Owned(i32),
    /// One of the parent's own, which the child shares: of 0, 1, 2, or let through by name.
    Inherited(i32),
}

impl Source {
    fn number(self) -> i32 {
        match self {
            Self::Owned(number) | Self::Inherited(number) => number,
        }
    }
}

/// One step of building the table, in the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    /// `dup3(from, to)`, not close-on-exec.
    Duplicate { from: i32, to: i32 },
    /// Clear close-on-exec: the descriptor is at its number already.
    Keep { number: i32 },
    /// Copy to some free number at or above 3, close-on-exec, and remember that number.
    Save { from: i32 },
    /// `dup3(the number remembered, to)`.
    Restore { to: i32 },
    /// Close one of 0, 1, 2: it is not wanted, or the parent does not really have it (see [`plan`]).
    Close { number: i32 },
}

/// How to turn the parent's table into the child's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// To be carried out in this order.
    pub(crate) moves: Vec<Move>,
    /// First and last number of each range that must be close-on-exec after the moves.
    pub(crate) gaps: Vec<(u32, u32)>,
    /// Where the open executable is after the moves, if one was given.
    pub(crate) executable: Option<i32>,
}

/// Plans the table `wanted` (target number → source). Numbers among 0, 1, 2 that are neither in it
/// nor in `closed` are inherited as they are: closed, or close-on-exec, if that is what they are.
/// `executable` is a descriptor that must survive the moves at any number, and is not to reach the
/// program.
///
/// When the number of an owned source is one of 0, 1, 2 and nothing is wanted there, the parent
/// has no such standard stream: the number was free when the source was opened. To inherit it would
/// leak the source under a second number, so the child's is closed.
pub(crate) fn plan(
    wanted: &BTreeMap<i32, Source>,
    closed: &[i32],
    executable: Option<i32>,
) -> Plan {
    let mut entries: BTreeMap<i32, i32> = wanted
        .iter()
        .map(|(&target, source)| (target, source.number()))
        .collect();

    let executable_place = executable.map(|number| {
        let place = if number >= 3 && !entries.contains_key(&number) {
            number
        } else {
            let sources: BTreeSet<i32> = entries.values().copied().collect();
            (3..i32::MAX)
                .find(|free| !entries.contains_key(free) && !sources.contains(free))
                .unwrap_or(number)
        };
        entries.insert(place, number);
        place
    });

    let mut moves = order(&entries);
    for number in (0..=2).filter(|number| !entries.contains_key(number)) {
        let owned = wanted
            .values()
            .any(|&source| source == Source::Owned(number));
        if owned || executable == Some(number) || closed.contains(&number) {
            moves.push(Move::Close { number });
        }
    }

    Plan {
        moves,
        gaps: gaps(wanted.keys().copied()),
        executable: executable_place,
    }
}

impl Plan {
    /// Lets through what is open in the parent and not close-on-exec. What the command owns reaches
    /// the child at the numbers that were asked for, all the same, and nowhere else.
    pub(crate) fn keep_the_rest(
        &mut self,
        wanted: &BTreeMap<i32, Source>,
        executable: Option<i32>,
    ) {
        let owned = wanted.values().filter_map(|source| match source {
            Source::Owned(number) => Some(*number),
            Source::Inherited(_) => None,
        });
        let mut marked: BTreeSet<i32> = owned.chain(executable).chain(self.executable).collect();
        marked.retain(|number| !wanted.contains_key(number) && *number > 2);
        let single = |number| (number as u32, number as u32);
        self.gaps = marked.into_iter().map(single).collect();
    }
}

/// Orders the moves so that no source is overwritten before its last use; see the module's
/// argument.
fn order(entries: &BTreeMap<i32, i32>) -> Vec<Move> {
    let mut moves = Vec::with_capacity(entries.len() + 2);
    let mut pending: BTreeMap<i32, i32> = BTreeMap::new();
    let mut uses: BTreeMap<i32, usize> = BTreeMap::new();
    for (&target, &source) in entries {
        if target == source {
            moves.push(Move::Keep { number: target });
        } else {
            pending.insert(target, source);
            *uses.entry(source).or_default() += 1;
        }
    }

    let unused =
        |uses: &BTreeMap<i32, usize>, number: &i32| uses.get(number).is_none_or(|&n| n == 0);
    let mut leaves: Vec<i32> = pending
        .keys()
        .copied()
        .filter(|t| unused(&uses, t))
        .collect();
    while let Some(to) = leaves.pop() {
        let Some(from) = pending.remove(&to) else {
            continue;
        };
        moves.push(Move::Duplicate { from, to });
        if let Some(count) = uses.get_mut(&from) {
            *count -= 1;
        }
        if unused(&uses, &from) && pending.contains_key(&from) {
            leaves.push(from);
        }
    }

    while let Some((&start, _)) = pending.first_key_value() {
        moves.push(Move::Save { from: start });
        let mut to = start;
        while let Some(from) = pending.remove(&to) {
            moves.push(if from == start {
                Move::Restore { to }
            } else {
                Move::Duplicate { from, to }
            });
            to = from;
        }
    }
    moves
}

/// The ranges at and above 3 between the targets.
fn gaps(targets: impl Iterator<Item = i32>) -> Vec<(u32, u32)> {
    let mut gaps = Vec::new();
    let mut first = 3_u32;
    for target in targets
        .filter_map(|number| u32::try_from(number).ok())
        .filter(|&n| n >= 3)
    {
        if target > first {
            gaps.push((first, target - 1));
        }
        first = target + 1;
    }
    gaps.push((first, u32::MAX));
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A process's table: number → (what it refers to, close-on-exec).
    type Table = BTreeMap<i32, (u32, bool)>;

    /// Does to a table what the kernel would, up to and including the exec.
    fn carry_out(table: &Table, plan: &Plan) -> Table {
        let mut table = table.clone();
        let mut saved = None;
        for step in &plan.moves {
            match *step {
                Move::Duplicate { from, to } => {
                    assert_ne!(from, to, "dup3 refuses equal numbers");
                    let (object, _) = table[&from];
                    table.insert(to, (object, false));
                }
                Move::Keep { number } => table.get_mut(&number).expect("open").1 = false,
                Move::Save { from } => {
                    let (object, _) = table[&from];
                    let free = (3..)
                        .find(|n| !table.contains_key(n))
                        .expect("a free number");
                    table.insert(free, (object, true));
                    saved = Some(free);
                }
                Move::Restore { to } => {
                    let (object, _) = table[&saved.expect("saved before")];
                    table.insert(to, (object, false));
                }
                Move::Close { number } => {
                    table.remove(&number);
                }
            }
        }
        for &(first, last) in &plan.gaps {
            for (number, entry) in &mut table {
                if (first..=last).contains(&(*number as u32)) {
                    entry.1 = true;
                }
            }
        }
        if let Some(executable) = plan.executable {
            assert!(
                table[&executable].1,
                "the executable must not reach the program"
            );
        }
        table.retain(|_, (_, close_on_exec)| !*close_on_exec);
        table
    }

    fn owned(entries: &[(i32, i32)]) -> BTreeMap<i32, Source> {
        entries
            .iter()
            .map(|&(target, source)| (target, Source::Owned(source)))
            .collect()
    }

    #[test]
    fn a_swap_goes_through_one_saved_copy() {
        let plan = plan(&owned(&[(3, 4), (4, 3)]), &[], None);
        assert_eq!(
            plan.moves[..3],
            [
                Move::Save { from: 3 },
                Move::Duplicate { from: 4, to: 3 },
                Move::Restore { to: 4 }
            ]
        );
    }

    #[test]
    fn a_target_that_is_a_source_is_used_before_it_is_overwritten() {
        let plan = plan(&owned(&[(3, 7), (0, 3)]), &[], None);
        assert_eq!(
            plan.moves[..2],
            [
                Move::Duplicate { from: 3, to: 0 },
                Move::Duplicate { from: 7, to: 3 }
            ]
        );
    }

    #[test]
    fn a_source_below_three_does_not_stay_open_under_its_own_number() {
        let plan = plan(&owned(&[(3, 0)]), &[], None);
        assert!(plan.moves.contains(&Move::Close { number: 0 }));
    }

    #[test]
    fn stderr_as_inherited_stdout_leaves_stdout_open() {
        let plan = plan(&BTreeMap::from([(2, Source::Inherited(1))]), &[], None);
        assert_eq!(plan.moves, [Move::Duplicate { from: 1, to: 2 }]);
    }

    #[test]
    fn gaps_cover_everything_but_the_targets() {
        assert_eq!(gaps([0, 1, 2].into_iter()), [(3, u32::MAX)]);
        assert_eq!(gaps([0, 3, 4, 9].into_iter()), [(5, 8), (10, u32::MAX)]);
    }

    #[test]
    fn the_executable_survives_a_target_at_its_number() {
        let plan = plan(&owned(&[(5, 7), (7, 5)]), &[], Some(7));
        let place = plan.executable.expect("given");
        assert!(place != 5 && place != 7);
    }

    /// A parent's table, what is wanted of it, and perhaps an open executable.
    fn cases() -> impl Strategy<Value = (Table, BTreeMap<i32, Source>, Option<i32>)> {
        // Small numbers, so that targets and sources meet often; a few far ones.
        let number = prop_oneof![8 => 0..12_i32, 1 => 12..1000_i32];
        let parent = prop::collection::btree_map(number.clone(), any::<bool>(), 1..14);
        (
            parent,
            prop::collection::btree_set(number, 0..12),
            any::<u64>(),
            any::<bool>(),
        )
            .prop_map(|(parent, targets, seed, with_executable)| {
                let table: Table = parent
                    .into_iter()
                    .enumerate()
                    .map(|(object, (number, flag))| (number, (object as u32, flag)))
                    .collect();
                let open: Vec<i32> = table.keys().copied().collect();
                let mut state = seed | 1;
                let mut pick = || {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    open[(state >> 33) as usize % open.len()]
                };
                let executable = with_executable.then(&mut pick);
                let wanted = targets
                    .into_iter()
                    .map(|target| (target, Source::Owned(pick())))
                    .collect();
                (table, wanted, executable)
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn any_table_comes_out_as_asked_and_with_nothing_else(
            (parent, wanted, executable) in cases(),
            mut closed in prop::collection::vec(0..=2, 0..3),
        ) {
            closed.retain(|number| !wanted.contains_key(number));
            let plan = plan(&wanted, &closed, executable);
            let child = carry_out(&parent, &plan);

            let mut expected: BTreeMap<i32, u32> = wanted
                .iter()
                .map(|(&target, source)| (target, parent[&source.number()].0))
                .collect();
            for number in (0..=2).filter(|number| !wanted.contains_key(number)) {
                let owned = wanted.values().any(|source| source.number() == number)
                    || executable == Some(number)
                    || closed.contains(&number);
                if let (false, Some(&(object, false))) = (owned, parent.get(&number)) {
                    expected.insert(number, object);
                }
            }
            let got: BTreeMap<i32, u32> =
                child.iter().map(|(&number, &(object, _))| (number, object)).collect();
            prop_assert_eq!(got, expected);
        }

        #[test]
        fn what_is_let_through_is_the_parents_and_what_was_asked_for(
            (parent, wanted, executable) in cases(),
        ) {
            let mut plan = plan(&wanted, &[], executable);
            plan.keep_the_rest(&wanted, executable);
            let child = carry_out(&parent, &plan);

            let own = |number: i32| {
                wanted.values().any(|source| source.number() == number) || executable == Some(number)
            };
            let mut expected: BTreeMap<i32, u32> = parent
                .iter()
                .filter(|&(&number, &(_, close_on_exec))| !close_on_exec && !own(number))
                .map(|(&number, &(object, _))| (number, object))
                .collect();
            // Where it has to move out of a target's way, the executable may take the place of one.
            if let Some(place) = plan.executable {
                expected.remove(&place);
            }
            expected.extend(wanted.iter().map(|(&target, source)| (target, parent[&source.number()].0)));
            let got: BTreeMap<i32, u32> =
                child.iter().map(|(&number, &(object, _))| (number, object)).collect();
            prop_assert_eq!(got, expected);
        }

        #[test]
        fn the_executable_is_still_itself_after_the_moves((parent, wanted, executable) in cases()) {
            let plan = plan(&wanted, &[], executable);
            if let (Some(before), Some(after)) = (executable, plan.executable) {
                // Nothing is close-on-exec: the table right before the exec.
                let open: Table = parent.iter().map(|(&n, &(object, _))| (n, (object, false))).collect();
                let moves_only = Plan { gaps: Vec::new(), executable: None, ..plan };
                prop_assert_eq!(carry_out(&open, &moves_only)[&after].0, parent[&before].0);
            }
        }
    }
}
