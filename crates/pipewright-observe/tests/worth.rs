//! What a verdict is worth: the pipeline without its bottleneck, and a bottleneck that moves.

mod recordings;

use std::time::Duration;

use pipewright_observe::verdict::{Finding, History, Limit, Phase, Verdict};
use pipewright_observe::{Activity, Figures, Layout, PipeFigures, Sample, Scheduled, StageFigures};
use recordings::{line, recorded};

use Activity::{BlockedOnOutput, Ended, Running, Sleeping, Unknown, WaitingForInput};

fn judge_recorded(name: &str) -> Verdict {
    let (layout, samples) = recorded(name);
    Verdict::of(&layout, &samples)
}

fn limit(stage: usize, command: &str) -> Limit {
    let command = command.to_owned();
    Limit::Stage { stage, command }
}

/// Two seconds of one sample over and over, then figures: CPUs used and time without a CPU.
fn steady(stages: &[&[Activity]], figures: &[(f64, f64)]) -> Verdict {
    let interval = Duration::from_secs(2);
    let mut samples: Vec<Sample> = (0..=100_usize)
        .map(|n| Sample {
            at: Duration::from_millis(20) * n as u32,
            stages: stages.iter().map(|round| round[n % round.len()]).collect(),
            pipes: vec![None; stages.len() - 1],
            figures: None,
        })
        .collect();
    let figure = |&(cpus, waiting): &(f64, f64)| {
        let mut figures = StageFigures::default();
        figures.cpus = cpus;
        figures.scheduled = Some(Scheduled {
            on_cpu: interval.mul_f64(cpus),
            waiting_for_cpu: interval.mul_f64(waiting),
            turns: 0,
        });
        figures
    };
    if !figures.is_empty() {
        samples[100].figures = Some(Figures {
            interval,
            stages: figures.iter().map(figure).collect(),
            pipes: vec![PipeFigures::default(); stages.len() - 1],
            cores: None,
        });
    }
    Verdict::of(&line(stages.len()), &samples)
}

#[test]
fn without_a_recorded_slow_stage_the_busiest_of_the_others_is_the_limit() {
    // head used 0.39 s of CPU time while gzip used 3.49 s.
    let middle = judge_recorded("middle").prediction.unwrap();
    assert_eq!(middle.limit, limit(0, "head -c 40G /dev/zero"));
    assert!((middle.time - 0.39 / 3.49).abs() < 0.02, "{middle:?}");
    let sentence = middle.sentence();
    assert!(
        sentence.starts_with("without it the pipeline would take at best 1/")
            && sentence
                .ends_with(" of the time; then stage 1 (head -c 40G /dev/zero) would limit it"),
        "{sentence}"
    );
    // 1.05 s of yes, 3.49 s of awk.
    let computing = judge_recorded("computing").prediction.unwrap();
    assert_eq!(computing.limit, limit(0, "yes abc def"));
    assert!((computing.time - 1.05 / 3.49).abs() < 0.05, "{computing:?}");
}

#[test]
fn without_a_recorded_rate_limit_hardly_any_time_is_left() {
    for (name, stage) in [("last", 1), ("limited", 2), ("asleep", 1)] {
        let prediction = judge_recorded(name).prediction.unwrap();
        assert!(prediction.time < 0.05, "{name}, {stage}: {prediction:?}");
        let sentence = prediction.sentence();
        assert!(
            sentence.contains("less than 1/20 of the time"),
            "{sentence}"
        );
    }
}

#[test]
fn in_a_recorded_crowd_the_others_still_share_the_cores() {
    // All six together used two cores; the one that is named a sixth of that.
    let crowd = judge_recorded("crowd").prediction.unwrap();
    assert_eq!(crowd.limit, Limit::Cores);
    assert!((0.8..0.85).contains(&crowd.time), "{crowd:?}");
    assert!(
        crowd
            .sentence()
            .ends_with("then the number of cores would limit it")
    );
}

#[test]
fn nothing_is_foretold_of_what_is_slow_outside_or_hidden() {
    let outside = steady(&[&[WaitingForInput], &[WaitingForInput]], &[]);
    assert!(matches!(outside.finding, Finding::Bottleneck(_)) && outside.prediction.is_none());
    let reader = steady(&[&[BlockedOnOutput], &[BlockedOnOutput]], &[]);
    assert!(matches!(reader.finding, Finding::Bottleneck(_)) && reader.prediction.is_none());
    let person = steady(&[&[BlockedOnOutput], &[Activity::WaitingForPerson]], &[]);
    assert_eq!(person.sentence(), "stage 2 (s1) is waiting for a person");
    assert_eq!((person.prediction, person.phases), (None, Vec::new()));
    let hidden = steady(&[&[Unknown], &[Running]], &[]);
    assert!(matches!(hidden.finding, Finding::Bottleneck(_)) && hidden.prediction.is_none());
    let alone = steady(&[&[Running]], &[]);
    assert!(alone.prediction.is_none());
}

#[test]
fn a_wait_for_a_cpu_goes_with_the_crowd_and_other_waits_stay() {
    // The first stage is ready all the time, and on a CPU for a fifth of it.
    let verdict = steady(&[&[Running], &[Running]], &[(0.2, 0.8), (0.8, 0.2)]);
    let prediction = verdict.prediction.unwrap();
    assert!((prediction.time - 0.2).abs() < 0.01, "{prediction:?}");
    // A sleep of a third of the time stays as long as it is.
    let sleeper = &[Sleeping, BlockedOnOutput, BlockedOnOutput][..];
    let verdict = steady(&[sleeper, &[Running]], &[(0.1, 0.0), (1.0, 0.0)]);
    let prediction = verdict.prediction.unwrap();
    assert!((prediction.time - 0.43).abs() < 0.02, "{prediction:?}");
}

/// The first stage waits for the second, which computes: CPUs and system CPUs of the first, how often it got one, and
/// bytes a second through the pipe.
fn held_up(cpus: f64, system_cpus: f64, turns: u64, rate: f64) -> f64 {
    let interval = Duration::from_secs(2);
    let mut samples = in_turn(&[(2020, [BlockedOnOutput, Running])]);
    let mut figures = [StageFigures::default(), StageFigures::default()];
    (figures[0].cpus, figures[0].system_cpus) = (cpus, system_cpus);
    figures[0].scheduled = Some(Scheduled {
        on_cpu: interval.mul_f64(cpus),
        waiting_for_cpu: Duration::ZERO,
        turns,
    });
    figures[1].cpus = 1.0;
    let mut pipe = PipeFigures::default();
    pipe.rate = Some(rate);
    samples.last_mut().unwrap().figures = Some(Figures {
        interval,
        stages: figures.to_vec(),
        pipes: vec![pipe],
        cores: Some(2),
    });
    Verdict::of(&line(2), &samples).prediction.unwrap().time
}

#[test]
fn the_waits_for_a_bottleneck_that_reads_a_page_at_a_time_go_with_it() {
    // 40 MB/s, a page at a time: what is left is to compute, 0.1, and to move bytes, 40e6 * 0.35e-9.
    let by_pages = held_up(0.16, 0.06, 20_000, 40e6);
    assert!((by_pages - 0.114).abs() < 1e-6, "{by_pages}");
    // 64 KiB at a time: all of it stays.
    let by_more = held_up(0.16, 0.06, 1_220, 40e6);
    assert!((by_more - 0.16).abs() < 1e-6, "{by_more}");
    // No wait costs more than 10 µs.
    let opens_files = held_up(0.5, 0.4, 20_000, 40e6);
    assert!((opens_files - 0.4).abs() < 1e-6, "{opens_files}");
}

#[test]
fn the_others_share_all_cores_that_there_are() {
    // Three stages of 0.3 beside one of 0.9, on two cores: 0.45 each.
    let figures = [0.9, 0.3, 0.3, 0.3];
    let mut samples = Vec::new();
    for n in 0..=100_u32 {
        samples.push(Sample {
            at: Duration::from_millis(20) * n,
            stages: vec![Running, WaitingForInput, WaitingForInput, WaitingForInput],
            pipes: vec![None; 3],
            figures: None,
        });
    }
    let figures = figures.map(|cpus| {
        let mut figures = StageFigures::default();
        figures.cpus = cpus;
        figures
    });
    let on = |cores: Option<usize>| {
        let mut samples = samples.clone();
        samples[100].figures = Some(Figures {
            interval: Duration::from_secs(2),
            stages: figures.to_vec(),
            pipes: vec![PipeFigures::default(); 3],
            cores,
        });
        Verdict::of(&line(4), &samples).prediction.unwrap()
    };
    let on_two = on(Some(2));
    assert_eq!(on_two.limit, Limit::Cores);
    assert!((on_two.time - 0.45).abs() < 1e-6, "{on_two:?}");
    for cores in [Some(8), None] {
        let wide = on(cores);
        assert_eq!(wide.limit, limit(3, "s3"));
        assert!((wide.time - 0.3).abs() < 1e-6, "{wide:?}");
    }
}

#[test]
fn a_bottleneck_with_a_close_second_is_said_to_be_hardly_worth_it() {
    let nearly: &[Activity] = &[Running; 15];
    let nearly = [nearly, &[BlockedOnOutput; 2]].concat();
    let verdict = steady(&[&nearly, &[Running]], &[(0.88, 0.0), (1.0, 0.0)]);
    let prediction = verdict.prediction.expect("a lead of more than ten points");
    assert!(prediction.time > 0.87, "{prediction:?}");
    assert_eq!(prediction.with_workers(4, 4), Some(1.0 / prediction.time));
    let verdict = steady(&[&nearly, &[Running]], &[(0.95, 0.0), (1.0, 0.0)]);
    let sentence = verdict.prediction.unwrap().sentence();
    assert_eq!(
        sentence,
        "without it the pipeline would be hardly faster: stage 1 (s0) would limit it"
    );
}

#[test]
fn workers_gain_what_cores_and_the_other_stages_leave() {
    let busy = steady(
        &[&[BlockedOnOutput], &[Running]],
        &[(0.05, 0.0), (1.0, 0.0)],
    );
    let prediction = busy.prediction.unwrap();
    let gain = |workers, cores| prediction.with_workers(workers, cores);
    let close = |gain: Option<f64>, expected: f64| (gain.unwrap() - expected).abs() < 0.02;
    assert!(close(gain(2, 2), 2.0 / 1.05), "{:?}", gain(2, 2));
    assert!(close(gain(4, 8), 4.0), "{:?}", gain(4, 8));
    assert!(
        close(gain(64, 64), 20.0),
        "the first stage: {:?}",
        gain(64, 64)
    );
    assert_eq!((gain(1, 8), gain(8, 1)), (None, None));
}

/// Samples of two stages: for so many milliseconds each, these do this.
fn in_turn(turns: &[(u64, [Activity; 2])]) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut at = 0;
    for &(milliseconds, stages) in turns {
        for _ in 0..milliseconds / 20 {
            samples.push(Sample {
                at: Duration::from_millis(at),
                stages: stages.to_vec(),
                pipes: vec![None],
                figures: None,
            });
            at += 20;
        }
    }
    samples
}

fn phases(layout: &Layout, samples: &[Sample]) -> Vec<Phase> {
    Verdict::of(layout, samples).phases
}

const FIRST: [Activity; 2] = [Running, WaitingForInput];
const SECOND: [Activity; 2] = [BlockedOnOutput, Running];

#[test]
fn a_recorded_sort_has_its_phases_told_with_their_times() {
    let (layout, samples) = recorded("sort");
    let found = phases(&layout, &samples);
    let stages: Vec<_> = found
        .iter()
        .filter_map(|it| Some(it.bottleneck.as_ref()?.stage))
        .collect();
    assert_eq!(stages, [0, 1, 2], "{found:#?}");
    assert!(found[0].from_seconds < 0.1);
    assert!(
        (found.last().unwrap().until_seconds - 9.0).abs() < 0.2,
        "{found:#?}"
    );
    for pair in found.windows(2) {
        assert!((pair[0].until_seconds - pair[1].from_seconds).abs() < 1e-9);
    }
    let sentence = Phase::sentence(&found);
    assert!(
        sentence.starts_with("0–") && sentence.contains(" s sort (stage 2); "),
        "{sentence}"
    );
    // The generator and the reader both are a bash.
    assert!(sentence.ends_with(" s bash (stage 3)"), "{sentence}");
}

#[test]
fn recordings_of_a_bottleneck_that_stays_have_no_phases() {
    for name in ["middle", "last", "limited", "asleep", "computing"] {
        assert_eq!(judge_recorded(name).phases, [], "{name}");
    }
}

#[test]
fn two_phases_are_told_in_seconds_and_a_long_run_in_minutes() {
    let mut layout = line(2);
    layout.stages[0].command = "/usr/bin/rev".into();
    layout.stages[1].command = "gzip -1".into();
    let found = phases(&layout, &in_turn(&[(3900, FIRST), (2800, SECOND)]));
    assert_eq!(Phase::sentence(&found), "0–3.9 s rev; 3.9–6.7 s gzip");
    let found = phases(&layout, &in_turn(&[(180_000, FIRST), (120_000, SECOND)]));
    assert_eq!(Phase::sentence(&found), "0:00–3:00 rev; 3:00–5:00 gzip");
    layout.stages[1].command = "rev".into();
    let found = phases(&layout, &in_turn(&[(3900, FIRST), (2800, SECOND)]));
    assert_eq!(
        Phase::sentence(&found),
        "0–3.9 s rev (stage 1); 3.9–6.7 s rev (stage 2)"
    );
}

#[test]
fn stages_that_take_turns_are_not_said_to_be_equally_fast() {
    let third = [Ended, Ended];
    let samples = in_turn(&[(2000, FIRST), (2000, SECOND), (1000, third)]);
    let verdict = Verdict::of(&line(2), &samples);
    assert_eq!(verdict.finding, Finding::Balanced);
    assert_eq!(
        verdict.sentence(),
        "no single bottleneck: the stages held each other up in turn"
    );
}

#[test]
fn a_hiccup_is_no_phase() {
    let samples = in_turn(&[(4000, FIRST), (400, SECOND), (4000, FIRST)]);
    assert_eq!(phases(&line(2), &samples), []);
}

#[test]
fn days_of_samples_are_kept_as_few_windows_and_told_alike() {
    let mut history = History::new(line(2), Duration::from_secs(1));
    let mut sample = in_turn(&[(20, FIRST)]).remove(0);
    // A look every half second, for two days: the first half of it waits for stage 1.
    let looks = 2 * 24 * 3600 * 2_u32;
    for n in 0..looks {
        sample.at = Duration::from_millis(500) * n;
        sample.stages = (if n < looks / 2 { FIRST } else { SECOND }).to_vec();
        history.record(&sample);
    }
    let found = history.overall().phases;
    let sentence = Phase::sentence(&found);
    assert_eq!(found.len(), 2, "{sentence}");
    assert!(
        (found[0].until_seconds / 86_400.0 - 1.0).abs() < 0.02,
        "{sentence}"
    );
    assert!(history.recent().phases.is_empty());
}

#[test]
fn the_time_after_the_end_is_no_phase_of_its_own() {
    let samples = in_turn(&[(3000, FIRST), (300, [Ended, Ended])]);
    assert_eq!(phases(&line(2), &samples), []);
}
