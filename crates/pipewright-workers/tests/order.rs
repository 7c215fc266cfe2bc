//! The order of chunks, under random schedules.

use std::collections::BTreeSet;

use pipewright_workers::{End, Next, Order, Retries, Rules, StatusRule};
use proptest::prelude::*;

/// What a schedule does next, by a number that is taken modulo what is possible.
type Schedule = Vec<u8>;

/// What a chunk's runs end with, the last for all further ones.
type Ends = Vec<Vec<End>>;

fn ends() -> impl Strategy<Value = Ends> {
    let end = prop_oneof![
        8 => Just(End::Status(0)),
        1 => Just(End::Status(1)),
        1 => Just(End::Status(3)),
        2 => Just(End::Signal(9)),
    ];
    proptest::collection::vec(proptest::collection::vec(end, 1..5), 0..12)
}

fn rules() -> impl Strategy<Value = Rules> {
    (1_usize..5, any::<bool>(), any::<bool>(), 0_u32..3).prop_map(
        |(workers, grep, unordered, signal)| Rules {
            status: if grep {
                StatusRule::Grep
            } else {
                StatusRule::Zero
            },
            retries: Retries { signal, status: 0 },
            unordered,
            ..Rules::of_workers(workers)
        },
    )
}

/// How the runs of one chunk come out in the end: the status of a success, or a failure.
fn outcome(ends: &[End], rules: &Rules) -> Option<u8> {
    let mut killed = 0;
    for run in 0.. {
        match ends[run.min(ends.len() - 1)] {
            End::Status(0) => return Some(0),
            End::Status(1) if rules.status == StatusRule::Grep => return Some(1),
            End::Status(_) => return None,
            End::Signal(_) => killed += 1,
        }
        if killed > rules.retries.signal {
            return None;
        }
    }
    unreachable!()
}

/// Runs a schedule to its end: what was given, in order, and the order's last state.
fn run(rules: Rules, ends: &Ends, schedule: &Schedule) -> (Vec<u64>, Order) {
    let mut order = Order::new(rules);
    let (mut taken, mut given) = (0, Vec::new());
    let mut running: BTreeSet<u64> = BTreeSet::new();
    let mut runs = vec![0; ends.len()];
    let mut choices = schedule.iter().copied().cycle();
    loop {
        if order.is_over() || order.in_sequence().is_some() {
            return (given, order);
        }
        let mut possible: Vec<(u8, u64)> = Vec::new();
        if order.may_take() {
            possible.push((0, 0));
        }
        possible.extend(running.iter().map(|&number| (1, number)));
        possible.extend(order.next_to_give().map(|number| (2, number)));
        let choice = usize::from(choices.next().unwrap_or(0));
        assert!(!possible.is_empty(), "stuck: {order:?}");
        match possible[choice % possible.len()] {
            (0, _) if taken == ends.len() => order.end_input(),
            (0, _) => {
                assert_eq!(order.take(), taken as u64);
                taken += 1;
            }
            (1, number) => {
                running.remove(&number);
                let of_chunk = &ends[number as usize];
                let end = of_chunk[runs[number as usize].min(of_chunk.len() - 1)];
                runs[number as usize] += 1;
                if let Next::Failed(unwanted) = order.ended(number, end) {
                    assert_eq!(unwanted.start, number + 1);
                }
            }
            (_, number) => {
                order.given(number);
                given.push(number);
            }
        }
        while let Some(number) = order.next_to_run() {
            assert!(running.insert(number), "chunk {number} runs twice at once");
        }
        assert!(running.len() <= rules.workers, "more run than may");
    }
}

proptest! {
    #[test]
    fn chunks_are_given_once_each_and_in_order_up_to_the_first_that_fails(
        rules in rules(), ends in ends(), schedule in proptest::collection::vec(any::<u8>(), 1..40),
    ) {
        let (given, order) = run(rules, &ends, &schedule);
        let outcomes: Vec<Option<u8>> = ends.iter().map(|ends| outcome(ends, &rules)).collect();
        let mut sorted = given.clone();
        sorted.sort_unstable();
        sorted.dedup();
        prop_assert_eq!(sorted.len(), given.len(), "one was given twice");
        let failed = outcomes.iter().position(Option::is_none);
        match order.in_sequence() {
            None => {
                prop_assert_eq!(given.len(), ends.len());
                let statuses = outcomes.iter().map(|it| it.unwrap());
                prop_assert_eq!(order.status(), statuses.reduce(|one, other| rules.status.together(one, other)));
            }
            Some(left) if rules.unordered => {
                prop_assert!(failed.is_some());
                let mut all: Vec<u64> = given.iter().chain(&left).copied().collect();
                all.sort_unstable();
                prop_assert_eq!(all.clone(), (0..all.len() as u64).collect::<Vec<_>>());
            }
            Some(left) => {
                prop_assert_eq!(left.first().copied(), failed.map(|failed| failed as u64));
                // All before it, and only they.
                prop_assert_eq!(&given, &(0..left[0]).collect::<Vec<_>>());
            }
        }
        if !rules.unordered {
            prop_assert!(given.is_sorted());
        }
    }
}

#[test]
fn no_more_chunks_are_held_than_the_bound_says() {
    let mut order = Order::new(Rules::of_workers(2));
    let mut taken = 0;
    while order.may_take() {
        order.take();
        taken += 1;
    }
    assert_eq!(taken, 4);
    let first = order.next_to_run().unwrap();
    assert_eq!(order.ended(first, End::Status(0)), Next::Done);
    assert!(
        !order.may_take(),
        "an output that was not given is held, too"
    );
    order.given(first);
    assert!(order.may_take());
}

#[test]
fn when_the_reader_has_gone_nothing_more_is_run_or_given() {
    let mut order = Order::new(Rules::of_workers(2));
    for _ in 0..3 {
        order.take();
    }
    let (first, second) = (order.next_to_run().unwrap(), order.next_to_run().unwrap());
    order.ended(first, End::Status(0));
    assert_eq!(order.reader_gone(), 0..3);
    assert!(
        !order.wants_input() && order.next_to_give().is_none() && order.next_to_run().is_none()
    );
    assert!(!order.is_over(), "one still runs");
    assert_eq!(order.ended(second, End::Signal(9)), Next::Unwanted);
    assert!(order.is_over());
}

#[test]
fn a_killed_worker_is_run_again_and_its_neighbours_do_not_notice() {
    let mut order = Order::new(Rules::of_workers(1));
    order.take();
    order.end_input();
    for _ in 0..2 {
        assert_eq!(order.next_to_run(), Some(0));
        assert_eq!(order.ended(0, End::Signal(9)), Next::Again);
    }
    assert_eq!(order.next_to_run(), Some(0));
    assert_eq!(order.ended(0, End::Status(0)), Next::Done);
    order.given(0);
    assert!(order.is_over() && order.again() == 2 && order.status() == Some(0));
}

#[test]
fn what_workers_may_not_run_goes_through_one_process_from_the_start() {
    let mut order = Order::new(Rules::of_workers(2));
    for _ in 0..3 {
        order.take();
    }
    assert_eq!(
        [order.next_to_run(), order.next_to_run()],
        [Some(0), Some(1)]
    );
    assert_eq!(order.ended(0, End::Status(0)), Next::Done);
    order.give_up();
    // One still runs, and what it came to is of no use.
    assert_eq!(order.in_sequence(), None);
    assert_eq!((order.next_to_give(), order.next_to_run()), (None, None));
    assert!(!order.may_take());
    assert_eq!(order.ended(1, End::Status(0)), Next::Unwanted);
    assert_eq!(order.in_sequence(), Some(vec![0, 1, 2]));
}
