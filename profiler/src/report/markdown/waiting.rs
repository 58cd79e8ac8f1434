//! Where the wall time of threads went.

use std::fmt::Write;

use super::{code, more, process_name, tenths_of};
use crate::{
    profile::{ActivityClass, Recording},
    report::text::duration,
    views::{AccountRow, container_accounts, process_accounts},
};

const CONTAINERS: usize = 10;
const PROCESSES: usize = 10;
/// Largest waits that a row names.
const WAITS: usize = 3;

/// Whatever the other tables show.
pub fn accounts(recording: &Recording, out: &mut String) -> std::fmt::Result {
    if recording.accounts.is_empty() {
        return Ok(());
    }
    let containers = container_accounts(recording);
    table(
        "Wall time of the threads of",
        &containers,
        CONTAINERS,
        |id| code(&recording.containers[id as usize].name),
        out,
    )?;
    let processes = process_accounts(recording);
    table(
        "Process",
        &processes,
        PROCESSES,
        |id| process_name(recording, id),
        out,
    )
}

fn table(
    title: &str,
    rows: &[AccountRow<u32>],
    shown: usize,
    name: impl Fn(u32) -> String,
    out: &mut String,
) -> std::fmt::Result {
    writeln!(
        out,
        "\n| {title} | Threads | Wall time | On a CPU | Waiting for a CPU | Blocked | Idle | Largest waits |"
    )?;
    writeln!(out, "|:--|--:|--:|--:|--:|--:|--:|:--|")?;
    for row in rows.iter().take(shown) {
        let classes = ActivityClass::ALL.map(|class| row.class_ns(class));
        let shares = tenths_of(&classes);
        let waits: Vec<String> = row
            .spent
            .iter()
            .filter(|spent| spent.activity.class() == ActivityClass::Blocked)
            .take(WAITS)
            .map(|spent| format!("{} {}", spent.activity.title(), duration(spent.ns)))
            .collect();
        writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            name(row.id),
            row.threads,
            duration(row.wall_ns),
            shares.join(" | "),
            waits.join(", ")
        )?;
    }
    more(rows.len(), shown, out)
}
