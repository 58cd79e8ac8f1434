//! Disk requests, added up by device, container and process.

use std::{cmp::Reverse, collections::BTreeMap};

use crate::profile::{
    CacheUse, ContainerId, DiskOperation, DiskUse, FileUse, Histogram, ProcessId, Recording,
};

/// Requests of one operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperationSum {
    pub requests: u64,
    pub bytes: u64,
    pub errors: u64,
    pub queue_ns: u64,
    pub service_ns: u64,
    pub queue: Histogram,
    pub service: Histogram,
}

/// What some processes asked of the disks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskRow<Id> {
    pub id: Id,
    /// What occurred, in the order of operations.
    pub operations: BTreeMap<DiskOperation, OperationSum>,
    /// Of the page cache; a device has none.
    pub cache: CacheUse,
}

impl<Id> DiskRow<Id> {
    pub fn bytes(&self) -> u64 {
        self.sum(|it| it.bytes)
    }

    pub fn requests(&self) -> u64 {
        self.sum(|it| it.requests)
    }

    pub fn errors(&self) -> u64 {
        self.sum(|it| it.errors)
    }

    /// From submission to completion, of all requests together.
    pub fn ns(&self) -> u64 {
        self.sum(|it| it.queue_ns.saturating_add(it.service_ns))
    }

    fn sum(&self, of: impl Fn(&OperationSum) -> u64) -> u64 {
        self.operations
            .values()
            .fold(0, |sum, it| sum.saturating_add(of(it)))
    }
}

/// By place in the recording's devices, the one with the most bytes first, as
/// all of these.
pub fn disk_devices(recording: &Recording) -> Vec<DiskRow<u32>> {
    rows(recording, |usage| usage.device, |_| None)
}

pub fn disk_containers(recording: &Recording) -> Vec<DiskRow<ContainerId>> {
    let container = |process: ProcessId| recording.processes[process as usize].container;
    rows(
        recording,
        |usage| container(usage.process),
        |cache| Some(container(cache.process)),
    )
}

pub fn disk_processes(recording: &Recording) -> Vec<DiskRow<ProcessId>> {
    rows(
        recording,
        |usage| usage.process,
        |cache| Some(cache.process),
    )
}

/// The one with the most bytes first.
pub fn disk_files(recording: &Recording) -> Vec<&FileUse> {
    let mut files: Vec<_> = recording.disk.files.iter().collect();
    files.sort_by_key(|file| Reverse((file.bytes, file.requests)));
    files
}

fn rows<Id: Copy + Ord>(
    recording: &Recording,
    of_use: impl Fn(&DiskUse) -> Id,
    of_cache: impl Fn(&CacheUse) -> Option<Id>,
) -> Vec<DiskRow<Id>> {
    let mut rows: BTreeMap<Id, DiskRow<Id>> = BTreeMap::new();
    let new = |id| DiskRow {
        id,
        operations: BTreeMap::new(),
        cache: CacheUse::default(),
    };
    for usage in &recording.disk.uses {
        let id = of_use(usage);
        let row = rows.entry(id).or_insert_with(|| new(id));
        add(row.operations.entry(usage.operation).or_default(), usage);
    }
    for cache in &recording.disk.cache {
        let Some(id) = of_cache(cache) else {
            continue;
        };
        let sum = &mut rows.entry(id).or_insert_with(|| new(id)).cache;
        sum.dirtied_bytes = sum.dirtied_bytes.saturating_add(cache.dirtied_bytes);
        sum.missed_bytes = sum.missed_bytes.saturating_add(cache.missed_bytes);
        sum.faulted_bytes = sum.faulted_bytes.saturating_add(cache.faulted_bytes);
        if let Some(bytes) = cache.looked_up_bytes {
            let all = sum.looked_up_bytes.unwrap_or(0);
            sum.looked_up_bytes = Some(all.saturating_add(bytes));
        }
    }
    let mut rows: Vec<_> = rows.into_values().collect();
    rows.sort_by_key(|row| Reverse((row.bytes(), row.cache.dirtied_bytes, row.requests())));
    rows
}

/// Saturates: a recording comes from a file that anyone may have written.
fn add(sum: &mut OperationSum, usage: &DiskUse) {
    sum.requests = sum.requests.saturating_add(usage.requests);
    sum.bytes = sum.bytes.saturating_add(usage.bytes);
    sum.errors = sum.errors.saturating_add(usage.errors);
    sum.queue_ns = sum.queue_ns.saturating_add(usage.queue_ns);
    sum.service_ns = sum.service_ns.saturating_add(usage.service_ns);
    sum.queue.merge(&usage.queue);
    sum.service.merge(&usage.service);
}

/// What reading calls asked of the page cache and was there; `None` where the
/// kernel does not tell. More may be read ahead than is asked for.
pub fn cache_hit_bytes(cache: &CacheUse) -> Option<u64> {
    Some(cache.looked_up_bytes?.saturating_sub(cache.missed_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::sample;

    #[test]
    fn requests_add_up_by_device_container_and_process() {
        let recording = sample::plain();
        let uses = &recording.disk.uses;
        let bytes: u64 = uses.iter().map(|usage| usage.bytes).sum();
        assert!(bytes > 0);
        let sums = |rows: Vec<(u64, u64)>| {
            rows.into_iter()
                .fold((0, 0), |sum, row| (sum.0 + row.0, sum.1 + row.1))
        };
        let requests = uses.iter().map(|usage| usage.requests).sum();
        let pair = |bytes: u64, requests: u64| (bytes, requests);
        let devices = disk_devices(&recording);
        assert!(devices.is_sorted_by_key(|row| Reverse(row.bytes())));
        let devices = devices.iter().map(|row| pair(row.bytes(), row.requests()));
        assert_eq!(sums(devices.collect()), (bytes, requests));
        let containers = disk_containers(&recording);
        let dirtied: u64 = containers.iter().map(|row| row.cache.dirtied_bytes).sum();
        let expected: u64 = recording.disk.cache.iter().map(|it| it.dirtied_bytes).sum();
        assert_eq!(dirtied, expected);
        let containers = containers
            .iter()
            .map(|row| pair(row.bytes(), row.requests()));
        assert_eq!(sums(containers.collect()), (bytes, requests));
        let processes = disk_processes(&recording);
        let processes = processes
            .iter()
            .map(|row| pair(row.bytes(), row.requests()));
        assert_eq!(sums(processes.collect()), (bytes, requests));
    }

    #[test]
    fn hits_are_what_was_not_missed() {
        let cache = |looked_up, missed_bytes| CacheUse {
            looked_up_bytes: looked_up,
            missed_bytes,
            ..CacheUse::default()
        };
        assert_eq!(cache_hit_bytes(&cache(None, 5)), None);
        assert_eq!(cache_hit_bytes(&cache(Some(100), 25)), Some(75));
        assert_eq!(cache_hit_bytes(&cache(Some(100), 125)), Some(0));
    }
}
