//! Who waits for whom: sessions by their ids.

use std::collections::{BTreeMap, BTreeSet};

/// Those who wait, each with those it waits for.
pub struct LockGraph<Id> {
    /// In the order in which they were given.
    waiting: Vec<Id>,
    blocked_by: BTreeMap<Id, Vec<Id>>,
}

impl<Id: Copy + Ord> LockGraph<Id> {
    pub fn new(waits: impl IntoIterator<Item = (Id, Vec<Id>)>) -> Self {
        let mut graph = Self {
            waiting: Vec::new(),
            blocked_by: BTreeMap::new(),
        };
        for (waiting, blocked_by) in waits {
            graph.waiting.push(waiting);
            graph.blocked_by.insert(waiting, blocked_by);
        }
        graph
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn waits(&self, id: Id) -> bool {
        self.blocked_by.contains_key(&id)
    }

    pub fn blocked_by(&self, id: Id) -> &[Id] {
        self.blocked_by.get(&id).map_or(&[], Vec::as_slice)
    }

    /// Those who block and do not wait. In a circle, a deadlock until the server
    /// sees it, everyone waits: then it is the first of them.
    pub fn roots(&self) -> BTreeSet<Id> {
        let blocking = self.blocked_by.values().flatten().copied();
        let mut roots: BTreeSet<Id> = blocking.filter(|&id| !self.waits(id)).collect();
        if roots.is_empty() {
            roots.extend(self.waiting.first());
        }
        roots
    }

    /// Those who wait for a session, and who wait for these, each once. 1: waits
    /// for the session itself.
    pub fn below(&self, id: Id) -> Vec<(Id, u32)> {
        let mut found: Vec<(Id, u32)> = Vec::new();
        let mut seen = BTreeSet::from([id]);
        let mut level = BTreeSet::from([id]);
        let mut depth = 0;
        while !level.is_empty() {
            depth += 1;
            let waits_for_level =
                |&id: &Id| self.blocked_by(id).iter().any(|by| level.contains(by));
            let next: Vec<Id> = self
                .waiting
                .iter()
                .copied()
                .filter(|id| !seen.contains(id))
                .filter(waits_for_level)
                .collect();
            level = next.iter().copied().collect();
            seen.extend(&level);
            found.extend(next.into_iter().map(|id| (id, depth)));
        }
        found
    }
}
