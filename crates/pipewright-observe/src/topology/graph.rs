//! Holders reduced to stages, and stages joined to pipelines: the rules of [`topology`](super).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::ends::{Direction, Holder};
use super::found::{FoundPipe, FoundStage, Pipeline};
use super::order::{self, Shape};
use super::scan::Scan;
use crate::pipe::PipeId;
use crate::proc::ProcessId;

/// An end without its descriptor.
type Side = (PipeId, Direction);

/// Holders reduced to stages, and their connections.
pub(super) struct Graph {
    /// For each holder the sides that count, with a descriptor; empty for a dissolved shell.
    sides: Vec<BTreeMap<Side, u32>>,
    /// For each stage the other processes that are part of it, by number.
    members: Vec<Vec<u32>>,
    /// The number of processes that hold a side under the same descriptor.
    sharing: HashMap<(Side, u32), usize>,
    /// Stages at both ends of each pipe.
    pipes: BTreeMap<PipeId, Ends>,
}

/// A reason for a connection not to merge two pipelines into one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weakness {
    /// It is for standard error only.
    Messages,
    /// Somebody forgot to close an end of it.
    Forgotten,
}

#[derive(Default)]
struct Ends {
    writers: BTreeSet<usize>,
    readers: BTreeSet<usize>,
}

impl Graph {
    pub(super) fn of(scan: &Scan) -> Self {
        let index: HashMap<u32, usize> = (scan.holders.iter().enumerate())
            .map(|(index, holder)| (holder.process.pid, index))
            .collect();
        let mut sides = without_redundant_ends(&scan.holders);
        let mut sharing: HashMap<(Side, u32), usize> = HashMap::new();
        for (&side, &descriptor) in sides.iter().flatten() {
            *sharing.entry((side, descriptor)).or_default() += 1;
        }
        // Rule 2. The nearest ancestor that holds all of a process's ends.
        let mut stage: Vec<usize> = (0..sides.len()).collect();
        let mut ancestors: Vec<Vec<usize>> = Vec::with_capacity(sides.len());
        for (child, holder) in scan.holders.iter().enumerate() {
            let above: Vec<usize> = scan
                .ancestors(holder.process.pid)
                .filter_map(|pid| index.get(&pid).copied())
                .collect();
            let inherited = |&&ancestor: &&usize| {
                sides[child]
                    .keys()
                    .all(|side| sides[ancestor].contains_key(side))
            };
            // What a keeper has started is the keeper's stage, whatever it holds. A keeper is a stage of its
            // own, also where it has inherited all that it holds, such as a standard error; but a copy of a
            // keeper, which shares its descriptors, is not.
            let kept = |&&ancestor: &&usize| scan.holders[ancestor].keeps;
            let is_keeper = scan.holders[child].keeps;
            if !sides[child].is_empty() {
                let part_of = above.iter().find(|it| match is_keeper {
                    true => kept(it) && inherited(it),
                    false => kept(it) || inherited(it),
                });
                stage[child] = part_of.copied().unwrap_or(child);
            }
            ancestors.push(above);
        }
        for child in 0..stage.len() {
            // A parent table that is no tree may lead round in a circle.
            for _ in 0..stage.len() {
                if stage[child] == stage[stage[child]] {
                    break;
                }
                stage[child] = stage[stage[child]];
            }
        }
        // Rule 3. Each end of a shell is held by stages below it, and nobody is part of its own.
        let mut below: Vec<HashSet<Side>> = vec![HashSet::new(); sides.len()];
        let mut members: Vec<Vec<u32>> = vec![Vec::new(); sides.len()];
        for child in 0..sides.len() {
            if stage[child] == child {
                for &ancestor in &ancestors[child] {
                    below[ancestor].extend(sides[child].keys());
                }
            } else {
                members[stage[child]].push(scan.holders[child].process.pid);
            }
        }
        for shell in 0..sides.len() {
            if members[shell].is_empty()
                && sides[shell].keys().all(|side| below[shell].contains(side))
            {
                sides[shell].clear();
            }
        }
        let mut pipes: BTreeMap<PipeId, Ends> = BTreeMap::new();
        for (holder, sides) in sides.iter().enumerate() {
            for &(pipe, direction) in sides.keys() {
                let ends = pipes.entry(pipe).or_default();
                match direction {
                    Direction::Read => ends.readers.insert(stage[holder]),
                    Direction::Write => ends.writers.insert(stage[holder]),
                };
            }
        }
        pipes.retain(|_, ends| ends.connects());
        Self {
            sides,
            members,
            sharing,
            pipes,
        }
    }

    pub(super) fn pipelines(&self, scan: &Scan) -> Vec<Pipeline> {
        let count = self.sides.len();
        let mut strong = Groups::new(count);
        let mut has_strong = vec![false; count];
        let mut weak = Vec::new();
        let mut with_ancestor: BTreeMap<usize, BTreeSet<PipeId>> = BTreeMap::new();
        for (&pipe, ends) in &self.pipes {
            let (related, side_by_side): (Vec<_>, Vec<_>) = ends
                .pairs()
                .map(|(writer, reader)| (writer, reader, self.descendant(scan, writer, reader)))
                .partition(|(_, _, descendant)| descendant.is_some());
            for (_, _, descendant) in related {
                with_ancestor
                    .entry(descendant.unwrap_or_default())
                    .or_default()
                    .insert(pipe);
            }
            for (writer, reader, _) in side_by_side {
                let ends = [
                    self.weakness(writer, (pipe, Direction::Write)),
                    self.weakness(reader, (pipe, Direction::Read)),
                ];
                match ends.into_iter().flatten().max() {
                    Some(weakness) => weak.push((writer, reader, weakness)),
                    None => {
                        strong.join(writer, reader);
                        has_strong[writer] = true;
                        has_strong[reader] = true;
                    }
                }
            }
        }
        let already = has_strong.clone();
        // Of those that are in no pipeline otherwise: the pipelines whose messages they take or give.
        let mut served: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for (writer, reader, weakness) in weak {
            match (already[writer], already[reader], weakness) {
                (true, true, _) => {}
                (false, false, _) => {
                    strong.join(writer, reader);
                    has_strong[writer] = true;
                    has_strong[reader] = true;
                }
                (_, _, Weakness::Forgotten) => {}
                (true, false, Weakness::Messages) => {
                    served.entry(reader).or_default().insert(writer);
                }
                (false, true, Weakness::Messages) => {
                    served.entry(writer).or_default().insert(reader);
                }
            }
        }
        for (lone, stages) in served {
            let pipelines: BTreeSet<usize> = stages.iter().map(|&stage| strong.of(stage)).collect();
            // A logger of many belongs to none of them, and must not make one of them all.
            if let (1, Some(&stage), false) = (pipelines.len(), stages.first(), has_strong[lone]) {
                strong.join(lone, stage);
                has_strong[lone] = true;
            }
        }
        let mut groups: BTreeMap<usize, (BTreeSet<usize>, Vec<PipeId>)> = BTreeMap::new();
        for stage in (0..count).filter(|&stage| has_strong[stage]) {
            groups.entry(strong.of(stage)).or_default().0.insert(stage);
        }
        for (&pipe, ends) in &self.pipes {
            // A pipe may lead to several pipelines: standard error, shared by many.
            let touched: BTreeSet<usize> = (ends.writers.iter().chain(&ends.readers))
                .filter(|&&stage| has_strong[stage])
                .map(|&stage| strong.of(stage))
                .collect();
            for group in touched {
                groups.entry(group).or_default().1.push(pipe);
            }
        }
        let mut pipelines: Vec<Pipeline> = groups
            .into_values()
            .map(|(stages, pipes)| self.pipeline(scan, &stages, pipes.into_iter(), false))
            .collect();
        // Rule 4. A program and its ancestors, where the program is in no other pipeline.
        for (descendant, pipes) in with_ancestor {
            if !has_strong[descendant] {
                let stages = pipes
                    .iter()
                    .flat_map(|pipe| self.pipes[pipe].pairs())
                    .filter(|&(writer, reader)| {
                        (writer == descendant || reader == descendant)
                            && self.descendant(scan, writer, reader) == Some(descendant)
                    })
                    .flat_map(|(writer, reader)| [writer, reader])
                    .collect();
                pipelines.push(self.pipeline(scan, &stages, pipes.into_iter(), true));
            }
        }
        pipelines.sort_by_key(|pipeline| pipeline.stages.iter().map(|stage| stage.process).min());
        pipelines
    }

    /// The reason not to count a side that a stage holds for messages, or by accident.
    fn weakness(&self, stage: usize, side: Side) -> Option<Weakness> {
        match *self.sides[stage].get(&side)? {
            2 => Some(Weakness::Messages),
            // A shell and the program it starts share an end for a process substitution. More
            // than two do not share one on purpose.
            descriptor if descriptor > 2 => {
                let sharing = self.sharing.get(&(side, descriptor));
                let many = sharing.is_some_and(|&count| count > 2);
                many.then_some(Weakness::Forgotten)
            }
            _ => None,
        }
    }

    /// Of two stages, the one that descends from the other.
    fn descendant(&self, scan: &Scan, one: usize, other: usize) -> Option<usize> {
        let [one_pid, other_pid] = [one, other].map(|stage| scan.holders[stage].process.pid);
        if scan.ancestors(one_pid).any(|pid| pid == other_pid) {
            return Some(one);
        }
        scan.ancestors(other_pid)
            .any(|pid| pid == one_pid)
            .then_some(other)
    }

    fn pipeline(
        &self,
        scan: &Scan,
        stages: &BTreeSet<usize>,
        pipes: impl Iterator<Item = PipeId>,
        with_ancestor: bool,
    ) -> Pipeline {
        let mut links: Vec<(PipeId, Ends)> = pipes
            .map(|pipe| {
                let within = |ends: &BTreeSet<usize>| ends.intersection(stages).copied().collect();
                let ends = &self.pipes[&pipe];
                (
                    pipe,
                    Ends {
                        writers: within(&ends.writers),
                        readers: within(&ends.readers),
                    },
                )
            })
            .filter(|(_, ends)| ends.connects())
            .collect();
        let edges: Vec<(usize, usize)> = links.iter().flat_map(|(_, ends)| ends.pairs()).collect();
        let born = |stage: &usize| scan.holders[*stage].process.start_time;
        let mut by_age: Vec<usize> = stages.iter().copied().collect();
        by_age.sort_by_key(|stage| (born(stage), scan.holders[*stage].process.pid));
        let (order, cyclic) = order::upstream_first(&by_age, &edges);
        let place: HashMap<usize, usize> = order
            .iter()
            .enumerate()
            .map(|(place, &stage)| (stage, place))
            .collect();
        links.sort_by_key(|(pipe, ends)| {
            (ends.writers.iter().map(|writer| place[writer]).min(), *pipe)
        });
        let shape = Shape::of(
            cyclic,
            links.iter().map(|(_, ends)| (&ends.writers, &ends.readers)),
        );
        let places = |ends: &BTreeSet<usize>| {
            let mut places: Vec<usize> = ends.iter().map(|stage| place[stage]).collect();
            places.sort_unstable();
            places
        };
        Pipeline {
            stages: order
                .iter()
                .map(|&stage| self.found_stage(scan, stage))
                .collect(),
            pipes: links
                .iter()
                .map(|(pipe, ends)| FoundPipe {
                    pipe: *pipe,
                    writers: places(&ends.writers),
                    readers: places(&ends.readers),
                    through: self.way_to(scan, *pipe, ends),
                })
                .collect(),
            shape,
            with_ancestor,
        }
    }

    fn found_stage(&self, scan: &Scan, stage: usize) -> FoundStage {
        let holder = &scan.holders[stage];
        FoundStage {
            process: holder.process,
            name: holder.name.clone(),
            members: self.members[stage].clone(),
        }
    }

    /// A process and a descriptor of it that lead to the pipe.
    fn way_to(&self, scan: &Scan, pipe: PipeId, ends: &Ends) -> (ProcessId, u32) {
        let way = |(holder, direction): (usize, Direction)| {
            let descriptor = self.sides[holder].get(&(pipe, direction))?;
            Some((scan.holders[holder].process, *descriptor))
        };
        // A keeper has given its ends to what it has started.
        let parts = (0..self.sides.len())
            .flat_map(|holder| [(holder, Direction::Write), (holder, Direction::Read)]);
        ends.writers
            .iter()
            .map(|&writer| (writer, Direction::Write))
            .chain(ends.readers.iter().map(|&reader| (reader, Direction::Read)))
            .chain(parts)
            .find_map(way)
            .expect("a pipe connects stages that hold it")
    }
}

impl Ends {
    /// `true` if it leads from one stage to another.
    fn connects(&self) -> bool {
        self.pairs().next().is_some()
    }

    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        self.writers.iter().flat_map(|&writer| {
            self.readers
                .iter()
                .filter(move |&&reader| reader != writer)
                .map(move |&reader| (writer, reader))
        })
    }
}

/// Rule 1: of a process that holds both ends of a pipe, an end that others hold too is left out.
///
/// Where a process holds one end under several numbers, standard output and input are kept before
/// standard error, and lower numbers before higher ones.
fn without_redundant_ends(holders: &[Holder]) -> Vec<BTreeMap<Side, u32>> {
    let mut all: Vec<BTreeMap<Side, u32>> = Vec::with_capacity(holders.len());
    let mut held: HashMap<Side, usize> = HashMap::new();
    for holder in holders {
        let mut sides: BTreeMap<Side, u32> = BTreeMap::new();
        let rank = |descriptor: u32| (descriptor == 2, descriptor);
        for end in &holder.ends {
            let descriptor = sides
                .entry((end.pipe, end.direction))
                .or_insert(end.descriptor);
            if rank(end.descriptor) < rank(*descriptor) {
                *descriptor = end.descriptor;
            }
        }
        for side in sides.keys() {
            *held.entry(*side).or_default() += 1;
        }
        all.push(sides);
    }
    for sides in &mut all {
        let both: Vec<PipeId> = sides
            .keys()
            .filter(|(pipe, direction)| {
                *direction == Direction::Read && sides.contains_key(&(*pipe, Direction::Write))
            })
            .map(|(pipe, _)| *pipe)
            .collect();
        sides.retain(|side, _| !both.contains(&side.0) || held[side] == 1);
    }
    all
}

/// Disjoint sets of stages.
struct Groups(Vec<usize>);

impl Groups {
    fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    fn of(&mut self, mut stage: usize) -> usize {
        while self.0[stage] != stage {
            self.0[stage] = self.0[self.0[stage]];
            stage = self.0[stage];
        }
        stage
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.of(one), self.of(other));
        self.0[one] = other;
    }
}
