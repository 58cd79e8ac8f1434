//! Sampled stacks of threads that sent and received, made to agree with the
//! exact totals.

use profiler_ebpf::{Direction, ThreadTraffic as Counted, Traffic as CountedTraffic};
use rustc_hash::FxHashMap;

use super::super::{
    intake::{Intake, RawFrame, Total},
    shares::in_proportion,
};
use crate::profile::{Source, ThreadId, ThreadTraffic, Traffic};

/// What a thread moved, by [`Direction`].
#[derive(Clone, Copy, Default)]
pub struct Moved([CountedTraffic; Direction::COUNT]);

impl Moved {
    pub fn add(&mut self, counted: &Counted) {
        for (sum, more) in self.0.iter_mut().zip(counted.traffic) {
            sum.bytes += more.bytes;
            sum.messages += more.messages;
        }
    }

    fn of(&self, direction: Direction) -> Traffic {
        let CountedTraffic { bytes, messages } = self.0[direction as usize];
        Traffic { bytes, messages }
    }
}

/// Gives every byte and message of a thread and direction to its sampled stacks,
/// in their proportion; to a stack that says that there is none where none was
/// taken.
pub fn settle(intake: &mut Intake, threads: FxHashMap<ThreadId, Moved>) -> Vec<ThreadTraffic> {
    let mut sampled: FxHashMap<(ThreadId, Direction), Vec<(u32, u64)>> = FxHashMap::default();
    for (&(source, thread, stack), total) in &intake.totals {
        if source == Source::Network
            && let Some(RawFrame::Moved(direction)) = intake.stacks[stack as usize].first()
        {
            let stacks = sampled.entry((thread, *direction)).or_default();
            stacks.push((stack, total.weight));
        }
    }
    let mut threads: Vec<_> = threads.into_iter().collect();
    // The order of hash maps must not show in the recording.
    threads.sort_unstable_by_key(|(thread, _)| *thread);
    threads
        .into_iter()
        .map(|(thread, moved)| {
            let mut without_stack_bytes = 0;
            for direction in [Direction::Sent, Direction::Received] {
                let mut stacks = sampled.remove(&(thread, direction)).unwrap_or_default();
                stacks.sort_unstable();
                let traffic = moved.of(direction);
                if stacks.is_empty() && traffic != Traffic::default() {
                    without_stack_bytes += traffic.bytes;
                    let frames = [RawFrame::Moved(direction), RawFrame::NoStack];
                    stacks.push((intake.stack_of(&frames), 1));
                }
                share_out(intake, thread, traffic, &stacks);
            }
            ThreadTraffic {
                thread,
                sent: moved.of(Direction::Sent),
                received: moved.of(Direction::Received),
                without_stack_bytes,
            }
        })
        .collect()
}

fn share_out(intake: &mut Intake, thread: ThreadId, traffic: Traffic, stacks: &[(u32, u64)]) {
    let weights: Vec<u64> = stacks.iter().map(|&(_, weight)| weight).collect();
    let bytes = in_proportion(traffic.bytes, &weights);
    let messages = in_proportion(traffic.messages, &weights);
    for ((&(stack, _), weight), count) in stacks.iter().zip(bytes).zip(messages) {
        let total = Total { weight, count };
        intake
            .totals
            .insert((Source::Network, thread, stack), total);
    }
}
