//! The table of Python functions for programs: part of the JSON report.

use serde::Serialize;

use crate::{
    profile::Recording,
    views::{
        Amount, Neighbour, PythonTable,
        share::{percents, rounded_percent},
        top,
    },
};

use super::text::kind_name;

/// How many callers, callees and lines a function lists; the others are
/// summed.
const NEIGHBOURS_SHOWN: usize = 20;

#[derive(Serialize)]
pub struct Python<'r> {
    /// In stacks with a Python function.
    total_ns: u64,
    total_samples: u64,
    shown: usize,
    not_shown: usize,
    not_shown_ns: u64,
    not_shown_samples: u64,
    not_shown_percent: f64,
    functions: Vec<Function<'r>>,
}

#[derive(Serialize)]
struct Function<'r> {
    function_id: u32,
    name: &'r str,
    file: &'r str,
    line: u32,
    self_ns: u64,
    self_samples: u64,
    native_ns: u64,
    native_samples: u64,
    /// Of self and native, which together are parts of the whole.
    percent: f64,
    cumulative_ns: u64,
    cumulative_samples: u64,
    cumulative_percent: f64,
    callers: Vec<Next<'r>>,
    callers_not_shown_ns: u64,
    callees: Vec<Next<'r>>,
    callees_not_shown_ns: u64,
    lines: Vec<Line>,
    lines_not_shown_self_ns: u64,
}

/// A caller or a callee.
#[derive(Serialize)]
struct Next<'r> {
    function_id: Option<u32>,
    name: Option<&'r str>,
    kind: Option<&'static str>,
    ns: u64,
    samples: u64,
}

#[derive(Serialize)]
struct Line {
    line: u32,
    self_ns: u64,
    self_samples: u64,
    cumulative_ns: u64,
    cumulative_samples: u64,
}

pub fn python<'r>(recording: &'r Recording, table: &PythonTable) -> Python<'r> {
    let PythonTable { total, functions } = table;
    let mut percents = percents(
        functions
            .rows
            .iter()
            .map(|row| row.share().weight)
            .chain([functions.others.weight]),
    );
    let not_shown_percent = percents.pop().unwrap_or_default();
    Python {
        total_ns: total.weight,
        total_samples: total.count,
        shown: functions.rows.len(),
        not_shown: functions.others_count,
        not_shown_ns: functions.others.weight,
        not_shown_samples: functions.others.count,
        not_shown_percent,
        functions: functions
            .rows
            .iter()
            .zip(percents)
            .map(|(row, percent)| {
                let it = &recording.functions[row.function as usize];
                let (callers, callers_not_shown_ns) = neighbours(recording, &row.callers);
                let (callees, callees_not_shown_ns) = neighbours(recording, &row.callees);
                let lines = top(row.lines.clone(), NEIGHBOURS_SHOWN, |line| line.own);
                Function {
                    function_id: row.function,
                    name: &it.name,
                    file: &it.file,
                    line: it.line,
                    self_ns: row.own.weight,
                    self_samples: row.own.count,
                    native_ns: row.native.weight,
                    native_samples: row.native.count,
                    percent,
                    cumulative_ns: row.total.weight,
                    cumulative_samples: row.total.count,
                    cumulative_percent: rounded_percent(row.total.weight, total.weight),
                    callers,
                    callers_not_shown_ns,
                    callees,
                    callees_not_shown_ns,
                    lines: lines
                        .rows
                        .iter()
                        .map(|line| Line {
                            line: line.line,
                            self_ns: line.own.weight,
                            self_samples: line.own.count,
                            cumulative_ns: line.total.weight,
                            cumulative_samples: line.total.count,
                        })
                        .collect(),
                    lines_not_shown_self_ns: lines.others.weight,
                }
            })
            .collect(),
    }
}

fn neighbours<'r>(recording: &'r Recording, rows: &[Neighbour]) -> (Vec<Next<'r>>, u64) {
    let table = top(rows.to_vec(), NEIGHBOURS_SHOWN, |row| row.amount);
    let rows = table
        .rows
        .iter()
        .map(|row| {
            let Amount { weight, count } = row.amount;
            let function = row.function.map(|id| &recording.functions[id as usize]);
            Next {
                function_id: row.function,
                name: function.map(|function| function.name.as_str()),
                kind: function.map(|function| kind_name(function.kind)),
                ns: weight,
                samples: count,
            }
        })
        .collect();
    (rows, table.others.weight)
}
