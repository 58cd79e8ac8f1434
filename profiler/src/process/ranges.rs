//! Ranges of `MAPPINGS`: one for each process, shared with its forks.
//!
//! A range that is given back rests for a while before it is used again: a
//! walk on another CPU may still read it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

/// A walk takes microseconds; this is far beyond.
const REST: Duration = Duration::from_secs(1);

/// Allocates ranges of a fixed number of entries, first fit.
pub struct Ranges {
    /// Start and length of what is free; neighbours are merged.
    free: BTreeMap<u32, u32>,
    resting: VecDeque<(Instant, Range)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub first: u32,
    pub length: u32,
}

impl Ranges {
    pub fn new(length: u32) -> Self {
        Self {
            free: BTreeMap::from([(0, length)]),
            resting: VecDeque::new(),
        }
    }

    /// `None` when no free range is long enough.
    pub fn allocate(&mut self, length: u32, now: Instant) -> Option<Range> {
        while let Some(&(since, range)) = self.resting.front()
            && now.duration_since(since) >= REST
        {
            self.resting.pop_front();
            self.insert_free(range);
        }
        let (&first, &free) = self.free.iter().find(|&(_, &free)| free >= length)?;
        self.free.remove(&first);
        if free > length {
            self.free.insert(first + length, free - length);
        }
        Some(Range { first, length })
    }

    pub fn release(&mut self, range: Range, now: Instant) {
        if range.length > 0 {
            self.resting.push_back((now, range));
        }
    }

    fn insert_free(&mut self, range: Range) {
        let Range {
            mut first,
            mut length,
        } = range;
        if let Some((&before, &free)) = self.free.range(..first).next_back()
            && before + free == first
        {
            self.free.remove(&before);
            first = before;
            length += free;
        }
        if let Some(after) = self.free.remove(&(first + length)) {
            length += after;
        }
        self.free.insert(first, length);
    }

    /// Entries in use or resting.
    #[cfg(test)]
    fn used(&self, total: u32) -> u32 {
        total - self.free.values().sum::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_do_not_overlap_and_come_back() {
        let mut ranges = Ranges::new(100);
        let start = Instant::now();
        let a = ranges.allocate(40, start).expect("free");
        let b = ranges.allocate(60, start).expect("free");
        assert_eq!((a.first, b.first), (0, 40));
        assert!(ranges.allocate(1, start).is_none());
        ranges.release(a, start);
        assert!(ranges.allocate(40, start).is_none(), "it must rest first");
        let later = start + REST;
        assert_eq!(ranges.allocate(40, later), Some(a));
        ranges.release(a, later);
        ranges.release(b, later);
        let last = later + REST;
        let whole = ranges.allocate(100, last).expect("merged again");
        ranges.release(whole, last);
        assert_eq!(ranges.used(100), 100);
    }
}
