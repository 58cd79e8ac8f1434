//! System calls, for programs: part of the JSON report, and what the HTML page
//! makes its section of.

use std::collections::BTreeMap;

use serde::Serialize;

use super::durations::Durations;
use crate::{
    profile::{CallTarget, Partial, Recording, SyscallUse, Syscalls, TargetKind},
    views::{SyscallRow, call_targets, container_syscalls, host_syscalls, process_syscalls},
};

/// How many processes and threads' calls are listed; the others are in their
/// containers'.
const PROCESSES_SHOWN: usize = 200;
const THREAD_CALLS_SHOWN: usize = 2000;
const TARGETS_SHOWN: usize = 2000;

#[derive(Serialize)]
pub struct SyscallReport<'r> {
    calls: u64,
    errors: u64,
    /// Of them, those that no thread could be told of.
    calls_without_thread: u64,
    /// How long of the recording they were counted.
    counted_ns: u64,
    by_call: Vec<Call<'r>>,
    containers: Vec<Row<'r>>,
    processes: Vec<Row<'r>>,
    processes_not_shown: usize,
    /// Each thread's calls, those with most time first.
    threads: Vec<ThreadCall<'r>>,
    thread_calls_not_shown: usize,
    /// Whether it was asked what calls are about.
    targets_told: bool,
    /// Calls whose file or peer found the table of those full.
    calls_without_target: u64,
    /// By process, call, and file or peer, those with most time first.
    targets: Vec<TargetRow<'r>>,
    targets_not_shown: usize,
}

#[derive(Serialize)]
struct TargetRow<'r> {
    process_id: Option<u32>,
    pid: Option<u32>,
    process: &'r str,
    container: &'r str,
    call: &'r str,
    kind: TargetKind,
    name: &'r str,
    /// How the name falls short of the whole path.
    partial: Option<Partial>,
    /// For people.
    title: String,
    calls: u64,
    errors: u64,
    /// The last one.
    error: Option<&'r str>,
    total_ns: u64,
    max_ns: u64,
}

#[derive(Serialize)]
struct Row<'r> {
    id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    name: &'r str,
    container: &'r str,
    calls: u64,
    errors: u64,
    /// Without the calls in which a thread waits for work.
    busy_ns: u64,
    by_call: Vec<Call<'r>>,
}

#[derive(Serialize)]
struct Call<'r> {
    call: &'r str,
    /// In it a thread waits for work.
    idle: bool,
    calls: u64,
    errors: u64,
    by_error: BTreeMap<String, u64>,
    total_ns: u64,
    durations: Durations,
    in_progress: u64,
    in_progress_ns: u64,
}

#[derive(Serialize)]
struct ThreadCall<'r> {
    thread_id: u32,
    tid: u32,
    call: &'r str,
    calls: u64,
    errors: u64,
    total_ns: u64,
    p50_ns: Option<u64>,
    p99_ns: Option<u64>,
    max_ns: u64,
}

/// `None` when they were not counted.
pub fn syscalls(recording: &Recording) -> Option<SyscallReport<'_>> {
    let all = recording.syscalls.as_ref()?;
    let host = host_syscalls(recording);
    let containers = container_syscalls(recording);
    let processes = process_syscalls(recording);
    let mut threads: Vec<&SyscallUse> = all.uses.iter().filter(|it| it.count > 0).collect();
    let targets = call_targets(recording);
    threads.sort_by_key(|it| (it.idle, std::cmp::Reverse((it.ns, it.count))));
    Some(SyscallReport {
        calls: host.count(),
        errors: host.errors(),
        calls_without_thread: all.without_thread,
        counted_ns: all.counted_ns,
        by_call: calls(all, &host),
        containers: containers
            .iter()
            .map(|it| {
                let name = &recording.containers[it.id as usize].name;
                row(all, it, name, name)
            })
            .collect(),
        processes: processes
            .iter()
            .take(PROCESSES_SHOWN)
            .map(|it| {
                let process = &recording.processes[it.id as usize];
                let container = &recording.containers[process.container as usize].name;
                Row {
                    pid: Some(process.pid),
                    ..row(all, it, &process.name, container)
                }
            })
            .collect(),
        processes_not_shown: processes.len().saturating_sub(PROCESSES_SHOWN),
        targets_told: all.targets_told,
        calls_without_target: recording.quality.call_targets_lost,
        targets_not_shown: targets.len().saturating_sub(TARGETS_SHOWN),
        targets: targets
            .into_iter()
            .take(TARGETS_SHOWN)
            .map(|it| target(recording, all, it))
            .collect(),
        thread_calls_not_shown: threads.len().saturating_sub(THREAD_CALLS_SHOWN),
        threads: threads
            .into_iter()
            .take(THREAD_CALLS_SHOWN)
            .filter_map(|it| thread_call(recording, all, it))
            .collect(),
    })
}

fn target<'r>(recording: &'r Recording, all: &'r Syscalls, it: &'r CallTarget) -> TargetRow<'r> {
    let process = it.process.map(|id| &recording.processes[id as usize]);
    TargetRow {
        process_id: it.process,
        pid: process.map(|process| process.pid),
        process: process.map_or("", |process| &process.name),
        container: process.map_or("", |process| {
            &recording.containers[process.container as usize].name
        }),
        call: &all.names[it.call as usize],
        kind: it.kind,
        name: &it.name,
        partial: it.partial,
        title: it.title(),
        calls: it.calls,
        errors: it.errors,
        error: it.error.as_deref(),
        total_ns: it.ns,
        max_ns: it.longest_ns,
    }
}

fn row<'r>(all: &'r Syscalls, row: &SyscallRow<u32>, name: &'r str, container: &'r str) -> Row<'r> {
    Row {
        id: row.id,
        pid: None,
        name,
        container,
        calls: row.count(),
        errors: row.errors(),
        busy_ns: row.busy_ns(),
        by_call: calls(all, row),
    }
}

fn calls<'r, Id>(all: &'r Syscalls, row: &SyscallRow<Id>) -> Vec<Call<'r>> {
    row.calls
        .iter()
        .map(|it| Call {
            call: &all.names[it.call as usize],
            idle: it.idle,
            calls: it.count,
            errors: it.errors,
            by_error: it.by_error.iter().cloned().collect(),
            total_ns: it.ns,
            durations: Durations::of(&it.durations),
            in_progress: it.in_progress,
            in_progress_ns: it.in_progress_ns,
        })
        .collect()
}

fn thread_call<'r>(
    recording: &'r Recording,
    all: &'r Syscalls,
    it: &SyscallUse,
) -> Option<ThreadCall<'r>> {
    let thread_id = it.thread?;
    Some(ThreadCall {
        thread_id,
        tid: recording.threads[thread_id as usize].tid,
        call: &all.names[it.call as usize],
        calls: it.count,
        errors: it.errors,
        total_ns: it.ns,
        p50_ns: it.durations.percentile_ns(0.5),
        p99_ns: it.durations.percentile_ns(0.99),
        max_ns: it.durations.max_ns,
    })
}
