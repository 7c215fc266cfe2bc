//! The order of stages and the shape of their connections: pure.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use serde::{Deserialize, Serialize};

/// The shape of a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Shape {
    /// One stage after the other.
    Linear,
    /// Several stages write to one, through one pipe or through several.
    FanIn,
    /// Several stages read from one, through one pipe or through several.
    FanOut,
    /// Both fan-in and fan-out.
    Branching,
    /// Bytes can come back to where they were: co-processes.
    Cycle,
}

impl Shape {
    /// The shape of stages connected by pipes with these writers and readers.
    pub(super) fn of<'a>(
        cyclic: bool,
        pipes: impl Iterator<Item = (&'a BTreeSet<usize>, &'a BTreeSet<usize>)>,
    ) -> Self {
        let mut from: HashMap<usize, BTreeSet<usize>> = HashMap::new();
        let mut to: HashMap<usize, BTreeSet<usize>> = HashMap::new();
        for (writers, readers) in pipes {
            for &writer in writers {
                for &reader in readers.iter().filter(|&&reader| reader != writer) {
                    from.entry(reader).or_default().insert(writer);
                    to.entry(writer).or_default().insert(reader);
                }
            }
        }
        let several = |neighbours: &HashMap<usize, BTreeSet<usize>>| {
            neighbours.values().any(|set| set.len() > 1)
        };
        match (cyclic, several(&from), several(&to)) {
            (true, _, _) => Self::Cycle,
            (_, true, true) => Self::Branching,
            (_, true, false) => Self::FanIn,
            (_, false, true) => Self::FanOut,
            (_, false, false) => Self::Linear,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Linear => "linear",
            Self::FanIn => "fan-in",
            Self::FanOut => "fan-out",
            Self::Branching => "branching",
            Self::Cycle => "cycle",
        })
    }
}

/// Orders stages so that each comes after those it reads from; `true` if there is a cycle, where
/// that cannot be. Among equals the order given is kept, and the first of a cycle opens it.
pub(super) fn upstream_first(stages: &[usize], edges: &[(usize, usize)]) -> (Vec<usize>, bool) {
    let edges: BTreeSet<(usize, usize)> = edges.iter().copied().collect();
    let place: HashMap<usize, usize> = stages
        .iter()
        .enumerate()
        .map(|(place, &stage)| (stage, place))
        .collect();
    let mut downstream: Vec<Vec<usize>> = vec![Vec::new(); stages.len()];
    let mut waits_for = vec![0_usize; stages.len()];
    for (from, to) in edges {
        downstream[place[&from]].push(place[&to]);
        waits_for[place[&to]] += 1;
    }
    let mut left: BTreeSet<usize> = (0..stages.len()).collect();
    let mut ready: BTreeSet<usize> = left
        .iter()
        .copied()
        .filter(|&stage| waits_for[stage] == 0)
        .collect();
    let mut order = Vec::with_capacity(stages.len());
    let mut cyclic = false;
    while let Some(&first) = left.first() {
        let next = ready.pop_first().unwrap_or_else(|| {
            cyclic = true;
            first
        });
        left.remove(&next);
        order.push(stages[next]);
        for &after in &downstream[next] {
            waits_for[after] -= 1;
            if waits_for[after] == 0 && left.contains(&after) {
                ready.insert(after);
            }
        }
    }
    (order, cyclic)
}
