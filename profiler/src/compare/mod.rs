//! Two builds, or a build and its targets: what changed, and whether that is
//! sure.
//!
//! Files become rounds (`input`), rounds become metrics (`measure`), metrics of
//! two sides are compared (`statistics`) and judged (`verdict`), stacks are laid
//! over each other (`differential`), and targets are looked up (`targets`). All
//! of it is in a [`Comparison`], which the formats in `report` show.

pub mod conditions;
pub mod differential;
pub mod input;
mod json_report;
pub mod measure;
pub mod metrics;
pub mod noise;
pub mod quantity;
pub mod report;
#[cfg(test)]
mod simulation;
pub mod statistics;
mod student;
pub mod targets;
pub mod verdict;

use conditions::{Mismatch, mismatches};
use differential::{Differential, OneSidedStacks, Side};
use input::Round;
use targets::Checked;
use verdict::{Judgement, Rules, Verdict, judge};

/// What came out, and how the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing got worse, and every target is met.
    Fine,
    /// Something got worse, or a target was missed.
    Missed,
    NotEnoughEvidence,
}

impl Outcome {
    /// Machine-readable.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Missed => "missed",
            Self::NotEnoughEvidence => "not_enough_evidence",
        }
    }
}

/// All that is to be said.
#[derive(Clone, Debug)]
pub struct Comparison {
    pub rules: Rules,
    /// Names of the rounds.
    pub baseline: Vec<String>,
    pub candidate: Vec<String>,
    pub mismatches: Vec<Mismatch>,
    /// What else a reader must know.
    pub warnings: Vec<String>,
    /// `None` without a baseline: targets only.
    pub judgement: Option<Judgement>,
    pub differential: Option<Differential>,
    pub vanished: OneSidedStacks,
    pub appeared: OneSidedStacks,
    /// Empty if none were asked for.
    pub targets: Vec<Checked>,
    pub targets_file: String,
}

impl Comparison {
    pub fn new(
        baseline: &[Round],
        candidate: &[Round],
        same_build: &[Round],
        rules: Rules,
    ) -> Self {
        let differential = Differential::new(baseline, candidate);
        let only_in = |side| {
            differential
                .as_ref()
                .map(|it| it.only_in(side, rules.alpha))
                .unwrap_or_default()
        };
        let names = |rounds: &[Round]| rounds.iter().map(|it| it.name.clone()).collect();
        Self {
            baseline: names(baseline),
            candidate: names(candidate),
            mismatches: mismatches(baseline, candidate),
            warnings: warnings(baseline, candidate),
            vanished: only_in(Side::Baseline),
            appeared: only_in(Side::Candidate),
            judgement: Some(judge(baseline, candidate, same_build, &rules)),
            differential,
            targets: Vec::new(),
            targets_file: String::new(),
            rules,
        }
    }

    /// Of one build: its targets only.
    pub fn of_targets(candidate: &[Round], rules: Rules) -> Self {
        Self {
            rules,
            baseline: Vec::new(),
            candidate: candidate.iter().map(|it| it.name.clone()).collect(),
            mismatches: Vec::new(),
            warnings: warnings(&[], candidate),
            judgement: None,
            differential: None,
            vanished: OneSidedStacks::default(),
            appeared: OneSidedStacks::default(),
            targets: Vec::new(),
            targets_file: String::new(),
        }
    }

    pub fn count(&self, verdict: Verdict) -> usize {
        self.judgement.as_ref().map_or(0, |judgement| {
            let of = judgement.metrics.iter();
            of.filter(|it| it.verdict == verdict).count()
        })
    }

    /// Anything worse or missed decides; without it, evidence that the headline
    /// lacks. What was not measured is never a pass.
    pub fn outcome(&self) -> Outcome {
        use targets::Status;
        let has = |status| self.targets.iter().any(|it| it.status == status);
        if self.count(Verdict::Worse) > 0 || has(Status::Fail) {
            return Outcome::Missed;
        }
        let lacking = self.judgement.as_ref().is_some_and(|judgement| {
            let mut metrics = judgement.metrics.iter();
            judgement.metrics.is_empty()
                || metrics.any(|it| it.headline && it.verdict == Verdict::NotEnoughEvidence)
        });
        if lacking || has(Status::Unknown) {
            return Outcome::NotEnoughEvidence;
        }
        Outcome::Fine
    }
}

fn warnings(baseline: &[Round], candidate: &[Round]) -> Vec<String> {
    let mut warnings: Vec<String> = baseline
        .iter()
        .chain(candidate)
        .flat_map(|round| {
            round
                .doubts
                .iter()
                .map(|doubt| format!("{} {doubt}", round.name))
        })
        .collect();
    if baseline.len().max(candidate.len()) > 1
        && conditions::interleaved(baseline, candidate) == Some(false)
    {
        warnings.push(
            "the rounds of the two sides did not take turns: what else changed on the host between \
             them counts as a change of the build"
                .to_owned(),
        );
    }
    warnings
}
