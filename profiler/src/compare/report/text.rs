//! A comparison for a terminal.

use std::io::{self, Write};

use super::{
    super::{
        Comparison,
        differential::OneSidedStacks,
        measure::Key,
        quantity::{Dimension, Quantity},
        verdict::{CONFIDENCE, Judgement, OneSided, Verdict, percent},
    },
    change, count_of, measured, method, rounds, shown, summary, value,
};
use crate::{
    profile::Unit,
    report::text::{clean, shorten},
};

const NAME_WIDTH: usize = 64;
const STACK_WIDTH: usize = 160;
const LISTED: usize = 10;

pub fn write(comparison: &Comparison, out: &mut dyn Write) -> io::Result<()> {
    for (side, names) in [
        ("baseline", &comparison.baseline),
        ("candidate", &comparison.candidate),
    ] {
        if let [first, rest @ ..] = &names[..] {
            let last = rest.last().map(|last| format!(" … {}", clean(last)));
            writeln!(
                out,
                "{side:<10} {}: {}{}",
                count_of(names.len(), "round"),
                clean(first),
                last.unwrap_or_default()
            )?;
        }
    }
    for mismatch in &comparison.mismatches {
        writeln!(
            out,
            "warning: not the same {}: {} and {}",
            mismatch.what,
            clean(&mismatch.baseline),
            clean(&mismatch.candidate)
        )?;
    }
    for warning in &comparison.warnings {
        writeln!(out, "warning: {}", clean(warning))?;
    }
    if let Some(judgement) = &comparison.judgement {
        metrics(comparison, judgement, out)?;
        one_sided("Vanished", &judgement.vanished, out)?;
        one_sided("New", &judgement.appeared, out)?;
        stacks(comparison, "Vanished", &comparison.vanished, out)?;
        stacks(comparison, "New", &comparison.appeared, out)?;
        writeln!(out, "\n{}", method(comparison))?;
    }
    targets(comparison, out)?;
    writeln!(out, "\n{}", summary(comparison))
}

fn metrics(comparison: &Comparison, judgement: &Judgement, out: &mut dyn Write) -> io::Result<()> {
    for verdict in [
        Verdict::Worse,
        Verdict::NotEnoughEvidence,
        Verdict::Better,
        Verdict::Same,
    ] {
        let (rows, hidden) = shown(&judgement.metrics, verdict);
        if rows.is_empty() {
            continue;
        }
        let title = crate::report::text::capitalized(verdict.title());
        writeln!(
            out,
            "\n{title:<NAME_WIDTH$} {:>12} {:>12} {:>9}  {:<20} {:>6} {:>7}",
            "baseline",
            "candidate",
            "change",
            format!("{} interval", percent(CONFIDENCE)),
            "floor",
            "rounds"
        )?;
        for row in rows {
            let (change, interval) = change(row);
            writeln!(
                out,
                "  {:<width$} {:>12} {:>12} {change:>9}  {interval:<20} {:>6} {:>7}",
                shorten(&clean(&row.key.title()), NAME_WIDTH - 2),
                value(row, row.baseline),
                value(row, row.candidate),
                format!("{:.1} %", row.floor.relative * 100.0),
                rounds(row),
                width = NAME_WIDTH - 2,
            )?;
            if verdict == Verdict::NotEnoughEvidence && row.headline {
                writeln!(out, "    {}", row.reason(&comparison.rules))?;
            }
        }
        if hidden > 0 {
            writeln!(out, "  and {hidden} more, which --format json has")?;
        }
    }
    if judgement.too_small > 0 {
        writeln!(
            out,
            "\n{} smaller than {} of their whole were not judged.",
            count_of(judgement.too_small, "part"),
            percent(comparison.rules.min_share)
        )?;
    }
    Ok(())
}

fn one_sided(title: &str, list: &[OneSided], out: &mut dyn Write) -> io::Result<()> {
    if list.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{title}, of what is large enough to be judged")?;
    for it in list.iter().take(LISTED) {
        writeln!(
            out,
            "  {:<width$} {:>12}",
            shorten(&clean(&Key::title(&it.key)), NAME_WIDTH - 2),
            it.quantity,
            width = NAME_WIDTH - 2
        )?;
    }
    if list.len() > LISTED {
        writeln!(out, "  and {} more", list.len() - LISTED)?;
    }
    Ok(())
}

/// A rate of stacks in the unit of their source.
pub fn rate(comparison: &Comparison, value: f64) -> Quantity {
    let unit = comparison.differential.as_ref().map(|it| it.source.unit());
    Quantity {
        value,
        dimension: match unit {
            Some(Unit::Bytes) => Dimension::ByteRate,
            _ => Dimension::TimeRate,
        },
    }
}

fn stacks(
    comparison: &Comparison,
    title: &str,
    list: &OneSidedStacks,
    out: &mut dyn Write,
) -> io::Result<()> {
    if list.stacks.is_empty() && list.by_chance == 0 {
        return Ok(());
    }
    writeln!(out, "\n{title} stacks")?;
    for it in list.stacks.iter().take(LISTED) {
        // The innermost frames say what it is.
        let stack = clean(&it.stack).into_owned();
        let length = stack.chars().count();
        let shown = match length > STACK_WIDTH {
            true => format!(
                "…{}",
                stack.chars().skip(length - STACK_WIDTH).collect::<String>()
            ),
            false => stack,
        };
        writeln!(out, "  {:>12}  {shown}", rate(comparison, it.rate))?;
    }
    if list.stacks.len() > LISTED {
        writeln!(
            out,
            "  and {} more, which --format json has",
            list.stacks.len() - LISTED
        )?;
    }
    if list.by_chance > 0 {
        writeln!(
            out,
            "  {} more with so few samples that it may be chance",
            list.by_chance
        )?;
    }
    Ok(())
}

fn targets(comparison: &Comparison, out: &mut dyn Write) -> io::Result<()> {
    if comparison.targets.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n{:<8} {:<44} {:>14} {:>12}  by",
        "Target",
        clean(&comparison.targets_file),
        "limit",
        "measured"
    )?;
    for checked in &comparison.targets {
        writeln!(
            out,
            "{:<8} {:<44} {:>14} {:>12}  {}",
            checked.status.name(),
            shorten(&clean(&checked.target.name()), 44),
            clean(&checked.limit()),
            measured(checked),
            clean(&checked.reason)
        )?;
    }
    Ok(())
}
