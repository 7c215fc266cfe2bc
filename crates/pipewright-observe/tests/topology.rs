//! Pipelines recognised from made-up tables of processes and pipe ends.

use std::collections::{BTreeSet, HashMap};

use pipewright_observe::topology::{Direction, Holder, PipeEnd, Pipeline, Scan, Shape};
use pipewright_observe::{Error, PipeId, ProcessId};
use proptest::prelude::*;

/// A table in the making: processes with their parents, and what they hold.
#[derive(Default)]
struct Table {
    scan: Scan,
}

impl Table {
    /// Adds a process that holds descriptors `reads` and `writes`, each `(descriptor, pipe)`.
    fn process(
        mut self,
        pid: u32,
        parent: u32,
        reads: &[(u32, u64)],
        writes: &[(u32, u64)],
    ) -> Table {
        self.scan.parents.insert(pid, parent);
        let end = |direction| {
            move |&(descriptor, pipe)| PipeEnd {
                pipe: PipeId(pipe),
                direction,
                descriptor,
            }
        };
        self.scan.holders.push(Holder {
            process: ProcessId {
                pid,
                start_time: u64::from(pid),
            },
            name: format!("p{pid}"),
            ends: reads
                .iter()
                .map(end(Direction::Read))
                .chain(writes.iter().map(end(Direction::Write)))
                .collect(),
            keeps: false,
        });
        self
    }

    /// The process added last is a keeper.
    fn that_keeps(mut self) -> Table {
        self.scan.holders.last_mut().unwrap().keeps = true;
        self
    }

    /// Adds a process that holds no pipe.
    fn bystander(mut self, pid: u32, parent: u32) -> Table {
        self.scan.parents.insert(pid, parent);
        self
    }

    fn only_pipeline(&self) -> Pipeline {
        let mut pipelines = self.scan.pipelines();
        assert_eq!(pipelines.len(), 1, "{pipelines:#?}");
        pipelines.remove(0)
    }
}

fn pids(pipeline: &Pipeline) -> Vec<u32> {
    pipeline
        .stages
        .iter()
        .map(|stage| stage.process.pid)
        .collect()
}

#[test]
fn a_keeper_and_what_it_has_started_are_one_stage() {
    // 10 | 11 | 12, of which the last two have keepers: pipe 1 leads to 21, which gives to 11 by pipe 5.
    let table = Table::default()
        .process(10, 1, &[], &[(1, 1)])
        .process(21, 1, &[(0, 1)], &[(9, 5)])
        .that_keeps()
        .process(11, 21, &[(0, 5)], &[(1, 2)])
        .process(22, 1, &[(0, 2)], &[(9, 6)])
        .that_keeps()
        // It has started others, as a shell does, and one of these reads.
        .process(12, 22, &[(0, 6)], &[(4, 7)])
        .process(13, 12, &[(0, 7)], &[]);
    let pipeline = table.only_pipeline();
    assert_eq!(pids(&pipeline), [10, 21, 22]);
    assert_eq!(pipeline.shape, Shape::Linear);
    assert_eq!(pipeline.stages[1].members, [11]);
    assert_eq!(pipeline.stages[2].members, [12, 13]);
    let pipes: Vec<u64> = pipeline.pipes.iter().map(|pipe| pipe.pipe.0).collect();
    assert_eq!(pipes, [1, 2]);
}

#[test]
fn a_keeper_that_has_only_what_it_inherited_is_a_stage() {
    // The run, 9, its keepers and all stages have a pipe as standard error.
    let table = Table::default()
        .process(8, 1, &[(0, 3)], &[])
        .process(9, 1, &[], &[(2, 3)])
        .process(20, 9, &[], &[(2, 3)])
        .that_keeps()
        .process(10, 20, &[], &[(1, 1), (2, 3)])
        .process(21, 9, &[(0, 1)], &[(9, 5), (2, 3)])
        .that_keeps()
        .process(11, 21, &[(0, 5)], &[(2, 3)])
        // It shares the descriptors of the keeper that it watches.
        .process(31, 21, &[(0, 1)], &[(9, 5), (2, 3)])
        .that_keeps();
    let found = table.scan.pipelines();
    let line = found.iter().find(|it| pids(it).contains(&21)).unwrap();
    assert!(pids(line).starts_with(&[20, 21]), "{found:#?}");
    assert_eq!(line.pipes[0].pipe, PipeId(1), "{found:#?}");
}

#[test]
fn stages_side_by_side_are_a_line_in_the_order_of_the_bytes() {
    // Started last first.
    let table = Table::default()
        .process(10, 1, &[(0, 2)], &[])
        .process(11, 1, &[(0, 1)], &[(1, 2)])
        .process(12, 1, &[], &[(1, 1)]);
    let pipeline = table.only_pipeline();
    assert_eq!(pids(&pipeline), [12, 11, 10]);
    assert_eq!(pipeline.shape, Shape::Linear);
    assert!(!pipeline.with_ancestor);
    let pipes: Vec<_> = pipeline
        .pipes
        .iter()
        .map(|pipe| (pipe.pipe.0, &pipe.writers[..], &pipe.readers[..]))
        .collect();
    assert_eq!(pipes, [(1, &[0][..], &[1][..]), (2, &[1][..], &[2][..])]);
    assert_eq!(
        pipeline.pipes[0].through,
        (
            ProcessId {
                pid: 12,
                start_time: 12
            },
            1
        )
    );
}

#[test]
fn several_writers_of_one_pipe_are_a_fan_in_and_several_readers_a_fan_out() {
    let fan_in = Table::default()
        .process(10, 1, &[], &[(1, 1)])
        .process(11, 1, &[], &[(1, 1)])
        .process(12, 1, &[(0, 1)], &[])
        .only_pipeline();
    assert_eq!(fan_in.shape, Shape::FanIn);
    assert_eq!(fan_in.pipes[0].writers, [0, 1]);
    let fan_out = Table::default()
        .process(10, 1, &[], &[(1, 1)])
        .process(11, 1, &[(0, 1)], &[])
        .process(12, 1, &[(0, 1)], &[])
        .only_pipeline();
    assert_eq!(fan_out.shape, Shape::FanOut);
}

#[test]
fn tee_into_process_substitutions_is_a_fan_out() {
    let pipeline = Table::default()
        .process(10, 1, &[], &[(1, 1)])
        .process(11, 1, &[(0, 1)], &[(1, 2), (63, 3)])
        .process(12, 1, &[(0, 2)], &[])
        .process(13, 1, &[(0, 3)], &[])
        .only_pipeline();
    assert_eq!(pipeline.shape, Shape::FanOut);
    assert_eq!(pids(&pipeline), [10, 11, 12, 13]);
}

#[test]
fn a_pipeline_in_a_process_substitution_belongs_to_the_whole() {
    // a | paste - <(b | c), whose shell still holds the substitution's end.
    let pipeline = Table::default()
        .process(9, 1, &[(63, 3)], &[])
        .process(10, 9, &[], &[(1, 1)])
        .process(11, 9, &[(0, 1), (63, 3)], &[])
        .process(12, 9, &[], &[(1, 2)])
        .process(13, 9, &[(0, 2)], &[(1, 3)])
        .only_pipeline();
    assert_eq!(pipeline.shape, Shape::FanIn);
    assert_eq!(pids(&pipeline), [10, 12, 13, 11]);
}

#[test]
fn stages_that_feed_each_other_are_a_cycle() {
    let pipeline = Table::default()
        .process(10, 1, &[(0, 2)], &[(1, 1)])
        .process(11, 1, &[(0, 1)], &[(1, 2)])
        .only_pipeline();
    assert_eq!(pipeline.shape, Shape::Cycle);
    assert_eq!(pids(&pipeline), [10, 11]);
}

#[test]
fn a_shell_and_its_coprocess_are_a_cycle_with_an_ancestor() {
    let pipeline = Table::default()
        .process(10, 1, &[(63, 2)], &[(60, 1)])
        .process(11, 10, &[(0, 1)], &[(1, 2)])
        .only_pipeline();
    assert_eq!(pipeline.shape, Shape::Cycle);
    assert!(pipeline.with_ancestor);
}

#[test]
fn descendants_that_inherited_their_ends_are_part_of_the_stage() {
    // (a; b) | wc, where b runs below an intermediate process that holds nothing.
    let pipeline = Table::default()
        .process(10, 1, &[], &[(1, 1)])
        .process(11, 10, &[], &[(1, 1)])
        .bystander(12, 10)
        .process(13, 12, &[], &[(1, 1), (2, 1)])
        .process(20, 1, &[(0, 1)], &[])
        .only_pipeline();
    assert_eq!(pids(&pipeline), [10, 20]);
    assert_eq!(pipeline.stages[0].members, [11, 13]);
    assert_eq!(pipeline.shape, Shape::Linear);
    assert!(pipeline.contains(13) && !pipeline.contains(12));
}

#[test]
fn a_shell_that_only_waits_for_an_inner_pipeline_is_no_stage() {
    // a | (b | c) | d
    let table = Table::default()
        .process(10, 1, &[], &[(1, 1)])
        .process(11, 1, &[(0, 1)], &[(1, 2)])
        .process(12, 11, &[(0, 1)], &[(1, 3)])
        .process(13, 11, &[(0, 3)], &[(1, 2)])
        .process(14, 1, &[(0, 2)], &[]);
    let pipeline = table.only_pipeline();
    assert_eq!(pids(&pipeline), [10, 12, 13, 14]);
    assert_eq!(pipeline.shape, Shape::Linear);
}

#[test]
fn a_shell_that_still_holds_both_ends_is_no_stage() {
    let pipeline = Table::default()
        .process(10, 1, &[(3, 1)], &[(4, 1)])
        .process(11, 10, &[], &[(1, 1)])
        .process(12, 10, &[(0, 1)], &[])
        .only_pipeline();
    assert_eq!(pids(&pipeline), [11, 12]);
}

#[test]
fn a_parent_that_kept_a_copy_of_its_childs_end_is_still_the_writer() {
    let pipeline = Table::default()
        .process(10, 1, &[(3, 1)], &[(4, 1)])
        .process(11, 10, &[(0, 1)], &[])
        .only_pipeline();
    assert_eq!(pids(&pipeline), [10, 11]);
    assert_eq!(pipeline.shape, Shape::Linear);
    assert!(pipeline.with_ancestor);
}

#[test]
fn a_pipe_within_one_process_or_a_jobserver_held_by_all_is_no_pipeline() {
    let table = Table::default()
        .process(10, 1, &[(3, 1), (5, 2)], &[(4, 1), (6, 2)])
        .process(11, 10, &[(5, 2)], &[(6, 2)])
        .process(12, 10, &[(5, 2)], &[(6, 2)]);
    assert_eq!(table.scan.pipelines(), []);
}

#[test]
fn a_supervisor_does_not_merge_the_pipelines_below_it() {
    // A supervisor captures the output of a shell; the shell runs a | b, all share its stderr.
    let table = Table::default()
        .process(5, 1, &[(10, 91), (11, 92)], &[(12, 90)])
        .process(10, 5, &[(0, 90)], &[(1, 91), (2, 92)])
        .process(11, 10, &[(0, 90)], &[(1, 1), (2, 92)])
        .process(12, 10, &[(0, 1)], &[(1, 91), (2, 92)])
        .process(20, 5, &[(0, 95)], &[(1, 91), (2, 92)])
        .process(21, 5, &[], &[(1, 95), (2, 92)]);
    let pipelines = table.scan.pipelines();
    let found: Vec<Vec<u32>> = pipelines.iter().map(pids).collect();
    assert_eq!(found, [vec![11, 12], vec![21, 20]]);
    assert_eq!(pids(&table.scan.pipeline_of(12).unwrap()), [11, 12]);
    // The shell itself leads to the pipeline that it waits for.
    assert_eq!(pids(&table.scan.pipeline_of(10).unwrap()), [11, 12]);
}

#[test]
fn a_process_that_has_started_several_pipelines_leads_to_none_of_them() {
    let table = Table::default()
        .process(10, 5, &[], &[(1, 1)])
        .process(11, 5, &[(0, 1)], &[])
        .process(20, 5, &[], &[(1, 2)])
        .process(21, 5, &[(0, 2)], &[])
        // One with a stage of its own stands for that.
        .process(5, 1, &[], &[(1, 3)])
        .process(6, 1, &[(0, 3)], &[])
        .process(30, 1, &[], &[(1, 4)])
        .process(31, 1, &[(0, 4)], &[]);
    assert_eq!(pids(&table.scan.pipeline_of(5).unwrap()), [5, 6]);
    let error = table.scan.pipeline_of(1).unwrap_err();
    assert!(
        matches!(&error, Error::SeveralPipelines { pid: 1, stages } if stages[..] == [5, 30]),
        "{error}"
    );
    assert!(error.to_string().ends_with("such as 5, 30"), "{error}");
    // One of the two alone is the one that is meant.
    assert_eq!(pids(&table.scan.pipeline_of(31).unwrap()), [30, 31]);
}

#[test]
fn the_pipeline_that_a_shell_started_says_more_than_an_end_it_inherited() {
    // 5 | 6, where 6 has started the shell 10, which has started 11 | 12; all below 6 inherit.
    let table = Table::default()
        .process(5, 1, &[], &[(1, 9)])
        .process(6, 1, &[(0, 9)], &[])
        .process(10, 6, &[(251, 9)], &[])
        .process(11, 10, &[(251, 9)], &[(1, 1)])
        .process(12, 10, &[(251, 9), (0, 1)], &[]);
    assert_eq!(pids(&table.scan.pipeline_of(10).unwrap()), [11, 12]);
    assert_eq!(pids(&table.scan.pipeline_of(6).unwrap()), [5, 6]);
}

#[test]
fn messages_alone_make_a_pipeline_where_there_is_no_other() {
    // a 2>&1 >/dev/null | b
    let pipeline = Table::default()
        .process(10, 1, &[], &[(2, 1)])
        .process(11, 1, &[(0, 1)], &[])
        .only_pipeline();
    assert_eq!(pids(&pipeline), [10, 11]);
    // Two pipelines whose messages go to one logger stay two, and the logger is in one at most.
    let table = Table::default()
        .process(10, 1, &[], &[(1, 1), (2, 9)])
        .process(11, 1, &[(0, 1)], &[(2, 9)])
        .process(20, 1, &[], &[(1, 2), (2, 8)])
        .process(21, 1, &[(0, 2)], &[(2, 8)])
        .process(30, 1, &[(0, 9)], &[(1, 7)])
        .process(31, 1, &[(0, 7)], &[]);
    assert_eq!(table.scan.pipelines().len(), 3);
}

#[test]
fn a_logger_is_part_of_the_pipeline_that_is_its_only_one() {
    let one = |table: Table| {
        table
            .process(10, 1, &[], &[(1, 1), (2, 9)])
            .process(11, 1, &[(0, 1)], &[(2, 9)])
    };
    let with_logger = |table: Table| table.process(30, 1, &[(0, 9)], &[]);
    let pipelines = with_logger(one(Table::default())).scan.pipelines();
    let found: Vec<Vec<u32>> = pipelines.iter().map(pids).collect();
    assert_eq!(found, [[10, 11, 30]]);
    let two = one(Table::default())
        .process(20, 1, &[], &[(1, 2), (2, 9)])
        .process(21, 1, &[(0, 2)], &[(2, 9)]);
    let pipelines = with_logger(two).scan.pipelines();
    let found: Vec<Vec<u32>> = pipelines.iter().map(pids).collect();
    assert_eq!(found, [[10, 11], [20, 21]]);
}

#[test]
fn an_end_that_was_forgotten_connects_nobody_with_who_is_behind_it() {
    // 30 has started a shell with an end of its own, and everybody below has inherited it.
    let pipelines = Table::default()
        .process(10, 1, &[], &[(1, 1), (251, 9)])
        .process(11, 1, &[(0, 1)], &[(251, 9)])
        .process(12, 1, &[], &[(251, 9)])
        .process(30, 1, &[(3, 9)], &[])
        .scan
        .pipelines();
    let found: Vec<Vec<u32>> = pipelines.iter().map(pids).collect();
    assert!(found.contains(&vec![10, 11]), "{found:?}");
}

#[test]
fn output_and_messages_in_one_pipe_are_one_edge() {
    // a |& b
    let pipeline = Table::default()
        .process(10, 1, &[], &[(1, 1), (2, 1)])
        .process(11, 1, &[(0, 1)], &[])
        .only_pipeline();
    assert_eq!(pipeline.pipes.len(), 1);
    assert_eq!(pipeline.shape, Shape::Linear);
}

#[test]
fn a_process_without_pipes_or_without_permission_is_told_apart() {
    let mut table = Table::default().bystander(10, 1);
    table.scan.denied.push(11);
    assert!(matches!(
        table.scan.pipeline_of(10),
        Err(Error::NotInAPipeline { pid: 10 })
    ));
    assert!(matches!(
        table.scan.pipeline_of(11),
        Err(Error::Denied { pid: 11, .. })
    ));
}

#[test]
fn a_parent_table_that_is_no_tree_does_not_hang() {
    let table = Table::default()
        .process(10, 11, &[(0, 1)], &[(1, 2)])
        .process(11, 10, &[(0, 2)], &[(1, 1)]);
    let pipelines = table.scan.pipelines();
    assert!(!pipelines.is_empty());
    assert!(
        pipelines
            .iter()
            .all(|pipeline| pipeline.contains(10) && pipeline.contains(11))
    );
}

#[test]
fn a_line_of_a_thousand_stages_is_one_pipeline() {
    let mut table = Table::default();
    for stage in 0..1000_u32 {
        let before: &[_] = if stage == 0 {
            &[]
        } else {
            &[(0, u64::from(stage))]
        };
        table = table.process(1000 + stage, 1, before, &[(1, u64::from(stage) + 1)]);
    }
    table = table.process(5000, 1, &[(0, 1000)], &[]);
    let pipeline = table.only_pipeline();
    assert_eq!(pipeline.stages.len(), 1001);
    assert_eq!(pipeline.shape, Shape::Linear);
    assert!(pids(&pipeline).is_sorted());
}

proptest! {
    /// However the processes of a line are numbered and listed, and however many children each has.
    #[test]
    fn a_line_is_found_whatever_the_numbers_and_however_many_children(
        numbers in proptest::sample::subsequence((100_u32..400).collect::<Vec<_>>(), 2..12).prop_shuffle(),
        children in proptest::collection::vec(0_u32..3, 12),
        rotate in 0_usize..40,
    ) {
        let mut table = Table::default().bystander(1, 0);
        let last = numbers.len() - 1;
        for (stage, &pid) in numbers.iter().enumerate() {
            let reads: Vec<_> = (stage > 0).then_some((0, stage as u64)).into_iter().collect();
            let writes: Vec<_> = (stage < last).then_some((1, stage as u64 + 1)).into_iter().collect();
            table = table.process(pid, 1, &reads, &writes);
            for child in 0..children[stage] {
                // A child may have closed one of the two ends, never opened one.
                let kept = if child == 1 { &reads[..] } else { &[] };
                table = table.process(1000 + pid * 4 + child, pid, kept, &writes);
            }
        }
        let length = table.scan.holders.len();
        table.scan.holders.rotate_left(rotate % length);
        let pipeline = table.only_pipeline();
        prop_assert_eq!(pids(&pipeline), numbers);
        prop_assert_eq!(pipeline.shape, Shape::Linear);
    }

    /// Any table at all: every index is valid, every stage is in one pipeline side by side at most,
    /// and each pipe of a pipeline leads from one of its stages to another.
    #[test]
    fn no_table_breaks_the_rules(
        parents in proptest::collection::vec(0_u32..12, 12),
        ends in proptest::collection::vec((0_u32..12, 0_u32..4, 0_u64..8, any::<bool>()), 0..60),
        keepers in proptest::collection::btree_set(0_u32..12, 0..3),
    ) {
        let mut scan = Scan { parents: HashMap::new(), ..Scan::default() };
        for pid in 0..12_u32 {
            scan.parents.insert(pid + 1, parents[pid as usize]);
            let held: Vec<PipeEnd> = ends.iter().filter(|end| end.0 == pid).map(|&(_, descriptor, pipe, reads)| PipeEnd {
                pipe: PipeId(pipe),
                direction: if reads { Direction::Read } else { Direction::Write },
                descriptor,
            }).collect();
            if !held.is_empty() {
                scan.holders.push(Holder {
                    process: ProcessId { pid: pid + 1, start_time: 0 }, name: String::new(), ends: held,
                    keeps: keepers.contains(&pid),
                });
            }
        }
        let mut placed = BTreeSet::new();
        for pipeline in scan.pipelines() {
            prop_assert!(pipeline.stages.len() >= 2);
            if !pipeline.with_ancestor {
                for stage in &pipeline.stages {
                    prop_assert!(placed.insert(stage.process), "{} is in two pipelines", stage.process);
                }
            }
            for pipe in &pipeline.pipes {
                let all = pipe.writers.iter().chain(&pipe.readers);
                prop_assert!(all.clone().all(|&stage| stage < pipeline.stages.len()));
                prop_assert!(all.collect::<BTreeSet<_>>().len() >= 2);
                let (through, descriptor) = pipe.through;
                prop_assert!(scan.holders.iter().any(|holder| holder.process == through
                    && holder.ends.iter().any(|end| end.pipe == pipe.pipe && end.descriptor == descriptor)));
            }
        }
    }
}
