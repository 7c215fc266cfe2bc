//! Which pipelines exist: from who holds which ends of which pipes. Pure, but for [`Scan::now`].
//!
//! # From holders to pipelines
//!
//! 1. **Both ends in one process.** A shell holds both ends of a pipe for a moment while it starts
//!    a pipeline, and careless programs for ever. Such an end counts only if nobody else holds
//!    that side.
//! 2. **A stage is a process and its descendants.** A process whose ends are all held by an
//!    ancestor too has inherited them: it is part of that ancestor's stage.
//! 3. **A shell that only waits is no stage.** When every end of a process is also held by
//!    descendants that are stages of their own, as in `a | (b | c) | d`, they do the work.
//! 4. **Pipes between relatives and pipes for messages are weak.** A process and its own ancestor
//!    (a program and its supervisor, a co-process), and a pipe that its writers hold only as
//!    standard error, do not merge two pipelines into one. They make a pipeline where there is no
//!    other. The same goes for an end that many processes hold under one number above 2: whoever
//!    started the first of them forgot to close it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::pipe::PipeId;
use crate::proc::ProcessId;

mod order;
mod scan;

pub use self::order::Shape;
pub(crate) use self::scan::parents;

/// Which end of a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// The end to read from.
    Read,
    /// The end to write to.
    Write,
}

/// One end of a pipe, as a descriptor of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PipeEnd {
    /// The pipe.
    pub pipe: PipeId,
    /// Which end of it.
    pub direction: Direction,
    /// The descriptor's number in the process that holds it.
    pub descriptor: u32,
}

/// A process that holds ends of pipes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub process: ProcessId,
    /// The kernel's short name for it, safe to show.
    pub name: String,
    /// The ends that it holds.
    pub ends: Vec<PipeEnd>,
}

/// Everything about pipes and processes that a pipeline is recognised from.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// The processes that hold ends of pipes.
    pub holders: Vec<Holder>,
    /// The parent of each process that holds an end, and of all its ancestors, by number.
    pub parents: HashMap<u32, u32>,
    /// Processes whose descriptors this user may not look at, threads of the kernel left out.
    pub denied: Vec<u32>,
    /// How many processes there were, threads of the kernel included.
    pub processes: usize,
    /// How many descriptors were looked at.
    pub descriptors: usize,
}

/// A stage of a pipeline that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundStage {
    /// The process at its root.
    pub process: ProcessId,
    /// The kernel's short name for it, safe to show.
    pub name: String,
    /// Descendants that have inherited the stage's ends.
    pub members: Vec<u32>,
}

/// A pipe of a pipeline that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundPipe {
    /// The pipe.
    pub pipe: PipeId,
    /// Indices of the stages that hold its write end.
    pub writers: Vec<usize>,
    /// Indices of the stages that hold its read end.
    pub readers: Vec<usize>,
    /// A descriptor through which it can be reached.
    pub through: (ProcessId, u32),
}

/// Processes connected by pipes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pipeline {
    /// Its stages, upstream first as far as there is an upstream.
    pub stages: Vec<FoundStage>,
    /// Its pipes, in the order of the first stage that writes to them.
    pub pipes: Vec<FoundPipe>,
    /// What it looks like.
    pub shape: Shape,
    /// A program and its own ancestor, connected by pipes: a co-process, or a program whose
    /// output its parent captures, rather than stages side by side.
    pub with_ancestor: bool,
}

impl Pipeline {
    /// Whether the process is a stage, or part of one.
    pub fn contains(&self, pid: u32) -> bool {
        self.stages
            .iter()
            .any(|stage| stage.process.pid == pid || stage.members.contains(&pid))
    }
}

impl Scan {
    /// The pipelines there are.
    ///
    /// ```
    /// use pipewright_observe::topology::{Direction, Holder, PipeEnd, Scan, Shape};
    /// use pipewright_observe::{PipeId, ProcessId};
    ///
    /// let holder = |pid, name: &str, direction, descriptor| Holder {
    ///     process: ProcessId { pid, start_time: 1 },
    ///     name: name.into(),
    ///     ends: vec![PipeEnd { pipe: PipeId(4711), direction, descriptor }],
    /// };
    /// let scan = Scan {
    ///     holders: vec![holder(12, "wc", Direction::Read, 0), holder(11, "cat", Direction::Write, 1)],
    ///     ..Scan::default()
    /// };
    /// let [pipeline] = &scan.pipelines()[..] else { panic!("one pipeline") };
    /// assert_eq!(pipeline.shape, Shape::Linear);
    /// assert_eq!(pipeline.stages[0].name, "cat");
    /// ```
    pub fn pipelines(&self) -> Vec<Pipeline> {
        let graph = Graph::of(self);
        graph.pipelines(self)
    }

    /// The pipeline that a process is part of. For a shell that waits for a pipeline it has
    /// started, that pipeline.
    ///
    /// # Errors
    ///
    /// [`Error::NotInAPipeline`]; [`Error::Denied`] if the process may not be looked at.
    pub fn pipeline_of(&self, pid: u32) -> Result<Pipeline> {
        let below =
            |stage: &FoundStage| self.ancestors(stage.process.pid).any(|above| above == pid);
        let found = self
            .pipelines()
            .into_iter()
            .filter_map(|pipeline| {
                // A shell may have inherited an end of some pipe, and be part of a stage by that:
                // the pipeline that it has started itself says more. A pipe to an ancestor says
                // least.
                let nearness = if pipeline.stages.iter().any(|stage| stage.process.pid == pid) {
                    0
                } else if pipeline.stages.iter().all(below) {
                    1
                } else if pipeline.contains(pid) {
                    2
                } else {
                    return None;
                };
                Some(((pipeline.with_ancestor, nearness), pipeline))
            })
            .min_by_key(|(rank, _)| *rank);
        match found {
            Some((_, pipeline)) => Ok(pipeline),
            None if self.denied.contains(&pid) => Err(Error::Denied {
                what: "look at the descriptors",
                pid,
            }),
            None => Err(Error::NotInAPipeline { pid }),
        }
    }

    /// Parent, grandparent and so on, as far as they are known.
    fn ancestors(&self, pid: u32) -> impl Iterator<Item = u32> {
        // The bound guards against a table that is not a tree: it was read process by process,
        // while processes came and went.
        std::iter::successors(self.parents.get(&pid).copied(), |pid| {
            self.parents.get(pid).copied()
        })
        .take_while(move |&above| above != 0 && above != pid)
        .take(self.parents.len())
    }
}

/// An end without its descriptor.
type Side = (PipeId, Direction);

/// Holders reduced to stages, and their connections.
struct Graph {
    /// For each holder the sides that count, with a descriptor; empty for a dissolved shell.
    sides: Vec<BTreeMap<Side, u32>>,
    /// For each stage the other processes that are part of it, by number.
    members: Vec<Vec<u32>>,
    /// How many processes hold a side under the same number.
    sharing: HashMap<(Side, u32), usize>,
    /// Stages at both ends of each pipe.
    pipes: BTreeMap<PipeId, Ends>,
}

#[derive(Default)]
struct Ends {
    writers: BTreeSet<usize>,
    readers: BTreeSet<usize>,
}

impl Graph {
    fn of(scan: &Scan) -> Graph {
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
            if !sides[child].is_empty() {
                stage[child] = above.iter().find(inherited).copied().unwrap_or(child);
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
            match stage[child] == child {
                true => {
                    for &ancestor in &ancestors[child] {
                        below[ancestor].extend(sides[child].keys());
                    }
                }
                false => members[stage[child]].push(scan.holders[child].process.pid),
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
        Graph {
            sides,
            members,
            sharing,
            pipes,
        }
    }

    fn pipelines(&self, scan: &Scan) -> Vec<Pipeline> {
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
                if self.weak(writer, (pipe, Direction::Write))
                    || self.weak(reader, (pipe, Direction::Read))
                {
                    weak.push((writer, reader));
                } else {
                    strong.join(writer, reader);
                    has_strong[writer] = true;
                    has_strong[reader] = true;
                }
            }
        }
        let already = has_strong.clone();
        for (writer, reader) in weak {
            if !(already[writer] && already[reader]) {
                strong.join(writer, reader);
                has_strong[writer] = true;
                has_strong[reader] = true;
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

    /// Whether a stage holds a side for messages, or by accident.
    fn weak(&self, stage: usize, side: Side) -> bool {
        match self.sides[stage].get(&side) {
            // A shell and the program it starts share an end for a process substitution. More
            // than two do not share one on purpose.
            Some(&descriptor) if descriptor > 2 => self
                .sharing
                .get(&(side, descriptor))
                .is_some_and(|&count| count > 2),
            Some(&descriptor) => descriptor == 2,
            None => false,
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
        ends.writers
            .iter()
            .map(|&writer| (writer, Direction::Write))
            .chain(ends.readers.iter().map(|&reader| (reader, Direction::Read)))
            .find_map(|(stage, direction)| {
                let descriptor = self.sides[stage].get(&(pipe, direction))?;
                Some((scan.holders[stage].process, *descriptor))
            })
            .expect("a pipe connects stages that hold it")
    }
}

impl Ends {
    /// Whether it leads from one stage to another.
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
    fn new(count: usize) -> Groups {
        Groups((0..count).collect())
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
