//! How far two groups of rounds lie apart, and how sure that is.
//!
//! Rounds of the same build scatter by a factor rather than by an amount, and now
//! and then one is disturbed. So rounds are compared by the ratio of their
//! trimmed means, on logarithms: a fifth of the rounds is left out at each end,
//! and what that hides of the scatter is put back by winsorising (Yuen, The
//! two-sample trimmed t for unequal population variances, Biometrika 61, 1974).
//! At seven rounds, one disturbed round a side cannot make or hide a change.
//!
//! The interval is that of Yuen's t for few rounds, and a studentised bootstrap
//! of it from [`BOOTSTRAP_ROUNDS`] on: `simulation.rs` measures how often either
//! holds the truth, and that percentile and BCa bootstraps of seven rounds do so
//! less often than they claim.

use super::student;

/// From this number of rounds on each side a bootstrap gives the interval.
pub const BOOTSTRAP_ROUNDS: usize = 20;

/// Left out at each end of the rounds.
const TRIMMED: f64 = 0.2;
/// Below, nothing is trimmed: too little would be left.
const TRIMMED_FROM: usize = 5;

const RESAMPLES: usize = 1_999;

/// A metric in one round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    pub value: f64,
    /// How many independent events it was counted from, where that is known:
    /// then it scatters at least as Poisson's distribution does.
    pub events: Option<u64>,
}

/// Where an interval comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Yuen's trimmed t.
    TrimmedT,
    /// The studentised bootstrap of it.
    BootstrapT,
    /// The same of the differences of pairs.
    PairedT,
    /// One side has one round: it is taken to scatter as the other side does.
    OneAgainstMany,
    /// One round a side: only how many events were counted, and the scatter of
    /// rounds as the user stated it.
    Sampling,
}

impl Method {
    pub fn name(self) -> &'static str {
        match self {
            Self::TrimmedT => "trimmed_t",
            Self::BootstrapT => "bootstrap_t",
            Self::PairedT => "paired_t",
            Self::OneAgainstMany => "one_against_many",
            Self::Sampling => "sampling",
        }
    }
}

/// The candidate compared with the baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    pub baseline: f64,
    pub candidate: f64,
    /// Relative change: 0.1 is ten percent more than the baseline.
    pub change: f64,
    pub low: f64,
    pub high: f64,
    pub method: Method,
    /// On the scale that was computed on.
    difference: f64,
    standard_error: f64,
    freedom: f64,
    logarithmic: bool,
}

/// Why there is no difference to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoDifference {
    #[error("it was not measured on both sides")]
    Missing,
    #[error("it is zero in the baseline, so no ratio can be told")]
    ZeroBaseline,
    #[error(
        "one round a side: how far rounds of one build lie apart is not known (record more, \
         or state it with --noise)"
    )]
    OneRound,
    #[error("too few rounds: three a side at least, or three against one")]
    TooFewRounds,
}

/// What a side's rounds say together.
struct Group {
    center: f64,
    /// Squared standard error of the center.
    variance: f64,
    freedom: f64,
    rounds: usize,
}

impl Group {
    fn new(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        Self::of_sorted(&mut sorted)
    }

    fn of_sorted(sorted: &mut [f64]) -> Self {
        let rounds = sorted.len();
        let cut = trimmed(rounds);
        let kept = rounds - 2 * cut;
        let center = mean(&sorted[cut..rounds - cut]);
        let (lowest, highest) = (sorted[cut], sorted[rounds - cut - 1]);
        sorted[..cut].fill(lowest);
        sorted[rounds - cut..].fill(highest);
        let middle = mean(sorted);
        let squares: f64 = sorted.iter().map(|value| (value - middle).powi(2)).sum();
        // Of one round nothing is known; the caller sees its freedom.
        let freedom = kept as f64 - 1.0;
        Self {
            center,
            variance: squares / (kept as f64 * freedom.max(1.0)),
            freedom,
            rounds,
        }
    }
}

fn trimmed(rounds: usize) -> usize {
    if rounds < TRIMMED_FROM {
        0
    } else {
        (rounds as f64 * TRIMMED) as usize
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// What a group's rounds have in the middle: their trimmed mean, of logarithms
/// where all are above zero. `None` of no rounds.
pub fn center(values: &[f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    if values.iter().all(|&value| value > 0.0) {
        let logarithms: Vec<f64> = values.iter().map(|value| value.ln()).collect();
        Some(Group::new(&logarithms).center.exp())
    } else {
        Some(Group::new(values).center)
    }
}

/// An interval for the center of rounds, as `center` has it. `None` below three
/// rounds.
pub fn interval(values: &[f64], confidence: f64) -> Option<(f64, f64)> {
    if values.len() < 3 {
        return None;
    }
    let logarithmic = values.iter().all(|&value| value > 0.0);
    let scaled: Vec<f64> = values
        .iter()
        .map(|&value| if logarithmic { value.ln() } else { value })
        .collect();
    let group = Group::new(&scaled);
    let reach = student::quantile(0.5 * (1.0 - confidence), group.freedom) * group.variance.sqrt();
    let (low, high) = (group.center - reach, group.center + reach);
    Some(if logarithmic {
        (low.exp(), high.exp())
    } else {
        (low, high)
    })
}

/// Compares two groups of rounds, with an interval that holds the truth with the
/// chance `confidence`. `paired`: the rounds at the same place were measured
/// together, so that what disturbed one disturbed the other. `stated_noise` is how far single rounds of one build lie
/// apart, relative: used where one round a side is all there is.
pub fn difference(
    baseline: &[Observation],
    candidate: &[Observation],
    confidence: f64,
    paired: bool,
    stated_noise: Option<f64>,
) -> Result<Difference, NoDifference> {
    if baseline.is_empty() || candidate.is_empty() {
        return Err(NoDifference::Missing);
    }
    let both = || baseline.iter().chain(candidate);
    let logarithmic = both().all(|observed| observed.value > 0.0);
    let raw = |side: &[Observation]| side.iter().map(|it| it.value).collect::<Vec<f64>>();
    let plain = center(&raw(baseline)).unwrap_or_default();
    if plain <= 0.0 {
        return Err(NoDifference::ZeroBaseline);
    }
    let scaled = |side: &[Observation]| {
        side.iter()
            .map(|it| match logarithmic {
                true => it.value.ln(),
                // Relative to the baseline, so that both scales mean the same.
                false => it.value / plain,
            })
            .collect::<Vec<f64>>()
    };
    let (from, to) = (scaled(baseline), scaled(candidate));
    let (before, after) = (Group::new(&from), Group::new(&to));
    let least = sampling_variance(baseline) + sampling_variance(candidate);
    let mut middle = None;
    let (variance, freedom, method) = match (before.rounds, after.rounds) {
        (1, 1) => match stated_noise {
            Some(_) => (0.0, f64::INFINITY, Method::Sampling),
            None => return Err(NoDifference::OneRound),
        },
        (1, _) | (_, 1) => {
            let many = if before.rounds == 1 { &after } else { &before };
            if many.rounds < 3 {
                return Err(NoDifference::TooFewRounds);
            }
            // The center's variance, and once more what a single round has.
            let single = many.variance * (many.freedom + 1.0);
            (many.variance + single, many.freedom, Method::OneAgainstMany)
        }
        (first, second) if paired && first == second && first >= 3 => {
            let apart: Vec<f64> = from.iter().zip(&to).map(|(from, to)| to - from).collect();
            let pairs = Group::new(&apart);
            middle = Some(pairs.center);
            (pairs.variance, pairs.freedom, Method::PairedT)
        }
        (first, second) if first.min(second) < 3 => return Err(NoDifference::TooFewRounds),
        (first, second) => {
            let bootstrap = first.min(second) >= BOOTSTRAP_ROUNDS;
            let method = if bootstrap {
                Method::BootstrapT
            } else {
                Method::TrimmedT
            };
            (
                before.variance + after.variance,
                welch(&before, &after),
                method,
            )
        }
    };
    let standard_error = variance.max(least).sqrt();
    // A normal distribution is a t with no end of freedom.
    let freedom = freedom.min(1e6);
    let distance = middle.unwrap_or(after.center - before.center);
    let beyond = 0.5 * (1.0 - confidence);
    let (low, high) = match method {
        Method::BootstrapT if variance > least => {
            let (low, high) = bootstrap(&from, &to, beyond);
            (
                distance - high * standard_error,
                distance - low * standard_error,
            )
        }
        _ => {
            let apart = match (method, logarithmic) {
                (Method::Sampling, true) => stated_noise.unwrap_or_default().ln_1p(),
                (Method::Sampling, false) => stated_noise.unwrap_or_default(),
                _ => 0.0,
            };
            let reach = student::quantile(beyond, freedom) * standard_error + apart;
            (distance - reach, distance + reach)
        }
    };
    let relative = |distance: f64| {
        if logarithmic {
            distance.exp_m1()
        } else {
            distance
        }
    };
    let shown = |group: &Group| match logarithmic {
        true => group.center.exp(),
        false => group.center * plain,
    };
    Ok(Difference {
        baseline: shown(&before),
        candidate: shown(&after),
        change: relative(distance),
        low: relative(low),
        high: relative(high),
        method,
        difference: distance,
        standard_error,
        freedom,
        logarithmic,
    })
}

impl Difference {
    /// Two-sided chance of a difference like this one if the truth were no
    /// change beyond `floor`, a relative change.
    pub fn chance_within(&self, floor: f64) -> f64 {
        // The same factor both ways: 10 % more and 1/1.1 of it.
        let floor = if self.logarithmic {
            floor.ln_1p()
        } else {
            floor
        };
        let past = self.difference.abs() - floor;
        if self.standard_error == 0.0 {
            return if past > 0.0 { 0.0 } else { 1.0 };
        }
        (2.0 * student::tail(past / self.standard_error, self.freedom)).min(1.0)
    }
}

/// By how much the squared distance of two groups of rounds, on logarithms, is
/// more than their scatter explains; negative if it is less, `None` of too few
/// rounds. Of groups of one build, that is what this host makes of nothing.
pub fn unexplained(first: &[f64], second: &[f64]) -> Option<f64> {
    let both = || first.iter().chain(second);
    if first.len() < 2 || second.len() < 2 || both().any(|&value| value <= 0.0) {
        return None;
    }
    let group = |values: &[f64]| {
        let logarithms: Vec<f64> = values.iter().map(|value| value.ln()).collect();
        Group::new(&logarithms)
    };
    let (first, second) = (group(first), group(second));
    Some((second.center - first.center).powi(2) - first.variance - second.variance)
}

/// Of the ratio, what counting alone makes of its squared standard error.
fn sampling_variance(side: &[Observation]) -> f64 {
    let events: u64 = side
        .iter()
        .filter_map(|observed| observed.events)
        .fold(0, u64::saturating_add);
    if side.iter().any(|observed| observed.events.is_none()) {
        return 0.0;
    }
    1.0 / (events.max(1) as f64)
}

fn welch(first: &Group, second: &Group) -> f64 {
    let sum = first.variance + second.variance;
    if sum == 0.0 {
        return first.freedom + second.freedom;
    }
    sum.powi(2)
        / (first.variance.powi(2) / first.freedom + second.variance.powi(2) / second.freedom)
}

/// Quantiles of Yuen's t over resampled rounds.
fn bootstrap(from: &[f64], to: &[f64], beyond: f64) -> (f64, f64) {
    let truth = Group::new(to).center - Group::new(from).center;
    let mut random = Random::new(0x5eed);
    let mut resample = |values: &[f64]| {
        let mut drawn: Vec<f64> = values
            .iter()
            .map(|_| values[random.below(values.len())])
            .collect();
        drawn.sort_unstable_by(f64::total_cmp);
        Group::of_sorted(&mut drawn)
    };
    let mut ratios: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let (before, after) = (resample(from), resample(to));
            let error = (before.variance + after.variance).sqrt();
            let distance = after.center - before.center - truth;
            // Without scatter it says nothing, or everything.
            if error > 0.0 {
                distance / error
            } else {
                distance.signum() * f64::MAX
            }
        })
        .collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| ratios[((RESAMPLES + 1) as f64 * share) as usize - 1];
    (at(beyond), at(1.0 - beyond))
}

/// xorshift64*, seeded: the same rounds always give the same interval.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `limit`, which is small: the bias of the remainder is not seen.
    pub fn below(&mut self, limit: usize) -> usize {
        ((self.bits() >> 11) % limit as u64) as usize
    }
}

/// Benjamini's and Hochberg's adjustment (JRSS B 57, 1995): of the changes whose
/// adjusted chance is at most q, a share of q is expected to be false. Where
/// nothing changed at all, that is the chance of even one.
pub fn adjusted(chances: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..chances.len()).collect();
    order.sort_unstable_by(|&a, &b| chances[b].total_cmp(&chances[a]));
    let mut adjusted = vec![1.0; chances.len()];
    let mut least = 1.0_f64;
    for (above, place) in order.into_iter().enumerate() {
        let rank = (chances.len() - above) as f64;
        least = least.min(chances[place] * chances.len() as f64 / rank);
        adjusted[place] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests;
