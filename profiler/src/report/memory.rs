//! What happened to memory, for programs: part of the JSON report, and what the
//! HTML page makes its section of.

use serde::Serialize;

use crate::{
    profile::{HostMemory, Recording, ThreadMemory},
    views::{container_memory, process_memory},
};

/// How many processes are listed; the others are in their containers' rows.
const PROCESSES_SHOWN: usize = 200;

#[derive(Serialize)]
pub struct MemoryReport<'r> {
    containers: Vec<Row<'r>>,
    processes: Vec<Row<'r>>,
    processes_not_shown: usize,
    oom_kills: Vec<Kill<'r>>,
    host: HostMemory,
}

#[derive(Serialize)]
struct Row<'r> {
    id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    name: &'r str,
    container: &'r str,
    minor_faults: u64,
    major_faults: u64,
    reclaims: u64,
    reclaim_ns: u64,
}

#[derive(Serialize)]
struct Kill<'r> {
    time_ns: u64,
    pid: u32,
    name: &'r str,
    container: &'r str,
    caller: &'r str,
    caller_pid: u32,
}

/// `None` when it was not recorded.
pub fn memory(recording: &Recording) -> Option<MemoryReport<'_>> {
    let all = recording.memory.as_ref()?;
    let container = |id: u32| recording.containers[id as usize].name.as_str();
    let processes = process_memory(recording);
    Some(MemoryReport {
        containers: container_memory(recording)
            .into_iter()
            .map(|it| row(it.id, None, container(it.id), container(it.id), it.sum))
            .collect(),
        processes_not_shown: processes.len().saturating_sub(PROCESSES_SHOWN),
        processes: processes
            .into_iter()
            .take(PROCESSES_SHOWN)
            .map(|it| {
                let process = &recording.processes[it.id as usize];
                let place = container(process.container);
                row(it.id, Some(process.pid), &process.name, place, it.sum)
            })
            .collect(),
        oom_kills: all
            .oom_kills
            .iter()
            .map(|kill| Kill {
                time_ns: kill.time_ns,
                pid: kill.pid,
                name: &kill.name,
                container: container(kill.container),
                caller: &kill.caller,
                caller_pid: kill.caller_pid,
            })
            .collect(),
        host: all.host,
    })
}

fn row<'r>(
    id: u32,
    pid: Option<u32>,
    name: &'r str,
    container: &'r str,
    sum: ThreadMemory,
) -> Row<'r> {
    Row {
        id,
        pid,
        name,
        container,
        minor_faults: sum.minor_faults,
        major_faults: sum.major_faults,
        reclaims: sum.reclaims,
        reclaim_ns: sum.reclaim_ns,
    }
}
