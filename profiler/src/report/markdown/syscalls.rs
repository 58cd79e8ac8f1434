//! System calls that took longest, and those that failed.

use std::fmt::Write;

use super::{code, more, process_name};
use crate::{
    profile::{CallTarget, Recording, SyscallUse, Syscalls},
    report::text::{count, duration},
    views::{call_targets, host_syscalls, process_syscalls},
};

const CALLS: usize = 10;
const PROCESSES: usize = 10;
const TARGETS: usize = 20;
/// Calls that the row of a process names.
const NAMED: usize = 3;

/// Whatever the other tables show.
pub fn calls(recording: &Recording, out: &mut String) -> std::fmt::Result {
    let Some(all) = &recording.syscalls else {
        return Ok(());
    };
    if (all.counted_ns as f64) < 0.99 * recording.about.duration_ns as f64 {
        writeln!(
            out,
            "\nSystem calls, of the first {} only:",
            duration(all.counted_ns)
        )?;
    }
    let host = host_syscalls(recording);
    if host.calls.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n| System call | Calls | Failed | Total | p50 | p99 | Longest | In progress |"
    )?;
    writeln!(out, "|:--|--:|:--|--:|--:|--:|--:|--:|")?;
    for call in host.calls.iter().take(CALLS) {
        let percentile = |share| call.durations.percentile_ns(share).map(duration);
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            code(&all.names[call.call as usize]),
            count(call.count),
            failures(call),
            duration(call.ns),
            percentile(0.5).unwrap_or_default(),
            percentile(0.99).unwrap_or_default(),
            duration(call.durations.max_ns),
            count(call.in_progress),
        )?;
    }
    more(host.calls.len(), CALLS, out)?;
    writeln!(
        out,
        "\n| Process | System calls | Failed | Time, without waiting for work | Most in |"
    )?;
    writeln!(out, "|:--|--:|--:|--:|:--|")?;
    let processes = process_syscalls(recording);
    for row in processes.iter().take(PROCESSES) {
        let named: Vec<String> = row
            .calls
            .iter()
            .filter(|call| !call.idle && call.count > 0)
            .take(NAMED)
            .map(|call| named(all, call))
            .collect();
        writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            process_name(recording, row.id),
            count(row.count()),
            count(row.errors()),
            duration(row.busy_ns()),
            named.join(", ")
        )?;
    }
    more(processes.len(), PROCESSES, out)?;
    targets(recording, all, out)
}

fn targets(recording: &Recording, all: &Syscalls, out: &mut String) -> std::fmt::Result {
    if !all.targets_told {
        return writeln!(
            out,
            "\nWhich files and peers these were about is told with `--trace` or \
             `--sources all,syscalls`."
        );
    }
    let targets = call_targets(recording);
    if targets.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n| System call | File or peer | Process | Calls | Failed | Total | Longest |"
    )?;
    writeln!(out, "|:--|:--|:--|--:|--:|--:|--:|")?;
    for target in targets.iter().take(TARGETS) {
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} |",
            code(&all.names[target.call as usize]),
            code(&target.title()),
            target
                .process
                .map_or_else(String::new, |process| process_name(recording, process)),
            count(target.calls),
            failed(target),
            duration(target.ns),
            duration(target.longest_ns),
        )?;
    }
    more(targets.len(), TARGETS, out)?;
    let lost = recording.quality.call_targets_lost;
    if lost > 0 {
        writeln!(
            out,
            "\n{} calls are not among these: the table of files and peers was full.",
            count(lost)
        )?;
    }
    Ok(())
}

/// How often, and why the last time.
fn failed(target: &CallTarget) -> String {
    match &target.error {
        Some(error) => format!("{} {error}", count(target.errors)),
        None => count(target.errors),
    }
}

fn named(all: &Syscalls, call: &SyscallUse) -> String {
    format!(
        "{} {} in {}",
        code(&all.names[call.call as usize]),
        duration(call.ns),
        count(call.count)
    )
}

fn failures(call: &SyscallUse) -> String {
    let kinds: Vec<String> = call
        .by_error
        .iter()
        .map(|(name, number)| format!("{name} {}", count(*number)))
        .collect();
    kinds.join(", ")
}
