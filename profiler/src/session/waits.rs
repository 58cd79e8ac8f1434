//! The exact accounts of threads, and the sampled stacks of their waits.

use std::collections::BTreeMap;

use profiler_ebpf::Activity as Counted;

use super::{
    intake::{Intake, RawFrame},
    shares::Recorded,
    threads::activity,
};
use crate::profile::{Activity, Source, Spent, ThreadAccount, ThreadId};

/// What the kernel side counted of a thread: the activities that occurred, by
/// their numbers.
pub type Clocks = Vec<(u32, profiler_ebpf::Spent)>;

/// Adds what was counted of another life of the thread, or of another thread.
pub fn add(clocks: &mut Clocks, counted: &[profiler_ebpf::Spent; Counted::COUNT]) {
    for (number, spent) in (0..).zip(counted) {
        if spent.nanoseconds == 0 {
            continue;
        }
        let place = clocks.iter().position(|&(known, _)| known >= number);
        match place.map(|place| &mut clocks[place]) {
            Some((known, sum)) if *known == number => {
                sum.nanoseconds += spent.nanoseconds;
                sum.count += spent.count;
                sum.offered += spent.offered;
            }
            _ => clocks.insert(place.unwrap_or(clocks.len()), (number, *spent)),
        }
    }
}

/// Gives every waiting nanosecond of the accounts to a stack.
pub fn settle(intake: &mut Intake, accounts: &BTreeMap<ThreadId, Clocks>) -> Vec<ThreadAccount> {
    let mut recorded = Recorded::of(intake, &[Source::Blocked, Source::Idle]);
    accounts
        .iter()
        .map(|(&thread, clocks)| {
            let spent = clocks
                .iter()
                .map(|&(number, ref clock)| {
                    let activity = activity(number);
                    let key = (activity.source(), thread, RawFrame::Waiting(activity));
                    let without_stack_ns = if activity == Activity::OnCpu {
                        0
                    } else {
                        recorded.share_out(intake, key, clock.nanoseconds, clock.offered)
                    };
                    Spent {
                        activity,
                        ns: clock.nanoseconds,
                        without_stack_ns,
                        intervals: clock.count,
                    }
                })
                .collect();
            ThreadAccount { thread, spent }
        })
        .collect()
}
