//! What the rounds of two sides say of each metric: better, same, worse, or not
//! enough evidence.
//!
//! The threshold T is the change that matters to the user. A metric is
//!
//! * **worse** when its change for the worse is real (beyond the noise floor,
//!   at the error rate alpha for all metrics together) and its interval does not
//!   exclude that it is T or more;
//! * **better** likewise;
//! * the **same** when its interval lies within ±T: a change there may be, but
//!   one that does not matter;
//! * **not enough evidence** otherwise.
//!
//! Sides that did not take turns were measured in other sessions. What those
//! differ by on this host must be known then, from the halves of four rounds a
//! side, from more rounds of the baseline's build, or as stated by the user;
//! otherwise there is not enough evidence, whatever the numbers are.
//!
//! So a build that did not change is called worse with a chance of alpha / 2 at
//! most, and a metric that is T or more worse is called the same in one of a
//! hundred cases at most. Asking for an estimate above T instead would miss every second change
//! of just T, however many rounds there are.

use std::collections::BTreeSet;

use super::{
    conditions,
    input::Round,
    measure::{Group, Key},
    metrics::Better,
    noise::{self, Floor},
    quantity::{Dimension, Quantity},
    statistics::{self, Difference, Method, NoDifference, Observation},
};
use crate::{containers::select::glob, profile::Source};

/// How often an interval holds the truth: a change of the threshold is taken for
/// none in one of a hundred cases.
pub const CONFIDENCE: f64 = 0.98;

/// How to judge.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// The change that matters, relative.
    pub threshold: f64,
    /// Error rate for all metrics together, both directions.
    pub alpha: f64,
    /// Parts smaller than this share of their whole are not judged.
    pub min_share: f64,
    /// How far single rounds of one build lie apart, as the user states it.
    pub noise: Option<f64>,
    /// Rounds at the same place were measured together.
    pub paired: bool,
    /// Globs of metrics to judge; empty for all.
    pub only: Vec<String>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            threshold: 0.1,
            alpha: 0.04,
            min_share: 0.01,
            noise: None,
            paired: false,
            only: Vec::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    Worse,
    NotEnoughEvidence,
    Better,
    Same,
}

impl Verdict {
    pub const ALL: [Self; 4] = [
        Self::Worse,
        Self::Better,
        Self::Same,
        Self::NotEnoughEvidence,
    ];

    /// Machine-readable.
    pub fn name(self) -> &'static str {
        match self {
            Self::Worse => "worse",
            Self::NotEnoughEvidence => "not_enough_evidence",
            Self::Better => "better",
            Self::Same => "same",
        }
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::NotEnoughEvidence => "not enough evidence",
            other => other.name(),
        }
    }
}

/// A metric and what is said of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    pub key: Key,
    pub dimension: Dimension,
    pub better: Better,
    /// Without evidence for it the whole comparison has not enough.
    pub headline: bool,
    /// What each side's rounds have in the middle; `None`: not measured.
    pub baseline: Option<f64>,
    pub candidate: Option<f64>,
    /// Rounds in which it was measured.
    pub rounds: (usize, usize),
    pub difference: Result<Difference, NoDifference>,
    pub floor: Floor,
    /// The sides were measured one after the other, and how far sessions lie apart
    /// on this host is not known.
    pub other_session: bool,
    /// Of such a difference without a change beyond the floor, adjusted for the
    /// number of metrics.
    pub chance: Option<f64>,
    pub verdict: Verdict,
}

/// A part that only one side has.
#[derive(Clone, Debug, PartialEq)]
pub struct OneSided {
    pub key: Key,
    pub quantity: Quantity,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// The worst first.
    pub metrics: Vec<Judged>,
    /// In the baseline only, and in the candidate only; largest first.
    pub vanished: Vec<OneSided>,
    pub appeared: Vec<OneSided>,
    /// Parts that were too small to be judged.
    pub too_small: usize,
}

impl Judged {
    pub fn quantity(&self, value: f64) -> Quantity {
        Quantity {
            value,
            dimension: self.dimension,
        }
    }

    /// The relative change that the numbers show, sure or not; `None` if there is no
    /// ratio.
    pub fn change(&self) -> Option<f64> {
        match (&self.difference, self.baseline, self.candidate) {
            (Ok(difference), ..) => Some(difference.change),
            (Err(_), Some(baseline), Some(candidate)) if baseline > 0.0 => {
                Some(candidate / baseline - 1.0)
            }
            _ => None,
        }
    }

    /// Why the verdict is what it is, one clause.
    pub fn reason(&self, rules: &Rules) -> String {
        let threshold = percent(rules.threshold);
        let difference = match &self.difference {
            Ok(difference) => difference,
            Err(NoDifference::ZeroBaseline) if self.verdict == Verdict::Worse => {
                return "it was zero in every round, and is in none now".to_owned();
            }
            Err(error) => return error.to_string(),
        };
        if self.other_session {
            return "the sides did not take turns, and how far sessions of one build lie apart here \
                    is not known (take turns, record four rounds a side, or state it with --noise)"
                .to_owned();
        }
        let real = self.chance.is_some_and(|chance| chance <= rules.alpha);
        match self.verdict {
            Verdict::Worse | Verdict::Better => {
                format!("the change is real, and may be {threshold} or more")
            }
            Verdict::Same if real => format!("it changed, by less than {threshold}"),
            Verdict::Same => format!("a change of {threshold} is excluded"),
            Verdict::NotEnoughEvidence if difference.method == Method::Sampling => {
                format!("one round a side: neither no change nor one of {threshold} is excluded")
            }
            Verdict::NotEnoughEvidence => format!(
                "neither no change nor one of {threshold} is excluded: the rounds lie too far apart, \
                 or are too few"
            ),
        }
    }
}

/// `10 %`.
pub fn percent(relative: f64) -> String {
    let text = format!("{:.2}", relative * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A relative change with its sign: `+10.3 %`.
pub fn signed_percent(relative: f64) -> String {
    // Beyond a thousand percent a factor says more.
    if relative >= 10.0 {
        return format!("{:.0}×", relative + 1.0);
    }
    // Not -0.0.
    let rounded = (relative * 1000.0).round() / 10.0 + 0.0;
    format!("{rounded:+.1} %")
}

/// A metric on both sides, `None` where a round did not measure it.
struct Sides {
    key: Key,
    dimension: Dimension,
    better: Better,
    baseline: Vec<Observation>,
    candidate: Vec<Observation>,
}

/// Judges every metric of the two sides. `same_build` are more rounds of the
/// baseline's build, which tell how far another session alone leads away.
pub fn judge(
    baseline: &[Round],
    candidate: &[Round],
    same_build: &[Round],
    rules: &Rules,
) -> Judgement {
    let mut judgement = Judgement::default();
    let in_turn = conditions::interleaved(baseline, candidate) != Some(false);
    let keys: BTreeSet<&Key> = baseline
        .iter()
        .chain(candidate)
        .flat_map(|round| round.metrics.keys())
        .collect();
    for key in keys {
        let id = key.id();
        let wanted = |pattern: &String| glob(pattern.as_bytes(), id.as_bytes());
        if !rules.only.is_empty() && !rules.only.iter().any(wanted) {
            continue;
        }
        let Some(sides) = sides(key, baseline, candidate) else {
            continue;
        };
        if !large_enough(&sides, baseline, candidate, rules) {
            judgement.too_small += 1;
            continue;
        }
        if let Some(one_sided) = one_sided(&sides) {
            match one_sided {
                Ok(vanished) => judgement.vanished.push(vanished),
                Err(appeared) => judgement.appeared.push(appeared),
            }
            continue;
        }
        let repeated: Vec<Observation> = observations(key, same_build);
        judgement
            .metrics
            .push(measured(sides, &repeated, in_turn, rules));
    }
    decide(&mut judgement.metrics, rules);
    judgement.metrics.sort_by(|a, b| {
        rank(a)
            .cmp(&rank(b))
            .then_with(|| size(b).total_cmp(&size(a)))
    });
    for list in [&mut judgement.vanished, &mut judgement.appeared] {
        list.sort_by(|a, b| b.quantity.value.total_cmp(&a.quantity.value));
    }
    judgement
}

/// Without evidence and in the headline comes before without and not.
fn rank(judged: &Judged) -> (Verdict, bool) {
    (judged.verdict, !judged.headline)
}

fn size(judged: &Judged) -> f64 {
    judged.change().map_or(0.0, f64::abs)
}

fn observations(key: &Key, rounds: &[Round]) -> Vec<Observation> {
    let of = |round: &Round| match round.metrics.get(key) {
        Some(measured) => Some(measured.observation),
        // Recorded, and not there: none of it.
        None => key
            .source()
            .filter(|source| round.sources.contains(source))
            .map(|_| Observation {
                value: 0.0,
                events: Some(0),
            }),
    };
    rounds.iter().filter_map(of).collect()
}

fn sides(key: &Key, baseline: &[Round], candidate: &[Round]) -> Option<Sides> {
    let mut rounds = baseline.iter().chain(candidate);
    let measured = rounds.find_map(|round| round.metrics.get(key))?;
    Some(Sides {
        key: key.clone(),
        dimension: measured.dimension,
        better: measured.better,
        baseline: observations(key, baseline),
        candidate: observations(key, candidate),
    })
}

fn middle(side: &[Observation]) -> Option<f64> {
    let values: Vec<f64> = side.iter().map(|it| it.value).collect();
    statistics::center(&values)
}

/// Whether a part is a large enough part of its whole on either side.
fn large_enough(sides: &Sides, baseline: &[Round], candidate: &[Round], rules: &Rules) -> bool {
    let Some(whole) = sides.key.whole() else {
        return true;
    };
    let share = |side: &[Observation], rounds: &[Round]| {
        let whole = middle(&observations(&whole, rounds)).unwrap_or_default();
        let part = middle(side).unwrap_or_default();
        if whole > 0.0 { part / whole } else { 0.0 }
    };
    share(&sides.baseline, baseline).max(share(&sides.candidate, candidate)) >= rules.min_share
}

/// A part of a recording that one side has none of: vanished, or appeared.
fn one_sided(sides: &Sides) -> Option<Result<OneSided, OneSided>> {
    if sides.key.group == Group::Probe || sides.baseline.is_empty() || sides.candidate.is_empty() {
        return None;
    }
    let none = |side: &[Observation]| side.iter().all(|it| it.value == 0.0);
    let shown = |side: &[Observation]| OneSided {
        key: sides.key.clone(),
        quantity: Quantity {
            value: middle(side).unwrap_or_default(),
            dimension: sides.dimension,
        },
    };
    match (none(&sides.baseline), none(&sides.candidate)) {
        (false, true) => Some(Ok(shown(&sides.baseline))),
        (true, false) => Some(Err(shown(&sides.candidate))),
        _ => None,
    }
}

fn measured(sides: Sides, repeated: &[Observation], in_turn: bool, rules: &Rules) -> Judged {
    let difference = statistics::difference(
        &sides.baseline,
        &sides.candidate,
        CONFIDENCE,
        rules.paired,
        rules.noise,
    );
    let floor = noise::floor(&sides.baseline, &sides.candidate, repeated, in_turn);
    // What the user states is of single rounds, and of other sessions.
    let stated = match &difference {
        Ok(it) if it.method == Method::Sampling || !in_turn => rules.noise.unwrap_or_default(),
        _ => 0.0,
    };
    let beyond = floor.relative.max(stated);
    let chance = match &difference {
        Ok(difference) => Some(difference.chance_within(beyond)),
        Err(NoDifference::ZeroBaseline) => separation(&sides),
        Err(_) => None,
    };
    let headline = !rules.only.is_empty()
        || matches!(sides.key.group, Group::Probe | Group::Total(Source::OnCpu));
    Judged {
        headline,
        other_session: !in_turn && !floor.measured && rules.noise.is_none(),
        baseline: middle(&sides.baseline),
        candidate: middle(&sides.candidate),
        rounds: (sides.baseline.len(), sides.candidate.len()),
        key: sides.key,
        dimension: sides.dimension,
        better: sides.better,
        difference,
        floor: Floor {
            relative: beyond,
            ..floor
        },
        chance,
        verdict: Verdict::NotEnoughEvidence,
    }
}

/// All rounds of one side are zero and none of the other is: how likely that is
/// if the sides do not matter. `None`: it is not so.
fn separation(sides: &Sides) -> Option<f64> {
    let clean = sides.baseline.iter().all(|it| it.value == 0.0);
    if !clean || sides.candidate.iter().any(|it| it.value == 0.0) {
        return None;
    }
    let (few, all) = (
        sides.baseline.len(),
        sides.baseline.len() + sides.candidate.len(),
    );
    let ways = (0..few).fold(1.0, |ways, step| {
        ways * (all - step) as f64 / (step + 1) as f64
    });
    Some((2.0 / ways).min(1.0))
}

/// Chances are adjusted in two families, each at half the error rate: what is
/// measured as a whole, and the many parts that explain it. Otherwise hundreds of
/// functions would take the evidence from the few numbers that matter most.
fn decide(metrics: &mut [Judged], rules: &Rules) {
    for part in [false, true] {
        let of = |it: &&mut Judged| it.key.is_detail() == part;
        let mut family: Vec<&mut Judged> = metrics.iter_mut().filter(of).collect();
        let chances: Vec<f64> = family.iter().filter_map(|it| it.chance).collect();
        let mut adjusted = statistics::adjusted(&chances).into_iter();
        for judged in &mut family {
            if judged.chance.is_some() {
                judged.chance = adjusted.next().map(|chance| (2.0 * chance).min(1.0));
            }
        }
    }
    for judged in metrics {
        judged.verdict = verdict(judged, rules);
    }
}

fn verdict(judged: &Judged, rules: &Rules) -> Verdict {
    let real = judged.chance.is_some_and(|chance| chance <= rules.alpha);
    let difference = match &judged.difference {
        Ok(difference) => difference,
        Err(NoDifference::ZeroBaseline) if real => {
            return match judged.better {
                Better::Lower => Verdict::Worse,
                Better::Higher => Verdict::Better,
            };
        }
        Err(_) => return Verdict::NotEnoughEvidence,
    };
    if judged.other_session {
        return Verdict::NotEnoughEvidence;
    }
    let grew = difference.change > 0.0;
    let matters = if grew {
        difference.high >= rules.threshold
    } else {
        difference.low <= -rules.threshold
    };
    if real && matters {
        return if grew == (judged.better == Better::Lower) {
            Verdict::Worse
        } else {
            Verdict::Better
        };
    }
    if difference.low > -rules.threshold && difference.high < rules.threshold {
        Verdict::Same
    } else {
        Verdict::NotEnoughEvidence
    }
}

#[cfg(test)]
mod tests;
