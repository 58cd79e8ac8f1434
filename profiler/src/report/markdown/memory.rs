//! Page faults, reclaim, and processes that ran out of memory.

use std::fmt::Write;

use super::{code, more, process_name};
use crate::{
    profile::Recording,
    report::text::{count, duration},
    views::process_memory,
};

const PROCESSES: usize = 8;

/// Whatever the other tables show.
pub fn memory(recording: &Recording, out: &mut String) -> std::fmt::Result {
    let Some(all) = &recording.memory else {
        return Ok(());
    };
    for kill in &all.oom_kills {
        writeln!(
            out,
            "\n**Killed for want of memory:** {} {} in {}, after {}.",
            code(&kill.name),
            kill.pid,
            code(&recording.containers[kill.container as usize].name),
            duration(kill.time_ns)
        )?;
    }
    let rows = process_memory(recording);
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n| Process | Page faults | Of them, with a read | Freeing memory itself |"
    )?;
    writeln!(out, "|:--|--:|--:|--:|")?;
    for row in rows.iter().take(PROCESSES) {
        let sum = &row.sum;
        writeln!(
            out,
            "| {} | {} | {} | {} |",
            process_name(recording, row.id),
            count(sum.minor_faults.saturating_add(sum.major_faults)),
            count(sum.major_faults),
            duration(sum.reclaim_ns)
        )?;
    }
    more(rows.len(), PROCESSES, out)
}
