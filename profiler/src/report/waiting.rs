//! Where the wall time of threads went, for programs: part of the JSON report,
//! and what the HTML page makes its section of.

use serde::Serialize;

use crate::{
    profile::{Activity, ActivityClass, Recording},
    views::{
        AccountRow, container_accounts, process_accounts,
        share::{percents, rounded_percent},
        thread_accounts,
    },
};

/// How many processes and threads are listed; accounts of the others are in
/// those of their containers.
const PROCESSES_SHOWN: usize = 200;
const THREADS_SHOWN: usize = 500;

#[derive(Serialize)]
pub struct Waiting<'r> {
    threads: usize,
    wall_ns: u64,
    containers: Vec<Row<'r>>,
    processes: Vec<Row<'r>>,
    processes_not_shown: usize,
    /// Those that were busy longest.
    busiest_threads: Vec<Row<'r>>,
    threads_not_shown: usize,
}

#[derive(Serialize)]
struct Row<'r> {
    id: u32,
    /// Of a process or thread, its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tid: Option<u32>,
    name: &'r str,
    container: &'r str,
    threads: usize,
    wall_ns: u64,
    on_cpu_ns: u64,
    run_queue_ns: u64,
    blocked_ns: u64,
    idle_ns: u64,
    without_stack_ns: u64,
    activities: Vec<ActivityRow>,
}

#[derive(Serialize)]
struct ActivityRow {
    activity: Activity,
    class: ActivityClass,
    title: &'static str,
    ns: u64,
    /// Of the wall time of the row.
    percent: f64,
    intervals: u64,
    without_stack_percent: f64,
}

pub fn waiting(recording: &Recording) -> Waiting<'_> {
    let containers = container_accounts(recording);
    let mut processes = process_accounts(recording);
    let mut threads = thread_accounts(recording);
    let hidden = |length: usize, shown: usize| length.saturating_sub(shown);
    let not_shown = (
        hidden(processes.len(), PROCESSES_SHOWN),
        hidden(threads.len(), THREADS_SHOWN),
    );
    processes.truncate(PROCESSES_SHOWN);
    threads.truncate(THREADS_SHOWN);
    let container_of = |process: u32| {
        let process = &recording.processes[process as usize];
        recording.containers[process.container as usize]
            .name
            .as_str()
    };
    Waiting {
        threads: recording.accounts.len(),
        wall_ns: containers
            .iter()
            .fold(0, |sum, row| sum.saturating_add(row.wall_ns)),
        processes_not_shown: not_shown.0,
        threads_not_shown: not_shown.1,
        containers: containers
            .iter()
            .map(|row| {
                let name = &recording.containers[row.id as usize].name;
                self::row(row, name, name)
            })
            .collect(),
        processes: processes
            .iter()
            .map(|row| {
                let process = &recording.processes[row.id as usize];
                Row {
                    pid: Some(process.pid),
                    ..self::row(row, &process.name, container_of(row.id))
                }
            })
            .collect(),
        busiest_threads: threads
            .iter()
            .map(|row| {
                let thread = &recording.threads[row.id as usize];
                Row {
                    pid: Some(recording.processes[thread.process as usize].pid),
                    tid: Some(thread.tid),
                    ..self::row(row, &thread.name, container_of(thread.process))
                }
            })
            .collect(),
    }
}

fn row<'r>(row: &AccountRow<u32>, name: &'r str, container: &'r str) -> Row<'r> {
    let shares = percents(row.spent.iter().map(|spent| spent.ns));
    Row {
        id: row.id,
        pid: None,
        tid: None,
        name,
        container,
        threads: row.threads,
        wall_ns: row.wall_ns,
        on_cpu_ns: row.class_ns(ActivityClass::OnCpu),
        run_queue_ns: row.class_ns(ActivityClass::RunQueue),
        blocked_ns: row.class_ns(ActivityClass::Blocked),
        idle_ns: row.class_ns(ActivityClass::Idle),
        without_stack_ns: row.without_stack_ns(),
        activities: row
            .spent
            .iter()
            .zip(shares)
            .map(|(spent, percent)| ActivityRow {
                activity: spent.activity,
                class: spent.activity.class(),
                title: spent.activity.title(),
                ns: spent.ns,
                percent,
                intervals: spent.intervals,
                without_stack_percent: rounded_percent(spent.without_stack_ns, spent.ns),
            })
            .collect(),
    }
}
