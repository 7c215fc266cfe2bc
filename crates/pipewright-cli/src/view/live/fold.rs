//! The stages that get a row of their own where there is room for a few. Pure.

use std::ops::Range;

use super::StageRow;

/// A stage with more of a core is busy.
const BUSY: f64 = 0.1;
/// So many stages are tried: more do not fit on any terminal.
const MOST: usize = 200;

/// What one row shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shown {
    Stage(usize),
    /// Neighbours, none of which is of interest now.
    Folded(Range<usize>),
}

/// All stages in at most so many rows: the bottleneck has one of its own, and after it those that
/// are busy, the first, the last, and the bottleneck's neighbours.
pub(super) fn fold(stages: &[StageRow], rows: usize) -> Vec<Shown> {
    if stages.len() <= rows {
        return (0..stages.len()).map(Shown::Stage).collect();
    }
    let mut order: Vec<usize> = (0..stages.len()).collect();
    let marked = |index: usize| stages[index].bottleneck || stages[index].selected;
    let is_next = |index: usize| {
        let before = index.checked_sub(1).is_some_and(marked);
        before || (index + 1 < stages.len() && marked(index + 1))
    };
    order.sort_by_key(|&index| {
        let is_busy = stages[index].cpus.is_some_and(|cpus| cpus >= BUSY);
        let at_end = index == 0 || index + 1 == stages.len();
        match () {
            () if marked(index) => 0,
            () if is_busy => 1,
            () if at_end || is_next(index) => 2,
            () => 3,
        }
    });
    let mut own: Vec<usize> = Vec::new();
    for index in order.into_iter().take(MOST) {
        let at = own.partition_point(|&it| it < index);
        own.insert(at, index);
        if cut(&own, stages.len()).len() <= rows {
            continue;
        }
        own.remove(at);
        if own.is_empty() {
            break;
        }
    }
    if !own.is_empty() {
        return cut(&own, stages.len());
    }
    // Not even one with what lies beside it.
    let first = (0..stages.len()).find(|&index| marked(index)).unwrap_or(0);
    let alone = [Shown::Stage(first), Shown::Folded(0..stages.len())];
    alone.into_iter().take(rows).collect()
}

/// These stages, and what lies between them. One alone between two takes a row either way.
fn cut(own: &[usize], stages: usize) -> Vec<Shown> {
    let mut shown = Vec::new();
    let mut next = 0;
    for &index in own.iter().chain([&stages]) {
        match index - next {
            0 => {}
            1 => shown.push(Shown::Stage(next)),
            _ => shown.push(Shown::Folded(next..index)),
        }
        if index < stages {
            shown.push(Shown::Stage(index));
        }
        next = index + 1;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stages(number: usize, bottleneck: usize, busy: &[usize]) -> Vec<StageRow> {
        let stage = |index| StageRow {
            command: "cat".to_owned(),
            cpus: Some(if busy.contains(&index) { 0.5 } else { 0.01 }),
            activity: None,
            bottleneck: index == bottleneck,
            selected: false,
        };
        (0..number).map(stage).collect()
    }

    #[test]
    fn quiet_neighbours_share_a_row_where_they_stand() {
        use Shown::{Folded, Stage};
        let fold = |number, bottleneck, busy: &[usize], rows| {
            super::fold(&stages(number, bottleneck, busy), rows)
        };
        assert_eq!(fold(3, 1, &[], 3), [Stage(0), Stage(1), Stage(2)]);
        assert_eq!(
            fold(12, 11, &[], 4),
            [Stage(0), Folded(1..10), Stage(10), Stage(11)]
        );
        assert_eq!(fold(12, 11, &[], 3), [Stage(0), Folded(1..11), Stage(11)]);
        assert_eq!(
            fold(12, 5, &[8], 6),
            [
                Stage(0),
                Folded(1..5),
                Stage(5),
                Folded(6..8),
                Stage(8),
                Folded(9..12)
            ]
        );
        assert_eq!(fold(40, 39, &[], 2), [Folded(0..39), Stage(39)]);
        assert_eq!(fold(40, 20, &[], 2), [Stage(20), Folded(0..40)]);
        assert_eq!(fold(40, 20, &[], 1), [Stage(20)]);
        assert_eq!(fold(40, 20, &[], 0), []);
    }

    #[test]
    fn every_stage_is_shown_or_folded_once_and_the_bottleneck_has_a_row() {
        for number in [1, 2, 5, 12, 40] {
            for bottleneck in 0..number {
                for rows in 3..=number + 1 {
                    let shown = fold(&stages(number, bottleneck, &[0, number / 2]), rows);
                    assert!(shown.len() <= rows, "{shown:?}");
                    assert!(shown.contains(&Shown::Stage(bottleneck)), "{shown:?}");
                    let all = shown.iter().flat_map(|it| match it {
                        Shown::Stage(index) => *index..index + 1,
                        Shown::Folded(range) => range.clone(),
                    });
                    assert!(all.eq(0..number), "{shown:?}");
                }
            }
        }
    }
}
