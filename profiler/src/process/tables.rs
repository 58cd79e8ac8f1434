//! Unwind tables: one for all files of the same contents.
//!
//! Containers of one image have its libraries each as files of their own, on
//! devices of their own, where overlayfs puts them together. And each change of
//! the kernel side's tables waits for an RCU grace period, [`TableSlots`]. So
//! what was read, compiled and put in place for one file serves the others.
//!
//! [`TableSlots`]: crate::bpf::TableSlots

use profiler_ebpf::MAX_TABLES;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

use super::{ExecutableId, workers::Outcome};

/// What a table is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Contents {
    /// A build that says which one it is. Its build ID alone would not do: a
    /// file that was stripped has the same, and other sections.
    Build {
        size: u64,
        /// Digest of all that its table is made from: a build ID is only what a
        /// file says of itself, and containers may not be trusted.
        parts: [u8; 32],
    },
    /// Nothing tells before it is read whether another file is the same.
    Only(ExecutableId),
}

/// How far a table is for an executable that wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nobody has asked for it before: it must be built.
    New,
    Building,
    Finished,
}

/// What became of a table.
pub type Finished = Result<Outcome, String>;

struct Table {
    contents: Contents,
    generation: u32,
    /// Executables that are walked by it or wait for it.
    users: FxHashSet<ExecutableId>,
    /// `None` while it is being built.
    finished: Option<Finished>,
}

/// Who uses which slot of the kernel side's tables, and for what.
pub struct Tables {
    by_slot: FxHashMap<u32, Table>,
    by_contents: FxHashMap<Contents, u32>,
    free: Vec<u32>,
    /// That of the last table.
    generation: u32,
}

impl Tables {
    pub fn new() -> Self {
        Self {
            by_slot: FxHashMap::default(),
            by_contents: FxHashMap::default(),
            free: (0..MAX_TABLES as u32).rev().collect(),
            generation: 0,
        }
    }

    /// The slot of the table of these contents, which `user` uses from now on;
    /// `None` when there is no room for another table.
    pub fn join(&mut self, user: ExecutableId, contents: Contents) -> Option<(u32, Progress)> {
        if let Some(&slot) = self.by_contents.get(&contents) {
            let table = self.by_slot.get_mut(&slot)?;
            table.users.insert(user);
            let progress = match table.finished {
                Some(_) => Progress::Finished,
                None => Progress::Building,
            };
            return Some((slot, progress));
        }
        let slot = self.free.pop()?;
        self.by_contents.insert(contents, slot);
        self.generation += 1;
        self.by_slot.insert(
            slot,
            Table {
                contents,
                generation: self.generation,
                users: FxHashSet::from_iter([user]),
                finished: None,
            },
        );
        Some((slot, Progress::New))
    }

    /// `user` needs the table no more. True when that leaves it to be
    /// cleared: nobody else uses it, and no worker will still write to it.
    pub fn leave(&mut self, slot: u32, user: ExecutableId) -> bool {
        let Some(table) = self.by_slot.get_mut(&slot) else {
            return false;
        };
        table.users.remove(&user);
        self.forget_unused(slot)
    }

    /// Notes what became of a table, and tells who waited for it. When that is
    /// nobody any more, the table is left to be cleared.
    pub fn finish(&mut self, slot: u32, finished: Finished) -> Vec<ExecutableId> {
        let Some(table) = self.by_slot.get_mut(&slot) else {
            return Vec::new();
        };
        table.finished = Some(finished);
        let users = table.users.iter().copied().collect();
        self.forget_unused(slot);
        users
    }

    /// The slot is not given to other contents before it was cleared.
    fn forget_unused(&mut self, slot: u32) -> bool {
        let unused = self
            .by_slot
            .get(&slot)
            .is_some_and(|table| table.users.is_empty() && table.finished.is_some());
        if unused && let Some(table) = self.by_slot.remove(&slot) {
            self.by_contents.remove(&table.contents);
        }
        unused
    }

    /// The table in the slot is gone from the kernel.
    pub fn cleared(&mut self, slot: u32) {
        self.free.push(slot);
    }

    /// What became of a table; `None` while it is being built.
    pub fn finished(&self, slot: u32) -> Option<&Finished> {
        self.by_slot.get(&slot)?.finished.as_ref()
    }

    /// Which of all tables that ever were is in the slot, from 1 on; 0 for none.
    pub fn generation(&self, slot: u32) -> u32 {
        self.by_slot.get(&slot).map_or(0, |table| table.generation)
    }

    /// Bytes of the tables in the kernel.
    pub fn bytes(&self) -> u64 {
        // Files without a build ID may turn out to be the same.
        let mut seen = FxHashSet::default();
        self.by_slot
            .values()
            .filter_map(|table| Some(&table.finished.as_ref()?.as_ref().ok()?.table))
            .filter(|table| seen.insert(Arc::as_ptr(table)))
            .map(|table| table.bytes())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIBRARY: Contents = Contents::Build {
        size: 4096,
        parts: [7; 32],
    };

    fn failed() -> Finished {
        Err("it is no ELF file".to_owned())
    }

    #[test]
    fn copies_share_a_table_and_wait_for_one_build() {
        let mut tables = Tables::new();
        let (slot, progress) = tables.join(0, LIBRARY).expect("room");
        assert_eq!(progress, Progress::New);
        for copy in 1..10 {
            assert_eq!(tables.join(copy, LIBRARY), Some((slot, Progress::Building)));
        }
        assert_eq!(tables.generation(slot), 1);
        let mut waited = tables.finish(slot, failed());
        waited.sort_unstable();
        assert_eq!(waited, (0..10).collect::<Vec<_>>());
        assert_eq!(tables.join(10, LIBRARY), Some((slot, Progress::Finished)));
        for copy in 0..10 {
            assert!(!tables.leave(slot, copy), "{copy} was not the last");
        }
        assert!(tables.leave(slot, 10));
        assert!(!tables.leave(slot, 10), "it is cleared once");
    }

    #[test]
    fn others_have_their_own() {
        let mut tables = Tables::new();
        let stripped = Contents::Build {
            size: 2048,
            parts: [7; 32],
        };
        let all = [LIBRARY, stripped, Contents::Only(2), Contents::Only(3)];
        let slots: FxHashSet<u32> = (0..)
            .zip(all)
            .map(|(id, contents)| tables.join(id, contents).expect("room").0)
            .collect();
        assert_eq!(slots.len(), all.len());
    }

    #[test]
    fn a_slot_is_given_away_after_its_worker_and_its_clearing() {
        let mut tables = Tables::new();
        let (slot, _) = tables.join(0, LIBRARY).expect("room");
        assert!(!tables.leave(slot, 0), "a worker will still write to it");
        let before = tables.generation(slot);
        assert_eq!(tables.join(1, LIBRARY), Some((slot, Progress::Building)));
        assert!(!tables.leave(slot, 1));
        assert!(tables.finish(slot, failed()).is_empty());
        assert!(tables.finished(slot).is_none());

        let others = |tables: &mut Tables, from| -> FxHashSet<u32> {
            (from..)
                .map_while(|id| Some(tables.join(id, Contents::Only(id))?.0))
                .collect()
        };
        let taken = others(&mut tables, 10);
        assert_eq!(taken.len(), MAX_TABLES - 1);
        assert!(!taken.contains(&slot));
        tables.cleared(slot);
        assert!(others(&mut tables, 1 << 20).contains(&slot));
        assert_ne!(
            tables.generation(slot),
            before,
            "the walker keeps rules by it"
        );
    }
}
