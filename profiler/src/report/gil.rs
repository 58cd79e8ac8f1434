//! The global interpreter lock of CPython for programs: part of the JSON
//! report, and what the HTML page makes its section of.

use serde::Serialize;

use crate::{
    profile::Recording,
    views::{
        Amount, LockRow, WaitingThread, locks,
        share::{percents, rounded_percent},
        top,
    },
};

/// How many functions a waiting thread lists; the others are summed.
const FUNCTIONS_SHOWN: usize = 10;

#[derive(Serialize)]
pub struct Gil<'r> {
    waits: u64,
    wait_ns: u64,
    processes: Vec<Process<'r>>,
}

#[derive(Serialize)]
struct Process<'r> {
    process_id: u32,
    pid: u32,
    name: &'r str,
    container: &'r str,
    container_id: u32,
    known_samples: u64,
    held_samples: u64,
    /// `null` when nothing is known.
    held_percent: Option<f64>,
    /// `null`: not measured.
    measured_from_ns: Option<u64>,
    measured_ns: Option<u64>,
    waits: u64,
    wait_ns: u64,
    /// Of the waits of all processes.
    wait_percent: f64,
    threads: Vec<Thread<'r>>,
}

#[derive(Serialize)]
struct Thread<'r> {
    thread_id: u32,
    tid: u32,
    name: &'r str,
    waits: u64,
    wait_ns: u64,
    /// Of the waits of its process.
    wait_percent: f64,
    /// Of the time in which they were measured.
    percent_of_wall_time: Option<f64>,
    functions: Vec<Function<'r>>,
    not_shown: usize,
    not_shown_waits: u64,
    not_shown_wait_ns: u64,
    not_shown_wait_percent: f64,
}

#[derive(Serialize)]
struct Function<'r> {
    /// `null`: no Python function was on the stack.
    function_id: Option<u32>,
    name: Option<&'r str>,
    file: Option<&'r str>,
    waits: u64,
    wait_ns: u64,
    /// Of the waits of its thread.
    wait_percent: f64,
}

/// Of the samples of which it is known, in percent: how many held the lock.
pub fn held_percent(row: &LockRow) -> Option<f64> {
    let usage = &row.usage;
    (usage.known > 0).then(|| rounded_percent(usage.held.min(usage.known), usage.known))
}

/// How much of the measured time a thread waited, in percent.
pub fn of_wall_time(row: &LockRow, thread: &WaitingThread) -> Option<f64> {
    row.measured_ns
        .filter(|&measured| measured > 0)
        .map(|measured| rounded_percent(thread.waits.weight, measured))
}

pub fn gil(recording: &Recording) -> Gil<'_> {
    let rows = locks(recording);
    let all: Amount = rows.iter().map(|row| row.waits).sum();
    let shares = percents(rows.iter().map(|row| row.waits.weight));
    Gil {
        waits: all.count,
        wait_ns: all.weight,
        processes: rows
            .iter()
            .zip(shares)
            .map(|(row, wait_percent)| process(recording, row, wait_percent))
            .collect(),
    }
}

fn process<'r>(recording: &'r Recording, row: &LockRow, wait_percent: f64) -> Process<'r> {
    let usage = &row.usage;
    let it = &recording.processes[usage.process as usize];
    let shares = percents(row.threads.iter().map(|thread| thread.waits.weight));
    Process {
        process_id: usage.process,
        pid: it.pid,
        name: &it.name,
        container: &recording.containers[it.container as usize].name,
        container_id: it.container,
        known_samples: usage.known,
        held_samples: usage.held,
        held_percent: held_percent(row),
        measured_from_ns: usage.measured_from_ns,
        measured_ns: row.measured_ns,
        waits: row.waits.count,
        wait_ns: row.waits.weight,
        wait_percent,
        threads: row
            .threads
            .iter()
            .zip(shares)
            .map(|(thread, wait_percent)| Thread {
                percent_of_wall_time: of_wall_time(row, thread),
                ..waiting(recording, thread, wait_percent)
            })
            .collect(),
    }
}

fn waiting<'r>(recording: &'r Recording, row: &WaitingThread, wait_percent: f64) -> Thread<'r> {
    let it = &recording.threads[row.thread as usize];
    let table = top(row.functions.clone(), FUNCTIONS_SHOWN, |&(_, amount)| {
        amount
    });
    let mut shares = percents(
        table
            .rows
            .iter()
            .map(|(_, amount)| amount.weight)
            .chain([table.others.weight]),
    );
    let not_shown_wait_percent = shares.pop().unwrap_or_default();
    Thread {
        thread_id: row.thread,
        tid: it.tid,
        name: &it.name,
        waits: row.waits.count,
        wait_ns: row.waits.weight,
        wait_percent,
        percent_of_wall_time: None,
        functions: table
            .rows
            .iter()
            .zip(shares)
            .map(|(&(id, amount), wait_percent)| {
                let function = id.map(|id| &recording.functions[id as usize]);
                Function {
                    function_id: id,
                    name: function.map(|function| function.name.as_str()),
                    file: function.map(|function| function.file.as_str()),
                    waits: amount.count,
                    wait_ns: amount.weight,
                    wait_percent,
                }
            })
            .collect(),
        not_shown: table.others_count,
        not_shown_waits: table.others.count,
        not_shown_wait_ns: table.others.weight,
        not_shown_wait_percent,
    }
}
