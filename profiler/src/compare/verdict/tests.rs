use super::*;
use crate::compare::measure::Measured;

fn rounds(values: &[f64], better: Better) -> Vec<Round> {
    let of = |&value: &f64| {
        let measured = Measured {
            observation: Observation {
                value,
                events: None,
            },
            dimension: Dimension::Rate,
            better,
        };
        Round {
            metrics: [(Key::new(Group::Probe, "x"), measured)].into(),
            ..Round::default()
        }
    };
    values.iter().map(of).collect()
}

fn verdict_of(baseline: &[f64], candidate: &[f64], better: Better) -> Verdict {
    let sides = [baseline, candidate].map(|values| rounds(values, better));
    judge(&sides[0], &sides[1], &[], &Rules::default()).metrics[0].verdict
}

#[test]
fn what_is_better_depends_on_the_metric() {
    use Better::{Higher, Lower};
    let few = [100.0, 101.0, 99.0, 100.5, 99.5];
    let more = few.map(|value| value * 1.3);
    let little_more = few.map(|value| value * 1.03);
    let wild = [60.0, 150.0, 90.0, 200.0, 70.0];
    assert_eq!(verdict_of(&few, &more, Lower), Verdict::Worse);
    assert_eq!(verdict_of(&few, &more, Higher), Verdict::Better);
    assert_eq!(verdict_of(&more, &few, Higher), Verdict::Worse);
    assert_eq!(verdict_of(&few, &few, Lower), Verdict::Same);
    assert_eq!(verdict_of(&few, &little_more, Lower), Verdict::Same);
    assert_eq!(verdict_of(&few, &wild, Lower), Verdict::NotEnoughEvidence);
    assert_eq!(verdict_of(&few, &[130.0], Lower), Verdict::Worse);
    assert_eq!(verdict_of(&few, &[], Lower), Verdict::NotEnoughEvidence);
}

/// Errors that there were none of.
#[test]
fn what_was_zero_and_is_not_is_worse() {
    let (none, some) = ([0.0; 7], [1.0, 3.0, 2.0, 5.0, 1.0, 4.0, 2.0]);
    assert_eq!(verdict_of(&none, &some, Better::Lower), Verdict::Worse);
    let seldom = [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0];
    let found = verdict_of(&none, &seldom, Better::Lower);
    assert_eq!(found, Verdict::NotEnoughEvidence);
    let two = verdict_of(&none[..2], &some[..2], Better::Lower);
    assert_eq!(two, Verdict::NotEnoughEvidence);
}
