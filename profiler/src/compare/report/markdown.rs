//! A comparison for a pull request, or for `$GITHUB_STEP_SUMMARY`.

use std::io::{self, Write};

use super::{
    super::{
        Comparison,
        differential::OneSidedStacks,
        targets::Status,
        verdict::{Judgement, OneSided, Verdict},
    },
    change, measured, method, rounds, shown, summary,
    text::rate,
    value,
};
use crate::report::text::{clean, shorten};

const NAME_LENGTH: usize = 100;
const STACK_LENGTH: usize = 300;
const LISTED: usize = 10;

pub fn write(comparison: &Comparison, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "### Performance: {}\n", escape(&summary(comparison)))?;
    for mismatch in &comparison.mismatches {
        writeln!(
            out,
            "> **Not the same {}**: {} and {}\n",
            mismatch.what,
            escape(&mismatch.baseline),
            escape(&mismatch.candidate)
        )?;
    }
    for warning in &comparison.warnings {
        writeln!(out, "> {}\n", escape(warning))?;
    }
    targets(comparison, out)?;
    if let Some(judgement) = &comparison.judgement {
        metrics(judgement, out)?;
        one_sided("Vanished", &judgement.vanished, out)?;
        one_sided("New", &judgement.appeared, out)?;
        stacks(comparison, "Vanished stacks", &comparison.vanished, out)?;
        stacks(comparison, "New stacks", &comparison.appeared, out)?;
        writeln!(out, "\n<sub>{}</sub>", escape(&method(comparison)))?;
    }
    Ok(())
}

fn metrics(judgement: &Judgement, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "| Verdict | Metric | Baseline | Candidate | Change | Interval | Noise floor | Rounds |"
    )?;
    writeln!(out, "|:--|:--|--:|--:|--:|:-:|--:|--:|")?;
    let mut hidden_of = Vec::new();
    for verdict in [
        Verdict::Worse,
        Verdict::NotEnoughEvidence,
        Verdict::Better,
        Verdict::Same,
    ] {
        let (rows, hidden) = shown(&judgement.metrics, verdict);
        if hidden > 0 {
            hidden_of.push(format!("{hidden} {}", verdict.title()));
        }
        for row in rows {
            let (change, interval) = change(row);
            let title = match verdict {
                Verdict::Worse => "**worse**",
                other => other.title(),
            };
            writeln!(
                out,
                "| {title} | {} | {} | {} | {change} | {interval} | {:.1} % | {} |",
                code(&row.key.title(), NAME_LENGTH),
                value(row, row.baseline),
                value(row, row.candidate),
                row.floor.relative * 100.0,
                rounds(row),
            )?;
        }
    }
    if !hidden_of.is_empty() {
        writeln!(out, "\nNot shown: {}.", hidden_of.join(", "))?;
    }
    Ok(())
}

fn one_sided(title: &str, list: &[OneSided], out: &mut dyn Write) -> io::Result<()> {
    if list.is_empty() {
        return Ok(());
    }
    let names = list
        .iter()
        .take(LISTED)
        .map(|it| format!("{} ({})", code(&it.key.title(), NAME_LENGTH), it.quantity));
    let more = match list.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    writeln!(
        out,
        "\n{title}: {}{more}",
        names.collect::<Vec<_>>().join(", ")
    )
}

fn stacks(
    comparison: &Comparison,
    title: &str,
    list: &OneSidedStacks,
    out: &mut dyn Write,
) -> io::Result<()> {
    if list.stacks.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n<details><summary>{title}: {}</summary>\n",
        list.stacks.len()
    )?;
    for it in list.stacks.iter().take(LISTED) {
        writeln!(
            out,
            "* {} {}",
            rate(comparison, it.rate),
            code(&it.stack, STACK_LENGTH)
        )?;
    }
    writeln!(out, "\n</details>")
}

fn targets(comparison: &Comparison, out: &mut dyn Write) -> io::Result<()> {
    if comparison.targets.is_empty() {
        return Ok(());
    }
    writeln!(out, "| Target | Limit | Measured | Status | By |")?;
    writeln!(out, "|:--|--:|--:|:--|:--|")?;
    for checked in &comparison.targets {
        let status = match checked.status {
            Status::Fail => "**fail**",
            other => other.name(),
        };
        writeln!(
            out,
            "| {} | {} | {} | {status} | {} |",
            code(&checked.target.name(), NAME_LENGTH),
            escape(&checked.limit()),
            measured(checked),
            escape(&checked.reason)
        )?;
    }
    writeln!(out)
}

/// A name as code, in a table: without what would end either.
fn code(name: &str, length: usize) -> String {
    let name = clean(name).replace('`', "'").replace('|', "\\|");
    format!("`{}`", shorten(&name, length))
}

fn escape(text: &str) -> String {
    clean(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('|', "\\|")
        .replace('`', "'")
}
