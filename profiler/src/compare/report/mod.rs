//! A comparison as text, JSON, Markdown, JUnit XML, annotations of GitHub, and as
//! stacks.

mod github;
mod json;
mod junit;
mod markdown;
mod text;

use std::{
    io::{self, Write},
    path::Path,
};

use super::{
    Comparison, Outcome,
    differential::Side,
    targets::{Checked, Status},
    verdict::{Judged, Verdict, signed_percent},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
    Markdown,
    Junit,
    Github,
    Flamegraph,
    FlamegraphBaseline,
    Folded,
}

impl Format {
    pub const ALL: [Self; 8] = [
        Self::Text,
        Self::Json,
        Self::Markdown,
        Self::Junit,
        Self::Github,
        Self::Flamegraph,
        Self::FlamegraphBaseline,
        Self::Folded,
    ];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Markdown => "markdown",
            Self::Junit => "junit",
            Self::Github => "github",
            Self::Flamegraph => "flamegraph",
            Self::FlamegraphBaseline => "flamegraph-baseline",
            Self::Folded => "folded",
        }
    }

    /// What it is, for a help text.
    pub fn description(self) -> &'static str {
        match self {
            Self::Text => "tables to read",
            Self::Json => "everything, for programs (reports/comparison.schema.json)",
            Self::Markdown => "tables for a pull request or $GITHUB_STEP_SUMMARY",
            Self::Junit => "JUnit XML: a test case a metric and target",
            Self::Github => "annotations of GitHub Actions: `::error`, `::warning`",
            Self::Flamegraph => {
                "differential flame graph (SVG) as wide as the candidate has it, with new stacks"
            }
            Self::FlamegraphBaseline => {
                "the same as wide as the baseline had it, with vanished stacks"
            }
            Self::Folded => "stacks with two weights, baseline and candidate, one a line",
        }
    }

    /// By the ending of the file's name.
    pub fn from_path(path: &Path) -> Option<Self> {
        const ENDINGS: [(&str, Format); 7] = [
            (".txt", Format::Text),
            (".json", Format::Json),
            (".md", Format::Markdown),
            (".xml", Format::Junit),
            (".baseline.svg", Format::FlamegraphBaseline),
            (".svg", Format::Flamegraph),
            (".folded", Format::Folded),
        ];
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        let ending = ENDINGS.iter().find(|(ending, _)| name.ends_with(ending));
        ending.map(|&(_, format)| format)
    }
}

/// Writes a comparison.
///
/// # Errors
///
/// If it cannot be written, or has no stacks to draw.
pub fn write(comparison: &Comparison, format: Format, out: &mut dyn Write) -> io::Result<()> {
    let stacks = || {
        comparison.differential.as_ref().ok_or_else(|| {
            io::Error::other("there are no stacks on both sides: a flame graph needs recordings")
        })
    };
    match format {
        Format::Text => text::write(comparison, out),
        Format::Json => json::write(comparison, out),
        Format::Markdown => markdown::write(comparison, out),
        Format::Junit => junit::write(comparison, out),
        Format::Github => github::write(comparison, out),
        Format::Flamegraph => stacks()?.write_svg(Side::Candidate, out),
        Format::FlamegraphBaseline => stacks()?.write_svg(Side::Baseline, out),
        Format::Folded => out.write_all(&stacks()?.folded()?),
    }
}

/// In one line, for people.
pub fn summary(comparison: &Comparison) -> String {
    let mut parts = Vec::new();
    if comparison.judgement.is_some() {
        for verdict in Verdict::ALL {
            let count = comparison.count(verdict);
            if count > 0 || verdict == Verdict::Worse {
                parts.push(format!("{count} {}", verdict.title()));
            }
        }
    }
    let mut text = parts.join(", ");
    if !comparison.targets.is_empty() {
        let count = |status| {
            comparison
                .targets
                .iter()
                .filter(|it| it.status == status)
                .count()
        };
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(&format!(
            "targets: {} met, {} missed, {} unknown",
            count(Status::Pass),
            count(Status::Fail),
            count(Status::Unknown)
        ));
    }
    format!("{text}: {}", conclusion(comparison))
}

/// What it amounts to, and the exit code.
fn conclusion(comparison: &Comparison) -> &'static str {
    match (comparison.outcome(), comparison.judgement.is_some()) {
        (Outcome::Fine, true) => "no regression (exit code 0)",
        (Outcome::Fine, false) => "all met (exit code 0)",
        (Outcome::Missed, _) if comparison.count(Verdict::Worse) > 0 => "regressed (exit code 1)",
        (Outcome::Missed, _) => "a target was missed (exit code 1)",
        (Outcome::NotEnoughEvidence, _) => "not enough evidence (exit code 3)",
    }
}

/// Rows that tables show, and how many they leave out: all that got worse, and of
/// the others the first.
fn shown(metrics: &[Judged], verdict: Verdict) -> (Vec<&Judged>, usize) {
    let limit = match verdict {
        Verdict::Worse => usize::MAX,
        _ => 12,
    };
    let all: Vec<&Judged> = metrics.iter().filter(|it| it.verdict == verdict).collect();
    let (headline, rest): (Vec<&Judged>, Vec<&Judged>) = all.iter().partition(|it| it.headline);
    let hidden = rest.len().saturating_sub(limit);
    (
        headline
            .into_iter()
            .chain(rest.into_iter().take(limit))
            .collect(),
        hidden,
    )
}

/// `+9.8 %`, and from where to where it may be.
fn change(judged: &Judged) -> (String, String) {
    let unknown = || "–".to_owned();
    let interval = judged.difference.as_ref().map_or_else(
        |_| unknown(),
        |it| format!("{} … {}", signed_percent(it.low), signed_percent(it.high)),
    );
    let change = judged.change().map_or_else(unknown, signed_percent);
    (change, interval)
}

fn value(judged: &Judged, value: Option<f64>) -> String {
    value.map_or_else(
        || "–".to_owned(),
        |value| judged.quantity(value).to_string(),
    )
}

fn rounds(judged: &Judged) -> String {
    format!("{}/{}", judged.rounds.0, judged.rounds.1)
}

/// What was measured for a target.
fn measured(checked: &Checked) -> String {
    checked
        .measured
        .map_or_else(|| "–".to_owned(), |it| it.to_string())
}

/// `1 round`, `7 rounds`.
fn count_of(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

/// How the verdicts came about, for who reads the report alone.
fn method(comparison: &Comparison) -> String {
    use super::verdict::{CONFIDENCE, percent};
    let rules = &comparison.rules;
    format!(
        "Threshold {}, error rate {} for all metrics together (Benjamini-Hochberg), {} intervals of \
         trimmed means. Worse: beyond the noise floor for certain, and a change of the threshold not \
         excluded. Rates are a second of recording: they compare under the same load only.",
        percent(rules.threshold),
        percent(rules.alpha),
        percent(CONFIDENCE)
    )
}

#[cfg(test)]
mod tests;
