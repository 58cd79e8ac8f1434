use super::*;

fn observed(values: &[f64]) -> Vec<Observation> {
    let plain = |&value: &f64| Observation {
        value,
        events: None,
    };
    values.iter().map(plain).collect()
}

fn compared(from: &[f64], to: &[f64]) -> Difference {
    difference(&observed(from), &observed(to), 0.98, false, None).expect("there are rounds")
}

#[test]
fn a_ratio_is_found_whatever_the_unit() {
    let rounds = [100.0, 102.0, 98.0, 101.0, 99.0, 100.5, 99.5];
    let slower = rounds.map(|value| value * 1.1);
    let found = compared(&rounds, &slower);
    assert!((found.change - 0.1).abs() < 1e-9, "{found:?}");
    assert!(found.low > 0.05 && found.high < 0.15, "{found:?}");
    let nanoseconds = compared(&rounds.map(|it| it * 1e9), &slower.map(|it| it * 1e9));
    assert!((found.low - nanoseconds.low).abs() < 1e-9);
    assert!(found.chance_within(0.01) < 1e-4);
    assert!(found.chance_within(0.2) > 0.99);
    let back = compared(&slower, &rounds);
    assert!((back.change - (1.0 / 1.1 - 1.0)).abs() < 1e-9);
    assert!((back.chance_within(0.01) - found.chance_within(0.01)).abs() < 1e-12);
}

/// R: `WRS2::yuen`, or by hand: of 1 to 7 the middle five, mean 4, and
/// winsorised squares of 2 2 3 4 5 6 6.
#[test]
fn trimming_is_yuens() {
    let group = Group::new(&[7.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(group.center, 4.0);
    assert_eq!(group.freedom, 4.0);
    assert!((group.variance - 18.0 / 20.0).abs() < 1e-12);
    let disturbed = Group::new(&[700.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(disturbed.center, group.center);
    assert_eq!(disturbed.variance, group.variance);
}

#[test]
fn pairs_are_compared_within() {
    // Disturbances of 20 % that both have, and 5 % between them.
    let from = [100.0, 121.0, 99.0, 119.0, 101.0, 80.0, 120.0];
    let to = [105.5, 126.5, 104.0, 125.5, 106.0, 83.5, 126.5];
    let apart = compared(&from, &to);
    assert!(apart.chance_within(0.01) > 0.1, "{apart:?}");
    let paired = difference(&observed(&from), &observed(&to), 0.98, true, None);
    let paired = paired.expect("there are rounds");
    assert_eq!(paired.method, Method::PairedT);
    assert!(paired.chance_within(0.01) < 1e-3, "{paired:?}");
}

#[test]
fn few_rounds_say_little() {
    let one = observed(&[100.0]);
    let seven = observed(&[100.0, 102.0, 98.0, 101.0, 99.0, 100.5, 99.5]);
    let of = |a: &[Observation], b: &[Observation]| difference(a, b, 0.98, false, None);
    assert_eq!(of(&one, &one), Err(NoDifference::OneRound));
    assert_eq!(of(&one, &seven[..2]), Err(NoDifference::TooFewRounds));
    assert_eq!(of(&seven[..2], &seven), Err(NoDifference::TooFewRounds));
    assert_eq!(of(&one, &[]), Err(NoDifference::Missing));
    assert_eq!(
        of(&observed(&[0.0, 0.0]), &seven),
        Err(NoDifference::ZeroBaseline)
    );
    let single = of(&seven, &one).expect("seven are enough");
    assert_eq!(single.method, Method::OneAgainstMany);
    let many = of(&seven, &seven).expect("seven are enough");
    assert!(single.high > many.high * 2.0, "{single:?} {many:?}");
    let stated = difference(&one, &one, 0.98, false, Some(0.05)).expect("it is stated");
    assert!((stated.high - 0.05).abs() < 1e-9);
}

#[test]
fn few_events_are_never_sure() {
    let counted = |events: u64| Observation {
        value: events as f64,
        events: Some(events),
    };
    let few = difference(&[counted(1); 3], &[counted(2); 3], 0.98, false, None);
    assert!(few.expect("rounds").chance_within(0.01) > 0.02);
    let many = difference(
        &[counted(10_000); 3],
        &[counted(20_000); 3],
        0.98,
        false,
        None,
    );
    assert!(many.expect("rounds").chance_within(0.01) < 1e-6);
}

#[test]
fn zeros_are_compared_by_amounts() {
    let found = compared(&[10.0, 0.0, 12.0, 11.0], &[20.0, 21.0, 19.0, 22.0]);
    assert!(!found.logarithmic && found.change > 0.5, "{found:?}");
}

#[test]
fn adjusting_is_benjaminis_and_hochbergs() {
    // R: p.adjust(c(.01, .04, .03, .005), "BH").
    let adjusted = adjusted(&[0.01, 0.04, 0.03, 0.005]);
    for (found, wanted) in adjusted.iter().zip([0.02, 0.04, 0.04, 0.02]) {
        assert!((found - wanted).abs() < 1e-12, "{found}");
    }
}
