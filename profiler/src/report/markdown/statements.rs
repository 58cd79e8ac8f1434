//! Phases of PostgreSQL's statements.

use std::fmt::Write;

use super::{NAME_LENGTH, code, more};
use crate::{
    profile::{PhaseUse, Recording, StatementUse},
    report::{
        statements::by_server,
        text::{count, duration, shorten},
    },
};

const STATEMENTS: usize = 12;

pub fn statements(recording: &Recording, out: &mut String) -> std::fmt::Result {
    for (pid, container, uses, total) in by_server(recording) {
        writeln!(
            out,
            "\n| Statement of PostgreSQL {pid} in {} | Executed | Parse | Rewrite | Plan | Execute | Mean | Longest | For locks | Failed | In progress |",
            code(container)
        )?;
        writeln!(out, "|:--|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
        for told in uses.iter().take(STATEMENTS) {
            let begin = if told.cut { " …" } else { "" };
            row(
                &format!("{}{begin}", code(&shorten(&told.text, NAME_LENGTH))),
                told,
                out,
            )?;
        }
        row("all", &total, out)?;
        more(uses.len(), STATEMENTS, out)?;
    }
    if recording.statements.is_some() {
        writeln!(
            out,
            "\nPhases of a statement do not overlap; “mean” and “longest” are of executing it. “within” is what \
             statements of its functions took: it is in the other phases too. Each time holds the \
             cost of about one probe."
        )?;
    }
    Ok(())
}

fn row(name: &str, told: &StatementUse, out: &mut String) -> std::fmt::Result {
    let several = |number: u64, ns: u64| match number {
        0 => String::new(),
        number => format!("{} ({})", duration(ns), count(number)),
    };
    writeln!(
        out,
        "| {name} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        count(told.execute.count),
        phase(&told.parse),
        phase(&told.rewrite),
        phase(&told.plan),
        phase(&told.execute),
        told.execute.mean_ns().map(duration).unwrap_or_default(),
        duration(told.execute.longest_ns),
        several(told.lock_waits, told.lock_ns),
        several(told.failed, told.failed_ns),
        several(told.in_progress, told.in_progress_ns),
    )
}

fn phase(of: &PhaseUse) -> String {
    match (of.count, of.nested) {
        (0, 0) => String::new(),
        (_, 0) => duration(of.ns),
        (_, nested) => format!(
            "{}; within {} ({})",
            duration(of.ns),
            duration(of.nested_ns),
            count(nested)
        ),
    }
}
