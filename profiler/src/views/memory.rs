//! Page faults and reclaim, added up.

use std::collections::BTreeMap;

use crate::profile::{ContainerId, ProcessId, Recording, ThreadId, ThreadMemory};

/// What happened to the memory of some threads; `thread` of the sum means
/// nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRow<Id> {
    pub id: Id,
    pub sum: ThreadMemory,
}

/// By container, the one with most bytes faulted in first.
pub fn container_memory(recording: &Recording) -> Vec<MemoryRow<ContainerId>> {
    rows(recording, |thread| {
        let process = recording.threads[thread as usize].process;
        recording.processes[process as usize].container
    })
}

/// By process, as above.
pub fn process_memory(recording: &Recording) -> Vec<MemoryRow<ProcessId>> {
    rows(recording, |thread| {
        recording.threads[thread as usize].process
    })
}

fn rows<Id: Copy + Ord>(recording: &Recording, id: impl Fn(ThreadId) -> Id) -> Vec<MemoryRow<Id>> {
    let mut sums: BTreeMap<Id, ThreadMemory> = BTreeMap::new();
    for told in recording.memory.iter().flat_map(|all| &all.threads) {
        let sum = sums.entry(id(told.thread)).or_default();
        let add = |sum: &mut u64, value: u64| *sum = sum.saturating_add(value);
        add(&mut sum.minor_faults, told.minor_faults);
        add(&mut sum.major_faults, told.major_faults);
        add(&mut sum.reclaims, told.reclaims);
        add(&mut sum.reclaim_ns, told.reclaim_ns);
    }
    let mut rows: Vec<_> = sums
        .into_iter()
        .map(|(id, sum)| MemoryRow { id, sum })
        .collect();
    rows.sort_by_key(|row| {
        let faults = row.sum.minor_faults.saturating_add(row.sum.major_faults);
        std::cmp::Reverse((row.sum.major_faults, row.sum.reclaim_ns, faults))
    });
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::sample;

    #[test]
    fn faults_add_up() {
        let recording = sample::plain();
        let all = recording.memory.as_ref().expect("it was recorded");
        let total: u64 = all.threads.iter().map(|told| told.minor_faults).sum();
        for found in [
            container_memory(&recording)
                .iter()
                .map(|row| row.sum.minor_faults)
                .sum::<u64>(),
            process_memory(&recording)
                .iter()
                .map(|row| row.sum.minor_faults)
                .sum::<u64>(),
        ] {
            assert_eq!(found, total);
        }
        let rows = process_memory(&recording);
        assert!(rows.is_sorted_by_key(|row| std::cmp::Reverse(row.sum.major_faults)));
    }
}
