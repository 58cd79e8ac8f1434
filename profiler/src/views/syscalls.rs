//! System calls, added up.

use std::collections::BTreeMap;

use crate::profile::{CallTarget, ContainerId, ProcessId, Recording, SyscallUse, ThreadId};

/// What some threads called.
#[derive(Clone, Debug, PartialEq)]
pub struct SyscallRow<Id> {
    pub id: Id,
    /// Those in which a thread waits for work behind the others; otherwise the
    /// one with most time first.
    pub calls: Vec<SyscallUse>,
}

impl<Id> SyscallRow<Id> {
    pub fn count(&self) -> u64 {
        self.sum(|call| call.count)
    }

    pub fn errors(&self) -> u64 {
        self.sum(|call| call.errors)
    }

    /// Time in calls, but those in which a thread waits for work.
    pub fn busy_ns(&self) -> u64 {
        self.sum(|call| if call.idle { 0 } else { call.ns })
    }

    fn sum(&self, value: impl Fn(&SyscallUse) -> u64) -> u64 {
        self.calls
            .iter()
            .fold(0, |sum, call| sum.saturating_add(value(call)))
    }
}

/// Of the host; nothing if they were not counted.
pub fn host_syscalls(recording: &Recording) -> SyscallRow<()> {
    rows(recording, |_| Some(())).pop().unwrap_or(SyscallRow {
        id: (),
        calls: Vec::new(),
    })
}

/// By container, the one with most time in calls first.
pub fn container_syscalls(recording: &Recording) -> Vec<SyscallRow<ContainerId>> {
    rows(recording, |thread| {
        let process = recording.threads[thread? as usize].process;
        Some(recording.processes[process as usize].container)
    })
}

/// By process, as above.
pub fn process_syscalls(recording: &Recording) -> Vec<SyscallRow<ProcessId>> {
    rows(recording, |thread| {
        Some(recording.threads[thread? as usize].process)
    })
}

/// What calls were about: of each call those with most time first, calls in which
/// a thread waits for work behind the others.
pub fn call_targets(recording: &Recording) -> Vec<&CallTarget> {
    let Some(all) = &recording.syscalls else {
        return Vec::new();
    };
    let mut idle = vec![false; all.names.len()];
    for told in &all.uses {
        idle[told.call as usize] |= told.idle;
    }
    let mut targets: Vec<&CallTarget> = all.targets.iter().collect();
    targets.sort_by_key(|it| (idle[it.call as usize], std::cmp::Reverse((it.ns, it.calls))));
    targets
}

/// What a call of a process that failed was about most often.
pub fn most_failing_target(
    recording: &Recording,
    process: ProcessId,
    call: u32,
) -> Option<&CallTarget> {
    recording
        .syscalls
        .iter()
        .flat_map(|all| &all.targets)
        .filter(|it| it.process == Some(process) && it.call == call && it.errors > 0)
        .max_by_key(|it| it.errors)
}

fn rows<Id: Copy + Ord>(
    recording: &Recording,
    id: impl Fn(Option<ThreadId>) -> Option<Id>,
) -> Vec<SyscallRow<Id>> {
    let mut groups: BTreeMap<Id, BTreeMap<u32, SyscallUse>> = BTreeMap::new();
    let uses = recording
        .syscalls
        .iter()
        .flat_map(|syscalls| &syscalls.uses);
    for told in uses {
        if let Some(id) = id(told.thread) {
            groups
                .entry(id)
                .or_default()
                .entry(told.call)
                .or_insert_with(|| SyscallUse {
                    call: told.call,
                    ..SyscallUse::default()
                })
                .merge(told);
        }
    }
    let mut rows: Vec<_> = groups
        .into_iter()
        .map(|(id, calls)| {
            let mut calls: Vec<SyscallUse> = calls.into_values().collect();
            calls.sort_by_key(|call| (call.idle, std::cmp::Reverse((call.ns, call.count))));
            for call in &mut calls {
                call.by_error
                    .sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            }
            SyscallRow { id, calls }
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse((row.busy_ns(), row.count())));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::sample;

    #[test]
    fn targets_by_time_and_by_errors() {
        let recording = sample::plain();
        let targets = call_targets(&recording);
        assert!(targets.len() > 1 && targets.is_sorted_by_key(|it| std::cmp::Reverse(it.ns)));
        let failing = most_failing_target(&recording, 0, 0).map(CallTarget::title);
        assert_eq!(failing.as_deref(), Some("TCP 10.0.0.3:5432"));
        assert_eq!(most_failing_target(&recording, 1, 0), None);
    }

    #[test]
    fn calls_add_up_by_process_and_container() {
        let recording = sample::plain();
        let host = host_syscalls(&recording);
        assert!(host.count() > 0 && host.errors() > 0 && host.busy_ns() > 0);
        let processes = process_syscalls(&recording);
        let containers = container_syscalls(&recording);
        for count in [
            processes.iter().map(SyscallRow::count).sum::<u64>(),
            containers.iter().map(SyscallRow::count).sum::<u64>(),
        ] {
            // What no thread could be told of is the host's alone.
            let without = recording.syscalls.as_ref().map(|all| all.without_thread);
            assert_eq!(count + without.unwrap_or_default(), host.count());
        }
        assert!(host.calls.is_sorted_by_key(|call| call.idle));
        assert!(processes.is_sorted_by_key(|row| std::cmp::Reverse(row.busy_ns())));
    }
}
