//! Disk requests.

use std::fmt::Write;

use super::{code, more, process_name};
use crate::{
    profile::{DiskOperation, Histogram, Recording},
    report::text::{bytes, count, duration},
    views::{DiskRow, cache_hit_bytes, disk_containers, disk_devices, disk_files, disk_processes},
};

const ROWS: usize = 8;

/// Whatever the other tables show.
pub fn disk(recording: &Recording, out: &mut String) -> std::fmt::Result {
    if recording.disk.uses.is_empty() && recording.disk.cache.is_empty() {
        return Ok(());
    }
    devices(recording, out)?;
    let containers = disk_containers(recording);
    users(
        "Disk use of",
        &containers,
        |id| code(&recording.containers[id as usize].name),
        out,
    )?;
    let processes = disk_processes(recording);
    users("Process", &processes, |id| process_name(recording, id), out)?;
    files(recording, out)
}

fn percentiles(histogram: &Histogram) -> String {
    let text = |share| {
        histogram
            .percentile_ns(share)
            .map_or_else(|| "–".to_owned(), duration)
    };
    format!("{} | {} | {}", text(0.5), text(0.99), text(1.0))
}

fn devices(recording: &Recording, out: &mut String) -> std::fmt::Result {
    let devices = disk_devices(recording);
    if devices.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n| Disk | Operation | Bytes | Requests | Errors | Queue p50 | p99 | max | Service p50 | p99 | max |"
    )?;
    writeln!(out, "|:--|:--|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
    for row in devices.iter().take(ROWS) {
        for (operation, sum) in &row.operations {
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} |",
                code(&recording.disk.devices[row.id as usize]),
                operation.name(),
                bytes(sum.bytes),
                count(sum.requests),
                count(sum.errors),
                percentiles(&sum.queue),
                percentiles(&sum.service),
            )?;
        }
    }
    more(devices.len(), ROWS, out)
}

fn users(
    title: &str,
    rows: &[DiskRow<u32>],
    name: impl Fn(u32) -> String,
    out: &mut String,
) -> std::fmt::Result {
    writeln!(
        out,
        "\n| {title} | Read | Written | Requests | Errors | Request time | Dirtied | Cache misses | Cache hits |"
    )?;
    writeln!(out, "|:--|--:|--:|--:|--:|--:|--:|--:|--:|")?;
    for row in rows.iter().take(ROWS) {
        let of = |operation| row.operations.get(&operation).map_or(0, |sum| sum.bytes);
        let cache = &row.cache;
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            name(row.id),
            bytes(of(DiskOperation::Read)),
            bytes(of(DiskOperation::Write)),
            count(row.requests()),
            count(row.errors()),
            duration(row.ns()),
            bytes(cache.dirtied_bytes),
            bytes(cache.missed_bytes.saturating_add(cache.faulted_bytes)),
            cache_hit_bytes(cache).map_or_else(|| "–".to_owned(), bytes),
        )?;
    }
    more(rows.len(), ROWS, out)
}

fn files(recording: &Recording, out: &mut String) -> std::fmt::Result {
    let files = disk_files(recording);
    if files.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n| File | Through | Process | Operation | Bytes | Requests | Request time |"
    )?;
    writeln!(out, "|:--|:--|:--|:--|--:|--:|--:|")?;
    for file in files.iter().take(ROWS) {
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} |",
            code(if file.path.is_empty() {
                "other files"
            } else {
                &file.path
            }),
            file.access.title(),
            process_name(recording, file.process),
            file.operation.name(),
            bytes(file.bytes),
            count(file.requests),
            duration(file.ns),
        )?;
    }
    more(files.len(), ROWS, out)
}
