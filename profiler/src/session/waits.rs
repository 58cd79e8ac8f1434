//! Sampled stacks of waiting threads, made to agree with the exact totals.

use std::collections::BTreeMap;

use profiler_ebpf::Activity as Counted;
use rustc_hash::FxHashMap;

use super::{
    intake::{Intake, RawFrame, Total},
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

/// Gives every waiting nanosecond of the accounts to a stack: those of waits
/// that could be recorded to the recorded stacks, in their proportion, the
/// others to a stack that says that there is none.
pub fn settle(intake: &mut Intake, accounts: &BTreeMap<ThreadId, Clocks>) -> Vec<ThreadAccount> {
    let mut recorded = stacks_of_waits(intake);
    accounts
        .iter()
        .map(|(&thread, clocks)| {
            let spent = clocks
                .iter()
                .map(|&(number, ref clock)| {
                    let activity = activity(number);
                    let stacks = recorded.remove(&(thread, activity)).unwrap_or_default();
                    let without_stack_ns = if activity == Activity::OnCpu {
                        0
                    } else {
                        share_out(intake, thread, activity, clock, &stacks)
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

/// Recorded stacks and their weights, of each thread and what it waited for.
fn stacks_of_waits(intake: &Intake) -> FxHashMap<(ThreadId, Activity), Vec<(u32, u64)>> {
    let mut waits: FxHashMap<_, Vec<_>> = FxHashMap::default();
    for (&(source, thread, stack), total) in &intake.totals {
        if matches!(source, Source::Blocked | Source::Idle)
            && let Some(RawFrame::Waiting(activity)) = intake.stacks[stack as usize].first()
        {
            waits
                .entry((thread, *activity))
                .or_default()
                .push((stack, total.weight));
        }
    }
    for stacks in waits.values_mut() {
        // The order of hash maps must not show in the recording.
        stacks.sort_unstable();
    }
    waits
}

/// Returns how much of the time has no stack.
fn share_out(
    intake: &mut Intake,
    thread: ThreadId,
    activity: Activity,
    clock: &profiler_ebpf::Spent,
    stacks: &[(u32, u64)],
) -> u64 {
    let sampled: u128 = stacks.iter().map(|&(_, weight)| u128::from(weight)).sum();
    let offered = if sampled == 0 {
        0
    } else {
        clock.offered.min(clock.nanoseconds)
    };
    let source = activity.source();
    let (mut weights, mut given) = (0, 0);
    for &(stack, weight) in stacks {
        // Rounded so that they add up.
        weights += u128::from(weight);
        let share = (u128::from(offered) * weights / sampled) as u64 - given;
        given += share;
        if let Some(total) = intake.totals.get_mut(&(source, thread, stack)) {
            total.weight = share;
        }
    }
    let rest = clock.nanoseconds - offered;
    if rest > 0 {
        let stack = intake.stack_of(&[RawFrame::Waiting(activity), RawFrame::NoStack]);
        intake.totals.insert(
            (source, thread, stack),
            Total {
                weight: rest,
                count: 0,
            },
        );
    }
    rest
}
