//! A comparison as workflow commands of GitHub Actions, which become annotations.
//! Layout: "Workflow commands for GitHub Actions" in GitHub's documentation.

use std::io::{self, Write};

use super::{
    super::{Comparison, targets::Status, verdict::Verdict},
    change, measured, summary, value,
};
use crate::report::text::clean;

pub fn write(comparison: &Comparison, out: &mut dyn Write) -> io::Result<()> {
    for mismatch in &comparison.mismatches {
        let text = format!(
            "not the same {}: {} and {}",
            mismatch.what, mismatch.baseline, mismatch.candidate
        );
        command(out, "warning", "", "Unlike conditions", &text)?;
    }
    for warning in &comparison.warnings {
        command(out, "warning", "", "Doubtful measurement", warning)?;
    }
    let metrics = comparison.judgement.iter().flat_map(|it| &it.metrics);
    for judged in metrics {
        let (change, interval) = change(judged);
        let text = format!(
            "{}: {change} ({interval}), from {} to {}: {}",
            judged.key.title(),
            value(judged, judged.baseline),
            value(judged, judged.candidate),
            judged.reason(&comparison.rules)
        );
        match judged.verdict {
            Verdict::Worse => command(out, "error", "", "Worse", &text)?,
            Verdict::NotEnoughEvidence if judged.headline => {
                command(out, "warning", "", "Not enough evidence", &text)?;
            }
            _ => {}
        }
    }
    for checked in &comparison.targets {
        let at = format!(
            "file={},line={},",
            property(&comparison.targets_file),
            checked.target.line
        );
        let name = checked.target.name();
        let limit = checked.limit();
        match checked.status {
            Status::Pass => {}
            Status::Fail => {
                let text = format!("{name}: {} measured, target {limit}", measured(checked));
                command(out, "error", &at, "Target missed", &text)?;
            }
            Status::Unknown => {
                let text = format!("{name}: target {limit}: {}", checked.reason);
                command(out, "warning", &at, "Target unknown", &text)?;
            }
        }
    }
    command(out, "notice", "", "Performance", &summary(comparison))
}

fn command(
    out: &mut dyn Write,
    level: &str,
    place: &str,
    title: &str,
    text: &str,
) -> io::Result<()> {
    // One line each: names come from hostile processes, and a line of their own
    // would be a command.
    let text = clean(text).replace('%', "%25");
    writeln!(out, "::{level} {place}title={}::{text}", property(title))
}

fn property(text: &str) -> String {
    clean(text)
        .replace('%', "%25")
        .replace(':', "%3A")
        .replace(',', "%2C")
}
