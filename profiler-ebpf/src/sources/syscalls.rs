//! System calls: how many, how long, how many failed.
//!
//! Both hooks run in process context. A thread's counts are its own, so that
//! they need no atomic operation.

use aya_ebpf::{bindings::BPF_NOEXIST, helpers::bpf_ktime_get_ns};
use profiler_ebpf::{
    CALL_NUMBERS, CallKey, ERROR_KINDS, HISTOGRAM_BUCKETS, MAX_ERRNO, NO_CALL, OTHER_CALL,
    ThreadClock, Window, bucket,
};

use super::{
    pace::{Pace, due},
    sched, targets,
};
use crate::{
    maps::{CALLS, CALLS_WANTED, CALLS_WITHOUT_ROOM, NEW_CALLS, THREADS, setting},
    task::Task,
    walk::registers::Saved,
};

/// Place in [`ThreadClock::residual`].
const CALLED: usize = 3;

/// The running thread enters a call.
#[inline(always)]
pub fn enter(saved: Saved, number: u64) {
    let number = if number < u64::from(OTHER_CALL) {
        number as u32
    } else {
        OTHER_CALL
    };
    let tid = aya_ebpf::helpers::bpf_get_current_pid_tgid() as u32;
    let Some(clock) = THREADS.get_ptr_mut(&tid) else {
        return;
    };
    // SAFETY: the running thread's own; the scheduler's hooks use other fields.
    let clock = unsafe { &mut *clock };
    if !sched::is_wanted(clock, Task::current) {
        return;
    }
    let number = if saved.is_compat() {
        OTHER_CALL
    } else {
        number
    };
    if !is_wanted(number) {
        clock.call = NO_CALL;
        return;
    }
    if setting!(tells_targets) != 0 {
        targets::enter(clock, saved, number);
    }
    clock.call = number;
    // SAFETY: has no precondition.
    clock.call_start = unsafe { bpf_ktime_get_ns() };
}

/// It leaves the call. Returns the weight of the stack that is due.
#[inline(always)]
pub fn exit(saved: Saved, result: i64, window: &Window) -> u64 {
    let tid = aya_ebpf::helpers::bpf_get_current_pid_tgid() as u32;
    let Some(clock) = THREADS.get_ptr_mut(&tid) else {
        return 0;
    };
    // SAFETY: as in `enter`.
    let clock = unsafe { &mut *clock };
    let number = core::mem::replace(&mut clock.call, NO_CALL);
    if number >= CALL_NUMBERS as u32 {
        return 0;
    }
    // SAFETY: has no precondition.
    let now = unsafe { bpf_ktime_get_ns() };
    if window.start == 0 || (window.end != 0 && now > window.end) {
        return 0;
    }
    // Of a call that was there before us, userspace told the number, but nobody
    // knows when it began; and if it was late to tell, this is another.
    let is_whole = clock.call_start != 0;
    if !is_whole && (u64::from(number) != saved.number() || !is_wanted(number)) {
        return 0;
    }
    let part = window.part(clock.call_start, now);
    let whole = if is_whole { now - clock.call_start } else { 0 };
    clock.calls[bounded(number as usize / 64, CALL_NUMBERS / 64)] |= 1 << (number % 64);
    add(clock, tid, number, result, part, whole);
    if setting!(tells_targets) != 0 {
        targets::exit(clock, saved, number, result, [part, whole]);
    }
    clock.last_call = number;
    due(Pace::Time, &mut clock.residual[CALLED], part, now)
}

/// An index below `length`, a power of two, in a way that the compiler does not
/// take away: before 5.16 the verifier forgets what it knew of a number that was
/// put on the stack.
#[inline(always)]
fn bounded(index: usize, length: usize) -> usize {
    core::hint::black_box(index) & (length - 1)
}

#[inline(always)]
fn is_wanted(number: u32) -> bool {
    CALLS_WANTED.get(number).is_some_and(|&wanted| wanted != 0)
}

#[inline(always)]
fn add(clock: &ThreadClock, tid: u32, number: u32, result: i64, part: u64, whole: u64) {
    let key = CallKey {
        tid,
        number: number as u16,
        generation: clock.generation,
    };
    let calls = CALLS.get_ptr_mut(&key).or_else(|| {
        // It fails when the map is full, which shows below.
        let _ = CALLS.insert(&key, NEW_CALLS.get(0)?, BPF_NOEXIST.into());
        CALLS.get_ptr_mut(&key)
    });
    // Without room only the host's total of the call is kept.
    let Some(calls) = calls.or_else(|| CALLS_WITHOUT_ROOM.get_ptr_mut(number)) else {
        return;
    };
    // SAFETY: the map returned it; only this thread, or this CPU, writes to it.
    let calls = unsafe { &mut *calls };
    calls.count += 1;
    calls.nanoseconds += part;
    if clock.call_start != 0 {
        calls.durations.counts[bounded(bucket(whole), HISTOGRAM_BUCKETS)] += 1;
        if whole > calls.longest {
            calls.longest = whole;
        }
    }
    if result < 0 && result >= -MAX_ERRNO {
        calls.errors += 1;
        let errno = -result as u32;
        for index in 0..ERROR_KINDS {
            let kind = &mut calls.by_errno[index];
            if kind.errno == 0 {
                kind.errno = errno;
            }
            if kind.errno == errno {
                kind.count += 1;
                break;
            }
        }
    }
}
