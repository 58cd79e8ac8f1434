//! Sampled stacks, made to agree with exact totals.

use rustc_hash::FxHashMap;

use super::intake::{Intake, RawFrame, Total};
use crate::profile::{Source, ThreadId};

/// Stacks that end with the same frame, of one thread: those of one exact total.
type Key = (Source, ThreadId, RawFrame);

/// Parts of a whole in the proportion of weights, rounded so that they add up to
/// it.
pub fn in_proportion(whole: u64, weights: &[u64]) -> impl Iterator<Item = u64> {
    let all: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
    let (mut before, mut given) = (0, 0);
    weights.iter().map(move |&weight| {
        before += u128::from(weight);
        let part = (u128::from(whole) * before / all.max(1)) as u64 - given;
        given += part;
        part
    })
}

/// Recorded stacks, each with its weight.
pub struct Recorded(FxHashMap<Key, Vec<(u32, u64)>>);

impl Recorded {
    /// Those of some sources.
    pub fn of(intake: &Intake, sources: &[Source]) -> Self {
        let mut recorded: FxHashMap<Key, Vec<_>> = FxHashMap::default();
        for (&(source, thread, stack), total) in &intake.totals {
            if sources.contains(&source)
                && let Some(&frame) = intake.stacks[stack as usize].first()
            {
                recorded
                    .entry((source, thread, frame))
                    .or_default()
                    .push((stack, total.weight));
            }
        }
        for stacks in recorded.values_mut() {
            // The order of hash maps must not show in the recording.
            stacks.sort_unstable();
        }
        Self(recorded)
    }

    /// Gives an exact total to the stacks: of it, what could be recorded,
    /// `offered`, to those that were, in their proportion; the rest to a stack
    /// that says that there is none. Returns the rest.
    pub fn share_out(&mut self, intake: &mut Intake, key: Key, exact: u64, offered: u64) -> u64 {
        let (source, thread, frame) = key;
        let stacks = self.0.remove(&key).unwrap_or_default();
        let weights: Vec<u64> = stacks.iter().map(|&(_, weight)| weight).collect();
        let offered = if weights.iter().all(|&weight| weight == 0) {
            0
        } else {
            offered.min(exact)
        };
        for (&(stack, _), share) in stacks.iter().zip(in_proportion(offered, &weights)) {
            if let Some(total) = intake.totals.get_mut(&(source, thread, stack)) {
                total.weight = share;
            }
        }
        let rest = exact - offered;
        if rest > 0 {
            let stack = intake.stack_of(&[frame, RawFrame::NoStack]);
            let total = Total {
                weight: rest,
                count: 0,
            };
            intake.totals.insert((source, thread, stack), total);
        }
        rest
    }
}
