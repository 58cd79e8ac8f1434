//! Where the wall time of threads went, added up.

use std::collections::BTreeMap;

use crate::profile::{
    Activity, ActivityClass, ContainerId, ProcessId, Recording, Spent, ThreadAccount, ThreadId,
};

/// The wall time of some threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountRow<Id> {
    pub id: Id,
    pub threads: usize,
    /// Sum of all activities, nanoseconds.
    pub wall_ns: u64,
    /// What occurred, longest first.
    pub spent: Vec<Spent>,
}

impl<Id> AccountRow<Id> {
    pub fn class_ns(&self, class: ActivityClass) -> u64 {
        self.spent
            .iter()
            .filter(|spent| spent.activity.class() == class)
            .fold(0, |sum, spent| sum.saturating_add(spent.ns))
    }

    /// Of the time off a CPU, that of which no stack was recorded.
    pub fn without_stack_ns(&self) -> u64 {
        self.spent
            .iter()
            .fold(0, |sum, spent| sum.saturating_add(spent.without_stack_ns))
    }

    /// Time in which a thread did something or waited inside of its work.
    pub fn busy_ns(&self) -> u64 {
        self.wall_ns - self.class_ns(ActivityClass::Idle).min(self.wall_ns)
    }
}

/// By container, the one that was busy longest first.
pub fn container_accounts(recording: &Recording) -> Vec<AccountRow<ContainerId>> {
    rows(recording, |thread| {
        recording.processes[recording.threads[thread as usize].process as usize].container
    })
}

/// By process, as above.
pub fn process_accounts(recording: &Recording) -> Vec<AccountRow<ProcessId>> {
    rows(recording, |thread| {
        recording.threads[thread as usize].process
    })
}

/// By thread, as above.
pub fn thread_accounts(recording: &Recording) -> Vec<AccountRow<ThreadId>> {
    rows(recording, |thread| thread)
}

fn rows<Id: Copy + Ord>(recording: &Recording, id: impl Fn(ThreadId) -> Id) -> Vec<AccountRow<Id>> {
    let mut groups: BTreeMap<Id, Vec<&ThreadAccount>> = BTreeMap::new();
    for account in &recording.accounts {
        groups.entry(id(account.thread)).or_default().push(account);
    }
    let mut rows: Vec<_> = groups
        .into_iter()
        .map(|(id, accounts)| row(id, &accounts))
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse((row.busy_ns(), row.wall_ns)));
    rows
}

fn row<Id>(id: Id, accounts: &[&ThreadAccount]) -> AccountRow<Id> {
    let mut sums: BTreeMap<Activity, Spent> = BTreeMap::new();
    for spent in accounts.iter().flat_map(|account| &account.spent) {
        let sum = sums.entry(spent.activity).or_insert(Spent {
            activity: spent.activity,
            ns: 0,
            without_stack_ns: 0,
            intervals: 0,
        });
        // A recording comes from a file that anyone may have written.
        sum.ns = sum.ns.saturating_add(spent.ns);
        sum.without_stack_ns = sum.without_stack_ns.saturating_add(spent.without_stack_ns);
        sum.intervals = sum.intervals.saturating_add(spent.intervals);
    }
    let mut spent: Vec<Spent> = sums.into_values().collect();
    spent.sort_by_key(|spent| std::cmp::Reverse(spent.ns));
    AccountRow {
        id,
        threads: accounts.len(),
        wall_ns: spent
            .iter()
            .fold(0, |sum, spent| sum.saturating_add(spent.ns)),
        spent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::sample;

    #[test]
    fn accounts_add_up_by_container_process_and_thread() {
        let recording = sample::plain();
        let containers = container_accounts(&recording);
        let total: u64 = recording.accounts.iter().map(ThreadAccount::wall_ns).sum();
        assert!(total > 0);
        assert_eq!(containers.iter().map(|row| row.wall_ns).sum::<u64>(), total);
        let processes = process_accounts(&recording);
        assert_eq!(processes.iter().map(|row| row.wall_ns).sum::<u64>(), total);
        let threads = thread_accounts(&recording);
        assert_eq!(threads.len(), recording.accounts.len());
        for row in &containers {
            let classes = ActivityClass::ALL.map(|class| row.class_ns(class));
            assert_eq!(classes.iter().sum::<u64>(), row.wall_ns);
            assert!(
                row.spent
                    .is_sorted_by_key(|spent| std::cmp::Reverse(spent.ns))
            );
        }
        assert!(containers.is_sorted_by_key(|row| std::cmp::Reverse(row.busy_ns())));
    }
}
