use super::*;
use crate::profile::{FrameKind, FunctionId};

fn function(recording: &Recording, name: &str) -> FunctionId {
    let found = recording
        .functions
        .iter()
        .position(|function| function.name == name);
    found.expect("the function is in the recording") as FunctionId
}

fn ticks(count: u64) -> Amount {
    Amount {
        weight: count * sample::TICK,
        count,
    }
}

#[test]
fn every_table_adds_up_to_the_total() {
    let mut recordings = vec![sample::empty(), sample::plain(), sample::large(500, 30)];
    recordings.extend((0..20).map(sample::nasty));
    for recording in &recordings {
        let views = Views::new(recording, Source::OnCpu);
        let total = views.total;
        assert_eq!(total.weight, recording.total(Source::OnCpu));
        let sum = |amounts: Vec<Amount>| amounts.into_iter().sum::<Amount>();
        assert_eq!(
            sum(views.containers().iter().map(|row| row.amount).collect()),
            total
        );
        assert_eq!(
            sum(views.processes().iter().map(|row| row.amount).collect()),
            total
        );
        assert_eq!(
            sum(views.threads().iter().map(|row| row.amount).collect()),
            total
        );
        assert_eq!(
            sum(views.modules().iter().map(|row| row.amount).collect()),
            total
        );
        assert_eq!(
            sum(views.kinds().iter().map(|row| row.amount).collect()),
            total
        );
        assert_eq!(
            sum(views.stacks().iter().map(|row| row.amount).collect()),
            total
        );
        let own = sum(views.functions().iter().map(|row| row.own).collect());
        assert_eq!(own, total.without(views.without_stack));
    }
}

#[test]
fn a_recursive_function_counts_once() {
    let recording = sample::plain();
    let views = Views::new(&recording, Source::OnCpu);
    let walk = function(&recording, "walk");
    let rows = views.functions();
    let row = rows.iter().find(|row| row.function == walk);
    let row = row.expect("walk is in the table");
    assert_eq!(row.own, ticks(50 + 20 + 20));
    assert_eq!(row.total, ticks(50 + 20 + 20));
    assert_eq!(rows[0].function, walk, "the heaviest is first");
}

#[test]
fn totals_agree_with_counting_each_stack_by_hand() {
    for recording in (0..20).map(sample::nasty) {
        let views = Views::new(&recording, Source::OnCpu);
        for row in views.functions() {
            let mut expected = Amount::default();
            for sample in &recording.samples {
                let on_stack = recording
                    .frames_of(sample.stack)
                    .any(|frame| recording.frame(frame).function == row.function);
                if on_stack && sample.source == Source::OnCpu {
                    expected += Amount {
                        weight: sample.weight,
                        count: sample.count,
                    };
                }
            }
            assert_eq!(row.total, expected);
            let around = views.around(row.function);
            let sum = |rows: &[Neighbour]| rows.iter().map(|row| row.amount).sum::<Amount>();
            assert_eq!(sum(&around.callers), expected);
            assert_eq!(sum(&around.callees), expected);
            let itself = around.callees.iter().find(|row| row.function.is_none());
            let own = itself.map_or(Amount::default(), |row| row.amount);
            assert!(own.weight <= row.own.weight);
        }
    }
}

#[test]
fn callers_and_callees_of_a_recursion_are_those_outside_of_it() {
    let recording = sample::plain();
    let views = Views::new(&recording, Source::OnCpu);
    let body = function(&recording, "<module>");
    let around = views.around(function(&recording, "walk"));
    assert_eq!(
        around.callers,
        [Neighbour {
            function: Some(body),
            amount: ticks(90)
        }]
    );
    assert_eq!(
        around.callees,
        [Neighbour {
            function: None,
            amount: ticks(90)
        }]
    );
}

#[test]
fn kinds_say_in_what_code_the_time_went() {
    let recording = sample::plain();
    let views = Views::new(&recording, Source::OnCpu);
    let kinds: Vec<_> = views
        .kinds()
        .iter()
        .map(|row| (row.id, row.amount.count))
        .collect();
    assert_eq!(kinds[0], (Some(FrameKind::Python), 90));
    assert!(kinds.contains(&(None, 13)));
}

#[test]
fn shares_are_exact_together() {
    assert_eq!(shares(&[1, 1, 1], 1000), [334, 333, 333]);
    assert_eq!(shares(&[], 1000), [0; 0]);
    assert_eq!(shares(&[0, 0], 1000), [0, 0]);
    let mut random = sample::Random::new(3);
    for _ in 0..200 {
        let weights: Vec<u64> = (0..1 + random.below(50))
            .map(|_| random.below(1 << 40) as u64)
            .collect();
        assert_eq!(shares(&weights, 1000).iter().sum::<u64>(), 1000);
    }
    assert_eq!(shares(&[u64::MAX, u64::MAX], 1000), [500, 500]);
    assert_eq!(share::share_text(0, 5), "<0.1 %");
    assert_eq!(share::share_text(1000, 5), "100.0 %");
}

#[test]
fn a_part_of_a_table_says_what_the_others_are() {
    let part = top(vec![ticks(5), ticks(3), ticks(2)], 1, |&amount| amount);
    assert_eq!(part.rows, [ticks(5)]);
    assert_eq!((part.others, part.others_count), (ticks(5), 2));
    let all = top(vec![ticks(5)], 9, |&amount| amount);
    assert_eq!((all.others, all.others_count), (Amount::default(), 0));
}
