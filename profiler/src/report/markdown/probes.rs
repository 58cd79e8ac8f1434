//! Servers that were asked beside the recording: what matters most of each.

use std::fmt::Write as _;

use super::{code, more, prose_of};
use crate::{
    profile::{Answer, Document, Recording, document::Part},
    report::probes::container,
};

const PROBES: usize = 6;
/// Of each probe; the other formats have all.
const TABLES: usize = 2;
const ROWS: usize = 5;
const NOTES: usize = 2;
/// Of a sentence, and of a number or a title.
const LONGEST: usize = 250;
const SHORT: usize = 40;

pub fn probes(recording: &Recording, out: &mut String) -> std::fmt::Result {
    for probe in recording.probes.iter().take(PROBES) {
        writeln!(
            out,
            "\n### {} of {}: {}\n",
            probe.kind.title(),
            code(container(recording, probe)),
            code(&probe.target)
        )?;
        match &probe.answer {
            Answer::Measured { document, .. } => answered(document, out)?,
            Answer::NotMeasured { reason } => {
                writeln!(out, "Not measured: {}.", prose_of(reason, LONGEST))?
            }
        }
    }
    more(recording.probes.len(), PROBES, out)
}

fn answered(document: &Document, out: &mut String) -> std::fmt::Result {
    let about: Vec<String> = document
        .about
        .iter()
        .map(|(name, value)| format!("{}: {}", prose_of(name, SHORT), prose_of(value, LONGEST)))
        .collect();
    writeln!(out, "{}.", about.join("; "))?;
    let tables = document.parts.iter().filter(|part| !part.rows.is_empty());
    for part in tables.take(TABLES) {
        table(part, out)?;
    }
    Ok(())
}

fn table(part: &Part, out: &mut String) -> std::fmt::Result {
    writeln!(out, "\n**{}**\n", prose_of(&part.title, SHORT))?;
    let names: Vec<String> = part
        .columns
        .iter()
        .map(|it| prose_of(&it.name, SHORT))
        .collect();
    writeln!(out, "| {} |", names.join(" | "))?;
    let rules = part.columns.iter().map(|column| match column.number {
        true => "--:",
        false => ":--",
    });
    writeln!(out, "|{}|", rules.collect::<Vec<_>>().join("|"))?;
    for row in part.rows.iter().take(ROWS) {
        let cells: Vec<String> = row
            .iter()
            .zip(&part.columns)
            .map(|(cell, column)| match column.number || cell.is_empty() {
                true => prose_of(cell, SHORT),
                false => code(cell),
            })
            .collect();
        writeln!(out, "| {} |", cells.join(" | "))?;
    }
    more(part.rows.len(), ROWS, out)?;
    for note in part.notes.iter().take(NOTES) {
        writeln!(out, "\n{}", prose_of(note, LONGEST))?;
    }
    Ok(())
}
