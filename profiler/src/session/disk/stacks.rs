//! Stacks of disk requests, made to agree with the exact totals.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::{Use, What};
use crate::{
    profile::{ProcessId, Source},
    session::{
        intake::{Intake, RawFrame, Total},
        shares::in_proportion,
    },
};

/// Gives every byte and nanosecond to a stack: in the proportion of those that
/// were recorded of the process, device and operation, or to one that says that
/// there is none.
pub fn settle(intake: &mut Intake, uses: &BTreeMap<(ProcessId, What), Use>) {
    let mut recorded: FxHashMap<_, Vec<_>> = FxHashMap::default();
    intake.totals.retain(|&(source, thread, stack), total| {
        if !matches!(source, Source::Disk | Source::DiskTime) {
            return true;
        }
        let process = intake.threads[thread as usize].process;
        let Some(&RawFrame::Disk { operation, device }) = intake.stacks[stack as usize].first()
        else {
            return false;
        };
        let place = (process, (device, operation));
        // Of requests that were not done in time.
        if !uses.contains_key(&place) {
            return false;
        }
        recorded
            .entry((source, place))
            .or_default()
            .push((thread, stack, total.weight));
        true
    });
    for (&place, usage) in uses {
        let (process, (device, operation)) = place;
        let time = usage.queue_ns.saturating_add(usage.service_ns);
        let bytes = if operation.transfers() {
            usage.bytes
        } else {
            0
        };
        for (source, exact) in [(Source::Disk, bytes), (Source::DiskTime, time)] {
            let mut stacks = recorded.remove(&(source, place)).unwrap_or_default();
            // The order of hash maps must not show in the recording.
            stacks.sort_unstable();
            if stacks.iter().all(|&(.., weight)| weight == 0) && exact > 0 {
                let frames = [RawFrame::Disk { operation, device }, RawFrame::NoStack];
                let key = (
                    source,
                    intake.main_thread(process),
                    intake.stack_of(&frames),
                );
                let none = Total {
                    weight: exact,
                    count: 0,
                };
                intake.totals.insert(key, none);
                continue;
            }
            if exact == 0 {
                for (thread, stack, _) in stacks {
                    intake.totals.remove(&(source, thread, stack));
                }
                continue;
            }
            share_out(intake, source, &stacks, exact);
        }
    }
}

fn share_out(intake: &mut Intake, source: Source, stacks: &[(u32, u32, u64)], exact: u64) {
    let weights: Vec<u64> = stacks.iter().map(|&(.., weight)| weight).collect();
    for (&(thread, stack, _), share) in stacks.iter().zip(in_proportion(exact, &weights)) {
        if let Some(total) = intake.totals.get_mut(&(source, thread, stack)) {
            total.weight = share;
        }
    }
}
