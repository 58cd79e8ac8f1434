//! Python in the report for people: its functions, and its lock.

use std::fmt::Write as _;

use super::{NAME_LENGTH, code, others, tenths};
use crate::report::{
    gil::{held_percent, of_wall_time},
    text::{self, base_name, duration, shorten},
};
use crate::{
    profile::{Function, Recording, Source},
    views::{
        Amount, LockRow, Neighbour, PythonRow, Views, WaitingThread, locks, python_functions, top,
    },
};

const PYTHON_FUNCTIONS: usize = 10;
/// Callers, callees and lines of a Python function.
const NEIGHBOURS: usize = 3;
const LOCKS: usize = 5;
const WAITING_THREADS: usize = 10;

/// Python functions as `cProfile` shows them.
pub fn functions(recording: &Recording, views: &Views, out: &mut String) -> std::fmt::Result {
    let Some(table) = python_functions(recording, views.source, PYTHON_FUNCTIONS) else {
        return Ok(());
    };
    let shares = tenths(&table.functions, PythonRow::share, Amount::default());
    writeln!(
        out,
        "\nPython functions, {} of {}; sampled: what is counted are samples, not calls. Own time \
         holds the native code that a function called.",
        duration(table.total.weight),
        views.source.measures(),
    )?;
    writeln!(
        out,
        "\n| Python function | Own time | Share | Native | Cumulative | Callers | Callees | Lines |"
    )?;
    writeln!(out, "|:--|--:|--:|--:|--:|:--|:--|:--|")?;
    for (row, share) in table.functions.rows.iter().zip(&shares) {
        let function = &recording.functions[row.function as usize];
        let lines: Vec<String> = row
            .lines
            .iter()
            .filter(|line| line.line > 0)
            .take(NEIGHBOURS)
            .map(|line| {
                let part = crate::views::share::percent(line.total.weight, row.total.weight);
                format!("{} ({})", line.line, text::percent(part))
            })
            .collect();
        writeln!(
            out,
            "| {} | {} | {share} | {} | {} | {} | {} | {} |",
            code(&python_label(function)),
            duration(row.share().weight),
            duration(row.native.weight),
            duration(row.total.weight),
            neighbours(recording, &row.callers),
            neighbours(recording, &row.callees),
            lines.join(", "),
        )?;
    }
    others(&table.functions, views.source, &shares, "| | | | | |", out)
}

/// `function (file.py:12)`, without the directories.
fn python_label(function: &Function) -> String {
    format!(
        "{} ({}:{})",
        shorten(&function.name, NAME_LENGTH / 2),
        base_name(&function.file),
        function.line
    )
}

/// The heaviest callers or callees.
fn neighbours(recording: &Recording, rows: &[Neighbour]) -> String {
    let named: Vec<_> = rows
        .iter()
        .filter_map(|row| row.function)
        .map(|id| code(&text::function_label(&recording.functions[id as usize])))
        .collect();
    let mut text = named[..named.len().min(NEIGHBOURS)].join(", ");
    if named.len() > NEIGHBOURS {
        text += &format!(" and {} more", named.len() - NEIGHBOURS);
    }
    text
}

/// The global interpreter locks, whatever the other tables show.
pub fn gil(recording: &Recording, out: &mut String) -> std::fmt::Result {
    let rows = locks(recording);
    if rows.is_empty() {
        return Ok(());
    }
    let mut threads: Vec<(&LockRow, &WaitingThread)> = rows
        .iter()
        .flat_map(|row| row.threads.iter().map(move |thread| (row, thread)))
        .collect();
    threads.sort_by_key(|(_, thread)| std::cmp::Reverse(thread.waits));
    let table = top(rows.clone(), LOCKS, |row| row.waits);
    let shares = tenths(&table, |row| row.waits, Amount::default());
    writeln!(
        out,
        "\n| Process with a GIL | GIL wait | Share | Waits | Samples that hold it | Measured | Pid | Container |"
    )?;
    writeln!(out, "|:--|--:|--:|--:|--:|--:|--:|:--|")?;
    for (row, share) in table.rows.iter().zip(&shares) {
        let process = &recording.processes[row.usage.process as usize];
        writeln!(
            out,
            "| {} | {} | {share} | {} | {} | {} | {} | {} |",
            code(&process.name),
            duration(row.waits.weight),
            text::count(row.waits.count),
            held_percent(row).map_or_else(|| "not known".to_string(), text::percent),
            row.measured_ns
                .map_or_else(|| "not measured".to_string(), duration),
            process.pid,
            code(&recording.containers[process.container as usize].name),
        )?;
    }
    others(&table, Source::GilWait, &shares, "| | | | | |", out)?;
    if threads.is_empty() {
        return Ok(());
    }
    let table = top(threads, WAITING_THREADS, |(_, thread)| thread.waits);
    let shares = tenths(&table, |(_, thread)| thread.waits, Amount::default());
    writeln!(
        out,
        "\n| Thread that waited for the GIL | GIL wait | Share | Of its wall time | Waits | Pid | Waiting in |"
    )?;
    writeln!(out, "|:--|--:|--:|--:|--:|--:|:--|")?;
    for ((row, thread), share) in table.rows.iter().zip(&shares) {
        let it = &recording.threads[thread.thread as usize];
        let functions: Vec<String> = thread
            .functions
            .iter()
            .filter_map(|&(id, _)| id)
            .take(NEIGHBOURS)
            .map(|id| code(&python_label(&recording.functions[id as usize])))
            .collect();
        writeln!(
            out,
            "| {} | {} | {share} | {} | {} | {} | {} |",
            code(&it.name),
            duration(thread.waits.weight),
            of_wall_time(row, thread).map_or_else(|| "not known".to_string(), text::percent),
            text::count(thread.waits.count),
            recording.processes[row.usage.process as usize].pid,
            functions.join(", "),
        )?;
    }
    others(&table, Source::GilWait, &shares, "| | | | |", out)
}
