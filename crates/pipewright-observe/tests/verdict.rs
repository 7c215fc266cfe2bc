//! The verdict on recorded and on made-up samples.

mod recordings;

use std::time::Duration;

use pipewright_observe::verdict::{Bottleneck, Finding, History, Reason, Verdict};
use pipewright_observe::{
    Activity, Figures, Layout, PipeFigures, PipeLevel, Sample, Scheduled, SpoolFigures,
    StageFigures,
};
use proptest::prelude::*;
use recordings::{line, recorded};

use Activity::{
    BlockedOnOutput, Disk, Ended, Network, Polling, Running, Sleeping, Stopped, Unknown,
    WaitingForInput,
};

fn bottleneck(verdict: &Verdict) -> &Bottleneck {
    match &verdict.finding {
        Finding::Bottleneck(bottleneck) => bottleneck,
        other => panic!("{other:?} in {verdict:#?}"),
    }
}

fn judge_recorded(name: &str) -> (Verdict, usize, Reason) {
    let (layout, samples) = recorded(name);
    let verdict = Verdict::of(&layout, &samples);
    let found = bottleneck(&verdict);
    let (stage, reason) = (found.stage, found.reason);
    (verdict, stage, reason)
}

const FULL: PipeLevel = PipeLevel {
    unread: 65536,
    capacity: 65536,
    full: true,
    reader_gone: false,
};
const HALF: PipeLevel = PipeLevel {
    unread: 30000,
    capacity: 65536,
    full: false,
    reader_gone: false,
};
const EMPTY: PipeLevel = PipeLevel { unread: 0, ..HALF };

/// Two seconds in which each stage goes round its own activities.
fn rounds(stages: &[&[Activity]], pipes: &[&[PipeLevel]]) -> Vec<Sample> {
    (0..100_usize)
        .map(|n| Sample {
            at: Duration::from_millis(20) * n as u32,
            stages: stages.iter().map(|round| round[n % round.len()]).collect(),
            pipes: pipes
                .iter()
                .map(|round| Some(round[n % round.len()]))
                .collect(),
            figures: None,
        })
        .collect()
}

/// The same with figures at the end: for each stage, CPUs used and the share of ready time without
/// a CPU.
fn with_figures(mut samples: Vec<Sample>, stages: &[(f64, f64)]) -> Vec<Sample> {
    let last = samples.last_mut().unwrap();
    let interval = last.at;
    last.figures = Some(Figures {
        interval,
        stages: stages
            .iter()
            .map(|&(cpus, crowded)| {
                let mut figures = StageFigures::default();
                figures.cpus = cpus;
                figures.scheduled = Some(Scheduled {
                    on_cpu: interval.mul_f64(1.0 - crowded),
                    waiting_for_cpu: interval.mul_f64(crowded),
                    turns: 0,
                });
                figures
            })
            .collect(),
        pipes: vec![PipeFigures::default(); last.pipes.len()],
        cores: None,
    });
    samples
}

/// The verdict on two seconds in which nothing is known of the pipes.
fn judge(stages: &[&[Activity]]) -> Verdict {
    let layout = line(stages.len());
    let mut samples = rounds(stages, &[]);
    for sample in &mut samples {
        sample.pipes = vec![None; layout.pipes.len()];
    }
    Verdict::of(&layout, &samples)
}

#[test]
fn a_recorded_slow_middle_stage_is_found_with_advice() {
    let (verdict, stage, reason) = judge_recorded("middle");
    assert_eq!((stage, reason), (1, Reason::Cpu));
    assert!(
        verdict
            .sentence()
            .contains("stage 2 (gzip -6) is the bottleneck: it keeps one core busy")
    );
    assert!(verdict.advice().unwrap().contains("pigz"));
    assert!(verdict.pipes[1].unwrap().empty > 0.9);
}

#[test]
fn a_recorded_slow_last_stage_is_found() {
    let (verdict, stage, reason) = judge_recorded("last");
    assert_eq!((stage, reason), (2, Reason::Cpu));
    assert!(verdict.advice().unwrap().contains("xz -T0"));
}

#[test]
fn a_recorded_rate_limit_is_found() {
    let (_, stage, reason) = judge_recorded("limited");
    assert_eq!(stage, 1);
    // pv waits for the time of its next bytes in select.
    assert!(matches!(reason, Reason::Polling | Reason::Asleep));
}

#[test]
fn a_recorded_sleeping_first_stage_is_found() {
    let (verdict, stage, reason) = judge_recorded("asleep");
    assert_eq!((stage, reason), (0, Reason::Asleep));
    assert!(verdict.stages[1].waiting_for_input > 0.9);
}

#[test]
fn of_recorded_stages_that_all_compute_the_busiest_is_found() {
    let (_, stage, _) = judge_recorded("computing");
    assert_eq!(stage, 1);
}

#[test]
fn a_recorded_crowd_on_two_cores_is_told_to_have_no_core_left() {
    let (verdict, _, reason) = judge_recorded("crowd");
    assert_eq!(reason, Reason::NoCoreLeft);
    assert!(
        verdict.sentence().contains("all cores are busy"),
        "{}",
        verdict.sentence()
    );
}

#[test]
fn the_answer_for_a_recorded_sort_changes_with_the_phase() {
    let (layout, samples) = recorded("sort");
    let mut history = History::new(layout, Duration::from_millis(1100));
    let mut answers = Vec::new();
    for sample in &samples {
        history.record(sample);
        if let Finding::Bottleneck(found) = history.recent().finding
            && answers.last() != Some(&found.stage)
        {
            answers.push(found.stage);
        }
    }
    answers.dedup();
    assert_eq!(answers, [0, 1, 2]);
    assert_eq!(history.overall().samples, samples.len() as u64);
}

#[test]
fn a_few_samples_or_a_short_time_prove_nothing() {
    let layout = line(2);
    let samples = rounds(&[&[BlockedOnOutput], &[Running]], &[&[FULL]]);
    assert_eq!(
        Verdict::of(&layout, &samples[..10]).finding,
        Finding::TooShort
    );
    let hurried: Vec<Sample> = samples
        .iter()
        .map(|sample| Sample {
            at: sample.at / 100,
            ..sample.clone()
        })
        .collect();
    let verdict = Verdict::of(&layout, &hurried);
    assert_eq!(verdict.finding, Finding::TooShort);
    assert!(verdict.sentence().contains("too short to tell"));
    assert_eq!(Verdict::of(&layout, &[]).finding, Finding::TooShort);
}

#[test]
fn stages_that_wait_for_each_other_in_turn_are_balanced() {
    let verdict = judge(&[
        &[Running, BlockedOnOutput, BlockedOnOutput],
        &[WaitingForInput, Running, WaitingForInput],
        &[WaitingForInput, WaitingForInput, Running],
    ]);
    assert_eq!(verdict.finding, Finding::Balanced);
    assert!(verdict.sentence().contains("no bottleneck"));
}

#[test]
fn two_stages_that_never_wait_are_balanced_unless_the_pipes_say_otherwise() {
    let layout = line(3);
    let busy: &[&[Activity]] = &[&[BlockedOnOutput], &[Running], &[Running]];
    let even = Verdict::of(&layout, &rounds(busy, &[&[FULL], &[FULL, EMPTY]]));
    assert_eq!(bottleneck(&even).stage, 1);
    let balanced = Verdict::of(&line(2), &rounds(&[&[Running], &[Running]], &[&[HALF]]));
    assert_eq!(balanced.finding, Finding::Balanced);
    assert_eq!(balanced.advice(), None);
    let swinging = Verdict::of(
        &line(2),
        &rounds(&[&[Running], &[Running]], &[&[FULL, EMPTY]]),
    );
    assert_eq!(swinging.finding, Finding::Balanced);
    assert!(swinging.advice().unwrap().contains("pipewright resize"));
}

#[test]
fn equals_that_have_to_share_too_few_cores_are_told_so() {
    let samples = with_figures(
        rounds(&[&[Running], &[Running], &[Running]], &[&[HALF], &[HALF]]),
        &[(0.5, 0.5), (0.8, 0.2), (0.7, 0.3)],
    );
    let verdict = Verdict::of(&line(3), &samples);
    let found = bottleneck(&verdict);
    assert_eq!((found.stage, found.reason), (1, Reason::NoCoreLeft));
    assert!((verdict.stages[0].waiting_for_cpu - 0.5).abs() < 0.01);
}

#[test]
fn each_reason_is_told_from_the_others() {
    for (activity, reason) in [
        (Running, Reason::Cpu),
        (Disk, Reason::Disk),
        (Network, Reason::Network),
        (Sleeping, Reason::Asleep),
        (Polling, Reason::Polling),
        (Stopped, Reason::Stopped),
        (Activity::WaitingForPerson, Reason::Person),
        (Activity::Elsewhere, Reason::Elsewhere),
    ] {
        let verdict = judge(&[&[BlockedOnOutput], &[activity], &[WaitingForInput]]);
        let found = bottleneck(&verdict);
        assert_eq!((found.stage, found.reason), (1, reason));
        assert!(verdict.sentence().starts_with("stage 2 (s1)"));
    }
    let input = judge(&[&[WaitingForInput], &[WaitingForInput]]);
    assert_eq!(
        (bottleneck(&input).stage, bottleneck(&input).reason),
        (0, Reason::InputSlow)
    );
    assert!(input.sentence().starts_with("the input is slow"));
    let consumer = judge(&[&[BlockedOnOutput], &[BlockedOnOutput]]);
    assert_eq!(bottleneck(&consumer).reason, Reason::ConsumerSlow);
    assert!(consumer.sentence().starts_with("the output is read slowly"));
}

#[test]
fn a_stage_on_several_cores_is_said_to_be_and_not_told_to_split() {
    let samples = with_figures(
        rounds(&[&[BlockedOnOutput], &[Running]], &[&[FULL]]),
        &[(0.1, 0.0), (3.7, 0.0)],
    );
    let verdict = Verdict::of(&line(2), &samples);
    assert!(
        verdict.sentence().contains("3.7 cores"),
        "{}",
        verdict.sentence()
    );
    assert_eq!(verdict.advice(), None);
}

#[test]
fn stages_that_may_not_be_looked_at_are_not_guessed_at() {
    assert_eq!(judge(&[&[Unknown], &[Unknown]]).finding, Finding::Hidden);
    assert_eq!(
        judge(&[&[Unknown], &[WaitingForInput, Running]]).finding,
        Finding::Hidden
    );
    // But a stage that never waits is the answer, whatever the hidden one does.
    let verdict = judge(&[&[Unknown], &[Running]]);
    assert_eq!(bottleneck(&verdict).stage, 1);
}

#[test]
fn a_pipeline_that_has_ended_has_no_bottleneck() {
    assert_eq!(judge(&[&[Ended], &[Ended]]).finding, Finding::Ended);
}

#[test]
fn a_stage_that_has_ended_holds_nobody_up() {
    let verdict = judge(&[&[Ended], &[Running], &[WaitingForInput]]);
    assert_eq!(bottleneck(&verdict).stage, 1);
}

#[test]
fn one_in_a_thousand_stages_is_found() {
    let mut stages: Vec<&[Activity]> = vec![&[BlockedOnOutput]; 700];
    stages.push(&[Running]);
    stages.resize(1000, &[WaitingForInput]);
    let verdict = judge(&stages);
    assert_eq!(bottleneck(&verdict).stage, 700);
    assert_eq!(verdict.stages.len(), 1000);
}

#[test]
fn the_recent_past_forgets_and_the_whole_does_not() {
    let mut history = History::new(line(2), Duration::from_secs(1));
    let phases = [[Running, WaitingForInput], [BlockedOnOutput, Running]];
    for n in 0..400_u32 {
        history.record(&Sample {
            at: Duration::from_millis(20) * n,
            stages: phases[usize::from(n >= 300)].to_vec(),
            pipes: vec![None],
            figures: None,
        });
    }
    assert_eq!(bottleneck(&history.recent()).stage, 1);
    assert_eq!(bottleneck(&history.overall()).stage, 0);
    assert!(history.recent().samples <= 52);
    assert_eq!(history.overall().samples, 400);
    assert_eq!(history.layout().stages.len(), 2);
}

#[test]
fn samples_are_written_and_read_without_loss() {
    let (layout, samples) = recorded("middle");
    let text = serde_json::to_string(&(&layout, &samples)).unwrap();
    assert_eq!(
        serde_json::from_str::<(Layout, Vec<Sample>)>(&text).unwrap(),
        (layout, samples)
    );
}

fn any_activity() -> impl Strategy<Value = Activity> {
    proptest::sample::select(vec![
        Ended,
        Activity::Elsewhere,
        Unknown,
        Stopped,
        Polling,
        Network,
        Sleeping,
        Activity::WaitingForPerson,
        WaitingForInput,
        BlockedOnOutput,
        Disk,
        Running,
    ])
}

proptest! {
    /// Shares add up to one, and the stage named is there, whatever was seen.
    #[test]
    fn shares_add_up_whatever_was_seen(
        seen in proptest::collection::vec(proptest::collection::vec(any_activity(), 4), 1..80),
        crowded in 0.0_f64..1.0,
    ) {
        let samples: Vec<Sample> = seen.iter().enumerate().map(|(n, stages)| Sample {
            at: Duration::from_millis(20) * n as u32,
            stages: stages.clone(),
            pipes: vec![Some(HALF), None, Some(FULL)],
            figures: None,
        }).collect();
        let verdict = Verdict::of(&line(4), &with_figures(samples, &[(1.0, crowded); 4]));
        for shares in &verdict.stages {
            let sum = shares.waiting_for_input + shares.blocked_on_output + shares.on_cpu + shares.waiting_for_cpu
                + shares.waiting_for_something_else() + shares.unknown + shares.ended;
            prop_assert!((sum - 1.0).abs() < 1e-9, "{}", sum);
        }
        prop_assert_eq!(verdict.pipes[1], None);
        if let Finding::Bottleneck(found) = &verdict.finding {
            prop_assert!(found.stage < 4 && found.own >= 0.5);
        }
    }
}

/// The verdict on two seconds of `A | spool | B`; the spool takes and gives so many bytes a second.
fn judge_spooled(stages: [&[Activity]; 3], taken: f64, given: f64) -> Verdict {
    let layout = line(3);
    let mut samples: Vec<Sample> = (0..100_usize)
        .map(|n| Sample {
            at: Duration::from_millis(20) * n as u32,
            stages: stages.iter().map(|round| round[n % round.len()]).collect(),
            pipes: vec![None; 2],
            figures: None,
        })
        .collect();
    let last = samples.last_mut().unwrap();
    let mut spool = SpoolFigures::default();
    (spool.taken_rate, spool.given_rate) = (taken, given);
    let mut figures = vec![StageFigures::default(); 3];
    figures[1].spool = Some(spool);
    last.figures = Some(Figures {
        interval: last.at,
        stages: figures,
        pipes: vec![PipeFigures::default(); 2],
        cores: None,
    });
    Verdict::of(&layout, &samples)
}

fn spotted(verdict: &Verdict) -> (usize, Reason) {
    let found = bottleneck(verdict);
    (found.stage, found.reason)
}

/// A is busy all the time, and more so than B: yet only B holds the stream up.
#[test]
fn a_stage_before_a_growing_backlog_is_no_bottleneck() {
    let stages: [&[Activity]; 3] = [
        &[Running],
        &[WaitingForInput],
        &[Running, Running, Running, WaitingForInput],
    ];
    let grows = judge_spooled(stages, 1000.0, 500.0);
    assert_eq!(spotted(&grows), (2, Reason::Cpu), "{}", grows.sentence());
    // Where B keeps up, it is A that everybody waits for.
    let keeps_up = judge_spooled(stages, 1000.0, 1000.0);
    assert_eq!(spotted(&keeps_up).0, 0, "{}", keeps_up.sentence());
}

#[test]
fn a_spool_that_waits_for_its_disk_is_the_bottleneck_and_says_so() {
    let slow: &[Activity] = &[
        Disk, Disk, Disk, Disk, Disk, Disk, Disk, Disk, Disk, Running,
    ];
    let verdict = judge_spooled(
        [&[BlockedOnOutput], slow, &[WaitingForInput]],
        1000.0,
        1000.0,
    );
    assert_eq!(
        spotted(&verdict),
        (1, Reason::Disk),
        "{}",
        verdict.sentence()
    );
    assert_eq!(
        verdict.spools[0].sentence().as_deref(),
        Some("the disk limits the spool (stage 2), 90 % of the time")
    );
    // A disk that is waited for now and then limits nobody.
    let quick: &[Activity] = &[Disk, WaitingForInput, WaitingForInput];
    let verdict = judge_spooled(
        [&[BlockedOnOutput], quick, &[WaitingForInput]],
        1000.0,
        1000.0,
    );
    assert_eq!(verdict.spools[0].sentence(), None);
}
