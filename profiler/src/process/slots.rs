//! Slots of the kernel side's executables, and whose they are.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use profiler_ebpf::MAX_EXECUTABLES;

use super::ExecutableId;

/// How long a slot rests before another executable gets it: events that name
/// it may still be on their way.
const REST: Duration = Duration::from_secs(3);

pub struct Slots {
    /// A slot that rests is still its last owner's.
    owners: Vec<Option<ExecutableId>>,
    free: Vec<u32>,
    /// Longest first.
    resting: VecDeque<(Instant, u32)>,
}

impl Slots {
    pub fn new() -> Self {
        Self {
            owners: vec![None; MAX_EXECUTABLES],
            free: (0..MAX_EXECUTABLES as u32).rev().collect(),
            resting: VecDeque::new(),
        }
    }

    /// The executable that frames in this slot lie in.
    pub fn owner(&self, slot: u32) -> Option<ExecutableId> {
        *self.owners.get(slot as usize)?
    }

    pub fn take(&mut self, owner: ExecutableId, now: Instant) -> Option<u32> {
        while let Some(&(since, slot)) = self.resting.front()
            && now.duration_since(since) >= REST
        {
            self.resting.pop_front();
            self.owners[slot as usize] = None;
            self.free.push(slot);
        }
        let slot = self.free.pop()?;
        self.owners[slot as usize] = Some(owner);
        Some(slot)
    }

    pub fn give_back(&mut self, slot: u32, now: Instant) {
        self.resting.push_back((now, slot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_rests_before_another_gets_it() {
        let mut slots = Slots::new();
        let start = Instant::now();
        let all: Vec<u32> = (0..).map_while(|owner| slots.take(owner, start)).collect();
        assert_eq!(all.len(), MAX_EXECUTABLES);

        slots.give_back(all[7], start);
        assert_eq!(slots.take(1 << 20, start + REST / 2), None);
        assert_eq!(slots.owner(all[7]), Some(7), "frames on their way are its");
        assert_eq!(slots.take(1 << 20, start + REST), Some(all[7]));
        assert_eq!(slots.owner(all[7]), Some(1 << 20));
    }

    #[test]
    fn nobody_owns_what_there_is_not() {
        assert_eq!(Slots::new().owner(u32::MAX), None);
    }
}
