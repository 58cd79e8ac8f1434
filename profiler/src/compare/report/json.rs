//! A comparison for programs: `reports/comparison.schema.json` describes it.

use std::io::{self, Write};

use serde::Serialize;

use super::super::{
    Comparison,
    differential::OneSidedStacks,
    metrics::Better,
    targets::Checked,
    verdict::{Judged, OneSided},
};

/// Raised when a reader of the version before would misread it.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Report<'c> {
    format: &'static str,
    version: u32,
    outcome: &'static str,
    rules: RulesReport<'c>,
    baseline: &'c [String],
    candidate: &'c [String],
    mismatches: Vec<MismatchRow<'c>>,
    warnings: &'c [String],
    /// `null` without a baseline.
    metrics: Option<Vec<MetricRow>>,
    not_judged: usize,
    vanished: Vec<OneSidedRow>,
    appeared: Vec<OneSidedRow>,
    /// `null` when one side has no stacks.
    stacks: Option<StacksReport<'c>>,
    targets: Vec<TargetRow<'c>>,
}

#[derive(Serialize)]
struct RulesReport<'c> {
    threshold: f64,
    alpha: f64,
    min_share: f64,
    noise: Option<f64>,
    paired: bool,
    only: &'c [String],
}

#[derive(Serialize)]
struct MismatchRow<'c> {
    what: &'c str,
    baseline: &'c str,
    candidate: &'c str,
    forbids: bool,
}

#[derive(Serialize)]
struct MetricRow {
    id: String,
    title: String,
    unit: &'static str,
    better: Better,
    headline: bool,
    verdict: &'static str,
    reason: String,
    baseline: Option<f64>,
    candidate: Option<f64>,
    baseline_rounds: usize,
    candidate_rounds: usize,
    /// Relative; `null` when there is no ratio. Without an interval it is not sure
    /// at all.
    change: Option<f64>,
    change_low: Option<f64>,
    change_high: Option<f64>,
    method: Option<&'static str>,
    noise_floor: f64,
    noise_floor_measured: bool,
    adjusted_chance: Option<f64>,
}

#[derive(Serialize)]
struct OneSidedRow {
    id: String,
    title: String,
    unit: &'static str,
    value: f64,
}

#[derive(Serialize)]
struct StacksReport<'c> {
    source: &'static str,
    vanished: Vec<StackRow<'c>>,
    vanished_by_chance: usize,
    appeared: Vec<StackRow<'c>>,
    appeared_by_chance: usize,
}

#[derive(Serialize)]
struct StackRow<'c> {
    stack: &'c str,
    per_second: f64,
    events: u64,
}

#[derive(Serialize)]
struct TargetRow<'c> {
    name: String,
    file: &'c str,
    line: usize,
    text: &'c str,
    status: &'static str,
    reason: &'c str,
    /// In `unit`, as the limit.
    measured: Option<f64>,
    limit: Option<f64>,
    comparison: Option<&'static str>,
    unit: Option<&'static str>,
    rounds: usize,
}

pub fn write(comparison: &Comparison, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &report(comparison))?;
    writeln!(out)
}

fn report(comparison: &Comparison) -> Report<'_> {
    let rules = &comparison.rules;
    let judgement = comparison.judgement.as_ref();
    let one_sided = |list: Option<&Vec<OneSided>>| {
        list.map_or_else(Vec::new, |list| list.iter().map(one_sided).collect())
    };
    Report {
        format: "profiler-comparison",
        version: VERSION,
        outcome: comparison.outcome().name(),
        rules: RulesReport {
            threshold: rules.threshold,
            alpha: rules.alpha,
            min_share: rules.min_share,
            noise: rules.noise,
            paired: rules.paired,
            only: &rules.only,
        },
        baseline: &comparison.baseline,
        candidate: &comparison.candidate,
        mismatches: comparison
            .mismatches
            .iter()
            .map(|it| MismatchRow {
                what: it.what,
                baseline: &it.baseline,
                candidate: &it.candidate,
                forbids: it.forbids,
            })
            .collect(),
        warnings: &comparison.warnings,
        metrics: judgement.map(|it| it.metrics.iter().map(|it| metric(comparison, it)).collect()),
        not_judged: judgement.map_or(0, |it| it.too_small),
        vanished: one_sided(judgement.map(|it| &it.vanished)),
        appeared: one_sided(judgement.map(|it| &it.appeared)),
        stacks: comparison.differential.as_ref().map(|it| StacksReport {
            source: it.source.name(),
            vanished: stacks(&comparison.vanished),
            vanished_by_chance: comparison.vanished.by_chance,
            appeared: stacks(&comparison.appeared),
            appeared_by_chance: comparison.appeared.by_chance,
        }),
        targets: comparison
            .targets
            .iter()
            .map(|it| target(&comparison.targets_file, it))
            .collect(),
    }
}

fn metric(comparison: &Comparison, judged: &Judged) -> MetricRow {
    let difference = judged.difference.as_ref().ok();
    MetricRow {
        id: judged.key.id(),
        title: judged.key.title(),
        unit: judged.dimension.unit(),
        better: judged.better,
        headline: judged.headline,
        verdict: judged.verdict.name(),
        reason: judged.reason(&comparison.rules),
        baseline: judged.baseline,
        candidate: judged.candidate,
        baseline_rounds: judged.rounds.0,
        candidate_rounds: judged.rounds.1,
        change: judged.change().filter(|it| it.is_finite()),
        change_low: difference.map(|it| it.low).filter(|it| it.is_finite()),
        change_high: difference.map(|it| it.high).filter(|it| it.is_finite()),
        method: difference.map(|it| it.method.name()),
        noise_floor: judged.floor.relative,
        noise_floor_measured: judged.floor.measured,
        adjusted_chance: judged.chance,
    }
}

fn one_sided(it: &OneSided) -> OneSidedRow {
    OneSidedRow {
        id: it.key.id(),
        title: it.key.title(),
        unit: it.quantity.dimension.unit(),
        value: it.quantity.value,
    }
}

fn stacks(list: &OneSidedStacks) -> Vec<StackRow<'_>> {
    list.stacks
        .iter()
        .map(|it| StackRow {
            stack: &it.stack,
            per_second: it.rate,
            events: it.events,
        })
        .collect()
}

fn target<'c>(file: &'c str, checked: &'c Checked) -> TargetRow<'c> {
    let limit = checked.target.limit;
    TargetRow {
        name: checked.target.name(),
        file,
        line: checked.target.line,
        text: &checked.target.text,
        status: checked.status.name(),
        reason: &checked.reason,
        measured: checked.measured.map(|it| it.value),
        limit: limit.map(|(_, quantity)| quantity.value),
        comparison: limit.map(|(limit, _)| limit.sign()),
        unit: limit.map(|(_, quantity)| quantity.dimension.unit()),
        rounds: checked.rounds,
    }
}
