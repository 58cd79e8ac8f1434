//! The noise floor: what two groups of rounds of one build differ by on this host.

use super::statistics::{self, Observation};

/// Least noise floor: what is taken to lie apart of itself between two builds of
/// the same source, as memory layout alone does it (Mytkowicz and others,
/// Producing wrong data without doing anything obviously wrong, ASPLOS 2009).
pub const LEAST_FLOOR: f64 = 0.01;
/// From this number of rounds on a side is halved to measure the noise floor.
const HALVED_FROM: usize = 4;

/// What two groups of rounds of one build differ by on this host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Floor {
    pub relative: f64,
    /// Otherwise [`LEAST_FLOOR`] is an assumption.
    pub measured: bool,
}

/// How far halves of each side, which are rounds of one build, lie apart beyond
/// their scatter. Sides that took turns are halved likewise; of others the first
/// half is compared with the second, since time lies between the sides as well.
pub fn floor(
    baseline: &[Observation],
    candidate: &[Observation],
    repeated: &[Observation],
    in_turn: bool,
) -> Floor {
    let values = |side: &[Observation]| side.iter().map(|it| it.value).collect::<Vec<f64>>();
    let halves = |side: &[Observation]| {
        let side = values(side);
        if side.len() < HALVED_FROM {
            return None;
        }
        let (first, second): (Vec<f64>, Vec<f64>) = if in_turn {
            let every_other = |from| side.iter().skip(from).step_by(2).copied().collect();
            (every_other(0), every_other(1))
        } else {
            let (first, second) = side.split_at(side.len() / 2);
            (first.to_vec(), second.to_vec())
        };
        statistics::unexplained(&first, &second)
    };
    let own: Vec<f64> = [baseline, candidate]
        .into_iter()
        .filter_map(halves)
        .collect();
    let of_halves = (!own.is_empty()).then(|| own.iter().sum::<f64>() / own.len() as f64);
    let of_session = statistics::unexplained(&values(baseline), &values(repeated));
    let found = of_halves.into_iter().chain(of_session).reduce(f64::max);
    Floor {
        relative: found
            .map_or(0.0, |squared| squared.max(0.0).sqrt().exp_m1())
            .max(LEAST_FLOOR),
        measured: found.is_some(),
    }
}
