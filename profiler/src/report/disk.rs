//! Disk requests, for programs: part of the JSON report, and what the HTML page
//! makes its section of.

use serde::Serialize;

use super::durations::Durations;
use crate::{
    profile::{CacheUse, DiskAccess, DiskOperation, FileUse, Histogram, Recording},
    views::{
        DiskRow, OperationSum, cache_hit_bytes, disk_containers, disk_devices, disk_files,
        disk_processes,
    },
};

/// How many processes and files are listed; requests of the others are in those
/// of their containers and devices.
const PROCESSES_SHOWN: usize = 200;
const FILES_SHOWN: usize = 500;

#[derive(Serialize)]
pub struct Disk<'r> {
    recorded: bool,
    devices: Vec<Row<'r>>,
    containers: Vec<Row<'r>>,
    processes: Vec<Row<'r>>,
    processes_not_shown: usize,
    files: Vec<FileRow<'r>>,
    files_not_shown: usize,
}

#[derive(Serialize)]
struct Row<'r> {
    name: &'r str,
    /// Of a process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<&'r str>,
    bytes: u64,
    requests: u64,
    errors: u64,
    request_ns: u64,
    operations: Vec<OperationRow>,
    /// A device has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    page_cache: Option<CacheRow>,
}

#[derive(Serialize)]
struct OperationRow {
    operation: DiskOperation,
    bytes: u64,
    requests: u64,
    errors: u64,
    /// From submission until the driver got it.
    queue: Latency,
    /// From then until the device had done it.
    service: Latency,
}

#[derive(Serialize)]
struct Latency {
    total_ns: u64,
    #[serde(flatten)]
    durations: Durations,
}

#[derive(Serialize)]
struct CacheRow {
    dirtied_bytes: u64,
    looked_up_bytes: Option<u64>,
    missed_bytes: u64,
    faulted_bytes: u64,
    hit_bytes: Option<u64>,
}

#[derive(Serialize)]
struct FileRow<'r> {
    path: &'r str,
    inode: Option<u64>,
    access: DiskAccess,
    access_title: &'static str,
    device: &'r str,
    operation: DiskOperation,
    process: &'r str,
    pid: u32,
    container: &'r str,
    bytes: u64,
    requests: u64,
    request_ns: u64,
}

pub fn disk(recording: &Recording) -> Disk<'_> {
    let mut processes = disk_processes(recording);
    let mut files = disk_files(recording);
    let hidden = |length: usize, shown: usize| length.saturating_sub(shown);
    let processes_not_shown = hidden(processes.len(), PROCESSES_SHOWN);
    let files_not_shown = hidden(files.len(), FILES_SHOWN);
    processes.truncate(PROCESSES_SHOWN);
    files.truncate(FILES_SHOWN);
    let container_of = |process: u32| {
        let container = recording.processes[process as usize].container;
        recording.containers[container as usize].name.as_str()
    };
    Disk {
        recorded: recording.disk.recorded,
        devices: disk_devices(recording)
            .iter()
            .map(|row| Row {
                page_cache: None,
                ..self::row(row, &recording.disk.devices[row.id as usize])
            })
            .collect(),
        containers: disk_containers(recording)
            .iter()
            .map(|row| self::row(row, &recording.containers[row.id as usize].name))
            .collect(),
        processes: processes
            .iter()
            .map(|row| {
                let process = &recording.processes[row.id as usize];
                Row {
                    pid: Some(process.pid),
                    container: Some(container_of(row.id)),
                    ..self::row(row, &process.name)
                }
            })
            .collect(),
        processes_not_shown,
        files: files
            .iter()
            .map(|file| file_row(file, recording, container_of(file.process)))
            .collect(),
        files_not_shown,
    }
}

fn row<'r, Id>(row: &DiskRow<Id>, name: &'r str) -> Row<'r> {
    Row {
        name,
        pid: None,
        container: None,
        bytes: row.bytes(),
        requests: row.requests(),
        errors: row.errors(),
        request_ns: row.ns(),
        operations: row
            .operations
            .iter()
            .map(|(&operation, sum)| operation_row(operation, sum))
            .collect(),
        page_cache: Some(cache_row(&row.cache)),
    }
}

fn operation_row(operation: DiskOperation, sum: &OperationSum) -> OperationRow {
    OperationRow {
        operation,
        bytes: sum.bytes,
        requests: sum.requests,
        errors: sum.errors,
        queue: latency(sum.queue_ns, &sum.queue),
        service: latency(sum.service_ns, &sum.service),
    }
}

fn latency(total_ns: u64, histogram: &Histogram) -> Latency {
    Latency {
        total_ns,
        durations: Durations::of(histogram),
    }
}

fn cache_row(cache: &CacheUse) -> CacheRow {
    CacheRow {
        dirtied_bytes: cache.dirtied_bytes,
        looked_up_bytes: cache.looked_up_bytes,
        missed_bytes: cache.missed_bytes,
        faulted_bytes: cache.faulted_bytes,
        hit_bytes: cache_hit_bytes(cache),
    }
}

fn file_row<'r>(file: &'r FileUse, recording: &'r Recording, container: &'r str) -> FileRow<'r> {
    let process = &recording.processes[file.process as usize];
    FileRow {
        path: &file.path,
        inode: (file.inode != 0).then_some(file.inode),
        access: file.access,
        access_title: file.access.title(),
        device: &recording.disk.devices[file.device as usize],
        operation: file.operation,
        process: &process.name,
        pid: process.pid,
        container,
        bytes: file.bytes,
        requests: file.requests,
        request_ns: file.ns,
    }
}
