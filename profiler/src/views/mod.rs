//! Tables computed from a recording, the same for every format.
//!
//! A [`Views`] looks at one source: weights of different sources have
//! different units and are never added up. Making one passes once over the
//! samples and once over the tree of stacks; the tables come from what that
//! left behind.

mod accounts;
mod disk;
mod findings;
mod functions;
mod interpreted;
mod locks;
mod memory;
mod network;
mod python;
mod rows;
#[cfg(test)]
pub mod sample;
pub mod share;
mod syscalls;
mod tree;

use std::ops::AddAssign;

use crate::profile::{Recording, Source, StackId};

pub use accounts::{AccountRow, container_accounts, process_accounts, thread_accounts};
pub use disk::{
    DiskRow, OperationSum, cache_hit_bytes, disk_containers, disk_devices, disk_files,
    disk_processes,
};
pub use findings::{Finding, FindingKind, findings};
pub use functions::{Around, FunctionRow, Neighbour};
pub use interpreted::{Kept, interpreted};
pub use locks::{LockRow, WaitingThread, locks};
pub use memory::{MemoryRow, container_memory, process_memory};
pub use network::{TrafficRow, container_traffic, process_traffic, remote_text};
pub use python::{LineRow, PythonRow, PythonTable, python_functions};
pub use rows::{Row, StackRow, Top, top};
pub use share::shares;
pub use syscalls::{
    SyscallRow, call_targets, container_syscalls, host_syscalls, most_failing_target,
    process_syscalls,
};
pub use tree::{Step, Tree};

/// The frame that ends the stacks of a source where text alone says what a
/// stack is: no code ran there.
pub fn ending(source: Source) -> Option<&'static str> {
    match source {
        Source::GilWait => Some("[gil wait]"),
        // On a CPU code ran; all others end with a frame that says what for.
        _ => None,
    }
}

/// What samples add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount {
    /// In the source's unit.
    pub weight: u64,
    /// Events.
    pub count: u64,
}

impl AddAssign for Amount {
    /// Saturates: a recording comes from a file that anyone may have written,
    /// and a wrong number in it must not become a panic.
    fn add_assign(&mut self, other: Self) {
        self.weight = self.weight.saturating_add(other.weight);
        self.count = self.count.saturating_add(other.count);
    }
}

impl Amount {
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }

    /// What is left of it without `part`.
    pub fn without(self, part: Self) -> Self {
        Self {
            weight: self.weight.saturating_sub(part.weight),
            count: self.count.saturating_sub(part.count),
        }
    }
}

impl std::iter::Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        let mut total = Self::default();
        for amount in amounts {
            total += amount;
        }
        total
    }
}

/// One source of a recording, added up.
pub struct Views<'r> {
    pub recording: &'r Recording,
    pub source: Source,
    pub total: Amount,
    /// Samples of which no frame is known.
    pub without_stack: Amount,
    tree: Tree,
    threads: Vec<Amount>,
    processes: Vec<Amount>,
    containers: Vec<Amount>,
}

impl<'r> Views<'r> {
    /// The recording's ids must point into its tables, see
    /// [`Recording::check`].
    pub fn new(recording: &'r Recording, source: Source) -> Self {
        let mut total = Amount::default();
        let mut without_stack = Amount::default();
        let mut threads = vec![Amount::default(); recording.threads.len()];
        let mut own = vec![Amount::default(); recording.stacks.len()];
        for sample in &recording.samples {
            if !source.shows(sample.source) {
                continue;
            }
            let amount = Amount {
                weight: sample.weight,
                count: sample.count,
            };
            total += amount;
            threads[sample.thread as usize] += amount;
            match sample.stack {
                Some(stack) => own[stack as usize] += amount,
                None => without_stack += amount,
            }
        }
        let mut processes = vec![Amount::default(); recording.processes.len()];
        for (thread, &amount) in recording.threads.iter().zip(&threads) {
            processes[thread.process as usize] += amount;
        }
        let mut containers = vec![Amount::default(); recording.containers.len()];
        for (process, &amount) in recording.processes.iter().zip(&processes) {
            containers[process.container as usize] += amount;
        }
        Self {
            recording,
            source,
            total,
            without_stack,
            tree: Tree::new(&recording.stacks, own),
            threads,
            processes,
            containers,
        }
    }

    /// The stacks with their weights.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.total.weight == 0
    }

    /// What ran with exactly this stack.
    pub fn own(&self, stack: StackId) -> Amount {
        self.tree.own(stack)
    }
}

#[cfg(test)]
mod tests;
